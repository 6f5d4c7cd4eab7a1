/* The event: set releases all, even when cleared at once. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "crew.h"

static kin_event *make(int set)
{
    struct kin_event_options options = KIN_EVENT_OPTIONS_INIT;
    options.set = set;
    kin_event *event = NULL;
    ck_assert_int_eq(kin_event_create(&options, &event), 0);
    return event;
}

struct shared {
    kin_event *event;
    kin_event *answer;
    kin__a32 step;
    kin__a32 go;
    kin_ref ref;
};

static struct shared *share(kin_event *event)
{
    struct shared *s = crew_shared(sizeof *s);
    s->event = event;
    return s;
}

START_TEST(test_flag)
{
    kin_event *event = make(0);
    ck_assert_int_eq(kin_event_is_set(event), 0);
    ck_assert_int_eq(kin_event_wait(event, 0), -ETIMEDOUT);
    int64_t start = crew_now();
    ck_assert_int_eq(kin_event_wait(event, 120 * MS), -ETIMEDOUT);
    ck_assert_int_ge(crew_now() - start, 120 * MS);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(kin_event_set(event), 0);
        ck_assert_int_eq(kin_event_set(event), 0);
        ck_assert_int_eq(kin_event_is_set(event), 1);
        ck_assert_int_eq(kin_event_wait(event, 0), 0);
        ck_assert_int_eq(kin_event_wait(event, KIN_FOREVER), 0);
        ck_assert_int_eq(kin_event_clear(event), 0);
        ck_assert_int_eq(kin_event_is_set(event), 0);
    }
    ck_assert_ptr_null(kin_event_destroy(event));
    ck_assert_ptr_null(kin_event_destroy(NULL));
    event = make(1);
    ck_assert_int_eq(kin_event_is_set(event), 1);
    kin_event_destroy(event);
    ck_assert_int_eq(kin_event_set(NULL), -EINVAL);
    ck_assert_int_eq(kin_event_create(NULL, NULL), -EINVAL);
}
END_TEST

static int wait_for_it(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    crew_post(&s->step);
    return kin_event_wait(s->event, 10 * SECOND);
}

START_TEST(test_set_releases_all)
{
    struct shared *s = share(make(0));
    struct crew crew;
    crew_start(&crew, _i, 6, wait_for_it, s);
    crew_await(&s->step, 6);
    int64_t start = crew_now();
    ck_assert_int_eq(kin_event_set(s->event), 0);
    crew_join(&crew);
    ck_assert_int_le(crew_now() - start, SECOND);
}
END_TEST

static int set_and_clear_until_told(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    while (kin__a32_load(&s->go) == 0) {
        if (kin_event_set(s->event) < 0 || kin_event_clear(s->event) < 0) {
            return 1;
        }
        crew_yield();
    }
    return 0;
}

START_TEST(test_cleared_at_once)
{
    struct shared *s = share(make(0));
    struct crew setter, waiters;
    crew_start(&setter, _i, 1, set_and_clear_until_told, s);
    crew_start(&waiters, _i, 4, wait_for_it, s);
    crew_join(&waiters);
    kin__a32_store(&s->go, 1);
    crew_join(&setter);
}
END_TEST

#define ROUNDS 3000
static int ping(unsigned index, void *arg)
{
    struct shared *s = arg;
    kin_event *mine = index == 0 ? s->event : s->answer;
    kin_event *other = index == 0 ? s->answer : s->event;
    for (int i = 0; i < ROUNDS; i++) {
        if (index == 0) {
            kin_event_set(other);
        }
        int rc = kin_event_wait(mine, 10 * SECOND);
        if (rc < 0) {
            return rc;
        }
        kin_event_clear(mine);
        if (index == 1) {
            kin_event_set(other);
        }
    }
    return 0;
}

START_TEST(test_no_wake_is_lost)
{
    struct shared *s = share(make(0));
    s->answer = make(0);
    struct crew crew;
    int64_t start = crew_now();
    crew_start(&crew, _i, 2, ping, s);
    crew_join(&crew);
    /* Each lost wake would cost a slice of 100 ms: not even one round in thirty lost one. */
    ck_assert_int_le(crew_now() - start, ROUNDS / 30 * 100 * MS);
}
END_TEST

static int set_it(unsigned index, void *arg)
{
    (void)index;
    return kin_event_set(((struct shared *)arg)->event);
}

START_TEST(test_a_death_changes_nothing)
{
    struct shared *s = share(make(0));
    pid_t waiter = crew_fork(wait_for_it, 0, s);
    crew_await(&s->step, 1);
    crew_kill(waiter);
    struct crew crew;
    crew_start(&crew, CREW_FORKS, 2, wait_for_it, s);
    crew_await(&s->step, 3);
    ck_assert_int_eq(crew_reap(crew_fork_crash(set_it, 0, s)), -SIGKILL);
    crew_join(&crew);
    ck_assert_int_eq(kin_event_is_set(s->event), 1);
}
END_TEST

static int set_by_reference(unsigned index, void *arg)
{
    (void)index;
    struct shared *s = arg;
    kin_event *event = NULL;
    int rc = kin_event_attach(&s->ref, &event);
    if (rc == 0) {
        rc = kin_event_set(event);
    }
    kin_event_destroy(event);
    return rc;
}

START_TEST(test_reference)
{
    struct shared *s = share(make(0));
    ck_assert_int_eq(kin_event_ref(s->event, &s->ref), 0);
    struct crew crew;
    crew_start(&crew, _i, 1, set_by_reference, s);
    ck_assert_int_eq(kin_event_wait(s->event, 10 * SECOND), 0);
    crew_join(&crew);
}
END_TEST

static int stop_waiting(void *arg)
{
    (void)arg;
    return -ECANCELED;
}

START_TEST(test_interrupt)
{
    kin_event *event = make(0);
    kin_thread_set_interrupt(stop_waiting, NULL);
    ck_assert_int_eq(kin_event_wait(event, KIN_FOREVER), -ECANCELED);
    kin_thread_set_interrupt(NULL, NULL);
    kin_event_destroy(event);
}
END_TEST

static Suite *event_suite(void)
{
    const struct crew_test tests[] = {
        {test_flag, false},          {test_set_releases_all, true},
        {test_cleared_at_once, true}, {test_no_wake_is_lost, true},
        {test_a_death_changes_nothing, false}, {test_reference, true},
        {test_interrupt, false},
    };
    return crew_suite("event", tests, sizeof tests / sizeof tests[0]);
}

KIT_CHECK_MAIN(event_suite)
