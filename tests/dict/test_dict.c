/* Shared dictionaries: what each operation does, in one process, in threads and in forked ones. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <kinfolk.h>

#include "shm/slot.h"
#include "store.h"

static kin_dict *dict;
static size_t blocks_before;

static void setup(void)
{
    blocks_before = live_blocks();
    ck_assert_int_eq(kin_dict_create(NULL, &dict), 0);
}

/* Whatever a test did, nothing of the dictionary is left behind. */
static void finish(void)
{
    kin__sweep(true); /* children that nobody of the library reaped hold it still */
    dict = kin_dict_destroy(dict);
    ck_assert_uint_eq(live_blocks(), blocks_before);
}

static void set(const char *key, const char *value)
{
    ck_assert_int_eq(kin_dict_set(dict, key, strlen(key), value, strlen(value)), 0);
}

static void check_value(const char *key, const char *value)
{
    char buffer[256];
    size_t size = sizeof buffer;
    ck_assert_int_eq(kin_dict_get(dict, key, strlen(key), buffer, &size), 0);
    ck_assert_uint_eq(size, strlen(value));
    ck_assert_mem_eq(buffer, value, size);
}

static size_t size_of(kin_dict *d)
{
    size_t size;
    ck_assert_int_eq(kin_dict_size(d, &size), 0);
    return size;
}

START_TEST(test_basic)
{
    char buffer[8];
    size_t size = sizeof buffer;
    ck_assert_int_eq(kin_dict_get(dict, "a", 1, buffer, &size), KIN_ENOTFOUND);
    ck_assert_uint_eq(size, sizeof buffer);
    set("a", "one");
    set("b", "two");
    check_value("a", "one");
    set("a", "three");
    check_value("a", "three");
    check_value("b", "two");
    ck_assert_uint_eq(size_of(dict), 2);
    ck_assert_int_eq(kin_dict_contains(dict, "a", 1), 1);
    ck_assert_int_eq(kin_dict_contains(dict, "c", 1), 0);
    ck_assert_int_eq(kin_dict_delete(dict, "a", 1), 0);
    ck_assert_int_eq(kin_dict_delete(dict, "a", 1), KIN_ENOTFOUND);
    ck_assert_int_eq(kin_dict_contains(dict, "a", 1), 0);
    ck_assert_int_eq(kin_dict_insert(dict, "a", 1, "x", 1), 1);
    ck_assert_int_eq(kin_dict_insert(dict, "a", 1, "y", 1), 0);
    check_value("a", "x");
    ck_assert_int_eq(kin_dict_pop(dict, "a", 1, buffer, &size), 0);
    ck_assert_uint_eq(size, 1);
    ck_assert_int_eq(buffer[0], 'x');
    ck_assert_int_eq(kin_dict_pop(dict, "a", 1, buffer, &size), KIN_ENOTFOUND);
    ck_assert_uint_eq(size_of(dict), 1);
}
END_TEST

START_TEST(test_sizes)
{
    /* Empty keys and values, bytes of any kind, values of any size; too small a room. */
    static char big[3 << 20], back[sizeof big];
    size_t size = 0;
    ck_assert_int_eq(kin_dict_set(dict, NULL, 0, NULL, 0), 0);
    ck_assert_int_eq(kin_dict_get(dict, "", 0, NULL, &size), 0);
    ck_assert_uint_eq(size, 0);
    ck_assert_int_eq(kin_dict_set(dict, "\0\1", 2, "\0", 1), 0);
    ck_assert_int_eq(kin_dict_contains(dict, "\0", 1), 0);
    for (size_t n = 1; n <= sizeof big; n = n * 3 + 1) {
        memset(big, (int)n, n);
        ck_assert_int_eq(kin_dict_set(dict, big, n, big, n), 0);
        size = n - 1;
        ck_assert_int_eq(kin_dict_get(dict, big, n, back, &size), KIN_ETOOBIG);
        ck_assert_uint_eq(size, n);
        ck_assert_int_eq(kin_dict_get(dict, big, n, back, &size), 0);
        ck_assert_mem_eq(back, big, n);
        size = n - 1;
        ck_assert_int_eq(kin_dict_pop(dict, big, n, back, &size), KIN_ETOOBIG);
        size = sizeof back;
        ck_assert_int_eq(kin_dict_pop(dict, big, n, back, &size), 0);
        ck_assert_uint_eq(size, n);
        ck_assert_mem_eq(back, big, n);
    }
    ck_assert_uint_eq(size_of(dict), 2);
}
END_TEST

START_TEST(test_grows)
{
    enum { N = 20000 };
    static const size_t stripes[] = {1, 2, 8, 64};
    struct kin_dict_options options = KIN_DICT_OPTIONS_INIT;
    options.stripes = stripes[_i];
    options.expected = _i == 2 ? N : 0;
    kin_dict *d;
    ck_assert_int_eq(kin_dict_create(&options, &d), 0);
    for (int i = 0; i < N; i++) {
        int square = i * i;
        ck_assert_int_eq(kin_dict_set(d, &i, sizeof i, &square, sizeof square), 0);
    }
    ck_assert_uint_eq(size_of(d), N);
    for (int i = 0; i < N; i += 2) { /* leaves tombs */
        ck_assert_int_eq(kin_dict_delete(d, &i, sizeof i), 0);
    }
    for (int round = 0; round < 5; round++) { /* churn: tombs must not fill the tables */
        for (int i = N; i < N + 2000; i++) {
            ck_assert_int_eq(kin_dict_set(d, &i, sizeof i, &round, sizeof round), 0);
        }
        for (int i = N; i < N + 2000; i++) {
            ck_assert_int_eq(kin_dict_delete(d, &i, sizeof i), 0);
        }
    }
    ck_assert_uint_eq(size_of(d), N / 2);
    for (int i = 0; i < N; i++) {
        int square = 0;
        size_t size = sizeof square;
        ck_assert_int_eq(kin_dict_get(d, &i, sizeof i, &square, &size),
                         i % 2 ? 0 : KIN_ENOTFOUND);
        ck_assert_int_eq(square, i % 2 ? i * i : 0);
    }
    ck_assert_int_eq(kin_dict_clear(d), 0);
    ck_assert_uint_eq(size_of(d), 0);
    ck_assert_int_eq(kin_dict_set(d, "a", 1, "b", 1), 0);
    ck_assert_uint_eq(size_of(d), 1);
    kin_dict_destroy(d);
}
END_TEST

START_TEST(test_compare_set)
{
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "x", 1, "y", 1), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, NULL, 0, NULL, 0), 1);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, NULL, 0, "x", 1), 1);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, NULL, 0, "z", 1), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, NULL, 0, NULL, 0), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "", 0, "z", 1), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "xx", 2, "z", 1), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "x", 1, "", 0), 1);
    check_value("k", "");
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "x", 1, NULL, 0), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "", 0, NULL, 0), 1);
    ck_assert_int_eq(kin_dict_contains(dict, "k", 1), 0);
    ck_assert_int_eq(kin_dict_compare_set(dict, "k", 1, "", 0, NULL, 0), 0);
}
END_TEST

START_TEST(test_add)
{
    int64_t sum = 7, max = INT64_MAX;
    size_t size = sizeof sum;
    ck_assert_int_eq(kin_dict_add(dict, "n", 1, 5, NULL), 0);
    ck_assert_int_eq(kin_dict_add(dict, "n", 1, -8, &sum), 0);
    ck_assert_int_eq(sum, -3);
    ck_assert_int_eq(kin_dict_get(dict, "n", 1, &sum, &size), 0);
    ck_assert_int_eq(sum, -3);
    ck_assert_int_eq(kin_dict_set(dict, "n", 1, &max, sizeof max), 0);
    ck_assert_int_eq(kin_dict_add(dict, "n", 1, 1, &sum), -ERANGE);
    ck_assert_int_eq(sum, -3);
    set("text", "x");
    ck_assert_int_eq(kin_dict_add(dict, "text", 4, 1, NULL), KIN_ETYPE);
}
END_TEST

