#include "pool_kit.h"

#include <dirent.h>
#include <time.h>

kin_pool *pool_with(int kind, int workers, void (*more)(struct kin_pool_options *options))
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = workers;
    options.kind = kind;
    if (more != NULL) {
        more(&options);
    }
    kin_pool *pool = NULL;
    ok(kin_pool_create(&options, &pool));
    return pool;
}

kin_pool *pool_of(int kind, int workers)
{
    return pool_with(kind, workers, NULL);
}

void finish_pool(kin_pool *pool)
{
    ok(kin_pool_close(pool));
    ok(kin_pool_join(pool, 20 * INT64_C(1000000000)));
    ck_assert_ptr_null(kin_pool_destroy(pool));
}

int open_fds(void)
{
    int count = 0;
    DIR *fds = opendir("/proc/self/fd");
    while (readdir(fds) != NULL) {
        count++;
    }
    closedir(fds);
    return count;
}

size_t live_blocks(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    ok(kin_arena_stats(&stats));
    return stats.blocks + stats.objects;
}

void await_change(volatile int *word, int value)
{
    for (int i = 0; i < 10000 && __atomic_load_n(word, __ATOMIC_ACQUIRE) == value; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    ck_assert_int_ne(__atomic_load_n(word, __ATOMIC_ACQUIRE), value);
}

struct hold *make_hold(void)
{
    struct hold *h = kin_calloc(1, sizeof *h);
    ck_assert_ptr_nonnull(h);
    return h;
}

int hold(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)size;
    (void)state;
    struct hold *h = *(struct hold *const *)arg;
    __atomic_fetch_add(&h->runs, 1, __ATOMIC_SEQ_CST);
    kit_gate_open(&h->begun);
    kit_gate_wait(&h->go);
    int pid = getpid();
    return kin_reply_set(reply, &pid, sizeof pid);
}

kin_future *submit_held(kin_pool *pool, struct hold *h)
{
    kin_future *future = NULL;
    ok(kin_pool_submit(pool, hold, &h, sizeof h, NULL, &future));
    kit_gate_wait(&h->begun);
    return future;
}

struct kin_pool_stats stats_of(kin_pool *pool)
{
    struct kin_pool_stats stats = {.size = sizeof stats};
    ok(kin_pool_stats(pool, &stats));
    return stats;
}

static void reset_signals(void)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
}

TCase *add_case(Suite *suite, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, reset_signals, NULL);
    suite_add_tcase(suite, t);
    return t;
}

int twice(const void *item, void *result, void *state)
{
    (void)state;
    *(int *)result = *(const int *)item * 2;
    return 0;
}

int act(const void *item, void *result, void *state)
{
    (void)state;
    int what = *(const int *)item;
    *(int *)result = what * 2;
    if (what < 0) {
        return what;
    }
    switch (what) {
    case KILL_SELF:
        kill(getpid(), SIGKILL);
        break;
    case SEGFAULT:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case EXIT_3:
        exit(3);
    case FAST_EXIT:
        _exit(0);
    }
    return 0;
}

int echo(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)state;
    if (size > 0 && *(const char *)arg == '!') {
        kin_reply_set(reply, "dropped", 7);
        return 7;
    }
    if (size > 0 && *(const char *)arg == 'k') {
        kill(getpid(), SIGKILL);
    }
    return kin_reply_set(reply, arg, size);
}
