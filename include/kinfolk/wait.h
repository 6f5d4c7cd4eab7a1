/*
 * Waiting for several things at once: descriptors, connections, and whatever has a descriptor
 * (kin_queue_fd, kin_process_sentinel, kin_listener_fd, ...).
 */
#ifndef KINFOLK_WAIT_H
#define KINFOLK_WAIT_H

#include <kinfolk/base.h>
#include <kinfolk/connection.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kin_wait_events {
    KIN_WAIT_READ = 1,  /* something can be read or received, or the end has come */
    KIN_WAIT_WRITE = 2, /* something can be written or sent */
    KIN_WAIT_ERROR = 4, /* result only: the descriptor is in error, or its peer has hung up */
};

/* One thing to wait for; make it with the functions below. */
struct kin_wait_item {
    int fd;
    int events;                 /* what to wait for */
    kin_connection *connection; /* NULL, or what to wait for instead of a descriptor */
    int ready;                  /* written by kin_wait: which events are there, else 0 */
};

static inline struct kin_wait_item kin_wait_on_fd(int fd, int events)
{
    struct kin_wait_item item = {fd, events, NULL, 0};
    return item;
}

/* Waits until a message can be received: unlike the bare descriptor, also one that was announced
 * by kin_connection_next_size. */
static inline struct kin_wait_item kin_wait_on_connection(kin_connection *connection)
{
    struct kin_wait_item item = {-1, KIN_WAIT_READ, connection, 0};
    return item;
}

/*
 * Waits until at least one item is ready, and sets `ready` in all of them. Returns how many are
 * ready (at least 1); -ETIMEDOUT (every `ready` is 0); what the thread's interrupt function said;
 * -EINVAL for no item, or one without events; the item's own negative fd as an error code;
 * KIN_ESTATE for a closed connection; -EBADF; -ENOMEM. On any other error than -ETIMEDOUT `ready`
 * is untouched. Being ready is no promise where others receive from the same place. Thread-safe;
 * allowed in forked children; does not change the items' objects.
 */
KIN_API int kin_wait(struct kin_wait_item *items, size_t count, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif
