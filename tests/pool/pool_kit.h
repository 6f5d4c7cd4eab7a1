/* What the pool's tests share: pools of either kind, functions for workers. Layer: tests. */
#ifndef POOL_KIT_H
#define POOL_KIT_H

#include <check.h>
#include <errno.h>
#include <kinfolk.h>
#include <kinfolk/process.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit/kit.h"
#include "kit/modes.h"

/* The loop tests run once for each kind of worker. */
#define KINDS 2
#define PROCESSES 0

#define ok(call)                                                                                   \
    do {                                                                                           \
        int ok_rc = (call);                                                                        \
        ck_assert_msg(ok_rc >= 0, "%s: %s", #call, kin_strerror(ok_rc));                           \
    } while (0)
#define fails(call, with)                                                                          \
    do {                                                                                           \
        int fails_rc = (call);                                                                     \
        ck_assert_msg(fails_rc == (with), "%s: %s instead of %s", #call, kin_err_name(fails_rc),   \
                      #with);                                                                      \
    } while (0)

kin_pool *pool_of(int kind, int workers);
kin_pool *pool_with(int kind, int workers, void (*more)(struct kin_pool_options *options));

/* close, join, destroy; checks that each returns and leaves nothing behind. */
void finish_pool(kin_pool *pool);

/* Descriptors that are open, and blocks of the arena that are live. */
int open_fds(void);
size_t live_blocks(void);

/* Sleeps until the word is not `value`, at most ten seconds. */
void await_change(volatile int *word, int value);

int twice(const void *item, void *result, void *state);

/* A task that tells when it has begun and ends when it is let go. In memory of kin_alloc. */
struct hold {
    struct kit_gate begun, go;
    int runs; /* tasks that have begun, all in all */
};
struct hold *make_hold(void);
/* The argument is a struct hold *; replies with the pid. */
int hold(const void *arg, size_t size, kin_reply *reply, void *state);
/* Submits one and waits until it runs. */
kin_future *submit_held(kin_pool *pool, struct hold *h);

/* Statistics, with the size filled in. */
struct kin_pool_stats stats_of(kin_pool *pool);

/* A case of the suite in which signals are as in any process: a worker forked from a test would
 * inherit what Check's runner does to them. */
TCase *add_case(Suite *suite, const char *name);

/* Runs an int item as told by itself: negative: fails with that value; the others below; result is
 * item * 2. */
enum { KILL_SELF = 1000000, SEGFAULT, EXIT_3, FAST_EXIT };
int act(const void *item, void *result, void *state);

/* Replies with the argument's bytes; first byte '!' fails with 7, 'k' kills the worker. */
int echo(const void *arg, size_t size, kin_reply *reply, void *state);

#endif
