/*
 * Queues: order, exactly-once delivery, blocking at both ends, timeouts, closing, sizes from 0 to
 * 16 MiB, references, tasks, memory. One body for threads and for forked children.
 */
#include <check.h>
#include <errno.h>
#include <kinfolk.h>
#include <stdlib.h>
#include <string.h>

#include "kit/modes.h"
#include "shm/slot.h"
#include "team.h"

#define MS INT64_C(1000000)

static kin_queue *create(size_t capacity, uint64_t max_bytes, int joinable)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = capacity;
    options.max_bytes = max_bytes;
    options.joinable = joinable;
    kin_queue *queue = NULL;
    ck_assert_int_eq(kin_queue_create(&options, &queue), 0);
    return queue;
}

/* After what children that have ended held is theirs no more. */
static struct kin_arena_stats arena(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin__enter(), 0);
    kin__sweep(true);
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    return stats;
}

static int put_text(kin_queue *queue, const char *text)
{
    return kin_queue_put(queue, text, strlen(text), 0);
}

static void expect_text(kin_queue *queue, const char *text)
{
    char buffer[512];
    size_t size = sizeof buffer;
    ck_assert_int_eq(kin_queue_get(queue, buffer, &size, 0), 0);
    ck_assert_uint_eq(size, strlen(text));
    ck_assert_mem_eq(buffer, text, size);
}

