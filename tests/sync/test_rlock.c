/* The recursive lock: levels, its owner is a thread of a process, recovery from every end. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "crew.h"
#include "sync/lock.h"

static kin_rlock *make(void)
{
    kin_rlock *lock = NULL;
    ck_assert_int_eq(kin_rlock_create(NULL, &lock), 0);
    return lock;
}

static bool has_sleepers(kin_rlock *lock)
{
    return (kin__a32_load(&lock->owner.word) & KIN__OWNER_WAITERS) != 0;
}

struct shared {
    kin_rlock *lock;
    kin__a32 step;
    long counter; /* guarded by the lock */
};

static struct shared *share(kin_rlock *lock)
{
    struct shared *s = crew_shared(sizeof *s);
    s->lock = lock;
    return s;
}

static int is_not_mine(unsigned index, void *arg)
{
    (void)index;
    kin_rlock *lock = arg;
    return !(kin_rlock_is_locked(lock) == 1 && kin_rlock_is_mine(lock) == 0 &&
             kin_rlock_count(lock) == 0 && kin_rlock_unlock(lock) == KIN_ENOTOWNER &&
             kin_rlock_lock(lock, 0) == -ETIMEDOUT);
}

START_TEST(test_levels)
{
    kin_rlock *lock = make();
    ck_assert_int_eq(kin_rlock_unlock(lock), KIN_ENOTOWNER);
    ck_assert_int_eq(kin_rlock_count(lock), 0);
    for (int i = 1; i <= 5; i++) {
        ck_assert_int_eq(kin_rlock_lock(lock, KIN_FOREVER), 0);
        ck_assert_int_eq(kin_rlock_count(lock), i);
    }
    ck_assert_int_eq(kin_rlock_is_mine(lock), 1);
    struct crew crew;
    crew_start(&crew, _i, 1, is_not_mine, lock);
    crew_join(&crew);
    for (int i = 4; i >= 0; i--) {
        ck_assert_int_eq(kin_rlock_is_locked(lock), 1);
        ck_assert_int_eq(kin_rlock_unlock(lock), 0);
        ck_assert_int_eq(kin_rlock_count(lock), i);
    }
    ck_assert_int_eq(kin_rlock_is_locked(lock), 0);
    ck_assert_int_eq(kin_rlock_unlock(lock), KIN_ENOTOWNER);
}
END_TEST

START_TEST(test_too_many_levels)
{
    kin_rlock *lock = make();
    ck_assert_int_eq(kin_rlock_lock(lock, 0), 0);
    kin__a32_store(&lock->count, INT32_MAX);
    ck_assert_int_eq(kin_rlock_lock(lock, 0), KIN_EOVERFLOW);
    ck_assert_int_eq(kin_rlock_count(lock), INT32_MAX);
}
END_TEST

