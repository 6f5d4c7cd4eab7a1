/*
 * The contract with the operating system: every system call of the library is behind one of
 * these. Layer: os.
 *
 * Functions return >= 0 or -errno; errno is not part of the contract. None of them allocates from
 * the C heap unless it says so, so that they may be called in a forked child of a threaded parent.
 */
#ifndef KIN_OS_OS_H
#define KIN_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"
#include "base/bits.h"

/* --- clock.c: monotonic nanoseconds ------------------------------------------------------- */

#define KIN__NEVER INT64_MAX

int64_t kin__clock_now(void);

/* Now, in the unit of a process's start time, rounded down. */
uint64_t kin__clock_ticks(void);

/* The absolute deadline of a public timeout_ns: KIN__NEVER for KIN_FOREVER (and any negative). */
int64_t kin__clock_deadline(int64_t timeout_ns);

/* --- futex.c: sleeping on shared words ---------------------------------------------------- */

struct kin__futex_pair {
    kin__a32 *word;
    uint32_t seen;
};

/*
 * Sleeps while *word == seen, at most until the absolute deadline. Returns 0 when woken (also
 * spuriously, or at once because the word differs), -ETIMEDOUT, or -EINTR.
 */
int kin__futex_wait(kin__a32 *word, uint32_t seen, int64_t deadline);

/*
 * The same on up to 128 words at once. Where the kernel or a filter refuses futex_waitv (ENOSYS,
 * EPERM), sleeps on the first word only, for at most 10 ms, and returns 0.
 */
int kin__futex_wait_many(const struct kin__futex_pair *pairs, unsigned count, int64_t deadline);

/* Forces the path without futex_waitv, for tests. */
void kin__futex_refuse_waitv(bool refuse);

/* Wakes up to `count` sleepers; returns how many were woken. */
int kin__futex_wake(kin__a32 *word, int count);

/* --- memory.c: anonymous files and mappings ----------------------------------------------- */

/* An anonymous file of `size` bytes, close-on-exec, sealed against shrinking. Returns the fd. */
int kin__memfd_create(const char *name, uint64_t size);

/* Allocates the file's pages in [offset, offset + length) and grows it to their end. */
int kin__file_grow(int fd, uint64_t offset, uint64_t length);

int64_t kin__file_size(int fd);

/* Reads exactly `size` bytes at the offset; -EIO if the file is shorter. */
int kin__file_read_at(int fd, uint64_t offset, void *buffer, size_t size);

/*
 * Maps `size` bytes of the file, shared, kept out of core dumps. `hint` NULL: anywhere. `exact`:
 * at the hint or -EADDRINUSE; otherwise the hint is a wish.
 */
int kin__map_shared(int fd, uint64_t size, void *hint, bool exact, void **ret_address);
void kin__unmap(void *address, uint64_t size);

/* A private zero page that is zero again in every forked child (MADV_WIPEONFORK). */
int kin__map_wipe_on_fork(size_t size, void **ret_address);

/* Bytes that a growing arena may still take: the lesser of MemAvailable and what the memory
 * cgroup leaves; UINT64_MAX if neither can be read. */
uint64_t kin__memory_available(void);

/* The lesser of a quarter of MemAvailable, half of the cgroup's limit and a quarter of RLIMIT_AS. */
uint64_t kin__memory_default_quota(void);

int kin__random(void *buffer, size_t size);

/* --- stream.c: byte streams and descriptors ------------------------------------------------ */

struct iovec;
struct pollfd;

enum kin__fd_kind {
    KIN__FD_PIPE,
    KIN__FD_UNIX,   /* AF_UNIX stream: passes descriptors, small writes are whole */
    KIN__FD_SOCKET, /* another stream socket */
    KIN__FD_OTHER,  /* a device, a file, ... */
};

struct kin__fd_info {
    enum kin__fd_kind kind;
    bool readable; /* by its access mode */
    bool writable;
    size_t whole; /* bytes that a write takes whole or not at all, whoever else writes; 0: none */
};
int kin__fd_probe(int fd, struct kin__fd_info *ret_info);

/* Close-on-exec pairs: a pipe {read end, write end}, or two connected AF_UNIX stream sockets. */
int kin__pipe_create(int ret_fds[2]);
int kin__socketpair_create(int ret_fds[2]);
int kin__fd_close(int fd);
int kin__fd_set_cloexec(int fd);
/* Bytes that the kernel is to hold of what was written and not read, in each direction. */
int kin__stream_set_capacity(const int fds[2], bool sockets, size_t capacity);