static int append_x(const void *value, size_t size, struct kin_dict_value *ret_value, void *arg)
{
    static _Thread_local char buffer[1024];
    const char *mode = arg;
    if (*mode == 'k') {
        return KIN_DICT_KEEP;
    }
    if (*mode == 'r') {
        return KIN_DICT_REMOVE;
    }
    if (*mode == 'e') {
        return -EDOM;
    }
    if (size > 0) {
        memcpy(buffer, value, size);
    }
    buffer[size] = 'x';
    ret_value->data = buffer;
    ret_value->size = size + 1;
    return 0;
}

START_TEST(test_update)
{
    char mode[] = "a";
    ck_assert_int_eq(kin_dict_update(dict, "u", 1, append_x, mode), 0);
    ck_assert_int_eq(kin_dict_update(dict, "u", 1, append_x, mode), 0);
    check_value("u", "xx");
    *mode = 'k';
    ck_assert_int_eq(kin_dict_update(dict, "u", 1, append_x, mode), 0);
    *mode = 'e';
    ck_assert_int_eq(kin_dict_update(dict, "u", 1, append_x, mode), -EDOM);
    check_value("u", "xx");
    *mode = 'r';
    ck_assert_int_eq(kin_dict_update(dict, "u", 1, append_x, mode), 0);
    ck_assert_int_eq(kin_dict_update(dict, "u", 1, append_x, mode), 0);
    ck_assert_int_eq(kin_dict_contains(dict, "u", 1), 0);
}
END_TEST

START_TEST(test_cursor)
{
    enum { N = 3000 };
    static int seen[N];
    kin_dict_cursor *cursor;
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(kin_dict_set(dict, &i, sizeof i, &i, sizeof i), 0);
    }
    ck_assert_int_eq(kin_dict_cursor_create(dict, &cursor), 0);
    for (int steps = 0;; steps++) {
        int key, value;
        uint64_t order;
        size_t key_size = 1, value_size = sizeof value;
        int rc = kin_dict_cursor_next(cursor, &key, &key_size, &value, &value_size);
        if (rc == 0) {
            break;
        }
        ck_assert_int_eq(rc, KIN_ETOOBIG);
        ck_assert_uint_eq(key_size, sizeof key);
        ck_assert_int_eq(kin_dict_cursor_next(cursor, &key, &key_size, &value, &value_size), 1);
        ck_assert_int_ge(key, 0);
        ck_assert_int_lt(key, N);
        seen[key]++;
        ck_assert(value == key || value == -key);
        ck_assert_int_eq(kin_dict_cursor_order(cursor, &order), 0);
        ck_assert_uint_eq(order, (unsigned)key);
        /* Changes behind the cursor's back: replaced, removed, added, moved by growth. */
        int other = (key * 7 + steps) % N, minus = -other, new = N + steps;
        if (other % 3 == 0) {
            ck_assert_int_eq(kin_dict_set(dict, &other, sizeof other, &minus, sizeof minus), 0);
        } else if (other % 3 == 1) {
            int rc2 = kin_dict_delete(dict, &other, sizeof other);
            ck_assert(rc2 == 0 || rc2 == KIN_ENOTFOUND);
        }
        if (steps < 100) { /* these are removed before the cursor can meet many of them */
            ck_assert_int_eq(kin_dict_set(dict, &new, sizeof new, &new, sizeof new), 0);
            ck_assert_int_eq(kin_dict_delete(dict, &new, sizeof new), 0);
        }
    }
    ck_assert_ptr_null(kin_dict_cursor_destroy(cursor));
    for (int i = 0; i < N; i++) {
        ck_assert_int_le(seen[i], 1);
        if (i % 3 != 1) {
            ck_assert_msg(seen[i] == 1, "%d", i);
        }
    }
}
END_TEST

