/* Socket addresses, listening and connecting. Layer: os. */
#include "os/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof(struct sockaddr_un) <= sizeof(((struct kin__address *)0)->bytes),
               "room for every address");

int kin__address_unix(const char *name, bool abstract, struct kin__address *ret_address)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    /* A path keeps its terminator; an abstract name has a zero in front and none behind. */
    if (length + 1 > sizeof address.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path + abstract, name, length);
    memset(ret_address, 0, sizeof *ret_address);
    memcpy(ret_address->bytes, &address, sizeof address);
    ret_address->length = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

static int error_of_resolver(int rc)
{
    switch (rc) {
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return -errno;
    case EAI_AGAIN:
        return -EHOSTUNREACH;
    default:
        return -ENOENT;
    }
}

int kin__address_inet(const char *host, uint16_t port, struct kin__address *ret_address)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (host[0] == '\0') {
        address.sin_addr.s_addr = htonl(INADDR_ANY);
    } else if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
        struct addrinfo *found = NULL;
        int rc = getaddrinfo(host, NULL, &hints, &found);
        if (rc != 0) {
            return error_of_resolver(rc);
        }
        struct sockaddr_in first;
        memcpy(&first, found->ai_addr, sizeof first);
        address.sin_addr = first.sin_addr;
        freeaddrinfo(found);
    }
    memset(ret_address, 0, sizeof *ret_address);
    memcpy(ret_address->bytes, &address, sizeof address);
    ret_address->length = sizeof address;
    return 0;
}

static const struct sockaddr *sockaddr_of(const struct kin__address *address)
{
    return (const struct sockaddr *)(const void *)address->bytes;
}

int kin__socket_listen(const struct kin__address *address, int backlog)
{
    /* Non-blocking: of several who wait for one client, all but one find it taken. */
    const int family = sockaddr_of(address)->sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int one = 1;
    if ((family == AF_INET && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) ||
        bind(fd, sockaddr_of(address), address->length) < 0 || listen(fd, backlog) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Messages are written whole: waiting for more to send along only costs time. */
static void send_at_once(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails, rightly, on AF_UNIX */
}

int kin__socket_accept(int fd)
{
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0) {
        return -errno;
    }
    send_at_once(connection);
    return connection;
}

/* AF_UNIX: connect itself waits for room in the listener's queue, as long as the socket's own
 * sending timeout says. */
static int connect_unix(int fd, const struct kin__address *address, int64_t deadline)
{
    int64_t ns = deadline - kin__clock_now();
    int64_t us = ns < 1000 ? 1 : ns / 1000;
    struct timeval limit = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) {
        return -errno;
    }
    int rc = connect(fd, sockaddr_of(address), address->length) < 0 ? -errno : 0;
    limit = (struct timeval){0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

static int connect_inet(int fd, const struct kin__address *address, int64_t deadline)
{
    int rc = connect(fd, sockaddr_of(address), address->length) < 0 ? -errno : 0;
    if (rc == -EISCONN) {
        rc = 0;
    }
    if (rc == -EINPROGRESS || rc == -EALREADY) {
        struct pollfd item = {.fd = fd, .events = POLLOUT};
        rc = kin__fd_poll(&item, 1, deadline);
        if (rc <= 0) {
            return rc < 0 ? rc : -ETIMEDOUT;
        }
        int error = 0;
        socklen_t length = sizeof error;
        rc = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? -errno : -error;
    }
    if (rc == 0) {
        send_at_once(fd);
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
            return -errno;
        }
    }
    return rc;
}

int kin__socket_connect(const struct kin__address *address, int *fd, int64_t deadline)
{
    const int family = sockaddr_of(address)->sa_family;
    if (*fd < 0) {
        int mode = family == AF_UNIX ? 0 : SOCK_NONBLOCK;
        *fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | mode, 0);
        if (*fd < 0) {
            return -errno;
        }
    }
    return family == AF_UNIX ? connect_unix(*fd, address, deadline)
                             : connect_inet(*fd, address, deadline);
}

int kin__socket_inet_name(int fd, char *ret_text, size_t room)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char host[INET_ADDRSTRLEN];
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        inet_ntop(AF_INET, &address.sin_addr, host, sizeof host) == NULL) {
        return -errno;
    }
    snprintf(ret_text, room, "%s:%u", host, (unsigned)ntohs(address.sin_port));
    return 0;
}

int kin__path_identity(const char *path, uint64_t *ret_device, uint64_t *ret_inode)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        return -errno;
    }
    *ret_device = st.st_dev;
    *ret_inode = st.st_ino;
    return 0;
}

int kin__path_remove(const char *path)
{
    return unlink(path) < 0 ? -errno : 0;
}

uint32_t kin__uid(void)
{
    return geteuid();
}
