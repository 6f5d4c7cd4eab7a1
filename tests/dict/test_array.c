/* Shared values and arrays: contents, locks, handles, deaths. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "shm/slot.h"

static uint64_t blocks(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin__enter(), 0);
    kin__sweep(true);
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    return stats.blocks + stats.objects;
}

static kin_array *make(size_t count, const void *items, int raw)
{
    struct kin_array_options options = KIN_ARRAY_OPTIONS_INIT;
    options.raw = raw;
    kin_array *array = NULL;
    ck_assert_int_eq(kin_array_create(count, sizeof(int64_t), items, &options, &array), 0);
    return array;
}

START_TEST(contents)
{
    static const int64_t items[] = {1, -2, 3};
    uint64_t before = blocks();
    kin_array *array = make(3, items, _i), *zero = make(1000, NULL, _i);
    int64_t item = 0;
    ck_assert_uint_eq(kin_array_count(array), 3);
    ck_assert_uint_eq(kin_array_item_size(array), sizeof item);
    ck_assert_mem_eq(kin_array_data(array), items, sizeof items);
    ck_assert_uint_eq((uintptr_t)kin_array_data(array) % 64, 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(((int64_t *)kin_array_data(zero))[i], 0);
    }
    ck_assert_int_eq(kin_array_get(array, 1, &item), 0);
    ck_assert_int_eq(item, -2);
    item = 7;
    ck_assert_int_eq(kin_array_set(array, 2, &item), 0);
    ck_assert_int_eq(((int64_t *)kin_array_data(array))[2], 7);
    ck_assert_int_eq(kin_array_get(array, 3, &item), -ERANGE);
    ck_assert_int_eq(kin_array_set(array, SIZE_MAX, &item), -ERANGE);
    ck_assert_int_eq(item, 7);
    ck_assert_int_eq(kin_array_lock(array, 0), _i == 0 ? 0 : KIN_ESTATE);
    ck_assert_int_eq(kin_array_unlock(array), _i == 0 ? 0 : KIN_ESTATE);
    ck_assert_ptr_null(kin_array_destroy(array));
    ck_assert_ptr_null(kin_array_destroy(zero));
    ck_assert_uint_eq(blocks(), before);
}
END_TEST

START_TEST(bad_input)
{
    uint64_t before = blocks();
    kin_array *array = NULL;
    kin_rlock *lock = NULL;
    int item = 0;
    ck_assert_int_eq(kin_array_create(0, 1, NULL, NULL, &array), -EINVAL);
    ck_assert_int_eq(kin_array_create(1, 0, NULL, NULL, &array), -EINVAL);
    ck_assert_int_eq(kin_array_create(1, 1, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(kin_array_create(SIZE_MAX, 2, NULL, NULL, &array), KIN_EQUOTA);
    ck_assert_int_eq(kin_array_create(SIZE_MAX / 4, 2, NULL, NULL, &array), KIN_EQUOTA);
    ck_assert_int_eq(kin_rlock_create(NULL, &lock), 0);
    struct kin_array_options options = {sizeof options, 1, lock};
    ck_assert_int_eq(kin_array_create(1, 1, NULL, &options, &array), -EINVAL);
    options.size = 3;
    ck_assert_int_eq(kin_array_create(1, 1, NULL, &options, &array), -EINVAL);
    ck_assert_ptr_null(array);
    kin_ref ref;
    ck_assert_int_eq(kin_rlock_ref(lock, &ref), 0);
    ck_assert_int_eq(kin_array_attach(&ref, &array), KIN_ETYPE);
    ck_assert_int_eq(kin_array_attach(NULL, &array), -EINVAL);
    ck_assert_ptr_null(kin_array_data(NULL));
    ck_assert_uint_eq(kin_array_count(NULL), 0);
    ck_assert_uint_eq(kin_array_item_size(NULL), 0);
    ck_assert_int_eq(kin_array_get(NULL, 0, &item), -EINVAL);
    ck_assert_int_eq(kin_array_set(NULL, 0, &item), -EINVAL);
    ck_assert_int_eq(kin_array_lock(NULL, 0), -EINVAL);
    ck_assert_int_eq(kin_array_unlock(NULL), -EINVAL);
    ck_assert_int_eq(kin_array_ref(NULL, &ref), -EINVAL);
    array = make(1, NULL, 0);
    ck_assert_int_eq(kin_array_get(array, 0, NULL), -EINVAL);
    ck_assert_int_eq(kin_array_set(array, 0, NULL), -EINVAL);
    ck_assert_int_eq(kin_array_ref(array, NULL), -EINVAL);
    ck_assert_int_eq(kin_array_unlock(array), KIN_ENOTOWNER);
    ck_assert_int_eq(kin_array_ref(array, &ref), 0);
    kin_array *dead = array;
    kin_array_destroy(array);
    ck_assert_int_eq(kin_array_attach(&ref, &array), KIN_ESTALE);
    ck_assert_int_eq(kin_array_get(dead, 0, &item), KIN_ESTALE);
    kin_rlock_destroy(lock);
    ck_assert_uint_eq(blocks(), before);
}
END_TEST

#define ROUNDS 2000
#define WORKERS 4

struct args {
    kin_ref ref;
};

static void add(struct kit_worker *me)
{
    struct args *args = me->arg;
    kin_array *array = NULL;
    kit_assert_ok(kin_array_attach(&args->ref, &array));
    int64_t *items = kin_array_data(array);
    for (int i = 0; i < ROUNDS; i++) {
        kit_assert_ok(kin_array_lock(array, KIN_FOREVER));
        items[0]++;
        items[1 + me->index] = items[0];
        kit_assert_ok(kin_array_unlock(array));
    }
    kin_array_destroy(array);
}

START_TEST(counts)
{
    uint64_t before = blocks();
    kin_array *array = make(1 + WORKERS, NULL, 0);
    struct args args;
    ck_assert_int_eq(kin_array_ref(array, &args.ref), 0);
    kit_run(kit_mode_at(_i), WORKERS, add, &args, sizeof args);
    int64_t total = 0, last = 0, most = 0;
    ck_assert_int_eq(kin_array_get(array, 0, &total), 0);
    ck_assert_int_eq(total, ROUNDS * WORKERS);
    for (size_t i = 1; i <= WORKERS; i++) {
        ck_assert_int_eq(kin_array_get(array, i, &last), 0);
        most = last > most ? last : most;
    }
    ck_assert_int_eq(most, total);
    kin_array_destroy(array);
    ck_assert_uint_eq(blocks(), before);
}
END_TEST

/* Two arrays under one lock, which outlives the maker's own handle of it. */
START_TEST(common_lock)
{
    uint64_t before = blocks();
    struct kin_array_options options = KIN_ARRAY_OPTIONS_INIT;
    kin_array *one = NULL, *two = NULL;
    ck_assert_int_eq(kin_rlock_create(NULL, &options.rlock), 0);
    ck_assert_int_eq(kin_array_create(1, 1, NULL, &options, &one), 0);
    ck_assert_int_eq(kin_array_create(1, 1, "x", &options, &two), 0);
    kin_rlock_destroy(options.rlock);
    ck_assert_int_eq(kin_array_lock(one, 0), 0);
    /* Recursive: this thread holds the other's as well. */
    ck_assert_int_eq(kin_array_unlock(two), 0);
    ck_assert_int_eq(kin_array_unlock(one), KIN_ENOTOWNER);
    kin_array_destroy(one);
    ck_assert_int_eq(kin_array_lock(two, 0), 0);
    ck_assert_int_eq(kin_array_unlock(two), 0);
    kin_array_destroy(two);
    ck_assert_uint_eq(blocks(), before);
}
END_TEST