START_TEST(messages_come_out_in_order)
{
    kin_queue *queue = create(0, 0, 0);
    ck_assert_int_eq(put_text(queue, "one"), 0);
    ck_assert_int_eq(put_text(queue, ""), 0);
    ck_assert_int_eq(kin_queue_put(queue, NULL, 0, 0), 0);
    ck_assert_int_eq(put_text(queue, "four"), 0);
    size_t count;
    ck_assert_int_eq(kin_queue_size(queue, &count), 0);
    ck_assert_uint_eq(count, 4);
    expect_text(queue, "one");
    expect_text(queue, "");
    expect_text(queue, "");
    expect_text(queue, "four");
    ck_assert_int_eq(kin_queue_size(queue, &count), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert_ptr_null(kin_queue_destroy(queue));
}
END_TEST

START_TEST(arguments_are_checked)
{
    kin_queue *queue = create(0, 0, 0);
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_queue_create(NULL, NULL), -EINVAL);
    ck_assert_int_eq(kin_queue_put(NULL, &byte, 1, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_put(queue, NULL, 1, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_put(queue, &byte, 1, -2), -EINVAL);
    ck_assert_int_eq(kin_queue_get(queue, NULL, &size, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_get(queue, &byte, NULL, 0), -EINVAL);
    ck_assert_int_eq(kin_queue_task_done(queue), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_join(queue, 0), KIN_ESTATE);
    ck_assert_int_eq(kin_queue_size(queue, NULL), -EINVAL);
    ck_assert_int_eq(kin_queue_close(NULL), -EINVAL);
    ck_assert_ptr_null(kin_queue_destroy(NULL));
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.size = 0;
    kin_queue *other = NULL;
    ck_assert_int_eq(kin_queue_create(&options, &other), -EINVAL);
    ck_assert_ptr_null(other);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(room_too_small_leaves_the_message)
{
    kin_queue *queue = create(0, 0, 0);
    char big[1000];
    memset(big, 'x', sizeof big);
    ck_assert_int_eq(put_text(queue, "seven b"), 0);
    ck_assert_int_eq(kin_queue_put(queue, big, sizeof big, 0), 0);
    char buffer[1000];
    size_t size = 6;
    ck_assert_int_eq(kin_queue_get(queue, buffer, &size, 0), KIN_ETOOBIG);
    ck_assert_uint_eq(size, 7);
    ck_assert_int_eq(kin_queue_get(queue, buffer, &size, 0), 0);
    ck_assert_uint_eq(size, 7);
    size = 0;
    ck_assert_int_eq(kin_queue_get(queue, NULL, &size, 0), KIN_ETOOBIG);
    ck_assert_uint_eq(size, 1000);
    ck_assert_int_eq(kin_queue_get(queue, buffer, &size, 0), 0);
    ck_assert_mem_eq(buffer, big, sizeof big);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(sizes_up_to_16_mib)
{
    struct kin_arena_stats before = arena();
    kin_queue *queue = create(0, 0, 0);
    static const size_t sizes[] = {
        0, 1, 8, 15, 16, 255, 256, 257, 4000, 65536, (1u << 20) + 3, 16u << 20, 1};
    unsigned char *data = malloc(16u << 20), *back = malloc(16u << 20);
    for (size_t i = 0; i < 16u << 20; i++) {
        data[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ck_assert_int_eq(kin_queue_put(queue, data, sizes[i], 0), 0);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = 16u << 20;
        ck_assert_int_eq(kin_queue_get(queue, back, &size, 0), 0);
        ck_assert_uint_eq(size, sizes[i]);
        ck_assert(memcmp(data, back, size) == 0);
    }
    free(data);
    free(back);
    kin_queue_destroy(queue);
    struct kin_arena_stats after = arena();
    ck_assert_uint_eq(after.blocks, before.blocks);
    ck_assert_uint_eq(after.used, before.used);
    ck_assert_uint_eq(after.objects, before.objects);
}
END_TEST

START_TEST(a_burst_gives_its_memory_back)
{
    kin_queue *queue = create(0, 0, 0);
    struct kin_queue_stats stats = {.size = sizeof stats};
    for (uint32_t i = 0; i < 100000; i++) {
        ck_assert_int_eq(kin_queue_put(queue, &i, sizeof i, 0), 0);
    }
    ck_assert_int_eq(kin_queue_stats(queue, &stats), 0);
    ck_assert_uint_eq(stats.messages, 100000);
    ck_assert_uint_eq(stats.bytes, 400000);
    ck_assert_uint_gt(stats.segments, 100);
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t value;
        size_t size = sizeof value;
        ck_assert_int_eq(kin_queue_get(queue, &value, &size, 0), 0);
        ck_assert_uint_eq(value, i);
    }
    ck_assert_int_eq(kin_queue_stats(queue, &stats), 0);
    ck_assert_uint_eq(stats.messages, 0);
    ck_assert_uint_eq(stats.put, 100000);
    ck_assert_uint_le(stats.segments, 2);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(messages_left_are_freed)
{
    struct kin_arena_stats before = arena();
    kin_queue *queue = create(0, 0, 0);
    static char big[5000];
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(kin_queue_put(queue, big, i % 3 == 0 ? sizeof big : 64, 0), 0);
    }
    kin_queue_destroy(queue);
    struct kin_arena_stats after = arena();
    ck_assert_uint_eq(after.blocks, before.blocks);
    ck_assert_uint_eq(after.used, before.used);
}
END_TEST

START_TEST(a_million_queues_in_constant_memory)
{
    kin_queue_destroy(create(0, 0, 0));
    struct kin_arena_stats before = arena();
    int rc = 0;
    for (int i = 0; i < 1000000 && rc == 0; i++) {
        kin_queue *queue = NULL;
        rc = kin_queue_create(NULL, &queue);
        kin_queue_destroy(queue);
    }
    ck_assert_int_eq(rc, 0);
    struct kin_arena_stats after = arena();
    ck_assert_uint_eq(after.committed, before.committed);
    ck_assert_uint_eq(after.used, before.used);
    ck_assert_uint_eq(after.objects, before.objects);
}
END_TEST

START_TEST(a_full_arena_is_an_error)
{
    ck_assert_int_eq(kin_arena_set_quota(64u << 20), 0);
    kin_queue *queue = create(0, 0, 0);
    static char big[1 << 20];
    int rc, count = 0;
    while ((rc = kin_queue_put(queue, big, sizeof big, KIN_FOREVER)) == 0) {
        count++;
        ck_assert_int_lt(count, 64);
    }
    ck_assert_int_eq(rc, KIN_EQUOTA);
    ck_assert_int_gt(count, 20);
    for (int i = 0; i < count; i++) {
        size_t size = sizeof big;
        ck_assert_int_eq(kin_queue_get(queue, big, &size, 0), 0);
    }
    size_t size = sizeof big;
    ck_assert_int_eq(kin_queue_get(queue, big, &size, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_queue_put(queue, big, sizeof big, 0), 0);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(timeouts_are_kept)
{
    kin_queue *queue = create(2, 0, 0);
    char byte;
    size_t size = 1;
    int64_t start = team_now();
    ck_assert_int_eq(kin_queue_get(queue, &byte, &size, 0), -ETIMEDOUT);
    ck_assert_int_lt(team_now() - start, 50 * MS);
    ck_assert_int_eq(kin_queue_get(queue, &byte, &size, 150 * MS), -ETIMEDOUT);
    int64_t took = team_now() - start;
    ck_assert_int_ge(took, 150 * MS);
    ck_assert_int_lt(took, 1000 * MS);

    ck_assert_int_eq(kin_queue_put(queue, "a", 1, 0), 0);
    ck_assert_int_eq(kin_queue_put(queue, "b", 1, 0), 0);
    start = team_now();
    ck_assert_int_eq(kin_queue_put(queue, "c", 1, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_queue_put(queue, "c", 1, 150 * MS), -ETIMEDOUT);
    took = team_now() - start;
    ck_assert_int_ge(took, 150 * MS);
    ck_assert_int_lt(took, 1000 * MS);
    expect_text(queue, "a");
    expect_text(queue, "b");
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(bytes_are_limited)
{
    kin_queue *queue = create(0, 1000, 0);
    static char data[1001];
    ck_assert_int_eq(kin_queue_put(queue, data, 1001, 0), KIN_ETOOBIG);
    ck_assert_int_eq(kin_queue_put(queue, data, 900, 0), 0);
    ck_assert_int_eq(kin_queue_put(queue, data, 100, 0), 0);
    ck_assert_int_eq(kin_queue_put(queue, data, 1, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_queue_put(queue, data, 0, 0), 0);
    size_t size = sizeof data;
    ck_assert_int_eq(kin_queue_get(queue, data, &size, 0), 0);
    ck_assert_int_eq(kin_queue_put(queue, data, 901, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_queue_put(queue, data, 900, 0), 0);
    kin_queue_destroy(queue);
}
END_TEST

/* --- several members ------------------------------------------------------------------------ */

struct stamp {
    uint32_t producer;
    uint32_t seq;
};

#define MOST_MESSAGES 20000

struct traffic {
    kin_queue *queue;
    uint32_t producers;
    uint32_t messages; /* of each producer */
    size_t largest;
    unsigned char (*seen)[MOST_MESSAGES];
};

static size_t size_of(const struct traffic *traffic, struct stamp stamp)
{
    uint32_t mix = (stamp.producer + 1) * 2654435761u ^ stamp.seq * 40503u;
    return sizeof stamp + mix % (traffic->largest - sizeof stamp + 1);
}

static int produce(unsigned index, void *arg)
{
    struct traffic *traffic = arg;
    unsigned char *message = malloc(traffic->largest);
    for (uint32_t i = 0; i < traffic->messages; i++) {
        struct stamp stamp = {.producer = index, .seq = i};
        size_t size = size_of(traffic, stamp);
        memset(message, (int)(index + i) & 0xff, size);
        memcpy(message, &stamp, sizeof stamp);
        TEAM_CHECK(kin_queue_put(traffic->queue, message, size, KIN_FOREVER) == 0);
    }
    free(message);
    return 0;
}

static int consume(unsigned index, void *arg)
{
    (void)index;
    struct traffic *traffic = arg;
    int64_t last[TEAM_MOST];
    memset(last, -1, sizeof last);
    unsigned char *message = malloc(traffic->largest);
    for (;;) {
        size_t size = traffic->largest;
        int rc = kin_queue_get(traffic->queue, message, &size, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            break;
        }
        TEAM_CHECK(rc == 0);
        struct stamp stamp;
        memcpy(&stamp, message, sizeof stamp);
        TEAM_CHECK(stamp.producer < traffic->producers && stamp.seq < traffic->messages);
        TEAM_CHECK(size == size_of(traffic, stamp));
        for (size_t i = sizeof stamp; i < size; i++) {
            TEAM_CHECK(message[i] == ((stamp.producer + stamp.seq) & 0xff));
        }
        TEAM_CHECK((int64_t)stamp.seq > last[stamp.producer]);
        last[stamp.producer] = stamp.seq;
        __atomic_add_fetch(&traffic->seen[stamp.producer][stamp.seq], 1, __ATOMIC_RELAXED);
    }
    free(message);
    return 0;
}

static void run_traffic(enum team_mode mode, uint32_t producers, uint32_t consumers,
                        uint32_t messages, size_t capacity, size_t largest)
{
    struct kin_queue_stats stats = {.size = sizeof stats};
    struct traffic traffic = {.queue = create(capacity, 0, 0),
                              .producers = producers,
                              .messages = messages,
                              .largest = largest,
                              .seen = team_memory(producers * sizeof *traffic.seen)};
    struct team makers = {.count = 0}, takers = {.count = 0};
    for (uint32_t i = 0; i < producers; i++) {
        team_start(&makers, mode, produce, &traffic);
    }
    for (uint32_t i = 0; i < consumers; i++) {
        team_start(&takers, mode, consume, &traffic);
    }
    ck_assert_int_eq(team_join(&makers), 0);
    ck_assert_int_eq(kin_queue_close(traffic.queue), 0);
    ck_assert_int_eq(team_join(&takers), 0);
    for (uint32_t p = 0; p < producers; p++) {
        for (uint32_t i = 0; i < messages; i++) {
            if (traffic.seen[p][i] != 1) {
                ck_abort_msg("message %u of %u came %u times", i, p, traffic.seen[p][i]);
            }
        }
    }
    ck_assert_int_eq(kin_queue_stats(traffic.queue, &stats), 0);
    ck_assert_uint_eq(stats.messages, 0);
    ck_assert_uint_eq(stats.bytes, 0);
    ck_assert_uint_eq(stats.put, (uint64_t)producers * messages);
    kin_queue_destroy(traffic.queue);
    ck_assert_uint_eq(arena().blocks, 0);
}

START_TEST(exactly_once_and_in_order)
{
    enum team_mode mode = (enum team_mode)_i;
    run_traffic(mode, 1, 1, 20000, 0, 64);
    run_traffic(mode, 2, 2, 10000, 0, 300);
    run_traffic(mode, 3, 3, 3000, 4, 64);
    run_traffic(mode, 4, 1, 3000, 1, 256);
    run_traffic(mode, 1, 4, 500, 3, 50000);
}
END_TEST

struct pair {
    kin_queue *there;
    kin_queue *back;
};

static int echo(unsigned index, void *arg)
{
    (void)index;
    struct pair *pair = arg;
    for (;;) {
        char buffer[64];
        size_t size = sizeof buffer;
        int rc = kin_queue_get(pair->there, buffer, &size, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            return 0;
        }
        TEAM_CHECK(rc == 0);
        TEAM_CHECK(kin_queue_put(pair->back, buffer, size, KIN_FOREVER) == 0);
    }
}

START_TEST(a_sleeper_is_woken_at_once)
{
    struct pair pair = {.there = create(0, 0, 0), .back = create(0, 0, 0)};
    struct team team = {.count = 0};
    team_start(&team, (enum team_mode)_i, echo, &pair);
    /* 300 round trips with both ends asleep: far below a slice each, if no wake is lost. */
    int64_t start = team_now();
    for (int i = 0; i < 300; i++) {
        char buffer[64];
        size_t size = sizeof buffer;
        ck_assert_int_eq(kin_queue_put(pair.there, &i, sizeof i, KIN_FOREVER), 0);
        ck_assert_int_eq(kin_queue_get(pair.back, buffer, &size, KIN_FOREVER), 0);
        ck_assert_int_eq(memcmp(buffer, &i, sizeof i), 0);
    }
    ck_assert_int_lt(team_now() - start, 3000 * MS);
    kin_queue_close(pair.there);
    ck_assert_int_eq(team_join(&team), 0);
    kin_queue_destroy(pair.there);
    kin_queue_destroy(pair.back);
}
END_TEST

static int put_until_closed(unsigned index, void *arg)
{
    (void)index;
    int rc;
    while ((rc = kin_queue_put(arg, "x", 1, KIN_FOREVER)) == 0) {
    }
    TEAM_CHECK(rc == KIN_ECLOSED);
    return 0;
}

static int get_until_closed(unsigned index, void *arg)
{
    (void)index;
    int rc;
    char byte;
    size_t size;
    do {
        size = 1;
        rc = kin_queue_get(arg, &byte, &size, KIN_FOREVER);
    } while (rc == 0);
    TEAM_CHECK(rc == KIN_ECLOSED);
    return 0;
}

START_TEST(closing_wakes_everybody)
{
    enum team_mode mode = (enum team_mode)_i;
    kin_queue *full = create(2, 0, 0), *empty = create(0, 0, 0);
    struct team team = {.count = 0};
    for (int i = 0; i < 3; i++) {
        team_start(&team, mode, put_until_closed, full);
        team_start(&team, mode, get_until_closed, empty);
    }
    size_t count = 0;
    while (count < 2) {
        ck_assert_int_eq(kin_queue_size(full, &count), 0);
    }
    ck_assert_int_eq(kin_queue_close(full), 0);
    ck_assert_int_eq(kin_queue_close(empty), 0);
    ck_assert_int_eq(kin_queue_close(empty), 0);
    ck_assert_int_eq(team_join(&team), 0);
    /* What was in it can still be taken. */
    expect_text(full, "x");
    expect_text(full, "x");
    char byte;
    size_t size = 1;
    ck_assert_int_eq(kin_queue_get(full, &byte, &size, KIN_FOREVER), KIN_ECLOSED);
    ck_assert_int_eq(kin_queue_put(full, "y", 1, KIN_FOREVER), KIN_ECLOSED);
    kin_queue_destroy(full);
    kin_queue_destroy(empty);
}
END_TEST

static int work(unsigned index, void *arg)
{
    (void)index;
    for (;;) {
        char byte;
        size_t size = 1;
        int rc = kin_queue_get(arg, &byte, &size, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            return 0;
        }
        TEAM_CHECK(rc == 0);
        TEAM_CHECK(kin_queue_task_done(arg) == 0);
    }
}

START_TEST(join_waits_for_the_last_task)
{
    kin_queue *queue = create(0, 0, 1);
    ck_assert_int_eq(kin_queue_join(queue, KIN_FOREVER), 0);
    ck_assert_int_eq(kin_queue_task_done(queue), KIN_EOVERFLOW);
    ck_assert_int_eq(kin_queue_put(queue, "x", 1, 0), 0);
    ck_assert_int_eq(kin_queue_join(queue, 0), -ETIMEDOUT);
    expect_text(queue, "x");
    ck_assert_int_eq(kin_queue_join(queue, 20 * MS), -ETIMEDOUT);
    ck_assert_int_eq(kin_queue_task_done(queue), 0);
    ck_assert_int_eq(kin_queue_join(queue, 0), 0);

    struct team team = {.count = 0};
    for (int i = 0; i < 3; i++) {
        team_start(&team, (enum team_mode)_i, work, queue);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++) {
            ck_assert_int_eq(kin_queue_put(queue, "x", 1, KIN_FOREVER), 0);
        }
        ck_assert_int_eq(kin_queue_join(queue, KIN_FOREVER), 0);
        struct kin_queue_stats stats = {.size = sizeof stats};
        ck_assert_int_eq(kin_queue_stats(queue, &stats), 0);
        ck_assert_uint_eq(stats.messages, 0);
        ck_assert_uint_eq(stats.unfinished, 0);
        ck_assert_uint_eq(stats.lost, 0);
    }
    kin_queue_close(queue);
    ck_assert_int_eq(team_join(&team), 0);
    kin_queue_destroy(queue);
}
END_TEST

static int attach_and_answer(unsigned index, void *arg)
{
    (void)index;
    kin_queue *queue = NULL;
    TEAM_CHECK(kin_queue_attach(arg, &queue) == 0);
    TEAM_CHECK(kin_queue_put(queue, "here", 4, KIN_FOREVER) == 0);
    kin_queue_destroy(queue);
    return 0;
}

START_TEST(a_reference_makes_a_handle)
{
    kin_queue *queue = create(0, 0, 0);
    kin_ref *ref = team_memory(sizeof *ref);
    ck_assert_int_eq(kin_queue_ref(queue, ref), 0);
    struct team team = {.count = 0};
    team_start(&team, (enum team_mode)_i, attach_and_answer, ref);
    ck_assert_int_eq(team_join(&team), 0);
    expect_text(queue, "here");
    kin_queue_destroy(queue);
    kin__sweep(true);
    kin_queue *gone = NULL;
    ck_assert_int_eq(kin_queue_attach(ref, &gone), KIN_ESTALE);
    ck_assert_ptr_null(gone);
}
END_TEST

static int put_and_leave(unsigned index, void *arg)
{
    (void)index;
    char big[3000];
    memset(big, 'b', sizeof big);
    TEAM_CHECK(kin_queue_put(arg, "small", 5, 0) == 0);
    TEAM_CHECK(kin_queue_put(arg, big, sizeof big, 0) == 0);
    return 0;
}

START_TEST(messages_outlive_their_process)
{
    kin_queue *queue = create(0, 0, 0);
    struct team team = {.count = 0};
    team_start(&team, TEAM_FORK, put_and_leave, queue);
    ck_assert_int_eq(team_join(&team), 0);
    expect_text(queue, "small");
    char big[3000];
    size_t size = sizeof big;
    ck_assert_int_eq(kin_queue_get(queue, big, &size, KIN_FOREVER), 0);
    ck_assert_uint_eq(size, sizeof big);
    kin_queue_destroy(queue);
}
END_TEST

static Suite *queue_suite(void)
{
    Suite *suite = suite_create("queue");
    TCase *alone = tcase_create("one process");
    tcase_set_timeout(alone, 20);
    tcase_add_test(alone, messages_come_out_in_order);
    tcase_add_test(alone, arguments_are_checked);
    tcase_add_test(alone, room_too_small_leaves_the_message);
    tcase_add_test(alone, sizes_up_to_16_mib);
    tcase_add_test(alone, a_burst_gives_its_memory_back);
    tcase_add_test(alone, messages_left_are_freed);
    tcase_add_test(alone, a_full_arena_is_an_error);
    tcase_add_test(alone, timeouts_are_kept);
    tcase_add_test(alone, bytes_are_limited);
    suite_add_tcase(suite, alone);

    TCase *many = tcase_create("many");
    tcase_set_timeout(many, 60);
    tcase_add_test(many, a_million_queues_in_constant_memory);
    suite_add_tcase(suite, many);

    TCase *together = tcase_create("together");
    tcase_set_timeout(together, 60);
    tcase_add_loop_test(together, exactly_once_and_in_order, 0, TEAM_MODES);
    tcase_add_loop_test(together, a_sleeper_is_woken_at_once, 0, TEAM_MODES);
    tcase_add_loop_test(together, closing_wakes_everybody, 0, TEAM_MODES);
    tcase_add_loop_test(together, join_waits_for_the_last_task, 0, TEAM_MODES);
    tcase_add_loop_test(together, a_reference_makes_a_handle, 0, TEAM_MODES);
    tcase_add_test(together, messages_outlive_their_process);
    suite_add_tcase(suite, together);
    return suite;
}

KIT_CHECK_MAIN(queue_suite)
