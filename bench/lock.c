/* kin_lock against a process-shared robust pthread mutex, alone and contended by two processes. */
#include "bench.h"

#include <pthread.h>
#include <string.h>

enum { ALONE = 2000000, CONTENDED = 500000 };

static struct board {
    pthread_mutex_t mutex;
    volatile long counter __attribute__((aligned(64)));
    _Atomic(int) ready, go;
} *board;
static kin_lock *lock;

static void prepare(void)
{
    if (board == NULL) {
        board = bench_shared(sizeof *board);
        pthread_mutexattr_t attr;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&board->mutex, &attr);
        bench_check(kin_lock_create(NULL, &lock), "lock");
    }
    board->counter = 0;
    atomic_store(&board->ready, 0);
    atomic_store(&board->go, 0);
}

static void with_mutex(int n)
{
    for (int i = 0; i < n; i++) {
        pthread_mutex_lock(&board->mutex);
        board->counter = board->counter + 1;
        pthread_mutex_unlock(&board->mutex);
    }
}

static void with_lock(int n)
{
    for (int i = 0; i < n; i++) {
        kin_lock_lock(lock, KIN_FOREVER);
        board->counter = board->counter + 1;
        kin_lock_unlock(lock);
    }
}

static double alone(void (*body)(int))
{
    prepare();
    double start = bench_now();
    body(ALONE);
    return (bench_now() - start) / ALONE;
}

static void contender(void *arg)
{
    void (*body)(int);
    memcpy(&body, arg, sizeof body);
    atomic_store(&board->ready, 1);
    while (!atomic_load(&board->go)) {
        bench_pause();
    }
    body(CONTENDED);
}

static double contended(void (*body)(int))
{
    prepare();
    pid_t child = bench_child(1, contender, &body);
    bench_pin(0);
    while (!atomic_load(&board->ready)) {
        bench_pause();
    }
    double start = bench_now();
    atomic_store(&board->go, 1);
    body(CONTENDED);
    bench_reap(child);
    double taken = bench_now() - start;
    bench_pin(-1);
    if (board->counter != 2L * CONTENDED) {
        fprintf(stderr, "bench: lost additions\n");
        exit(1);
    }
    return taken / (2.0 * CONTENDED);
}

static double run_alone(void)
{
    return alone(with_lock);
}
static double floor_alone(void)
{
    return alone(with_mutex);
}
static double run_contended(void)
{
    return contended(with_lock);
}
static double floor_contended(void)
{
    return contended(with_mutex);
}

const struct bench_case bench_lock_cases[] = {
    {"lock + unlock, alone", "ns", "robust pthread mutex", 1.5, 0, run_alone, floor_alone},
    {"lock + unlock, two processes", "ns", "robust pthread mutex", 1.5, 0, run_contended,
     floor_contended},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};
