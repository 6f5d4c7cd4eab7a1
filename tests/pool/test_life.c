/* A pool's life: workers that come up and go down, close, terminate, join, forks, many users. */
#include "pool_kit.h"

#include <pthread.h>
#include <sys/wait.h>

static int *counts; /* initializers, finalizers */

static int count_init(void *arg, size_t size, void **ret_state)
{
    if (size != 3 || memcmp(arg, "ab", 3) != 0) {
        return 1;
    }
    ((char *)arg)[0] = 'z'; /* its own copy */
    *ret_state = arg;
    __atomic_fetch_add(&counts[0], 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void count_fini(void *state)
{
    __atomic_fetch_add(&counts[1], memcmp(state, "zb", 3) == 0, __ATOMIC_SEQ_CST);
}

static void counted(struct kin_pool_options *options)
{
    options->initializer = count_init;
    options->init_arg = "ab";
    options->init_size = 3;
    options->finalizer = count_fini;
}

static void counted_and_short(struct kin_pool_options *options)
{
    counted(options);
    options->max_tasks_per_child = 3;
}

/* Each worker that comes up is initialised once, each that ends in good order is finalised once. */
START_TEST(init_and_fini)
{
    counts = kin_calloc(2, sizeof(int));
    kin_pool *pool = pool_with(_i, 3, counted);
    ck_assert_int_eq(kin_pool_size(pool), 3);
    for (int i = 0; i < 20; i++) {
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
    }
    finish_pool(pool);
    ck_assert_int_eq(counts[0], 3);
    ck_assert_int_eq(counts[1], 3);
    counts[0] = counts[1] = 0;
    pool = pool_with(_i, 2, counted_and_short);
    int items[30] = {0}, results[30];
    ok(kin_pool_map(pool, twice, items, 30, sizeof(int), results, sizeof(int), NULL));
    for (int i = 0; i < 30; i++) {
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
    }
    ck_assert_uint_eq(stats_of(pool).workers_lost, 0);
    ck_assert_uint_ge(stats_of(pool).workers_started, 19);
    finish_pool(pool);
    ck_assert_int_ge(counts[0], 19);
    ck_assert_int_eq(counts[1], counts[0]);
    kin_free(counts);
}
END_TEST

/* What was accepted completes, nothing else is, and join waits for it. */
START_TEST(close_and_join)
{
    kin_pool *pool = pool_of(_i, 1);
    struct hold *h = make_hold();
    fails(kin_pool_join(pool, 0), KIN_ESTATE);
    kin_future *runs = submit_held(pool, h), *waits, *refused = NULL;
    ok(kin_pool_submit(pool, echo, "w", 1, NULL, &waits));
    ok(kin_pool_close(pool));
    ok(kin_pool_close(pool));
    fails(kin_pool_submit(pool, echo, "x", 1, NULL, &refused), KIN_ESTATE);
    fails(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL), KIN_ESTATE);
    ck_assert_ptr_null(refused);
    fails(kin_pool_join(pool, 0), -ETIMEDOUT);
    fails(kin_pool_join(pool, 1000000), -ETIMEDOUT);
    kit_gate_open(&h->go);
    ok(kin_pool_join(pool, KIN_FOREVER));
    ok(kin_pool_join(pool, 0));
    ok(kin_future_wait(runs, 0));
    ok(kin_future_wait(waits, 0));
    ck_assert_int_eq(kin_pool_pids(pool, NULL, 0), 0);
    struct kin_pool_stats stats = stats_of(pool);
    ck_assert_int_eq(stats.workers, 0);
    ck_assert_uint_eq(stats.completed, 2);
    ok(kin_pool_terminate(pool));
    ok(kin_pool_join(pool, 0));
    kin_future_destroy(runs);
    kin_future_destroy(waits);
    kin_pool_destroy(pool);
    kin_free(h);
}
END_TEST

static int deaf(const void *arg, size_t size, kin_reply *reply, void *state)
{
    signal(SIGTERM, SIG_IGN);
    return hold(arg, size, reply, state);
}

static void short_grace(struct kin_pool_options *options)
{
    options->grace_ns = 1000000;
}

/* What runs loses its worker, deaf to SIGTERM or not; what waits never begins. */
START_TEST(terminate)
{
    kin_pool *pool = pool_with(PROCESSES, 1, short_grace);
    struct hold *h = make_hold();
    kin_future *runs, *waits[50];
    ok(kin_pool_submit(pool, _i == 0 ? hold : deaf, &h, sizeof h, NULL, &runs));
    kit_gate_wait(&h->begun);
    for (int i = 0; i < 50; i++) {
        ok(kin_pool_submit(pool, hold, &h, sizeof h, NULL, &waits[i]));
    }
    int pid;
    ck_assert_int_eq(kin_pool_pids(pool, &pid, 1), 1);
    ok(kin_pool_terminate(pool));
    ok(kin_pool_terminate(pool));
    ok(kin_pool_close(pool));
    fails(kin_future_wait(runs, KIN_FOREVER), KIN_ECANCELLED);
    for (int i = 0; i < 50; i++) {
        fails(kin_future_wait(waits[i], KIN_FOREVER), KIN_ECANCELLED);
        kin_future_destroy(waits[i]);
    }
    fails(kin_pool_submit(pool, echo, "x", 1, NULL, &runs), KIN_ESTATE);
    ok(kin_pool_join(pool, KIN_FOREVER));
    ck_assert_int_eq(kill(pid, 0), -1);
    ck_assert_int_eq(h->runs, 1);
    kin_future_destroy(runs);
    kin_pool_destroy(pool);
    kin_free(h);
}
END_TEST

static int hold_item(const void *item, void *result, void *state)
{
    (void)result;
    return hold(item, sizeof(void *), NULL, state) == -EINVAL ? 0 : 1;
}

static void *terminate_when_begun(void *arg)
{
    void **both = arg;
    struct hold *h = both[1];
    kit_gate_wait(&h->begun);
    kin_pool_terminate(both[0]);
    kit_gate_open(&h->go); /* threads are waited for */
    return NULL;
}

/* A map whose pool is terminated, or whose time is up, while its first item runs. */
START_TEST(map_is_cut_short)
{
    kin_pool *pool = pool_of(_i & 1, 1);
    struct hold *h = make_hold();
    struct hold *items[100];
    int results[100], codes[100];
    for (int i = 0; i < 100; i++) {
        items[i] = h;
        results[i] = -1;
        codes[i] = 9;
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    pthread_t thread;
    void *both[2] = {pool, h};
    int expected = KIN_ECANCELLED;
    if (_i < 2) {
        pthread_create(&thread, NULL, terminate_when_begun, both);
    } else {
        expected = -ETIMEDOUT;
        options.timeout_ns = 20000000;
        options.chunk = 10;
    }
    do {
        fails(kin_pool_map(pool, hold_item, items, 100, sizeof items[0], results, sizeof results[0],
                           &options), expected);
    } while (h->runs == 0); /* a worker may take longer to come up */
    if (_i < 2) {
        pthread_join(thread, NULL);
    }
    for (int i = 0; i < 100; i++) {
        bool ran = codes[i] == 0;
        ck_assert_int_eq(codes[i], i == 0 && ran ? 0 : i == 0 ? expected : KIN_ECANCELLED);
        ck_assert(ran || results[i] == -1);
    }
    ck_assert_int_eq(h->runs, 1);
    if (_i >= 2) {
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
    }
    kin_pool_destroy(pool);
    kin_free(h);
}
END_TEST

START_TEST(statistics)
{
    kin_pool *pool = pool_of(_i, 1);
    struct hold *h = make_hold();
    kin_future *runs = submit_held(pool, h), *waits[400];
    for (int i = 0; i < 400; i++) {
        ok(kin_pool_submit(pool, echo, i % 4 == 0 ? "!" : "x", 1, NULL, &waits[i]));
    }
    struct kin_pool_stats stats = stats_of(pool);
    ck_assert_uint_eq(stats.size, sizeof stats);
    ck_assert_int_le(stats.workers, 1);
    ck_assert_uint_le(stats.queued, 400);
    ck_assert_uint_ge(stats.queued, 100); /* a worker is given some only */
    ck_assert_uint_eq(stats.completed, 0);
    ck_assert_uint_eq(stats.workers_started, 1);
    kit_gate_open(&h->go);
    for (int i = 0; i < 400; i++) {
        fails(kin_future_wait(waits[i], KIN_FOREVER), i % 4 == 0 ? KIN_ETASK : 0);
        kin_future_destroy(waits[i]);
    }
    stats = stats_of(pool);
    ck_assert_int_eq(stats.workers, 1);
    ck_assert_int_eq(stats.busy, 0);
    ck_assert_uint_eq(stats.queued, 0);
    ck_assert_uint_eq(stats.completed, 301);
    ck_assert_uint_eq(stats.failed, 100);
    int pids[2] = {-1, -1};
    ck_assert_int_eq(kin_pool_pids(pool, pids, 2), _i == PROCESSES);
    ck_assert_int_eq(pids[1], -1);
    kin_future_destroy(runs);
    finish_pool(pool);
    kin_free(h);
}
END_TEST

static int nest(const void *item, void *result, void *state)
{
    (void)state;
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = 2;
    kin_pool *pool;
    int items[20], results[20], rc = kin_pool_create(&options, &pool);
    for (int i = 0; i < 20; i++) {
        items[i] = *(const int *)item + i;
    }
    if (rc == 0) {
        rc = kin_pool_map(pool, twice, items, 20, sizeof(int), results, sizeof(int), NULL);
        kin_pool_destroy(pool);
    }
    *(int *)result = results[19];
    return rc;
}

/* Workers that make pools. */
START_TEST(nested)
{
    kin_pool *pool = pool_of(_i, 2);
    int items[6] = {0, 100, 200, 300, 400, 500}, results[6];
    ok(kin_pool_map(pool, nest, items, 6, sizeof(int), results, sizeof(int), NULL));
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(results[i], 2 * (items[i] + 19));
    }
    finish_pool(pool);
}
END_TEST

struct user {
    kin_pool *pool;
    int number, wrong;
};

static void *use(void *arg)
{
    struct user *user = arg;
    for (int round = 0; round < 30; round++) {
        int items[100], results[100];
        for (int i = 0; i < 100; i++) {
            items[i] = user->number * 1000 + i;
        }
        user->wrong += kin_pool_map(user->pool, twice, items, 100, sizeof(int), results, sizeof(int),
                                    NULL) != 0;
        for (int i = 0; i < 100; i++) {
            user->wrong += results[i] != 2 * items[i];
        }
        kin_future *futures[20];
        for (int i = 0; i < 20; i++) {
            user->wrong += kin_pool_submit(user->pool, echo, &items[i], sizeof(int), NULL,
                                           &futures[i]) != 0;
        }
        for (int i = 0; i < 20; i++) {
            const void *data;
            size_t size;
            user->wrong += kin_future_wait(futures[i], KIN_FOREVER) != 0 ||
                           kin_future_result(futures[i], &data, &size) != 0 ||
                           memcmp(data, &items[i], sizeof(int)) != 0;
            kin_future_destroy(futures[i]);
        }
    }
    return NULL;
}

/* Several threads map and submit at once; the pool was made by a thread that is gone. */
static void *make(void *arg)
{
    *(kin_pool **)arg = pool_of(*(int *)((char *)arg + sizeof(kin_pool *)), 2);
    return NULL;
}

START_TEST(many_users)
{
    struct {
        kin_pool *pool;
        int kind;
    } made = {NULL, _i};
    pthread_t threads[4];
    pthread_create(&threads[0], NULL, make, &made);
    pthread_join(threads[0], NULL);
    struct user users[4];
    for (int i = 0; i < 4; i++) {
        users[i] = (struct user){made.pool, i, 0};
        pthread_create(&threads[i], NULL, use, &users[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(users[i].wrong, 0);
    }
    ck_assert_uint_eq(stats_of(made.pool).workers_lost, 0);
    finish_pool(made.pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-life");
    TCase *t = add_case(s, "life");
    tcase_add_loop_test(t, init_and_fini, 0, KINDS);
    tcase_add_loop_test(t, close_and_join, 0, KINDS);
    tcase_add_loop_test(t, terminate, 0, 2);
    tcase_add_loop_test(t, map_is_cut_short, 0, 3); /* a thread's item would have to end by itself */
    tcase_add_loop_test(t, statistics, 0, KINDS);
    tcase_add_loop_test(t, nested, 0, KINDS);
    tcase_add_loop_test(t, many_users, 0, KINDS);
    return s;
}

KIT_CHECK_MAIN(suite)
