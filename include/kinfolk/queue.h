/*
 * Queues: messages of bytes from any member of the family to any other, first in, first out.
 *
 * Any number of processes and threads may put and get at once. A put copies the message into
 * shared memory before it returns, so a process that has put may end at once. A process killed in
 * the middle of an operation hangs nobody: its put happened wholly or not at all, and its get lost
 * nothing or the one message (of a batch: the messages) that it had taken.
 *
 * A handle is private to a process and may be used by its threads at once and, after a fork, by
 * the child. Other members get a handle from a reference (kin_queue_ref, kin_queue_attach). The
 * queue itself lives as long as any process holds a handle.
 *
 * Unless a function says otherwise it is thread-safe, blocks only as its timeout says, and can
 * also return: -EINVAL for a NULL or nonsensical argument; KIN_ECORRUPT when shared memory holds
 * what the library never writes; KIN_EFAMILYFULL or another error of joining the family in a
 * process that uses the library for the first time; from a call that waits, what the thread's
 * interrupt function returned. A process that is stopped (SIGSTOP) inside an operation can delay
 * others beyond their timeouts until it continues.
 */
#ifndef KINFOLK_QUEUE_H
#define KINFOLK_QUEUE_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_queue kin_queue;

/* Messages up to this many bytes are kept in the queue itself, larger ones in a block each. */
#define KIN_QUEUE_SMALL 256

struct kin_queue_options {
    size_t size;        /* of this struct */
    size_t capacity;    /* messages the queue holds before a put waits; 0: no limit */
    uint64_t max_bytes; /* bytes of messages it holds before a put waits; 0: no limit */
    int joinable;       /* not 0: counts unfinished messages (kin_queue_task_done, _join) */
};
#define KIN_QUEUE_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(struct kin_queue_options), 0, 0, 0                                                  \
    }

/*
 * Creates a queue; `options` NULL: the defaults, an unbounded queue. 0, KIN_EQUOTA, -ENOMEM.
 * Destroy the handle with kin_queue_destroy. Does not block.
 */
KIN_API int kin_queue_create(const struct kin_queue_options *options, kin_queue **ret_queue);

/*
 * Gives the handle back (NULL allowed); returns NULL. Messages stay while another process or
 * handle holds the queue; with the last handle they go. No other thread may use the handle, and no
 * view of it (kin_queue_reserve, kin_queue_peek) may be open.
 */
KIN_API kin_queue *kin_queue_destroy(kin_queue *queue);

/* The queue's name, to be sent to another member; the sender keeps its handle until then. 0. */
KIN_API int kin_queue_ref(const kin_queue *queue, kin_ref *ret_ref);

/* A handle of this process's own, from a reference. 0, KIN_ESTALE, KIN_ETYPE, KIN_ENOFAMILY. */
KIN_API int kin_queue_attach(const kin_ref *ref, kin_queue **ret_queue);

/*
 * Puts a copy of `size` bytes (0 allowed: an empty message; `data` may then be NULL), waiting for
 * room in a bounded queue. 0; -ETIMEDOUT when there was no room in time (with timeout 0: now);
 * KIN_ECLOSED; KIN_ETOOBIG for more than max_bytes; KIN_EQUOTA when the arena is full. The queue
 * is unchanged on every error.
 */
KIN_API int kin_queue_put(kin_queue *queue, const void *data, size_t size, int64_t timeout_ns);

/*
 * Takes the oldest message into `buffer`, waiting for one. `*size` is the room on entry and the
 * message's length on return. 0; -ETIMEDOUT when none came in time (with timeout 0: none is here);
 * KIN_ECLOSED once the queue is closed and empty; KIN_ETOOBIG when the room is too small: then
 * `*size` is the length needed and the message stays, first in line.
 */
KIN_API int kin_queue_get(kin_queue *queue, void *buffer, size_t *size, int64_t timeout_ns);

/* One message of a batch. */
struct kin_queue_item {
    const void *data;
    size_t size;
};

/*
 * Puts `count` messages (at most INT_MAX) in order, many with one turn of the lock. Returns how
 * many were put: fewer than `count` when the rest found no room in time, or met an error after the
 * first; if none was put, the error, as kin_queue_put. Messages of other processes may come
 * between them.
 */
KIN_API int kin_queue_put_many(kin_queue *queue, const struct kin_queue_item *items, size_t count,
                               int64_t timeout_ns);

/*
 * Waits for one message, then takes as many as are there, at most `count`, into `buffer` of `room`
 * bytes one behind another, each at a multiple of 16 from the start; ret_items[i] says where and
 * how long. Returns how many (at least 1), or an error as kin_queue_get; KIN_ETOOBIG when not even
 * the first fits: ret_items[0].size then is its length. A process that is killed inside loses at
 * most the messages of this call.
 */
