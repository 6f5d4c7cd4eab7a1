/*
 * Messages over pipes: the wire format, sizes, timeouts, ends, parts. One process; who dies in the
 * middle of what is in test_pipe_shared.c. Each test runs on both ways of moving bytes: without
 * blocking by the kernel's own flags, and with the path for older kernels.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <kinfolk.h>

#include "channel/peer.h"
#include "kit/modes.h"
#include "os/os.h"

#define SECOND INT64_C(1000000000)
#define SOON (SECOND / 50)

static kin_connection *a, *b;

static void make(int duplex)
{
    struct kin_pipe_options options = KIN_PIPE_OPTIONS_INIT;
    options.duplex = duplex;
    ck_assert_int_eq(kin_pipe_create(&options, &a, &b), 0);
}
static void unmake(void)
{
    a = kin_connection_destroy(a);
    b = kin_connection_destroy(b);
}

/* b sends and a receives, whatever the kind. `i`: duplex or not, new path or old. */
static void make_kind(int i)
{
    kin__fd_refuse_nowait((i & 2) != 0);
    make(i & 1);
}
#define KINDS 4

static void put_raw(int fd, const void *bytes, size_t size)
{
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
}

START_TEST(frames_are_pythons)
{
    make_kind(_i);
    ck_assert_int_eq(kin_connection_send(b, "abc", 3, 0), 0);
    ck_assert_int_eq(kin_connection_send(b, NULL, 0, 0), 0);
    unsigned char wire[16];
    ck_assert_int_eq(read(kin_connection_fd(a), wire, sizeof wire), 11);
    ck_assert_mem_eq(wire, "\0\0\0\3abc\0\0\0\0", 11);

    put_raw(kin_connection_fd(b), "\0\0\0\2hi", 6);
    char text[8];
    size_t size = sizeof text;
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
    ck_assert_uint_eq(size, 2);
    ck_assert_mem_eq(text, "hi", 2);
    /* The long form, also where the short one would do. */
    put_raw(kin_connection_fd(b), "\xff\xff\xff\xff\0\0\0\0\0\0\0\2yo", 14);
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
    ck_assert_mem_eq(text, "yo", 2);
    unmake();
}
END_TEST

START_TEST(ends_know_their_direction)
{
    make(0);
    char byte;
    size_t size = 1;
    ck_assert(kin_connection_readable(a) && !kin_connection_writable(a));
    ck_assert(!kin_connection_readable(b) && kin_connection_writable(b));
    ck_assert_int_eq(kin_connection_send(a, "x", 1, 0), -EBADF);
    ck_assert_int_eq(kin_connection_recv(b, &byte, &size, 0), -EBADF);
    ck_assert_int_eq(kin_connection_poll(b, 0), -EBADF);
    unmake();
    make(1);
    ck_assert(kin_connection_readable(a) && kin_connection_writable(a));
    ck_assert_int_eq(kin_connection_send(a, "x", 1, 0), 0);
    ck_assert_int_eq(kin_connection_send(b, "y", 1, 0), 0);
    ck_assert_int_eq(kin_connection_recv(b, &byte, &size, 0), 0);
    ck_assert_int_eq(byte, 'x');
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), 0);
    ck_assert_int_eq(byte, 'y');
    unmake();
}
END_TEST

START_TEST(arguments_are_checked)
{
    make(1);
    size_t size = 1;
    ck_assert_int_eq(kin_pipe_create(NULL, NULL, &b), -EINVAL);
    ck_assert_int_eq(kin_connection_send(NULL, "x", 1, 0), -EINVAL);
    ck_assert_int_eq(kin_connection_send(a, NULL, 1, 0), -EINVAL);
    ck_assert_int_eq(kin_connection_recv(a, NULL, &size, 0), -EINVAL);
    ck_assert_int_eq(kin_connection_recv(a, &size, NULL, 0), -EINVAL);
    ck_assert_int_eq(kin_connection_fd(NULL), -EINVAL);
    ck_assert_int_eq(kin_connection_release(NULL), -EINVAL);
    ck_assert_int_eq(kin_connection_close(NULL), -EINVAL);
    kin_connection *other = NULL;
    ck_assert_int_eq(kin_connection_from_fd(-1, &other), -EINVAL);
    int pair[2];
    ck_assert_int_eq(pipe(pair), 0);
    ck_assert_int_eq(kin_connection_from_fd(pair[1], &other), 0);
    ck_assert_int_eq(kin_connection_release(other), pair[1]);
    ck_assert_int_eq(write(pair[1], "x", 1), 1); /* still open */
    close(pair[0]);
    close(pair[1]);
    other = NULL;
    int datagram = socket(AF_UNIX, SOCK_DGRAM, 0);
    ck_assert_int_eq(kin_connection_from_fd(datagram, &other), -EPROTOTYPE);
    close(datagram);
    ck_assert_int_eq(kin_connection_from_fd(datagram, &other), -EBADF);
    ck_assert_ptr_null(other);
    ck_assert_ptr_null(kin_connection_destroy(NULL));
    unmake();
}
END_TEST

