/* How children end, and what becomes of theirs: ties, daemons, exit handlers, foreign forks. */
#include "help.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct task {
    struct board *board;
    enum kin_start_method method;
    int tied, daemon;
};

static int compute(void *arg, size_t size)
{
    const struct task *task = arg;
    (void)size;
    atomic_store(&task->board->word[0], getpid());
    for (;;) { /* no system call, in which a signal would be easy to take */
        atomic_fetch_add(&task->board->word[1], 1);
    }
    return 0;
}

/* Starts one that computes, and waits until it does. */
static kin_process *start_computing(const struct task *task)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = compute;
    options.arg = task;
    options.arg_size = sizeof *task;
    options.method = task->method;
    options.daemon = task->daemon;
    options.die_with_parent = task->tied;
    kin_process *process = NULL;
    return kin_process_start(&options, &process) == 0 ? process : NULL;
}

static int be_parent_and_crash(void *arg, size_t size)
{
    (void)size;
    if (start_computing(arg) != NULL) {
        pause();
    }
    return 1;
}

static int be_parent_and_return(void *arg, size_t size)
{
    const struct task *task = arg;
    (void)size;
    kin_process *process = start_computing(task);
    return process != NULL && reaches(&task->board->word[2], 1) ? 0 : 1;
}

static int grandchild(const struct task *task)
{
    for (int i = 0; i < 2000 && atomic_load(&task->board->word[0]) == 0; i++) {
        poll(NULL, 0, 5);
    }
    int pid = atomic_load(&task->board->word[0]);
    ck_assert_int_gt(pid, 0);
    return pid;
}

START_TEST(tied_child_dies_with_its_parent)
{
    struct task task = {.board = make_board(), .method = methods[_i], .tied = 1};
    kin_process *parent = start(KIN_START_FORK, be_parent_and_crash, &task, sizeof task);
    int pid = grandchild(&task);
    ck_assert(is_running(pid));
    ok(kin_process_kill(parent));
    ck_assert_int_eq(finish(parent), -SIGKILL);
    ck_assert(wait_gone(pid));
}
END_TEST

START_TEST(daemon_ends_with_an_orderly_end)
{
    struct task task = {.board = make_board(), .method = methods[_i], .daemon = 1};
    kin_process *parent = start(KIN_START_FORK, be_parent_and_return, &task, sizeof task);
    int pid = grandchild(&task);
    ck_assert(is_running(pid));
    atomic_store(&task.board->word[2], 1);
    ck_assert_int_eq(finish(parent), 0);
    ck_assert(wait_gone(pid));
}
END_TEST

START_TEST(others_are_left_running)
{
    struct task task = {.board = make_board(), .method = methods[_i]};
    kin_process *parent = start(KIN_START_FORK, be_parent_and_return, &task, sizeof task);
    int pid = grandchild(&task);
    atomic_store(&task.board->word[2], 1);
    ck_assert_int_eq(finish(parent), 0);
    int seen = atomic_load(&task.board->word[1]);
    for (int i = 0; i < 2000 && atomic_load(&task.board->word[1]) == seen; i++) {
        poll(NULL, 0, 5);
    }
    ck_assert(is_running(pid));
    ck_assert_int_ne(atomic_load(&task.board->word[1]), seen);
    kill(pid, SIGKILL);
    ck_assert(wait_gone(pid));
}
END_TEST

static struct board *noted;

static void handler_of_parent(void)
{
    atomic_fetch_add(&noted->word[3], 1);
}

static void handler_of_child(void)
{
    atomic_fetch_add(&noted->word[4], 1);
}

static int end_by_exit(void *arg, size_t size)
{
    struct task *task = arg;
    (void)size;
    noted = task->board;
    atexit(handler_of_child);
    if (task->tied) {
        exit(5);
    }
    return 5;
}

