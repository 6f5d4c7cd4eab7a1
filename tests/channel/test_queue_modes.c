/*
 * What a queue does for its members, however they came to be: threads, forked, spawned, from a fork
 * server. Each has its handles by reference.
 */
#include "kit/modes.h"

#include <errno.h>
#include <kinfolk.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shm/slot.h"

#define PAIRS 2  /* producers, and as many consumers */
#define MANY 400 /* messages of a producer */
#define LARGE 1500

struct args {
    kin_ref queue, other;
    uint32_t (*seen)[MANY]; /* of each producer */
    int way;
};

static kin_queue *create(size_t capacity, int joinable, kin_ref *ret_ref)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    kin_queue *queue;
    options.capacity = capacity;
    options.joinable = joinable;
    kit_assert_ok(kin_queue_create(&options, &queue));
    kit_assert_ok(kin_queue_ref(queue, ret_ref));
    return queue;
}

static kin_queue *attach(const kin_ref *ref)
{
    kin_queue *queue;
    kit_assert_ok(kin_queue_attach(ref, &queue));
    return queue;
}

/* --- many producers and consumers ------------------------------------------------------------- */

enum way { SINGLE, BATCHES, IN_PLACE, WAYS };

struct message {
    uint32_t producer, number;
    char bytes[LARGE];
};

static size_t make(struct message *message, uint32_t producer, uint32_t number)
{
    size_t size = 8 + (number % 5 == 0 ? LARGE - number % 100 : number % 200);
    memset(message->bytes, (int)(producer + number), sizeof message->bytes);
    message->producer = producer;
    message->number = number;
    return size;
}

static void produce(kin_queue *queue, uint32_t producer, int way)
{
    struct message message[4];
    for (uint32_t i = 0; i < MANY; i += 4) {
        struct kin_queue_item items[4];
        for (uint32_t k = 0; k < 4; k++) {
            size_t size = make(&message[k], producer, i + k);
            items[k] = (struct kin_queue_item){.data = &message[k], .size = size};
            if (way == SINGLE) {
                kit_assert_ok(kin_queue_put(queue, &message[k], size, KIN_FOREVER));
            } else if (way == IN_PLACE) {
                struct kin_queue_view view;
                kit_assert_ok(kin_queue_reserve(queue, size, &view));
                memcpy(view.data, &message[k], size);
                kit_assert_ok(kin_queue_commit(queue, &view, size, KIN_FOREVER));
            }
        }
        if (way == BATCHES) {
            kit_assert_int(kin_queue_put_many(queue, items, 4, KIN_FOREVER), 4);
        }
    }
}

static void look(struct args *args, int64_t *last, const void *data, size_t size)
{
    struct message got, want;
    kit_assert(size >= 8 && size <= sizeof got);
    memcpy(&got, data, size);
    kit_assert(got.producer < PAIRS && got.number < MANY);
    kit_assert_int(size, make(&want, got.producer, got.number));
    kit_assert(memcmp(&got, &want, size) == 0);
    kit_assert(got.number > last[got.producer]);
    last[got.producer] = got.number;
    __atomic_add_fetch(&args->seen[got.producer][got.number], 1, __ATOMIC_SEQ_CST);
}

static void consume(kin_queue *queue, struct args *args)
{
    int64_t last[PAIRS] = {-1, -1};
    static _Thread_local char buffer[4 * (LARGE + 16)];
    for (;;) {
        struct kin_queue_item items[4];
        struct kin_queue_view view;
        size_t size = sizeof buffer;
        int rc;
        if (args->way == SINGLE) {
            rc = kin_queue_get(queue, buffer, &size, KIN_FOREVER);
            if (rc == 0) {
                look(args, last, buffer, size);
            }
        } else if (args->way == BATCHES) {
            rc = kin_queue_get_many(queue, buffer, sizeof buffer, items, 4, KIN_FOREVER);
            for (int i = 0; i < rc; i++) {
                look(args, last, items[i].data, items[i].size);
            }
        } else {
            rc = kin_queue_peek(queue, &view, KIN_FOREVER);
            if (rc == 0) {
                look(args, last, view.data, view.size);
                kit_assert_ok(kin_queue_release(queue, &view));
            }
        }
        if (rc == KIN_ECLOSED) {
            return;
        }
        kit_assert_ok(rc);
    }
}

