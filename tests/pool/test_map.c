/*
 * kin_pool_map: items come out right, whatever their number, size and place, and whatever becomes
 * of some of them.
 */
#include "pool_kit.h"

#include <sys/wait.h>

static void check_twice(kin_pool *pool, size_t count, bool shared, size_t chunk)
{
    size_t bytes = (count + 1) * sizeof(int);
    int *items = shared ? kin_alloc(bytes) : malloc(bytes);
    int *results = shared ? kin_alloc(bytes) : malloc(bytes);
    ck_assert_ptr_nonnull(items);
    ck_assert_ptr_nonnull(results);
    for (size_t i = 0; i < count; i++) {
        items[i] = (int)i;
        results[i] = -1;
    }
    results[count] = -7;
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.chunk = chunk;
    ok(kin_pool_map(pool, twice, items, count, sizeof(int), results, sizeof(int), &options));
    for (size_t i = 0; i < count; i++) {
        if (results[i] != (int)i * 2) { /* Check writes a file for each assertion */
            ck_abort_msg("result %zu of %zu is %d", i, count, results[i]);
        }
    }
    ck_assert_int_eq(results[count], -7);
    if (shared) {
        kin_free(items);
        kin_free(results);
    } else {
        free(items);
        free(results);
    }
}

/* Counts from none to some millions, private and shared arrays, chunks given and measured. */
START_TEST(all_counts)
{
    kin_pool *pool = pool_of(_i, 3);
    size_t counts[] = {0, 1, 2, 3, 5, 64, 1000, 4099, 300000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (int shared = 0; shared < 2; shared++) {
            check_twice(pool, counts[c], shared, 0);
            check_twice(pool, counts[c], shared, 7);
            check_twice(pool, counts[c], shared, 100000);
        }
    }
    check_twice(pool, 5000000, false, 0); /* several windows */
    check_twice(pool, 5000000, false, 1000);
    struct kin_pool_stats stats = {.size = sizeof stats};
    ok(kin_pool_stats(pool, &stats));
    ck_assert_uint_eq(stats.failed, 0);
    ck_assert_uint_eq(stats.workers_lost, 0);
    ck_assert_uint_eq(stats.completed, 6 * (1 + 2 + 3 + 5 + 64 + 1000 + 4099 + 300000) + 10000000);
    finish_pool(pool);
}
END_TEST

struct odd {
    unsigned char bytes[13];
};

static int reverse(const void *item, void *result, void *state)
{
    (void)state;
    const struct odd *from = item;
    struct odd *to = result;
    for (int i = 0; i < 13; i++) {
        to->bytes[i] = from->bytes[12 - i];
    }
    return 0;
}

static int count_call(const void *item, void *result, void *state)
{
    (void)item;
    (void)result;
    __atomic_fetch_add(*(int **)state, 1, __ATOMIC_RELAXED);
    return 0;
}

static int big(const void *item, void *result, void *state)
{
    (void)state;
    memset(result, *(const char *)item, 1 << 20);
    return 0;
}

/* Sizes that are no power of two, no items, no results, results of a megabyte. */
START_TEST(all_sizes)
{
    kin_pool *pool = pool_of(_i, 2);
    struct odd odd[100], back[100];
    for (int i = 0; i < 100; i++) {
        memset(&odd[i], i, sizeof odd[i]);
        odd[i].bytes[12] = 255;
    }
    ok(kin_pool_map(pool, reverse, odd, 100, sizeof odd[0], back, sizeof back[0], NULL));
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(back[i].bytes[0], 255);
        ck_assert_int_eq(back[i].bytes[12], i);
    }
    int *calls = kin_calloc(1, sizeof *calls);
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.arg = &calls;
    options.arg_size = sizeof calls;
    ok(kin_pool_map(pool, count_call, NULL, 1000, 0, NULL, 0, &options));
    ck_assert_int_eq(*calls, 1000);
    kin_free(calls);
    char which[12];
    char *large = malloc(12 << 20);
    for (int i = 0; i < 12; i++) {
        which[i] = (char)('a' + i);
    }
    ok(kin_pool_map(pool, big, which, 12, 1, large, 1 << 20, NULL));
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(large[i << 20], which[i]);
        ck_assert_int_eq(large[((i + 1) << 20) - 1], which[i]);
    }
    free(large);
    finish_pool(pool);
}
END_TEST

static int fail_odd(const void *item, void *result, void *state)
{
    (void)state;
    int i = *(const int *)item;
    *(int *)result = i;
    return i % 2 == 0 ? 0 : i;
}

