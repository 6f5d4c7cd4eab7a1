/* Messages with descriptors over a socket pair. Layer: os. */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int kin__packet_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0
               ? -errno
               : kin__fd_lift_pair(ret_fds);
}

int kin__packet_send(int socket, const void *data, size_t size, const int *fds, unsigned count)
{
    if (count > KIN__PACKET_FDS) {
        return -EINVAL;
    }
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(KIN__PACKET_FDS * sizeof(int))];
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        memset(control, 0, CMSG_SPACE(count * sizeof(int)));
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

void kin__packet_refuse(int fd)
{
    shutdown(fd, SHUT_RD);
}

/* Linux looks at the queue and then for the end: a message that came between, with the end after it,
 * reads as an end. Nothing comes after the end, so a second look tells. */
static ssize_t recv_next(int socket, struct msghdr *message)
{
    const size_t room = message->msg_controllen;
    bool ended = false;
    for (;;) {
        message->msg_controllen = room;
        ssize_t n = recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n == 0 && !ended) {
            ended = true;
        } else if (n >= 0 || errno != EINTR) {
            return n;
        }
    }
}

int kin__packet_recv(int socket, void *data, size_t size, int *ret_fds, unsigned *fd_count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(KIN__PACKET_FDS * sizeof(int))];
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recv_next(socket, &message);
    unsigned room = *fd_count, have = 0;
    *fd_count = 0;
    if (n < 0) {
        return -errno;
    }
    bool whole = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL;
         head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        unsigned came = (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < came; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            if (have < room) {
                ret_fds[have++] = fd;
            } else {
                close(fd);
                whole = false;
            }
        }
    }
    if (!whole) {
        for (unsigned i = 1; i < have; i++) {
            close(ret_fds[i]);
        }
        *fd_count = have > 0;
        return -EMSGSIZE;
    }
    *fd_count = have;
    return (int)n;
}
