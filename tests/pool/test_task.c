/* Single tasks: what they are given and reply, and what becomes of their futures. */
#include "pool_kit.h"

#include <pthread.h>

/* Replies of every kind of size, inside the ring and outside. */
START_TEST(all_sizes)
{
    kin_pool *pool = pool_of(_i, 2);
    static const size_t sizes[] = {0, 1, 15, 16, 2047, 2048, 2049, 70000, 3 << 20};
    char *sent = malloc(3 << 20), *got = malloc(3 << 20);
    for (size_t i = 0; i < 3 << 20; i++) {
        sent[i] = (char)(i * 7 + i / 251 + 1);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = 3 << 20;
        int code = -1;
        ok(kin_pool_apply(pool, echo, sent, sizes[i], got, &size, NULL, &code));
        ck_assert_uint_eq(size, sizes[i]);
        ck_assert_int_eq(memcmp(sent, got, size), 0);
        ck_assert_int_eq(code, 0);
    }
    /* Room for less than the reply: its length, and nothing is written. */
    size_t size = 4;
    memset(got, 'u', 8);
    fails(kin_pool_apply(pool, echo, "abcdefgh", 8, got, &size, NULL, NULL), KIN_ETOOBIG);
    ck_assert_uint_eq(size, 8);
    ck_assert_int_eq(memcmp(got, "uuuuuuuu", 8), 0);
    size = 77;
    ok(kin_pool_apply(pool, echo, "abc", 3, NULL, &size, NULL, NULL));
    ck_assert_uint_eq(size, 3);
    ok(kin_pool_apply(pool, echo, "abc", 3, NULL, NULL, NULL, NULL));
    free(sent);
    free(got);
    finish_pool(pool);
}
END_TEST

/* All the ways to reply: what goes wrong is the task's code. */
static int reply_oddly(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)size;
    (void)state;
    void *room;
    if ((uintptr_t)arg % 16 != 0) {
        return 1;
    }
    if (kin_reply_trim(reply, 0) != -EINVAL || kin_reply_reserve(reply, 8, NULL) != -EINVAL ||
        kin_reply_reserve(NULL, 8, &room) != -EINVAL || kin_reply_set(reply, NULL, 1) != -EINVAL) {
        return 2;
    }
    switch (*(const char *)arg) {
    case 's': /* twice, the second counts */
        return kin_reply_set(reply, "first, long", 11) + kin_reply_set(reply, "second", 6);
    case 'r': { /* outside the ring, then shortened to inside */
        int rc = kin_reply_reserve(reply, 100000, &room);
        if (rc < 0 || (uintptr_t)room % 16 != 0) {
            return 3;
        }
        memset(room, 'r', 100000);
        return kin_reply_trim(reply, 100001) == -EINVAL ? kin_reply_trim(reply, 3) : 4;
    }
    case 'l': /* a long one replaced by a short one */
        return kin_reply_reserve(reply, 100000, &room) + kin_reply_set(reply, "short", 5);
    case 'q': /* more than there is */
        return kin_reply_reserve(reply, (size_t)1 << 50, &room);
    case 'f': /* a long one of a task that fails */
        kin_reply_reserve(reply, 100000, &room);
        return 9;
    }
    return 0;
}

START_TEST(replies)
{
    kin_pool *pool = pool_of(_i, 1);
    ok(kin_pool_apply(pool, reply_oddly, "n", 1, NULL, NULL, NULL, NULL));
    size_t before = live_blocks();
    static const char *const expected[][2] = {{"s", "second"}, {"r", "rrr"}, {"l", "short"}, {"n", ""}};
    for (int i = 0; i < 4; i++) {
        char got[100000];
        size_t size = sizeof got;
        int code = 0;
        int rc = kin_pool_apply(pool, reply_oddly, expected[i][0], 1, got, &size, NULL, &code);
        ck_assert_msg(rc == 0, "%s: code %d", expected[i][0], code);
        ck_assert_uint_eq(size, strlen(expected[i][1]));
        ck_assert_int_eq(memcmp(got, expected[i][1], size), 0);
    }
    int code = 0;
    fails(kin_pool_apply(pool, reply_oddly, "q", 1, NULL, NULL, NULL, &code), KIN_ETASK);
    ck_assert_int_eq(code, KIN_EQUOTA);
    fails(kin_pool_apply(pool, reply_oddly, "f", 1, NULL, NULL, NULL, &code), KIN_ETASK);
    ck_assert_int_eq(code, 9);
    ck_assert_uint_eq(live_blocks(), before);
    finish_pool(pool);
}
END_TEST

