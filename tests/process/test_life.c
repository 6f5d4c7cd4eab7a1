/* Starting, joining and ending children: the same under every method. */
#include "help.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int give(void *arg, size_t size)
{
    int code = -1;
    if (size == sizeof code) {
        memcpy(&code, arg, sizeof code);
        memset(arg, 0xff, size); /* ours to write */
    }
    return code;
}

static int sleep_forever(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    for (;;) {
        pause();
    }
    return 0;
}


static int nothing(void *arg, size_t size)
{
    return arg == NULL && size == 0 ? 42 : 1;
}

START_TEST(exit_codes)
{
    enum kin_start_method method = methods[_i];
    const int values[][2] = {{0, 0}, {7, 7}, {255, 255}, {256, 0}, {-1, 255}, {0x1234, 0x34}};
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
        int arg = values[i][0];
        kin_process *p = start(method, give, &arg, sizeof arg);
        ck_assert_int_eq(arg, values[i][0]);
        ck_assert_int_eq(finish(p), values[i][1]);
    }
    ck_assert_int_eq(finish(start(method, nothing, NULL, 0)), 42);
}
END_TEST

static int check_big(void *arg, size_t size)
{
    const int *word = arg;
    if (size != 3 << 20 || (uintptr_t)arg % 16 != 0) {
        return 1;
    }
    for (size_t i = 0; i < size / sizeof *word; i++) {
        if (word[i] != (int)(i * 2654435761u)) {
            return 2;
        }
    }
    return 0;
}

START_TEST(big_argument)
{
    size_t size = 3 << 20;
    int *arg = malloc(size);
    for (size_t i = 0; i < size / sizeof *arg; i++) {
        arg[i] = (int)(i * 2654435761u);
    }
    ck_assert_int_eq(finish(start(methods[_i], check_big, arg, size)), 0);
    free(arg);
}
END_TEST

START_TEST(signals)
{
    enum kin_start_method method = methods[_i];
    kin_process *p = start(method, sleep_forever, NULL, 0);
    int exitcode = 77;
    ck_assert_int_eq(kin_process_is_alive(p), 1);
    gives(-EAGAIN, kin_process_exitcode(p, &exitcode));
    gives(-ETIMEDOUT, kin_process_join(p, 0, &exitcode));
    gives(-ETIMEDOUT, kin_process_join(p, 20 * MS, &exitcode));
    ck_assert_int_eq(exitcode, 77);
    struct pollfd sentinel = {.fd = kin_process_sentinel(p), .events = POLLIN};
    ck_assert_int_eq(poll(&sentinel, 1, 0), 0);
    ok(kin_process_terminate(p));
    ck_assert_int_eq(poll(&sentinel, 1, 10000), 1);
    ok(kin_process_join(p, 10 * SECOND, &exitcode));
    ck_assert_int_eq(exitcode, -SIGTERM);
    ok(kin_process_join(p, KIN_FOREVER, NULL));
    ck_assert_int_eq(kin_process_is_alive(p), 0);
    exitcode = 0;
    ok(kin_process_exitcode(p, &exitcode));
    ck_assert_int_eq(exitcode, -SIGTERM);
    ok(kin_process_terminate(p));
    ok(kin_process_kill(p));
    gives(-ESRCH, kin_process_signal(p, SIGUSR1));
    ck_assert_int_eq(poll(&sentinel, 1, 0), 1);
    kin_process_destroy(p);

    p = start(method, sleep_forever, NULL, 0);
    ok(kin_process_kill(p));
    ck_assert_int_eq(finish(p), -SIGKILL);
    p = start(method, sleep_forever, NULL, 0);
    ok(kin_process_signal(p, SIGUSR2));
    ck_assert_int_eq(finish(p), -SIGUSR2);
}
END_TEST

static int crash(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 0;
}

START_TEST(crashes)
{
    ck_assert_int_eq(finish(start(methods[_i], crash, NULL, 0)), -SIGSEGV);
}
END_TEST

START_TEST(many_at_once)
{
    enum kin_start_method method = methods[_i];
    kin_process *children[12];
    for (int i = 0; i < 12; i++) {
        children[i] = start(method, give, &i, sizeof i);
    }
    for (int i = 11; i >= 0; i--) {
        ck_assert_int_eq(finish(children[i]), i);
    }
}
END_TEST

START_TEST(leaves_no_trace)
{
    enum kin_start_method method = methods[_i];
    ck_assert_int_eq(finish(start(method, nothing, NULL, 0)), 42); /* a lifeline, a fork server */
    int fds = count_fds(), others = count_children(NULL);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(finish(start(method, nothing, NULL, 0)), 42);
    }
    kin_process *p = start(method, sleep_forever, NULL, 0);
    ok(kin_process_kill(p));
    ck_assert_int_eq(finish(p), -SIGKILL);
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.method = method;
    gives(-EINVAL, kin_process_start(&options, &p));
    ck_assert_int_eq(count_fds(), fds);
    ck_assert_int_eq(count_children(NULL), others);
    struct kin_arena_stats stats = {.size = sizeof stats};
    ok(kin_arena_stats(&stats));
    ck_assert_uint_eq(stats.processes, 1);
}
END_TEST

