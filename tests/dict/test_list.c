/* Shared lists: what each operation does, against a plain array; many at once; kills. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <kinfolk.h>

#include "shm/slot.h"
#include "store.h"

static kin_list *list;
static size_t blocks_before;

static void setup(void)
{
    blocks_before = live_blocks();
    ck_assert_int_eq(kin_list_create(NULL, &list), 0);
}

static void finish(void)
{
    kin__sweep(true);
    list = kin_list_destroy(list);
    ck_assert_uint_eq(live_blocks(), blocks_before);
}

static size_t size_of(void)
{
    size_t size;
    ck_assert_int_eq(kin_list_size(list, &size), 0);
    return size;
}

static int get(int64_t index)
{
    int value = -1;
    size_t size = sizeof value;
    int rc = kin_list_get(list, index, &value, &size);
    return rc < 0 ? rc : value;
}

START_TEST(test_basic)
{
    char buffer[8];
    size_t size = 1;
    ck_assert_int_eq(get(0), KIN_ENOTFOUND);
    ck_assert_int_eq(get(-1), KIN_ENOTFOUND);
    ck_assert_int_eq(kin_list_append(list, "two", 3), 0);
    ck_assert_int_eq(kin_list_insert(list, 0, "one", 3), 0);
    ck_assert_int_eq(kin_list_append(list, NULL, 0), 0);
    ck_assert_int_eq(kin_list_get(list, 1, buffer, &size), KIN_ETOOBIG);
    ck_assert_uint_eq(size, 3);
    ck_assert_int_eq(kin_list_get(list, 1, buffer, &size), 0);
    ck_assert_mem_eq(buffer, "two", 3);
    ck_assert_int_eq(kin_list_get(list, -3, buffer, &size), 0);
    ck_assert_mem_eq(buffer, "one", 3);
    ck_assert_int_eq(kin_list_get(list, -4, buffer, &size), KIN_ENOTFOUND);
    ck_assert_int_eq(kin_list_get(list, 3, buffer, &size), KIN_ENOTFOUND);
    ck_assert_int_eq(kin_list_set(list, -2, "drei", 4), 0);
    size = 3;
    ck_assert_int_eq(kin_list_pop(list, 1, buffer, &size), KIN_ETOOBIG);
    ck_assert_uint_eq(size_of(), 3);
    ck_assert_int_eq(kin_list_pop(list, 1, buffer, &size), 0);
    ck_assert_mem_eq(buffer, "drei", 4);
    ck_assert_int_eq(kin_list_pop(list, -1, buffer, &size), 0);
    ck_assert_uint_eq(size, 0);
    ck_assert_int_eq(kin_list_delete(list, 0), 0);
    ck_assert_int_eq(kin_list_delete(list, 0), KIN_ENOTFOUND);
    ck_assert_int_eq(kin_list_set(list, 0, "x", 1), KIN_ENOTFOUND);
    ck_assert_uint_eq(size_of(), 0);
}
END_TEST

/* Random operations, the same ones on a plain array of integers. */
START_TEST(test_against_array)
{
    enum { MOST = 3000, STEPS = 30000 };
    static int model[MOST];
    int count = 0;
    unsigned seed = (unsigned)_i + 1;
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1103515245u + 12345u;
        int what = (int)(seed >> 16) % 8, at = (int)(seed >> 4) % (count + 3) - 1;
        size_t size = sizeof step;
        int value = -1;
        bool valid = at >= -count && at < count;
        int place = at < 0 ? at + count : at;
        if (step % 10000 == 9999) {
            ck_assert_int_eq(kin_list_clear(list), 0);
            count = 0;
        } else if (what < 2 && count < MOST) {
            ck_assert_int_eq(kin_list_append(list, &step, sizeof step), 0);
            model[count++] = step;
        } else if (what < 5 && count < MOST) {
            place = place < 0 ? 0 : place > count ? count : place;
            ck_assert_int_eq(kin_list_insert(list, at, &step, sizeof step), 0);
            memmove(model + place + 1, model + place, (size_t)(count++ - place) * sizeof *model);
            model[place] = step;
        } else if (what == 5) {
            ck_assert_int_eq(kin_list_set(list, at, &step, sizeof step), valid ? 0 : KIN_ENOTFOUND);
            if (valid) {
                model[place] = step;
            }
        } else {
            ck_assert_int_eq(kin_list_pop(list, at, &value, &size), valid ? 0 : KIN_ENOTFOUND);
            if (valid) {
                ck_assert_int_eq(value, model[place]);
                memmove(model + place, model + place + 1,
                        (size_t)(--count - place) * sizeof *model);
            }
        }
        ck_assert_uint_eq(size_of(), (size_t)count);
        if (step % 2500 == 0) {
            for (int i = 0; i < count; i++) {
                ck_assert_int_eq(get(i), model[i]);
            }
        }
    }
}
END_TEST

