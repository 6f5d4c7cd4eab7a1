/*
 * Both ends of connections against Python's own multiprocessing, of every interpreter found here:
 * 3.11 and older speak HMAC-MD5 without a prefix, 3.12 and newer digests by name. Interpreters:
 * /usr/bin/python3, those from 3.11 under $HOME/.pyenv/versions, and $KINFOLK_TEST_PYTHONS (separated by
 * spaces).
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <kinfolk.h>

#include "channel/peer.h"
#include "kit/modes.h"

#define SECOND INT64_C(1000000000)

static const char key[] = "a key for two languages";
static const size_t sizes[] = {0, 1, 100, 16384, 16385, 1000000};

#define INTERPRETERS 16
static char interpreters[INTERPRETERS][256];
static int interpreter_count;

/* argv: address (@name, /path or host:port), key, what to do. */
static const char script[] =
    "import sys, os\n"
    "from multiprocessing import connection, reduction, AuthenticationError\n"
    "address, key, what = sys.argv[1:]\n"
    "key = key.encode()\n"
    "if address[0] == '@': address = '\\0' + address[1:]\n"
    "elif ':' in address: host, port = address.split(':'); address = (host, int(port))\n"
    "if what.startswith('serve'):\n"
    "    with connection.Listener(address, authkey=key) as listener:\n"
    "        print('ready', flush=True)\n"
    "        try: c = listener.accept()\n"
    "        except AuthenticationError: sys.exit(0 if what == 'serve-refuse' else 1)\n"
    "else:\n"
    "    try: c = connection.Client(address, authkey=key)\n"
    "    except AuthenticationError: sys.exit(0 if what == 'call-refuse' else 1)\n"
    "if what.endswith('refuse'): sys.exit(2)\n"
    "while True:\n"
    "    try: message = c.recv_bytes()\n"
    "    except EOFError: break\n"
    "    c.send_bytes(message[::-1])\n"
    "    if message == b'fd':\n"
    "        fd = reduction.recv_handle(c)\n"
    "        os.write(fd, b'from python')\n"
    "        reduction.send_handle(c, fd, None)\n"
    "        os.close(fd)\n";

struct python {
    pid_t pid;
    int out;
};

static struct python start(const char *interpreter, const char *address, const char *with,
                           const char *what)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    struct python python = {.pid = peer_fork(), .out = fds[0]};
    if (python.pid == 0) {
        dup2(fds[1], 1);
        execl(interpreter, interpreter, "-S", "-c", script, address, with, what, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    return python;
}

static void await_ready(const struct python *python)
{
    char byte = '\0';
    while (byte != '\n') { /* an unbuffered interpreter writes it in pieces */
        ck_assert_int_eq(read(python->out, &byte, 1), 1);
    }
}

static void finish(struct python *python)
{
    int status;
    ck_assert_int_eq(waitpid(python->pid, &status, 0), python->pid);
    ck_assert_int_eq(status, 0);
    close(python->out);
}

static void exchange(kin_connection *connection)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *sent = malloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i]; k++) {
            sent[k] = (unsigned char)(k * 7 + k / 251);
        }
        ck_assert_int_eq(kin_connection_send(connection, sent, sizes[i], 10 * SECOND), 0);
        void *got = NULL;
        size_t size = 0;
        ck_assert_int_eq(kin_connection_recv_new(connection, 0, &got, &size, 10 * SECOND), 0);
        ck_assert_uint_eq(size, sizes[i]);
        for (size_t k = 0; k < size; k++) {
            ck_assert_uint_eq(((unsigned char *)got)[k], sent[size - 1 - k]);
        }
        free(got);
        free(sent);
    }
}

static void exchange_fds(kin_connection *connection)
{
    char text[16];
    size_t size = sizeof text;
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(kin_connection_send(connection, "fd", 2, SECOND), 0);
    ck_assert_int_eq(kin_connection_send_fds(connection, &fds[1], 1, SECOND), 0);
    ck_assert_int_eq(kin_connection_recv(connection, text, &size, 10 * SECOND), 0);
    ck_assert_int_eq(read(fds[0], text, sizeof text), 11);
    ck_assert_mem_eq(text, "from python", 11);
    int back = -1;
    size_t count = 1;
    ck_assert_int_eq(kin_connection_recv_fds(connection, &back, &count, 10 * SECOND), 0);
    ck_assert_int_eq(write(back, "x", 1), 1);
    close(back);
    close(fds[0]);
    close(fds[1]);
}

