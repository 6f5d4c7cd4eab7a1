/*
 * Queues under SIGKILL: members die at random moments of their operations, the rest go on, every
 * message arrives that is due, and no memory stays behind. The seed is printed; KIN_SEED repeats.
 */
#include <check.h>
#include <errno.h>
#include <kinfolk.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit/modes.h"
#include "shm/slot.h"
#include "team.h"

#define MS INT64_C(1000000)

static uint64_t blocks(void)
{
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin__enter(), 0);
    kin__sweep(true);
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    return stats.blocks;
}

static kin_queue *create(size_t capacity, int joinable)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = capacity;
    options.joinable = joinable;
    kin_queue *queue = NULL;
    ck_assert_int_eq(kin_queue_create(&options, &queue), 0);
    return queue;
}

static int child_of_test(int parent)
{
    int pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
    }
    return pid;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- storm ---------------------------------------------------------------------------------- */

#define PRODUCERS 400 /* in the course of a storm */
#define MESSAGES 4000 /* at most, of each */
#define LARGEST 3000

struct storm {
    kin_queue *queue;
    struct {
        volatile int stop;
        volatile uint32_t confirmed[PRODUCERS]; /* messages whose put has returned */
        unsigned char seen[PRODUCERS][MESSAGES];
        volatile int failed; /* a line */
    } * shared;
};

struct stamp {
    uint32_t producer;
    uint32_t seq;
};

static size_t size_of(struct stamp stamp)
{
    uint32_t mix = (stamp.producer + 1) * 2654435761u ^ stamp.seq * 40503u;
    return mix % 8 == 0 ? 300 + mix % (LARGEST - 300) : sizeof stamp + mix % 200;
}

static int produce(struct storm *storm, uint32_t producer)
{
    unsigned char message[LARGEST];
    for (uint32_t i = 0; i < MESSAGES && !storm->shared->stop; i++) {
        struct stamp stamp = {.producer = producer, .seq = i};
        size_t size = size_of(stamp);
        memset(message, (int)(producer + i) & 0xff, size);
        memcpy(message, &stamp, sizeof stamp);
        if (i % 7 == 3) {
            struct kin_queue_view view;
            TEAM_CHECK(kin_queue_reserve(storm->queue, size, &view) == 0);
            memcpy(view.data, message, size);
            TEAM_CHECK(kin_queue_commit(storm->queue, &view, size, KIN_FOREVER) == 0);
        } else {
            TEAM_CHECK(kin_queue_put(storm->queue, message, size, KIN_FOREVER) == 0);
        }
        storm->shared->confirmed[producer] = i + 1;
    }
    return 0;
}

static int check_and_count(struct storm *storm, int64_t *last, const unsigned char *message,
                           size_t size)
{
    struct stamp stamp;
    memcpy(&stamp, message, sizeof stamp);
    TEAM_CHECK(stamp.producer < PRODUCERS && stamp.seq < MESSAGES);
    __atomic_add_fetch(&storm->shared->seen[stamp.producer][stamp.seq], 1, __ATOMIC_SEQ_CST);
    TEAM_CHECK(size == size_of(stamp));
    for (size_t i = sizeof stamp; i < size; i++) {
        TEAM_CHECK(message[i] == ((stamp.producer + stamp.seq) & 0xff));
    }
    TEAM_CHECK((int64_t)stamp.seq > last[stamp.producer]);
    last[stamp.producer] = stamp.seq;
    return 0;
}

