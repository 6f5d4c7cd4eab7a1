/*
 * Ends of a pipe that several threads or processes use at once, and what happens to the others
 * when one of them is killed: nobody waits for ever, no message is cut up or given twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#include <kinfolk.h>

#include "channel/connection.h"
#include "channel/peer.h"
#include "kit/modes.h"

#define SECOND INT64_C(1000000000)
#define SOON (SECOND / 50)
#define KINDS 4

static kin_connection *a, *b;

/* b sends and a receives. `i`: duplex or not, new path or the one for older kernels. */
static void make_kind(int i)
{
    kin__fd_refuse_nowait((i & 2) != 0);
    struct kin_pipe_options options = KIN_PIPE_OPTIONS_INIT;
    options.duplex = i & 1;
    ck_assert_int_eq(kin_pipe_create(&options, &a, &b), 0);
}
static void unmake(void)
{
    a = kin_connection_destroy(a);
    b = kin_connection_destroy(b);
}

/* --- many on one end ---------------------------------------------------------------------- */

#define SENDERS 3
#define EACH 60
#define LARGEST 200000

struct message {
    uint32_t sender;
    uint32_t number;
    uint32_t size;
    unsigned char fill[LARGEST];
};

struct crowd {
    kin__a32 sender;               /* the next one's number */
    kin__a32 received;             /* in all */
    kin__a32 times[SENDERS][EACH]; /* each message received */
};
static struct crowd *crowd;

static uint32_t size_of(uint32_t sender, uint32_t number)
{
    uint32_t mix = (sender * 7919 + number * 104729) % 1000;
    return mix % 3 == 0 ? mix * LARGEST / 1000 : mix;
}

static int send_many(void *arg)
{
    (void)arg;
    struct message *message = malloc(sizeof *message);
    EXPECT(message != NULL);
    message->sender = kin__a32_add(&crowd->sender, 1);
    for (uint32_t i = 0; i < EACH; i++) {
        message->number = i;
        message->size = size_of(message->sender, i);
        memset(message->fill, (int)(message->sender * EACH + i), message->size);
        EXPECT(kin_connection_send(b, message, offsetof(struct message, fill) + message->size,
                                   60 * SECOND) == 0);
    }
    free(message);
    return 0;
}

static int recv_many(void *arg)
{
    (void)arg;
    struct message *message = malloc(sizeof *message);
    EXPECT(message != NULL);
    while (kin__a32_load(&crowd->received) < SENDERS * EACH) {
        size_t size = sizeof *message;
        int rc = kin_connection_recv(a, message, &size, SOON);
        if (rc == -ETIMEDOUT) {
            continue;
        }
        EXPECT(rc == 0);
        EXPECT(message->sender < SENDERS && message->number < EACH);
        EXPECT(message->size == size_of(message->sender, message->number));
        EXPECT(size == offsetof(struct message, fill) + message->size);
        for (uint32_t i = 0; i < message->size; i++) {
            EXPECT(message->fill[i] == (unsigned char)(message->sender * EACH + message->number));
        }
        kin__a32_add(&crowd->times[message->sender][message->number], 1);
        kin__a32_add(&crowd->received, 1);
    }
    free(message);
    return 0;
}

START_TEST(messages_are_never_interleaved)
{
    enum mode mode = _i / KINDS == 0 ? THREADS : FORK;
    make_kind(_i % KINDS);
    crowd = kin_calloc(1, sizeof *crowd);
    struct peer senders[SENDERS];
    struct peer receivers[2];
    for (int i = 0; i < SENDERS; i++) {
        peer_start(&senders[i], mode, send_many, NULL);
    }
    for (int i = 0; i < 2; i++) {
        peer_start(&receivers[i], mode, recv_many, NULL);
    }
    for (int i = 0; i < SENDERS; i++) {
        peer_join(&senders[i]);
    }
    for (int i = 0; i < 2; i++) {
        peer_join(&receivers[i]);
    }
    for (int i = 0; i < SENDERS * EACH; i++) {
        ck_assert_uint_eq(kin__a32_load(&crowd->times[i / EACH][i % EACH]), 1);
    }
    kin_free(crowd);
    unmake();
}
END_TEST