static const size_t sizes[] = {0, 1, 4091, 4092, 4093, 65531, 65532, 65536, 1 << 20, 64 << 20};

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 31 + i / 4096);
}

static int send_sizes(void *arg)
{
    unsigned char *data = malloc(64 << 20);
    EXPECT(data != NULL);
    for (size_t i = 0; i < 64 << 20; i++) {
        data[i] = byte_at(i);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        EXPECT(kin_connection_send(arg, data, sizes[i], 60 * SECOND) == 0);
    }
    free(data);
    return 0;
}

START_TEST(messages_of_every_size_arrive_whole)
{
    make_kind(_i % KINDS);
    struct peer peer;
    peer_start(&peer, _i / KINDS == 0 ? THREADS : FORK, send_sizes, b);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *data = NULL;
        size_t size = 0;
        ck_assert_int_eq(kin_connection_recv_new(a, 0, &data, &size, 60 * SECOND), 0);
        ck_assert_uint_eq(size, sizes[i]);
        for (size_t k = 0; k < size; k++) {
            if (((unsigned char *)data)[k] != byte_at(k)) {
                ck_abort_msg("byte %zu of %zu", k, size);
            }
        }
        free(data);
    }
    peer_join(&peer);
    unmake();
}
END_TEST

START_TEST(too_large_a_message_stays)
{
    make_kind(_i);
    ck_assert_int_eq(kin_connection_send(b, "0123456789", 10, 0), 0);
    ck_assert_int_eq(kin_connection_send(b, "next", 4, 0), 0);
    char text[16] = "untouched";
    size_t size = 9;
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), KIN_ETOOBIG);
    ck_assert_uint_eq(size, 10);
    ck_assert_str_eq(text, "untouched");
    size = 0;
    ck_assert_int_eq(kin_connection_next_size(a, &size, 0), 0);
    ck_assert_uint_eq(size, 10);
    void *data = NULL;
    size = 0;
    ck_assert_int_eq(kin_connection_recv_new(a, 9, &data, &size, 0), KIN_ETOOBIG);
    ck_assert_uint_eq(size, 10);
    ck_assert_ptr_null(data);
    size = 16;
    ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
    ck_assert_uint_eq(size, 10);
    ck_assert_mem_eq(text, "0123456789", 10);
    ck_assert_int_eq(kin_connection_next_size(a, &size, 0), 0);
    ck_assert_uint_eq(size, 4);
    ck_assert_int_eq(kin_connection_skip(a, 0), 0);
    ck_assert_int_eq(kin_connection_skip(a, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_connection_next_size(a, &size, 0), -ETIMEDOUT);
    unmake();
}
END_TEST

