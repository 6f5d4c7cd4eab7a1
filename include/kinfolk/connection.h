/*
 * Connections: whole messages of bytes over a pipe or a stream socket.
 *
 * kin_pipe_create (pipe.h) makes two that are joined, kin_listener_accept and kin_client_connect
 * (listener.h) make them over a socket, kin_connection_from_fd makes one of a descriptor. Messages
 * are framed as Python's multiprocessing.connection does (a big-endian 4-byte length, or -1 and 8
 * bytes beyond 2 GiB), so the other end may be a foreign program.
 *
 * A connection may be used by several threads at once and, after a fork, by several processes:
 * messages are never interleaved, and each is received by one. If a process dies in the middle of
 * a message, the others that use the connection are not held up: they go on if the stream is still
 * whole, or get KIN_ETORN (same end) and KIN_EPEERDIED (other end) if it is not. Messages up to
 * 4,092 bytes on pipes and AF_UNIX sockets (whose send buffer is not below 8.5 kB) are sent whole
 * or not at all. Processes that did not
 * inherit the connection by fork share this order if they attach by kin_connection_ref.
 *
 * A process sees the end of the stream only when every copy of the other end is closed, its own
 * included: after a fork, each process closes the end that it does not use.
 *
 * Every call may return, besides what it lists: -EINVAL (arguments), KIN_ESTATE (the connection is
 * closed), what the thread's interrupt function said, and what kept the process from joining a
 * family (KIN_EFAMILYFULL, -ENOMEM, ...). Calls with a timeout block at most that long; none holds
 * up a fork. All are thread-safe except the destroy, and work in forked children.
 */
#ifndef KINFOLK_CONNECTION_H
#define KINFOLK_CONNECTION_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_connection kin_connection;

/*
 * A connection over an open pipe or stream socket, which it takes over (sets close-on-exec, closes
 * it in the end) if the call succeeds. It is readable and writable as the descriptor is. -EBADF,
 * -EPROTOTYPE for a socket that is no byte stream, KIN_EQUOTA, -ENOMEM. Does not block.
 */
KIN_API int kin_connection_from_fd(int fd, kin_connection **ret_connection);

/*
 * Closes the descriptor; calls under way in other threads end with KIN_ESTATE within 100 ms, later
 * ones at once. 0, also when it was closed. Copies in other processes stay open.
 */
KIN_API int kin_connection_close(kin_connection *connection);

/* Closes and frees; no other thread may use it any more. NULL is allowed; returns NULL. */
KIN_API kin_connection *kin_connection_destroy(kin_connection *connection);

/* As destroy, but the descriptor stays open and is the caller's: returned (>= 0), or an error and
 * nothing is done. */
KIN_API int kin_connection_release(kin_connection *connection);

/* The descriptor, for select, poll, epoll and inheritance (not for reading and writing);
 * KIN_ESTATE when closed. It is readable when a message can be received, with one exception: a
 * message that kin_connection_next_size has announced may be ready without it. */
KIN_API int kin_connection_fd(const kin_connection *connection);

/* 1 if messages can be received (sent) by the descriptor's mode, else 0. */
KIN_API int kin_connection_readable(const kin_connection *connection);
KIN_API int kin_connection_writable(const kin_connection *connection);

/*
 * Sends one message of `size` bytes (0 is allowed; `data` may then be NULL). -ETIMEDOUT: nothing
 * was sent. KIN_ECLOSED: the other end is closed. KIN_ETORN: the message was begun and could not
 * be finished, because the time ran out or (at its first use afterwards) another sender was killed
 * in the middle; this end can send no more, and the receiver gets KIN_EPEERDIED. Interrupting the
 * call in the middle of a message has the same effect; so give large messages time.
 * KIN_EPEERDIED: the receiver died in the middle of a message. -EBADF if it is not writable.
 */
KIN_API int kin_connection_send(kin_connection *connection, const void *data, size_t size,
                                int64_t timeout_ns);

/*
 * Receives one message: *size is the room in `buffer` before and the message's size after.
 * KIN_ETOOBIG: the room is too small; *size is what is needed, and the message stays. -ETIMEDOUT:
 * nothing is lost, even if part of the message had come; this process receives it first then.
 * KIN_ECLOSED: the other end is closed, and everything was received. KIN_EPEERDIED: the other end
 * went away in the middle of a message. KIN_ETORN: another receiver did. KIN_ECORRUPT: the peer
 * does not speak the protocol. -EBADF if it is not readable.
 */
KIN_API int kin_connection_recv(kin_connection *connection, void *buffer, size_t *size,
                                int64_t timeout_ns);

/*
 * The same into memory of malloc, which the caller frees; of at most `limit` bytes (0: any):
 * KIN_ETOOBIG for a larger message, which stays, its size in *ret_size. The memory is allocated
 * only once the size is known and within the limit. -ENOMEM: the message stays. An empty message
 * is an allocation, too.
 */
KIN_API int kin_connection_recv_new(kin_connection *connection, size_t limit, void **ret_data,
                                    size_t *ret_size, int64_t timeout_ns);

/* Waits for the next message and tells its size; the message stays. Fails as recv does. */
KIN_API int kin_connection_next_size(kin_connection *connection, size_t *ret_size,
                                     int64_t timeout_ns);

/* Receives one message and throws it away. Fails as recv does. */
KIN_API int kin_connection_skip(kin_connection *connection, int64_t timeout_ns);

/*
 * Waits until recv would not wait for a message to begin: 0 if there is one, or an end or failure
 * to be told of; -ETIMEDOUT. -EBADF if it is not readable.
 */
KIN_API int kin_connection_poll(kin_connection *connection, int64_t timeout_ns);

/*
 * Sends 1 to 253 descriptors (on AF_UNIX sockets: duplex pipes among them; else -ENOTSUP). The
 * receiver must call kin_connection_recv_fds for them, at this place in the order of messages.
 * As Python's multiprocessing.reduction.sendfds. Fails as send does.
 */
KIN_API int kin_connection_send_fds(kin_connection *connection, const int *fds, size_t count,
                                    int64_t timeout_ns);

/*
 * Receives descriptors: *count is the room in `fds` before and their number after. They are new,
 * close-on-exec and the caller's. -EMSGSIZE: more came than there is room; -EMFILE: more than this
 * process may open. In both cases they are closed, and the connection goes on.
 * KIN_ECORRUPT: the bytes that came carry none (the connection is then unusable for receiving).
 * KIN_ESTATE: a message is next. Otherwise fails as recv does.
 */
KIN_API int kin_connection_recv_fds(kin_connection *connection, int *fds, size_t *count,
                                    int64_t timeout_ns);

struct kin_peer {
    int32_t pid; /* 0 if it is in another PID namespace */
    uint32_t uid;
    uint32_t gid;
};

/* Who opened the other end of an AF_UNIX socket, as the kernel noted then; -ENOTSUP for others. */
KIN_API int kin_connection_peer(const kin_connection *connection, struct kin_peer *ret_peer);

/* What a process that did not inherit the connection by fork needs beside its descriptor. Plain
 * bytes; good while any process has the connection. */
struct kin_connection_ref {
    kin_ref channel;
    uint32_t side;
    uint32_t paired;
};
KIN_API int kin_connection_ref(const kin_connection *connection,
                               struct kin_connection_ref *ret_ref);

/* As kin_connection_from_fd, in order with the others that use this end. KIN_ESTALE, KIN_ETYPE. */
KIN_API int kin_connection_attach(const struct kin_connection_ref *ref, int fd,
                                  kin_connection **ret_connection);

#ifdef __cplusplus
}
#endif

#endif