/* The function's values are the codes, results of failed items are untouched. */
START_TEST(failures)
{
    kin_pool *pool = pool_of(_i, 2);
    enum { N = 1001 };
    int items[N], results[N], codes[N];
    for (int on_error = KIN_ON_ERROR_FINISH; on_error <= KIN_ON_ERROR_RETURN; on_error += 2) {
        for (int i = 0; i < N; i++) {
            items[i] = i;
            results[i] = -5;
        }
        struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
        options.codes = codes;
        options.on_error = on_error;
        fails(kin_pool_map(pool, fail_odd, items, N, sizeof(int), results, sizeof(int), &options),
              on_error == KIN_ON_ERROR_FINISH ? KIN_ETASK : 0);
        for (int i = 0; i < N; i++) {
            ck_assert_int_eq(results[i], i % 2 == 0 ? i : -5);
            ck_assert_int_eq(codes[i], i % 2 == 0 ? 0 : i);
        }
    }
    finish_pool(pool);
}
END_TEST

static int act_slowly(const void *item, void *result, void *state)
{
    usleep(1000);
    return act(item, result, state);
}

/* After the first failure nothing begins any more: the others are cancelled, not failed. */
START_TEST(raise_stops)
{
    kin_pool *pool = pool_of(_i, 2);
    enum { N = 1000 };
    int *items = malloc(N * sizeof(int)), *codes = malloc(N * sizeof(int));
    for (int i = 0; i < N; i++) {
        items[i] = i == 10 ? -3 : i % 1000;
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    options.on_error = KIN_ON_ERROR_RAISE;
    int *results = malloc(N * sizeof(int));
    memset(results, 0xff, N * sizeof(int));
    fails(kin_pool_map(pool, act_slowly, items, N, sizeof(int), results, sizeof(int), &options),
          KIN_ETASK);
    int cancelled = 0;
    ck_assert_int_eq(codes[10], -3);
    for (int i = 0; i < N; i++) {
        bool as_told = codes[i] == 0 ? results[i] == items[i] * 2
                                     : results[i] == -1 && (codes[i] == KIN_ECANCELLED || i == 10);
        if (!as_told) {
            ck_abort_msg("item %d: code %d, result %d", i, codes[i], results[i]);
        }
        cancelled += codes[i] == KIN_ECANCELLED;
    }
    ck_assert_int_gt(cancelled, 0);
    free(items);
    free(codes);
    free(results);
    finish_pool(pool);
}
END_TEST

static int add_state(const void *item, void *result, void *state)
{
    int *own = state;
    *(int *)result = *(const int *)item + own[0];
    own[1]++; /* our own copy: nobody else sees it */
    return own[1] > 0 ? 0 : 1;
}

static int make_state(void *arg, size_t size, void **ret_state)
{
    ck_assert_uint_eq(size, sizeof(int));
    int *state = calloc(2, sizeof *state);
    *state = *(int *)arg + 1;
    *ret_state = state;
    return 0;
}

static void free_state(void *state)
{
    free(state);
}

static void with_state(struct kin_pool_options *options)
{
    static const int arg = 41;
    options->initializer = make_state;
    options->init_arg = &arg;
    options->init_size = sizeof arg;
    options->finalizer = free_state;
}

static int has_no_state(const void *item, void *result, void *state)
{
    (void)item;
    *(int *)result = state == NULL;
    return 0;
}

/* state is the call's argument, else what the initializer stored, else NULL. */
START_TEST(states)
{
    int items[50], results[50];
    for (int i = 0; i < 50; i++) {
        items[i] = i;
    }
    kin_pool *pool = pool_with(_i, 2, with_state);
    ok(kin_pool_map(pool, add_state, items, 50, sizeof(int), results, sizeof(int), NULL));
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(results[i], i + 42);
    }
    int arg[2] = {1000, 0};
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.arg = arg;
    options.arg_size = sizeof arg;
    for (int round = 0; round < 3; round++) {
        ok(kin_pool_map(pool, add_state, items, 50, sizeof(int), results, sizeof(int), &options));
        for (int i = 0; i < 50; i++) {
            ck_assert_int_eq(results[i], i + 1000);
        }
    }
    ck_assert_int_eq(arg[1], 0);
    finish_pool(pool);
    pool = pool_of(_i, 2);
    ok(kin_pool_map(pool, has_no_state, items, 50, sizeof(int), results, sizeof(int), NULL));
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(results[i], 1);
    }
    finish_pool(pool);
}
END_TEST

static int after_the_first(const void *item, void *result, void *state)
{
    int *first_ended = *(int **)state;
    if (*(const int *)item == 0) {
        usleep(300000);
        __atomic_store_n(first_ended, 1, __ATOMIC_SEQ_CST);
    }
    *(int *)result = __atomic_load_n(first_ended, __ATOMIC_SEQ_CST);
    return 0;
}

/* Items that were given to a worker which is held up are taken back from it. */
START_TEST(taken_back)
{
    kin_pool *pool = pool_of(PROCESSES, 2);
    enum { N = 1000 };
    int items[N], results[N];
    for (int i = 0; i < N; i++) {
        items[i] = i;
    }
    int *first_ended = kin_calloc(1, sizeof *first_ended);
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.arg = &first_ended;
    options.arg_size = sizeof first_ended;
    ok(kin_pool_map(pool, after_the_first, items, N, sizeof(int), results, sizeof(int), &options));
    int waited = 0;
    for (int i = 1; i < N; i++) {
        waited += results[i];
    }
    ck_assert_msg(waited < 100, "%d items waited for the slow one", waited);
    kin_free(first_ended);
    finish_pool(pool);
}
END_TEST