/* --- killed in the middle ----------------------------------------------------------------- */

static int send_large(void *arg)
{
    (void)arg;
    size_t size = 64 << 20;
    char *data = calloc(1, size);
    EXPECT(data != NULL);
    return kin_connection_send(b, data, size, KIN_FOREVER);
}

START_TEST(a_sender_killed_in_the_middle)
{
    make_kind(_i);
    struct peer peer;
    ck_assert_int_eq(kin_connection_send(b, "x", 1, 0), 0);
    peer_start(&peer, FORK, send_large, NULL);
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), 0);
    ck_assert_int_eq(kin_connection_poll(a, 10 * SECOND), 0);
    peer_kill(&peer);
    int64_t before = kin__clock_now();
    /* Another holder of the same end is told, and so is the receiver, although an end is open. */
    ck_assert_int_eq(kin_connection_send(b, "y", 1, KIN_FOREVER), KIN_ETORN);
    void *data = NULL;
    ck_assert_int_eq(kin_connection_recv_new(a, 0, &data, &size, KIN_FOREVER), KIN_EPEERDIED);
    ck_assert_int_eq(kin_connection_recv_new(a, 0, &data, &size, KIN_FOREVER), KIN_EPEERDIED);
    ck_assert_int_lt(kin__clock_now() - before, SECOND);
    unmake();
}
END_TEST

START_TEST(a_receiver_waiting_in_the_middle_is_told)
{
    make_kind(_i);
    struct peer peer;
    peer_start(&peer, FORK, send_large, NULL);
    ck_assert_int_eq(kin_connection_poll(a, 10 * SECOND), 0);
    kill(peer.pid, SIGSTOP);
    void *data = NULL;
    size_t size = 0;
    ck_assert_int_eq(kin_connection_recv_new(a, 0, &data, &size, SOON), -ETIMEDOUT);
    /* All that it has written is received; now it dies without another byte. */
    peer_kill(&peer);
    int64_t before = kin__clock_now();
    ck_assert_int_eq(kin_connection_recv_new(a, 0, &data, &size, KIN_FOREVER), KIN_EPEERDIED);
    ck_assert_int_lt(kin__clock_now() - before, SECOND);
    unmake();
}
END_TEST

static int send_small(void *arg)
{
    (void)arg;
    for (uint32_t i = 0;; i++) {
        uint32_t message[25] = {i};
        message[24] = ~i;
        int rc = kin_connection_send(b, message, sizeof message, KIN_FOREVER);
        if (rc < 0) {
            return rc;
        }
    }
}

START_TEST(small_messages_are_whole_or_not_there)
{
    unsigned seed = 12345;
    for (int round = 0; round < 50; round++) {
        make_kind(_i);
        struct peer peer;
        peer_start(&peer, FORK, send_small, NULL);
        uint32_t message[25];
        uint32_t next = 0;
        size_t size = sizeof message;
        for (int n = rand_r(&seed) % 200; n >= 0; n--) {
            ck_assert_int_eq(kin_connection_recv(a, message, &size, 10 * SECOND), 0);
            ck_assert_uint_eq(message[0], next++);
        }
        peer_kill(&peer);
        uint32_t end = UINT32_MAX;
        int rc = -ETIMEDOUT;
        while (rc == -ETIMEDOUT) {
            rc = kin_connection_send(b, &end, sizeof end, 0);
            size = sizeof message;
            if (rc == -ETIMEDOUT) { /* full of what the dead one sent */
                ck_assert_int_eq(kin_connection_recv(a, message, &size, 0), 0);
                ck_assert_uint_eq(message[0], next++);
            }
        }
        ck_assert_int_eq(rc, 0);
        for (;;) {
            size = sizeof message;
            ck_assert_int_eq(kin_connection_recv(a, message, &size, 0), 0);
            if (size == sizeof end) {
                ck_assert_uint_eq(message[0], end);
                break;
            }
            ck_assert_uint_eq(message[0], next);
            ck_assert_uint_eq(message[24], ~next);
            next++;
        }
        unmake();
    }
}
END_TEST

