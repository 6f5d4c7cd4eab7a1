/* The condition: order, levels, timeouts, and notifies that survive whom they were given to. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "crew.h"
#include "os/os.h"
#include "shm/slot.h"

struct shared {
    kin_condition *condition;
    kin_lock *lock;
    kin_rlock *rlock;
    kin__a32 step;
    kin__a32 woken;
    kin__a32 recovered;
    kin__a32 go;
    int items; /* these two guarded by the condition's lock */
    int taken;
    kin_ref ref;
};

static struct shared *share(void)
{
    struct shared *s = crew_shared(sizeof *s);
    ck_assert_int_eq(kin_condition_create(NULL, &s->condition), 0);
    return s;
}

static struct shared *share_over_lock(int strict)
{
    struct shared *s = crew_shared(sizeof *s);
    struct kin_lock_options lock_options = KIN_LOCK_OPTIONS_INIT;
    lock_options.strict = strict;
    ck_assert_int_eq(kin_lock_create(&lock_options, &s->lock), 0);
    struct kin_condition_options options = KIN_CONDITION_OPTIONS_INIT;
    options.lock = s->lock;
    ck_assert_int_eq(kin_condition_create(&options, &s->condition), 0);
    return s;
}

START_TEST(test_arguments)
{
    kin_condition *condition = NULL;
    ck_assert_int_eq(kin_condition_create(NULL, NULL), -EINVAL);
    struct kin_condition_options options = KIN_CONDITION_OPTIONS_INIT;
    ck_assert_int_eq(kin_lock_create(NULL, &options.lock), 0);
    ck_assert_int_eq(kin_rlock_create(NULL, &options.rlock), 0);
    ck_assert_int_eq(kin_condition_create(&options, &condition), -EINVAL);
    ck_assert_ptr_null(condition);
    kin_lock *lock = options.lock;
    options.lock = NULL;
    ck_assert_int_eq(kin_condition_create(&options, &condition), 0);
    /* The condition keeps it alive. */
    kin_rlock_destroy(options.rlock);
    ck_assert_int_eq(kin_condition_wait(condition, 0), KIN_ENOTOWNER);
    ck_assert_int_eq(kin_condition_lock(condition, 0), 0);
    ck_assert_int_eq(kin_condition_is_mine(condition), 1);
    ck_assert_int_eq(kin_condition_unlock(condition), 0);
    ck_assert_int_eq(kin_condition_is_mine(condition), 0);
    ck_assert_int_eq(kin_condition_notify(condition, 1), 0);
    ck_assert_int_eq(kin_condition_notify_all(condition), 0);
    ck_assert_ptr_null(kin_condition_destroy(condition));
    ck_assert_ptr_null(kin_condition_destroy(NULL));
    kin_lock_destroy(lock);
    struct kin_arena_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    ck_assert_uint_eq(stats.objects, 0);
}
END_TEST

START_TEST(test_timeout_locks_again)
{
    struct shared *s = share();
    for (int levels = 1; levels <= 3; levels++) {
        ck_assert_int_eq(kin_condition_lock(s->condition, 0), 0);
        int64_t start = crew_now();
        ck_assert_int_eq(kin_condition_wait(s->condition, 120 * MS), -ETIMEDOUT);
        ck_assert_int_ge(crew_now() - start, 120 * MS);
        ck_assert_int_eq(kin_condition_is_mine(s->condition), 1);
        ck_assert_int_eq(kin_condition_waiting(s->condition), 0);
    }
    for (int levels = 1; levels <= 3; levels++) {
        ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    }
    ck_assert_int_eq(kin_condition_unlock(s->condition), KIN_ENOTOWNER);
    s = share_over_lock(0);
    ck_assert_int_eq(kin_condition_lock(s->condition, 0), 0);
    ck_assert_int_eq(kin_condition_wait(s->condition, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_condition_is_mine(s->condition), 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
}
END_TEST

/* Waits once; counts itself as woken. */
static int wait_once(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_condition_lock(s->condition, 10 * SECOND);
    if (rc < 0) {
        return rc;
    }
    crew_post(&s->step);
    rc = kin_condition_wait(s->condition, 10 * SECOND);
    if (rc < 0) {
        return rc;
    }
    if (rc == KIN_RECOVERED) {
        crew_post(&s->recovered);
    }
    crew_post(&s->woken);
    return kin_condition_unlock(s->condition);
}

/* That many wait: they said so with the lock held, and we hold it now. */
static void hold_once_they_wait(struct shared *s, uint32_t count)
{
    crew_await(&s->step, count);
    ck_assert_int_ge(kin_condition_lock(s->condition, 10 * SECOND), 0);
}

START_TEST(test_notify_wakes_as_many_as_told)
{
    struct shared *s = share();
    struct crew crew;
    crew_start(&crew, _i, 6, wait_once, s);
    hold_once_they_wait(s, 6);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 6);
    ck_assert_int_eq(kin_condition_notify(s->condition, 1), 0);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 5);
    ck_assert_int_eq(kin_condition_notify(s->condition, 2), 0);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 3);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_await(&s->woken, 3);
    /* Nobody else: the fourth would need a notify. */
    ck_assert_int_eq(kin_condition_lock(s->condition, KIN_FOREVER), 0);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 3);
    ck_assert_uint_eq(kin__a32_load(&s->woken), 3);
    ck_assert_int_eq(kin_condition_notify_all(s->condition), 0);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 0);
    int64_t start = crew_now();
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_uint_eq(kin__a32_load(&s->recovered), 0);
}
END_TEST