START_TEST(test_both_ends)
{
    enum { N = 20000 };
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(kin_list_append(list, &i, sizeof i), 0);
    }
    for (int i = 0; i < N; i++) { /* first in, first out */
        int value;
        size_t size = sizeof value;
        ck_assert_int_eq(kin_list_pop(list, 0, &value, &size), 0);
        ck_assert_int_eq(value, i);
    }
    for (int i = 0; i < N / 4; i++) {
        ck_assert_int_eq(kin_list_insert(list, 0, &i, sizeof i), 0);
    }
    for (int i = 0; i < N / 4; i++) { /* and from the other end */
        ck_assert_int_eq(get(-1), i);
        ck_assert_int_eq(kin_list_delete(list, -1), 0);
    }
    ck_assert_uint_eq(size_of(), 0);
}
END_TEST

START_TEST(test_extend_and_clear)
{
    struct kin_list_item items[] = {{"a", 1}, {"", 0}, {"ccc", 3}};
    ck_assert_int_eq(kin_list_extend(list, items, 3), 3);
    ck_assert_int_eq(kin_list_extend(list, items, 0), 0);
    ck_assert_uint_eq(size_of(), 3);
    items[1].data = NULL;
    items[1].size = 7;
    ck_assert_int_eq(kin_list_extend(list, items, 3), 1); /* the second makes no sense */
    ck_assert_int_eq(kin_list_extend(list, items + 1, 1), -EINVAL);
    ck_assert_int_eq(kin_list_clear(list), 0);
    ck_assert_int_eq(kin_list_clear(list), 0);
    ck_assert_uint_eq(size_of(), 0);
    ck_assert_int_eq(kin_list_append(list, "x", 1), 0);
}
END_TEST

START_TEST(test_references)
{
    kin_ref ref;
    kin_list *second = NULL, *third = NULL;
    ck_assert_int_eq(kin_list_append(list, "x", 1), 0);
    ck_assert_int_eq(kin_list_ref(list, &ref), 0);
    ck_assert_int_eq(kin_list_attach(&ref, &second), 0);
    list = kin_list_destroy(list);
    list = second;
    ck_assert_uint_eq(size_of(), 1);
    list = kin_list_destroy(list);
    ck_assert_int_eq(kin_list_attach(&ref, &third), KIN_ESTALE);
    ck_assert_ptr_null(third);
    kin_queue *queue = NULL;
    kin_ref other;
    ck_assert_int_eq(kin_queue_create(NULL, &queue), 0);
    ck_assert_int_eq(kin_queue_ref(queue, &other), 0);
    ck_assert_int_eq(kin_list_attach(&other, &third), KIN_ETYPE);
    kin_queue_destroy(queue);
    ref.word[0] ^= 2;
    ck_assert_int_eq(kin_list_attach(&ref, &third), KIN_ENOFAMILY);
    ck_assert_ptr_null(third);
}
END_TEST

