/* The semaphore: counting, bounds, and units that come back from the dead. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "crew.h"
#include "os/os.h"
#include "shm/slot.h"

static kin_semaphore *make(uint32_t value, uint32_t bound, int signal)
{
    struct kin_semaphore_options options = KIN_SEMAPHORE_OPTIONS_INIT;
    options.value = value;
    options.bound = bound;
    options.signal = signal;
    kin_semaphore *semaphore = NULL;
    ck_assert_int_eq(kin_semaphore_create(&options, &semaphore), 0);
    return semaphore;
}

struct shared {
    kin_semaphore *semaphore;
    kin__a32 step;
    kin__a32 inside;
    kin__a32 most;
    kin__a32 go;
    uint32_t bound;
    kin_ref ref;
};

static struct shared *share(kin_semaphore *semaphore)
{
    struct shared *s = crew_shared(sizeof *s);
    s->semaphore = semaphore;
    return s;
}

START_TEST(test_counting)
{
    for (int signal = 0; signal < 2; signal++) {
        kin_semaphore *semaphore = make(2, 3, signal);
        ck_assert_int_eq(kin_semaphore_value(semaphore), 2);
        ck_assert_int_eq(kin_semaphore_wait(semaphore, KIN_FOREVER), 0);
        ck_assert_int_eq(kin_semaphore_wait(semaphore, 0), 0);
        ck_assert_int_eq(kin_semaphore_held(semaphore), signal ? 0 : 2);
        ck_assert_int_eq(kin_semaphore_wait(semaphore, 0), -ETIMEDOUT);
        int64_t start = crew_now();
        ck_assert_int_eq(kin_semaphore_wait(semaphore, 120 * MS), -ETIMEDOUT);
        ck_assert_int_ge(crew_now() - start, 120 * MS);
        for (int i = 1; i <= 3; i++) {
            ck_assert_int_eq(kin_semaphore_post(semaphore), 0);
            ck_assert_int_eq(kin_semaphore_value(semaphore), i);
        }
        ck_assert_int_eq(kin_semaphore_held(semaphore), 0);
        ck_assert_int_eq(kin_semaphore_post(semaphore), KIN_EOVERFLOW);
        ck_assert_int_eq(kin_semaphore_value(semaphore), 3);
        ck_assert_ptr_null(kin_semaphore_destroy(semaphore));
    }
}
END_TEST

START_TEST(test_arguments)
{
    kin_semaphore *semaphore = NULL;
    ck_assert_int_eq(kin_semaphore_create(NULL, NULL), -EINVAL);
    struct kin_semaphore_options options = KIN_SEMAPHORE_OPTIONS_INIT;
    options.value = 3;
    options.bound = 2;
    ck_assert_int_eq(kin_semaphore_create(&options, &semaphore), -EINVAL);
    options.bound = 0x80000000u;
    ck_assert_int_eq(kin_semaphore_create(&options, &semaphore), -EINVAL);
    options.bound = 0;
    options.value = 0x80000000u;
    ck_assert_int_eq(kin_semaphore_create(&options, &semaphore), -EINVAL);
    ck_assert_ptr_null(semaphore);
    ck_assert_int_eq(kin_semaphore_wait(NULL, 0), -EINVAL);
    options.value = KIN_SEMAPHORE_MAX;
    ck_assert_int_eq(kin_semaphore_create(&options, &semaphore), 0);
    ck_assert_int_eq(kin_semaphore_value(semaphore), KIN_SEMAPHORE_MAX);
    ck_assert_int_eq(kin_semaphore_post(semaphore), KIN_EOVERFLOW);
    kin_semaphore_destroy(semaphore);
    ck_assert_int_eq(kin_semaphore_create(NULL, &semaphore), 0);
    ck_assert_int_eq(kin_semaphore_value(semaphore), 1);
    kin_semaphore_destroy(semaphore);
    ck_assert_ptr_null(kin_semaphore_destroy(NULL));
}
END_TEST

#define ROUNDS 5000
static int in_and_out(unsigned index, void *arg)
{
    struct shared *s = arg;
    uint32_t random = index + 1;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = kin_semaphore_wait(s->semaphore, KIN_FOREVER);
        if (rc < 0) {
            return rc;
        }
        uint32_t inside = kin__a32_add(&s->inside, 1) + 1;
        if (inside > s->bound) {
            kin__a32_store(&s->most, inside);
        }
        if (crew_random(&random) % 64 == 0) {
            sched_yield();
        }
        kin__a32_sub(&s->inside, 1);
        rc = kin_semaphore_post(s->semaphore);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

START_TEST(test_never_above_the_bound)
{
    for (int signal = 0; signal < 2; signal++) {
        struct shared *s = share(make(3, 3, signal));
        s->bound = 3;
        struct crew crew;
        crew_start(&crew, _i, 6, in_and_out, s);
        crew_join(&crew);
        ck_assert_uint_eq(kin__a32_load(&s->most), 0);
        ck_assert_int_eq(kin_semaphore_value(s->semaphore), 3);
    }
}
END_TEST

static int produce_and_consume(unsigned index, void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int rc = index % 2 == 0 ? kin_semaphore_post(s->semaphore)
                                : kin_semaphore_wait(s->semaphore, KIN_FOREVER);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

START_TEST(test_signalling_between_workers)
{
    for (int signal = 0; signal < 2; signal++) {
        struct shared *s = share(make(0, 0, signal));
        struct crew crew;
        crew_start(&crew, _i, 4, produce_and_consume, s);
        crew_join(&crew);
        ck_assert_int_eq(kin_semaphore_value(s->semaphore), 0);
    }
}
END_TEST

static int take_two(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_semaphore_wait(s->semaphore, SECOND);
    rc = rc == 0 ? kin_semaphore_wait(s->semaphore, SECOND) : rc;
    crew_post(&s->step);
    return rc;
}

static int take_two_and_hold(unsigned index, void *arg)
{
    take_two(index, arg);
    pause();
    return 1;
}

static int take_one(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    crew_post(&s->step);
    return kin_semaphore_wait(s->semaphore, 10 * SECOND);
}

START_TEST(test_units_of_the_dead_come_back)
{
    struct shared *s = share(make(2, 2, 0));
    pid_t holder = crew_fork(take_two_and_hold, 0, s);
    crew_await(&s->step, 1);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 0);
    struct crew crew;
    crew_start(&crew, _i, 2, take_one, s);
    crew_await(&s->step, 3);
    int64_t start = crew_now();
    crew_kill(holder);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 0);
}
END_TEST

START_TEST(test_polling_alone_brings_them_back)
{
    struct shared *s = share(make(2, 0, 0));
    crew_reap(crew_fork_crash(take_two, 0, s));
    int64_t start = crew_now();
    CREW_UNTIL(kin_semaphore_wait(s->semaphore, 0) == 0);
    ck_assert_int_le(crew_now() - start, SECOND);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 1);
}
END_TEST

START_TEST(test_orderly_end_keeps_units_taken)
{
    struct shared *s = share(make(3, 3, 0));
    ck_assert_int_eq(crew_reap(crew_fork(take_two, 0, s)), 0);
    kin__sweep(true);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 1);
    /* What others post for it is not charged to a living holder, */
    pid_t holder = crew_fork(take_one, 0, s);
    ck_assert_int_eq(crew_reap(holder), 0);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(kin_semaphore_post(s->semaphore), 0);
        ck_assert_int_eq(kin_semaphore_value(s->semaphore), i);
    }
    ck_assert_int_eq(kin_semaphore_post(s->semaphore), KIN_EOVERFLOW);
}
END_TEST

