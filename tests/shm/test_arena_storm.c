/*
 * Description: processes and threads allocate, fill, exchange and free blocks of random sizes; no
 * block ever overlaps another, and in the end nothing is left. Seeds are printed; to replay one,
 * set ARENA_SEED.
 */
#include "test_arena.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/memory.h>

#include "kit/kit.h"
#include "shm/heap.h"

#define HELD 64
#define SWAPS 32
#define ROUNDS 4000

/* Begins every block; the rest is filled with `fill`. */
struct stamp {
    uint64_t size;
    uint64_t self; /* the block's own offset */
    unsigned char fill;
};

/* Blocks on their way from one to another: offsets, 0 for none. */
struct exchange {
    kin__a64 swap[SWAPS];
    kin__a32 errors;
};

struct work {
    struct exchange *exchange;
    unsigned seed;
};

static size_t random_size(unsigned *seed)
{
    unsigned kind = (unsigned)rand_r(seed) % 16;
    unsigned limit = kind < 10 ? 1000 : kind < 14 ? 40000 : 400000;
    return sizeof(struct stamp) + (unsigned)rand_r(seed) % limit;
}

static struct stamp *make(unsigned *seed)
{
    size_t size = random_size(seed);
    struct stamp *stamp = kin_alloc(size);
    if (stamp != NULL) {
        memset(stamp, 0, sizeof *stamp);
        stamp->size = size;
        stamp->self = kin__offset(stamp);
        stamp->fill = (unsigned char)rand_r(seed);
        memset(stamp + 1, stamp->fill, size - sizeof *stamp);
    }
    return stamp;
}

static int end_of(struct stamp *stamp)
{
    if (stamp->self != kin__offset(stamp) || kin_alloc_size(stamp) < stamp->size) {
        return -1;
    }
    const unsigned char *body = (const unsigned char *)(stamp + 1);
    for (size_t i = 0; i < stamp->size - sizeof *stamp; i++) {
        if (body[i] != stamp->fill) {
            return -1;
        }
    }
    return kin_free(stamp);
}

static void *worker(void *arg)
{
    struct work *work = arg;
    unsigned seed = work->seed;
    struct stamp *held[HELD] = {NULL};
    uint32_t errors = 0;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned at = (unsigned)rand_r(&seed) % HELD;
        if (held[at] == NULL) {
            held[at] = make(&seed);
            errors += held[at] == NULL;
        } else if (rand_r(&seed) % 4 == 0) {
            uint64_t other = kin__a64_xchg(&work->exchange->swap[(unsigned)rand_r(&seed) % SWAPS],
                                           kin__offset(held[at]));
            held[at] = other == 0 ? NULL : (struct stamp *)(kin__family.base + other);
        } else {
            errors += end_of(held[at]) != 0;
            held[at] = NULL;
        }
    }
    for (unsigned at = 0; at < HELD; at++) {
        errors += held[at] != NULL && end_of(held[at]) != 0;
    }
    kin__a32_add(&work->exchange->errors, errors);
    return NULL;
}

static void run_threads(struct exchange *exchange, unsigned seed, int threads)
{
    pthread_t thread[8];
    struct work work[8];
    for (int i = 0; i < threads; i++) {
        work[i] = (struct work){exchange, seed + (unsigned)i};
        if (pthread_create(&thread[i], NULL, worker, &work[i]) != 0) {
            abort();
        }
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
    }
}

static void storm(int processes, int threads)
{
    const char *given = getenv("ARENA_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)getpid() * 1000;
    printf("storm of %d processes with %d threads: seed %u\n", processes, threads, seed);
    struct exchange *exchange = kin_calloc(1, sizeof *exchange);
    ck_assert_ptr_nonnull(exchange);
    struct usage before = usage();
    pid_t parent = getpid();
    for (int i = 1; i < processes; i++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) {
                _exit(1);
            }
            run_threads(exchange, seed + 100 * (unsigned)i, threads);
            _exit(0);
        }
    }
    run_threads(exchange, seed, threads);
    int status;
    while (wait(&status) > 0) {
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (int i = 0; i < SWAPS; i++) {
        uint64_t left = kin__a64_load(&exchange->swap[i]);
        if (left != 0) {
            ck_assert_int_eq(end_of((struct stamp *)(kin__family.base + left)), 0);
        }
    }
    ck_assert_uint_eq(kin__a32_load(&exchange->errors), 0);
    ck_assert_usage_eq(usage(), before);
    ck_assert_usage_eq(usage_recomputed(), before);
    ck_assert_int_eq(kin_free(exchange), 0);
}

START_TEST(threads_storm)
{
    storm(1, 4);
}
END_TEST

START_TEST(processes_storm)
{
    storm(4, 1);
}
END_TEST

START_TEST(mixed_storm)
{
    storm(3, 2);
}
END_TEST

/* Everybody grows the arena at once; nobody's run is lost. */
START_TEST(growth_race)
{
    enum { PROCESSES = 4, BLOCKS = 40 };
    ck_assert_int_eq(kin__enter(), 0);
    struct exchange *all = kin_calloc(1, sizeof *all);
    struct usage before = usage();
    pid_t parent = getpid();
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            char *blocks[BLOCKS];
            int bad = getppid() != parent;
            for (int k = 0; k < BLOCKS; k++) {
                blocks[k] = kin_alloc(KIN__UNIT * (size_t)(1 + k % 5));
                bad |= blocks[k] == NULL;
                if (blocks[k] != NULL) {
                    memset(blocks[k], i, KIN__UNIT * (size_t)(1 + k % 5));
                }
            }
            for (int k = 0; k < BLOCKS; k++) {
                size_t size = KIN__UNIT * (size_t)(1 + k % 5);
                bad |= blocks[k] == NULL || blocks[k][0] != i || blocks[k][size - 1] != i ||
                       kin_free(blocks[k]) != 0;
            }
            _exit(bad);
        }
    }
    int status;
    while (wait(&status) > 0) {
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    ck_assert_usage_eq(usage(), before);
    ck_assert_usage_eq(usage_recomputed(), before);
    ck_assert_int_eq(kin_free(all), 0);
}
END_TEST

TCase *arena_storm_case(void)
{
    TCase *storms = tcase_create("storms");
    tcase_set_timeout(storms, 60);
    tcase_add_test(storms, threads_storm);
    if (!KIT_UNDER_TSAN) { /* it sees threads only, and does not like forks of theirs */
        tcase_add_test(storms, processes_storm);
        tcase_add_test(storms, mixed_storm);
        tcase_add_test(storms, growth_race);
    }
    return storms;
}