/* A future before, while and after its task runs. */
START_TEST(states)
{
    kin_pool *pool = pool_of(_i, 1);
    struct hold *h = make_hold();
    kin_future *runs = submit_held(pool, h), *waits;
    ok(kin_pool_submit(pool, echo, "w", 1, NULL, &waits));
    const void *data = "untouched";
    size_t size = 77;
    int code = 77;
    for (int i = 0; i < 2; i++) {
        kin_future *future = i == 0 ? runs : waits;
        fails(kin_future_wait(future, 0), -ETIMEDOUT);
        fails(kin_future_wait(future, 1000000), -ETIMEDOUT);
        ck_assert_int_eq(kin_future_ready(future), 0);
        fails(kin_future_result(future, &data, &size), -EAGAIN);
        fails(kin_future_code(future, &code), -EAGAIN);
    }
    ck_assert_int_eq(code, 77);
    ck_assert_uint_eq(size, 77);
    fails(kin_future_cancel(runs), -EBUSY);
    fails(kin_future_cancel(waits), 0);
    fails(kin_future_cancel(waits), -EALREADY);
    ck_assert_int_eq(kin_future_ready(waits), 1);
    fails(kin_future_wait(waits, KIN_FOREVER), KIN_ECANCELLED);
    fails(kin_future_result(waits, &data, &size), KIN_ECANCELLED);
    ok(kin_future_code(waits, &code));
    ck_assert_int_eq(code, KIN_ECANCELLED);
    kit_gate_open(&h->go);
    ok(kin_future_wait(runs, KIN_FOREVER));
    ok(kin_future_wait(runs, 0));
    ok(kin_future_result(runs, &data, &size));
    ck_assert_uint_eq(size, sizeof(int));
    ck_assert_int_eq(*(const int *)data == getpid(), _i != PROCESSES);
    ok(kin_future_code(runs, &code));
    ck_assert_int_eq(code, 0);
    fails(kin_future_cancel(runs), -EALREADY);
    kin_future *failed;
    ok(kin_pool_submit(pool, echo, "!", 1, NULL, &failed));
    fails(kin_future_wait(failed, KIN_FOREVER), KIN_ETASK);
    fails(kin_future_result(failed, &data, &size), KIN_ETASK);
    ok(kin_future_code(failed, &code));
    ck_assert_int_eq(code, 7);
    ck_assert_ptr_null(kin_future_destroy(failed));
    kin_future_destroy(runs);
    kin_future_destroy(waits);
    kin_free(h);
    finish_pool(pool);
}
END_TEST

static int count_run(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)size;
    (void)reply;
    (void)state;
    __atomic_fetch_add(*(int *const *)arg, 1, __ATOMIC_SEQ_CST);
    return 0;
}

/* A task is either cancelled or runs, never both, never neither. */
START_TEST(cancel_is_exact)
{
    enum { N = 3000 };
    kin_pool *pool = pool_of(_i, 2);
    int *runs = kin_calloc(1, sizeof *runs);
    kin_future *futures[N];
    unsigned seed = 7;
    int cancelled = 0;
    for (int i = 0; i < N; i++) {
        ok(kin_pool_submit(pool, count_run, &runs, sizeof runs, NULL, &futures[i]));
        int back = (int)(rand_r(&seed) % 40);
        if (i >= back && kin_future_cancel(futures[i - back]) == 0) {
            cancelled++;
        }
    }
    int told = 0;
    for (int i = 0; i < N; i++) {
        int rc = kin_future_wait(futures[i], KIN_FOREVER);
        if (rc != 0 && rc != KIN_ECANCELLED) {
            ck_abort_msg("task %d: %s", i, kin_strerror(rc));
        }
        told += rc == KIN_ECANCELLED;
        kin_future_destroy(futures[i]);
    }
    ck_assert_int_eq(told, cancelled);
    ck_assert_int_eq(*runs, N - cancelled);
    struct kin_pool_stats stats = stats_of(pool);
    ck_assert_uint_eq(stats.completed, (uint64_t)(N - cancelled));
    ck_assert_uint_eq(stats.failed, (uint64_t)cancelled);
    kin_free(runs);
    finish_pool(pool);
}
END_TEST

