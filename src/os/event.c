/* Event descriptors, watching many descriptors, signal masks. Layer: os. */
#include "os/os.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int kin__event_create(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

void kin__event_signal(int fd)
{
    uint64_t one = 1;
    ssize_t n;
    do {
        n = write(fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
}

void kin__event_drain(int fd)
{
    uint64_t count;
    ssize_t n;
    do {
        n = read(fd, &count, sizeof count);
    } while (n < 0 && errno == EINTR);
}

int kin__watch_create(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int kin__watch_add(int watch, int fd, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
    return epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void kin__watch_remove(int watch, int fd)
{
    epoll_ctl(watch, EPOLL_CTL_DEL, fd, NULL);
}

int kin__watch_wait(int watch, uint64_t *ret_tags, int room, int64_t deadline)
{
    struct epoll_event events[64];
    int timeout = -1;
    if (deadline != KIN__NEVER) {
        int64_t left = deadline - kin__clock_now();
        /* Rounded up, so that a caller does not spin through the last millisecond. */
        timeout = left <= 0 ? 0 : left > INT_MAX * INT64_C(1000000) ? INT_MAX
                                                                     : (int)((left + 999999) / 1000000);
    }
    int n = epoll_wait(watch, events, room < 64 ? room : 64, timeout);
    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    for (int i = 0; i < n; i++) {
        ret_tags[i] = events[i].data.u64;
    }
    return n;
}

static uint64_t to_bits(const sigset_t *set)
{
    uint64_t bits = 0;
    for (int s = 1; s <= 64; s++) {
        bits |= (uint64_t)(sigismember(set, s) == 1) << (s - 1);
    }
    return bits;
}

uint64_t kin__signals_block(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    return to_bits(&before);
}

uint64_t kin__signals_blocked(void)
{
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    return to_bits(&now);
}

void kin__signals_restore(uint64_t blocked)
{
    sigset_t set;
    sigemptyset(&set);
    for (int s = 1; s <= 64; s++) {
        if (blocked >> (s - 1) & 1) {
            sigaddset(&set, s);
        }
    }
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

void kin__signal_ignore(int signal_number)
{
    signal(signal_number, SIG_IGN);
}