START_TEST(an_announced_message_polls)
{
    make_kind(_i);
    size_t size = 9;
    ck_assert_int_eq(kin_connection_poll(a, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_connection_send(b, NULL, 0, 0), 0);
    ck_assert_int_eq(kin_connection_poll(a, 0), 0);
    ck_assert_int_eq(kin_connection_next_size(a, &size, 0), 0);
    ck_assert_uint_eq(size, 0);
    /* Its header is consumed, the descriptor has nothing, and still it is there. */
    ck_assert_int_eq(kin_connection_poll(a, 0), 0);
    struct kin_wait_item item = kin_wait_on_connection(a);
    ck_assert_int_eq(kin_wait(&item, 1, 0), 1);
    ck_assert_int_eq(kin_connection_recv(a, NULL, &size, 0), 0);
    ck_assert_int_eq(kin_connection_poll(a, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_wait(&item, 1, 0), -ETIMEDOUT);
    unmake();
}
END_TEST

START_TEST(timeouts_are_kept)
{
    make_kind(_i);
    char byte;
    size_t size = 1;
    int64_t before = kin__clock_now();
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, SOON), -ETIMEDOUT);
    ck_assert_int_eq(kin_connection_poll(a, SOON), -ETIMEDOUT);
    int64_t took = kin__clock_now() - before;
    ck_assert_int_ge(took, 2 * SOON);
    ck_assert_int_lt(took, SECOND);
    ck_assert_uint_eq(size, 1);
    /* Full: small messages are refused whole, and everything that was accepted arrives. */
    size_t sent = 0;
    while (kin_connection_send(b, "12345678", 8, 0) == 0) {
        sent++;
    }
    ck_assert_int_eq(kin_connection_send(b, "12345678", 8, SOON), -ETIMEDOUT);
    ck_assert_uint_gt(sent, 100);
    char text[8];
    size = 8;
    while (kin_connection_recv(a, text, &size, 0) == 0) {
        ck_assert_mem_eq(text, "12345678", 8);
        sent--;
    }
    ck_assert_uint_eq(sent, 0);
    ck_assert_int_eq(kin_connection_send(b, "12345678", 8, 0), 0);
    unmake();
}
END_TEST

START_TEST(end_of_stream_is_told_from_a_cut)
{
    static const struct {
        const char *wire;
        size_t size;
        int expected;
    } cases[] = {
        {"", 0, KIN_ECLOSED},
        {"\0\0", 2, KIN_EPEERDIED},
        {"\0\0\0\4", 4, KIN_EPEERDIED},
        {"\0\0\0\4ab", 6, KIN_EPEERDIED},
        {"\xff\xff\xff\xff\0\0", 6, KIN_EPEERDIED},
        {"\x80\0\0\0abcd", 8, KIN_ECORRUPT},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, KIN_ECORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_kind(_i);
        put_raw(kin_connection_fd(b), "\0\0\0\1x", 5);
        put_raw(kin_connection_fd(b), cases[i].wire, cases[i].size);
        b = kin_connection_destroy(b);
        char text[8];
        size_t size = 8;
        ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
        for (int again = 0; again < 3; again++) {
            size = 8;
            ck_assert_int_eq(kin_connection_poll(a, 0), 0);
            ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), cases[i].expected);
            ck_assert_uint_eq(size, 8);
        }
        unmake();
    }
}
END_TEST

START_TEST(a_closed_receiver_is_no_signal)
{
    make_kind(_i);
    signal(SIGPIPE, SIG_DFL);
    a = kin_connection_destroy(a);
    ck_assert_int_eq(kin_connection_send(b, "x", 1, 0), KIN_ECLOSED);
    ck_assert_int_eq(kin_connection_send(b, "x", 1, KIN_FOREVER), KIN_ECLOSED);
    sigset_t pending;
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&pending, SIGPIPE), 0);
    unmake();
}
END_TEST

START_TEST(a_message_in_part_is_kept)
{
    make_kind(_i);
    const char *wire = "\0\0\0\12abcdefghij";
    char text[16];
    for (size_t cut = 1; cut < 14; cut++) {
        size_t size = sizeof text;
        put_raw(kin_connection_fd(b), wire, cut);
        ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), -ETIMEDOUT);
        ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), -ETIMEDOUT);
        if (cut > 4) {
            size = 3;
            ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), KIN_ETOOBIG);
            ck_assert_uint_eq(size, 10);
        }
        put_raw(kin_connection_fd(b), wire + cut, 14 - cut);
        memset(text, 0, sizeof text);
        ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
        ck_assert_uint_eq(size, 10);
        ck_assert_str_eq(text, "abcdefghij");

        /* The same, thrown away: the next message is unharmed. */
        put_raw(kin_connection_fd(b), wire, cut);
        ck_assert_int_eq(kin_connection_skip(a, 0), -ETIMEDOUT);
        put_raw(kin_connection_fd(b), wire + cut, 14 - cut);
        if (cut < 4) { /* nothing said yet that it was to be thrown away */
            ck_assert_int_eq(kin_connection_skip(a, 0), 0);
        }
        ck_assert_int_eq(kin_connection_send(b, "z", 1, 0), 0);
        size = sizeof text;
        ck_assert_int_eq(kin_connection_recv(a, text, &size, 0), 0);
        ck_assert_uint_eq(size, 1);
        ck_assert_int_eq(text[0], 'z');
    }
    unmake();
}
END_TEST