/*
 * Read and write without blocking, whatever the descriptor's own mode, and without SIGPIPE:
 * bytes moved, 0 at the end of the stream (read), -EAGAIN when nothing can be moved now. Where the
 * kernel cannot do that on a pipe (before 6.5, or 6.18 for writing), they look first with poll and
 * move at most PIPE_BUF at a time; then a foreign process that uses the same end at the same time
 * can make them block.
 */
ssize_t kin__fd_read(int fd, enum kin__fd_kind kind, void *buffer, size_t size);
ssize_t kin__fd_write(int fd, enum kin__fd_kind kind, const struct iovec *parts, int count);

/* Forces the path for older kernels, for tests. */
void kin__fd_refuse_nowait(bool refuse);

/* poll(2) until an absolute deadline: how many are ready, 0 when it has passed, or -EINTR. */
int kin__fd_poll(struct pollfd *fds, size_t count, int64_t deadline);

/* The peers of a socket read end-of-stream from here on. */
int kin__fd_shutdown_write(int fd);

/* Who was at the other end of an AF_UNIX socket when it was made; pid 0: another namespace's. */
int kin__socket_peer(int fd, int32_t *ret_pid, uint32_t *ret_uid, uint32_t *ret_gid);

/* Most descriptors that one kin__fds_send can carry (the kernel's SCM_MAX_FD). */
#define KIN__FDS_MAX 253

/*
 * One byte of data (their number, modulo 256) with descriptors, on AF_UNIX, without blocking: 0 or
 * -EAGAIN. The receiver gets all of them, close-on-exec, or none: more than `room` is -EMSGSIZE,
 * a byte that does not come with that many -EPROTO, and fewer because this process may have no more
 * -EMFILE; *ret_eof is set (and 0 returned) at the end of the stream.
 */
int kin__fds_send(int fd, const int *fds, size_t count);
int kin__fds_recv(int fd, int *ret_fds, size_t room, size_t *ret_count, bool *ret_eof);

/* --- socket.c: addresses, listening, connecting ------------------------------------------- */

/* A sockaddr. */
struct kin__address {
    uint32_t length;
    unsigned char bytes[112] __attribute__((aligned(8)));
};

int kin__address_unix(const char *name, bool abstract, struct kin__address *ret_address);

/* IPv4; host "": every interface. Resolves names: may block, allocates. -ENOENT: no such host. */
int kin__address_inet(const char *host, uint16_t port, struct kin__address *ret_address);

/* A listening, non-blocking, close-on-exec socket. */
int kin__socket_listen(const struct kin__address *address, int backlog);

/* An accepted, blocking, close-on-exec socket, or -EAGAIN, -ECONNABORTED, ... */
int kin__socket_accept(int fd);

/*
 * Connects by the absolute deadline. *fd is -1 at first; the socket is stored there and the call
 * may be repeated after -ETIMEDOUT and -EINTR; the caller closes it on failure.
 */
int kin__socket_connect(const struct kin__address *address, int *fd, int64_t deadline);

/* "host:port" of an IPv4 socket. */
int kin__socket_inet_name(int fd, char *ret_text, size_t room);

/* Which file a path names (not following a link). */
int kin__path_identity(const char *path, uint64_t *ret_device, uint64_t *ret_inode);
int kin__path_remove(const char *path);

/* The effective user. */
uint32_t kin__uid(void);

/* --- proc.c: processes -------------------------------------------------------------------- */

int32_t kin__pid(void);

/* Lets another thread run on this CPU. */
void kin__yield(void);
int32_t kin__tid(void);

/* A close-on-exec pidfd. */
int kin__pidfd_open(int32_t pid);

/* Start time in clock ticks since boot (field 22 of /proc/PID/stat). */
int kin__process_start_time(int32_t pid, uint64_t *ret_ticks);

/* The id of the caller's PID namespace. */
uint64_t kin__pid_namespace(void);

enum kin__life {
    KIN__LIFE_GONE,    /* exited, even if not yet reaped, or the pid is another process's */
    KIN__LIFE_RUNNING, /* alive, with the image that maps `inode` */
    KIN__LIFE_OTHER_IMAGE, /* alive, but it has executed another program */
    KIN__LIFE_UNSURE,  /* alive, and its mappings cannot be read */
};

/*
 * What became of the process that had this pid at `seen_at` (ticks since boot; 0: not known).
 * `inode` (0: do not look) is the file that its image must still map.
 */
enum kin__life kin__process_life(int32_t pid, uint64_t seen_at, uint64_t inode);

