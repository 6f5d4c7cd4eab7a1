/*
 * The plain lock: exclusion, waiting, hand-off, and what its owner's death leaves. The deaths are
 * by SIGKILL at points that the test chooses; the kill sweeps take all the others.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "crew.h"
#include "os/os.h"
#include "sync/lock.h"

static kin_lock *make(void)
{
    kin_lock *lock = NULL;
    ck_assert_int_eq(kin_lock_create(NULL, &lock), 0);
    return lock;
}

static bool has_sleepers(kin_lock *lock)
{
    return (kin__a32_load(&lock->owner.word) & KIN__OWNER_WAITERS) != 0;
}

/* What the bodies share. */
struct shared {
    kin_lock *lock;
    kin__a32 step;
    long counter; /* guarded by the lock */
    kin_ref ref;
    int strict;
};

static struct shared *share(kin_lock *lock)
{
    struct shared *s = crew_shared(sizeof *s);
    s->lock = lock;
    return s;
}

static int try_in_thread(unsigned index, void *arg)
{
    (void)index;
    return kin_lock_lock(arg, 0) == -ETIMEDOUT ? 0 : 1;
}

START_TEST(test_basics)
{
    ck_assert_int_eq(kin_lock_create(NULL, NULL), -EINVAL);
    struct kin_lock_options bad = KIN_LOCK_OPTIONS_INIT;
    bad.size = 1;
    kin_lock *lock = NULL;
    ck_assert_int_eq(kin_lock_create(&bad, &lock), -EINVAL);
    ck_assert_ptr_null(lock);
    lock = make();
    ck_assert_int_eq(kin_lock_is_locked(lock), 0);
    ck_assert_int_eq(kin_lock_unlock(lock), KIN_EOVERFLOW);
    ck_assert_int_eq(kin_lock_lock(lock, KIN_FOREVER), 0);
    ck_assert_int_eq(kin_lock_is_locked(lock), 1);
    ck_assert_int_eq(kin_lock_is_mine(lock), 1);
    ck_assert_int_eq(kin_lock_is_recovered(lock), 0);
    ck_assert_int_eq(kin_lock_lock(lock, 0), -ETIMEDOUT);
    struct crew crew;
    crew_start(&crew, CREW_THREADS, 1, try_in_thread, lock);
    crew_join(&crew);
    crew_start(&crew, CREW_FORKS, 1, try_in_thread, lock);
    crew_join(&crew);
    ck_assert_int_eq(kin_lock_unlock(lock), 0);
    ck_assert_int_eq(kin_lock_unlock(lock), KIN_EOVERFLOW);
    ck_assert_int_eq(kin_lock_recover(lock), KIN_ESTATE);
    kin__sweep(true); /* the forked child's hold on it ends */
    kin_lock *gone = lock;
    ck_assert_ptr_null(kin_lock_destroy(lock));
    ck_assert_ptr_null(kin_lock_destroy(NULL));
    ck_assert_int_eq(kin_lock_lock(gone, 0), KIN_ESTALE);
    ck_assert_int_eq(kin_lock_lock(NULL, 0), -EINVAL);
    int local;
    ck_assert_int_eq(kin_lock_lock((kin_lock *)&local, 0), -EINVAL);
}
END_TEST

START_TEST(test_timeout)
{
    kin_lock *lock = make();
    ck_assert_int_eq(kin_lock_lock(lock, 0), 0);
    int64_t start = crew_now();
    ck_assert_int_eq(kin_lock_lock(lock, 150 * MS), -ETIMEDOUT);
    int64_t took = crew_now() - start;
    ck_assert_int_ge(took, 150 * MS);
    ck_assert_int_le(took, 5 * SECOND);
    ck_assert_int_eq(kin_lock_unlock(lock), 0);
    ck_assert_int_eq(kin_lock_lock(lock, 1), 0);
    kin_lock_destroy(lock);
}
END_TEST