static int take_one_and_hold(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_semaphore_wait(s->semaphore, SECOND);
    crew_post(&s->step);
    if (rc == 0) {
        pause();
    }
    return 1;
}

START_TEST(test_posts_for_the_departed_leave_the_living_their_units)
{
    struct shared *s = share(make(2, 2, 0));
    ck_assert_int_eq(crew_reap(crew_fork(take_one, 0, s)), 0);
    kin__sweep(true);
    pid_t holder = crew_fork(take_one_and_hold, 0, s);
    crew_await(&s->step, 2);
    ck_assert_int_eq(kin_semaphore_post(s->semaphore), 0); /* for the departed */
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 1);
    crew_kill(holder);
    kin__sweep(true);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 2);
}
END_TEST

START_TEST(test_posts_on_behalf_of_a_holder)
{
    struct shared *s = share(make(2, 2, 0));
    pid_t holder = crew_fork(take_two_and_hold, 0, s);
    crew_await(&s->step, 1);
    ck_assert_int_eq(kin_semaphore_post(s->semaphore), 0);
    ck_assert_int_eq(kin_semaphore_wait(s->semaphore, 0), 0); /* now ours */
    crew_kill(holder);
    kin__sweep(true);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 1); /* not 2: we hold the other */
}
END_TEST

