/* kin_pool_map_var: items of any size, replies of any size. */
#include "pool_kit.h"

enum { N = 3000 };

static struct kin_bytes *make_items(char first, int every)
{
    struct kin_bytes *items = malloc(N * sizeof *items);
    for (int i = 0; i < N; i++) {
        size_t size = (size_t)(i % 997) * (i % 50 == 0 ? 70 : 1);
        char *data = malloc(size + 1);
        memset(data, 'a' + i % 20 + (i % 20 >= 10), size + 1);
        if (every != 0 && i % every == every - 1) {
            size = size == 0 ? 1 : size;
            *data = first;
        }
        items[i] = (struct kin_bytes){data, size};
    }
    return items;
}

static void free_items(struct kin_bytes *items)
{
    kin_bytes_free(items, N);
    free(items);
}

static void check(const struct kin_bytes *items, const struct kin_bytes *results, const int *codes,
                  int every, int code)
{
    for (int i = 0; i < N; i++) {
        bool odd = every != 0 && i % every == every - 1;
        bool good = odd ? results[i].data == NULL && results[i].size == 0
                        : results[i].size == items[i].size &&
                              memcmp(results[i].data == NULL ? "" : results[i].data, items[i].data,
                                     items[i].size) == 0;
        if (!good || codes[i] != (odd ? code : 0)) {
            ck_abort_msg("item %d of %zu bytes: code %d, %zu bytes", i, items[i].size, codes[i],
                         results[i].size);
        }
    }
}

START_TEST(results)
{
    kin_pool *pool = pool_of(_i, 3);
    static struct kin_bytes out[N];
    static int codes[N];
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    struct kin_bytes *items = make_items(0, 0);
    ok(kin_pool_map_var(pool, echo, items, N, out, &options));
    check(items, out, codes, 0, 0);
    kin_bytes_free(out, N);
    ck_assert_ptr_null(out[1].data);
    ok(kin_pool_map_var(pool, echo, items, N, NULL, NULL)); /* replies are dropped */
    ok(kin_pool_map_var(pool, echo, NULL, 0, NULL, NULL));
    free_items(items);
    items = make_items('!', 10);
    fails(kin_pool_map_var(pool, echo, items, N, out, &options), KIN_ETASK);
    check(items, out, codes, 10, 7);
    kin_bytes_free(out, N);
    options.on_error = KIN_ON_ERROR_RETURN;
    ok(kin_pool_map_var(pool, echo, items, N, out, &options));
    check(items, out, codes, 10, 7);
    kin_bytes_free(out, N);
    free_items(items);
    if (_i == PROCESSES) {
        items = make_items('k', 1000);
        options.on_error = KIN_ON_ERROR_FINISH;
        options.retries = 1;
        fails(kin_pool_map_var(pool, echo, items, N, out, &options), KIN_EWORKERLOST);
        check(items, out, codes, 1000, KIN_EWORKERLOST);
        kin_bytes_free(out, N);
        free_items(items);
        ck_assert_uint_eq(stats_of(pool).workers_lost, 6);
        ck_assert_uint_eq(stats_of(pool).retried, 3);
    }
    kin_bytes_free(NULL, 5);
    finish_pool(pool);
}
END_TEST

/* The first failure cancels what has not begun. */
START_TEST(raise_stops)
{
    kin_pool *pool = pool_of(_i, 2);
    static struct kin_bytes out[N];
    static int codes[N];
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    options.on_error = KIN_ON_ERROR_RAISE;
    struct kin_bytes *items = make_items('!', 100);
    fails(kin_pool_map_var(pool, echo, items, N, out, &options), KIN_ETASK);
    int cancelled = 0;
    for (int i = 0; i < N; i++) {
        bool good = codes[i] == 0   ? out[i].size == items[i].size
                    : codes[i] == 7 ? i % 100 == 99 && out[i].data == NULL
                                    : codes[i] == KIN_ECANCELLED && out[i].data == NULL;
        if (!good) {
            ck_abort_msg("item %d: code %d, %zu bytes", i, codes[i], out[i].size);
        }
        cancelled += codes[i] == KIN_ECANCELLED;
    }
    ck_assert_int_gt(cancelled, 0);
    kin_bytes_free(out, N);
    free_items(items);
    finish_pool(pool);
}
END_TEST

/* Item 1 never ends: the time limit costs it and what had not begun, and the pool goes on. */
START_TEST(time_limit)
{
    kin_pool *pool = pool_of(PROCESSES, 1);
    struct hold *h = make_hold(), *open = make_hold();
    kit_gate_open(&open->go);
    struct kin_bytes items[3] = {{&open, sizeof open}, {&h, sizeof h}, {&open, sizeof open}}, out[3];
    int codes[3] = {9, 9, 9};
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    options.timeout_ns = 50000000;
    do { /* until the first has had the time to end in */
        kin_bytes_free(out, h->runs == 0 ? 0 : 3);
        options.timeout_ns *= 2;
        fails(kin_pool_map_var(pool, hold, items, 3, out, &options), -ETIMEDOUT);
    } while (codes[0] != 0);
    ck_assert_int_eq(codes[1], -ETIMEDOUT);
    ck_assert_int_eq(codes[2], KIN_ECANCELLED);
    ck_assert_uint_eq(out[0].size, sizeof(int));
    ck_assert_ptr_null(out[1].data);
    kin_bytes_free(out, 3);
    ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
    kin_free(open);
    finish_pool(pool);
}
END_TEST

START_TEST(bad_arguments)
{
    kin_pool *pool = pool_of(_i, 1);
    struct kin_bytes item = {"x", 1}, bad = {NULL, 1}, out = {"old", 3};
    struct kin_map_options o = KIN_MAP_OPTIONS_INIT;
    fails(kin_pool_map_var(NULL, echo, &item, 1, &out, NULL), -EINVAL);
    fails(kin_pool_map_var(pool, NULL, &item, 1, &out, NULL), -EINVAL);
    fails(kin_pool_map_var(pool, echo, NULL, 1, &out, NULL), -EINVAL);
    fails(kin_pool_map_var(pool, echo, &bad, 1, &out, NULL), -EINVAL);
    o.retries = -2;
    fails(kin_pool_map_var(pool, echo, &item, 1, &out, &o), -EINVAL);
    o.retries = 0;
    o.on_error = -1;
    fails(kin_pool_map_var(pool, echo, &item, 1, &out, &o), -EINVAL);
    o.on_error = 0;
    o.role = "";
    fails(kin_pool_map_var(pool, echo, &item, 1, &out, &o), KIN_EROLE);
    o.role = NULL;
    o.size = 0;
    fails(kin_pool_map_var(pool, echo, &item, 1, &out, &o), -EINVAL);
    ok(kin_pool_close(pool));
    fails(kin_pool_map_var(pool, echo, &item, 1, &out, NULL), KIN_ESTATE);
    ck_assert_uint_eq(out.size, 3);
    ok(kin_pool_join(pool, KIN_FOREVER));
    kin_pool_destroy(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-var");
    TCase *t = add_case(s, "var");
    tcase_add_loop_test(t, results, 0, KINDS);
    tcase_add_loop_test(t, raise_stops, 0, KINDS);
    tcase_add_test(t, time_limit);
    tcase_add_loop_test(t, bad_arguments, 0, KINDS);
    return s;
}

KIT_CHECK_MAIN(suite)
