/* kin_pool_map over 10 million 4-byte items against two children that claim 1,024 at a time. */
#include "bench.h"

#include <string.h>

enum { ITEMS = 10000000, CLAIM = 1024, WORKERS = 2 };

static int twice(const void *item, void *result, void *state)
{
    (void)state;
    *(int *)result = *(const int *)item * 2;
    return 0;
}

/* The floor: workers exist already and spin until a round begins; the caller spins until its end. */
struct round {
    _Atomic(uint64_t) next __attribute__((aligned(64)));
    _Atomic(uint32_t) begun __attribute__((aligned(64)));
    _Atomic(uint32_t) done __attribute__((aligned(64)));
    int *items, *results;
    kin_map_fn *fn;
};
static struct round *shared_round;

static void work(void *arg)
{
    struct round *round = arg;
    while (atomic_load(&round->begun) == 0) {
        bench_pause();
    }
    kin_map_fn *volatile fn = round->fn;
    for (;;) {
        uint64_t at = atomic_fetch_add(&round->next, CLAIM);
        if (at >= ITEMS) {
            break;
        }
        uint64_t end = at + CLAIM < ITEMS ? at + CLAIM : ITEMS;
        for (; at < end; at++) {
            fn(&round->items[at], &round->results[at], NULL);
        }
    }
    atomic_fetch_add(&round->done, 1);
}

static int *shared_items, *shared_results, *private_items, *private_results;

static void prepare(void)
{
    if (shared_round != NULL) {
        return;
    }
    shared_round = bench_shared(sizeof *shared_round);
    shared_items = kin_alloc(ITEMS * sizeof(int));
    shared_results = kin_alloc(ITEMS * sizeof(int));
    private_items = malloc(ITEMS * sizeof(int));
    private_results = malloc(ITEMS * sizeof(int));
    if (shared_items == NULL || shared_results == NULL || private_items == NULL ||
        private_results == NULL) {
        fprintf(stderr, "bench: no memory for the map\n");
        exit(1);
    }
    for (int i = 0; i < ITEMS; i++) {
        shared_items[i] = private_items[i] = i;
    }
    memset(shared_results, 0, ITEMS * sizeof(int));
    memset(private_results, 0, ITEMS * sizeof(int));
}

static void verify(const int *results)
{
    for (int i = 0; i < ITEMS; i += 997) {
        if (results[i] != 2 * i) {
            fprintf(stderr, "bench: wrong result\n");
            exit(1);
        }
    }
}

static double floor_shared(void)
{
    prepare();
    memset(shared_round, 0, sizeof *shared_round);
    shared_round->items = shared_items;
    shared_round->results = shared_results;
    shared_round->fn = twice;
    pid_t children[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        children[i] = bench_child(i, work, shared_round);
    }
    struct timespec settle = {0, 20000000};
    nanosleep(&settle, NULL);
    double start = bench_now();
    atomic_store(&shared_round->begun, 1);
    while (atomic_load(&shared_round->done) < WORKERS) {
        struct timespec poll = {0, 100000};
        nanosleep(&poll, NULL); /* the two CPUs are the workers' */
    }
    double taken = bench_now() - start;
    for (int i = 0; i < WORKERS; i++) {
        bench_reap(children[i]);
    }
    return taken / ITEMS;
}

static double floor_private(void)
{
    double start = bench_now();
    memcpy(shared_items, private_items, ITEMS * sizeof(int));
    memcpy(private_results, shared_results, ITEMS * sizeof(int));
    double copies = (bench_now() - start) / ITEMS;
    return copies + floor_shared();
}

static double run(const int *items, int *results)
{
    kin_pool *pool = bench_pool(WORKERS);
    /* The pool is warm before the clock runs: its workers have begun. */
    bench_check(kin_pool_map(pool, twice, items, 10000, sizeof(int), results, sizeof(int), NULL),
                "map");
    double start = bench_now();
    bench_check(kin_pool_map(pool, twice, items, ITEMS, sizeof(int), results, sizeof(int), NULL),
                "map");
    double taken = bench_now() - start;
    bench_pool_end(pool);
    verify(results);
    return taken / ITEMS;
}

static double run_shared(void)
{
    prepare();
    return run(shared_items, shared_results);
}

static double run_private(void)
{
    prepare();
    return run(private_items, private_results);
}

const struct bench_case bench_map_cases[] = {
    {"map, 10 M 4-byte items, shared memory", "ns/item", "1,024 by one atomic", 2.0, 0, run_shared,
     floor_shared},
    {"map, 10 M 4-byte items, private arrays", "ns/item", "that + one memcpy each way", 2.0, 0,
     run_private, floor_private},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};