static int wait_for_word(void *arg, size_t size)
{
    struct board *board = *(struct board **)arg;
    (void)size;
    atomic_store(&board->word[0], 1);
    return reaches(&board->word[1], 1) ? 0 : 1;
}

START_TEST(destroyed_is_reaped_later)
{
    enum kin_start_method method = methods[_i];
    finish(start(method, nothing, NULL, 0));
    int fds = count_fds(), others = count_children(NULL);
    struct board *board = make_board();
    kin_process *p = start(method, wait_for_word, &board, sizeof board);
    int pid = kin_process_pid(p);
    ck_assert_ptr_null(kin_process_destroy(p));
    await(&board->word[0], 1);
    ck_assert(is_running(pid));
    size_t count = 0;
    struct kin_process_info infos[4];
    ok(kin_process_active(infos, 4, &count));
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(infos[0].pid, pid);
    atomic_store(&board->word[1], 1);
    ck_assert(wait_gone(pid));
    /* A zombie may have threads that are still ending, such as a sanitizer's. */
    for (int i = 0; i < 1000 && count != 0; i++) {
        ok(kin_process_active(infos, 4, &count));
        usleep(1000);
    }
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(count_fds(), fds);
    ck_assert_int_eq(count_children(NULL), others);
}
END_TEST

static void *join_it(void *arg)
{
    int exitcode = -1;
    int rc = kin_process_join(arg, 10 * SECOND, &exitcode);
    return (void *)(intptr_t)(rc < 0 ? rc : exitcode);
}

START_TEST(many_threads_join)
{
    struct board *board = make_board();
    kin_process *p = start(methods[_i], wait_for_word, &board, sizeof board);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, join_it, p);
    }
    await(&board->word[0], 1);
    atomic_store(&board->word[1], 1);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_int_eq((intptr_t)result, 0);
    }
    kin_process_destroy(p);
}
END_TEST

struct nested {
    enum kin_start_method method;
    kin_process *sibling;
    struct board *board;
};

/* Runs in a child: the handle is its parent's, and it can have children of its own. */
static int use_foreign_handle(void *arg, size_t size)
{
    struct nested *nested = arg;
    (void)size;
    kin_process *p = nested->sibling;
    int exitcode;
    if (kin_process_join(p, 0, &exitcode) != KIN_EFORKED ||
        kin_process_exitcode(p, &exitcode) != KIN_EFORKED ||
        kin_process_is_alive(p) != KIN_EFORKED || kin_process_kill(p) != KIN_EFORKED ||
        kin_process_terminate(p) != KIN_EFORKED || kin_process_sentinel(p) != KIN_EFORKED ||
        kin_process_signal(p, SIGKILL) != KIN_EFORKED || kin_process_pid(p) <= 0 ||
        strncmp(kin_process_name(p), "Process-", 8) != 0) {
        return 1;
    }
    return kin_process_destroy(p) == NULL ? 0 : 2;
}

START_TEST(foreign_handle)
{
    struct nested nested = {.sibling = start(KIN_START_FORK, sleep_forever, NULL, 0)};
    kin_process *p = start(KIN_START_FORK, use_foreign_handle, &nested, sizeof nested);
    ck_assert_int_eq(finish(p), 0);
    ck_assert_int_eq(kin_process_is_alive(nested.sibling), 1);
    ok(kin_process_kill(nested.sibling));
    ck_assert_int_eq(finish(nested.sibling), -SIGKILL);
}
END_TEST

/* A child whose child tells its name. */
static int tell_name(void *arg, size_t size)
{
    struct nested *nested = arg;
    (void)size;
    struct kin_process_info self = KIN_PROCESS_INFO_INIT, parent = KIN_PROCESS_INFO_INIT;
    if (kin_process_current(&self) < 0 || kin_process_parent(&parent) < 0) {
        return 1;
    }
    if (self.pid != getpid() || self.parent_pid != parent.pid || self.method != nested->method) {
        return 2;
    }
    int sentinel = kin_process_parent_sentinel();
    struct pollfd p = {.fd = sentinel, .events = POLLIN};
    if (sentinel < 0 || poll(&p, 1, 0) != 0 || kin_process_parent_sentinel() != sentinel) {
        return 3;
    }
    if (strcmp(self.name, "Process-3:1") == 0) {
        return strcmp(parent.name, "Process-3") == 0 ? 33 : 4;
    }
    if (strcmp(self.name, "Process-3") != 0 || strcmp(parent.name, "MainProcess") != 0) {
        return 5;
    }
    return try_finish(try_start(nested->method, tell_name, arg, size));
}

