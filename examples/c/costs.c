/*
 * What threads and processes cost on this machine: creating one, running a task on one, where their
 * memory is, and what they gain on work for the CPU and on work that waits.
 */
#include "example.h"

#include <pthread.h>
#include <stdint.h>

enum { CREATIONS = 200, TASKS = 50, ROUNDS = 20, WORKERS = 4, ITEMS = 40 };

/* Bytes that a larger parent uses. */
#define BALLAST ((size_t)256 << 20)

/* --- creation ------------------------------------------------------------------------------ */

static void *no_work(void *arg)
{
    return arg;
}

static int no_process_work(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return 0;
}

static int no_item_work(const void *item, void *result, void *state)
{
    (void)state;
    *(int *)result = *(const int *)item;
    return 0;
}

static int no_task_work(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)state;
    return kin_reply_set(reply, arg, size);
}

/* The least time of as many creations as fit into half a second: what it costs undisturbed. */
static double time_creations(void (*create)(void *), void *arg)
{
    create(arg); /* the first one founds what it needs */
    double least = 1e9, begin = seconds();
    for (int i = 0; i < CREATIONS && seconds() - begin < 0.5; i++) {
        double before = seconds();
        create(arg);
        double took = seconds() - before;
        least = took < least ? took : least;
    }
    return least;
}

static void create_thread(void *arg)
{
    (void)arg;
    pthread_t thread;
    if (pthread_create(&thread, NULL, no_work, NULL) != 0) {
        exit(1);
    }
    pthread_join(thread, NULL);
}

static void create_process(void *arg)
{
    kin_process *process = NULL;
    check(kin_process_start((const struct kin_process_options *)arg, &process), "start");
    end_process(process);
}

static double time_processes(enum kin_start_method method)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = no_process_work;
    options.method = method;
    return time_creations(create_process, &options);
}

/* One task at a time, there and back: the least average of some rounds. */
static double time_tasks(kin_pool *pool)
{
    double least = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = seconds();
        for (int i = 0; i < TASKS; i++) {
            int reply;
            size_t size = sizeof reply;
            check(kin_pool_apply(pool, no_task_work, &i, sizeof i, &reply, &size, NULL, NULL),
                  "apply");
        }
        double took = (seconds() - begin) / TASKS;
        least = took < least ? took : least;
    }
    return least;
}

/* Very many at once. */
static double time_items(kin_pool *pool)
{
    enum { COUNT = 100000 };
    static int items[COUNT], results[COUNT];
    double least = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = seconds();
        check(kin_pool_map(pool, no_item_work, items, COUNT, sizeof items[0], results,
                           sizeof results[0], NULL),
              "map");
        double took = (seconds() - begin) / COUNT;
        least = took < least ? took : least;
    }
    return least;
}

/* --- address spaces ------------------------------------------------------------------------ */

static int ordinary = 1;
static int *shared;

static void *change_both(void *arg)
{
    ordinary++;
    ++*shared;
    return arg;
}

static int change_both_in_process(void *arg, size_t size)
{
    (void)size;
    change_both(arg);
    return 0;
}

static void show_address_spaces(void)
{
    shared = (int *)check_memory(kin_calloc(1, sizeof *shared));
    *shared = 1;
    pthread_t thread;
    pthread_create(&thread, NULL, change_both, NULL);
    pthread_join(thread, NULL);
    printf("  a thread adds 1 to a variable:   %d, and to memory of kin_alloc: %d\n", ordinary,
           *shared);
    ordinary = 1;
    *shared = 1;
    end_process(start_process(change_both_in_process, NULL, 0));
    printf("  a process adds 1 to a variable:  %d, and to memory of kin_alloc: %d\n", ordinary,
           *shared);
    kin_free(shared);
}

/* --- work ---------------------------------------------------------------------------------- */