START_TEST(a_message_cut_by_its_timeout_breaks_the_end)
{
    make_kind(_i);
    static char large[4 << 20];
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_connection_send(b, "x", 1, 0), 0);
    ck_assert_int_eq(kin_connection_send(b, large, sizeof large, SOON), KIN_ETORN);
    ck_assert_int_eq(kin_connection_send(b, "y", 1, SOON), KIN_ETORN);
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), 0);
    /* The sender still has its end open. */
    void *data;
    ck_assert_int_eq(kin_connection_recv_new(a, 0, &data, &size, 10 * SECOND), KIN_EPEERDIED);
    if (_i & 1) { /* the other direction goes on */
        ck_assert_int_eq(kin_connection_send(a, "z", 1, 0), 0);
        ck_assert_int_eq(kin_connection_recv(b, &byte, &size, 0), 0);
    }
    unmake();
}
END_TEST

static int hook(void *arg)
{
    ++*(int *)arg;
    return -ECANCELED;
}

START_TEST(waits_call_the_interrupt_function)
{
    make_kind(_i);
    int called = 0;
    char byte;
    size_t size = 1;
    kin_thread_set_interrupt(hook, &called);
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, KIN_FOREVER), -ECANCELED);
    ck_assert_int_eq(kin_connection_poll(a, KIN_FOREVER), -ECANCELED);
    struct kin_wait_item item = kin_wait_on_connection(a);
    ck_assert_int_eq(kin_wait(&item, 1, KIN_FOREVER), -ECANCELED);
    ck_assert_int_eq(called, 3);
    kin_thread_set_interrupt(NULL, NULL);
    ck_assert_int_eq(kin_connection_send(b, "x", 1, 0), 0);
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), 0);
    unmake();
}
END_TEST

static int recv_until_closed(void *arg)
{
    char byte;
    size_t size = 1;
    EXPECT(kin_connection_recv(arg, &byte, &size, KIN_FOREVER) == 0);
    EXPECT(kin_connection_recv(arg, &byte, &size, KIN_FOREVER) == KIN_ESTATE);
    return 0;
}

START_TEST(close_ends_a_wait_in_another_thread)
{
    make_kind(_i);
    struct peer peer;
    ck_assert_int_eq(kin_connection_send(b, "r", 1, 0), 0);
    peer_start(&peer, THREADS, recv_until_closed, a);
    /* Until the message is gone the other thread has not begun its second wait; whether it has by
     * then does not matter. */
    int fd = kin_connection_fd(a);
    struct kin_wait_item item = kin_wait_on_fd(fd, KIN_WAIT_READ);
    while (kin_wait(&item, 1, 0) == 1) {
    }
    ck_assert_int_eq(kin_connection_close(a), 0);
    ck_assert_int_eq(kin_connection_close(a), 0);
    peer_join(&peer);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    ck_assert_int_eq(kin_connection_fd(a), KIN_ESTATE);
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), KIN_ESTATE);
    ck_assert_int_eq(kin_connection_send(b, "x", 1, 0), KIN_ECLOSED);
    unmake();
}
END_TEST