START_TEST(names)
{
    enum kin_start_method method = methods[_i];
    struct kin_process_info info = KIN_PROCESS_INFO_INIT;
    ok(kin_process_current(&info));
    ck_assert_str_eq(info.name, "MainProcess");
    ck_assert_int_eq(info.pid, getpid());
    ck_assert_int_eq(info.parent_pid, 0);
    gives(-ESRCH, kin_process_parent(&info));
    gives(-ESRCH, kin_process_parent_sentinel());

    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = sleep_forever;
    options.method = method;
    options.name = "a name of its own";
    options.daemon = 1;
    options.die_with_parent = 1;
    kin_process *named = NULL, *unnamed = NULL;
    ok(kin_process_start(&options, &named));
    options.name = NULL;
    options.daemon = 0;
    ok(kin_process_start(&options, &unnamed));
    ck_assert_str_eq(kin_process_name(named), "a name of its own");
    ck_assert_str_eq(kin_process_name(unnamed), "Process-2");
    ck_assert_int_eq(kin_process_daemon(named), 1);
    ck_assert_int_eq(kin_process_daemon(unnamed), 0);
    ck_assert_int_eq(kin_process_method(named), method);

    struct kin_process_info infos[2] = {KIN_PROCESS_INFO_INIT};
    size_t count = 0;
    ok(kin_process_active(infos, 1, &count));
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(infos[0].name, "a name of its own");
    ck_assert_int_eq(infos[0].pid, kin_process_pid(named));
    ck_assert_int_eq(infos[0].daemon, 1);
    ok(kin_process_kill(named));
    ok(kin_process_join(named, 10 * SECOND, NULL));
    ok(kin_process_active(infos, 2, &count));
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(infos[0].name, "Process-2");
    kin_process_destroy(named);
    ok(kin_process_kill(unnamed));
    finish(unnamed);

    struct nested nested = {.method = method};
    ck_assert_int_eq(finish(start(method, tell_name, &nested, sizeof nested)), 33);
}
END_TEST

/* What threads of one process do at once. */
static void *start_and_join(void *arg)
{
    enum kin_start_method method = *(enum kin_start_method *)arg;
    for (int i = 0; i < 5; i++) {
        if (finish(start(method, give, &i, sizeof i)) != i) {
            return arg;
        }
    }
    return NULL;
}

START_TEST(threads_start)
{
    enum kin_start_method method = methods[_i];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, start_and_join, &method);
    }
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

static int interrupt_rc;
static int interrupt(void *arg)
{
    ++*(int *)arg;
    return interrupt_rc;
}

START_TEST(interrupted_join)
{
    kin_process *p = start(methods[_i], sleep_forever, NULL, 0);
    int calls = 0;
    kin_thread_set_interrupt(interrupt, &calls);
    gives(-ETIMEDOUT, kin_process_join(p, 250 * MS, NULL));
    ck_assert_int_ge(calls, 2);
    interrupt_rc = -1234;
    gives(-1234, kin_process_join(p, KIN_FOREVER, NULL));
    kin_thread_set_interrupt(NULL, NULL);
    ok(kin_process_kill(p));
    finish(p);
}
END_TEST

START_TEST(status_stolen)
{
    enum kin_start_method method = methods[_i];
    signal(SIGCHLD, SIG_IGN);
    kin_process *p = start(method, sleep_forever, NULL, 0);
    ok(kin_process_kill(p));
    int exitcode = 99;
    int rc = kin_process_join(p, 10 * SECOND, &exitcode);
    if (method == KIN_START_FORKSERVER) { /* whose children are the zygote's to wait for */
        ck_assert_int_eq(rc, 0);
        ck_assert_int_eq(exitcode, -SIGKILL);
    } else {
        gives(KIN_ESTATUSLOST, rc);
        ck_assert_int_eq(exitcode, 99);
        gives(KIN_ESTATUSLOST, kin_process_exitcode(p, NULL));
        ck_assert_int_eq(kin_process_is_alive(p), 0);
    }
    kin_process_destroy(p);
    /* So short a life that it may be over before its start has returned. */
    for (int i = 0; i < 20; i++) {
        p = start(method, nothing, NULL, 0);
        rc = kin_process_join(p, 10 * SECOND, NULL);
        ck_assert(rc == 0 || rc == KIN_ESTATUSLOST);
        kin_process_destroy(p);
    }
    signal(SIGCHLD, SIG_DFL);
}
END_TEST