enum { LARGE = 4096 }; /* of such an item the caller copies longer than a worker works on it */

static int first_byte(const void *item, void *result, void *state)
{
    (void)state;
    *(unsigned char *)result = *(const unsigned char *)item;
    return 0;
}

/* A worker that never began its range, all of which others took, ends it while the caller is at work
 * on the items that come next. (For the thread sanitizer: what the one and the other touch differs.) */
START_TEST(range_emptied_before_it_began)
{
    kin_pool *pool = pool_of(PROCESSES, 2);
    enum { N = 16384, ROUNDS = 24 }; /* eight windows */
    unsigned char *items = malloc((size_t)N * LARGE), results[N];
    ck_assert_ptr_nonnull(items);
    memset(items, 1, (size_t)N * LARGE);
    int pids[2];
    for (int round = 0; round < ROUNDS; round++) {
        ck_assert_int_eq(kin_pool_pids(pool, pids, 2), 2);
        kill(pids[round % 2], SIGSTOP);
        pid_t releaser = fork();
        if (releaser == 0) {
            usleep(15000 + 1000 * (useconds_t)round);
            kill(pids[round % 2], SIGCONT);
            _exit(0);
        }
        memset(results, 0, sizeof results);
        ok(kin_pool_map(pool, first_byte, items, N, LARGE, results, 1, NULL));
        ck_assert_ptr_null(memchr(results, 0, sizeof results));
        ck_assert_int_eq(waitpid(releaser, NULL, 0), releaser);
    }
    free(items);
    finish_pool(pool);
}
END_TEST

START_TEST(bad_arguments)
{
    kin_pool *pool = pool_of(_i, 1);
    int x[2] = {1, 2};
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    fails(kin_pool_map(NULL, twice, x, 1, 4, x, 4, NULL), -EINVAL);
    fails(kin_pool_map(pool, NULL, x, 1, 4, x, 4, NULL), -EINVAL);
    fails(kin_pool_map(pool, twice, NULL, 1, 4, x, 4, NULL), -EINVAL);
    fails(kin_pool_map(pool, twice, x, 1, 4, NULL, 4, NULL), -EINVAL);
    fails(kin_pool_map(pool, twice, x, SIZE_MAX / 2, 8, x, 4, NULL), -EINVAL);
    options.on_error = 3;
    fails(kin_pool_map(pool, twice, x, 1, 4, x, 4, &options), -EINVAL);
    options.on_error = 0;
    options.retries = -2;
    fails(kin_pool_map(pool, twice, x, 1, 4, x, 4, &options), -EINVAL);
    options.retries = 0;
    options.arg_size = 4;
    fails(kin_pool_map(pool, twice, x, 1, 4, x, 4, &options), -EINVAL);
    options.arg_size = 0;
    options.role = "nobody";
    fails(kin_pool_map(pool, twice, x, 1, 4, x, 4, &options), KIN_EROLE);
    options.role = NULL;
    options.size = 3;
    fails(kin_pool_map(pool, twice, x, 1, 4, x, 4, &options), -EINVAL);
    ok(kin_pool_map(pool, twice, NULL, 0, 4, NULL, 4, NULL));
    ok(kin_pool_close(pool));
    fails(kin_pool_map(pool, twice, x, 1, 4, x, 4, NULL), KIN_ESTATE);
    ok(kin_pool_join(pool, KIN_FOREVER));
    kin_pool_destroy(pool);
    struct kin_pool_options bad = KIN_POOL_OPTIONS_INIT;
    bad.processes = -1;
    fails(kin_pool_create(&bad, &pool), -EINVAL);
    bad.processes = 100000;
    fails(kin_pool_create(&bad, &pool), -EINVAL);
    bad.processes = 1;
    bad.kind = 9;
    fails(kin_pool_create(&bad, &pool), -EINVAL);
    bad.kind = 0;
    bad.init_size = 3;
    fails(kin_pool_create(&bad, &pool), -EINVAL);
    fails(kin_pool_create(NULL, NULL), -EINVAL);
    ck_assert_ptr_null(kin_pool_destroy(NULL));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-map");
    TCase *t = add_case(s, "map");
    tcase_add_loop_test(t, all_counts, 0, KINDS);
    tcase_add_loop_test(t, all_sizes, 0, KINDS);
    tcase_add_loop_test(t, failures, 0, KINDS);
    tcase_add_loop_test(t, raise_stops, 0, KINDS);
    tcase_add_loop_test(t, states, 0, KINDS);
    tcase_add_test(t, taken_back);
    tcase_add_test(t, range_emptied_before_it_began);
    tcase_add_loop_test(t, bad_arguments, 0, KINDS);
    return s;
}

KIT_CHECK_MAIN(suite)
