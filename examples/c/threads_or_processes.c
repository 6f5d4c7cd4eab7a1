/*
 * Threads against processes: a race on threads without a lock beside the same with one, and a crash
 * in a thread beside a crash in a process.
 */
#include "example.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { THREADS = 4, ADDITIONS = 2000000 };

static volatile long counter;
static kin_lock *lock;

static void *add_without_lock(void *arg)
{
    for (int i = 0; i < ADDITIONS; i++) {
        counter = counter + 1; /* read, add, write: another thread may come in between */
    }
    return arg;
}

static void *add_with_lock(void *arg)
{
    for (int i = 0; i < ADDITIONS; i++) {
        kin_lock_lock(lock, KIN_FOREVER);
        counter = counter + 1;
        kin_lock_unlock(lock);
    }
    return arg;
}

static long race(void *(*body)(void *))
{
    pthread_t threads[THREADS];
    counter = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, body, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    return counter;
}

static void *crash(void *arg)
{
    *(volatile int *)arg = 1; /* arg is NULL */
    return arg;
}

/* A whole program of threads, in a process of its own so that this one lives to tell. */
static int program_with_a_crashing_thread(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    pthread_t thread;
    pthread_create(&thread, NULL, crash, NULL);
    pthread_join(thread, NULL);
    printf("the threads' program goes on\n");
    return 0;
}

static int crash_in_process(void *arg, size_t size)
{
    (void)size;
    crash(arg);
    return 0;
}

int main(void)
{
    check(kin_lock_create(NULL, &lock), "lock");
    long expected = (long)THREADS * ADDITIONS;
    printf("%d threads without a lock: %ld of %ld additions counted\n", THREADS,
           race(add_without_lock), expected);
    long right = race(add_with_lock);
    printf("%d threads with a lock:    %ld of %ld\n", THREADS, right, expected);

    int code = end_process(start_process(program_with_a_crashing_thread, NULL, 0));
    printf("a thread crashes:  its whole program ended with %d (%s)\n", code,
           code < 0 ? strsignal(-code) : "no signal");
    int process_code = end_process(start_process(crash_in_process, NULL, 0));
    printf("a process crashes: it ended with %d (%s), and we go on\n", process_code,
           process_code < 0 ? strsignal(-process_code) : "no signal");
    kin_lock_destroy(lock);
    return right == expected && code == -SIGSEGV && process_code == -SIGSEGV ? 0 : 1;
}
