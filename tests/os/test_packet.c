/* Messages over a socket pair: what a receiver gets of a sender that ends at any moment. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "kit/modes.h"
#include "os/os.h"

static int recv_plain(int socket, void *data, size_t size)
{
    unsigned none = 0;
    return kin__packet_recv(socket, data, size, NULL, &none);
}

START_TEST(test_messages_and_end)
{
    int ends[2];
    char text[8];
    ck_assert_int_eq(kin__packet_pair(ends), 0);
    ck_assert_int_eq(recv_plain(ends[0], text, sizeof text), -EAGAIN);
    ck_assert_int_eq(kin__packet_send(ends[1], "one", 3, NULL, 0), 0);
    ck_assert_int_eq(kin__packet_send(ends[1], "two", 3, (int[]){STDERR_FILENO}, 1), 0);
    close(ends[1]);
    ck_assert_int_eq(recv_plain(ends[0], text, sizeof text), 3);
    ck_assert_int_eq(memcmp(text, "one", 3), 0);
    int fds[2];
    unsigned count = 2;
    ck_assert_int_eq(kin__packet_recv(ends[0], text, sizeof text, fds, &count), 3);
    ck_assert_int_eq(memcmp(text, "two", 3), 0);
    ck_assert_uint_eq(count, 1);
    close(fds[0]);
    ck_assert_int_eq(recv_plain(ends[0], text, sizeof text), 0);
    close(ends[0]);
}
END_TEST

START_TEST(test_too_long)
{
    int ends[2];
    char text[2];
    ck_assert_int_eq(kin__packet_pair(ends), 0);
    ck_assert_int_eq(kin__packet_send(ends[1], "long", 4, NULL, 0), 0);
    ck_assert_int_eq(recv_plain(ends[0], text, sizeof text), -EMSGSIZE);
    close(ends[0]);
    ck_assert_int_eq(kin__packet_send(ends[1], "x", 1, NULL, 0), -EPIPE);
    close(ends[1]);
}
END_TEST

/* --- a last message and the end, while the receiver looks ----------------------------------- */

#define PAIRS 400

struct race {
    int receivers[PAIRS], senders[PAIRS];
    kin__a32 looking; /* the receiver looks for this many'th message */
};

static void *send_and_end(void *arg)
{
    struct race *race = arg;
    for (unsigned i = 0; i < PAIRS; i++) {
        while (kin__a32_load(&race->looking) <= i) {
            sched_yield();
        }
        /* With a descriptor: a second look has room for it too. */
        kin__packet_send(race->senders[i], "x", 1, (int[]){STDERR_FILENO}, 1);
        close(race->senders[i]);
    }
    return NULL;
}

/* Returns how often the end came first. */
static int race_once(struct race *race)
{
    kin__a32_store(&race->looking, 0);
    for (int i = 0; i < PAIRS; i++) {
        int ends[2];
        ck_assert_int_eq(kin__packet_pair(ends), 0);
        race->receivers[i] = ends[0];
        race->senders[i] = ends[1];
    }
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, send_and_end, race), 0);
    int early = 0;
    for (unsigned i = 0; i < PAIRS; i++) {
        char byte;
        int n, fd;
        unsigned count;
        kin__a32_store(&race->looking, i + 1);
        do {
            count = 1;
            n = kin__packet_recv(race->receivers[i], &byte, 1, &fd, &count);
        } while (n == -EAGAIN);
        early += n != 1 || count != 1;
        if (count == 1) {
            close(fd);
        }
        close(race->receivers[i]);
    }
    pthread_join(thread, NULL);
    return early;
}

/* Linux may tell of the end before the message: some times in a second of this. */
START_TEST(test_last_message_comes_before_the_end)
{
    static struct race race;
    int early = 0;
    for (int64_t until = kin__clock_now() + 2000000000; kin__clock_now() < until;) {
        early += race_once(&race);
    }
    ck_assert_int_eq(early, 0);
}
END_TEST

static Suite *packet_suite(void)
{
    Suite *suite = suite_create("packet");
    TCase *tests = tcase_create("one process");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, test_messages_and_end);
    tcase_add_test(tests, test_too_long);
    tcase_add_test(tests, test_last_message_comes_before_the_end);
    suite_add_tcase(suite, tests);
    return suite;
}

KIT_CHECK_MAIN(packet_suite)