static int produce_or_consume(unsigned index, void *arg)
{
    enum { ROUNDS = 2000 };
    struct shared *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = kin_condition_lock(s->condition, KIN_FOREVER);
        if (rc < 0) {
            return rc;
        }
        if (index % 2 == 0) {
            s->items++;
            rc = kin_condition_notify(s->condition, 1);
        } else {
            while (rc >= 0 && s->items == 0) {
                rc = kin_condition_wait(s->condition, 10 * SECOND);
            }
            s->items--;
            s->taken++;
        }
        if (rc < 0) {
            return rc;
        }
        rc = kin_condition_unlock(s->condition);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

START_TEST(test_producers_and_consumers)
{
    for (int plain = 0; plain < 2; plain++) {
        struct shared *s = plain ? share_over_lock(0) : share();
        struct crew crew;
        crew_start(&crew, _i, 6, produce_or_consume, s);
        crew_join(&crew);
        ck_assert_int_eq(s->items, 0);
        ck_assert_int_eq(s->taken, 3 * 2000);
        ck_assert_int_eq(kin_condition_waiting(s->condition), 0);
    }
}
END_TEST

START_TEST(test_notify_of_a_dead_waiter_is_passed_on)
{
    struct shared *s = share();
    /* The first in line gets the notify and dies before its wait can return: we hold the lock. */
    pid_t first = crew_fork(wait_once, 0, s);
    hold_once_they_wait(s, 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    struct crew crew;
    crew_start(&crew, _i, 2, wait_once, s);
    hold_once_they_wait(s, 3);
    ck_assert_int_eq(kin_condition_notify(s->condition, 1), 0);
    crew_kill(first);
    kin__sweep(true);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_await(&s->woken, 1);
    ck_assert_int_eq(kin_condition_lock(s->condition, KIN_FOREVER), 0);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 1);
    ck_assert_int_eq(kin_condition_notify(s->condition, 1), 0);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_join(&crew);
    ck_assert_uint_eq(kin__a32_load(&s->recovered), 0);
}
END_TEST

START_TEST(test_dead_waiter_is_not_notified)
{
    struct shared *s = share();
    pid_t first = crew_fork(wait_once, 0, s);
    hold_once_they_wait(s, 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_kill(first);
    struct crew crew;
    crew_start(&crew, _i, 1, wait_once, s);
    hold_once_they_wait(s, 2);
    int64_t start = crew_now();
    /* Whether it goes to the dead one first or not. */
    ck_assert_int_eq(kin_condition_notify(s->condition, 1), 0);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
}
END_TEST

static int lock_and_hold(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_condition_lock(s->condition, 10 * SECOND);
    crew_post(&s->go);
    if (rc == 0) {
        pause();
    }
    return 1;
}

START_TEST(test_owner_killed_wakes_all)
{
    struct shared *s = share();
    struct crew crew;
    crew_start(&crew, _i, 3, wait_once, s);
    hold_once_they_wait(s, 3);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    pid_t owner = crew_fork(lock_and_hold, 0, s);
    crew_await(&s->go, 1);
    int64_t start = crew_now();
    crew_kill(owner);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_uint_eq(kin__a32_load(&s->recovered), 1);
    ck_assert_uint_eq(kin__a32_load(&s->woken), 3);
}
END_TEST

static int drop_lock_and_hold(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    kin_condition_destroy(s->condition); /* this process now holds the lock alone */
    int rc = kin_lock_lock(s->lock, 10 * SECOND);
    crew_post(&s->go);
    if (rc == 0) {
        pause();
    }
    return 1;
}

START_TEST(test_owner_without_the_condition_killed)
{
    struct shared *s = share_over_lock(0);
    pid_t waiter = crew_fork(wait_once, 0, s);
    hold_once_they_wait(s, 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    pid_t owner = crew_fork(drop_lock_and_hold, 0, s);
    crew_await(&s->go, 1);
    int64_t start = crew_now();
    crew_kill(owner);
    ck_assert_int_eq(crew_reap(waiter), 0);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_uint_eq(kin__a32_load(&s->recovered), 1);
}
END_TEST

START_TEST(test_successor_of_a_dead_owner_who_says_nothing)
{
    struct shared *s = share_over_lock(0);
    pid_t waiter = crew_fork(wait_once, 0, s);
    hold_once_they_wait(s, 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    pid_t owner = crew_fork(drop_lock_and_hold, 0, s);
    crew_await(&s->go, 1);
    crew_kill(owner);
    /* The lock comes to us, and is free again, before the waiter has looked. */
    ck_assert_int_ge(kin_lock_lock(s->lock, SECOND), 0);
    ck_assert_int_eq(kin_lock_unlock(s->lock), 0);
    int64_t start = crew_now();
    ck_assert_int_eq(crew_reap(waiter), 0);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_uint_eq(kin__a32_load(&s->woken), 1);
}
END_TEST

static int expect_owner_dead(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_condition_lock(s->condition, 10 * SECOND);
    if (rc < 0) {
        return rc;
    }
    crew_post(&s->step);
    rc = kin_condition_wait(s->condition, 10 * SECOND);
    return rc == KIN_EOWNERDEAD ? 0 : 1;
}

START_TEST(test_strict_lock)
{
    struct shared *s = share_over_lock(1);
    struct crew crew;
    crew_start(&crew, _i, 2, expect_owner_dead, s);
    hold_once_they_wait(s, 2);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    pid_t owner = crew_fork(lock_and_hold, 0, s);
    crew_await(&s->go, 1);
    crew_kill(owner);
    crew_join(&crew);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 0);
    ck_assert_int_eq(kin_lock_recover(s->lock), 0);
    ck_assert_int_eq(kin_condition_wait(s->condition, 0), -ETIMEDOUT);
    ck_assert_int_eq(kin_lock_unlock(s->lock), 0);
}
END_TEST

static int stop_waiting(void *arg)
{
    return kin__a32_load(arg) != 0 ? -ECANCELED : 0;
}

static int wait_until_interrupted(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_condition_lock(s->condition, 10 * SECOND);
    if (rc < 0) {
        return rc;
    }
    crew_post(&s->step);
    kin_thread_set_interrupt(stop_waiting, &s->go);
    rc = kin_condition_wait(s->condition, KIN_FOREVER);
    kin_thread_set_interrupt(NULL, NULL);
    if (rc != -ECANCELED || kin_condition_is_mine(s->condition) != 1) {
        return 1;
    }
    crew_post(&s->woken);
    return kin_condition_unlock(s->condition);
}

START_TEST(test_interrupt)
{
    struct shared *s = share();
    struct crew crew, other;
    crew_start(&crew, _i, 1, wait_until_interrupted, s);
    hold_once_they_wait(s, 1);
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_start(&other, _i, 1, wait_once, s);
    hold_once_they_wait(s, 2);
    crew_post(&s->go);
    /* The interrupted one cannot get the lock; a notify that it does not use goes to the other. */
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_await(&s->woken, 1);
    crew_join(&crew);
    ck_assert_int_eq(kin_condition_notify(s->condition, 1), 0);
    crew_join(&other);
}
END_TEST

static int use_by_reference(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    kin_condition *condition = NULL;
    int rc = kin_condition_attach(&s->ref, &condition);
    if (rc == 0) {
        rc = kin_condition_lock(condition, 10 * SECOND);
    }
    if (rc == 0) {
        s->items = 1;
        rc = kin_condition_notify_all(condition);
    }
    if (rc == 0) {
        rc = kin_condition_unlock(condition);
    }
    kin_condition_destroy(condition);
    return rc;
}

START_TEST(test_reference)
{
    struct shared *s = share();
    ck_assert_int_eq(kin_condition_ref(s->condition, &s->ref), 0);
    ck_assert_int_eq(kin_condition_lock(s->condition, 0), 0);
    struct crew crew;
    crew_start(&crew, _i, 1, use_by_reference, s);
    while (s->items == 0) {
        ck_assert_int_eq(kin_condition_wait(s->condition, 10 * SECOND), 0);
    }
    ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
    crew_join(&crew);
    kin__sweep(true);
    kin_condition_destroy(s->condition);
    kin_condition *condition = NULL;
    ck_assert_int_eq(kin_condition_attach(&s->ref, &condition), KIN_ESTALE);
    ck_assert_ptr_null(condition);
}
END_TEST

/* Consumers for ever, killed at random, while we produce: every item is taken, though a notify may
 * have been given to a victim, and the takers that die lose at most what they had taken. */
static int consume_for_ever(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_condition_lock(s->condition, KIN_FOREVER);
    for (;;) {
        while (rc >= 0 && s->items == 0) {
            rc = kin_condition_wait(s->condition, KIN_FOREVER);
        }
        if (rc < 0) {
            return 1;
        }
        s->items--;
        crew_post(&s->woken);
        if (kin_condition_unlock(s->condition) < 0) {
            return 1;
        }
        rc = kin_condition_lock(s->condition, KIN_FOREVER);
    }
}

START_TEST(test_storm_of_kills)
{
    struct shared *s = share();
    uint32_t random = crew_seed();
    pid_t pid[4];
    for (unsigned i = 0; i < 4; i++) {
        pid[i] = crew_fork(consume_for_ever, i, s);
    }
    for (int kills = 0; kills < 60; kills++) {
        unsigned victim = crew_random(&random) % 4;
        uint32_t items = crew_random(&random) % 8;
        for (uint32_t i = 0; i <= items; i++) {
            ck_assert_int_ge(kin_condition_lock(s->condition, 5 * SECOND), 0);
            s->items++;
            ck_assert_int_eq(kin_condition_notify(s->condition, 1), 0);
            ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
        }
        crew_kill(pid[victim]);
        /* All of it is taken by the three who are left. */
        int left = 1;
        int64_t until = crew_now() + 3 * SECOND;
        while (left > 0 && crew_now() < until) {
            ck_assert_int_ge(kin_condition_lock(s->condition, 5 * SECOND), 0);
            left = s->items;
            ck_assert_int_eq(kin_condition_unlock(s->condition), 0);
            crew_yield();
        }
        ck_assert_int_eq(left, 0);
        pid[victim] = crew_fork(consume_for_ever, victim, s);
    }
    for (unsigned i = 0; i < 4; i++) {
        crew_kill(pid[i]);
    }
    kin__sweep(true);
    ck_assert_int_eq(kin_condition_waiting(s->condition), 0);
}
END_TEST

static Suite *condition_suite(void)
{
    const struct crew_test tests[] = {
        {test_arguments, false},
        {test_timeout_locks_again, false},
        {test_notify_wakes_as_many_as_told, true},
        {test_producers_and_consumers, true},
        {test_notify_of_a_dead_waiter_is_passed_on, true},
        {test_dead_waiter_is_not_notified, true},
        {test_owner_killed_wakes_all, true},
        {test_owner_without_the_condition_killed, false},
        {test_successor_of_a_dead_owner_who_says_nothing, false},
        {test_strict_lock, true},
        {test_interrupt, true},
        {test_reference, true},
        {test_storm_of_kills, false},
    };
    return crew_suite("condition", tests, sizeof tests / sizeof tests[0]);
}

KIT_CHECK_MAIN(condition_suite)
