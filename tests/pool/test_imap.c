/* Iterators: in order or not, bounded at both ends, whatever becomes of items, workers and pool. */
#include "pool_kit.h"

/* An input of `count` items (0: without end): the number as text; every k-th item what `odd` says. */
struct input {
    int next, count, every;
    char odd;
    int error; /* at the end */
    char text[16];
};

static int pull(void *arg, const void **ret_item, size_t *ret_size)
{
    struct input *in = arg;
    if (in->count != 0 && in->next == in->count) {
        return in->error;
    }
    int i = in->next++;
    char first = in->every != 0 && i % in->every == in->every - 1 ? in->odd : 'x';
    snprintf(in->text, sizeof in->text, "%c%d", first, i);
    *ret_item = in->text;
    *ret_size = strlen(in->text);
    return 1;
}

static kin_imap *start(kin_pool *pool, struct input *in, size_t buffer, int unordered)
{
    struct kin_imap_options options = KIN_IMAP_OPTIONS_INIT;
    options.buffer = buffer;
    options.unordered = unordered;
    kin_imap *imap;
    ok(kin_pool_imap(pool, echo, pull, in, &options, &imap));
    return imap;
}

/* Takes all results and checks them; returns what the end said. */
static int take_all(kin_imap *imap, struct input *in, size_t buffer, int unordered, int limit)
{
    static bool seen[100000];
    memset(seen, 0, sizeof seen);
    struct kin_imap_item item;
    int rc = 1, n = 0;
    while (n < limit && (rc = kin_imap_next(imap, &item, KIN_FOREVER)) == 1) {
        uint64_t i = item.index;
        char text[16];
        bool odd = in->every != 0 && (int)i % in->every == in->every - 1;
        int size = snprintf(text, sizeof text, "%c%d", odd ? in->odd : 'x', (int)i);
        bool good = odd ? item.data == NULL && item.size == 0
                        : item.size == (size_t)size && memcmp(item.data, text, item.size) == 0;
        int status = !odd ? 0 : in->odd == 'k' ? KIN_EWORKERLOST : KIN_ETASK;
        good = good && item.status == status && item.code == (status == KIN_ETASK ? 7 : status) &&
               !seen[i] && (unordered || (int)i == n) && in->next - n <= (int)buffer;
        if (!good) {
            ck_abort_msg("result %d: item %d, status %d, code %d, %d pulled", n, (int)i, item.status,
                         item.code, in->next);
        }
        seen[i] = true;
        n++;
    }
    if (n == limit) {
        return 1;
    }
    ck_assert_int_eq(n, in->count);
    return rc;
}

START_TEST(all_results)
{
    kin_pool *pool = pool_of(_i & 1, 2);
    int unordered = _i >> 1;
    static const int buffers[] = {1, 2, 3, 16, 1000};
    for (int b = 0; b < 5; b++) {
        for (int odd = 0; odd < 3; odd++) {
            struct input in = {.count = 600, .error = odd == 1 ? -77 : 0};
            in.every = odd == 1 ? 10 : odd == 2 ? 150 : 0;
            in.odd = odd == 1 ? '!' : 'k';
            if (odd == 2 && (_i & 1) != PROCESSES) {
                continue;
            }
            kin_imap *imap = start(pool, &in, (size_t)buffers[b], unordered);
            ck_assert_int_eq(take_all(imap, &in, (size_t)buffers[b], unordered, INT32_MAX), in.error);
            struct kin_imap_item item = {.index = 99};
            ck_assert_int_eq(kin_imap_next(imap, &item, KIN_FOREVER), in.error);
            ck_assert_uint_eq(item.index, 99);
            ck_assert_ptr_null(kin_imap_destroy(imap));
        }
    }
    finish_pool(pool);
}
END_TEST

/* An endless input; dropped in the middle. */
START_TEST(endless)
{
    kin_pool *pool = pool_of(_i & 1, 2);
    struct input in = {0};
    kin_imap *imap = start(pool, &in, 64, _i >> 1);
    size_t before = 0;
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(take_all(imap, &in, 64, _i >> 1, 20000), 1);
        in = (struct input){0};
        imap = kin_imap_destroy(imap);
        if (round == 0) {
            before = live_blocks();
            imap = start(pool, &in, 64, _i >> 1);
        }
    }
    ck_assert_uint_eq(live_blocks(), before);
    finish_pool(pool);
}
END_TEST

