/* The modes' own test. Layer: tests. */
#include "kit/modes.h"

#include <kinfolk/memory.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
    kin__a64 sum;
    kin__a32 pid_of[4];
};

struct args {
    struct shared *shared; /* at the same address in all */
    int number;
};

static void add(struct kit_worker *me)
{
    struct args *args = me->arg;
    kit_assert_int(me->arg_size, sizeof *args);
    kin__a64_add(&args->shared->sum, (uint64_t)args->number + me->index);
    kin__a32_store(&args->shared->pid_of[me->index], (uint32_t)getpid());
    args->number = 0; /* a copy of our own */
}

START_TEST(every_worker_runs_once)
{
    struct args args = {kin_calloc(1, sizeof *args.shared), 10};
    struct kit_crew *crew = kit_start(kit_mode_at(_i), 4, add, &args, sizeof args);
    for (unsigned i = 0; i < 4; i++) {
        bool own = kit_worker_pid(crew, i) != getpid();
        kit_assert_int(own, kit_mode_at(_i) != KIT_THREADS);
    }
    kit_join(crew);
    kit_assert_int(kin__a64_load(&args.shared->sum), 46);
}
END_TEST

static void fail_kit(struct kit_worker *me)
{
    kit_assert(me->index == 0);
}

static void fail_check(struct kit_worker *me)
{
    ck_assert_uint_eq(me->index, 0);
}

/* These two are expected to exit with 1, as a test does that fails. */
START_TEST(kit_assert_fails_the_test)
{
    kit_run(kit_mode_at(_i), 2, fail_kit, NULL, 0);
}
END_TEST

START_TEST(ck_assert_fails_the_test)
{
    kit_run(kit_mode_at(_i), 2, fail_check, NULL, 0);
}
END_TEST

START_TEST(a_child_dies_with_its_parent)
{
    struct kit_gate *gate = kit_shared(sizeof *gate);
    int ends[2];
    kit_assert_int(pipe(ends), 0);
    pid_t parent = kit_fork();
    if (parent == 0) {
        pid_t child = kit_fork();
        if (child == 0) {
            kit_gate_open(gate);
            for (;;) {
                pause();
            }
        }
        kit_gate_wait(gate);
        _exit(0);
    }
    close(ends[1]);
    kit_reap_ok(parent);
    char byte;
    kit_assert_int(read(ends[0], &byte, 1), 0); /* once the grandchild too is gone */
}
END_TEST

START_TEST(a_sleeper_is_seen_asleep)
{
    struct kit_gate *gate = kit_shared(sizeof *gate);
    pid_t child = kit_fork();
    if (child == 0) {
        kit_gate_wait(gate);
        exit(0);
    }
    kit_until_asleep(child);
    kit_assert_int(kit_process_state(child), 'S');
    kit_gate_open(gate);
    kit_reap_ok(child);
    kit_assert_int(kit_process_state(child), 0);
}
END_TEST

static Suite *modes_suite(void)
{
    Suite *suite = suite_create("modes");
    TCase *tcase = tcase_create("modes");
    kit_add_modes(tcase, every_worker_runs_once);
    tcase_add_loop_exit_test(tcase, kit_assert_fails_the_test, 1, 0, (int)kit_mode_count());
    tcase_add_loop_exit_test(tcase, ck_assert_fails_the_test, 1, 0, (int)kit_mode_count());
    tcase_add_test(tcase, a_child_dies_with_its_parent);
    tcase_add_test(tcase, a_sleeper_is_seen_asleep);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(modes_suite)
