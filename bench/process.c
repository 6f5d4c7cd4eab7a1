/* kin_process_start + join against bare fork + waitpid. */
#include "bench.h"

#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 200 };

static int nothing(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return 0;
}

static double with_kinfolk(void)
{
    double start = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
        options.target = nothing;
        kin_process *process = NULL;
        bench_check(kin_process_start(&options, &process), "start");
        bench_check(kin_process_join(process, KIN_FOREVER, NULL), "join");
        kin_process_destroy(process);
    }
    return (bench_now() - start) / ROUNDS / 1e3;
}

/* _Fork: no handler of the library's runs, and the process forked is the same. */
static double bare(void)
{
    double start = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        pid_t pid = _Fork();
        if (pid == 0) {
            _exit(0);
        }
        bench_reap(pid);
    }
    return (bench_now() - start) / ROUNDS / 1e3;
}

/* What this program does when it is run with --process or --floor-process. */
int bench_process(int floor)
{
    printf("%.17g\n", floor ? bare() : with_kinfolk());
    return 0;
}

/* In a program run anew, so that both fork an equally small process. */
static double anew(const char *option)
{
    char path[512], command[600];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0) {
        perror("/proc/self/exe");
        exit(1);
    }
    path[length] = '\0';
    snprintf(command, sizeof command, "'%s' %s", path, option);
    FILE *program = popen(command, "r");
    double result;
    if (program == NULL || fscanf(program, "%lf", &result) != 1) {
        fprintf(stderr, "bench: %s failed\n", command);
        exit(1);
    }
    pclose(program);
    return result;
}

static double run(void)
{
    return anew("--process");
}

static double floor_anew(void)
{
    return anew("--floor-process");
}

const struct bench_case bench_process_cases[] = {
    {"start + join, fork", "us", "_Fork + waitpid", 1.3, 0, run, floor_anew},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};
