/* What the process tests share. */
#ifndef TESTS_PROCESS_HELP_H
#define TESTS_PROCESS_HELP_H

#include <check.h>
#include <kinfolk.h>
#include <stdbool.h>
#include <stdint.h>

#include "kit/modes.h"

/* Every test runs under each of these: tcase_add_loop_test(tc, test, 0, METHODS). */
extern const enum kin_start_method methods[];
#define METHODS 3

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

#define ok(call)                                                                                   \
    do {                                                                                           \
        int ok_rc = (call);                                                                        \
        ck_assert_msg(ok_rc >= 0, "%s: %s", #call, kin_err_name(ok_rc));                           \
    } while (0)

#define gives(code, call)                                                                          \
    do {                                                                                           \
        int gives_rc = (call);                                                                     \
        ck_assert_msg(gives_rc == (code), "%s: %s, not %s", #call, kin_err_name(gives_rc),         \
                      kin_err_name(code));                                                         \
    } while (0)

/* Starts a child by the method of this round. */
kin_process *start(enum kin_start_method method, kin_target_fn *target, const void *arg,
                   size_t size);

/* Joins within ten seconds, destroys, returns the exit code. */
int finish(kin_process *process);

/* Descriptors that this process has open. */
int count_fds(void);

/* Children of this process, zombies included; their states go to `states` if it is not NULL. */
int count_children(char states[64]);

/* Waits until the pid names no process, or a zombie; false after ten seconds. */
bool wait_gone(int pid);

/* Whether /proc shows the process, alive. */
bool is_running(int pid);

/* A word of the arena that all can see. */
struct board {
    _Atomic int word[16];
};
struct board *make_board(void);

/* Waits until the word has the value: false after ten seconds. */
bool reaches(_Atomic int *word, int value);
#define await(word, value) ck_assert_msg(reaches(word, value), "%s never was %d", #word, value)

/* For children, in which Check's assertions cannot be used: NULL, -1 for failures. */
kin_process *try_start(enum kin_start_method method, kin_target_fn *target, const void *arg,
                       size_t size);
int try_finish(kin_process *process);

/* A fixture: undoes what Check's runner does to signals, which forked children would inherit. */
void reset_signals(void);

#endif
