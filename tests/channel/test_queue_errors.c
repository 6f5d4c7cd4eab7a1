/* Every error that queues document, that nothing happened then, and that nothing is left of many. */
#include "kit/modes.h"

#include <dirent.h>
#include <errno.h>
#include <kinfolk.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>

#include "shm/slot.h"

#define MS INT64_C(1000000)

static kin_queue *create(size_t capacity, uint64_t max_bytes, int joinable)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    kin_queue *queue;
    options.capacity = capacity;
    options.max_bytes = max_bytes;
    options.joinable = joinable;
    kit_assert_ok(kin_queue_create(&options, &queue));
    return queue;
}

static size_t messages(kin_queue *queue)
{
    size_t count;
    kit_assert_ok(kin_queue_size(queue, &count));
    return count;
}

START_TEST(arguments)
{
    kin_queue *queue = create(0, 0, 0);
    struct kin_queue_view view;
    struct kin_queue_item item = {NULL, 1};
    struct kin_queue_stats stats = {.size = 0};
    kin_ref ref;
    char byte;
    kit_assert_int(kin_queue_ref(NULL, &ref), -EINVAL);
    kit_assert_int(kin_queue_ref(queue, NULL), -EINVAL);
    kit_assert_int(kin_queue_attach(NULL, &queue), -EINVAL);
    kit_assert_int(kin_queue_put_many(queue, &item, 1, 0), -EINVAL);
    kit_assert_int(kin_queue_put_many(queue, &item, (size_t)INT_MAX + 1, 0), -EINVAL);
    kit_assert_int(kin_queue_get_many(queue, NULL, 1, &item, 1, 0), -EINVAL);
    kit_assert_int(kin_queue_get_many(queue, &byte, 1, NULL, 1, 0), -EINVAL);
    kit_assert_int(kin_queue_get_many(queue, &byte, 1, &item, 0, 0), -EINVAL);
    kit_assert_int(kin_queue_get_many(queue, &byte, 1, &item, 1, -2), -EINVAL);
    kit_assert_int(kin_queue_reserve(queue, 1, NULL), -EINVAL);
    kit_assert_int(kin_queue_peek(queue, NULL, 0), -EINVAL);
    kit_assert_int(kin_queue_peek(queue, &view, -2), -EINVAL);
    kit_assert_int(kin_queue_release(queue, NULL), -EINVAL);
    kit_assert_int(kin_queue_cancel(NULL, &view), -EINVAL);
    kit_assert_ok(kin_queue_reserve(queue, 10, &view));
    kit_assert_int(kin_queue_commit(queue, &view, 0, 0), -EINVAL);
    kit_assert_int(kin_queue_commit(queue, &view, 10, -2), -EINVAL);
    kit_assert_ok(kin_queue_cancel(queue, &view));
    kit_assert_int(kin_queue_join(queue, -2), -EINVAL);
    kit_assert_int(kin_queue_task_done(NULL), -EINVAL);
    kit_assert_int(kin_queue_fd(NULL), -EINVAL);
    kit_assert_int(kin_queue_stats(queue, &stats), -EINVAL);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(references_of_others)
{
    kin_queue *queue = NULL;
    kin_lock *lock;
    kin_ref ref, foreign;
    kit_assert_ok(kin_lock_create(NULL, &lock));
    kit_assert_ok(kin_lock_ref(lock, &ref));
    kit_assert_int(kin_queue_attach(&ref, &queue), KIN_ETYPE);
    kin_lock_destroy(lock);

    kin_queue *own = create(0, 0, 0);
    kit_assert_ok(kin_queue_ref(own, &foreign));
    foreign.word[0] ^= UINT64_C(1) << 60; /* where the family is named */
    kit_assert_int(kin_queue_attach(&foreign, &queue), KIN_ENOFAMILY);
    foreign.word[0] = 0;
    kit_assert_int(kin_queue_attach(&foreign, &queue), -EINVAL);
    kit_assert(queue == NULL);
    kin_queue_destroy(own);
}
END_TEST

/* A batch ends before a message that can never be put, however long one would wait. */
START_TEST(a_batch_with_one_too_large)
{
    static char bytes[3000];
    kin_queue *queue = create(0, 100, 0);
    struct kin_queue_item items[4] = {{bytes, 30}, {bytes, 40}, {bytes, 200}, {bytes, 10}};
    kit_assert_int(kin_queue_put_many(queue, items, 4, KIN_FOREVER), 2);
    kit_assert_int(messages(queue), 2);
    kit_assert_int(kin_queue_put_many(queue, items + 2, 2, KIN_FOREVER), KIN_ETOOBIG);
    items[2].size = sizeof bytes;
    kit_assert_int(kin_queue_put_many(queue, items + 2, 2, KIN_FOREVER), KIN_ETOOBIG);
    items[1].size = sizeof bytes;
    items[0].size = 10;
    kit_assert_int(kin_queue_put_many(queue, items, 2, KIN_FOREVER), 1);
    kit_assert_int(messages(queue), 3);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(a_batch_out_of_room)
{
    static char bytes[3000];
    char buffer[64];
    kin_queue *queue = create(0, 0, 0);
    struct kin_queue_item items[3] = {{"first", 5}, {bytes, sizeof bytes}, {"third", 5}}, got[3];
    kit_assert_int(kin_queue_put_many(queue, items, 3, 0), 3);
    kit_assert_int(kin_queue_get_many(queue, buffer, 4, got, 3, 0), KIN_ETOOBIG);
    kit_assert_int(got[0].size, 5);
    kit_assert_int(messages(queue), 3);
    kit_assert_int(kin_queue_get_many(queue, buffer, sizeof buffer, got, 3, 0), 1);
    kit_assert_int(kin_queue_get_many(queue, buffer, sizeof buffer, got, 3, 0), KIN_ETOOBIG);
    kit_assert_int(got[0].size, sizeof bytes);
    kit_assert_int(messages(queue), 2);
    kin_queue_destroy(queue);
}
END_TEST

START_TEST(views_of_a_closed_queue)
{
    kin_queue *queue = create(0, 1000, 0);
    struct kin_queue_view view;
    kit_assert_int(kin_queue_reserve(queue, 1001, &view), KIN_ETOOBIG);
    kit_assert_ok(kin_queue_reserve(queue, 1000, &view));
    kit_assert_ok(kin_queue_close(queue));
    kit_assert_ok(kin_queue_close(queue));
    kit_assert_int(kin_queue_commit(queue, &view, 10, KIN_FOREVER), KIN_ECLOSED);
    kit_assert_int(kin_queue_release(queue, &view), KIN_ESTATE);
    kit_assert_ok(kin_queue_cancel(queue, &view));
    kit_assert_int(kin_queue_cancel(queue, &view), KIN_ESTATE);
    kin_queue_destroy(queue);
}
END_TEST

/* --- the arena is full, or the table of descriptors ------------------------------------------- */

START_TEST(a_full_arena)
{
    static char big[1 << 20];
    kit_assert_ok(kin_arena_set_quota(64u << 20));
    kin_queue *queue = create(0, 0, 0), *more = NULL;
    struct kin_queue_view view;
    void *block;
    for (size_t size = sizeof big; size >= 64; size /= 2) {
        while ((block = kin_alloc(size)) != NULL) {
            *(void **)block = NULL;
        }
        kit_assert_int(kin_alloc_error(), KIN_EQUOTA);
    }
    kit_assert_int(kin_queue_put(queue, big, sizeof big, KIN_FOREVER), KIN_EQUOTA);
    kit_assert_int(kin_queue_reserve(queue, sizeof big, &view), KIN_EQUOTA);
    struct kin_queue_item items[2] = {{"small", 5}, {big, sizeof big}};
    kit_assert_int(kin_queue_put_many(queue, items, 2, KIN_FOREVER), 1);
    int rc = 0, put = 0;
    while ((rc = kin_queue_put(queue, big, KIN_QUEUE_SMALL, KIN_FOREVER)) == 0) {
        put++; /* until the line itself cannot grow */
    }
    kit_assert_int(rc, KIN_EQUOTA);
    kit_assert_int(messages(queue), 1 + put);
    kin_queue *others[4096];
    size_t count = 0;
    while ((rc = kin_queue_create(NULL, &more)) == 0) {
        kit_assert(count < KIT_COUNT(others));
        others[count++] = more;
    }
    kit_assert_int(rc, KIN_EQUOTA);
    /* What is there can still be taken. */
    for (int i = 0; i <= put; i++) {
        size_t size = sizeof big;
        kit_assert_ok(kin_queue_get(queue, big, &size, 0));
    }
    kit_assert_int(messages(queue), 0);
    kin_queue_destroy(queue);
    while (count > 0) {
        kin_queue_destroy(others[--count]);
    }
}
END_TEST

static unsigned descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;
    kit_assert(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

START_TEST(no_descriptor_to_be_had)
{
    kin_queue *queue = create(0, 0, 0);
    struct rlimit limit, none;
    kit_assert_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    kit_assert_int(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = kin_queue_fd(queue);
    kit_assert_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
    kit_assert_int(rc, -EMFILE);
    kit_assert_ok(kin_queue_fd(queue));
    kin_queue_destroy(queue);
}
END_TEST

/* --- interrupted ------------------------------------------------------------------------------ */

static int say_no(void *arg)
{
    (void)arg;
    return -12345;
}

START_TEST(waits_ask_the_interrupt_function)
{
    kin_queue *full = create(1, 0, 1), *empty = create(0, 0, 0);
    struct kin_queue_view view;
    struct kin_queue_item item = {"x", 1};
    static char large[1000];
    char byte;
    size_t size = 1;
    kit_assert_ok(kin_queue_put(full, "x", 1, 0));
    kit_assert_ok(kin_queue_reserve(full, 10, &view));
    kin_thread_set_interrupt(say_no, NULL);
    kit_assert_int(kin_queue_put(full, "x", 1, KIN_FOREVER), -12345);
    kit_assert_int(kin_queue_put(full, large, sizeof large, KIN_FOREVER), -12345);
    kit_assert_int(kin_queue_put_many(full, &item, 1, KIN_FOREVER), -12345);
    kit_assert_int(kin_queue_commit(full, &view, 10, KIN_FOREVER), -12345);
    kit_assert_int(kin_queue_join(full, KIN_FOREVER), -12345);
    kit_assert_int(kin_queue_get(empty, &byte, &size, KIN_FOREVER), -12345);
    kit_assert_int(kin_queue_get_many(empty, &byte, 1, &item, 1, KIN_FOREVER), -12345);
    struct kin_queue_view peeked;
    kit_assert_int(kin_queue_peek(empty, &peeked, KIN_FOREVER), -12345);
    struct kin_wait_item wait = kin_wait_on_fd(kin_queue_fd(empty), KIN_WAIT_READ);
    wait.ready = 77;
    kit_assert_int(kin_wait(&wait, 1, KIN_FOREVER), -12345);
    kit_assert_int(wait.ready, 77);
    kin_thread_set_interrupt(NULL, NULL);
    kit_assert_ok(kin_queue_cancel(full, &view)); /* it is still open */
    kit_assert_int(messages(full), 1);
    kin_queue_destroy(full);
    kin_queue_destroy(empty);
}
END_TEST

/* --- many ------------------------------------------------------------------------------------- */

static void use(kin_queue *queue)
{
    static char large[1000];
    struct kin_queue_view view;
    size_t size = sizeof large;
    kit_assert_ok(kin_queue_fd(queue));
    kit_assert_ok(kin_queue_put(queue, "x", 1, 0));
    kit_assert_ok(kin_queue_put(queue, large, sizeof large, 0));
    kit_assert_ok(kin_queue_get(queue, large, &size, 0));
    kit_assert_ok(kin_queue_reserve(queue, 400, &view));
    kit_assert_ok(kin_queue_commit(queue, &view, 300, 0));
    kit_assert_ok(kin_queue_peek(queue, &view, 0));
    kit_assert_ok(kin_queue_release(queue, &view));
}

START_TEST(ten_thousand_leave_nothing)
{
    enum { AT_ONCE = 20 };
    struct kin_arena_stats before = {.size = sizeof before}, after = before;
    struct rusage memory_before, memory_after;
    kin_queue *queues[AT_ONCE];
    unsigned fds = 0;
    for (int i = 0; i < 10000; i += AT_ONCE) {
        for (int k = 0; k < AT_ONCE; k++) {
            queues[k] = create(k % 2 ? 10 : 0, 0, k % 3 == 0);
            use(queues[k]);
        }
        for (int k = 0; k < AT_ONCE; k++) {
            kin_queue_destroy(queues[k]);
        }
        if (i == 0) {
            kit_assert_ok(kin_arena_stats(&before));
            fds = descriptors();
        }
        if (i == 1000) {
            kit_assert_int(getrusage(RUSAGE_SELF, &memory_before), 0);
        }
    }
    kit_assert_ok(kin_arena_stats(&after));
    kit_assert_int(getrusage(RUSAGE_SELF, &memory_after), 0);
    kit_assert_int(after.used, before.used);
    kit_assert_int(after.blocks, before.blocks);
    kit_assert_int(after.objects, before.objects);
    kit_assert_int(after.committed, before.committed);
    kit_assert_int(descriptors(), fds);
    long grown = memory_after.ru_maxrss - memory_before.ru_maxrss;
    kit_require(KIT_UNDER_ASAN || grown < 512, "%ld KiB more", grown);
}
END_TEST

static Suite *errors_suite(void)
{
    Suite *suite = suite_create("queue errors");
    TCase *tcase = tcase_create("errors");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, arguments);
    tcase_add_test(tcase, references_of_others);
    tcase_add_test(tcase, a_batch_with_one_too_large);
    tcase_add_test(tcase, a_batch_out_of_room);
    tcase_add_test(tcase, views_of_a_closed_queue);
    tcase_add_test(tcase, a_full_arena);
    tcase_add_test(tcase, no_descriptor_to_be_had);
    tcase_add_test(tcase, waits_ask_the_interrupt_function);
    tcase_add_test(tcase, ten_thousand_leave_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(errors_suite)