START_TEST(test_refusals)
{
    struct kin_list_options options = {.size = 1};
    kin_list *l = NULL;
    kin_ref ref;
    size_t size = 4;
    ck_assert_int_eq(kin_list_create(&options, &l), -EINVAL);
    ck_assert_int_eq(kin_list_create(NULL, NULL), -EINVAL);
    ck_assert_int_eq(kin_list_attach(NULL, &l), -EINVAL);
    ck_assert_int_eq(kin_list_ref(NULL, &ref), -EINVAL);
    ck_assert_int_eq(kin_list_ref(list, NULL), -EINVAL);
    ck_assert_int_eq(kin_list_append(NULL, "x", 1), -EINVAL);
    ck_assert_int_eq(kin_list_append(list, NULL, 1), -EINVAL);
    ck_assert_int_eq(kin_list_insert(list, 0, NULL, 1), -EINVAL);
    ck_assert_int_eq(kin_list_set(list, 0, NULL, 1), -EINVAL);
    ck_assert_int_eq(kin_list_get(list, 0, NULL, &size), -EINVAL);
    ck_assert_int_eq(kin_list_get(list, 0, &size, NULL), -EINVAL);
    ck_assert_int_eq(kin_list_pop(list, 0, NULL, &size), -EINVAL);
    ck_assert_int_eq(kin_list_delete(NULL, 0), -EINVAL);
    ck_assert_int_eq(kin_list_size(list, NULL), -EINVAL);
    ck_assert_int_eq(kin_list_clear(NULL), -EINVAL);
    ck_assert_ptr_null(kin_list_destroy(NULL));
    ck_assert_ptr_null(l);
    ck_assert_uint_eq(size_of(), 0);
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
    size_t elements = 0;
    int i = 0, rc = kin_list_create(NULL, &list);
    while (rc == 0 && i < 100) {
        big[0] = (char)i;
        rc = kin_list_append(list, big, sizeof big);
        i += rc == 0;
    }
    if (rc != KIN_EQUOTA || i < 4 || i > 8) {
        return 1;
    }
    if (kin_list_insert(list, 1, big, sizeof big) != KIN_EQUOTA ||
        kin_list_set(list, 1, big, sizeof big) != KIN_EQUOTA ||
        kin_list_size(list, &elements) != 0 || elements != (size_t)i) {
        return 2;
    }
    for (int k = 0; k < i; k++) {
        size_t size = sizeof big;
        if (kin_list_get(list, k, big, &size) != 0 || big[0] != k) {
            return 3;
        }
    }
    if (kin_list_delete(list, 0) != 0 || kin_list_append(list, big, sizeof big) != 0) {
        return 4;
    }
    kin_list_destroy(list);
    return 0;
}

/* --- many at once --------------------------------------------------------------------------- */

enum { WORKERS = 4, ROUNDS = 2000 };

/* An element is `length` bytes that all equal its length; a torn one shows. */
static void work(unsigned seed)
{
    unsigned char data[200];
    for (int i = 0; i < ROUNDS; i++) {
        seed = seed * 1103515245u + 12345u;
        size_t length = (seed >> 16) % 200, count = 0;
        int64_t at = (int64_t)(seed >> 8) % 400;
        memset(data, (int)length, length);
        int rc = 0;
        (void)kin_list_size(list, &count);
        switch (count > 600 ? 4 : seed % 5) {
        case 0:
            rc = kin_list_append(list, data, length);
            break;
        case 1:
            rc = kin_list_insert(list, at, data, length);
            break;
        case 2:
            rc = kin_list_set(list, at, data, length);
            break;
        default:
            length = sizeof data;
            rc = seed % 2 ? kin_list_get(list, at, data, &length)
                          : kin_list_pop(list, at, data, &length);
            for (size_t k = 0; rc == 0 && k < length; k++) {
                if (data[k] != length) {
                    abort();
                }
            }
        }
        if (rc < 0 && rc != KIN_ENOTFOUND) {
            abort();
        }
    }
}

START_TEST(test_threads)
{
    run_on_threads(work, WORKERS);
}
END_TEST

/* More threads than leases for all of them at once: they take turns. */
START_TEST(test_many_threads)
{
    run_on_threads(work, 48);
}
END_TEST

static void clear(void)
{
    ck_assert_int_eq(kin_list_clear(list), 0);
}

/* Nothing hangs, no element is torn, nothing leaks. */
START_TEST(test_storm)
{
    run_storm(work, clear);
}
END_TEST

static Suite *list_suite(void)
{
    Suite *suite = suite_create("list");
    TCase *one = tcase_create("one process"), *more = tcase_create("more processes");
    tcase_set_timeout(one, 60);
    tcase_add_checked_fixture(one, setup, finish);
    tcase_set_timeout(more, 60);
    tcase_add_checked_fixture(more, setup, finish);
    tcase_add_test(one, test_basic);
    tcase_add_loop_test(one, test_against_array, 0, 3);
    tcase_add_test(one, test_both_ends);
    tcase_add_test(one, test_extend_and_clear);
    tcase_add_test(one, test_references);
    tcase_add_test(one, test_refusals);
    tcase_add_test(more, test_quota);
    tcase_add_test(one, test_threads);
    tcase_add_test(one, test_many_threads);
    tcase_add_test(more, test_storm);
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, more);
    return suite;
}

int main(int argc, char **argv)
{
    return store_main(argc, argv, list_suite, quota_main);
}