/*
 * Whether any process that started at `since` (ticks since boot) or later and that `known` does not
 * know maps the inode: 1, 0, or -errno if that cannot be told (a process's mappings cannot be
 * read). Looks through /proc; slow.
 */
int kin__process_find_mapping(uint64_t inode, uint64_t since,
                              bool (*known)(int32_t pid, void *arg), void *arg);

/* The inode number of an open file, or 0. */
uint64_t kin__file_inode(int fd);

/* --- cpu.c: where a thread may run, small files ------------------------------------------- */

/* The calling thread's affinity mask; bits beyond `count` words are dropped, missing ones are 0. */
int kin__affinity_get(uint64_t *words, unsigned count);
int kin__affinity_set(const uint64_t *words, unsigned count);

/* The CPU that the calling thread runs on. */
int kin__cpu_now(void);

/*
 * Reads a whole text file of less than `size` bytes and ends it with a NUL. Returns its length,
 * -EFBIG if it is longer, or -errno.
 */
int kin__text_read(const char *path, char *text, size_t size);

/* --- child.c: making, watching and ending processes --------------------------------------- */

/* glibc's fork, at-fork handlers included. */
int32_t kin__fork(void);

/* Ends this process now: no handlers, no flush. */
_Noreturn void kin__process_end(int code);

/* Kills this process by the signal that nothing can hold up. */
_Noreturn void kin__process_kill_self(void);

int32_t kin__parent_pid(void);

/* The wait status of a child of ours that has ended: 1, 0 while it runs, or -ECHILD if it is not
 * ours to wait for or its status is gone. Reaps it. Does not block. */
int kin__child_reap(int pidfd, int *ret_status);

/* SIGKILL by pid, for a process that is known to be and for which no pidfd can be had. */
void kin__process_kill(int32_t pid);

/* Kills and reaps a child of ours for which there is no pidfd. */
void kin__child_kill(int32_t pid);

/* -ESRCH once the process has been reaped. */
int kin__pidfd_signal(int pidfd, int signal_number);

/* Waits until the descriptor is readable or hung up: 1, 0 at the deadline, or -EINTR. */
int kin__fd_wait(int fd, int64_t deadline);

/* Closes a descriptor; -1 is none. */
void kin__fd_drop(int fd);

/*
 * For every descriptor that the library keeps: one that took the place of a closed 0, 1 or 2 moves
 * out of it, so that neither the program's output nor a child ends up in it. Close-on-exec. Passes
 * negative results on.
 */
int kin__fd_lift(int fd);
int kin__fd_take(int result);      /* of a system call just made: -errno if it failed */
int kin__fd_lift_pair(int fds[2]); /* both, or none are left open: 0 or -errno */

/* 0, or -EBADF. */
int kin__fd_check(int fd);

/* A descriptor that polls as readable for ever, like a pidfd of a process that has ended. */
int kin__sentinel_ended(void);

/* A close-on-exec pipe to tie children's lives to: [0] for them, [1] for the process itself. */
int kin__lifeline_create(int ret_fds[2]);

/*
 * Ties this process's life to a lifeline, a pipe whose only write end its parent holds: opens a
 * description of its own on the read end `fd` (left open), on which the kernel sends SIGKILL when
 * the write end is closed; dies at once if it already is. Returns the new descriptor, close-on-exec.
 */
int kin__lifeline_arm(int fd);

/* Asks for SIGKILL when the thread that started this process ends; dies at once if the process is no
 * longer a child of `parent`. */
void kin__parent_death_arm(int32_t parent);

/* --- event.c: event descriptors, watching many descriptors, signal masks ------------------ */

/* A non-blocking, close-on-exec eventfd. Readable from a signal until the next drain. */
int kin__event_create(void);
void kin__event_signal(int fd);
void kin__event_drain(int fd);

/* An epoll descriptor; the tags of the readable descriptors are what wait returns. */
int kin__watch_create(void);
int kin__watch_add(int watch, int fd, uint64_t tag);
void kin__watch_remove(int watch, int fd);
/* How many tags were stored, 0 at the deadline or when interrupted, or -errno. */
int kin__watch_wait(int watch, uint64_t *ret_tags, int room, int64_t deadline);

/* The calling thread's signal mask as bits (signal n is bit n - 1): blocks all and tells what it
 * was; tells; sets. */
uint64_t kin__signals_block(void);
uint64_t kin__signals_blocked(void);
void kin__signals_restore(uint64_t blocked);
void kin__signal_ignore(int signal_number);

/* --- bell.c: descriptors that other processes can make readable ---------------------------- */

/* A non-blocking, close-on-exec descriptor that becomes readable when anybody rings that random
 * number; it ceases to be a bell when the last copy of it is closed. */
