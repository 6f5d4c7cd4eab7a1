/* The barrier: phases, places, actions, and everything that breaks it. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "crew.h"
#include "os/os.h"
#include "shm/slot.h"

struct shared {
    kin_barrier *barrier;
    kin__a32 step;
    kin__a32 go;
    kin__a32 places; /* a bit for each place that was given out */
    kin__a32 actions;
    kin__a32 arrivals[4];
    uint32_t parties;
    int64_t timeout;
    int action_says;
    kin_ref ref;
};

static struct shared *share(uint32_t parties, int holders)
{
    struct shared *s = crew_shared(sizeof *s);
    struct kin_barrier_options options = KIN_BARRIER_OPTIONS_INIT;
    options.parties = parties;
    options.holders = holders;
    ck_assert_int_eq(kin_barrier_create(&options, &s->barrier), 0);
    s->parties = parties;
    s->timeout = 10 * SECOND;
    return s;
}

START_TEST(test_arguments)
{
    kin_barrier *barrier = NULL;
    ck_assert_int_eq(kin_barrier_create(NULL, &barrier), -EINVAL);
    struct kin_barrier_options options = KIN_BARRIER_OPTIONS_INIT;
    ck_assert_int_eq(kin_barrier_create(&options, &barrier), -EINVAL);
    options.parties = KIN_BARRIER_PARTIES_MAX + 1;
    ck_assert_int_eq(kin_barrier_create(&options, &barrier), -EINVAL);
    ck_assert_ptr_null(barrier);
    options.parties = 1;
    ck_assert_int_eq(kin_barrier_create(&options, NULL), -EINVAL);
    ck_assert_int_eq(kin_barrier_create(&options, &barrier), 0);
    ck_assert_int_eq(kin_barrier_parties(barrier), 1);
    for (int i = 0; i < 100; i++) {
        uint32_t place = 7;
        ck_assert_int_eq(kin_barrier_wait(barrier, 0, &place), 0);
        ck_assert_uint_eq(place, 0);
    }
    ck_assert_int_eq(kin_barrier_wait(barrier, 0, NULL), 0);
    ck_assert_ptr_null(kin_barrier_destroy(barrier));
    ck_assert_ptr_null(kin_barrier_destroy(NULL));
    ck_assert_int_eq(kin_barrier_wait(NULL, 0, NULL), -EINVAL);
}
END_TEST

static int count_action(void *arg)
{
    struct shared *s = arg;
    kin__a32_add(&s->actions, 1);
    return s->action_says;
}

/* In every phase all places are given out once, and nobody is a phase ahead. */
static int go_through_phases(unsigned index, void *arg)
{
    enum { PHASES = 500 };
    struct shared *s = arg;
    (void)index;
    for (uint32_t phase = 0; phase < PHASES; phase++) {
        kin__a32_add(&s->arrivals[phase % 4], 1);
        uint32_t place;
        int rc = kin_barrier_wait_with(s->barrier, count_action, s, s->timeout, &place);
        if (rc < 0) {
            return rc;
        }
        if (place >= s->parties) {
            return 1;
        }
        /* All have arrived in this phase, and the action has been done once for each phase. */
        if (kin__a32_load(&s->arrivals[phase % 4]) != s->parties * (phase / 4 + 1) ||
            kin__a32_load(&s->actions) != phase + 1) {
            return 2;
        }
        kin__a32_add(&s->places, place);
        rc = kin_barrier_wait(s->barrier, s->timeout, NULL);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

START_TEST(test_phases)
{
    struct shared *s = share(4, 0);
    struct crew crew;
    crew_start(&crew, _i, 4, go_through_phases, s);
    crew_join(&crew);
    ck_assert_uint_eq(kin__a32_load(&s->places), 500 * (0 + 1 + 2 + 3));
    ck_assert_int_eq(kin_barrier_waiting(s->barrier), 0);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 0);
}
END_TEST

static int expect_broken(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_barrier_wait(s->barrier, s->timeout, NULL);
    return rc == KIN_EBROKEN ? 0 : rc == 0 ? 1 : rc;
}

START_TEST(test_timeout_breaks)
{
    struct shared *s = share(4, 0);
    struct crew crew;
    crew_start(&crew, _i, 2, expect_broken, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 2);
    int64_t start = crew_now();
    ck_assert_int_eq(kin_barrier_wait(s->barrier, 120 * MS, NULL), -ETIMEDOUT);
    ck_assert_int_ge(crew_now() - start, 120 * MS);
    crew_join(&crew);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 1);
    ck_assert_int_eq(kin_barrier_waiting(s->barrier), 0);
    ck_assert_int_eq(kin_barrier_wait(s->barrier, 0, NULL), KIN_EBROKEN);
    ck_assert_int_eq(kin_barrier_reset(s->barrier), 0);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 0);
    /* Only the last party passes without waiting. */
    ck_assert_int_eq(kin_barrier_wait(s->barrier, 0, NULL), -ETIMEDOUT);
}
END_TEST

START_TEST(test_abort_and_reset)
{
    struct shared *s = share(3, 0);
    struct crew crew;
    crew_start(&crew, _i, 2, expect_broken, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 2);
    ck_assert_int_eq(kin_barrier_abort(s->barrier), 0);
    crew_join(&crew);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 1);
    ck_assert_int_eq(kin_barrier_reset(s->barrier), 0);
    crew_start(&crew, _i, 2, expect_broken, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 2);
    ck_assert_int_eq(kin_barrier_reset(s->barrier), 0);
    crew_join(&crew);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 0);
    ck_assert_int_eq(kin_barrier_waiting(s->barrier), 0);
}
END_TEST