START_TEST(descriptors_travel)
{
    make(1);
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    int before = peer_fd_count();
    ck_assert_int_eq(kin_connection_send(b, "m", 1, 0), 0);
    ck_assert_int_eq(kin_connection_send_fds(b, fds, 2, 0), 0);
    int got[4] = {-1, -1, -1, -1};
    size_t count = 4;
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), 0);
    ck_assert_int_eq(kin_connection_recv_fds(a, got, &count, 0), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    put_raw(got[1], "!", 1);
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    ck_assert_int_eq(byte, '!');
    close(got[0]);
    close(got[1]);

    /* Too little room: none is given, none leaks, and the stream goes on. */
    ck_assert_int_eq(kin_connection_send_fds(b, fds, 2, 0), 0);
    count = 1;
    ck_assert_int_eq(kin_connection_recv_fds(a, got, &count, 0), -EMSGSIZE);
    /* A plain receive of what carries descriptors: they are closed by the kernel. */
    ck_assert_int_eq(kin_connection_recv_fds(a, got, &count, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_connection_send_fds(b, fds, 0, 0), -EINVAL);
    ck_assert_int_eq(peer_fd_count(), before);

    /* A message where descriptors are due. */
    ck_assert_int_eq(kin_connection_send(b, "m", 1, 0), 0);
    ck_assert_int_eq(kin_connection_next_size(a, &size, 0), 0);
    ck_assert_int_eq(kin_connection_recv_fds(a, got, &count, 0), KIN_ESTATE);
    ck_assert_int_eq(kin_connection_skip(a, 0), 0);
    ck_assert_int_eq(kin_connection_send(b, "m", 1, 0), 0);
    ck_assert_int_eq(kin_connection_recv_fds(a, got, &count, 0), KIN_ECORRUPT);
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), KIN_ECORRUPT);
    close(fds[0]);
    close(fds[1]);
    unmake();
    make(0);
    ck_assert_int_eq(kin_connection_send_fds(b, fds, 1, 0), -ENOTSUP);
    unmake();
}
END_TEST

START_TEST(foreign_descriptors_are_adopted)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(kin_connection_from_fd(fds[0], &a), 0);
    ck_assert_int_eq(kin_connection_from_fd(fds[1], &b), 0);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    ck_assert(kin_connection_readable(a) && !kin_connection_writable(a));
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_connection_send(b, "f", 1, 0), 0);
    ck_assert_int_eq(kin_connection_recv(a, &byte, &size, 0), 0);
    ck_assert_int_eq(byte, 'f');
    struct kin_peer peer;
    ck_assert_int_eq(kin_connection_peer(a, &peer), -ENOTSUP);
    unmake();
    make(1);
    ck_assert_int_eq(kin_connection_peer(a, &peer), 0);
    ck_assert_int_eq(peer.pid, getpid());
    ck_assert_uint_eq(peer.uid, getuid());
    unmake();
}
END_TEST

START_TEST(nothing_leaks)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    make(1);
    unmake();
    int fds = peer_fd_count();
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    size_t objects = stats.objects;
    for (int i = 0; i < 2000; i++) {
        make(i & 1);
        ck_assert_int_eq(kin_connection_send(b, "x", 1, 0), 0);
        unmake();
    }
    ck_assert_int_eq(peer_fd_count(), fds);
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    ck_assert_uint_eq(stats.objects, objects);
}
END_TEST

static Suite *pipe_suite(void)
{
    Suite *suite = suite_create("pipe");
    TCase *tcase = tcase_create("one process");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, frames_are_pythons, 0, KINDS);
    tcase_add_test(tcase, ends_know_their_direction);
    tcase_add_test(tcase, arguments_are_checked);
    tcase_add_loop_test(tcase, messages_of_every_size_arrive_whole, 0, KINDS * 2);
    tcase_add_loop_test(tcase, too_large_a_message_stays, 0, KINDS);
    tcase_add_loop_test(tcase, an_announced_message_polls, 0, KINDS);
    tcase_add_loop_test(tcase, timeouts_are_kept, 0, KINDS);
    tcase_add_loop_test(tcase, end_of_stream_is_told_from_a_cut, 0, KINDS);
    tcase_add_loop_test(tcase, a_closed_receiver_is_no_signal, 0, KINDS);
    tcase_add_loop_test(tcase, a_message_in_part_is_kept, 0, KINDS);
    tcase_add_loop_test(tcase, a_message_cut_by_its_timeout_breaks_the_end, 0, KINDS);
    tcase_add_loop_test(tcase, waits_call_the_interrupt_function, 0, KINDS);
    tcase_add_loop_test(tcase, close_ends_a_wait_in_another_thread, 0, KINDS);
    tcase_add_test(tcase, descriptors_travel);
    tcase_add_test(tcase, foreign_descriptors_are_adopted);
    tcase_add_test(tcase, nothing_leaks);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(pipe_suite)
