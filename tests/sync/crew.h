/*
 * Workers for the tests of sync: one body, run by threads on one mapping or by forked processes.
 */
#ifndef CREW_H
#define CREW_H

#include <check.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

enum crew_mode { CREW_THREADS, CREW_FORKS, CREW_MODES };

#define CREW_MAX 16
typedef int crew_fn(unsigned index, void *shared);

struct crew {
    enum crew_mode mode;
    unsigned count;
    struct crew_member {
        crew_fn *fn;
        unsigned index;
        void *shared;
        pthread_t thread;
        pid_t pid;
        int result;
    } member[CREW_MAX];
};

void crew_start(struct crew *crew, enum crew_mode mode, unsigned count, crew_fn *fn, void *shared);
/* All must have returned 0. */
void crew_join(struct crew *crew);

/* A forked child that dies with its parent. What fn returns (0..127) becomes its exit status, and
 * that is an orderly end; with `crash` it kills itself then. */
pid_t crew_fork(crew_fn *fn, unsigned index, void *shared);
pid_t crew_fork_crash(crew_fn *fn, unsigned index, void *shared);
/* Its exit status, or minus the signal that ended it. */
int crew_reap(pid_t pid);
void crew_kill(pid_t pid);

/* Waits until the word is at least the value; fails the test after 10 s. */
void crew_await(kin__a32 *word, uint32_t value);
/* Adds one and wakes. */
void crew_post(kin__a32 *word);

/* Yields until the condition holds; fails the test after 10 s. */
#define CREW_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t until_ = crew_now() + 10 * SECOND;                                                 \
        while (!(condition)) {                                                                     \
            ck_assert_msg(crew_now() < until_, "not within 10 s: " #condition);                    \
            crew_yield();                                                                          \
        }                                                                                          \
    } while (0)
int64_t crew_now(void);
void crew_yield(void);

/* Zeroed shared memory of the family. */
void *crew_shared(size_t size);

/* A replayable seed: CREW_SEED in the environment, or the clock; printed. */
uint32_t crew_seed(void);
uint32_t crew_random(uint32_t *state);

/* A suite of the tests; those with `modes` are run once in every mode. */
struct crew_test {
    const TTest *test;
    bool modes;
};
Suite *crew_suite(const char *name, const struct crew_test *tests, size_t count);

#endif