START_TEST(test_keys_only_cursor)
{
    kin_dict_cursor *cursor;
    char key[8];
    size_t key_size = sizeof key;
    set("only", "value");
    ck_assert_int_eq(kin_dict_cursor_create(dict, &cursor), 0);
    ck_assert_int_eq(kin_dict_cursor_next(cursor, key, &key_size, NULL, NULL), 1);
    ck_assert_uint_eq(key_size, 4);
    ck_assert_mem_eq(key, "only", 4);
    ck_assert_int_eq(kin_dict_cursor_next(cursor, key, &key_size, NULL, NULL), 0);
    ck_assert_int_eq(kin_dict_cursor_next(cursor, key, &key_size, NULL, NULL), 0);
    kin_dict_cursor_destroy(cursor);
    ck_assert_ptr_null(kin_dict_cursor_destroy(NULL));
}
END_TEST

START_TEST(test_references)
{
    kin_ref ref, other;
    kin_dict *second = NULL, *third = NULL;
    kin_queue *queue = NULL;
    ck_assert_int_eq(kin_dict_ref(dict, &ref), 0);
    ck_assert_int_eq(kin_dict_attach(&ref, &second), 0);
    set("a", "b");
    ck_assert_int_eq(kin_dict_contains(second, "a", 1), 1);
    dict = kin_dict_destroy(dict);
    ck_assert_int_eq(kin_dict_contains(second, "a", 1), 1);
    kin_dict_destroy(second);
    ck_assert_int_eq(kin_dict_attach(&ref, &third), KIN_ESTALE);
    ck_assert_int_eq(kin_queue_create(NULL, &queue), 0);
    ck_assert_int_eq(kin_queue_ref(queue, &other), 0);
    ck_assert_int_eq(kin_dict_attach(&other, &third), KIN_ETYPE);
    kin_queue_destroy(queue);
    ref.word[0] ^= 2;
    ck_assert_int_eq(kin_dict_attach(&ref, &third), KIN_ENOFAMILY);
    ck_assert_ptr_null(third);
}
END_TEST

START_TEST(test_refusals)
{
    struct kin_dict_options options = KIN_DICT_OPTIONS_INIT;
    kin_dict *d = NULL;
    size_t size = 4;
    options.stripes = 3;
    ck_assert_int_eq(kin_dict_create(&options, &d), -EINVAL);
    options.stripes = 128;
    ck_assert_int_eq(kin_dict_create(&options, &d), -EINVAL);
    ck_assert_int_eq(kin_dict_create(NULL, NULL), -EINVAL);
    ck_assert_int_eq(kin_dict_set(NULL, "a", 1, "b", 1), -EINVAL);
    ck_assert_int_eq(kin_dict_set(dict, NULL, 1, "b", 1), -EINVAL);
    ck_assert_int_eq(kin_dict_set(dict, "a", 1, NULL, 1), -EINVAL);
    ck_assert_int_eq(kin_dict_get(dict, "a", 1, NULL, &size), -EINVAL);
    ck_assert_int_eq(kin_dict_get(dict, "a", 1, &size, NULL), -EINVAL);
    ck_assert_int_eq(kin_dict_update(dict, "a", 1, NULL, NULL), -EINVAL);
    ck_assert_int_eq(kin_dict_compare_set(dict, "a", 1, NULL, 1, NULL, 0), -EINVAL);
    ck_assert_ptr_null(kin_dict_destroy(NULL));
    ck_assert_ptr_null(d);
}
END_TEST

/* A full arena refuses, and everything that was there is still right. */
START_TEST(test_quota)
{
    run_with_little_room();
}
END_TEST

static int quota_main(void)
{
    static char big[1 << 20];
    kin_dict *d;
    int i = 0, rc = kin_dict_create(NULL, &d);
    while (rc == 0 && i < 100) {
        big[0] = (char)i;
        rc = kin_dict_set(d, &i, sizeof i, big, sizeof big);
        i += rc == 0;
    }
    if (rc != KIN_EQUOTA || i < 4 || i > 8) {
        return 1;
    }
    for (int k = 0; k < i; k++) {
        size_t size = sizeof big;
        if (kin_dict_get(d, &k, sizeof k, big, &size) != 0 || big[0] != k) {
            return 2;
        }
    }
    int k = 0;
    if (kin_dict_delete(d, &k, sizeof k) != 0 || kin_dict_set(d, "x", 1, big, sizeof big) != 0) {
        return 3;
    }
    kin_dict_destroy(d);
    return 0;
}