int kin__bell_open(uint64_t nonce);

/* Makes what this process rings with, so that ringing needs one system call. */
int kin__bell_prepare(void);
bool kin__bell_is_ready(void);

/* 0: the bell's descriptor is readable; -ECONNREFUSED: there is no such bell. Does not block. */
int kin__bell_ring(uint64_t nonce);

/* Makes the descriptor unreadable. Does not block. */
void kin__bell_drain(int fd);

/* --- exec.c: a program in a new process ----------------------------------------------------- */

/*
 * Executes the program at `path` in a new child without copying this process. Of its descriptors the child
 * has 0, 1, 2 and the `fd_count` listed ones (which need not be inheritable). Caught signals are
 * reset, the mask is the caller's. Blocks until the new image is in place. `pid_word`, if not NULL,
 * receives the pid before that. Allocates. Returns 0, with a pidfd.
 */
int kin__execute(const char *path, char *const *argv, const int *fds, unsigned fd_count,
                 kin__a32 *pid_word, int32_t *ret_pid, int *ret_pidfd);

/* Every descriptor from 3 on but for the `count` listed ones becomes close-on-exec, and these do
 * not; or, if `close_them`, every other one is closed, and these stay what they are. `fds` is
 * sorted. */
void kin__fds_keep(const int *fds, unsigned count, bool close_them);

/* 0 or -errno. */
int kin__fd_set_inherited(int fd, bool inherited);

/* A duplicate with a number of at least `minimum`, close-on-exec. */
int kin__fd_move_above(int fd, int minimum);

/* Makes `to`, whatever it was, a duplicate of `fd`; close-on-exec if `to` is above 2. */
int kin__fd_put(int fd, int to);

/* Threads of this process, or -errno. */
int kin__thread_count(void);

/* A server's signals: SIGCHLD not ignored, so that statuses come; the keyboard's ignored. Its
 * children take what was before. */
void kin__server_signals_take(void);
void kin__server_signals_restore(void);

/* Reads a whole anonymous file of at most `limit` bytes into memory of malloc's. */
int kin__file_read_all(int fd, uint64_t limit, void **ret_data, size_t *ret_size);
int kin__file_write_all(int fd, const void *data, size_t size);

/* --- named.c: files of the POSIX shared memory namespace -------------------------------------- */

/* A name is one path component, without the slash. */
#define KIN__NAMED_MAX 254
#define KIN__NAMED_PATH (sizeof "/dev/shm/" + KIN__NAMED_MAX)

struct kin__named {
    int fd;
    uint64_t size;
    uint64_t device, inode; /* the file's identity, which a name alone is not */
};

/* A file that has no name yet, all of its memory allocated: -ENOSPC, -ENOMEM, -EFBIG, ... */
int kin__named_create(uint64_t size, unsigned mode, struct kin__named *ret_named);

/* Gives it its name at one instruction: -EEXIST, ... */
int kin__named_link(const struct kin__named *named, const char *name);

/* -ENOENT, -EACCES, -EINVAL for what is no file, ... */
int kin__named_open(const char *name, bool read_only, struct kin__named *ret_named);

int kin__named_map(const struct kin__named *named, bool read_only, void **ret_address);
int kin__named_unlink(const char *name);

/* Starts the process that removes names, and returns the end on which it is told of them. */
int kin__tracker_start(int *ret_fd);

/* An end of our own of the one that the process has under that number. Fails where it has none or
 * nobody reads. */
int kin__tracker_open(int32_t pid, int fd);

/* --- packet.c: messages with descriptors over a socket pair ---------------------------------- */

/* Most descriptors in one packet. */
#define KIN__PACKET_FDS 250

/* Two connected sockets that keep message boundaries, close-on-exec. */
int kin__packet_pair(int ret_fds[2]);

/* Sends without blocking and without SIGPIPE: 0, -EAGAIN, -EPIPE, ... */
int kin__packet_send(int socket, const void *data, size_t size, const int *fds, unsigned count);

/* The other end cannot send any more; what it has sent can still be received. */
void kin__packet_refuse(int socket);

/*
 * Receives without blocking: the length of the message, 0 at the end, -EAGAIN, ... Descriptors
 * arrive close-on-exec; on entry *fd_count is the room. A message that is longer than `size`, or
 * has more descriptors than fit, gives -EMSGSIZE, its descriptors closed but for the first, which
 * is there (*fd_count 1) if any came.
 */
int kin__packet_recv(int socket, void *data, size_t size, int *ret_fds, unsigned *fd_count);

#endif