#define ROUNDS 8000
static int count_up(unsigned index, void *arg)
{
    struct shared *s = arg;
    uint32_t random = index + 1;
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t levels = 1 + crew_random(&random) % 3;
        for (uint32_t l = 0; l < levels; l++) {
            int rc = kin_rlock_lock(s->lock, KIN_FOREVER);
            if (rc != 0) {
                return rc;
            }
        }
        s->counter++;
        if (random % 128 == 0) {
            sched_yield();
        }
        for (uint32_t l = 0; l < levels; l++) {
            int rc = kin_rlock_unlock(s->lock);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

START_TEST(test_exclusion)
{
    struct shared *s = share(make());
    struct crew crew;
    crew_start(&crew, _i, 4, count_up, s);
    crew_join(&crew);
    ck_assert_int_eq(s->counter, 4 * ROUNDS);
    ck_assert_int_eq(kin_rlock_is_locked(s->lock), 0);
}
END_TEST

static int lock_thrice(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    for (int i = 0; i < 3; i++) {
        int rc = kin_rlock_lock(s->lock, KIN_FOREVER);
        if (rc < 0) {
            return rc;
        }
    }
    crew_post(&s->step);
    return 0;
}

static int lock_thrice_and_hold(unsigned index, void *arg)
{
    lock_thrice(index, arg);
    pause();
    return 1;
}

static int expect_recovered(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_rlock_lock(s->lock, 10 * SECOND);
    if (rc != KIN_RECOVERED) {
        return rc == 0 ? 1 : rc;
    }
    if (kin_rlock_count(s->lock) != 1 || kin_rlock_is_recovered(s->lock) != 1) {
        return 2;
    }
    return kin_rlock_unlock(s->lock);
}

START_TEST(test_owner_killed)
{
    struct shared *s = share(make());
    pid_t owner = crew_fork(lock_thrice_and_hold, 0, s);
    crew_await(&s->step, 1);
    struct crew crew;
    crew_start(&crew, _i, 1, expect_recovered, s);
    CREW_UNTIL(has_sleepers(s->lock));
    int64_t start = crew_now();
    crew_kill(owner);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_int_eq(kin_rlock_lock(s->lock, 0), 0);
    ck_assert_int_eq(kin_rlock_is_recovered(s->lock), 0);
}
END_TEST

START_TEST(test_orderly_end_recovers)
{
    struct shared *s = share(make());
    ck_assert_int_eq(crew_reap(crew_fork(lock_thrice, 0, s)), 0);
    ck_assert_int_eq(kin_rlock_lock(s->lock, SECOND), KIN_RECOVERED);
    ck_assert_int_eq(kin_rlock_count(s->lock), 1);
}
END_TEST

static int locked_by_parent(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    if (kin_rlock_is_mine(s->lock) || kin_rlock_lock(s->lock, 0) != -ETIMEDOUT) {
        return 1;
    }
    crew_post(&s->step);
    int rc = kin_rlock_lock(s->lock, 10 * SECOND);
    return rc == 0 && kin_rlock_count(s->lock) == 1 ? kin_rlock_unlock(s->lock) : 2;
}

START_TEST(test_forked_child_is_another_owner)
{
    struct shared *s = share(make());
    ck_assert_int_eq(kin_rlock_lock(s->lock, 0), 0);
    pid_t child = crew_fork(locked_by_parent, 0, s);
    crew_await(&s->step, 1);
    CREW_UNTIL(has_sleepers(s->lock));
    ck_assert_int_eq(kin_rlock_unlock(s->lock), 0);
    ck_assert_int_eq(crew_reap(child), 0);
}
END_TEST

START_TEST(test_reference)
{
    kin_rlock *lock = make(), *again = NULL;
    kin_ref ref;
    ck_assert_int_eq(kin_rlock_ref(lock, &ref), 0);
    ck_assert_int_eq(kin_rlock_attach(&ref, &again), 0);
    ck_assert_int_eq(kin_rlock_lock(lock, 0), 0);
    ck_assert_int_eq(kin_rlock_count(again), 1);
    kin_lock *other = NULL;
    ck_assert_int_eq(kin_lock_attach(&ref, &other), KIN_ETYPE);
    ck_assert_ptr_null(kin_rlock_destroy(lock));
    ck_assert_int_eq(kin_rlock_unlock(again), 0);
    ck_assert_ptr_null(kin_rlock_destroy(again));
    ck_assert_int_eq(kin_rlock_attach(&ref, &lock), KIN_ESTALE);
    ck_assert_ptr_null(kin_rlock_destroy(NULL));
}
END_TEST

static Suite *rlock_suite(void)
{
    const struct crew_test tests[] = {
        {test_levels, true},
        {test_too_many_levels, false},
        {test_exclusion, true},
        {test_owner_killed, true},
        {test_orderly_end_recovers, false},
        {test_forked_child_is_another_owner, false},
        {test_reference, false},
    };
    return crew_suite("rlock", tests, sizeof tests / sizeof tests[0]);
}

KIT_CHECK_MAIN(rlock_suite)