#define ROUNDS 20000
static int count_up(unsigned index, void *arg)
{
    struct shared *s = arg;
    uint32_t random = index + 1;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = kin_lock_lock(s->lock, KIN_FOREVER);
        if (rc != 0) {
            return rc;
        }
        s->counter++;
        if (crew_random(&random) % 256 == 0) {
            sched_yield();
        }
        rc = kin_lock_unlock(s->lock);
        if (rc != 0) {
            return rc;
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
    ck_assert_int_eq(kin_lock_is_locked(s->lock), 0);
}
END_TEST

static int lock_and_hold(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_lock_lock(s->lock, KIN_FOREVER);
    crew_post(&s->step);
    if (rc == 0) {
        pause();
    }
    return 1;
}

static int lock_only(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    return kin_lock_lock(s->lock, KIN_FOREVER) < 0;
}

static int expect_recovered(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_lock_lock(s->lock, 10 * SECOND);
    if (rc != KIN_RECOVERED || kin_lock_is_recovered(s->lock) != 1) {
        return rc == 0 ? 1 : rc;
    }
    return kin_lock_unlock(s->lock);
}

START_TEST(test_owner_killed_while_others_wait)
{
    struct shared *s = share(make());
    pid_t owner = crew_fork(lock_and_hold, 0, s);
    crew_await(&s->step, 1);
    ck_assert_int_eq(kin_lock_is_mine(s->lock), 0);
    struct crew crew;
    crew_start(&crew, _i, 1, expect_recovered, s);
    CREW_UNTIL(has_sleepers(s->lock));
    int64_t start = crew_now();
    kill(owner, SIGKILL);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
    crew_reap(owner);
    /* Told once: the next owner holds an ordinary lock. */
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), 0);
    ck_assert_int_eq(kin_lock_is_recovered(s->lock), 0);
    ck_assert_int_eq(kin_lock_unlock(s->lock), 0);
}
END_TEST

START_TEST(test_owner_killed_without_waitv)
{
    kin__futex_refuse_waitv(true);
    struct shared *s = share(make());
    pid_t owner = crew_fork(lock_and_hold, 0, s);
    crew_await(&s->step, 1);
    struct crew crew;
    crew_start(&crew, CREW_FORKS, 1, expect_recovered, s);
    CREW_UNTIL(has_sleepers(s->lock));
    int64_t start = crew_now();
    kill(owner, SIGKILL);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
    crew_reap(owner);
}
END_TEST

START_TEST(test_try_after_owner_killed)
{
    struct shared *s = share(make());
    crew_reap(crew_fork_crash(lock_only, 0, s));
    /* Nobody but this very call can have noticed. */
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), KIN_RECOVERED);
    ck_assert_int_eq(kin_lock_unlock(s->lock), 0);
}
END_TEST

START_TEST(test_orderly_end_hands_off)
{
    struct shared *s = share(make());
    ck_assert_int_eq(crew_reap(crew_fork(lock_only, 0, s)), 0);
    ck_assert_int_eq(kin_lock_lock(s->lock, 150 * MS), -ETIMEDOUT);
    ck_assert_int_eq(kin_lock_is_locked(s->lock), 1);
    ck_assert_int_eq(kin_lock_is_mine(s->lock), 0);
    ck_assert_int_eq(kin_lock_unlock(s->lock), 0);
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), 0);
}
END_TEST

static int unlock_only(unsigned index, void *arg)
{
    (void)index;
    return kin_lock_unlock(((struct shared *)arg)->lock);
}

START_TEST(test_anybody_unlocks)
{
    struct shared *s = share(make());
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), 0);
    struct crew crew;
    crew_start(&crew, _i, 1, unlock_only, s);
    crew_join(&crew);
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), 0);
}
END_TEST

static int expect_owner_dead(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_lock_lock(s->lock, 10 * SECOND);
    return rc == KIN_EOWNERDEAD ? 0 : 1;
}