/* The first half puts; the last to put closes. */
static void produce_or_consume(struct kit_worker *me)
{
    struct args *args = me->arg;
    kin_queue *queue = attach(&args->queue), *ends = attach(&args->other);
    if (me->index >= PAIRS) {
        consume(queue, args);
    } else {
        produce(queue, me->index, args->way);
        kit_assert_ok(kin_queue_put(ends, "", 0, 0));
        size_t size;
        kit_assert_ok(kin_queue_size(ends, &size));
        if (size == PAIRS) {
            kit_assert_ok(kin_queue_close(queue));
        }
    }
    kin_queue_destroy(queue);
    kin_queue_destroy(ends);
}

static void exactly_once(enum kit_mode mode, size_t capacity, int way)
{
    struct args args = {.way = way};
    kin_queue *queue = create(capacity, 0, &args.queue), *ends = create(0, 0, &args.other);
    args.seen = kin_calloc(PAIRS, sizeof *args.seen);
    kit_assert(args.seen != NULL);
    kit_run(mode, 2 * PAIRS, produce_or_consume, &args, sizeof args);
    for (unsigned p = 0; p < PAIRS; p++) {
        for (unsigned i = 0; i < MANY; i++) {
            kit_assert_int(args.seen[p][i], 1);
        }
    }
    kit_assert_ok(kin_free(args.seen));
    kin_queue_destroy(queue);
    kin_queue_destroy(ends);
}

START_TEST(every_message_comes_once)
{
    for (int way = 0; way < WAYS; way++) {
        exactly_once(kit_mode_at(_i), 0, way);
        exactly_once(kit_mode_at(_i), 3, way);
    }
}
END_TEST

/* --- closing, tasks --------------------------------------------------------------------------- */

/* One reads, one writes, both without end, until somebody closes. */
static void wait_for_the_end(struct kit_worker *me)
{
    struct args *args = me->arg;
    kin_queue *empty = attach(&args->queue), *full = attach(&args->other);
    char byte;
    size_t size = 1;
    int rc = me->index % 2 == 0 ? kin_queue_get(empty, &byte, &size, KIN_FOREVER)
                                : kin_queue_put(full, "x", 1, KIN_FOREVER);
    kit_assert_int(rc, KIN_ECLOSED);
    kin_queue_destroy(empty);
    kin_queue_destroy(full);
}

START_TEST(everybody_sees_the_end)
{
    struct args args = {.way = 0};
    kin_queue *empty = create(0, 0, &args.queue), *full = create(1, 0, &args.other);
    kit_assert_ok(kin_queue_put(full, "x", 1, 0));
    struct kit_crew *crew =
        kit_start(kit_mode_at(_i), 4, wait_for_the_end, &args, sizeof args);
    kit_assert_ok(kin_queue_close(empty));
    kit_assert_ok(kin_queue_close(full));
    kit_join(crew);
    char byte;
    size_t size = 1;
    kit_assert_int(kin_queue_get(full, &byte, &size, 0), 0); /* what was there is still there */
    kit_assert_int(kin_queue_get(full, &byte, &size, KIN_FOREVER), KIN_ECLOSED);
    kin_queue_destroy(empty);
    kin_queue_destroy(full);
}
END_TEST

static void work(struct kit_worker *me)
{
    struct args *args = me->arg;
    kin_queue *queue = attach(&args->queue);
    char byte;
    size_t size = 1;
    int rc;
    while ((rc = kin_queue_get(queue, &byte, &size, KIN_FOREVER)) == 0) {
        kit_assert_ok(kin_queue_task_done(queue));
    }
    kit_assert_int(rc, KIN_ECLOSED);
    kin_queue_destroy(queue);
}

START_TEST(join_waits_for_all_tasks)
{
    struct args args = {.way = 0};
    kin_queue *queue = create(0, 1, &args.queue);
    struct kit_crew *crew = kit_start(kit_mode_at(_i), 3, work, &args, sizeof args);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 20; i++) {
            kit_assert_ok(kin_queue_put(queue, "x", 1, 0));
        }
        kit_assert_ok(kin_queue_join(queue, KIN_FOREVER));
        struct kin_queue_stats stats = {.size = sizeof stats};
        kit_assert_ok(kin_queue_stats(queue, &stats));
        kit_assert_int(stats.unfinished, 0);
        kit_assert_int(stats.put, 20 * (round + 1));
    }
    kit_assert_int(kin_queue_task_done(queue), KIN_EOVERFLOW);
    kit_assert_ok(kin_queue_close(queue));
    kit_join(crew);
    kin_queue_destroy(queue);
}
END_TEST

/* --- descriptors ------------------------------------------------------------------------------ */

