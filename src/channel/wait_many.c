/* Waiting for many descriptors and connections at once. Layer: channel. */
#include <kinfolk/wait.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "channel/connection.h"
#include "os/os.h"
#include "shm/wait.h"

#define ON_STACK 64
#define ALL_EVENTS (KIN_WAIT_READ | KIN_WAIT_WRITE)

static int check(const struct kin_wait_item *items, size_t count)
{
    if (items == NULL || count == 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].events == 0 || (items[i].events & ~ALL_EVENTS) != 0) {
            return -EINVAL;
        }
        if (items[i].connection == NULL && items[i].fd < 0) {
            return items[i].fd == -1 ? -EBADF : items[i].fd;
        }
    }
    return 0;
}

static int fill(const struct kin_wait_item *items, size_t count, struct pollfd *polls)
{
    for (size_t i = 0; i < count; i++) {
        int fd = items[i].connection != NULL ? kin_connection_fd(items[i].connection) : items[i].fd;
        if (fd < 0) {
            return fd;
        }
        polls[i].fd = fd;
        polls[i].revents = 0;
        polls[i].events = (short)((items[i].events & KIN_WAIT_READ ? POLLIN : 0) |
                                  (items[i].events & KIN_WAIT_WRITE ? POLLOUT : 0));
    }
    return 0;
}

/* What the connections know beyond their descriptors: how many are ready by it. */
static size_t look_inside(const struct kin_wait_item *items, size_t count, bool *inside)
{
    size_t ready = 0;
    for (size_t i = 0; i < count; i++) {
        inside[i] = items[i].connection != NULL && (items[i].events & KIN_WAIT_READ) &&
                    kin__connection_has_news(items[i].connection);
        ready += inside[i];
    }
    return ready;
}

static int ready_of(int asked, short revents, bool inside)
{
    int ready = inside || (revents & (POLLIN | POLLHUP | POLLERR)) ? KIN_WAIT_READ : 0;
    ready |= revents & (POLLOUT | POLLERR) ? KIN_WAIT_WRITE : 0;
    ready &= asked;
    /* A hang-up is always told, or somebody who asked for room only would be woken for nothing. */
    return ready | (revents & (POLLHUP | POLLERR) ? KIN_WAIT_ERROR : 0);
}

static int wait_loop(struct kin_wait_item *items, size_t count, struct pollfd *polls, bool *inside,
                     int64_t deadline)
{
    for (;;) {
        int rc = fill(items, count, polls);
        if (rc < 0) {
            return rc;
        }
        /* Before the poll: see kin__connection_wait. */
        size_t news = look_inside(items, count, inside);
        int64_t until = kin__clock_now() + KIN__SLICE_NS;
        rc = kin__fd_poll(polls, count, news > 0 ? 0 : deadline < until ? deadline : until);
        if (rc < 0 && rc != -EINTR) {
            return rc;
        }
        if (rc > 0 || (news > 0 && rc == 0)) {
            break;
        }
        if (rc == 0 && kin__clock_now() >= deadline) {
            for (size_t i = 0; i < count; i++) {
                items[i].ready = 0;
            }
            return -ETIMEDOUT;
        }
        bool slept = rc == 0;
        rc = kin__interrupted();
        if (rc < 0) {
            return rc;
        }
        if (slept) {
            kin__sweep(false);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (polls[i].revents & POLLNVAL) {
            return -EBADF;
        }
    }
    int total = 0;
    for (size_t i = 0; i < count; i++) {
        items[i].ready = ready_of(items[i].events, polls[i].revents, inside[i]);
        total += items[i].ready != 0;
    }
    return total;
}

int kin_wait(struct kin_wait_item *items, size_t count, int64_t timeout_ns)
{
    int rc = check(items, count);
    if (rc < 0) {
        return rc;
    }
    rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct pollfd few[ON_STACK];
    bool few_inside[ON_STACK];
    struct pollfd *polls = few;
    bool *inside = few_inside;
    if (count > ON_STACK) {
        polls = calloc(count, sizeof *polls + sizeof *inside);
        if (polls == NULL) {
            return -ENOMEM;
        }
        inside = (bool *)(polls + count);
    }
    rc = wait_loop(items, count, polls, inside, kin__clock_deadline(timeout_ns));
    if (polls != few) {
        free(polls);
    }
    return rc;
}