START_TEST(test_strict)
{
    struct kin_lock_options options = KIN_LOCK_OPTIONS_INIT;
    options.strict = 1;
    kin_lock *lock = NULL;
    ck_assert_int_eq(kin_lock_create(&options, &lock), 0);
    struct shared *s = share(lock);
    pid_t owner = crew_fork(lock_and_hold, 0, s);
    crew_await(&s->step, 1);
    struct crew crew;
    crew_start(&crew, _i, 3, expect_owner_dead, s);
    CREW_UNTIL(has_sleepers(lock));
    crew_kill(owner);
    crew_join(&crew);
    ck_assert_int_eq(kin_lock_is_locked(lock), 0);
    ck_assert_int_eq(kin_lock_lock(lock, 0), KIN_EOWNERDEAD);
    ck_assert_int_eq(kin_lock_unlock(lock), KIN_EOVERFLOW);
    ck_assert_int_eq(kin_lock_recover(lock), 0);
    ck_assert_int_eq(kin_lock_recover(lock), KIN_ESTATE);
    ck_assert_int_eq(kin_lock_is_mine(lock), 1);
    ck_assert_int_eq(kin_lock_is_recovered(lock), 1);
    ck_assert_int_eq(kin_lock_unlock(lock), 0);
    ck_assert_int_eq(kin_lock_lock(lock, 0), 0);
}
END_TEST

static int lock_destroy_and_hold(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_lock_lock(s->lock, KIN_FOREVER);
    kin_lock_destroy(s->lock);
    crew_post(&s->step);
    if (rc == 0) {
        pause();
    }
    return 1;
}

START_TEST(test_owner_killed_after_it_destroyed_its_handle)
{
    struct shared *s = share(make());
    pid_t owner = crew_fork(lock_destroy_and_hold, 0, s);
    crew_await(&s->step, 1);
    struct crew crew;
    crew_start(&crew, _i, 1, expect_recovered, s);
    CREW_UNTIL(has_sleepers(s->lock));
    int64_t start = crew_now();
    crew_kill(owner);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
}
END_TEST

static int lock_and_exec(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    if (kin_lock_lock(s->lock, KIN_FOREVER) == 0) {
        execl("/bin/sleep", "sleep", "20", (char *)NULL);
    }
    return 1;
}

START_TEST(test_owner_executes_another_program)
{
    struct shared *s = share(make());
    pid_t owner = crew_fork(lock_and_exec, 0, s);
    CREW_UNTIL(kin_lock_is_locked(s->lock));
    int64_t start = crew_now();
    ck_assert_int_eq(kin_lock_lock(s->lock, 10 * SECOND), KIN_RECOVERED);
    ck_assert_int_le(crew_now() - start, 2 * SECOND);
    crew_kill(owner);
}
END_TEST

START_TEST(test_stopped_owner_is_alive)
{
    struct shared *s = share(make());
    pid_t owner = crew_fork(lock_and_hold, 0, s);
    crew_await(&s->step, 1);
    kill(owner, SIGSTOP);
    ck_assert_int_eq(kin_lock_lock(s->lock, 250 * MS), -ETIMEDOUT);
    crew_kill(owner);
    ck_assert_int_eq(kin_lock_lock(s->lock, SECOND), KIN_RECOVERED);
}
END_TEST

static int use_by_reference(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    kin_lock *lock = NULL;
    int rc = kin_lock_attach(&s->ref, &lock);
    if (rc == 0) {
        rc = kin_lock_lock(lock, 0);
    }
    if (rc == 0) {
        rc = kin_lock_unlock(lock);
    }
    kin_lock_destroy(lock);
    return rc;
}