/* --- many at once --------------------------------------------------------------------------- */

enum { WORKERS = 4, ROUNDS = 1500, KEYS = 24 };

/* What every worker does; the sums tell whether each step was atomic. */
static void work(unsigned seed)
{
    char mode[] = "a";
    for (int i = 0; i < ROUNDS; i++) {
        seed = seed * 1103515245u + 12345u;
        int key = (int)(seed >> 16) % KEYS;
        char value[512];
        size_t size = sizeof value;
        switch ((seed >> 8) % 7) {
        case 0:
            memset(value, key, sizeof value);
            if (kin_dict_set(dict, &key, sizeof key, value, (size_t)(seed >> 20) % 500) != 0) {
                abort();
            }
            break;
        case 1:
        case 2:
            if (kin_dict_get(dict, &key, sizeof key, value, &size) == 0) {
                for (size_t k = 0; k < size; k++) {
                    if (value[k] != key) {
                        abort();
                    }
                }
            }
            break;
        case 3:
            (void)kin_dict_pop(dict, &key, sizeof key, value, &size);
            break;
        case 4:
            if (kin_dict_update(dict, "word", 4, append_x, mode) != 0) {
                abort();
            }
            size = sizeof value;
            if (kin_dict_get(dict, "word", 4, value, &size) == 0 && size > 400) {
                (void)kin_dict_compare_set(dict, "word", 4, value, size, "", 0);
            }
            break;
        default:
            break;
        }
        if (kin_dict_add(dict, "sum", 3, 1, NULL) != 0) {
            abort();
        }
    }
}

static void check_sum(int64_t expect)
{
    int64_t sum = 0;
    size_t size = sizeof sum;
    ck_assert_int_eq(kin_dict_get(dict, "sum", 3, &sum, &size), 0);
    ck_assert_int_eq(sum, expect);
}

START_TEST(test_threads)
{
    run_on_threads(work, WORKERS);
    check_sum(WORKERS * ROUNDS);
}
END_TEST

START_TEST(test_processes)
{
    pid_t pid[WORKERS];
    int status;
    for (unsigned i = 0; i < WORKERS; i++) {
        pid[i] = start_worker(work, i, false);
    }
    for (int i = 0; i < WORKERS; i++) {
        ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
        ck_assert_int_eq(status, 0);
    }
    check_sum(WORKERS * ROUNDS);
}
END_TEST

static void clear(void)
{
    ck_assert_int_eq(kin_dict_clear(dict), 0);
}

/* Nothing hangs, no value is torn, nothing leaks. */
START_TEST(test_storm)
{
    run_storm(work, clear);
}
END_TEST

static Suite *dict_suite(void)
{
    Suite *suite = suite_create("dict");
    TCase *one = tcase_create("one process"), *more = tcase_create("more processes");
    tcase_set_timeout(one, 60);
    tcase_add_checked_fixture(one, setup, finish);
    tcase_set_timeout(more, 60);
    tcase_add_checked_fixture(more, setup, finish);
    tcase_add_test(one, test_basic);
    tcase_add_test(one, test_sizes);
    tcase_add_loop_test(one, test_grows, 0, 4);
    tcase_add_test(one, test_compare_set);
    tcase_add_test(one, test_add);
    tcase_add_test(one, test_update);
    tcase_add_test(one, test_cursor);
    tcase_add_test(one, test_keys_only_cursor);
    tcase_add_test(one, test_references);
    tcase_add_test(one, test_refusals);
    tcase_add_test(more, test_quota);
    tcase_add_test(one, test_threads);
    tcase_add_test(more, test_processes);
    tcase_add_test(more, test_storm);
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, more);
    return suite;
}

int main(int argc, char **argv)
{
    return store_main(argc, argv, dict_suite, quota_main);
}
