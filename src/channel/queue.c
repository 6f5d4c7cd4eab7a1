/*
 * Queues: creating, sharing, putting and getting one message, closing. Layer: channel.
 * Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A process that held the queue is dead. */
static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    struct kin__queue *queue = (struct kin__queue *)object;
    unsigned ring = 0;
    if (kin__queue_enter(queue, &ring) < 0) {
        return;
    }
    kin__queue_poll_forget(queue, slot, generation);
    if (queue->joinable) {
        kin__queue_task_settle(queue, slot, generation, end);
    }
    kin__queue_leave(queue, KIN__RING_EVERYTHING);
}

static const struct kin__type type = {
    .name = "queue",
    .sweep = sweep,
    .fini = kin__queue_fini,
};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_QUEUE, &type);
}

static kin_queue *make_handle(struct kin__queue *queue)
{
    kin_queue *handle = calloc(1, sizeof *handle);
    if (handle != NULL) {
        handle->shared = queue;
        handle->poll_fd = -1;
        kin__queue_wait_init(handle);
    }
    return handle;
}

int kin_queue_create(const struct kin_queue_options *given, kin_queue **ret_queue)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    if (ret_queue == NULL || kin__options_read(&options, sizeof options, given) < 0) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__object *object;
    uint64_t size = sizeof(struct kin__queue) +
                    (options.joinable ? KIN__SLOTS * sizeof(uint64_t) : 0);
    rc = kin__object_create(KIN__TYPE_QUEUE, size, &object);
    if (rc < 0) {
        return rc;
    }
    struct kin__queue *queue = (struct kin__queue *)object;
    queue->capacity = options.capacity;
    queue->max_bytes = options.max_bytes;
    queue->joinable = options.joinable != 0;
    kin__object_ready(object);

    /* Once LIVE, so that the sweep of our death would free the segment. */
    rc = kin__queue_first_segment(queue);
    if (rc < 0) {
        goto fail;
    }
    kin_queue *handle = make_handle(queue);
    if (handle == NULL) {
        rc = -ENOMEM;
        goto fail;
    }
    *ret_queue = handle;
    return 0;
fail:
    kin__object_drop(object);
    return rc;
}

kin_queue *kin_queue_destroy(kin_queue *handle)
{
    if (handle != NULL) {
        if (kin__enter() == 0) {
            kin__queue_poll_close(handle);
            kin__object_drop(&handle->shared->object);
        }
        free(handle);
    }
    return NULL;
}

int kin_queue_ref(const kin_queue *handle, kin_ref *ret_ref)
{
    if (handle == NULL || ret_ref == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc == 0) {
        kin__object_ref(&handle->shared->object, ret_ref);
    }
    return rc;
}

