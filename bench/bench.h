/*
 * The benchmark's frame: each case measures Kinfolk and a bare floor in turn, several times, in one
 * run; what counts is the ratio of the two, pair by pair.
 */
#ifndef KIN_BENCH_H
#define KIN_BENCH_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

#include <kinfolk.h>

struct bench_case {
    const char *name;
    const char *unit;      /* of what run and floor return, such as "ns/item" */
    const char *floor_name;
    double goal;           /* the ratio to stay within; 0: a ratio to reach, see at_least */
    double at_least;
    double (*run)(void);   /* one measurement of Kinfolk */
    double (*floor)(void); /* one of the floor */
};

extern const struct bench_case bench_map_cases[], bench_task_cases[], bench_process_cases[],
    bench_queue_cases[], bench_lock_cases[], bench_compute_cases[]; /* each ends with a NULL name */

static inline double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Ends the benchmark if a call failed. */
static inline void bench_check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "bench: %s: %s\n", what, kin_strerror(rc));
        exit(1);
    }
}

static inline void bench_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Shared memory of this process and its later children, touched. */
void *bench_shared(size_t size);

/* A child pinned to the n-th CPU that may be used (n < 0: not pinned), running fn; dies with us. */
pid_t bench_child(int cpu, void (*fn)(void *arg), void *arg);
void bench_reap(pid_t pid);

/* Pins this process to the n-th usable CPU; n < 0 takes it back. */
void bench_pin(int cpu);

/* Prints one measurement of start + join, or of its floor. */
int bench_process(int floor);

/* A two-workers pool, made anew for each measurement by the caller. */
kin_pool *bench_pool(int processes);
void bench_pool_end(kin_pool *pool);

#endif