START_TEST(owner_dies)
{
    kin_array *array = make(1, NULL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        kin_array_lock(array, KIN_FOREVER);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    int64_t item = 5;
    ck_assert_int_eq(kin_array_set(array, 0, &item), KIN_RECOVERED);
    item = 0;
    ck_assert_int_eq(kin_array_get(array, 0, &item), 0);
    ck_assert_int_eq(item, 5);
    kin_array_destroy(array);
}
END_TEST

/* The maker dies: the array lives as long as anybody holds it, and no longer. */
START_TEST(last_holder_dies)
{
    uint64_t before = blocks();
    kin_array *array = make(100000, NULL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        int64_t item = 9;
        kin_array_set(array, 99999, &item);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    kin__sweep(true);
    ck_assert_int_eq(((int64_t *)kin_array_data(array))[99999], 9);
    kin_array_destroy(array);
    pid = fork();
    if (pid == 0) {
        make(100000, NULL, 0);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_uint_eq(blocks(), before);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("array");
    TCase *one = tcase_create("one process"), *more = tcase_create("more processes");
    tcase_set_timeout(one, 60);
    tcase_set_timeout(more, 60);
    tcase_add_loop_test(one, contents, 0, 2);
    tcase_add_test(one, bad_input);
    kit_add_modes(more, counts);
    tcase_add_test(one, common_lock);
    tcase_add_test(more, owner_dies);
    tcase_add_test(more, last_holder_dies);
    suite_add_tcase(s, one);
    suite_add_tcase(s, more);
    return s;
}

KIT_CHECK_MAIN(suite)
