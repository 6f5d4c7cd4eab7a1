/* Callbacks of futures: called once, by whoever drives the pool, and free to do nearly anything. */
#include "pool_kit.h"

#include <pthread.h>

static int calls;
static int answer;

static void count_call(kin_future *future, void *arg)
{
    int code = -1;
    kin_future_code(future, &code);
    __atomic_store_n((int *)arg, code + 1000, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
}

static void and_destroy(kin_future *future, void *arg)
{
    kin_future_destroy(future);
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST);
}

/* While it runs, when it is done, when it is cancelled or lost. */
START_TEST(once)
{
    kin_pool *pool = pool_of(_i, 1);
    struct hold *h = make_hold();
    kin_future *runs = submit_held(pool, h), *waits, *done;
    int seen[3] = {0, 0, 0};
    ok(kin_pool_submit(pool, echo, "w", 1, NULL, &waits));
    ok(kin_future_on_ready(runs, count_call, &seen[0]));
    fails(kin_future_on_ready(runs, count_call, &seen[0]), -EALREADY);
    ok(kin_future_on_ready(waits, count_call, &seen[1]));
    ok(kin_future_cancel(waits));
    await_change(&seen[1], 0); /* nobody waits on the pool: the library calls */
    ck_assert_int_eq(seen[1], KIN_ECANCELLED + 1000);
    kit_gate_open(&h->go);
    await_change(&seen[0], 0);
    ck_assert_int_eq(seen[0], 1000);
    ok(kin_pool_submit(pool, echo, "!", 1, NULL, &done));
    fails(kin_future_wait(done, KIN_FOREVER), KIN_ETASK);
    ok(kin_future_on_ready(done, count_call, &seen[2])); /* at once */
    ck_assert_int_eq(seen[2], 1007);
    fails(kin_future_on_ready(done, count_call, &seen[2]), -EALREADY);
    ck_assert_int_eq(calls, 3);
    kin_future_destroy(runs);
    kin_future_destroy(waits);
    kin_future_destroy(done);
    /* Given up before it is done, and destroyed by its callback. */
    int count = 0;
    for (int i = 0; i < 200; i++) {
        kin_future *future;
        ok(kin_pool_submit(pool, echo, "x", 1, NULL, &future));
        ok(kin_future_on_ready(future, and_destroy, &count));
    }
    ok(kin_pool_close(pool));
    ok(kin_pool_join(pool, KIN_FOREVER));
    ck_assert_int_eq(count, 200);
    kin_pool_destroy(pool);
    kin_free(h);
}
END_TEST

static kin_pool *mine;

static void use_pool(kin_future *future, void *arg)
{
    (void)future;
    (void)arg;
    int items[100], results[100];
    for (int i = 0; i < 100; i++) {
        items[i] = i == 50 ? KILL_SELF : i;
    }
    int rc = kin_pool_join(mine, KIN_FOREVER);
    if (rc == -EDEADLK) {
        rc = kin_pool_map(mine, act, items, 100, sizeof(int), results, sizeof(int), NULL);
    }
    if (rc == KIN_EWORKERLOST) {
        rc = kin_pool_apply(mine, echo, "k", 1, NULL, NULL, NULL, NULL);
    }
    if (rc == KIN_EWORKERLOST) {
        rc = kin_pool_apply(mine, echo, "x", 1, NULL, NULL, NULL, NULL);
    }
    __atomic_store_n(&answer, rc == 0 && results[99] == 198 ? 1 : rc, __ATOMIC_SEQ_CST);
}

/* Called by the library's own thread, it waits for work on its pool whose workers die. */
START_TEST(works_on_its_pool)
{
    mine = pool_of(PROCESSES, 1);
    struct hold *h = make_hold();
    kin_future *future = submit_held(mine, h);
    ok(kin_future_on_ready(future, use_pool, NULL));
    kit_gate_open(&h->go);
    await_change(&answer, 0);
    ck_assert_int_eq(answer, 1);
    kin_future_destroy(future);
    finish_pool(mine);
}
END_TEST

static void make_pool(kin_future *future, void *arg)
{
    (void)future;
    struct kit_gate *gate = arg;
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = 1;
    kin_pool *pool;
    int rc = kin_pool_create(&options, &pool);
    while (rc == 0 && gate != NULL && !kit_gate_is_open(gate)) {
        rc = kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL);
    }
    if (rc == 0) {
        rc = kin_pool_apply(pool, echo, "k", 1, NULL, NULL, NULL, NULL);
        kin_pool_destroy(pool);
    }
    __atomic_store_n(&answer, rc, __ATOMIC_SEQ_CST);
}

/* It makes a pool of its own, uses it and destroys it. */
START_TEST(makes_a_pool)
{
    kin_pool *pool = pool_of(PROCESSES, 1);
    struct hold *h = make_hold();
    kin_future *future = submit_held(pool, h);
    ok(kin_future_on_ready(future, make_pool, NULL));
    kit_gate_open(&h->go);
    await_change(&answer, 0);
    ck_assert_int_eq(answer, KIN_EWORKERLOST);
    kin_future_destroy(future);
    finish_pool(pool);
}
END_TEST

/* The same after its own pool has gone, so that the one which it destroys is the last. */
START_TEST(outlives_its_pool)
{
    int fds = open_fds();
    kin_pool *pool = pool_of(PROCESSES, 1);
    struct kit_gate *gate = kin_calloc(1, sizeof *gate);
    struct hold *h = make_hold();
    kin_future *future = submit_held(pool, h);
    ok(kin_future_on_ready(future, make_pool, gate));
    kit_gate_open(&h->go);
    while (!kin_future_ready(future)) {
        sched_yield();
    }
    kin_pool_destroy(pool);
    kit_gate_open(gate);
    await_change(&answer, 0);
    ck_assert_int_eq(answer, KIN_EWORKERLOST);
    kin_future_destroy(future);
    /* The next pool has a supervisor. */
    pool = pool_of(PROCESSES, 1);
    fails(kin_pool_apply(pool, echo, "k", 1, NULL, NULL, NULL, NULL), KIN_EWORKERLOST);
    finish_pool(pool);
    for (int i = 0; i < 10000 && open_fds() > fds + 1; i++) {
        sched_yield(); /* the first supervisor ends by itself */
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-callback");
    TCase *t = add_case(s, "callback");
    tcase_add_loop_test(t, once, 0, KINDS);
    tcase_add_test(t, works_on_its_pool);
    tcase_add_test(t, makes_a_pool);
    tcase_add_test(t, outlives_its_pool);
    return s;
}

KIT_CHECK_MAIN(suite)
