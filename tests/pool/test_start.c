/* Pools whose workers are spawned or forked by a fork server: everything works as with forked ones. */
#include "pool_kit.h"

static kin_pool *pool_by(int method, int workers, void (*more)(struct kin_pool_options *options))
{
    struct kin_process_options process = KIN_PROCESS_OPTIONS_INIT;
    process.method = (enum kin_start_method)method;
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = workers;
    options.process = &process;
    if (more != NULL) {
        more(&options);
    }
    kin_pool *pool = NULL;
    ok(kin_pool_create(&options, &pool));
    return pool;
}

/* Not the loader's address, and not the value that the parent has set. */
static int parents_own = 1;

static int tell_own(const void *item, void *result, void *state)
{
    (void)item;
    (void)state;
    *(int *)result = parents_own;
    return 0;
}

START_TEST(calls)
{
    parents_own = 2;
    kin_pool *pool = pool_by(_i, 2, NULL);
    enum { N = 2000 };
    int items[N], results[N], codes[N];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            items[i] = i == 700 ? (round == 0 ? -3 : KILL_SELF) : i;
            results[i] = -1;
        }
        struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
        options.codes = codes;
        fails(kin_pool_map(pool, act, items, N, sizeof(int), results, sizeof(int), &options),
              round == 0 ? KIN_ETASK : KIN_EWORKERLOST);
        for (int i = 0; i < N; i++) {
            int code = i != 700 ? 0 : round == 0 ? -3 : KIN_EWORKERLOST;
            if (codes[i] != code || results[i] != (code == 0 ? 2 * i : -1)) {
                ck_abort_msg("item %d: code %d, result %d", i, codes[i], results[i]);
            }
        }
    }
    ok(kin_pool_map(pool, tell_own, items, N, sizeof(int), results, sizeof(int), NULL));
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(results[i], 1);
    }
    char got[8];
    size_t size = sizeof got;
    ok(kin_pool_apply(pool, echo, "hello", 5, got, &size, NULL, NULL));
    ck_assert_int_eq(memcmp(got, "hello", 5), 0);
    struct kin_bytes in[3] = {{"a", 1}, {"", 0}, {"ccc", 3}}, out[3];
    ok(kin_pool_map_var(pool, echo, in, 3, out, NULL));
    ck_assert_uint_eq(out[2].size, 3);
    kin_bytes_free(out, 3);
    finish_pool(pool);
}
END_TEST

static int keep_arg(void *arg, size_t size, void **ret_state)
{
    int **words = malloc(size);
    memcpy(words, arg, size);
    __atomic_fetch_add(words[0], 1, __ATOMIC_SEQ_CST);
    *ret_state = words;
    return 0;
}

static void count_end(void *state)
{
    __atomic_fetch_add(((int **)state)[0] + 1, 1, __ATOMIC_SEQ_CST);
    free(state);
}

static int *words;

static void with_state(struct kin_pool_options *options)
{
    options->initializer = keep_arg;
    options->init_arg = &words;
    options->init_size = sizeof words;
    options->finalizer = count_end;
    options->max_tasks_per_child = 4;
}

/* Initializer and finalizer, workers that are replaced. */
START_TEST(states)
{
    words = kin_calloc(2, sizeof(int));
    kin_pool *pool = pool_by(_i, 2, with_state);
    for (int i = 0; i < 18; i++) {
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
    }
    finish_pool(pool);
    ck_assert_int_ge(words[0], 5);
    ck_assert_int_eq(words[1], words[0]);
    kin_free(words);
}
END_TEST

/* A parent that is killed while its workers compute, or sleep, or wait for work: they end. */
static int compute(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)size;
    (void)reply;
    (void)state;
    int *word = *(int *const *)arg;
    __atomic_store_n(word, getpid(), __ATOMIC_SEQ_CST);
    while (__atomic_load_n(word, __ATOMIC_RELAXED) != 0) {
    }
    return 0;
}

START_TEST(parent_killed)
{
    int *pids = kin_calloc(8, sizeof(int));
    pid_t parent = kit_fork();
    if (parent == 0) {
        kin_pool *pool = pool_by(_i, 3, NULL);
        int all[3];
        ok(kin_pool_pids(pool, all, 3));
        memcpy(pids + 2, all, sizeof all);
        int *word = pids;
        kin_future *future;
        kin_pool_submit(pool, compute, &word, sizeof word, NULL, &future);
        await_change(pids, 0);
        struct hold *h = make_hold();
        submit_held(pool, h);
        pids[1] = 1;
        for (;;) {
            pause();
        }
    }
    await_change(&pids[1], 0);
    kill(parent, SIGKILL);
    kit_reap(parent);
    for (int i = 0; i < 3; i++) {
        for (int n = 0; kit_process_state(pids[2 + i]) != 0 && kit_process_state(pids[2 + i]) != 'Z';
             n++) {
            ck_assert_msg(n < 10000, "worker %d lives on", pids[2 + i]);
            usleep(1000);
        }
    }
    kin_free(pids);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-start");
    TCase *t = add_case(s, "start");
    tcase_add_loop_test(t, calls, KIN_START_SPAWN, KIN_START_FORKSERVER + 1);
    tcase_add_loop_test(t, states, KIN_START_SPAWN, KIN_START_FORKSERVER + 1);
    tcase_add_loop_test(t, parent_killed, KIN_START_FORK, KIN_START_FORKSERVER + 1);
    return s;
}

KIT_CHECK_MAIN(suite)