/* What the pool did not finish is cancelled; what it did can still be read. */
START_TEST(futures_outlive_the_pool)
{
    kin_pool *pool = pool_of(PROCESSES, 1);
    kin_future *done, *runs, *waits;
    ok(kin_pool_submit(pool, echo, "done", 4, NULL, &done));
    ok(kin_future_wait(done, KIN_FOREVER));
    struct hold *h = make_hold();
    runs = submit_held(pool, h);
    ok(kin_pool_submit(pool, echo, "w", 1, NULL, &waits));
    kin_pool_destroy(pool);
    fails(kin_future_wait(runs, KIN_FOREVER), KIN_ECANCELLED);
    fails(kin_future_wait(waits, KIN_FOREVER), KIN_ECANCELLED);
    fails(kin_future_cancel(runs), -EALREADY);
    const void *data;
    size_t size;
    ok(kin_future_result(done, &data, &size));
    ck_assert_int_eq(memcmp(data, "done", 4), 0);
    kin_future_destroy(done);
    kin_future_destroy(runs);
    kin_future_destroy(waits);
    kin_free(h);
}
END_TEST

static void *wait_for(void *arg)
{
    return (void *)(intptr_t)kin_future_wait(arg, KIN_FOREVER);
}

/* A task that takes too long costs itself only, also while another thread waits for a longer one. */
START_TEST(time_limit)
{
    kin_pool *pool = pool_of(PROCESSES, 2);
    struct hold *h[2] = {make_hold(), make_hold()};
    kin_future *unlimited = submit_held(pool, h[0]);
    pthread_t waiter;
    pthread_create(&waiter, NULL, wait_for, unlimited);
    struct kin_task_options options = KIN_TASK_OPTIONS_INIT;
    options.timeout_ns = 20000000;
    kin_future *limited, *behind[20];
    ok(kin_pool_submit(pool, hold, &h[1], sizeof h[1], &options, &limited));
    for (int i = 0; i < 20; i++) {
        ok(kin_pool_submit(pool, echo, "b", 1, NULL, &behind[i]));
    }
    fails(kin_future_wait(limited, KIN_FOREVER), -ETIMEDOUT);
    ck_assert_int_eq(kin_future_ready(limited), 1);
    int code;
    ok(kin_future_code(limited, &code));
    ck_assert_int_eq(code, -ETIMEDOUT);
    for (int i = 0; i < 20; i++) {
        ok(kin_future_wait(behind[i], KIN_FOREVER));
        kin_future_destroy(behind[i]);
    }
    ck_assert_int_eq(h[1]->runs, 1);
    kit_gate_open(&h[0]->go);
    void *rc;
    pthread_join(waiter, &rc);
    ck_assert_ptr_null(rc);
    /* One that is over in time is not touched. */
    options.timeout_ns = INT64_C(3600000000000);
    ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, &options, NULL));
    ck_assert_uint_eq(stats_of(pool).workers_lost, 1);
    kin_future_destroy(unlimited);
    kin_future_destroy(limited);
    finish_pool(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-task");
    TCase *t = add_case(s, "task");
    tcase_add_loop_test(t, all_sizes, 0, KINDS);
    tcase_add_loop_test(t, replies, 0, KINDS);
    tcase_add_loop_test(t, states, 0, KINDS);
    tcase_add_loop_test(t, cancel_is_exact, 0, KINDS);
    tcase_add_test(t, futures_outlive_the_pool);
    tcase_add_test(t, time_limit);
    return s;
}

KIT_CHECK_MAIN(suite)