START_TEST(test_action_that_fails)
{
    struct shared *s = share(3, 0);
    s->action_says = -ECANCELED;
    struct crew crew;
    crew_start(&crew, _i, 2, expect_broken, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 2);
    ck_assert_int_eq(kin_barrier_wait_with(s->barrier, count_action, s, 0, NULL), -ECANCELED);
    crew_join(&crew);
    ck_assert_uint_eq(kin__a32_load(&s->actions), 1);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 1);
}
END_TEST

static int wait_long(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    return kin_barrier_wait(s->barrier, 20 * SECOND, NULL);
}

START_TEST(test_party_killed_while_waiting)
{
    struct shared *s = share(4, 0);
    pid_t victim = crew_fork(wait_long, 0, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 1);
    struct crew crew;
    crew_start(&crew, _i, 2, expect_broken, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 3);
    int64_t start = crew_now();
    crew_kill(victim);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
}
END_TEST

static int wait_twice(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_barrier_wait(s->barrier, s->timeout, NULL);
    if (rc < 0) {
        return rc;
    }
    crew_post(&s->step);
    rc = kin_barrier_wait(s->barrier, s->timeout, NULL);
    return rc == KIN_EBROKEN ? 0 : rc == 0 ? 1 : rc;
}

static int wait_once_and_pause(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    int rc = kin_barrier_wait(s->barrier, s->timeout, NULL);
    crew_post(&s->step);
    if (rc == 0) {
        pause();
    }
    return 1;
}

static int pause_only(unsigned index, void *arg)
{
    (void)index;
    crew_post(&((struct shared *)arg)->step);
    pause();
    return 1;
}

static int wait_once(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    return kin_barrier_wait(s->barrier, s->timeout, NULL);
}

START_TEST(test_party_killed_between_waits)
{
    struct shared *s = share(3, 0);
    pid_t victim = crew_fork(wait_once_and_pause, 0, s);
    struct crew crew;
    crew_start(&crew, _i, 2, wait_twice, s);
    crew_await(&s->step, 3);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 2);
    int64_t start = crew_now();
    crew_kill(victim);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
}
END_TEST

START_TEST(test_orderly_end_between_waits_is_no_break)
{
    struct shared *s = share(2, 0);
    pid_t child = crew_fork(wait_once, 0, s);
    ck_assert_int_eq(kin_barrier_wait(s->barrier, s->timeout, NULL), 0);
    ck_assert_int_eq(crew_reap(child), 0);
    kin__sweep(true);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 0);
}
END_TEST

START_TEST(test_bystanders_and_holders)
{
    for (int holders = 0; holders < 2; holders++) {
        struct shared *s = share(2, holders);
        pid_t bystander = crew_fork(pause_only, 0, s);
        crew_await(&s->step, 1);
        crew_kill(bystander);
        kin__sweep(true);
        ck_assert_int_eq(kin_barrier_broken(s->barrier), holders);
        kin_barrier_destroy(s->barrier);
    }
}
END_TEST

static int die_in_action(void *arg)
{
    (void)arg;
    raise(SIGKILL);
    return 0;
}

static int act_and_die(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    return kin_barrier_wait_with(s->barrier, die_in_action, NULL, s->timeout, NULL);
}

START_TEST(test_killed_in_its_action)
{
    struct shared *s = share(3, 0);
    struct crew crew;
    crew_start(&crew, _i, 2, expect_broken, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 2);
    int64_t start = crew_now();
    ck_assert_int_eq(crew_reap(crew_fork(act_and_die, 0, s)), -SIGKILL);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
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
    int rc = kin_barrier_wait(s->barrier, KIN_FOREVER, NULL);
    kin_thread_set_interrupt(NULL, NULL);
    return rc == -ECANCELED ? 0 : 1;
}

START_TEST(test_interrupted_party_leaves)
{
    struct shared *s = share(3, 0);
    struct crew crew, others;
    crew_start(&crew, _i, 1, wait_until_interrupted, s);
    CREW_UNTIL(kin_barrier_waiting(s->barrier) == 1);
    crew_post(&s->go);
    crew_join(&crew);
    ck_assert_int_eq(kin_barrier_waiting(s->barrier), 0);
    ck_assert_int_eq(kin_barrier_broken(s->barrier), 0);
    crew_start(&others, _i, 3, wait_once, s);
    crew_join(&others);
}
END_TEST

static int use_by_reference(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    kin_barrier *barrier = NULL;
    int rc = kin_barrier_attach(&s->ref, &barrier);
    if (rc == 0) {
        rc = kin_barrier_wait(barrier, s->timeout, NULL);
    }
    kin_barrier_destroy(barrier);
    return rc;
}

START_TEST(test_reference)
{
    struct shared *s = share(3, 0);
    ck_assert_int_eq(kin_barrier_ref(s->barrier, &s->ref), 0);
    struct crew crew;
    crew_start(&crew, _i, 3, use_by_reference, s);
    crew_join(&crew);
}
END_TEST

static Suite *barrier_suite(void)
{
    const struct crew_test tests[] = {
        {test_arguments, false},
        {test_phases, true},
        {test_timeout_breaks, true},
        {test_abort_and_reset, true},
        {test_action_that_fails, true},
        {test_party_killed_while_waiting, true},
        {test_party_killed_between_waits, true},
        {test_orderly_end_between_waits_is_no_break, false},
        {test_bystanders_and_holders, false},
        {test_killed_in_its_action, true},
        {test_interrupted_party_leaves, true},
        {test_reference, true},
    };
    return crew_suite("barrier", tests, sizeof tests / sizeof tests[0]);
}

KIT_CHECK_MAIN(barrier_suite)
