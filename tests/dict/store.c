#include "store.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/memory.h>

size_t live_blocks(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    return stats.blocks;
}

int store_main(int argc, char **argv, kit_suite_fn *suite, int (*little_room)(void))
{
    if (argc > 1 && strcmp(argv[1], "quota") == 0) {
        return little_room();
    }
    return kit_check_main(argc, argv, &suite, 1);
}

void run_with_little_room(void)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        /* By exec, since this process's family is founded already. */
        setenv("KINFOLK_ARENA_QUOTA", "8M", 1);
        execl("/proc/self/exe", "test", "quota", (char *)NULL);
        _exit(9);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

struct run {
    work_fn *work;
    unsigned seed;
    pthread_t thread;
};

static void *work_thread(void *arg)
{
    const struct run *run = arg;
    run->work(run->seed);
    return NULL;
}

void run_on_threads(work_fn *work, unsigned count)
{
    struct run *runs = calloc(count, sizeof *runs);
    ck_assert_ptr_nonnull(runs);
    for (unsigned i = 0; i < count; i++) {
        runs[i] = (struct run){.work = work, .seed = i + 1};
        ck_assert_int_eq(pthread_create(&runs[i].thread, NULL, work_thread, &runs[i]), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(runs[i].thread, NULL);
    }
    free(runs);
}

pid_t start_worker(work_fn *work, unsigned seed, bool for_ever)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            do {
                work(seed++);
            } while (for_ever);
        }
        _exit(0);
    }
    ck_assert_int_gt(pid, 0);
    return pid;
}

void run_storm(work_fn *work, void (*clear)(void))
{
    enum { KILLS = 60 };
    pid_t pid[2];
    unsigned seed = (unsigned)getpid();
    printf("storm seed %u\n", seed);
    for (unsigned i = 0; i < 2; i++) {
        pid[i] = start_worker(work, seed + i, true);
    }
    for (unsigned i = 0; i < KILLS; i++) {
        work(seed + i * 77); /* some 1500 operations of our own meanwhile */
        kill(pid[i % 2], SIGKILL);
        waitpid(pid[i % 2], NULL, 0);
        if (i % 7 == 0) {
            clear();
        }
        pid[i % 2] = start_worker(work, seed + i, true);
    }
    for (int i = 0; i < 2; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
    }
}
