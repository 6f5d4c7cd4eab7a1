/* Byte streams: pipes, stream sockets, descriptors sent along. Layer: os. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As the kernel has it since 6.18; glibc 2.36 does not know it. */
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100
#endif

static kin__a32 nowait_read_refused;
static kin__a32 nowait_write_refused;

void kin__fd_refuse_nowait(bool refuse)
{
    kin__a32_store_relaxed(&nowait_read_refused, refuse);
    kin__a32_store_relaxed(&nowait_write_refused, refuse);
}

/* An AF_UNIX stream queues a write in one step if it fits one buffer, of which a small socket's are
 * smaller. */
static int whole_of_unix(int fd, size_t *ret_whole)
{
    int room = 0;
    socklen_t length = sizeof room;
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &length) < 0) {
        return -errno;
    }
    room = room / 2 - 64;
    *ret_whole = room < 0 ? 0 : room < PIPE_BUF ? (size_t)room : PIPE_BUF;
    return 0;
}

int kin__fd_probe(int fd, struct kin__fd_info *ret_info)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    struct kin__fd_info info = {.kind = KIN__FD_OTHER};
    if (S_ISFIFO(st.st_mode)) {
        info.kind = KIN__FD_PIPE;
        info.whole = PIPE_BUF; /* a pipe promises it */
    } else if (S_ISSOCK(st.st_mode)) {
        int domain = 0;
        int type = 0;
        socklen_t length = sizeof domain;
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0) {
            return -errno;
        }
        length = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) {
            return -errno;
        }
        if (type != SOCK_STREAM) {
            return -EPROTOTYPE;
        }
        info.kind = domain == AF_UNIX ? KIN__FD_UNIX : KIN__FD_SOCKET;
        int rc = domain == AF_UNIX ? whole_of_unix(fd, &info.whole) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    int mode = flags & O_ACCMODE;
    info.readable = mode == O_RDONLY || mode == O_RDWR;
    info.writable = mode == O_WRONLY || mode == O_RDWR;
    *ret_info = info;
    return 0;
}

int kin__pipe_create(int ret_fds[2])
{
    return pipe2(ret_fds, O_CLOEXEC) < 0 ? -errno : 0;
}

int kin__socketpair_create(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) < 0 ? -errno : 0;
}

int kin__fd_close(int fd)
{
    return close(fd) < 0 ? -errno : 0;
}

int kin__fd_set_cloexec(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int kin__stream_set_capacity(const int fds[2], bool sockets, size_t capacity)
{
    int bytes = capacity > INT_MAX ? INT_MAX : (int)capacity;
    if (!sockets) {
        return fcntl(fds[1], F_SETPIPE_SZ, bytes) < 0 ? -errno : 0;
    }
    for (int i = 0; i < 2; i++) {
        if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) < 0) {
            return -errno;
        }
    }
    return 0;
}

int kin__fd_poll(struct pollfd *fds, size_t count, int64_t deadline)
{
    struct timespec left = {0};
    if (deadline != KIN__NEVER) {
        int64_t ns = deadline - kin__clock_now();
        ns = ns < 0 ? 0 : ns;
        left = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    }
    int rc = ppoll(fds, count, deadline == KIN__NEVER ? NULL : &left, NULL);
    return rc < 0 ? -errno : rc;
}

/* Whether the event is there now: 1, 0 or -errno. Errors and hang-ups count as every event. */
static int ready_now(int fd, short event)
{
    struct pollfd item = {.fd = fd, .events = event};
    int rc = kin__fd_poll(&item, 1, 0);
    return rc;
}

ssize_t kin__fd_read(int fd, enum kin__fd_kind kind, void *buffer, size_t size)
{
    if (kind == KIN__FD_UNIX || kind == KIN__FD_SOCKET) {
        ssize_t rc = recv(fd, buffer, size, MSG_DONTWAIT);
        return rc < 0 ? -errno : rc;
    }
    if (kind == KIN__FD_PIPE && kin__a32_load_relaxed(&nowait_read_refused) == 0) {
        struct iovec part = {.iov_base = buffer, .iov_len = size};
        ssize_t rc = preadv2(fd, &part, 1, -1, RWF_NOWAIT);
        if (rc >= 0) {
            return rc;
        }
        if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM) {
            return -errno;
        }
        kin__a32_store_relaxed(&nowait_read_refused, 1);
    }
    int ready = ready_now(fd, POLLIN);
    if (ready <= 0) {
        return ready < 0 ? ready : -EAGAIN;
    }
    ssize_t rc = read(fd, buffer, size);
    return rc < 0 ? -errno : rc;
}