int kin_queue_attach(const kin_ref *ref, kin_queue **ret_queue)
{
    if (ref == NULL || ret_queue == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__object *object;
    rc = kin__object_attach(ref, KIN__TYPE_QUEUE, &object);
    if (rc < 0) {
        return rc;
    }
    kin_queue *handle = make_handle((struct kin__queue *)object);
    if (handle == NULL) {
        kin__object_drop(object);
        return -ENOMEM;
    }
    *ret_queue = handle;
    return 0;
}

/* --- one message ---------------------------------------------------------------------------- */

static int put_large(kin_queue *handle, const void *data, size_t size,
                     struct kin__queue_wait *wait)
{
    int rc = kin__queue_await_room(handle, size, wait);
    if (rc < 0) {
        return rc;
    }
    kin__lease *lease = kin__lease_take();
    uint64_t offset;
    rc = kin__block_alloc(size, lease, &offset);
    if (rc == 0) {
        memcpy(kin__family.base + offset, data, size);
        struct kin__queue_run run = {.count = 1, .lease = lease, .length = size};
        uint32_t done = 0;
        rc = kin__queue_put_run(handle, &run, wait, &done);
    }
    kin__queue_discard(lease); /* the block, too, if the queue has not taken it */
    return rc;
}

int kin_queue_put(kin_queue *handle, const void *data, size_t size, int64_t timeout_ns)
{
    if (handle == NULL || (data == NULL && size != 0) || timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    if (handle->shared->max_bytes != 0 && size > handle->shared->max_bytes) {
        return KIN_ETOOBIG;
    }
    struct kin__queue_wait wait = {.timeout_ns = timeout_ns};
    if (size > KIN_QUEUE_SMALL) {
        return put_large(handle, data, size, &wait);
    }
    /* The user's memory may fault: it is read before the lock. */
    char copy[KIN_QUEUE_SMALL];
    if (size != 0) {
        memcpy(copy, data, size);
    }
    uint16_t length = (uint16_t)size;
    struct kin__queue_run run = {.count = 1, .lengths = &length, .bytes = copy};
    uint32_t done = 0;
    return kin__queue_put_run(handle, &run, &wait, &done);
}

int kin_queue_get(kin_queue *handle, void *buffer, size_t *size, int64_t timeout_ns)
{
    if (handle == NULL || size == NULL || (buffer == NULL && *size != 0) ||
        timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    char copy[KIN_QUEUE_SMALL];
    uint64_t length;
    struct kin__queue_wait wait = {.timeout_ns = timeout_ns};
    struct kin__queue_catch take = {.most = 1,
                                    .staging = copy,
                                    .staging_size = sizeof copy,
                                    .room = *size,
                                    .lengths = &length};
    if (kin__a32_load_relaxed(&handle->expect_large) != 0) {
        take.lease = kin__lease_take();
    }
    rc = kin__queue_take(handle, &take, &wait);
    if (rc == 0) {
        if (take.large) {
            memcpy(buffer, kin__family.base + take.block, length);
        } else if (length != 0) {
            memcpy(buffer, copy, length);
        }
        if (kin__a32_load_relaxed(&handle->expect_large) != take.large) {
            kin__a32_store_relaxed(&handle->expect_large, take.large);
        }
    }
    if (rc == 0 || rc == KIN_ETOOBIG) {
        *size = length;
    }
    kin__queue_discard(take.lease);
    return rc;
}

/* --- the queue as a whole ------------------------------------------------------------------- */

int kin_queue_size(kin_queue *handle, size_t *ret_messages)
{
    if (handle == NULL || ret_messages == NULL) {
        return -EINVAL;
    }
    struct kin_queue_stats stats = {.size = sizeof stats};
    int rc = kin_queue_stats(handle, &stats);
    if (rc == 0) {
        *ret_messages = (size_t)stats.messages;
    }
    return rc;
}

int kin_queue_stats(kin_queue *handle, struct kin_queue_stats *ret_stats)
{
    if (handle == NULL || ret_stats == NULL || ret_stats->size < sizeof(size_t)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__queue *queue = handle->shared;
    struct kin_queue_stats stats = {.size = ret_stats->size};
    struct kin__queue_tail tail;
    unsigned ring = 0;
    rc = kin__queue_enter(queue, &ring);
    if (rc < 0) {
        return rc;
    }
    rc = kin__queue_tail(queue, &tail);
    if (rc == 0) {
        stats.put = tail.stub->seq;
        stats.messages = stats.put - queue->got;
        stats.bytes = tail.stub->bytes - queue->got_bytes;
        if (queue->joinable) {
            stats.unfinished = stats.put - kin__a64_load_relaxed(&queue->done);
            stats.lost = queue->lost;
        }
        stats.segments = kin__queue_segments(queue);
    }
    kin__queue_leave(queue, ring);
    if (rc == 0) {
        memcpy(ret_stats, &stats, KIN__MIN(stats.size, sizeof stats));
    }
    return rc;
}

int kin_queue_close(kin_queue *handle)
{
    if (handle == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__queue *queue = handle->shared;
    do {
        unsigned ring = 0;
        rc = kin__queue_enter(queue, &ring);
        if (rc < 0) {
            return rc;
        }
        if (kin__a32_load_relaxed(&queue->closed) == 0) {
            /* As a put does: whoever polls is to see the end, so the bell goes first. */
            rc = kin__queue_poll_ring(queue);
            if (rc == 0) {
                kin__a32_store(&queue->closed, 1);
            }
        }
        kin__queue_leave(queue, ring | KIN__RING_EMPTY_ALL | KIN__RING_FULL_ALL);
        if (rc == KIN__NEED_BELL) {
            rc = kin__queue_poll_prepare();
            if (rc == 0) {
                rc = KIN__NEED_BELL;
            }
        }
    } while (rc == KIN__NEED_BELL);
    return rc;
}
