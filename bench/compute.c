/* What two workers gain over one on compute-bound work, against what two bare processes gain. */
#include "bench.h"

enum { ITEMS = 400, WORK = 400000 };

static int compute(const void *item, void *result, void *state)
{
    (void)state;
    uint64_t x = *(const uint64_t *)item + 1;
    for (int i = 0; i < WORK; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    *(uint64_t *)result = x;
    return 0;
}

static void share(void *arg)
{
    const int *range = arg;
    for (int i = range[0]; i < range[1]; i++) {
        uint64_t item = (uint64_t)i, result;
        compute(&item, &result, NULL);
        __asm__ volatile("" : : "r"(result));
    }
}

static double bare(int processes)
{
    pid_t children[2];
    double start = bench_now();
    for (int i = 0; i < processes; i++) {
        int range[2] = {ITEMS * i / processes, ITEMS * (i + 1) / processes};
        children[i] = bench_child(-1, share, range);
    }
    for (int i = 0; i < processes; i++) {
        bench_reap(children[i]);
    }
    return bench_now() - start;
}

/* The speed-up of two bare processes over one. */
static double floor_speedup(void)
{
    return bare(1) / bare(2);
}

static double mapped(int processes)
{
    uint64_t items[ITEMS], results[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        items[i] = (uint64_t)i;
    }
    kin_pool *pool = bench_pool(processes);
    double start = bench_now();
    bench_check(kin_pool_map(pool, compute, items, ITEMS, sizeof items[0], results,
                             sizeof results[0], NULL),
                "map");
    double taken = bench_now() - start;
    bench_pool_end(pool);
    return taken;
}

/* The speed-up of a pool of two over one bare process. */
static double run_speedup(void)
{
    return bare(1) / mapped(2);
}

const struct bench_case bench_compute_cases[] = {
    {"compute-bound map, 2 processes", "speed-up", "two bare processes", 0, 0.97, run_speedup,
     floor_speedup},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};
