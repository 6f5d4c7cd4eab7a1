/* Queues: batches, and messages in place (reserve and commit, peek and release). */
#include <check.h>
#include <errno.h>
#include <kinfolk.h>
#include <stdlib.h>
#include <string.h>

#include "kit/modes.h"
#include "shm/slot.h"
#include "team.h"

static kin_queue *create(size_t capacity)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = capacity;
    kin_queue *queue = NULL;
    ck_assert_int_eq(kin_queue_create(&options, &queue), 0);
    return queue;
}

static uint64_t blocks(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin__enter(), 0);
    kin__sweep(true);
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    return stats.blocks;
}

static uint64_t messages(kin_queue *queue)
{
    size_t count = 0;
    ck_assert_int_eq(kin_queue_size(queue, &count), 0);
    return count;
}

START_TEST(a_batch_goes_in_and_out_in_order)
{
    kin_queue *queue = create(0);
    static char data[1000][700];
    struct kin_queue_item in[1000], out[1000];
    for (int i = 0; i < 1000; i++) {
        /* Mostly small, every 50th large, some empty. */
        in[i] = (struct kin_queue_item){data[i], i % 50 == 49 ? 700 : (size_t)(i * 7 % 257)};
        memset(data[i], i & 0xff, sizeof data[i]);
    }
    ck_assert_int_eq(kin_queue_put_many(queue, in, 1000, 0), 1000);
    ck_assert_uint_eq(messages(queue), 1000);
    char *room = malloc(1 << 20);
    int got = 0;
    while (got < 1000) {
        int rc = kin_queue_get_many(queue, room, 1 << 20, out, 1000, 0);
        ck_assert_int_gt(rc, 0);
        for (int i = 0; i < rc; i++) {
            ck_assert_uint_eq(out[i].size, in[got + i].size);
            ck_assert_uint_eq(((uintptr_t)out[i].data - (uintptr_t)room) % 16, 0);
            ck_assert(memcmp(out[i].data, in[got + i].data, out[i].size) == 0);
        }
        got += rc;
    }
    ck_assert_int_eq(kin_queue_get_many(queue, room, 1 << 20, out, 1000, 0), -ETIMEDOUT);
    free(room);
    kin_queue_destroy(queue);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

START_TEST(a_batch_stops_where_it_is_full)
{
    kin_queue *queue = create(10);
    struct kin_queue_item items[15], out[15];
    for (int i = 0; i < 15; i++) {
        items[i] = (struct kin_queue_item){&"0123456789abcde"[i], 1};
    }
    ck_assert_int_eq(kin_queue_put_many(queue, items, 15, 0), 10);
    ck_assert_int_eq(kin_queue_put_many(queue, items, 15, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_queue_put_many(queue, items, 15, 1000000), -ETIMEDOUT);
    char room[64];
    /* Room for four: each begins at a multiple of 16. */
    ck_assert_int_eq(kin_queue_get_many(queue, room, 64, out, 15, 0), 4);
    ck_assert_int_eq(((const char *)out[3].data)[0], '3');
    ck_assert_int_eq(kin_queue_get_many(queue, room, 0, out, 15, 0), KIN_ETOOBIG);
    ck_assert_uint_eq(out[0].size, 1);
    ck_assert_int_eq(kin_queue_get_many(queue, room, 49, out, 15, 0), 4);
    ck_assert_int_eq(((const char *)out[0].data)[0], '4');
    ck_assert_int_eq(kin_queue_get_many(queue, room, 1, out, 15, 0), 1);
    ck_assert_int_eq(((const char *)out[0].data)[0], '8');
    ck_assert_uint_eq(messages(queue), 1);
    ck_assert_int_eq(kin_queue_put_many(queue, NULL, 1, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_put_many(queue, items, 0, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_get_many(queue, NULL, 1, out, 1, 0), -EINVAL);
    kin_queue_close(queue);
    ck_assert_int_eq(kin_queue_put_many(queue, items, 2, 0), KIN_ECLOSED);
    ck_assert_int_eq(kin_queue_get_many(queue, room, 64, out, 15, -1), 1);
    ck_assert_int_eq(kin_queue_get_many(queue, room, 64, out, 15, -1), KIN_ECLOSED);
    kin_queue_destroy(queue);
}
END_TEST

#define EACH 5000

static int put_batches(unsigned index, void *arg)
{
    uint32_t next = 0;
    while (next < EACH) {
        uint64_t stamp[64];
        struct kin_queue_item items[64];
        uint32_t count = 1 + (next * 31 + index) % 64;
        for (uint32_t i = 0; i < count; i++) {
            stamp[i] = (uint64_t)index << 32 | (next + i);
            items[i] = (struct kin_queue_item){&stamp[i], sizeof stamp[i]};
        }
        count = next + count > EACH ? EACH - next : count;
        TEAM_CHECK(kin_queue_put_many(arg, items, count, KIN_FOREVER) == (int)count);
        next += count;
    }
    return 0;
}

START_TEST(batches_meet_in_a_bounded_queue)
{
    kin_queue *queue = create(100);
    struct team team = {.count = 0};
    for (int i = 0; i < 3; i++) {
        team_start(&team, (enum team_mode)_i, put_batches, queue);
    }
    uint32_t next[3] = {0, 0, 0};
    for (uint32_t got = 0; got < 3 * EACH;) {
        char room[1000];
        struct kin_queue_item items[50];
        int rc = kin_queue_get_many(queue, room, sizeof room, items, 50, KIN_FOREVER);
        ck_assert_int_gt(rc, 0);
        for (int i = 0; i < rc; i++) {
            uint64_t stamp;
            ck_assert_uint_eq(items[i].size, sizeof stamp);
            memcpy(&stamp, items[i].data, sizeof stamp);
            ck_assert_uint_lt(stamp >> 32, 3);
            ck_assert_uint_eq((uint32_t)stamp, next[stamp >> 32]++);
        }
        got += (uint32_t)rc;
    }
    ck_assert_int_eq(team_join(&team), 0);
    kin_queue_destroy(queue);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

START_TEST(views_come_and_go)
{
    kin_queue *queue = create(3);
    struct kin_queue_view view, other, peeked;
    ck_assert_int_eq(kin_queue_reserve(queue, 0, &view), -EINVAL);
    ck_assert_int_eq(kin_queue_reserve(queue, 100000, &view), 0);
    ck_assert_uint_eq((uintptr_t)view.data % 64, 0);
    ck_assert(kin_is_shared(view.data, 100000));
    memset(view.data, 'v', 100000);
    ck_assert_int_eq(kin_queue_reserve(queue, 10, &other), 0);
    memcpy(other.data, "0123456789", 10);
    ck_assert_uint_eq(messages(queue), 0);
    /* Reserving takes no place in line. */
    ck_assert_int_eq(kin_queue_put(queue, "first", 5, 0), 0);
    void *data = view.data;
    ck_assert_int_eq(kin_queue_commit(queue, &view, 100001, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_commit(queue, &view, 99999, 0), 0);
    ck_assert_int_eq(kin_queue_commit(queue, &view, 99999, 0), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_cancel(queue, &view), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_release(queue, &other), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_put(queue, "third", 5, 0), 0);
    ck_assert_int_eq(kin_queue_commit(queue, &other, 10, 0), -ETIMEDOUT);

    ck_assert_int_eq(kin_queue_peek(queue, &peeked, 0), 0);
    ck_assert_uint_eq(peeked.size, 5);
    ck_assert_mem_eq(peeked.data, "first", 5);
    ck_assert_int_eq(kin_queue_commit(queue, &other, 10, 0), 0);
    ck_assert_int_eq(kin_queue_peek(queue, &view, 0), 0);
    ck_assert_ptr_eq(view.data, data); /* not copied anywhere */
    ck_assert_uint_eq(view.size, 99999);
    ck_assert_int_eq(((char *)view.data)[99998], 'v');
    ck_assert_int_eq(kin_queue_commit(queue, &view, 1, 0), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_release(queue, &view), 0);
    ck_assert_int_eq(kin_queue_release(queue, &view), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_release(queue, &peeked), 0);

    char text[16];
    size_t size = sizeof text;
    ck_assert_int_eq(kin_queue_get(queue, text, &size, 0), 0);
    ck_assert_mem_eq(text, "third", 5);
    size = sizeof text;
    ck_assert_int_eq(kin_queue_get(queue, text, &size, 0), 0);
    ck_assert_uint_eq(size, 10);
    ck_assert_mem_eq(text, "0123456789", 10);
    ck_assert_int_eq(kin_queue_peek(queue, &view, 1000000), -ETIMEDOUT);

    ck_assert_int_eq(kin_queue_reserve(queue, 1000, &view), 0);
    ck_assert_int_eq(kin_queue_cancel(queue, &view), 0);
    kin_queue_close(queue);
    ck_assert_int_eq(kin_queue_reserve(queue, 10, &view), KIN_ECLOSED);
    ck_assert_int_eq(kin_queue_peek(queue, &view, KIN_FOREVER), KIN_ECLOSED);
    kin_queue_destroy(queue);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

START_TEST(too_many_views_are_an_error)
{
    kin_queue *queue = create(0);
    struct kin_queue_view *views = calloc(200, sizeof *views);
    int open = 0, rc;
    while (open < 200 && (rc = kin_queue_reserve(queue, 64, &views[open])) == 0) {
        open++;
    }
    ck_assert_int_eq(rc, -ENOBUFS);
    ck_assert_int_ge(open, 90);
    ck_assert_int_eq(kin_queue_put(queue, views, 1000, 0), 0); /* others go on */
    ck_assert_int_eq(kin_queue_peek(queue, &views[open], 0), -ENOBUFS);
    ck_assert_int_eq(kin_queue_cancel(queue, &views[0]), 0);
    ck_assert_int_eq(kin_queue_peek(queue, &views[0], 0), 0);
    ck_assert_int_eq(kin_queue_release(queue, &views[0]), 0);
    for (int i = 1; i < open; i++) {
        ck_assert_int_eq(kin_queue_cancel(queue, &views[i]), 0);
    }
    free(views);
    kin_queue_destroy(queue);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

#define IMAGES 300

static int fill_views(unsigned index, void *arg)
{
    for (uint32_t i = 0; i < IMAGES; i++) {
        struct kin_queue_view view;
        size_t size = 500 + (i * 7919 + index) % 20000;
        TEAM_CHECK(kin_queue_reserve(arg, size, &view) == 0);
        if (i % 10 == 9) {
            TEAM_CHECK(kin_queue_cancel(arg, &view) == 0);
            TEAM_CHECK(kin_queue_reserve(arg, size, &view) == 0);
        }
        memset(view.data, (int)(index + i) & 0xff, size);
        memcpy(view.data, &(uint32_t[]){index, i}, 8);
        TEAM_CHECK(kin_queue_commit(arg, &view, size, KIN_FOREVER) == 0);
    }
    return 0;
}

static int read_views(unsigned index, void *arg)
{
    (void)index;
    for (;;) {
        struct kin_queue_view view;
        int rc = kin_queue_peek(arg, &view, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            return 0;
        }
        TEAM_CHECK(rc == 0);
        uint32_t stamp[2];
        memcpy(stamp, view.data, 8);
        for (size_t i = 8; i < view.size; i++) {
            TEAM_CHECK(((unsigned char *)view.data)[i] == ((stamp[0] + stamp[1]) & 0xff));
        }
        TEAM_CHECK(view.size == 500 + (stamp[1] * 7919 + stamp[0]) % 20000);
        TEAM_CHECK(kin_queue_release(arg, &view) == 0);
    }
}

START_TEST(views_of_many_members)
{
    kin_queue *queue = create(8);
    struct team makers = {.count = 0}, takers = {.count = 0};
    for (int i = 0; i < 3; i++) {
        team_start(&makers, (enum team_mode)_i, fill_views, queue);
        team_start(&takers, (enum team_mode)_i, read_views, queue);
    }
    ck_assert_int_eq(team_join(&makers), 0);
    kin_queue_close(queue);
    ck_assert_int_eq(team_join(&takers), 0);
    struct kin_queue_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin_queue_stats(queue, &stats), 0);
    ck_assert_uint_eq(stats.put, 3 * IMAGES);
    ck_assert_uint_eq(stats.messages, 0);
    kin_queue_destroy(queue);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

static struct kin_queue_view inherited;

static int use_the_parents_view(unsigned index, void *arg)
{
    (void)index;
    TEAM_CHECK(kin_queue_commit(arg, &inherited, 64, 0) == KIN_ESTATE);
    TEAM_CHECK(kin_queue_cancel(arg, &inherited) == KIN_ESTATE);
    struct kin_queue_view own;
    TEAM_CHECK(kin_queue_reserve(arg, 64, &own) == 0); /* left open: freed with the process */
    return 0;
}

START_TEST(a_view_is_its_process_own)
{
    kin_queue *queue = create(0);
    ck_assert_int_eq(kin_queue_reserve(queue, 64, &inherited), 0);
    struct team team = {.count = 0};
    team_start(&team, TEAM_FORK, use_the_parents_view, queue);
    ck_assert_int_eq(team_join(&team), 0);
    ck_assert_int_eq(kin_queue_cancel(queue, &inherited), 0);
    kin_queue_destroy(queue);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

static Suite *queue_batch_suite(void)
{
    Suite *suite = suite_create("queue batches and views");
    TCase *one = tcase_create("one process"), *more = tcase_create("more processes");
    tcase_set_timeout(one, 30);
    tcase_set_timeout(more, 30);
    tcase_add_test(one, a_batch_goes_in_and_out_in_order);
    tcase_add_test(one, a_batch_stops_where_it_is_full);
    tcase_add_loop_test(more, batches_meet_in_a_bounded_queue, 0, TEAM_MODES);
    tcase_add_test(one, views_come_and_go);
    tcase_add_test(one, too_many_views_are_an_error);
    tcase_add_loop_test(more, views_of_many_members, 0, TEAM_MODES);
    tcase_add_test(more, a_view_is_its_process_own);
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, more);
    return suite;
}

KIT_CHECK_MAIN(queue_batch_suite)
