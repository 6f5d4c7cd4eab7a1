/*
 * Listeners and clients: addresses, keys, time and size limits, users, leaks. The peers that
 * behave badly are written on bare sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <kinfolk.h>

#include "channel/peer.h"
#include "kit/modes.h"
#include "os/os.h"

#define SECOND INT64_C(1000000000)
#define SOON (SECOND / 50)

static const char key[] = "the key";
static char folder[] = "/tmp/kinfolk-test-XXXXXX";
static char path[64];

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
}
static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static kin_listener *listen_at(const char *address, int family, const char *with)
{
    struct kin_listener_options options = KIN_LISTENER_OPTIONS_INIT;
    options.family = family;
    options.authkey = with;
    options.authkey_size = with == NULL ? 0 : strlen(with);
    kin_listener *listener = NULL;
    ck_assert_int_eq(kin_listener_create(address, &options, &listener), 0);
    return listener;
}

struct call {
    const char *address;
    const char *key;
    int64_t handshake_timeout_ns;
    int expected;
};

static int call(void *arg)
{
    const struct call *call = arg;
    struct kin_client_options options = KIN_CLIENT_OPTIONS_INIT;
    options.authkey = call->key;
    options.authkey_size = call->key == NULL ? 0 : strlen(call->key);
    if (call->handshake_timeout_ns != 0) {
        options.handshake_timeout_ns = call->handshake_timeout_ns;
    }
    kin_connection *connection = NULL;
    int rc = kin_client_connect(call->address, &options, 10 * SECOND, &connection);
    if (rc != call->expected) {
        fprintf(stderr, "connect: %s, not %s\n", kin_err_name(rc), kin_err_name(call->expected));
        return __LINE__;
    }
    if (rc == 0) {
        char text[16];
        size_t size = sizeof text;
        EXPECT(kin_connection_send(connection, "ping", 4, 10 * SECOND) == 0);
        EXPECT(kin_connection_recv(connection, text, &size, 10 * SECOND) == 0);
        EXPECT(size == 4 && memcmp(text, "pong", 4) == 0);
        EXPECT(kin_connection_recv(connection, text, &size, 10 * SECOND) == KIN_ECLOSED);
    }
    kin_connection_destroy(connection);
    return 0;
}

static void answer(kin_listener *listener)
{
    kin_connection *connection = NULL;
    char text[16];
    size_t size = sizeof text;
    ck_assert_int_eq(kin_listener_accept(listener, 10 * SECOND, &connection), 0);
    ck_assert_int_eq(kin_connection_recv(connection, text, &size, 10 * SECOND), 0);
    ck_assert_mem_eq(text, "ping", 4);
    ck_assert_int_eq(kin_connection_send(connection, "pong", 4, 10 * SECOND), 0);
    kin_connection_destroy(connection);
}

/* Address × key × mode. */
START_TEST(a_client_is_accepted)
{
    const char *const addresses[] = {NULL, path, "@kinfolk-test-listener", "127.0.0.1:0",
                                     "localhost:0"};
    const char *address = addresses[_i % 5];
    kin_listener *listener = listen_at(address, KIN_ADDRESS_ANY, _i / 5 % 2 ? key : NULL);
    if (address != NULL && strchr(address, ':') == NULL) {
        ck_assert_str_eq(kin_listener_address(listener), address);
    } else {
        ck_assert_ptr_null(strstr(kin_listener_address(listener), ":0"));
    }
    struct call what = {kin_listener_address(listener), _i / 5 % 2 ? key : NULL, 0, 0};
    for (int n = 0; n < 3; n++) {
        struct peer client;
        peer_start(&client, _i / 10 ? FORK : THREADS, call, &what);
        answer(listener);
        peer_join(&client);
    }
    ck_assert_ptr_null(kin_listener_destroy(listener));
    struct stat st;
    ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(arguments_are_checked)
{
    kin_listener *listener = NULL;
    kin_connection *connection = NULL;
    struct kin_listener_options options = KIN_LISTENER_OPTIONS_INIT;
    ck_assert_int_eq(kin_listener_create(NULL, NULL, NULL), -EINVAL);
    options.family = 9;
    ck_assert_int_eq(kin_listener_create(NULL, &options, &listener), -EINVAL);
    options.family = KIN_ADDRESS_INET;
    ck_assert_int_eq(kin_listener_create("no port", &options, &listener), -EINVAL);
    options.family = KIN_ADDRESS_UNIX;
    char name[200];
    memset(name, 'x', sizeof name);
    name[199] = '\0';
    ck_assert_int_eq(kin_listener_create(name, &options, &listener), -ENAMETOOLONG);
    ck_assert_int_eq(kin_listener_create("/no/such/folder/at/all", NULL, &listener), -ENOENT);
    ck_assert_int_eq(kin_listener_accept(NULL, 0, &connection), -EINVAL);
    ck_assert_int_eq(kin_listener_fd(NULL), -EINVAL);
    ck_assert_ptr_null(kin_listener_address(NULL));
    ck_assert_ptr_null(kin_listener_destroy(NULL));
    ck_assert_int_eq(kin_client_connect(NULL, NULL, 0, &connection), -EINVAL);
    ck_assert_int_eq(kin_client_connect(path, NULL, 0, &connection), -ENOENT);
    ck_assert_int_eq(kin_client_connect("@nobody-listens-here", NULL, 0, &connection),
                     -ECONNREFUSED);
    ck_assert_int_eq(kin_client_connect("127.0.0.1:1", NULL, SECOND, &connection), -ECONNREFUSED);
    ck_assert_ptr_null(connection);
    ck_assert_ptr_null(listener);
}
END_TEST

START_TEST(nobody_comes)
{
    kin_listener *listener = listen_at(NULL, KIN_ADDRESS_ANY, NULL);
    kin_connection *connection = NULL;
    int64_t before = kin__clock_now();
    ck_assert_int_eq(kin_listener_accept(listener, 0, &connection), -ETIMEDOUT);
    ck_assert_int_eq(kin_listener_accept(listener, SOON, &connection), -ETIMEDOUT);
    ck_assert_int_ge(kin__clock_now() - before, SOON);
    ck_assert_ptr_null(connection);
    kin_listener_destroy(listener);
}
END_TEST

START_TEST(a_path_is_taken_and_left_alone)
{
    kin_listener *listener = listen_at(path, KIN_ADDRESS_ANY, NULL);
    kin_listener *second = NULL;
    ck_assert_int_eq(kin_listener_create(path, NULL, &second), -EADDRINUSE);
    /* A forked child's destroy leaves the path. */
    pid_t pid = peer_fork();
    if (pid == 0) {
        kin_listener_destroy(listener);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    /* So does the owner's, if it is another's by then. */
    ck_assert_int_eq(unlink(path), 0);
    second = listen_at(path, KIN_ADDRESS_ANY, NULL);
    kin_listener_destroy(listener);
    ck_assert_int_eq(stat(path, &st), 0);
    kin_listener_destroy(second);
    ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(keys_must_agree)
{
    kin_listener *listener = listen_at(NULL, _i ? KIN_ADDRESS_INET : KIN_ADDRESS_ANY, key);
    kin_connection *connection = NULL;
    struct call wrong = {kin_listener_address(listener), "another key", 0, KIN_EAUTH};
    struct peer client;
    int fds = peer_fd_count();
    for (int n = 0; n < 3; n++) {
        peer_start(&client, FORK, call, &wrong);
        ck_assert_int_eq(kin_listener_accept(listener, 10 * SECOND, &connection), KIN_EAUTH);
        peer_join(&client);
    }
    ck_assert_ptr_null(connection);
    ck_assert_int_eq(peer_fd_count(), fds);
    /* It goes on for others. */
    struct call right = {kin_listener_address(listener), key, 0, 0};
    peer_start(&client, FORK, call, &right);
    answer(listener);
    peer_join(&client);
    kin_listener_destroy(listener);
}
END_TEST

START_TEST(a_listener_without_key_keeps_no_client_waiting)
{
    kin_listener *listener = listen_at(NULL, KIN_ADDRESS_ANY, NULL);
    struct call what = {kin_listener_address(listener), key, SOON, -ETIMEDOUT};
    struct peer client;
    peer_start(&client, FORK, call, &what);
    peer_join(&client);
    kin_listener_destroy(listener);
}
END_TEST

/* --- peers that behave badly -------------------------------------------------------------- */

static int bare_connect(const kin_listener *listener)
{
    struct kin__address address;
    ck_assert_int_eq(kin__address_unix(kin_listener_address(listener) + 1, true, &address), 0);
    int fd = -1;
    ck_assert_int_eq(kin__socket_connect(&address, &fd, KIN__NEVER), 0);
    return fd;
}

static kin_listener *keyed_listener(int64_t handshake_timeout_ns)
{
    struct kin_listener_options options = KIN_LISTENER_OPTIONS_INIT;
    options.authkey = key;
    options.authkey_size = strlen(key);
    options.handshake_timeout_ns = handshake_timeout_ns;
    kin_listener *listener = NULL;
    ck_assert_int_eq(kin_listener_create(NULL, &options, &listener), 0);
    return listener;
}

static kin_listener *impatient_listener(void)
{
    return keyed_listener(SECOND / 5);
}

static int drip(void *arg)
{
    /* A byte now and then, each well within the limit: a response that never ends. */
    int fd = *(int *)arg;
    unsigned char header[4] = {0, 0, 0, 200};
    for (size_t i = 0; i < 1000; i++) {
        if (send(fd, i < 4 ? (void *)&header[i] : "x", 1, MSG_NOSIGNAL) < 0) {
            return 0; /* hung up on */
        }
        struct kin_wait_item item = kin_wait_on_fd(fd, KIN_WAIT_READ);
        item.events = KIN_WAIT_READ;
        char text[64];
        if (kin_wait(&item, 1, SECOND / 100) == 1 && recv(fd, text, sizeof text, 0) == 0) {
            return 0;
        }
    }
    return __LINE__;
}

START_TEST(a_slow_peer_is_given_up)
{
    kin_listener *listener = impatient_listener();
    kin_connection *connection = NULL;
    int fds = peer_fd_count();
    int fd = bare_connect(listener);
    struct peer peer;
    peer_start(&peer, THREADS, drip, &fd);
    int64_t before = kin__clock_now();
    ck_assert_int_eq(kin_listener_accept(listener, KIN_FOREVER, &connection), KIN_EAUTH);
    int64_t took = kin__clock_now() - before;
    ck_assert_int_ge(took, SECOND / 5);
    ck_assert_int_lt(took, 2 * SECOND);
    peer_join(&peer);
    close(fd);
    /* One that says nothing at all. */
    fd = bare_connect(listener);
    ck_assert_int_eq(kin_listener_accept(listener, KIN_FOREVER, &connection), KIN_EAUTH);
    close(fd);
    /* One that hangs up at once. */
    close(bare_connect(listener));
    ck_assert_int_eq(kin_listener_accept(listener, KIN_FOREVER, &connection), KIN_EAUTH);
    ck_assert_int_eq(peer_fd_count(), fds);
    kin_listener_destroy(listener);
}
END_TEST

/* A wire between a client and a listener that is cut once it has carried so many bytes. */
struct wire {
    kin_listener *outer; /* whom the client calls */
    const kin_listener *inner;
    int direction; /* whose bytes count: 0: the client's, 1: the listener's */
    int left;      /* before the cut */
};

static int relay(void *arg)
{
    struct wire *wire = arg;
    struct pollfd caller = {kin_listener_fd(wire->outer), POLLIN, 0};
    EXPECT(poll(&caller, 1, -1) == 1);
    int fds[2] = {accept(caller.fd, NULL, NULL), bare_connect(wire->inner)};
    EXPECT(fds[0] >= 0);
    for (int over = 0; !over;) {
        struct pollfd polls[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
        EXPECT(wire->left == 0 || poll(polls, 2, -1) > 0);
        over = wire->left == 0;
        for (int from = 0; from < 2 && !over; from++) {
            if (polls[from].revents != 0) {
                char bytes[256];
                size_t room = from == wire->direction && wire->left < 256 ? (size_t)wire->left : 256;
                ssize_t n = recv(fds[from], bytes, room, 0);
                over = n <= 0 || send(fds[!from], bytes, (size_t)n, MSG_NOSIGNAL) != n;
                if (from == wire->direction && n > 0) {
                    wire->left -= (int)n;
                    over = over || wire->left == 0;
                }
            }
        }
    }
    close(fds[0]);
    close(fds[1]);
    return 0;
}

struct cut_call {
    const char *address;
    int rc;
};

static int connect_only(void *arg)
{
    struct cut_call *call = arg;
    struct kin_client_options options = KIN_CLIENT_OPTIONS_INIT;
    options.authkey = key;
    options.authkey_size = strlen(key);
    options.handshake_timeout_ns = 100 * SECOND; /* not what ends it */
    kin_connection *connection = NULL;
    call->rc = kin_client_connect(call->address, &options, 10 * SECOND, &connection);
    EXPECT((call->rc == 0) == (connection != NULL));
    kin_connection_destroy(connection);
    return 0;
}

/* Whoever dies after whichever byte of the handshake, the other end is told at once. */
START_TEST(a_handshake_cut_anywhere)
{
    kin_listener *listener = keyed_listener(100 * SECOND);
    struct wire wire = {listen_at(NULL, 0, NULL), listener, _i, 0};
    int fds = peer_fd_count(), cut = 0, accepted = 0;
    for (int bytes = 0; accepted == 0; bytes++) {
        ck_assert_int_lt(bytes, 1000);
        wire.left = bytes;
        struct cut_call call = {kin_listener_address(wire.outer), 0};
        struct peer carrier, client;
        peer_start(&carrier, THREADS, relay, &wire);
        peer_start(&client, THREADS, connect_only, &call);
        kin_connection *connection = NULL;
        int rc = kin_listener_accept(listener, KIN_FOREVER, &connection);
        peer_join(&client);
        kin_connection_destroy(connection);
        peer_join(&carrier);
        /* The client is done once it has sent the last word; the listener, once it has it. */
        ck_assert(rc == KIN_EAUTH || (rc == 0 && call.rc == 0));
        ck_assert(call.rc == 0 || call.rc == KIN_EAUTH);
        cut += call.rc != 0;
        accepted = rc == 0;
        ck_assert_int_eq(peer_fd_count(), fds);
    }
    ck_assert_int_gt(cut, 100);
    kin_listener_destroy(wire.outer);
    kin_listener_destroy(listener);
}
END_TEST

START_TEST(an_oversized_handshake_is_refused_by_its_header)
{
    static const struct {
        const char *wire;
        size_t size;
    } cases[] = {
        {"\0\0\1\1", 4},                                          /* 257 bytes */
        {"\x7f\xff\xff\xff", 4},                                  /* 2 GiB */
        {"\xff\xff\xff\xff\x0f\xff\xff\xff\xff\xff\xff\xff", 12}, /* an exabyte */
        {"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 12}, /* no length at all */
        {"\x80\0\0\0", 4},
    };
    kin_listener *listener = impatient_listener();
    kin_connection *connection = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = bare_connect(listener);
        ck_assert_int_eq(send(fd, cases[i].wire, cases[i].size, 0), (ssize_t)cases[i].size);
        int64_t before = kin__clock_now();
        ck_assert_int_eq(kin_listener_accept(listener, KIN_FOREVER, &connection), KIN_EAUTH);
        /* At once, not after the time limit. */
        ck_assert_int_lt(kin__clock_now() - before, SECOND / 5);
        close(fd);
    }
    kin_listener_destroy(listener);
}
END_TEST

static char reflector[] = "@kinfolk-test-reflector";

static int connect_expecting_refusal(void *arg)
{
    struct call what = {arg, key, 0, KIN_EAUTH};
    return call(&what);
}

static void forward(int from, int to, size_t size)
{
    char message[512];
    ck_assert_uint_le(size, sizeof message);
    ck_assert_int_eq(recv(from, message, size, MSG_WAITALL), (ssize_t)size);
    if (to >= 0) {
        ck_assert_int_eq(send(to, message, size, MSG_NOSIGNAL), (ssize_t)size);
    }
}

START_TEST(a_reflected_challenge_is_not_answered)
{
    /* The attacker listens without the key and makes one client answer for it to another. */
    struct kin__address address;
    ck_assert_int_eq(kin__address_unix("kinfolk-test-reflector", true, &address), 0);
    int attacker = kin__socket_listen(&address, 8);
    ck_assert_int_ge(attacker, 0);
    struct peer first, second;
    peer_start(&first, FORK, connect_expecting_refusal, reflector);
    fcntl(attacker, F_SETFL, 0);
    int one = accept(attacker, NULL, NULL);
    peer_start(&second, FORK, connect_expecting_refusal, reflector);
    int two = accept(attacker, NULL, NULL);
    char challenge[63] = "\0\0\0\73#CHALLENGE#{sha256}";
    memset(challenge + 23, 7, 40);
    ck_assert_int_eq(send(one, challenge, 63, 0), 63);
    forward(one, -1, 4 + 8 + 32);
    ck_assert_int_eq(send(one, "\0\0\0\11#WELCOME#", 13, 0), 13);
    forward(one, two, 4 + 11 + 8 + 40);
    /* No answer comes: the second client hangs up, and the first gets a guess. */
    char byte;
    ck_assert_int_eq(recv(two, &byte, 1, 0), 0);
    char guess[44] = "\0\0\0\50{sha256}";
    ck_assert_int_eq(send(one, guess, 44, 0), 44);
    peer_join(&second);
    peer_join(&first);
    close(one);
    close(two);
    close(attacker);
}
END_TEST

/* --- limits ------------------------------------------------------------------------------- */

START_TEST(messages_beyond_the_limit_are_not_received)
{
    struct kin_listener_options options = KIN_LISTENER_OPTIONS_INIT;
    options.max_message = 100;
    kin_listener *listener = NULL;
    kin_connection *connection = NULL;
    ck_assert_int_eq(kin_listener_create(NULL, &options, &listener), 0);
    int fd = bare_connect(listener);
    ck_assert_int_eq(kin_listener_accept(listener, SECOND, &connection), 0);
    char wire[104] = {0, 0, 0, 100};
    ck_assert_int_eq(send(fd, wire, 104, 0), 104);
    ck_assert_int_eq(send(fd, "\0\0\0\145", 4, 0), 4);
    void *data = NULL;
    size_t size = 0;
    ck_assert_int_eq(kin_connection_recv_new(connection, 0, &data, &size, SECOND), 0);
    ck_assert_uint_eq(size, 100);
    free(data);
    ck_assert_int_eq(kin_connection_recv_new(connection, 0, &data, &size, SECOND), KIN_ETOOBIG);
    ck_assert_int_eq(kin_connection_skip(connection, SECOND), KIN_ETOOBIG);
    kin_connection_destroy(connection);
    close(fd);
    kin_listener_destroy(listener);
}
END_TEST

START_TEST(other_users_are_refused)
{
    if (getuid() != 0) {
        return; /* only root can be somebody else */
    }
    /* A listener of another user, and root's: the one checks, the other is trusted. */
    pid_t pid = peer_fork();
    if (pid == 0) {
        if (setresuid(65534, 65534, 65534) < 0) {
            _exit(2);
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct kin_listener_options options = KIN_LISTENER_OPTIONS_INIT;
        kin_listener *listener = NULL;
        if (kin_listener_create("@kinfolk-test-user", &options, &listener) < 0) {
            _exit(3);
        }
        kin_connection *connection = NULL;
        int rc = kin_listener_accept(listener, 10 * SECOND, &connection); /* root may */
        kin_connection_destroy(connection);
        _exit(rc == 0 ? 0 : 4);
    }
    struct kin_client_options options = KIN_CLIENT_OPTIONS_INIT;
    kin_connection *connection = NULL;
    int rc;
    do {
        rc = kin_client_connect("@kinfolk-test-user", &options, SECOND, &connection);
    } while (rc == -ECONNREFUSED && waitpid(pid, NULL, WNOHANG) == 0);
    ck_assert_int_eq(rc, KIN_EAUTH);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

static int accept_until_told(void *arg)
{
    kin_connection *connection = NULL;
    int count = 0;
    for (;;) {
        EXPECT(kin_listener_accept(arg, 10 * SECOND, &connection) == 0);
        char text[8];
        size_t size = sizeof text;
        EXPECT(kin_connection_recv(connection, text, &size, 10 * SECOND) == 0);
        if (size == 4) {
            EXPECT(kin_connection_send(connection, "pong", 4, SECOND) == 0);
            count++;
        }
        connection = kin_connection_destroy(connection);
        if (size != 4) {
            return 0;
        }
    }
}

START_TEST(several_accept_from_one_listener)
{
    kin_listener *listener = listen_at(NULL, KIN_ADDRESS_INET, key);
    struct peer servers[3];
    for (int i = 0; i < 3; i++) {
        peer_start(&servers[i], _i ? FORK : THREADS, accept_until_told, listener);
    }
    struct call what = {kin_listener_address(listener), key, 0, 0};
    for (int i = 0; i < 30; i++) {
        ck_assert_int_eq(call(&what), 0);
    }
    for (int i = 0; i < 3; i++) {
        struct kin_client_options options = KIN_CLIENT_OPTIONS_INIT;
        options.authkey = key;
        options.authkey_size = strlen(key);
        kin_connection *connection = NULL;
        ck_assert_int_eq(
            kin_client_connect(kin_listener_address(listener), &options, SECOND, &connection), 0);
        ck_assert_int_eq(kin_connection_send(connection, "end", 3, SECOND), 0);
        kin_connection_destroy(connection);
    }
    for (int i = 0; i < 3; i++) {
        peer_join(&servers[i]);
    }
    kin_listener_destroy(listener);
}
END_TEST

START_TEST(nothing_leaks)
{
    kin_listener_destroy(listen_at(NULL, KIN_ADDRESS_ANY, key));
    int fds = peer_fd_count();
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    size_t objects = stats.objects;
    for (int i = 0; i < 200; i++) {
        kin_listener *listener = listen_at(i & 1 ? path : NULL, KIN_ADDRESS_ANY, key);
        struct call what = {kin_listener_address(listener), key, 0, 0};
        struct peer client;
        peer_start(&client, THREADS, call, &what);
        answer(listener);
        peer_join(&client);
        kin_listener_destroy(listener);
    }
    ck_assert_int_eq(peer_fd_count(), fds);
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    ck_assert_uint_eq(stats.objects, objects);
}
END_TEST

static Suite *listener_suite(void)
{
    Suite *suite = suite_create("listener");
    TCase *tcase = tcase_create("sockets");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_client_is_accepted, 0, 20);
    tcase_add_test(tcase, arguments_are_checked);
    tcase_add_test(tcase, nobody_comes);
    tcase_add_test(tcase, a_path_is_taken_and_left_alone);
    tcase_add_loop_test(tcase, keys_must_agree, 0, 2);
    tcase_add_test(tcase, a_listener_without_key_keeps_no_client_waiting);
    tcase_add_test(tcase, a_slow_peer_is_given_up);
    tcase_add_loop_test(tcase, a_handshake_cut_anywhere, 0, 2);
    tcase_add_test(tcase, an_oversized_handshake_is_refused_by_its_header);
    tcase_add_test(tcase, a_reflected_challenge_is_not_answered);
    tcase_add_test(tcase, messages_beyond_the_limit_are_not_received);
    tcase_add_test(tcase, other_users_are_refused);
    tcase_add_loop_test(tcase, several_accept_from_one_listener, 0, 2);
    tcase_add_test(tcase, nothing_leaks);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(listener_suite)
