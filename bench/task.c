/* A task of 16 bytes with a result of 8 through the pool, against bare rings between processes. */
#include "bench.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TASKS = 200000, ROOM = 256, WORKERS = 2 };

struct task {
    uint64_t a, b;
};

static int add(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)size;
    (void)state;
    struct task task;
    memcpy(&task, arg, sizeof task);
    uint64_t sum = task.a + task.b;
    return kin_reply_set(reply, &sum, sizeof sum);
}

/* One ring: positions only grow; a side that finds nothing spins, then sleeps on the other's. */
struct ring {
    _Atomic(uint32_t) tail __attribute__((aligned(64))), reader_sleeps;
    _Atomic(uint32_t) head __attribute__((aligned(64))), writer_sleeps;
    struct task cells[ROOM] __attribute__((aligned(64)));
};
static struct board {
    struct ring tasks[WORKERS], results[WORKERS];
    _Atomic(int) ready;
} *board;

static void wait_change(_Atomic(uint32_t) *word, uint32_t seen, _Atomic(uint32_t) *sleeps)
{
    for (int i = 0; i < 2000; i++) {
        if (atomic_load(word) != seen) {
            return;
        }
        bench_pause();
    }
    atomic_store(sleeps, 1);
    while (atomic_load(word) == seen) {
        syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
    atomic_store(sleeps, 0);
}

static void publish(_Atomic(uint32_t) *word, uint32_t value, _Atomic(uint32_t) *sleeps)
{
    atomic_store(word, value);
    if (atomic_load(sleeps)) {
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void worker(void *arg)
{
    struct ring *in = &board->tasks[*(int *)arg], *out = &board->results[*(int *)arg];
    atomic_fetch_add(&board->ready, 1);
    for (uint32_t i = 0; i < TASKS / WORKERS; i++) {
        while (atomic_load(&in->tail) == i) {
            wait_change(&in->tail, i, &in->reader_sleeps);
        }
        struct task task = in->cells[i % ROOM];
        publish(&in->head, i + 1, &in->writer_sleeps);
        while (i - atomic_load(&out->head) >= ROOM) {
            bench_pause();
        }
        out->cells[i % ROOM].a = task.a + task.b;
        publish(&out->tail, i + 1, &out->reader_sleeps);
    }
}

static double floor_rings(void)
{
    if (board == NULL) {
        board = bench_shared(sizeof *board);
    }
    memset(board, 0, sizeof *board);
    pid_t children[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        children[i] = bench_child(-1, worker, &i);
    }
    while (atomic_load(&board->ready) < WORKERS) {
        struct timespec nap = {0, 50000};
        nanosleep(&nap, NULL);
    }
    double start = bench_now();
    uint32_t sent[WORKERS] = {0}, got[WORKERS] = {0}, finished = 0;
    uint64_t sum = 0;
    while (finished < TASKS) {
        uint32_t before = finished;
        for (int w = 0; w < WORKERS; w++) {
            struct ring *in = &board->tasks[w], *out = &board->results[w];
            uint32_t head = atomic_load(&in->head), n = sent[w];
            while (n < TASKS / WORKERS && n - head < ROOM && n - got[w] < ROOM) {
                in->cells[n % ROOM] = (struct task){n, 1};
                n++;
            }
            if (n != sent[w]) {
                sent[w] = n;
                publish(&in->tail, n, &in->reader_sleeps);
            }
            uint32_t tail = atomic_load(&out->tail);
            for (; got[w] != tail; got[w]++, finished++) {
                sum += out->cells[got[w] % ROOM].a;
            }
            publish(&out->head, got[w], &out->writer_sleeps);
        }
        if (finished == before) {
            int w = got[0] < TASKS / WORKERS ? 0 : 1;
            wait_change(&board->results[w].tail, got[w], &board->results[w].reader_sleeps);
        }
    }
    double taken = bench_now() - start;
    for (int i = 0; i < WORKERS; i++) {
        bench_reap(children[i]);
    }
    if (sum == 0) {
        exit(1);
    }
    return taken / TASKS;
}

static double run_tasks(void)
{
    static struct task tasks[TASKS];
    static struct kin_bytes items[TASKS], results[TASKS];
    for (uint32_t i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){i, 1};
        items[i] = (struct kin_bytes){&tasks[i], sizeof tasks[i]};
    }
    kin_pool *pool = bench_pool(WORKERS);
    bench_check(kin_pool_map_var(pool, add, items, 1000, results, NULL), "map_var");
    kin_bytes_free(results, 1000);
    double start = bench_now();
    bench_check(kin_pool_map_var(pool, add, items, TASKS, results, NULL), "map_var");
    double taken = bench_now() - start;
    for (uint32_t i = 0; i < TASKS; i++) {
        uint64_t sum;
        memcpy(&sum, results[i].data, sizeof sum);
        if (sum != i + 1) {
            fprintf(stderr, "bench: wrong result\n");
            exit(1);
        }
    }
    kin_bytes_free(results, TASKS);
    bench_pool_end(pool);
    return taken / TASKS;
}

const struct bench_case bench_task_cases[] = {
    {"16-byte task with a result", "ns/task", "bare rings, spin then futex", 1.5, 0, run_tasks,
     floor_rings},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};