static int compute(const void *item, void *result, void *state)
{
    (void)state;
    uint64_t x = (uint64_t)*(const int *)item + 88172645463325252u;
    for (int i = 0; i < 4000000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    *(int *)result = (int)(x & 0xff);
    return 0;
}

/* As a request to a disk or a server: the CPU is idle for 5 ms. */
static int wait_for_device(const void *item, void *result, void *state)
{
    (void)state;
    const struct timespec latency = {0, 5000000};
    nanosleep(&latency, NULL);
    *(int *)result = *(const int *)item;
    return 0;
}

static double time_alone(kin_map_fn *fn)
{
    double begin = seconds();
    for (int i = 0; i < ITEMS; i++) {
        int result;
        fn(&i, &result, NULL);
    }
    return seconds() - begin;
}

static double time_work(kin_pool *pool, kin_map_fn *fn)
{
    int items[ITEMS], results[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        items[i] = i;
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.chunk = 1;
    double begin = seconds();
    check(kin_pool_map(pool, fn, items, ITEMS, sizeof items[0], results, sizeof results[0],
                       &options),
          "map");
    return seconds() - begin;
}

static kin_pool *start_pool_of(int kind)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = WORKERS;
    options.kind = kind;
    kin_pool *pool = NULL;
    check(kin_pool_create(&options, &pool), "pool");
    check(time_items(pool) >= 0 ? 0 : -1, "warm-up");
    return pool;
}

int main(int argc, char **argv)
{
    kin_child_main(argc, argv);
    printf("%d CPUs can be kept busy\n", kin_cpu_count());

    printf("Creating one and waiting for its end, in microseconds (the best of many):\n");
    double thread = time_creations(create_thread, NULL);
    printf("  a thread                    %8.1f\n", thread * 1e6);
    static const enum kin_start_method methods[] = {KIN_START_FORK, KIN_START_FORKSERVER,
                                                    KIN_START_SPAWN};
    for (int i = 0; i < 3; i++) {
        double process = time_processes(methods[i]);
        printf("  a process by %-10s     %8.1f   (%.0f threads)\n",
               kin_start_method_name(methods[i]), process * 1e6, process / thread);
    }
    volatile char *ballast = (volatile char *)malloc(BALLAST);
    if (ballast == NULL) {
        return 1;
    }
    for (size_t i = 0; i < BALLAST; i += 4096) {
        ballast[i] = 1;
    }
    printf("the same, from a parent that uses 256 MiB:\n");
    for (int i = 0; i < 2; i++) {
        printf("  a process by %-10s     %8.1f\n", kin_start_method_name(methods[i]),
               time_processes(methods[i]) * 1e6);
    }
    free((void *)ballast);

    kin_pool *processes = start_pool_of(KIN_WORKERS_PROCESSES);
    kin_pool *threads = start_pool_of(KIN_WORKERS_THREADS);
    printf("Running work on workers that are there already, in microseconds:\n");
    printf("  a task on a process, there and back %8.2f\n", time_tasks(processes) * 1e6);
    printf("  a task on a thread, there and back  %8.2f\n", time_tasks(threads) * 1e6);
    printf("  an item of a map on processes       %8.3f\n", time_items(processes) * 1e6);
    printf("  an item of a map on threads         %8.3f\n", time_items(threads) * 1e6);

    printf("Address spaces:\n");
    show_address_spaces();

    static kin_map_fn *const work[] = {compute, wait_for_device};
    static const char *const titles[] = {"CPU-bound work (computing)", "I/O-bound work (waiting)"};
    for (int i = 0; i < 2; i++) {
        double alone = time_alone(work[i]);
        double on_threads = time_work(threads, work[i]);
        double on_processes = time_work(processes, work[i]);
        printf("%s:\n  alone %.3f s; %d threads %.3f s, %.1f times as fast; %d processes %.3f s, "
               "%.1f times as fast\n",
               titles[i], alone, WORKERS, on_threads, alone / on_threads, WORKERS, on_processes,
               alone / on_processes);
    }
    end_pool(threads);
    end_pool(processes);
    return 0;
}
