/*
 * A queue's descriptor: each process that polls has a bell of its own, which whoever makes the
 * queue non-empty rings before the commit. Layer: channel. Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

#include <errno.h>

/* This process, as kin__poller.owner names it. */
static uint64_t owner_of(uint32_t slot, uint32_t generation)
{
    return (uint64_t)generation << 32 | (slot + 1);
}

static uint64_t me(void)
{
    return owner_of(kin__self->slot, kin__self->generation);
}

static uint32_t poller_count(const struct kin__queue *queue)
{
    uint32_t count = kin__a32_load_relaxed(&queue->pollers);
    return KIN__MIN(count, KIN__POLLERS);
}

/* 0: rung, or there is nobody to hear it any more. */
static int ring_poller(struct kin__poller *poller)
{
    int rc = kin__bell_ring(poller->nonce);
    if (rc == 0) {
        poller->rung = 1;
    } else if (rc == -ECONNREFUSED || rc == -ENOENT) {
        kin__a64_store(&poller->owner, 0); /* its process closed it, or is gone */
        rc = 0;
    }
    return rc;
}

int kin__queue_poll_ring(struct kin__queue *queue)
{
    uint32_t count = poller_count(queue);
    for (uint32_t i = 0; i < count; i++) {
        struct kin__poller *poller = &queue->poller[i];
        if (kin__a64_load_relaxed(&poller->owner) == 0 || poller->rung != 0) {
            continue;
        }
        if (!kin__bell_is_ready()) {
            return KIN__NEED_BELL;
        }
        int rc = ring_poller(poller);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int kin__queue_poll_prepare(void)
{
    return kin__bell_prepare();
}

void kin__queue_poll_drain(kin_queue *handle)
{
    uint64_t owner = kin__a64_load(&handle->poll_owner);
    if (KIN__LIKELY(owner == 0)) {
        return;
    }
    struct kin__queue *queue = handle->shared;
    if (owner != me() || kin__a32_load_relaxed(&queue->closed) != 0 ||
        kin__a64_load_relaxed(&queue->head) != kin__a64_load_relaxed(&queue->tail)) {
        return;
    }
    struct kin__poller *poller = &queue->poller[handle->poll_index];
    if (kin__a64_load_relaxed(&poller->owner) == owner) {
        /* Under the lock, so that no message can come between the two. Rung or not: a putter that
         * died may have rung without saying so. */
        poller->rung = 0;
        kin__bell_drain(handle->poll_fd);
    }
}

void kin__queue_poll_forget(struct kin__queue *queue, uint32_t slot, uint32_t generation)
{
    uint64_t owner = owner_of(slot, generation);
    uint32_t count = poller_count(queue);
    for (uint32_t i = 0; i < count; i++) {
        if (kin__a64_load_relaxed(&queue->poller[i].owner) == owner) {
            kin__a64_store(&queue->poller[i].owner, 0);
        }
    }
}

/* Enters the bell in the queue's table; it rings at once if there is something to see. */
static int enlist(struct kin__queue *queue, uint64_t owner, uint64_t nonce, uint32_t *ret_index)
{
    unsigned ring = 0;
    int rc = kin__queue_enter(queue, &ring);
    if (rc < 0) {
        return rc;
    }
    uint32_t index = 0;
    while (index < KIN__POLLERS && kin__a64_load_relaxed(&queue->poller[index].owner) != 0) {
        index++;
    }
    if (index == KIN__POLLERS) {
        rc = -ENOSPC;
        goto out;
    }
    struct kin__poller *poller = &queue->poller[index];
    poller->nonce = nonce;
    poller->rung = 0;
    if (kin__a64_load_relaxed(&queue->head) != kin__a64_load_relaxed(&queue->tail) ||
        kin__a32_load_relaxed(&queue->closed) != 0) {
        rc = ring_poller(poller);
    }
    if (rc == 0) {
        /* The count first: an entry beyond it would never be rung. */
        if (index >= poller_count(queue)) {
            kin__a32_store(&queue->pollers, index + 1);
        }
        kin__a64_store(&poller->owner, owner);
        *ret_index = index;
    }
out:
    kin__queue_leave(queue, ring);
    return rc;
}

static int make(kin_queue *handle, uint64_t owner)
{
    uint64_t nonce;
    int rc = kin__random(&nonce, sizeof nonce);
    if (rc < 0) {
        return rc;
    }
    rc = kin__bell_prepare();
    if (rc < 0) {
        return rc;
    }
    int fd = kin__bell_open(nonce);
    if (fd < 0) {
        return fd;
    }
    uint32_t index = 0;
    rc = enlist(handle->shared, owner, nonce, &index);
    if (rc < 0) {
        kin__fd_drop(fd);
        return rc;
    }
    if (kin__a64_load(&handle->poll_owner) != 0) {
        kin__fd_drop(handle->poll_fd); /* our copy of the parent's, from before a fork */
    }
    handle->poll_fd = fd;
    handle->poll_index = index;
    kin__a64_store(&handle->poll_owner, owner); /* release: with what poll_drain reads, P4 */
    return fd;
}

int kin_queue_fd(kin_queue *handle)
{
    if (handle == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    uint64_t owner = me();
    if (kin__a64_load(&handle->poll_owner) == owner) {
        return handle->poll_fd;
    }
    /* A lock that names its process: one that a fork has copied in the locked state is free. */
    for (;;) {
        uint64_t holder = kin__a64_load(&handle->poll_lock);
        if (holder != owner && kin__a64_cas(&handle->poll_lock, &holder, owner)) {
            break;
        }
        kin__yield();
    }
    rc = kin__a64_load(&handle->poll_owner) == owner ? handle->poll_fd : make(handle, owner);
    kin__a64_store(&handle->poll_lock, 0);
    return rc;
}

void kin__queue_poll_close(kin_queue *handle)
{
    uint64_t owner = kin__a64_load(&handle->poll_owner);
    if (owner == 0) {
        return;
    }
    struct kin__queue *queue = handle->shared;
    unsigned ring = 0;
    if (owner == me() && kin__queue_enter(queue, &ring) == 0) {
        struct kin__poller *poller = &queue->poller[handle->poll_index];
        if (kin__a64_load_relaxed(&poller->owner) == owner) {
            kin__a64_store(&poller->owner, 0);
        }
        kin__queue_leave(queue, ring);
    }
    kin__fd_drop(handle->poll_fd);
}
