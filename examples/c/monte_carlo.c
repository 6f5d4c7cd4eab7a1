/*
 * Simulation: pi by throwing darts. Each item has its own random stream, so the result is the same
 * for any number of workers.
 */
#include "example.h"

enum { STREAMS = 256, DARTS = 400000 };

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int throw_darts(const void *item, void *result, void *state)
{
    (void)state;
    uint64_t random = *(const uint64_t *)item;
    long hits = 0;
    for (int i = 0; i < DARTS; i++) {
        double x = (double)(next(&random) >> 11) * 0x1p-53;
        double y = (double)(next(&random) >> 11) * 0x1p-53;
        hits += x * x + y * y < 1.0;
    }
    *(long *)result = hits;
    return 0;
}

static double simulate(kin_pool *pool, long *ret_hits)
{
    uint64_t seeds[STREAMS];
    long hits[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        seeds[i] = (uint64_t)i * 1000003;
    }
    double start = seconds();
    check(kin_pool_map(pool, throw_darts, seeds, STREAMS, sizeof seeds[0], hits, sizeof hits[0],
                       NULL),
          "map");
    double taken = seconds() - start;
    *ret_hits = 0;
    for (int i = 0; i < STREAMS; i++) {
        *ret_hits += hits[i];
    }
    return taken;
}

int main(void)
{
    int cpus = kin_cpu_count();
    int workers[] = {1, cpus, 2 * cpus + 1};
    long hits[3];
    double taken[3];
    for (int i = 0; i < 3; i++) {
        kin_pool *pool = start_pool(workers[i]);
        taken[i] = simulate(pool, &hits[i]);
        end_pool(pool);
        printf("%2d workers: pi is about %.6f\n", workers[i],
               4.0 * (double)hits[i] / ((double)STREAMS * DARTS));
    }
    report_speedup("monte carlo", taken[0], taken[1], workers[1]);
    return hits[0] == hits[1] && hits[1] == hits[2] ? 0 : 1;
}