START_TEST(test_signals_do_not_come_back)
{
    for (int signal = 0; signal < 2; signal++) {
        struct shared *s = share(make(0, 0, signal));
        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(kin_semaphore_post(s->semaphore), 0);
        }
        ck_assert_int_eq(crew_reap(crew_fork_crash(take_two, 0, s)), -SIGKILL);
        kin__sweep(true);
        ck_assert_int_eq(kin_semaphore_value(s->semaphore), 1);
    }
}
END_TEST

static int use_by_reference(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    kin_semaphore *semaphore = NULL;
    int rc = kin_semaphore_attach(&s->ref, &semaphore);
    if (rc == 0) {
        rc = kin_semaphore_wait(semaphore, 0);
    }
    if (rc == 0) {
        rc = kin_semaphore_post(semaphore);
    }
    kin_semaphore_destroy(semaphore);
    return rc;
}

START_TEST(test_reference)
{
    struct shared *s = share(make(2, 0, 0));
    ck_assert_int_eq(kin_semaphore_ref(s->semaphore, &s->ref), 0);
    struct crew crew;
    crew_start(&crew, _i, 2, use_by_reference, s);
    crew_join(&crew);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 2);
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
    kin_thread_set_interrupt(stop_waiting, &s->go);
    crew_post(&s->step);
    int rc = kin_semaphore_wait(s->semaphore, KIN_FOREVER);
    kin_thread_set_interrupt(NULL, NULL);
    return rc == -ECANCELED ? 0 : 1;
}

START_TEST(test_interrupt)
{
    struct shared *s = share(make(0, 0, 0));
    struct crew crew;
    crew_start(&crew, _i, 2, wait_until_interrupted, s);
    crew_await(&s->step, 2);
    crew_post(&s->go);
    crew_join(&crew);
    ck_assert_int_eq(kin_semaphore_post(s->semaphore), 0);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 1);
}
END_TEST

/* Three units, five processes that take and give for ever, kills: all units are there at the end. */
static int work_for_ever(unsigned index, void *arg)
{
    struct shared *s = arg;
    (void)index;
    for (;;) {
        if (kin_semaphore_wait(s->semaphore, KIN_FOREVER) < 0) {
            return 1;
        }
        kin__a32_add(&s->step, 1);
        if (kin_semaphore_post(s->semaphore) < 0) {
            return 1;
        }
    }
}

START_TEST(test_storm_of_kills)
{
    struct shared *s = share(make(3, 3, 0));
    uint32_t random = crew_seed();
    pid_t pid[5];
    for (unsigned i = 0; i < 5; i++) {
        pid[i] = crew_fork(work_for_ever, i, s);
    }
    for (int kills = 0; kills < 80; kills++) {
        unsigned victim = crew_random(&random) % 5;
        uint32_t before = kin__a32_load(&s->step);
        uint32_t rounds = 1 + crew_random(&random) % 200;
        CREW_UNTIL(kin__a32_load(&s->step) - before > rounds);
        crew_kill(pid[victim]);
        pid[victim] = crew_fork(work_for_ever, victim, s);
    }
    for (unsigned i = 0; i < 5; i++) {
        crew_kill(pid[i]);
    }
    kin__sweep(true);
    ck_assert_int_eq(kin_semaphore_value(s->semaphore), 3);
    ck_assert_int_eq(kin_semaphore_post(s->semaphore), KIN_EOVERFLOW);
}
END_TEST

static Suite *semaphore_suite(void)
{
    const struct crew_test tests[] = {
        {test_counting, false},
        {test_arguments, false},
        {test_never_above_the_bound, true},
        {test_signalling_between_workers, true},
        {test_units_of_the_dead_come_back, true},
        {test_polling_alone_brings_them_back, false},
        {test_orderly_end_keeps_units_taken, false},
        {test_posts_for_the_departed_leave_the_living_their_units, false},
        {test_posts_on_behalf_of_a_holder, false},
        {test_signals_do_not_come_back, false},
        {test_reference, true},
        {test_interrupt, true},
        {test_storm_of_kills, false},
    };
    return crew_suite("semaphore", tests, sizeof tests / sizeof tests[0]);
}

KIT_CHECK_MAIN(semaphore_suite)