START_TEST(test_reference)
{
    struct shared *s = share(make());
    ck_assert_int_eq(kin_lock_ref(s->lock, NULL), -EINVAL);
    ck_assert_int_eq(kin_lock_ref(s->lock, &s->ref), 0);
    struct crew crew;
    crew_start(&crew, _i, 2, use_by_reference, s);
    crew_join(&crew);
    kin_rlock *other = NULL;
    ck_assert_int_eq(kin_rlock_attach(&s->ref, &other), KIN_ETYPE);
    ck_assert_ptr_null(other);
    kin__sweep(true); /* the forked children's holds on it end */
    kin_lock_destroy(s->lock);
    kin_lock *lock = NULL;
    ck_assert_int_eq(kin_lock_attach(&s->ref, &lock), KIN_ESTALE);
    kin_ref nonsense = {{0, 0}};
    ck_assert_int_eq(kin_lock_attach(&nonsense, &lock), -EINVAL);
    ck_assert_ptr_null(lock);
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
    kin_thread_set_interrupt(stop_waiting, &s->step);
    int rc = kin_lock_lock(s->lock, KIN_FOREVER);
    kin_thread_set_interrupt(NULL, NULL);
    return rc == -ECANCELED ? 0 : 1;
}

START_TEST(test_interrupt)
{
    struct shared *s = share(make());
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), 0);
    struct crew crew;
    crew_start(&crew, _i, 2, wait_until_interrupted, s);
    CREW_UNTIL(has_sleepers(s->lock));
    crew_post(&s->step);
    crew_join(&crew);
    ck_assert_int_eq(kin_lock_unlock(s->lock), 0);
    ck_assert_int_eq(kin_lock_lock(s->lock, 0), 0);
}
END_TEST

/* Locks for ever. What the lock guards is two counters that differ only while somebody is inside;
 * the recovering owner makes them equal again. */
struct pair {
    kin_lock *lock;
    long first;
    long second;
    kin__a32 broken;
    kin__a32 rounds[4];
};
static int work_for_ever(unsigned index, void *arg)
{
    struct pair *p = arg;
    for (;;) {
        int rc = kin_lock_lock(p->lock, KIN_FOREVER);
        if (rc < 0) {
            return 1;
        }
        if (rc == KIN_RECOVERED) {
            p->second = p->first;
        } else if (p->first != p->second) {
            kin__a32_store(&p->broken, 1);
        }
        p->first++;
        __asm__ volatile("" ::: "memory");
        p->second++;
        kin__a32_add(&p->rounds[index], 1);
        if (kin_lock_unlock(p->lock) < 0) {
            return 1;
        }
    }
}

START_TEST(test_storm_of_kills)
{
    struct pair *p = crew_shared(sizeof *p);
    p->lock = make();
    uint32_t random = crew_seed();
    pid_t pid[4];
    for (unsigned i = 0; i < 4; i++) {
        pid[i] = crew_fork(work_for_ever, i, p);
    }
    for (int kills = 0; kills < 80; kills++) {
        unsigned victim = crew_random(&random) % 4;
        /* Everybody comes round again after each kill, within a second or so. */
        for (unsigned i = 0; i < 4; i++) {
            uint32_t before = kin__a32_load(&p->rounds[i]);
            CREW_UNTIL(kin__a32_load(&p->rounds[i]) != before);
        }
        crew_kill(pid[victim]);
        pid[victim] = crew_fork(work_for_ever, victim, p);
    }
    for (unsigned i = 0; i < 4; i++) {
        crew_kill(pid[i]);
    }
    int rc = kin_lock_lock(p->lock, SECOND);
    ck_assert_int_ge(rc, 0);
    ck_assert_uint_eq(kin__a32_load(&p->broken), 0);
}
END_TEST

static Suite *lock_suite(void)
{
    const struct crew_test tests[] = {
        {test_basics, false},
        {test_timeout, false},
        {test_exclusion, true},
        {test_owner_killed_while_others_wait, true},
        {test_owner_killed_without_waitv, false},
        {test_try_after_owner_killed, false},
        {test_orderly_end_hands_off, false},
        {test_anybody_unlocks, true},
        {test_strict, true},
        {test_owner_killed_after_it_destroyed_its_handle, true},
        {test_owner_executes_another_program, false},
        {test_stopped_owner_is_alive, false},
        {test_reference, true},
        {test_interrupt, true},
        {test_storm_of_kills, false},
    };
    return crew_suite("lock", tests, sizeof tests / sizeof tests[0]);
}

KIT_CHECK_MAIN(lock_suite)