START_TEST(bad_arguments)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    kin_process *p = NULL;
    gives(-EINVAL, kin_process_start(NULL, &p));
    gives(-EINVAL, kin_process_start(&options, &p));
    options.target = nothing;
    gives(-EINVAL, kin_process_start(&options, NULL));
    options.arg_size = 1;
    gives(-EINVAL, kin_process_start(&options, &p));
    options.arg_size = 0;
    options.method = (enum kin_start_method)17;
    gives(-EINVAL, kin_process_start(&options, &p));
    options.method = methods[_i];
    options.fd_count = 1;
    gives(-EINVAL, kin_process_start(&options, &p));
    int fds[KIN_FDS_MAX + 1] = {-1};
    options.fds = fds;
    gives(-EBADF, kin_process_start(&options, &p));
    fds[0] = 987;
    gives(-EBADF, kin_process_start(&options, &p));
    options.fd_count = KIN_FDS_MAX + 1;
    gives(-EINVAL, kin_process_start(&options, &p));
    options.fds = NULL;
    options.fd_count = 0;
    char name[KIN_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[KIN_NAME_MAX + 1] = '\0';
    options.name = name;
    gives(-ENAMETOOLONG, kin_process_start(&options, &p));
    name[KIN_NAME_MAX] = '\0';
    options.entry = "no such entry";
    gives(KIN_ENOENTRY, kin_process_start(&options, &p));
    options.entry = NULL;
    options.size = 0;
    gives(-EINVAL, kin_process_start(&options, &p));
    ck_assert_ptr_null(p);
    options.size = sizeof options;
    ok(kin_process_start(&options, &p));
    ck_assert_str_eq(kin_process_name(p), name);
    ck_assert_int_eq(finish(p), 42);
    gives(-EINVAL, kin_process_join(NULL, 0, NULL));
    gives(-EINVAL, kin_process_is_alive(NULL));
    gives(-EINVAL, kin_process_kill(NULL));
    gives(-EINVAL, kin_process_pid(NULL));
    gives(-EINVAL, kin_process_sentinel(NULL));
    gives(-EINVAL, kin_process_active(NULL, 1, NULL));
    ck_assert_ptr_null(kin_process_name(NULL));
    ck_assert_ptr_null(kin_process_destroy(NULL));
}
END_TEST

START_TEST(contexts)
{
    struct kin_context given = KIN_CONTEXT_INIT, got = KIN_CONTEXT_INIT;
    ok(kin_context_default(&got));
    ck_assert_int_eq(got.method, KIN_START_FORK);
    given.method = methods[_i];
    given.die_with_parent = 1;
    ok(kin_context_set_default(&given));
    ok(kin_context_default(&got));
    ck_assert_int_eq(got.method, methods[_i]);
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = nothing;
    kin_process *p = NULL;
    ok(kin_process_start(&options, &p));
    ck_assert_int_eq(kin_process_method(p), methods[_i]);
    ck_assert_int_eq(finish(p), 42);
    ok(kin_context_set_default(NULL));
    options.context = &given;
    ok(kin_process_start(&options, &p));
    ck_assert_int_eq(kin_process_method(p), methods[_i]);
    ck_assert_int_eq(finish(p), 42);
    given.method = (enum kin_start_method)9;
    gives(-EINVAL, kin_context_set_default(&given));
    gives(-EINVAL, kin_process_start(&options, &p));
    ck_assert_int_eq(kin_start_method_parse(kin_start_method_name(methods[_i])), methods[_i]);
    gives(-EINVAL, kin_start_method_parse("no such"));
    ck_assert_ptr_null(kin_start_method_name((enum kin_start_method)9));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("process life");
    TCase *tc = tcase_create("life");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, reset_signals, NULL);
    tcase_add_loop_test(tc, exit_codes, 0, METHODS);
    tcase_add_loop_test(tc, big_argument, 0, METHODS);
    tcase_add_loop_test(tc, signals, 0, METHODS);
    tcase_add_loop_test(tc, crashes, 0, METHODS);
    tcase_add_loop_test(tc, many_at_once, 0, METHODS);
    tcase_add_loop_test(tc, leaves_no_trace, 0, METHODS);
    tcase_add_loop_test(tc, destroyed_is_reaped_later, 0, METHODS);
    tcase_add_loop_test(tc, many_threads_join, 0, METHODS);
    tcase_add_test(tc, foreign_handle);
    tcase_add_loop_test(tc, names, 0, METHODS);
    tcase_add_loop_test(tc, threads_start, 0, METHODS);
    tcase_add_loop_test(tc, interrupted_join, 0, METHODS);
    tcase_add_loop_test(tc, status_stolen, 0, METHODS);
    tcase_add_loop_test(tc, bad_arguments, 0, METHODS);
    tcase_add_loop_test(tc, contexts, 0, METHODS);
    suite_add_tcase(s, tc);
    return s;
}

KIT_CHECK_MAIN(suite)