START_TEST(exit_handlers_are_ones_own)
{
    struct task task = {.board = make_board(), .method = methods[_i]};
    noted = task.board;
    atexit(handler_of_parent);
    ck_assert_int_eq(finish(start(methods[_i], end_by_exit, &task, sizeof task)), 5);
    task.tied = 1;
    ck_assert_int_eq(finish(start(methods[_i], end_by_exit, &task, sizeof task)), 5);
    ck_assert_int_eq(atomic_load(&noted->word[3]), 0);
    ck_assert_int_ge(atomic_load(&noted->word[4]), 1);
}
END_TEST

START_TEST(no_handler_is_installed)
{
    struct sigaction before[32], after;
    for (int i = 1; i < 32; i++) {
        sigaction(i, NULL, &before[i]);
    }
    struct task task = {.board = make_board(), .method = methods[_i]};
    ck_assert_int_eq(finish(start(methods[_i], end_by_exit, &task, sizeof task)), 5);
    for (int i = 1; i < 32; i++) {
        sigaction(i, NULL, &after);
        ck_assert(after.sa_handler == before[i].sa_handler);
    }
}
END_TEST

static int hooked[3];
static void hook_before(void)
{
    hooked[0]++;
}
static void hook_parent(void)
{
    hooked[1]++;
}
static void hook_child(void)
{
    hooked[2]++;
}

static int tell_hooks(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return hooked[0] * 100 + hooked[1] * 10 + hooked[2];
}

START_TEST(hooks)
{
    gives(-EINVAL, kin_process_set_fork_hooks(hook_before, NULL, hook_child));
    ok(kin_process_set_fork_hooks(hook_before, hook_parent, hook_child));
    ck_assert_int_eq(finish(start(KIN_START_FORK, tell_hooks, NULL, 0)), 101);
    ck_assert_int_eq(hooked[0] * 100 + hooked[1] * 10 + hooked[2], 110);
    ok(kin_process_set_fork_hooks(NULL, NULL, NULL));
}
END_TEST

START_TEST(fork_by_hand)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.name = "by hand";
    options.die_with_parent = 1;
    kin_process *p = NULL;
    make_board(); /* founds the family */
    int fds = count_fds();
    gives(-EINVAL, kin_process_prepare_fork(NULL, &p));
    gives(-EINVAL, kin_process_prepare_fork(&options, NULL));
    gives(-EINVAL, kin_process_complete_fork(NULL, 0));
    ok(kin_process_prepare_fork(&options, &p));
    ok(kin_process_complete_fork(p, -1)); /* there was none */
    ok(kin_process_prepare_fork(&options, &p));
    int pid = fork();
    if (pid == 0) {
        struct kin_process_info self = KIN_PROCESS_INFO_INIT;
        int rc = kin_process_complete_fork(p, 0);
        kin_process_current(&self);
        kin_process_exit(rc == 0 && strcmp(self.name, "by hand") == 0 &&
                                 self.parent_pid == getppid()
                             ? 0x106
                             : 1);
    }
    ok(kin_process_complete_fork(p, pid));
    ck_assert_int_eq(kin_process_pid(p), pid);
    ck_assert_int_eq(finish(p), 6);
    ck_assert_int_le(count_fds(), fds + 2); /* the lifeline stays */
    struct kin_arena_stats stats = {.size = sizeof stats};
    ok(kin_arena_stats(&stats));
    ck_assert_uint_eq(stats.processes, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("process ends");
    TCase *tc = tcase_create("ends");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, reset_signals, NULL);
    tcase_add_loop_test(tc, tied_child_dies_with_its_parent, 0, METHODS);
    tcase_add_loop_test(tc, daemon_ends_with_an_orderly_end, 0, METHODS);
    tcase_add_loop_test(tc, others_are_left_running, 0, METHODS);
    tcase_add_loop_test(tc, exit_handlers_are_ones_own, 0, METHODS);
    tcase_add_loop_test(tc, no_handler_is_installed, 0, METHODS);
    tcase_add_test(tc, hooks);
    tcase_add_test(tc, fork_by_hand);
    suite_add_tcase(s, tc);
    return s;
}

KIT_CHECK_MAIN(suite)
