/* Pools without number, and pools that are terminated at any moment, leave nothing behind. */
#include "pool_kit.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>

enum { POOLS = 1000 };

static size_t count_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t lines = 0;
    for (int c; file != NULL && (c = getc(file)) != EOF;) {
        lines += c == '\n';
    }
    if (file != NULL) {
        fclose(file);
    }
    return lines;
}

static int count_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (readdir(tasks) != NULL) {
        count++;
    }
    closedir(tasks);
    return count;
}

struct traces {
    int fds, threads;
    size_t blocks, mappings, heap, children;
};

static struct traces look(void)
{
    char text[64] = "";
    FILE *file = fopen("/proc/thread-self/children", "r");
    size_t children = file == NULL ? 0 : fread(text, 1, sizeof text, file);
    if (file != NULL) {
        fclose(file);
    }
    return (struct traces){open_fds(), count_threads(), live_blocks(),
                           count_lines("/proc/self/maps"), mallinfo2().uordblks, children};
}

static void use(int kind, int i)
{
    kin_pool *pool = pool_of(kind, 1 + i % 2);
    int items[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, i}, results[10];
    kin_future *future = NULL;
    switch (i % 4) {
    case 0:
        ok(kin_pool_map(pool, twice, items, 10, sizeof(int), results, sizeof(int), NULL));
        ck_assert_int_eq(results[9], 2 * i);
        break;
    case 1:
        ok(kin_pool_apply(pool, echo, "reply", 5, NULL, NULL, NULL, NULL));
        break;
    case 2:
        ok(kin_pool_submit(pool, echo, "reply", 5, NULL, &future));
        break;
    }
    if (i % 8 < 4) {
        finish_pool(pool);
    } else {
        kin_pool_destroy(pool);
    }
    kin_future_destroy(future);
}

START_TEST(many_pools)
{
    for (int i = 0; i < 40; i++) {
        use(_i, i); /* what is made once for all */
    }
    struct traces before = look();
    for (int i = 0; i < POOLS; i++) {
        use(_i, i);
    }
    struct traces after = look();
    ck_assert_int_eq(after.fds, before.fds);
    ck_assert_int_eq(after.threads, before.threads);
    ck_assert_uint_eq(after.blocks, before.blocks);
    ck_assert_uint_eq(after.children, before.children);
    if (!KIT_UNDER_ASAN) {
        ck_assert_uint_le(after.mappings, before.mappings + 4); /* stacks that the C library keeps */
        ck_assert_uint_le(after.heap, before.heap + 16 * POOLS); /* not one small block a pool */
    }
}
END_TEST

static void *terminate_soon(void *arg)
{
    kin_pool *pool = ((void **)arg)[0];
    for (volatile int i = *(int *)((void **)arg)[1]; i > 0; i--) {
    }
    kin_pool_terminate(pool);
    return NULL;
}

static int pull_endlessly(void *arg, const void **ret_item, size_t *ret_size)
{
    *ret_item = arg;
    *ret_size = 3000;
    return 1;
}

/* While a map, tasks or an iterator run, whose arguments and replies are blocks of the arena. */
START_TEST(terminated_at_random)
{
    unsigned seed = 20261126;
    static char bytes[3000];
    struct traces before = {0};
    for (int round = 0; round < 150; round++) {
        kin_pool *pool = pool_of(_i, 2);
        int delay = (int)(rand_r(&seed) % 2000000);
        void *args[2] = {pool, &delay};
        pthread_t thread;
        pthread_create(&thread, NULL, terminate_soon, args);
        int rc = 0;
        if (round % 3 == 0) {
            static int items[100000], results[100000];
            while (rc == 0) {
                rc = kin_pool_map(pool, twice, items, 100000, sizeof(int), results, sizeof(int), NULL);
            }
        } else if (round % 3 == 1) {
            while (rc == 0) {
                rc = kin_pool_apply(pool, echo, bytes, sizeof bytes, NULL, NULL, NULL, NULL);
            }
        } else {
            kin_imap *imap;
            struct kin_imap_item item;
            rc = kin_pool_imap(pool, echo, pull_endlessly, bytes, NULL, &imap);
            while (rc == 0 && (rc = kin_imap_next(imap, &item, KIN_FOREVER)) == 1) {
                rc = 0;
            }
            if (rc != KIN_ESTATE) {
                kin_imap_destroy(imap);
            }
        }
        ck_assert_msg(rc == KIN_ECANCELLED || rc == KIN_ESTATE, "round %d: %s", round,
                      kin_err_name(rc));
        pthread_join(thread, NULL);
        kin_pool_destroy(pool);
        if (round == 20) {
            before = look();
        }
    }
    struct traces after = look();
    ck_assert_int_eq(after.fds, before.fds);
    ck_assert_int_eq(after.threads, before.threads);
    ck_assert_uint_eq(after.blocks, before.blocks);
    ck_assert_uint_eq(after.children, before.children);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-leak");
    TCase *t = add_case(s, "leak");
    tcase_set_timeout(t, 150);
    tcase_add_loop_test(t, many_pools, 0, KINDS);
    tcase_add_loop_test(t, terminated_at_random, 0, KINDS);
    return s;
}

KIT_CHECK_MAIN(suite)