/* Before anybody asks nothing is pulled; a time limit loses nothing; a closed pool completes. */
START_TEST(held_up)
{
    kin_pool *pool = pool_of(_i, 1);
    struct hold *h = make_hold();
    kin_future *future = submit_held(pool, h);
    struct input in = {.count = 10};
    kin_imap *imap = start(pool, &in, 4, 0);
    ck_assert_int_eq(in.next, 0);
    struct kin_imap_item item;
    fails(kin_imap_next(imap, &item, 0), -ETIMEDOUT);
    fails(kin_imap_next(imap, &item, 1000000), -ETIMEDOUT);
    ck_assert_int_eq(in.next, 4);
    ok(kin_pool_close(pool));
    fails(kin_pool_join(pool, 1000000), -ETIMEDOUT);
    kit_gate_open(&h->go);
    ck_assert_int_eq(take_all(imap, &in, 4, 0, INT32_MAX), 0);
    kin_imap_destroy(imap);
    ok(kin_pool_join(pool, KIN_FOREVER));
    kin_future_destroy(future);
    kin_pool_destroy(pool);
    kin_free(h);
}
END_TEST

/* Results before the end of the pool arrive, the others are cancelled, and the end says why. */
START_TEST(terminated)
{
    kin_pool *pool = pool_of(PROCESSES, 1);
    struct input in = {.count = 100};
    kin_imap *imap = start(pool, &in, 8, _i);
    struct kin_imap_item item;
    ck_assert_int_eq(kin_imap_next(imap, &item, KIN_FOREVER), 1);
    ok(kin_pool_terminate(pool));
    int n = 1, rc;
    while ((rc = kin_imap_next(imap, &item, KIN_FOREVER)) == 1) {
        ck_assert(item.status == 0 || item.status == KIN_ECANCELLED);
        n++;
    }
    fails(rc, KIN_ECANCELLED);
    ck_assert_int_le(n, 9);
    kin_imap_destroy(imap);
    kin_pool_destroy(pool);
}
END_TEST

/* An item that takes too long, or fails and may be tried again. */
START_TEST(limits)
{
    kin_pool *pool = pool_of(PROCESSES, 2);
    struct kin_imap_options options = KIN_IMAP_OPTIONS_INIT;
    options.timeout_ns = 10000000;
    options.retries = 2;
    struct input in = {.count = 3, .every = 2, .odd = 'k'};
    kin_imap *imap;
    ok(kin_pool_imap(pool, echo, pull, &in, &options, &imap));
    ck_assert_int_eq(take_all(imap, &in, 16, 0, INT32_MAX), 0);
    kin_imap_destroy(imap);
    ck_assert_uint_eq(stats_of(pool).retried, 2);
    finish_pool(pool);
}
END_TEST

static int pull_nonsense(void *arg, const void **ret_item, size_t *ret_size)
{
    (void)arg;
    *ret_item = NULL;
    *ret_size = 5;
    return 1;
}

START_TEST(bad_arguments)
{
    kin_pool *pool = pool_of(_i, 1);
    struct input in = {.count = 1};
    kin_imap *imap = NULL;
    struct kin_imap_item item;
    struct kin_imap_options o = KIN_IMAP_OPTIONS_INIT;
    fails(kin_pool_imap(NULL, echo, pull, &in, NULL, &imap), -EINVAL);
    fails(kin_pool_imap(pool, NULL, pull, &in, NULL, &imap), -EINVAL);
    fails(kin_pool_imap(pool, echo, NULL, &in, NULL, &imap), -EINVAL);
    fails(kin_pool_imap(pool, echo, pull, &in, NULL, NULL), -EINVAL);
    o.retries = -2;
    fails(kin_pool_imap(pool, echo, pull, &in, &o, &imap), -EINVAL);
    o.retries = 0;
    o.role = "nobody";
    fails(kin_pool_imap(pool, echo, pull, &in, &o, &imap), KIN_EROLE);
    o.role = NULL;
    o.buffer = SIZE_MAX;
    fails(kin_pool_imap(pool, echo, pull, &in, &o, &imap), -ENOMEM);
    o.buffer = 0;
    o.size = 2;
    fails(kin_pool_imap(pool, echo, pull, &in, &o, &imap), -EINVAL);
    fails(kin_imap_next(NULL, &item, 0), -EINVAL);
    ck_assert_ptr_null(kin_imap_destroy(NULL));
    ck_assert_ptr_null(imap);
    ok(kin_pool_imap(pool, echo, pull_nonsense, &in, NULL, &imap));
    fails(kin_imap_next(imap, NULL, 0), -EINVAL);
    fails(kin_imap_next(imap, &item, 0), -EINVAL);
    kin_imap_destroy(imap);
    ok(kin_pool_close(pool));
    fails(kin_pool_imap(pool, echo, pull, &in, NULL, &imap), KIN_ESTATE);
    ok(kin_pool_join(pool, KIN_FOREVER));
    kin_pool_destroy(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-imap");
    TCase *t = add_case(s, "imap");
    tcase_add_loop_test(t, all_results, 0, 2 * KINDS);
    tcase_add_loop_test(t, endless, 0, 2 * KINDS);
    tcase_add_loop_test(t, held_up, 0, KINDS);
    tcase_add_loop_test(t, terminated, 0, 2);
    tcase_add_test(t, limits);
    tcase_add_loop_test(t, bad_arguments, 0, KINDS);
    return s;
}

KIT_CHECK_MAIN(suite)