static int recv_one(void *arg)
{
    char text[16];
    size_t size = sizeof text;
    int rc = kin_connection_recv(a, text, &size, KIN_FOREVER);
    EXPECT(rc == (arg == NULL ? 0 : KIN_ETORN));
    return 0;
}

/* Until the process owns the receiving turn. */
static void await_owner(void)
{
    while (kin__a64_load(&kin__connection_recv_turn(a)->owner) == 0) {
        sched_yield();
    }
}

START_TEST(a_receiver_killed_while_it_waits)
{
    make_kind(_i);
    struct peer doomed, heir;
    peer_start(&doomed, FORK, recv_one, NULL);
    await_owner();
    peer_start(&heir, THREADS, recv_one, NULL);
    int64_t before = kin__clock_now();
    peer_kill(&doomed);
    ck_assert_int_eq(kin_connection_send(b, "inherited", 9, 0), 0);
    peer_join(&heir);
    ck_assert_int_lt(kin__clock_now() - before, SECOND);
    unmake();
}
END_TEST

START_TEST(a_receiver_killed_in_the_middle)
{
    make_kind(_i);
    struct peer doomed, heir;
    ck_assert_int_eq(write(kin_connection_fd(b), "\0\0\0\10abcd", 8), 8);
    peer_start(&doomed, FORK, recv_one, NULL);
    struct kin_wait_item item = kin_wait_on_fd(kin_connection_fd(a), KIN_WAIT_READ);
    while (kin_wait(&item, 1, 0) == 1) {
        sched_yield();
    }
    peer_start(&heir, THREADS, recv_one, a);
    int64_t before = kin__clock_now();
    peer_kill(&doomed);
    peer_join(&heir);
    size_t size = 0;
    ck_assert_int_eq(kin_connection_next_size(a, &size, KIN_FOREVER), KIN_ETORN);
    ck_assert_int_eq(kin_connection_poll(a, KIN_FOREVER), 0);
    /* Nobody will ever read on: the sender does not wait for that. */
    int rc;
    while ((rc = kin_connection_send(b, "rest", 4, KIN_FOREVER)) == 0) {
    }
    ck_assert_int_eq(rc, KIN_EPEERDIED);
    ck_assert_int_lt(kin__clock_now() - before, 2 * SECOND);
    unmake();
}
END_TEST

static int announce(void *arg)
{
    (void)arg;
    size_t size = 0;
    EXPECT(kin_connection_next_size(a, &size, SECOND) == 0 && size == 5);
    return 0;
}

START_TEST(an_announced_message_outlives_its_announcer)
{
    make_kind(_i);
    ck_assert_int_eq(kin_connection_send(b, "hello", 5, 0), 0);
    struct peer peer;
    peer_start(&peer, FORK, announce, NULL);
    peer_join(&peer);
    char text[8];
    size_t size = sizeof text;
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
    ck_assert_uint_eq(size, 5);
    ck_assert_mem_eq(text, "hello", 5);
    unmake();
}
END_TEST

/* --- forks and references ----------------------------------------------------------------- */

