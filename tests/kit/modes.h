/*
 * One test body, run by several workers at once: threads on one mapping, forked processes, spawned
 * processes, processes of a fork server. Layer: tests.
 *
 *     static void body(struct kit_worker *me)
 *     {
 *         struct args *args = me->arg;              // this worker's own copy of the bytes
 *         kin_lock *lock;
 *         kit_assert_ok(kin_lock_attach(&args->lock, &lock));
 *         ...
 *     }
 *     START_TEST(counts)                            // added with kit_add_modes(tcase, counts)
 *     {
 *         kit_run(kit_mode_at(_i), 4, body, &args, sizeof args);
 *     }
 */
#ifndef KIT_MODES_H
#define KIT_MODES_H

#include <check.h>

#include "kit/kit.h"

enum kit_mode {
    KIT_THREADS,
    KIT_FORK,
    KIT_SPAWN,
    KIT_FORKSERVER,
    KIT_MODES,
};

struct kit_worker {
    enum kit_mode mode;
    unsigned index, count;
    void *arg; /* a copy, aligned for anything, of the bytes given to kit_start */
    size_t arg_size;
};

typedef void kit_body(struct kit_worker *me);

struct kit_crew;

/*
 * Starts `count` workers. The body must be a function of the test program. What it shares with the
 * others it gets by references (kin_ref) or kin_alloc addresses in `arg`.
 */
struct kit_crew *kit_start(enum kit_mode mode, unsigned count, kit_body *body, const void *arg,
                           size_t arg_size);

/* Waits until all have returned; fails the test if an assertion failed in one. Frees the crew. */
void kit_join(struct kit_crew *crew);

/* The worker's pid; of this process for threads. */
pid_t kit_worker_pid(const struct kit_crew *crew, unsigned index);

/* kit_start and kit_join. */
void kit_run(enum kit_mode mode, unsigned count, kit_body *body, const void *arg, size_t arg_size);

/*
 * The modes to test: all of them, or those that the environment's KIN_TEST_MODES names, such as
 * "threads" or "fork,spawn".
 */
unsigned kit_mode_count(void);
enum kit_mode kit_mode_at(int i);
const char *kit_mode_name(enum kit_mode mode);

/* A test that runs once a mode, with _i for kit_mode_at. */
#define kit_add_modes(tcase, test) tcase_add_loop_test(tcase, test, 0, (int)kit_mode_count())

/*
 * A test program's main: runs the suites, each test in a process of its own that takes its
 * descendants with it. Prints Check's summary. Also the door through which spawned workers enter.
 * The environment's CK_RUN_CASE and CK_RUN_SUITE select.
 */
typedef Suite *kit_suite_fn(void);
int kit_check_main(int argc, char **argv, kit_suite_fn *const *suites, size_t count);

#define KIT_CHECK_MAIN(...)                                                                        \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static kit_suite_fn *const kit_suites[] = {__VA_ARGS__};                                   \
        return kit_check_main(argc, argv, kit_suites, KIT_COUNT(kit_suites));                      \
    }

#endif
