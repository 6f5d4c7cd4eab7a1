/* Runs the cases and prints the table: make bench. Usage: bench [-n repetitions] [name part] */
#include "bench.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 };

void *bench_shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

void bench_pin(int n)
{
    static cpu_set_t all;
    static int known;
    if (!known) {
        sched_getaffinity(0, sizeof all, &all);
        known = 1;
    }
    cpu_set_t set = all;
    if (n >= 0) {
        CPU_ZERO(&set);
        int seen = 0, count = CPU_COUNT(&all);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &all) && seen++ == n % count) {
                CPU_SET(cpu, &set);
            }
        }
    }
    sched_setaffinity(0, sizeof set, &set);
}

pid_t bench_child(int cpu, void (*fn)(void *arg), void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bench_pin(cpu);
        fn(arg);
        _exit(0);
    }
    return pid;
}

void bench_reap(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "bench: a child failed\n");
        exit(1);
    }
}

kin_pool *bench_pool(int processes)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = processes;
    kin_pool *pool = NULL;
    bench_check(kin_pool_create(&options, &pool), "pool");
    return pool;
}

void bench_pool_end(kin_pool *pool)
{
    bench_check(kin_pool_close(pool), "close");
    bench_check(kin_pool_join(pool, KIN_FOREVER), "join");
    kin_pool_destroy(pool);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct summary {
    double min, median, max;
};

static struct summary summarise(const double *values, int n)
{
    double sorted[MOST];
    memcpy(sorted, values, (size_t)n * sizeof *values);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    return (struct summary){sorted[0], median, sorted[n - 1]};
}

static int run_case(const struct bench_case *c, int repetitions)
{
    double ours[MOST], floors[MOST], ratios[MOST];
    c->floor();
    c->run(); /* warm-up */
    for (int i = 0; i < repetitions; i++) {
        floors[i] = c->floor();
        ours[i] = c->run();
        ratios[i] = ours[i] / floors[i];
    }
    struct summary o = summarise(ours, repetitions), f = summarise(floors, repetitions),
                   r = summarise(ratios, repetitions);
    int met = c->at_least > 0 ? r.median >= c->at_least : r.median <= c->goal;
    printf("| %s | %s | %.4g / %.4g / %.4g | %.4g / %.4g / %.4g (%s) | %.2f | %s %.2f%s |\n",
           c->name, c->unit, o.min, o.median, o.max, f.min, f.median, f.max, c->floor_name,
           r.median, c->at_least > 0 ? "≥" : "≤", c->at_least > 0 ? c->at_least : c->goal,
           met ? "" : " (missed)");
    fflush(stdout);
    return met;
}

int main(int argc, char **argv)
{
    int repetitions = 7;
    const char *part = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--process") == 0 || strcmp(argv[i], "--floor-process") == 0) {
            return bench_process(strcmp(argv[i], "--process") != 0);
        }
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            repetitions = atoi(argv[++i]);
            if (repetitions < 1 || repetitions > MOST) {
                fprintf(stderr, "bench: -n takes 1 to %d\n", MOST);
                return 2;
            }
        } else {
            part = argv[i];
        }
    }
    const struct bench_case *groups[] = {bench_map_cases,     bench_task_cases,
                                         bench_process_cases, bench_queue_cases,
                                         bench_lock_cases,    bench_compute_cases};
    int met = 0, ran = 0;
    printf("| case | unit | Kinfolk min / median / max | floor min / median / max | ratio | goal |\n"
           "|---|---|---|---|---|---|\n");
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (const struct bench_case *c = groups[g]; c->name != NULL; c++) {
            if (strstr(c->name, part) != NULL) {
                met += run_case(c, repetitions);
                ran++;
            }
        }
    }
    printf("\n%d of %d goals met; ratios are medians of %d pairs.\n", met, ran, repetitions);
    return 0;
}
