/* Batches: many messages with one turn of the queue's lock. Layer: channel. */
#include "channel/queue.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define STAGING 8192 /* bytes of small messages moved in one turn */
#define TURN 128     /* and how many */

int kin_queue_put_many(kin_queue *handle, const struct kin_queue_item *items, size_t count,
                       int64_t timeout_ns)
{
    if (handle == NULL || items == NULL || count == 0 || count > INT_MAX ||
        timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].data == NULL && items[i].size != 0) {
            return -EINVAL;
        }
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    /* A larger one would wait for room that there can never be. */
    uint64_t most = handle->shared->max_bytes != 0 ? handle->shared->max_bytes : UINT64_MAX;
    int64_t deadline = kin__clock_deadline(timeout_ns);
    char staging[STAGING];
    uint16_t lengths[TURN];
    size_t done = 0;
    while (done < count) {
        /* What is left of the caller's time. */
        int64_t left = timeout_ns;
        if (timeout_ns > 0) {
            left = KIN__MAX(deadline - kin__clock_now(), (int64_t)0);
        }
        if (items[done].size > most) {
            rc = KIN_ETOOBIG;
            break;
        }
        if (items[done].size > KIN_QUEUE_SMALL) {
            rc = kin_queue_put(handle, items[done].data, items[done].size, left);
            if (rc < 0) {
                break;
            }
            done++;
            continue;
        }
        struct kin__queue_wait wait = {.timeout_ns = left};
        struct kin__queue_run run = {.lengths = lengths, .bytes = staging};
        uint64_t used = 0;
        while (run.count < TURN && done + run.count < count) {
            const struct kin_queue_item *item = &items[done + run.count];
            if (item->size > KIN_QUEUE_SMALL || item->size > most ||
                used + item->size > STAGING) {
                break;
            }
            if (item->size != 0) {
                memcpy(staging + used, item->data, item->size);
            }
            lengths[run.count++] = (uint16_t)item->size;
            used += kin__align_up(item->size, 8);
        }
        uint32_t some = 0;
        rc = kin__queue_put_run(handle, &run, &wait, &some);
        done += some;
        if (rc < 0) {
            break;
        }
    }
    return done > 0 ? (int)done : rc;
}

int kin_queue_get_many(kin_queue *handle, void *buffer, size_t room,
                       struct kin_queue_item *ret_items, size_t count, int64_t timeout_ns)
{
    if (handle == NULL || (buffer == NULL && room != 0) || ret_items == NULL || count == 0 ||
        timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    char staging[STAGING];
    uint64_t lengths[TURN];
    char *to = buffer;
    size_t done = 0;
    struct kin__queue_wait wait = {.timeout_ns = timeout_ns};
    while (done < count) {
        struct kin__queue_catch take = {.most = (uint32_t)KIN__MIN(count - done, (size_t)TURN),
                                        .staging = staging,
                                        .staging_size = sizeof staging,
                                        .room = room,
                                        .lengths = lengths};
        rc = kin__queue_take(handle, &take, &wait);
        if (rc == KIN_ETOOBIG && done == 0) {
            ret_items[0] = (struct kin_queue_item){.data = NULL, .size = lengths[0]};
        }
        if (rc == 0 && take.large) {
            memcpy(to, kin__family.base + take.block, lengths[0]);
        }
        kin__queue_discard(take.lease);
        if (rc < 0) {
            break;
        }
        const char *from = staging;
        for (uint32_t i = 0; i < take.count; i++) {
            uint64_t length = lengths[i];
            uint64_t stride = kin__align_up(length, KIN__RECORD_ALIGN);
            if (!take.large && length != 0) {
                memcpy(to, from, length);
            }
            ret_items[done++] = (struct kin_queue_item){.data = to, .size = length};
            from += stride;
            stride = KIN__MIN(stride, room);
            to += stride;
            room -= stride;
        }
        wait = (struct kin__queue_wait){.timeout_ns = 0}; /* the rest only if it is there */
    }
    return done > 0 ? (int)KIN__MIN(done, (size_t)INT_MAX) : rc;
}
