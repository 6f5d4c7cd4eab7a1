/*
 * A queue's descriptor: readable whenever a message is there, for members started before and after
 * it was made, in poll and in epoll.
 */
#include <check.h>
#include <errno.h>
#include <kinfolk.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "kit/modes.h"
#include "team.h"

static kin_queue *create(size_t capacity)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = capacity;
    kin_queue *queue = NULL;
    ck_assert_int_eq(kin_queue_create(&options, &queue), 0);
    return queue;
}

static int readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, timeout_ms);
}

static int get(kin_queue *queue)
{
    char byte;
    size_t size = 1;
    return kin_queue_get(queue, &byte, &size, 0);
}

START_TEST(readable_exactly_when_there_is_a_message)
{
    kin_queue *queue = create(0);
    int fd = kin_queue_fd(queue);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kin_queue_fd(queue), fd);
    ck_assert_int_eq(readable(fd, 0), 0);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(kin_queue_put(queue, "a", 1, 0), 0);
        ck_assert_int_eq(readable(fd, 0), 1);
        ck_assert_int_eq(kin_queue_put(queue, "b", 1, 0), 0);
        ck_assert_int_eq(get(queue), 0);
        ck_assert_int_eq(readable(fd, 0), 1);
        ck_assert_int_eq(get(queue), 0);
        /* The owner took the last one itself. */
        ck_assert_int_eq(readable(fd, 0), 0);
    }
    ck_assert_int_eq(kin_queue_close(queue), 0);
    ck_assert_int_eq(readable(fd, 0), 1);
    ck_assert_int_eq(get(queue), KIN_ECLOSED);
    ck_assert_int_eq(readable(fd, 0), 1);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(asked_for_late)
{
    kin_queue *queue = create(0), *closed = create(0);
    ck_assert_int_eq(kin_queue_put(queue, "a", 1, 0), 0);
    int fd = kin_queue_fd(queue);
    ck_assert_int_eq(readable(fd, 0), 1);
    ck_assert_int_eq(get(queue), 0);
    ck_assert_int_eq(readable(fd, 0), 0);
    kin_queue_close(closed);
    ck_assert_int_eq(readable(kin_queue_fd(closed), 0), 1);
    ck_assert_int_eq(kin_queue_fd(NULL), -EINVAL);
    kin_queue_destroy(queue);
    kin_queue_destroy(closed);
}
END_TEST

START_TEST(no_descriptor_is_left)
{
    int first = dup(0);
    close(first);
    for (int i = 0; i < 100; i++) {
        kin_queue *queue = create(0);
        ck_assert_int_ge(kin_queue_fd(queue), 0);
        kin_queue_put(queue, "a", 1, 0);
        kin_queue_destroy(queue);
    }
    int next = dup(0);
    /* The family's arena and what the process rings with may be new. */
    ck_assert_int_le(next, first + 3);
    close(next);
}
END_TEST

START_TEST(many_handles)
{
    kin_queue *queue = create(0), *handle[65];
    kin_ref ref;
    ck_assert_int_eq(kin_queue_ref(queue, &ref), 0);
    int fd[64];
    for (int i = 0; i < 65; i++) {
        ck_assert_int_eq(kin_queue_attach(&ref, &handle[i]), 0);
    }
    for (int i = 0; i < 64; i++) {
        fd[i] = kin_queue_fd(handle[i]);
        ck_assert_int_ge(fd[i], 0);
    }
    ck_assert_int_eq(kin_queue_fd(handle[64]), -ENOSPC);
    ck_assert_int_eq(kin_queue_put(queue, "a", 1, 0), 0);
    for (int i = 0; i < 64; i++) {
        ck_assert_int_eq(readable(fd[i], 0), 1);
    }
    ck_assert_int_eq(get(queue), 0);
    for (int i = 0; i < 64; i++) {
        /* Somebody else took it: unreadable once its owner has looked. */
        ck_assert_int_eq(get(handle[i]), -ETIMEDOUT);
        ck_assert_int_eq(readable(fd[i], 0), 0);
    }
    kin_queue_destroy(handle[0]);
    ck_assert_int_ge(kin_queue_fd(handle[64]), 0);
    for (int i = 1; i < 65; i++) {
        kin_queue_destroy(handle[i]);
    }
    kin_queue_destroy(queue);
}
END_TEST

