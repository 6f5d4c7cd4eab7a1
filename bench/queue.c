/* kin_queue with 64-byte messages against a bare ring under a robust mutex, 1→1 and 2→2. */
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MESSAGES = 200000, SIZE = 64, ROOM = 1024 };

/* The floor: one robust mutex, one array of cells, a futex word a side; it survives no death. */
struct ring {
    pthread_mutex_t mutex;
    uint64_t head, tail;
    _Atomic(uint32_t) items __attribute__((aligned(64))), readers;
    _Atomic(uint32_t) space __attribute__((aligned(64))), writers;
    char cells[ROOM][SIZE] __attribute__((aligned(64)));
};

static struct board {
    struct ring ring;
    _Atomic(int) ready, go;
} *board;
static kin_queue *queue;

static void lock(struct ring *ring)
{
    if (pthread_mutex_lock(&ring->mutex) == EOWNERDEAD) {
        pthread_mutex_consistent(&ring->mutex);
    }
}

static void wait_on(_Atomic(uint32_t) *word, uint32_t seen)
{
    for (int i = 0; i < 200; i++) {
        if (atomic_load(word) != seen) {
            return;
        }
        bench_pause();
    }
    syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void ring_put(struct ring *ring, const char *cell)
{
    for (;;) {
        uint32_t seen = atomic_load(&ring->space);
        lock(ring);
        if (ring->tail - ring->head < ROOM) {
            break;
        }
        pthread_mutex_unlock(&ring->mutex);
        atomic_fetch_add(&ring->writers, 1);
        wait_on(&ring->space, seen);
        atomic_fetch_sub(&ring->writers, 1);
    }
    memcpy(ring->cells[ring->tail++ % ROOM], cell, SIZE);
    pthread_mutex_unlock(&ring->mutex);
    atomic_fetch_add(&ring->items, 1);
    if (atomic_load(&ring->readers) != 0) {
        syscall(SYS_futex, &ring->items, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void ring_get(struct ring *ring, char *cell)
{
    for (;;) {
        uint32_t seen = atomic_load(&ring->items);
        lock(ring);
        if (ring->tail != ring->head) {
            break;
        }
        pthread_mutex_unlock(&ring->mutex);
        atomic_fetch_add(&ring->readers, 1);
        wait_on(&ring->items, seen);
        atomic_fetch_sub(&ring->readers, 1);
    }
    memcpy(cell, ring->cells[ring->head++ % ROOM], SIZE);
    pthread_mutex_unlock(&ring->mutex);
    atomic_fetch_add(&ring->space, 1);
    if (atomic_load(&ring->writers) != 0) {
        syscall(SYS_futex, &ring->space, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void wait_for_go(void)
{
    atomic_fetch_add(&board->ready, 1);
    while (!atomic_load(&board->go)) {
        struct timespec nap = {0, 50000};
        nanosleep(&nap, NULL);
    }
}

static void ring_producer(void *arg)
{
    char cell[SIZE];
    memset(cell, 1, sizeof cell);
    wait_for_go();
    for (int i = *(const int *)arg; i > 0; i--) {
        ring_put(&board->ring, cell);
    }
}
static void ring_consumer(void *arg)
{
    char cell[SIZE];
    wait_for_go();
    for (int i = *(const int *)arg; i > 0; i--) {
        ring_get(&board->ring, cell);
    }
}
static void queue_producer(void *arg)
{
    char cell[SIZE];
    memset(cell, 1, sizeof cell);
    wait_for_go();
    for (int i = *(const int *)arg; i > 0; i--) {
        bench_check(kin_queue_put(queue, cell, sizeof cell, KIN_FOREVER), "put");
    }
}
static void queue_consumer(void *arg)
{
    char cell[SIZE];
    wait_for_go();
    for (int i = *(const int *)arg; i > 0; i--) {
        size_t size = sizeof cell;
        bench_check(kin_queue_get(queue, cell, &size, KIN_FOREVER), "get");
    }
}

static double pairs(int n, void (*producer)(void *), void (*consumer)(void *))
{
    if (board == NULL) {
        board = bench_shared(sizeof *board);
    }
    memset(board, 0, sizeof *board);
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&board->ring.mutex, &attr);
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = ROOM;
    bench_check(kin_queue_create(&options, &queue), "queue");
    int each = MESSAGES / n;
    pid_t children[4];
    for (int i = 0; i < n; i++) {
        children[2 * i] = bench_child(0, producer, &each);
        children[2 * i + 1] = bench_child(1, consumer, &each);
    }
    while (atomic_load(&board->ready) < 2 * n) {
        struct timespec nap = {0, 50000};
        nanosleep(&nap, NULL);
    }
    double start = bench_now();
    atomic_store(&board->go, 1);
    for (int i = 0; i < 2 * n; i++) {
        bench_reap(children[i]);
    }
    double taken = bench_now() - start;
    queue = kin_queue_destroy(queue);
    return taken / (each * n);
}

static double run_1(void)
{
    return pairs(1, queue_producer, queue_consumer);
}
static double floor_1(void)
{
    return pairs(1, ring_producer, ring_consumer);
}
static double run_2(void)
{
    return pairs(2, queue_producer, queue_consumer);
}
static double floor_2(void)
{
    return pairs(2, ring_producer, ring_consumer);
}

const struct bench_case bench_queue_cases[] = {
    {"queue, 64 bytes, 1→1", "ns/message", "ring, robust mutex", 1.5, 0, run_1, floor_1},
    {"queue, 64 bytes, 2→2", "ns/message", "ring, robust mutex", 1.5, 0, run_2, floor_2},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};
