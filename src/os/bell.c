/*
 * Bells: descriptors that any process can make readable without sharing one. Layer: os.
 *
 * A bell is a datagram socket with an abstract name made of a random number; to ring is to send it
 * one byte. Names live and die with their sockets, so nothing is left behind, and a bell can be
 * rung by processes that started before it was made as well as by later ones.
 */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The socket that this process rings with, plus one; 0: none yet. Forked children share it. */
static kin__a32 sender;

static socklen_t address_of(uint64_t nonce, struct sockaddr_un *address)
{
    /* Each put into an empty queue that somebody polls comes here: no printf. */
    static const char prefix[] = "\0kinfolk-bell-"; /* names begin behind a zero byte */
    char *digit = address->sun_path + sizeof prefix - 1;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, prefix, sizeof prefix - 1);
    for (int shift = 60; shift >= 0; shift -= 4) {
        *digit++ = "0123456789abcdef"[nonce >> shift & 15];
    }
    return (socklen_t)(digit - (char *)address);
}

static int make_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

int kin__bell_open(uint64_t nonce)
{
    int fd = make_socket();
    if (fd < 0) {
        return fd;
    }
    struct sockaddr_un address;
    socklen_t length = address_of(nonce, &address);
    if (bind(fd, (struct sockaddr *)&address, length) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

bool kin__bell_is_ready(void)
{
    return kin__a32_load(&sender) != 0;
}

int kin__bell_prepare(void)
{
    if (kin__bell_is_ready()) {
        return 0;
    }
    int fd = make_socket();
    if (fd < 0) {
        return fd;
    }
    uint32_t none = 0;
    if (!kin__a32_cas(&sender, &none, (uint32_t)fd + 1)) {
        close(fd); /* another thread was faster */
    }
    return 0;
}

static int send_from(int fd, uint64_t nonce)
{
    struct sockaddr_un address;
    socklen_t length = address_of(nonce, &address);
    ssize_t sent;
    do {
        sent = sendto(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

int kin__bell_ring(uint64_t nonce)
{
    uint32_t mine = kin__a32_load(&sender);
    int rc = mine == 0 ? -EBADF : send_from((int)mine - 1, nonce);
    switch (rc) {
    case 0:
    case -ECONNREFUSED:
    case -EPERM:
    case -ENOMEM:
    case -ENOBUFS:
        return rc;
    case -EAGAIN:
        /* The bell is full of rings, or what we sent to other bells fills our buffer: a new socket
         * tells, since its own is empty. */
        break;
    default:
        /* The user closed our descriptor, or made it something else. */
        kin__a32_cas(&sender, &mine, 0);
    }
    int fd = make_socket();
    if (fd < 0) {
        return fd;
    }
    rc = send_from(fd, nonce);
    close(fd);
    return rc == -EAGAIN ? 0 : rc;
}

void kin__bell_drain(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno == EINTR) {
    }
}