START_TEST(a_fork_in_the_middle_of_a_call)
{
    make_kind(_i);
    struct peer waiter;
    peer_start(&waiter, THREADS, recv_one, NULL);
    await_owner();
    int fd = kin_connection_fd(a);
    pid_t pid = peer_fork();
    if (pid == 0) {
        /* The parent's call under way is not the child's: closing closes. */
        if (kin_connection_destroy(a) != NULL || fcntl(fd, F_GETFD) != -1 ||
            kin_connection_send(b, "from child", 10, 0) != 0) {
            _exit(1);
        }
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    peer_join(&waiter);
    unmake();
}
END_TEST

static struct kin_connection_ref *shared_ref;

static int attach_and_wait(void *arg)
{
    (void)arg;
    kin_connection *again = NULL;
    int fd = dup(kin_connection_fd(a));
    EXPECT(kin_connection_attach(shared_ref, fd, &again) == 0);
    char text[8];
    size_t size = sizeof text;
    /* The other process has the first half. */
    EXPECT(kin_connection_recv(again, text, &size, SOON) == -ETIMEDOUT);
    kin_connection_destroy(again);
    return 0;
}

START_TEST(attached_handles_keep_the_order)
{
    make_kind(_i);
    shared_ref = kin_calloc(1, sizeof *shared_ref);
    ck_assert_int_eq(kin_connection_ref(a, shared_ref), 0);
    ck_assert_int_eq(write(kin_connection_fd(b), "\0\0\0\4ab", 6), 6);
    char text[8];
    size_t size = sizeof text;
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), -ETIMEDOUT);
    ck_assert_int_eq(write(kin_connection_fd(b), "cd", 2), 2);
    struct peer peer;
    peer_start(&peer, FORK, attach_and_wait, NULL);
    peer_join(&peer);
    /* In this process, a second handle cannot have it either. */
    kin_connection *again = NULL;
    ck_assert_int_eq(kin_connection_attach(shared_ref, dup(kin_connection_fd(a)), &again), 0);
    ck_assert_int_eq(kin_connection_recv(again, text, &size, 0), KIN_ESTATE);
    again = kin_connection_destroy(again);
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
    ck_assert_mem_eq(text, "abcd", 4);
    unmake();
    kin__sweep(true); /* the child ended holding its part */
    ck_assert_int_eq(kin_connection_attach(shared_ref, 0, &again), KIN_ESTALE);
    kin_free(shared_ref);
}
END_TEST

static int keep_half(void *arg)
{
    (void)arg;
    char text[8];
    size_t size = sizeof text;
    EXPECT(kin_connection_recv(a, text, &size, SOON) == -ETIMEDOUT);
    kin_connection_destroy(a);
    return 0;
}

START_TEST(closing_with_half_a_message_is_told)
{
    make_kind(_i);
    ck_assert_int_eq(write(kin_connection_fd(b), "\0\0\0\4ab", 6), 6);
    struct peer peer;
    peer_start(&peer, FORK, keep_half, NULL);
    peer_join(&peer);
    char text[8];
    size_t size = sizeof text;
    ck_assert_int_eq(kin_connection_recv(a, text, &size, KIN_FOREVER), KIN_ETORN);
    unmake();
}
END_TEST

static Suite *pipe_shared_suite(void)
{
    Suite *suite = suite_create("pipe_shared");
    TCase *tcase = tcase_create("shared ends");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, messages_are_never_interleaved, 0, KINDS * 2);
    tcase_add_loop_test(tcase, a_sender_killed_in_the_middle, 0, KINDS);
    tcase_add_loop_test(tcase, a_receiver_waiting_in_the_middle_is_told, 0, KINDS);
    tcase_add_loop_test(tcase, small_messages_are_whole_or_not_there, 0, KINDS);
    tcase_add_loop_test(tcase, a_receiver_killed_while_it_waits, 0, KINDS);
    tcase_add_loop_test(tcase, a_receiver_killed_in_the_middle, 0, KINDS);
    tcase_add_loop_test(tcase, an_announced_message_outlives_its_announcer, 0, KINDS);
    tcase_add_loop_test(tcase, a_fork_in_the_middle_of_a_call, 0, KINDS);
    tcase_add_loop_test(tcase, attached_handles_keep_the_order, 0, KINDS);
    tcase_add_loop_test(tcase, closing_with_half_a_message_is_told, 0, KINDS);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(pipe_shared_suite)