/* writev without SIGPIPE: it is sent to this thread, so it can be blocked and taken back here. */
static ssize_t write_quietly(int fd, const struct iovec *parts, int count)
{
    sigset_t mask;
    sigset_t before;
    sigset_t pending;
    sigemptyset(&mask);
    sigaddset(&mask, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    bool was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    ssize_t rc = writev(fd, parts, count);
    int error = rc < 0 ? errno : 0;
    if (error == EPIPE && !was_pending) {
        struct timespec now = {0};
        while (sigtimedwait(&mask, NULL, &now) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc < 0 ? -error : rc;
}

ssize_t kin__fd_write(int fd, enum kin__fd_kind kind, const struct iovec *parts, int count)
{
    if (kind == KIN__FD_UNIX || kind == KIN__FD_SOCKET) {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                                 .msg_iovlen = (size_t)count};
        ssize_t rc = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        return rc < 0 ? -errno : rc;
    }
    if (kind == KIN__FD_PIPE && kin__a32_load_relaxed(&nowait_write_refused) == 0) {
        ssize_t rc = pwritev2(fd, parts, count, -1, RWF_NOWAIT | RWF_NOSIGNAL);
        if (rc >= 0) {
            return rc;
        }
        if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM && errno != EINVAL) {
            return -errno;
        }
        kin__a32_store_relaxed(&nowait_write_refused, 1);
    }
    int ready = ready_now(fd, POLLOUT);
    if (ready <= 0) {
        return ready < 0 ? ready : -EAGAIN;
    }
    /* A writable pipe has room for PIPE_BUF bytes. */
    struct iovec limited[2];
    size_t room = PIPE_BUF;
    int used = 0;
    for (int i = 0; i < count && used < 2 && room > 0; i++) {
        limited[used] = parts[i];
        limited[used].iov_len = parts[i].iov_len < room ? parts[i].iov_len : room;
        room -= limited[used].iov_len;
        used++;
    }
    return write_quietly(fd, limited, used);
}

int kin__fd_shutdown_write(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

int kin__socket_peer(int fd, int32_t *ret_pid, uint32_t *ret_uid, uint32_t *ret_gid)
{
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) {
        return -errno;
    }
    *ret_pid = credentials.pid;
    *ret_uid = credentials.uid;
    *ret_gid = credentials.gid;
    return 0;
}

/* Room for the ancillary data, aligned as cmsghdr must be. */
union rights {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(KIN__FDS_MAX * sizeof(int))];
};

int kin__fds_send(int fd, const int *fds, size_t count)
{
    uint8_t byte = (uint8_t)count;
    union rights rights;
    memset(&rights, 0, sizeof rights);
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = rights.bytes,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    ssize_t rc = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return rc < 0 ? -errno : 0;
}

int kin__fds_recv(int fd, int *ret_fds, size_t room, size_t *ret_count, bool *ret_eof)
{
    union rights rights;
    uint8_t byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = rights.bytes,
                             .msg_controllen = sizeof rights.bytes};
    ssize_t rc = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (rc < 0) {
        return -errno;
    }
    int got[KIN__FDS_MAX];
    size_t count = 0;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL;
         head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t more = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (more > KIN__FDS_MAX - count) {
            more = KIN__FDS_MAX - count;
        }
        memcpy(got + count, CMSG_DATA(head), more * sizeof(int));
        count += more;
    }
    *ret_eof = rc == 0;
    if (rc == 0) {
        return 0;
    }
    int error = message.msg_flags & MSG_CTRUNC             ? -EMFILE
                : count == 0 || byte != (uint8_t)count ? -EPROTO
                : count > room                         ? -EMSGSIZE
                                                       : 0;
    if (error < 0) {
        for (size_t i = 0; i < count; i++) {
            close(got[i]);
        }
        return error;
    }
    memcpy(ret_fds, got, count * sizeof(int));
    *ret_count = count;
    return 0;
}