static const char *const addresses[] = {"@kinfolk-test-python", "127.0.0.1"};

static void talk(kin_connection *connection, bool local)
{
    exchange(connection);
    if (local) {
        exchange_fds(connection);
    }
    kin_connection_destroy(connection);
}

/* An unused port: nobody else binds it in the moment between. */
static void free_address(int i, char address[64])
{
    snprintf(address, 64, "%s%s", addresses[i % 2], i % 2 ? ":0" : "");
    kin_listener *listener = NULL;
    ck_assert_int_eq(kin_listener_create(address, NULL, &listener), 0);
    snprintf(address, 64, "%s", kin_listener_address(listener));
    kin_listener_destroy(listener);
}

static int connect_to(const char *address, const char *with, kin_connection **connection)
{
    struct kin_client_options options = KIN_CLIENT_OPTIONS_INIT;
    options.authkey = with;
    options.authkey_size = strlen(with);
    return kin_client_connect(address, &options, 10 * SECOND, connection);
}

START_TEST(python_listens)
{
    char address[64];
    free_address(_i, address);
    kin_connection *connection = NULL;
    struct python python = start(interpreters[_i / 2], address, key, "serve");
    await_ready(&python);
    ck_assert_int_eq(connect_to(address, key, &connection), 0);
    talk(connection, _i % 2 == 0);
    finish(&python);

    python = start(interpreters[_i / 2], address, "another", "serve-refuse");
    await_ready(&python);
    ck_assert_int_eq(connect_to(address, key, &connection), KIN_EAUTH);
    finish(&python);
}
END_TEST

START_TEST(python_calls)
{
    char address[64];
    snprintf(address, sizeof address, "%s%s", addresses[_i % 2], _i % 2 ? ":0" : "");
    struct kin_listener_options options = KIN_LISTENER_OPTIONS_INIT;
    options.authkey = key;
    options.authkey_size = strlen(key);
    kin_listener *listener = NULL;
    kin_connection *connection = NULL;
    ck_assert_int_eq(kin_listener_create(address, &options, &listener), 0);
    const char *where = kin_listener_address(listener);
    struct python python = start(interpreters[_i / 2], where, key, "call");
    ck_assert_int_eq(kin_listener_accept(listener, 20 * SECOND, &connection), 0);
    talk(connection, _i % 2 == 0);
    finish(&python);

    python = start(interpreters[_i / 2], where, "another", "call-refuse");
    ck_assert_int_eq(kin_listener_accept(listener, 20 * SECOND, &connection), KIN_EAUTH);
    finish(&python);
    kin_listener_destroy(listener);
}
END_TEST

static void consider(const char *path)
{
    char command[512];
    struct stat st;
    if (interpreter_count == INTERPRETERS || strlen(path) >= 256 || stat(path, &st) < 0) {
        return;
    }
    snprintf(command, sizeof command,
             "%s -c 'import sys, multiprocessing.reduction; sys.exit(sys.version_info < (3, 8))' "
             ">/dev/null 2>&1",
             path);
    if (system(command) == 0) {
        snprintf(interpreters[interpreter_count++], 256, "%s", path);
    }
}

static void find_interpreters(void)
{
    consider("/usr/bin/python3");
    const char *home = getenv("HOME");
    char pattern[512];
    snprintf(pattern, sizeof pattern, "%s/.pyenv/versions/3.1[1-9]*/bin/python3",
             home == NULL ? "" : home);
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            consider(found.gl_pathv[i]);
        }
        globfree(&found);
    }
    const char *more = getenv("KINFOLK_TEST_PYTHONS");
    char *list = strdup(more == NULL ? "" : more);
    for (char *path = strtok(list, " "); path != NULL; path = strtok(NULL, " ")) {
        consider(path);
    }
    free(list);
}

static Suite *python_suite(void)
{
    Suite *suite = suite_create("python");
    TCase *tcase = tcase_create("interoperation");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, python_listens, 0, 2 * interpreter_count);
    tcase_add_loop_test(tcase, python_calls, 0, 2 * interpreter_count);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(int argc, char **argv)
{
    find_interpreters();
    printf("%d interpreters:", interpreter_count);
    for (int i = 0; i < interpreter_count; i++) {
        printf(" %s", interpreters[i]);
    }
    printf("\n");
    fflush(stdout);
    if (interpreter_count == 0) {
        return 77; /* skipped */
    }
    return kit_check_main(argc, argv, (kit_suite_fn *const[]){python_suite}, 1);
}