static int consume(struct storm *storm, bool polling)
{
    static int64_t last[PRODUCERS];
    uint32_t round = 0;
    memset(last, -1, sizeof last);
    int fd = polling ? kin_queue_fd(storm->queue) : -1;
    TEAM_CHECK(!polling || fd >= 0);
    for (;;) {
        unsigned char message[LARGEST];
        size_t size = sizeof message;
        int rc, line;
        if (polling) {
            struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
            poll(&poll_fd, 1, -1);
        }
        struct kin_queue_view view;
        if (!polling && round++ % 2 == 0) {
            rc = kin_queue_peek(storm->queue, &view, KIN_FOREVER);
            if (rc == 0) {
                line = check_and_count(storm, last, view.data, view.size);
                TEAM_CHECK(kin_queue_release(storm->queue, &view) == 0);
            }
        } else {
            rc = kin_queue_get(storm->queue, message, &size, polling ? 0 : KIN_FOREVER);
            if (rc == 0) {
                line = check_and_count(storm, last, message, size);
            }
        }
        if (rc == KIN_ECLOSED) {
            return 0;
        }
        if (polling && rc == -ETIMEDOUT) {
            continue;
        }
        TEAM_CHECK(rc == 0);
        if (line != 0) {
            return line;
        }
    }
}

enum { MEMBERS = 6 }; /* three producers, three consumers, one of which polls */

static int start_member(struct storm *storm, int parent, unsigned which, uint32_t *producers)
{
    uint32_t producer = which < 3 ? (*producers)++ : 0;
    ck_assert_uint_lt(producer, PRODUCERS);
    int pid = child_of_test(parent);
    if (pid == 0) {
        int line = which < 3 ? produce(storm, producer) : consume(storm, which == 5);
        if (line != 0) {
            storm->shared->failed = line;
        }
        _exit(line != 0);
    }
    return pid;
}

START_TEST(a_storm_of_kills)
{
    const char *given = getenv("KIN_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0)
                                  : (uint64_t)team_now() * 2654435761u + (uint64_t)_i;
    seed |= 1;
    size_t capacity = _i == 0 ? 0 : _i == 1 ? 1 : 20;
    struct storm storm = {.queue = create(capacity, 0),
                          .shared = team_memory(sizeof *storm.shared)};
    int parent = getpid(), pid[MEMBERS];
    uint32_t producers = 0, killed_consumers = 0, kills = 0;
    uint64_t random = seed;
    for (unsigned i = 0; i < MEMBERS; i++) {
        pid[i] = start_member(&storm, parent, i, &producers);
    }
    int64_t end = team_now() + 2500 * MS;
    while (team_now() < end && producers < PRODUCERS) {
        int64_t until = team_now() + (int64_t)(next_random(&random) % (20 * MS));
        while (team_now() < until && producers < PRODUCERS - 1) { /* one is for the kill below */
            int status, ended = waitpid(-1, &status, WNOHANG);
            for (unsigned i = 0; i < 3 && ended > 0; i++) {
                if (pid[i] == ended) { /* has put all it may */
                    ck_assert_int_eq(status, 0);
                    pid[i] = start_member(&storm, parent, i, &producers);
                }
            }
            usleep(next_random(&random) % 100);
        }
        unsigned which = next_random(&random) % MEMBERS;
        int status;
        kill(pid[which], SIGKILL);
        ck_assert_int_eq(waitpid(pid[which], &status, 0), pid[which]);
        killed_consumers += which >= 3 && WIFSIGNALED(status);
        kills++;
        pid[which] = start_member(&storm, parent, which, &producers);
    }
    storm.shared->stop = 1;
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (i == 3) {
            ck_assert_int_eq(kin_queue_close(storm.queue), 0);
        }
        int status;
        ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
        ck_assert_msg(status == 0, "member %u: line %d (seed %#llx)", i, storm.shared->failed,
                      (unsigned long long)seed);
    }
    uint32_t lost = 0, all = 0, twice = 0, early = 0;
    for (uint32_t p = 0; p < producers; p++) {
        for (uint32_t i = 0; i < MESSAGES; i++) {
            unsigned seen = storm.shared->seen[p][i];
            bool confirmed = i < storm.shared->confirmed[p];
            twice += seen > 1;
            early += seen != 0 && i > storm.shared->confirmed[p];
            lost += confirmed && seen == 0;
            all += seen;
        }
    }
    ck_assert_msg(twice == 0 && early == 0, "%u came twice, %u were never put (seed %#llx)", twice,
                  early, (unsigned long long)seed);
    ck_assert_msg(lost <= killed_consumers, "%u lost, %u consumers killed (seed %#llx)", lost,
                  killed_consumers, (unsigned long long)seed);
    kin_queue_destroy(storm.queue);
    ck_assert_msg(blocks() == 0, "blocks left (seed %#llx)", (unsigned long long)seed);
    printf("storm: capacity %zu, %u kills, %u messages, %u taken by the dead, seed %#llx\n",
           capacity, kills, all, lost, (unsigned long long)seed);
}
END_TEST

