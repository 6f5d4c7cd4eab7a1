/*
 * Whole operations on a queue: put a run of messages, take a catch of them. Layer: channel.
 * Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

#include <string.h>

/* Under the lock: appends what fits and commits it. Returns what stopped it, or 0. */
static int put_some(struct kin__queue *queue, const struct kin__queue_run *run, const char **bytes,
                    uint32_t done, uint32_t *ret_some, unsigned *ring)
{
    struct kin__queue_tail tail;
    int rc = kin__queue_tail(queue, &tail);
    const char *from = *bytes;
    uint32_t some = 0;
    while (rc == 0 && done + some < run->count) {
        if (run->lease != NULL) {
            uint64_t block = kin__a64_load_relaxed(run->lease);
            rc = kin__queue_append(queue, &tail, KIN__RECORD_LARGE, &block, run->length);
        } else {
            uint64_t length = run->lengths[done + some];
            rc = kin__queue_append(queue, &tail, KIN__RECORD_SMALL, from, length);
            from += rc == 0 ? kin__align_up(length, 8) : 0;
        }
        some += rc == 0;
    }
    *ret_some = 0;
    if (some != 0) {
        int committed = kin__queue_commit_put(queue, &tail, run->lease, some, ring);
        if (committed != 0) {
            return committed;
        }
        *bytes = from;
        *ret_some = some;
    }
    return rc;
}

int kin__queue_put_run(kin_queue *handle, const struct kin__queue_run *run,
                       struct kin__queue_wait *wait, uint32_t *done)
{
    struct kin__queue *queue = handle->shared;
    const char *bytes = run->bytes;
    for (;;) {
        unsigned ring = 0;
        int rc = kin__queue_enter(queue, &ring);
        if (KIN__UNLIKELY(rc < 0)) {
            return rc;
        }
        uint32_t some;
        rc = put_some(queue, run, &bytes, *done, &some, &ring);
        *done += some;
        if (KIN__LIKELY(rc == 0)) {
            kin__queue_leave(queue, ring);
            return 0;
        }
        switch (rc) {
        case KIN__NEED_ROOM:
            rc = kin__queue_wait_not_full(handle, wait, ring);
            break;
        case KIN__NEED_SEGMENT:
            kin__queue_leave(queue, ring);
            rc = kin__queue_grow(queue);
            break;
        case KIN__NEED_BELL:
            kin__queue_leave(queue, ring);
            rc = kin__queue_poll_prepare();
            break;
        default:
            kin__queue_leave(queue, ring);
        }
        if (rc < 0) {
            return rc;
        }
    }
}

int kin__queue_await_room(kin_queue *handle, uint64_t length, struct kin__queue_wait *wait)
{
    struct kin__queue *queue = handle->shared;
    for (;;) {
        unsigned ring = 0;
        struct kin__queue_tail tail;
        int rc = kin__queue_enter(queue, &ring);
        if (rc < 0) {
            return rc;
        }
        rc = kin__queue_tail(queue, &tail);
        if (rc == 0) {
            rc = kin__queue_room(queue, &tail, length);
        }
        if (rc != KIN__NEED_ROOM) {
            kin__queue_leave(queue, ring);
            return rc;
        }
        rc = kin__queue_wait_not_full(handle, wait, ring);
        if (rc < 0) {
            return rc;
        }
    }
}

#define NEED_LEASE 4

/* Under the lock: takes what is there and fits. Returns 0 (see take->count) or what stopped it. */
static int take_some(struct kin__queue *queue, struct kin__queue_catch *take, bool *ret_jumped,
                     unsigned *ring)
{
    struct kin__queue_head head, last;
    uint64_t used = 0;
    int rc;
    kin__queue_head_begin(queue, &head);
    while (take->count < take->most && (rc = kin__queue_head_next(queue, &head)) != 0) {
        if (KIN__UNLIKELY(rc < 0)) {
            break;
        }
        rc = 0;
        if (head.large && take->count != 0) {
            break;
        }
        if (KIN__UNLIKELY(used > take->room || head.length > take->room - used)) {
            if (take->count == 0) {
                take->lengths[0] = head.length;
                return KIN_ETOOBIG;
            }
            break;
        }
        if (head.large) {
            if (take->lease == NULL) {
                return NEED_LEASE;
            }
            take->large = true;
            take->block = kin__lease_offset(head.block);
            take->most = 1;
        } else {
            if (used + head.length > take->staging_size) {
                break;
            }
            memcpy(take->staging + used, head.record + 1, head.length);
            used += kin__align_up(head.length, KIN__RECORD_ALIGN);
        }
        kin__queue_head_pass(&head);
        take->lengths[take->count++] = head.length;
        last = head;
    }
    if (take->count == 0) {
        return rc;
    }
    *ring |= kin__queue_commit_get(queue, &last, take->count, take->large ? take->lease : NULL);
    *ret_jumped = last.jumped;
    return 0;
}

int kin__queue_take(kin_queue *handle, struct kin__queue_catch *take, struct kin__queue_wait *wait)
{
    struct kin__queue *queue = handle->shared;
    for (;;) {
        unsigned ring = 0;
        bool jumped = false, shrink = false;
        int rc = kin__queue_enter(queue, &ring);
        if (KIN__UNLIKELY(rc < 0)) {
            return rc;
        }
        rc = take_some(queue, take, &jumped, &ring);
        if (KIN__LIKELY(take->count != 0)) {
            kin__queue_poll_drain(handle);
            if (KIN__UNLIKELY(jumped)) {
                shrink = kin__queue_has_spare(queue);
            }
            kin__queue_leave(queue, ring);
            if (shrink) {
                kin__queue_shrink(queue);
            }
            return 0;
        }
        if (rc == 0 && kin__a32_load_relaxed(&queue->closed) != 0) {
            rc = KIN_ECLOSED;
        }
        if (rc == 0) {
            rc = kin__queue_wait_not_empty(handle, wait, ring);
        } else {
            kin__queue_leave(queue, ring);
            if (rc == NEED_LEASE) {
                take->lease = kin__lease_take();
                rc = 0;
            }
        }
        if (rc < 0) {
            return rc;
        }
    }
}
