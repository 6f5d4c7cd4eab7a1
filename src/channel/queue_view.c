/*
 * Messages in place: room that is filled and put, messages that are read where they lie, without
 * a copy. Layer: channel. Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

#include <errno.h>
#include <string.h>

/*
 * A view's words. A view that holds a block has one of the process's leases for as long as it is
 * open, so their number is limited: what is left serves the operations of the other threads.
 */
enum {
    WORD_STATE,  /* who opened it and how: see mark() */
    WORD_LEASE,  /* the lease's offset; 0: a small message, in the view itself */
    WORD_SIZE,   /* bytes reserved */
    WORD_HANDLE, /* of the queue it belongs to, as its offset */
};
#define MOST_VIEWS (KIN__LEASES - 32)

enum {
    RESERVED = 1,
    PEEKED = 2,
};

/* Open views with a lease: {generation of the process : 32, count : 32}. A forked child has none
 * of its parent's. */
static kin__a64 open_views;

static bool count_view(void)
{
    uint64_t seen = kin__a64_load_relaxed(&open_views);
    uint64_t generation = (uint64_t)kin__self->generation << 32;
    for (;;) {
        uint32_t count = seen >> 32 == kin__self->generation ? (uint32_t)seen : 0;
        if (count >= MOST_VIEWS) {
            return false;
        }
        if (kin__a64_cas(&open_views, &seen, generation | (count + 1))) {
            return true;
        }
    }
}

static void uncount_view(void)
{
    kin__a64_sub(&open_views, 1);
}

/* Names the process and the kind; never 0. */
static uint64_t mark(uint64_t kind)
{
    return (uint64_t)kin__self->generation << 32 | (uint64_t)kin__self->slot << 8 | kind;
}

static void open_view(kin_queue *handle, struct kin_queue_view *view, uint64_t kind, void *data,
                      size_t size, const kin__lease *lease)
{
    view->data = data;
    view->size = size;
    view->word[WORD_STATE] = mark(kind);
    view->word[WORD_LEASE] = lease == NULL ? 0 : kin__offset(lease);
    view->word[WORD_SIZE] = size;
    view->word[WORD_HANDLE] = kin__offset(handle->shared);
}

/* Checks that the view is open in this process, of that kind and queue. */
static int check(const kin_queue *handle, const struct kin_queue_view *view, uint64_t kind)
{
    if (handle == NULL || view == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    return view->word[WORD_STATE] == mark(kind) &&
                   view->word[WORD_HANDLE] == kin__offset(handle->shared)
               ? 0
               : KIN_ESTATE;
}

static kin__lease *lease_of(const struct kin_queue_view *view)
{
    return (kin__lease *)(kin__family.base + view->word[WORD_LEASE]);
}

/* The block, if any, is freed unless the queue has taken it. */
static void close_view(struct kin_queue_view *view)
{
    if (view->word[WORD_LEASE] != 0) {
        kin__queue_discard(lease_of(view));
        uncount_view();
    }
    view->word[WORD_STATE] = 0;
    view->data = NULL;
    view->size = 0;
}

int kin_queue_reserve(kin_queue *handle, size_t size, struct kin_queue_view *ret_view)
{
    if (handle == NULL || size == 0 || ret_view == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    if (handle->shared->max_bytes != 0 && size > handle->shared->max_bytes) {
        return KIN_ETOOBIG;
    }
    if (kin__a32_load(&handle->shared->closed) != 0) {
        return KIN_ECLOSED;
    }
    if (!count_view()) {
        return -ENOBUFS;
    }
    kin__lease *lease = kin__lease_take();
    uint64_t offset;
    rc = kin__block_alloc(size, lease, &offset);
    if (rc < 0) {
        kin__lease_drop(lease);
        uncount_view();
        return rc;
    }
    open_view(handle, ret_view, RESERVED, kin__family.base + offset, size, lease);
    return 0;
}

int kin_queue_commit(kin_queue *handle, struct kin_queue_view *view, size_t size,
                     int64_t timeout_ns)
{
    int rc = check(handle, view, RESERVED);
    if (rc < 0) {
        return rc;
    }
    if (size == 0 || size > view->word[WORD_SIZE] || timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    struct kin__queue_wait wait = {.timeout_ns = timeout_ns};
    struct kin__queue_run run = {.count = 1, .lease = lease_of(view), .length = size};
    uint32_t done = 0;
    rc = kin__queue_put_run(handle, &run, &wait, &done);
    if (rc == 0) {
        close_view(view);
    }
    return rc;
}

int kin_queue_cancel(kin_queue *handle, struct kin_queue_view *view)
{
    int rc = check(handle, view, RESERVED);
    if (rc == 0) {
        close_view(view);
    }
    return rc;
}

int kin_queue_peek(kin_queue *handle, struct kin_queue_view *ret_view, int64_t timeout_ns)
{
    if (handle == NULL || ret_view == NULL || timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    if (!count_view()) {
        return -ENOBUFS;
    }
    char copy[KIN_QUEUE_SMALL];
    uint64_t length;
    struct kin__queue_wait wait = {.timeout_ns = timeout_ns};
    struct kin__queue_catch take = {.most = 1,
                                    .staging = copy,
                                    .staging_size = sizeof copy,
                                    .room = UINT64_MAX,
                                    .lengths = &length};
    rc = kin__queue_take(handle, &take, &wait);
    if (rc == 0 && take.large) {
        open_view(handle, ret_view, PEEKED, kin__family.base + take.block, length, take.lease);
        return 0;
    }
    kin__queue_discard(take.lease);
    uncount_view();
    if (rc == 0) {
        memcpy(ret_view->small, copy, length);
        open_view(handle, ret_view, PEEKED, ret_view->small, length, NULL);
    }
    return rc;
}

int kin_queue_release(kin_queue *handle, struct kin_queue_view *view)
{
    int rc = check(handle, view, PEEKED);
    if (rc == 0) {
        close_view(view);
    }
    return rc;
}