/* --- single deaths --------------------------------------------------------------------------- */

static void wait_for(int pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(a_dead_workers_task_is_done)
{
    kin_queue *queue = create(0, 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(kin_queue_put(queue, "task", 4, 0), 0);
    }
    char task[4];
    size_t size = sizeof task;
    int pid = child_of_test(getpid());
    if (pid == 0) {
        kin_queue_get(queue, task, &size, KIN_FOREVER);
        kin_queue_get(queue, task, &size, KIN_FOREVER);
        kin_queue_task_done(queue);
        raise(SIGKILL);
    }
    wait_for(pid);
    ck_assert_int_eq(kin_queue_get(queue, task, &size, 0), 0);
    ck_assert_int_eq(kin_queue_task_done(queue), 0);
    /* One is left, the dead one's; whoever joins finds out that it died. */
    ck_assert_int_eq(kin_queue_join(queue, 10000 * MS), 0);
    struct kin_queue_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin_queue_stats(queue, &stats), 0);
    ck_assert_uint_eq(stats.lost, 1);
    ck_assert_uint_eq(stats.unfinished, 0);
    kin_queue_destroy(queue);
}
END_TEST

static void *getter(void *queue)
{
    static char byte;
    size_t size = 1;
    return kin_queue_get(queue, &byte, &size, KIN_FOREVER) == 0 ? &byte : NULL;
}

/* Sleepers at both ends die; what they had is freed, and others are served. */
START_TEST(dead_sleepers_hold_nobody_up)
{
    kin_queue *full = create(1, 0), *empty = create(0, 0);
    ck_assert_int_eq(kin_queue_put(full, "x", 1, 0), 0);
    int *asleep = team_memory(sizeof *asleep);
    int pid[2];
    for (int i = 0; i < 2; i++) {
        pid[i] = child_of_test(getpid());
        if (pid[i] == 0) {
            static char big[100000];
            struct kin_queue_view view;
            if (i == 0) {
                getter(empty);
            }
            kin_queue_reserve(full, sizeof big, &view);
            __atomic_add_fetch(asleep, 1, __ATOMIC_SEQ_CST);
            kin_queue_commit(full, &view, sizeof big, KIN_FOREVER);
            _exit(1);
        }
    }
    while (__atomic_load_n(asleep, __ATOMIC_SEQ_CST) < 1) {
        usleep(1000);
    }
    for (int i = 0; i < 2; i++) {
        kill(pid[i], SIGKILL);
        wait_for(pid[i]);
    }
    ck_assert_int_eq(kin_queue_put(empty, "y", 1, 0), 0);
    ck_assert_ptr_nonnull(getter(empty));
    ck_assert_ptr_nonnull(getter(full));
    ck_assert_int_eq(kin_queue_put(full, "z", 1, 0), 0);
    kin_queue_destroy(full);
    kin_queue_destroy(empty);
    ck_assert_uint_eq(blocks(), 0);
}
END_TEST

static Suite *queue_kill_suite(void)
{
    Suite *suite = suite_create("queue under kills");
    TCase *core = tcase_create("core");
    tcase_set_timeout(core, 60);
    tcase_add_loop_test(core, a_storm_of_kills, 0, 3);
    tcase_add_test(core, a_dead_workers_task_is_done);
    tcase_add_test(core, dead_sleepers_hold_nobody_up);
    suite_add_tcase(suite, core);
    return suite;
}

KIT_CHECK_MAIN(queue_kill_suite)