/* More pollable queues with an unread ring than one socket's send buffer holds. */
START_TEST(a_bell_is_never_lost_for_want_of_buffer)
{
    enum { QUEUES = 700 };
    static kin_queue *queue[QUEUES];
    for (int i = 0; i < QUEUES; i++) {
        queue[i] = create(0);
        ck_assert_int_ge(kin_queue_fd(queue[i]), 0);
    }
    for (int i = 0; i < QUEUES; i++) {
        ck_assert_int_eq(kin_queue_put(queue[i], "a", 1, 0), 0);
        ck_assert_int_eq(readable(kin_queue_fd(queue[i]), 0), 1);
    }
    for (int i = 0; i < QUEUES; i++) {
        ck_assert_int_eq(get(queue[i]), 0);
        ck_assert_int_eq(readable(kin_queue_fd(queue[i]), 0), 0);
        kin_queue_destroy(queue[i]);
    }
}
END_TEST

#define EACH 2000

static int put_some(unsigned index, void *arg)
{
    for (uint32_t i = 0; i < EACH; i++) {
        uint32_t stamp[2] = {index, i};
        TEAM_CHECK(kin_queue_put(arg, stamp, sizeof stamp, KIN_FOREVER) == 0);
    }
    return 0;
}

/* The way of an event loop: sleep without limit, take until there is no more. */
static int poll_all(unsigned index, void *arg)
{
    (void)index;
    kin_queue *queue = arg;
    int fd = kin_queue_fd(queue), loop = epoll_create1(EPOLL_CLOEXEC);
    TEAM_CHECK(fd >= 0 && loop >= 0);
    struct epoll_event event = {.events = EPOLLIN};
    TEAM_CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0);
    for (;;) {
        TEAM_CHECK(epoll_wait(loop, &event, 1, -1) == 1 || errno == EINTR);
        uint32_t stamp[2];
        size_t size = sizeof stamp;
        int rc = kin_queue_get(queue, stamp, &size, 0);
        if (rc == KIN_ECLOSED) {
            break;
        }
        TEAM_CHECK(rc == 0 || rc == -ETIMEDOUT);
    }
    close(loop);
    return 0;
}

START_TEST(pollers_miss_nothing)
{
    enum team_mode mode = (enum team_mode)_i;
    kin_queue *queue = create(10);
    struct team makers = {.count = 0}, takers = {.count = 0};
    team_start(&makers, mode, put_some, queue); /* before any descriptor exists */
    for (int i = 0; i < 2; i++) {
        team_start(&takers, mode, poll_all, queue);
    }
    team_start(&makers, mode, put_some, queue); /* and after */
    ck_assert_int_eq(team_join(&makers), 0);
    struct kin_queue_stats stats = {.size = sizeof stats, .messages = 1};
    while (stats.messages != 0) {
        ck_assert_int_eq(kin_queue_stats(queue, &stats), 0);
    }
    ck_assert_uint_eq(stats.put, 2 * EACH);
    kin_queue_close(queue);
    ck_assert_int_eq(team_join(&takers), 0);
    kin_queue_destroy(queue);
}
END_TEST

static int own_descriptor(unsigned index, void *arg)
{
    (void)index;
    kin_queue *queue = arg;
    int fd = kin_queue_fd(queue);
    TEAM_CHECK(fd >= 0);
    TEAM_CHECK(kin_queue_put(queue, "a", 1, 0) == 0);
    TEAM_CHECK(readable(fd, 0) == 1);
    return 0;
}

START_TEST(a_child_has_its_own)
{
    kin_queue *queue = create(0);
    int fd = kin_queue_fd(queue);
    struct team team = {.count = 0};
    team_start(&team, TEAM_FORK, own_descriptor, queue);
    ck_assert_int_eq(readable(fd, -1), 1);
    ck_assert_int_eq(team_join(&team), 0);
    ck_assert_int_eq(get(queue), 0);
    ck_assert_int_eq(readable(fd, 0), 0);
    /* The dead child's bell is gone, which harms nobody. */
    ck_assert_int_eq(kin_queue_put(queue, "b", 1, 0), 0);
    ck_assert_int_eq(readable(fd, 0), 1);
    kin_queue_destroy(queue);
}
END_TEST

static Suite *queue_poll_suite(void)
{
    Suite *suite = suite_create("queue descriptors");
    TCase *core = tcase_create("core");
    tcase_set_timeout(core, 30);
    tcase_add_test(core, readable_exactly_when_there_is_a_message);
    tcase_add_test(core, asked_for_late);
    tcase_add_test(core, no_descriptor_is_left);
    tcase_add_test(core, many_handles);
    tcase_add_test(core, a_bell_is_never_lost_for_want_of_buffer);
    tcase_add_loop_test(core, pollers_miss_nothing, 0, TEAM_MODES);
    tcase_add_test(core, a_child_has_its_own);
    suite_add_tcase(suite, core);
    return suite;
}

KIT_CHECK_MAIN(queue_poll_suite)