KIN_API int kin_queue_get_many(kin_queue *queue, void *buffer, size_t room,
                               struct kin_queue_item *ret_items, size_t count,
                               int64_t timeout_ns);

/*
 * A message in place: `data` and `size` are for the caller, the rest is the library's. Must not be
 * copied or moved while it is open, and must be closed in the process that opened it. A process
 * can have some 90 open at once; those it leaves open when it dies are freed.
 */
struct kin_queue_view {
    void *data;
    size_t size;
    uint64_t word[4];
    unsigned char small[KIN_QUEUE_SMALL];
};

/*
 * Room of `size` bytes (at least 1) in shared memory, aligned to 64, to be filled by the caller
 * and put without a copy by kin_queue_commit, or given back by kin_queue_cancel. It is not yet in
 * the queue and has no place in line. 0; KIN_ECLOSED; KIN_ETOOBIG; KIN_EQUOTA; -ENOBUFS when the
 * process has too many views open. Does not block.
 */
KIN_API int kin_queue_reserve(kin_queue *queue, size_t size, struct kin_queue_view *ret_view);

/*
 * Puts the first `size` bytes (at most those reserved, at least 1) of a reserved view, waiting for
 * room. 0: the view is closed. As kin_queue_put otherwise, or KIN_ESTATE for a view that is not
 * open here; the view then stays open, to be committed again or cancelled.
 */
KIN_API int kin_queue_commit(kin_queue *queue, struct kin_queue_view *view, size_t size,
                             int64_t timeout_ns);

/* Gives a reserved view back. 0, or KIN_ESTATE for a view that is not open here. */
KIN_API int kin_queue_cancel(kin_queue *queue, struct kin_queue_view *view);

/*
 * Takes the oldest message, waiting for one, and leaves it where it is (a small one is copied into
 * the view): `data` and `size` say where, aligned to 8 at least; the caller may also write there.
 * It is the caller's alone until kin_queue_release, and lost if the process dies before. 0;
 * -ETIMEDOUT; KIN_ECLOSED; -ENOBUFS when the process has too many views open (nothing is taken).
 */
KIN_API int kin_queue_peek(kin_queue *queue, struct kin_queue_view *ret_view, int64_t timeout_ns);

/* Ends the use of a peeked message. 0, or KIN_ESTATE for a view that is not open here. */
KIN_API int kin_queue_release(kin_queue *queue, struct kin_queue_view *view);

/* Messages in the queue now. Does not block. */
KIN_API int kin_queue_size(kin_queue *queue, size_t *ret_messages);

/*
 * Closes the queue for good: puts fail with KIN_ECLOSED from now on, gets take what is left and
 * then fail so too, and everybody who waits returns. Any process may. 0, also when it was closed.
 */
KIN_API int kin_queue_close(kin_queue *queue);

/*
 * Of a joinable queue: one message that was got has been dealt with. Any process may say so. 0;
 * KIN_EOVERFLOW if no message is unfinished; KIN_ESTATE if the queue is not joinable. What a
 * process has got and not yet declared done counts as done when it is killed or crashes.
 */
KIN_API int kin_queue_task_done(kin_queue *queue);

/*
 * Waits until every message ever put is done. 0; -ETIMEDOUT; KIN_ESTATE if the queue is not
 * joinable.
 */
KIN_API int kin_queue_join(kin_queue *queue, int64_t timeout_ns);

/*
 * A descriptor for poll, select and epoll that is readable whenever a message is there (or the
 * queue is closed and empty). It can be readable when none is: a kin_queue_get that finds the
 * queue empty makes it unreadable again. Never read from it, write to it or close it. It belongs
 * to this handle in this process (a forked child asks for its own) until kin_queue_destroy; the
 * same one is returned each time. Returns it (>= 0); -ENOSPC when 64 handles already have one;
 * -EMFILE and what else the system says. All members must be in one network namespace.
 */
KIN_API int kin_queue_fd(kin_queue *queue);

struct kin_queue_stats {
    size_t size;         /* of this struct, set by the caller */
    uint64_t messages;   /* in the queue */
    uint64_t bytes;      /* of these messages */
    uint64_t put;        /* messages ever put */
    uint64_t unfinished; /* joinable: put and not done */
    uint64_t lost;       /* joinable: counted as done because their process died */
    uint64_t segments;   /* blocks that hold the line */
};
KIN_API int kin_queue_stats(kin_queue *queue, struct kin_queue_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
