/* Waiting for many descriptors and connections at once. */
#include <errno.h>

#include <kinfolk.h>

#include "channel/peer.h"
#include "kit/modes.h"
#include "os/os.h"

#define SECOND INT64_C(1000000000)
#define SOON (SECOND / 50)

START_TEST(arguments_are_checked)
{
    struct kin_wait_item item = kin_wait_on_fd(0, KIN_WAIT_READ);
    ck_assert_int_eq(kin_wait(NULL, 1, 0), -EINVAL);
    ck_assert_int_eq(kin_wait(&item, 0, 0), -EINVAL);
    item.events = 0;
    ck_assert_int_eq(kin_wait(&item, 1, 0), -EINVAL);
    item = kin_wait_on_fd(KIN_EFORKED, KIN_WAIT_READ); /* what kin_..._fd said */
    ck_assert_int_eq(kin_wait(&item, 1, 0), KIN_EFORKED);
    item = kin_wait_on_fd(1 << 20, KIN_WAIT_READ);
    ck_assert_int_eq(kin_wait(&item, 1, KIN_FOREVER), -EBADF);
}
END_TEST

START_TEST(timeout_marks_nothing)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct kin_wait_item item = kin_wait_on_fd(fds[0], KIN_WAIT_READ);
    item.ready = 99;
    int64_t before = kin__clock_now();
    ck_assert_int_eq(kin_wait(&item, 1, SOON), -ETIMEDOUT);
    ck_assert_int_ge(kin__clock_now() - before, SOON);
    ck_assert_int_eq(item.ready, 0);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* `_i` items, of which the last becomes ready; both sides of the array's size on the stack. */
START_TEST(the_one_that_is_ready_is_marked)
{
    const size_t count = (size_t)_i;
    kin_connection *ends[2][100];
    struct kin_wait_item items[100];
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(kin_pipe_create(NULL, &ends[0][i], &ends[1][i]), 0);
        items[i] = kin_wait_on_connection(ends[0][i]);
    }
    ck_assert_int_eq(kin_connection_send(ends[1][count - 1], "x", 1, 0), 0);
    ck_assert_int_eq(kin_wait(items, count, KIN_FOREVER), 1);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(items[i].ready, i == count - 1 ? KIN_WAIT_READ : 0);
    }
    ends[1][0] = kin_connection_destroy(ends[1][0]);
    ck_assert_int_eq(kin_wait(items, count, KIN_FOREVER), count == 1 ? 1 : 2);
    ck_assert(items[0].ready & KIN_WAIT_READ);
    ck_assert(items[0].ready & KIN_WAIT_ERROR);
    for (size_t i = 0; i < count; i++) {
        kin_connection_destroy(ends[0][i]);
        kin_connection_destroy(ends[1][i]);
    }
}
END_TEST

START_TEST(room_to_write)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct kin_wait_item items[2] = {kin_wait_on_fd(fds[1], KIN_WAIT_WRITE),
                                     kin_wait_on_fd(fds[0], KIN_WAIT_READ)};
    ck_assert_int_eq(kin_wait(items, 2, 0), 1);
    ck_assert_int_eq(items[0].ready, KIN_WAIT_WRITE);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert_int_eq(kin_wait(items, 2, 0), 2);
    close(fds[0]);
    ck_assert_int_eq(kin_wait(items, 1, 0), 1);
    ck_assert(items[0].ready & KIN_WAIT_ERROR);
    close(fds[1]);
}
END_TEST

static int end_at_once(void *arg)
{
    (void)arg;
    return 0;
}

START_TEST(a_process_by_its_pidfd)
{
    struct peer peer;
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    peer_start(&peer, FORK, end_at_once, NULL);
    int pidfd = kin__pidfd_open(peer.pid);
    struct kin_wait_item items[2] = {kin_wait_on_fd(fds[0], KIN_WAIT_READ),
                                     kin_wait_on_fd(pidfd, KIN_WAIT_READ)};
    ck_assert_int_eq(kin_wait(items, 2, 10 * SECOND), 1);
    ck_assert_int_eq(items[0].ready, 0);
    ck_assert_int_eq(items[1].ready, KIN_WAIT_READ);
    peer_join(&peer);
    close(pidfd);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static int hang_up(void *arg)
{
    return kin_connection_send(arg, "x", 1, KIN_FOREVER);
}

START_TEST(woken_by_another)
{
    kin_connection *a, *b;
    ck_assert_int_eq(kin_pipe_create(NULL, &a, &b), 0);
    struct peer peer;
    struct kin_wait_item item = kin_wait_on_connection(a);
    peer_start(&peer, _i == 0 ? THREADS : FORK, hang_up, b);
    ck_assert_int_eq(kin_wait(&item, 1, 10 * SECOND), 1);
    peer_join(&peer);
    kin_connection_close(a);
    ck_assert_int_eq(kin_wait(&item, 1, 0), KIN_ESTATE);
    kin_connection_destroy(a);
    kin_connection_destroy(b);
}
END_TEST

static Suite *wait_suite(void)
{
    Suite *suite = suite_create("wait");
    TCase *tcase = tcase_create("many");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, arguments_are_checked);
    tcase_add_test(tcase, timeout_marks_nothing);
    tcase_add_loop_test(tcase, the_one_that_is_ready_is_marked, 1, 3);
    tcase_add_loop_test(tcase, the_one_that_is_ready_is_marked, 64, 66);
    tcase_add_loop_test(tcase, the_one_that_is_ready_is_marked, 100, 101);
    tcase_add_test(tcase, room_to_write);
    tcase_add_test(tcase, a_process_by_its_pidfd);
    tcase_add_loop_test(tcase, woken_by_another, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(wait_suite)