/* Answers on the other queue what comes on the first, asleep in epoll or in kin_wait. */
static void answer(struct kit_worker *me)
{
    struct args *args = me->arg;
    kin_queue *queue = attach(&args->queue), *answers = attach(&args->other);
    int fd = kin_queue_fd(queue), set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    kit_assert_ok(fd);
    kit_assert_int(kin_queue_fd(queue), fd);
    kit_assert_int(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
    for (;;) {
        if (me->index % 2 == 0) {
            int rc = epoll_wait(set, &event, 1, -1);
            kit_assert(rc == 1 || (rc < 0 && errno == EINTR));
        } else {
            struct kin_wait_item items[2] = {kin_wait_on_fd(fd, KIN_WAIT_READ),
                                             kin_wait_on_fd(set, KIN_WAIT_READ)};
            kit_assert_ok(kin_wait(items, 2, KIN_FOREVER));
            kit_assert(items[0].ready == KIN_WAIT_READ || items[1].ready == KIN_WAIT_READ);
        }
        char byte;
        size_t size = 1;
        int rc = kin_queue_get(queue, &byte, &size, 0);
        if (rc == KIN_ECLOSED) {
            break;
        }
        kit_assert(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) {
            kit_assert_ok(kin_queue_put(answers, &byte, 1, 0));
        }
    }
    close(set);
    kin_queue_destroy(queue);
    kin_queue_destroy(answers);
}

START_TEST(descriptors_wake_everywhere)
{
    struct args args = {.way = 0};
    kin_queue *queue = create(0, 0, &args.queue), *answers = create(0, 0, &args.other);
    struct kit_crew *crew = kit_start(kit_mode_at(_i), 4, answer, &args, sizeof args);
    for (int i = 0; i < 100; i++) {
        char byte = (char)i;
        size_t size = 1;
        kit_assert_ok(kin_queue_put(queue, &byte, 1, 0));
        kit_assert_ok(kin_queue_get(answers, &byte, &size, KIN_FOREVER));
        kit_assert_int(byte, (char)i);
    }
    kit_assert_ok(kin_queue_close(queue));
    kit_join(crew);
    kin_queue_destroy(queue);
    kin_queue_destroy(answers);
}
END_TEST

/* --- what the dead leave ---------------------------------------------------------------------- */

/* Queues that only the dying hold, with messages of both kinds and a view open. */
static int make_and_die(void *arg, size_t size)
{
    static char large[LARGE];
    (void)arg;
    (void)size;
    for (int i = 0; i < 20; i++) {
        kin_ref ref;
        struct kin_queue_view view;
        kin_queue *queue = create(0, i % 2, &ref);
        kit_assert_ok(kin_queue_put(queue, "small", 5, 0));
        kit_assert_ok(kin_queue_put(queue, large, sizeof large, 0));
        kit_assert_ok(kin_queue_reserve(queue, 5000, &view));
        kit_assert_ok(kin_queue_fd(queue));
    }
    raise(SIGKILL);
    return 0;
}

static struct kin_arena_stats usage(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    kit_assert_ok(kin_arena_stats(&stats));
    kin__sweep(true);
    kit_assert_ok(kin_arena_stats(&stats));
    return stats;
}

static void let_die(enum kit_mode mode)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    kin_process *process;
    int code;
    options.target = make_and_die;
    options.method = mode == KIT_FORK ? KIN_START_FORK
                     : mode == KIT_SPAWN ? KIN_START_SPAWN : KIN_START_FORKSERVER;
    kit_assert_ok(kin_process_start(&options, &process));
    kit_assert_ok(kin_process_join(process, KIN_FOREVER, &code));
    kit_assert_int(code, -SIGKILL);
    kin_process_destroy(process);
}

START_TEST(the_queues_of_the_dead_are_freed)
{
    enum kit_mode mode = kit_mode_at(_i);
    if (mode == KIT_THREADS) {
        return;
    }
    let_die(mode); /* slabs and the fork server stay */
    struct kin_arena_stats before = usage();
    for (int i = 0; i < 3; i++) {
        let_die(mode);
        struct kin_arena_stats after = usage();
        kit_assert_int(after.used, before.used);
        kit_assert_int(after.blocks, before.blocks);
        kit_assert_int(after.objects, before.objects);
    }
}
END_TEST

static Suite *queue_suite(void)
{
    Suite *suite = suite_create("queue, all modes");
    TCase *tcase = tcase_create("modes");
    tcase_set_timeout(tcase, 60);
    kit_add_modes(tcase, every_message_comes_once);
    kit_add_modes(tcase, everybody_sees_the_end);
    kit_add_modes(tcase, join_waits_for_all_tasks);
    kit_add_modes(tcase, descriptors_wake_everywhere);
    kit_add_modes(tcase, the_queues_of_the_dead_are_freed);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(queue_suite)
