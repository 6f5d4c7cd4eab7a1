/* What the longer examples share: a clock, and giving up with a reason. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <kinfolk.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Ends the program with the library's words if a call failed; otherwise passes its result on. */
static inline int check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, kin_strerror(rc));
        exit(1);
    }
    return rc;
}

static inline void *check_memory(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "kin_alloc: %s\n", kin_strerror(kin_alloc_error()));
        exit(1);
    }
    return memory;
}

static inline kin_pool *start_pool(int processes)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = processes;
    kin_pool *pool = NULL;
    check(kin_pool_create(&options, &pool), "pool");
    return pool;
}

static inline void end_pool(kin_pool *pool)
{
    check(kin_pool_close(pool), "close");
    check(kin_pool_join(pool, KIN_FOREVER), "join");
    kin_pool_destroy(pool);
}

static inline kin_process *start_process(kin_target_fn *target, const void *arg, size_t arg_size)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = target;
    options.arg = arg;
    options.arg_size = arg_size;
    kin_process *process = NULL;
    check(kin_process_start(&options, &process), "start");
    return process;
}

/* The exit code. */
static inline int end_process(kin_process *process)
{
    int exitcode = 0;
    check(kin_process_join(process, KIN_FOREVER, &exitcode), "join");
    kin_process_destroy(process);
    return exitcode;
}

static inline void report_speedup(const char *what, double one, double many, int workers)
{
    printf("%s: one process %.2f s, %d workers %.2f s, speed-up %.2f\n", what, one, workers, many,
           one / many);
}

#endif
