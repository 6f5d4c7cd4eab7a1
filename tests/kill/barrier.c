/*
 * Description: a party is killed at every instruction of waiting at a barrier, acting, breaking and
 * resetting it; afterwards everybody who waits is released within a second, all of a phase with the
 * same result: the phase has passed, or the barrier is broken.
 */
#include "kit/step.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <kinfolk/barrier.h>

#include "shm/object.h"
#include "sync/spin.h"

struct state {
    kin_barrier *barrier;
    kin__a32 passed, broken; /* results of waits in the first phase, except a killed victim's */
    kin__a32 places;         /* a bit for each place in the order of arrival */
    kin__a32 acted;
    kin__a32 done;           /* 1: the victim's call has returned */
    kin__a32 parties;        /* that wait, beside the victim */
    pid_t mortal;
    uint32_t dead_slot, dead_generation;
};

static void make(struct state *s, uint32_t parties, int holders)
{
    struct kin_barrier_options options = KIN_BARRIER_OPTIONS_INIT;
    options.parties = parties;
    options.holders = holders;
    kit_assert_int(kin_barrier_create(&options, &s->barrier), 0);
    kin__a32_store(&s->parties, parties - 1);
}

static void begin(void *arg)
{
    make(arg, 3, 0);
}

/* Of four parties one never comes. */
static void begin_short(void *arg)
{
    struct state *s = arg;
    make(s, 4, 0);
    kin__a32_store(&s->parties, 2);
}

/* The victim is known as a party before it has waited. */
static void begin_holders(void *arg)
{
    make(arg, 2, 1);
}

/* Of three parties one waits, and dies in the victim's warm-up. */
static void begin_with_mortal(void *arg)
{
    struct state *s = arg;
    make(s, 3, 0);
    kin__a32_store(&s->parties, 1);
    pid_t pid = kit_fork();
    if (pid == 0) {
        s->dead_slot = kin__self->slot;
        s->dead_generation = kin__self->generation;
        kin_barrier_wait(s->barrier, KIN_FOREVER, NULL);
        kit_fail(__FILE__, __LINE__, "it was to be killed before");
    }
    s->mortal = pid;
    while (kin_barrier_waiting(s->barrier) == 0) {
        sched_yield();
    }
}

static void kill_mortal(void *arg)
{
    struct state *s = arg;
    kit_assert_ok(kin__enter());
    kill(s->mortal, SIGKILL);
    while (kit_process_state(s->mortal) != 'Z') {
        sched_yield();
    }
}

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static void note(struct state *s, int rc, uint32_t place)
{
    kit_require(rc == 0 || rc == KIN_EBROKEN, "wait: %d", rc);
    if (rc == 0) {
        uint32_t before = kin__a32_or(&s->places, UINT32_C(1) << place);
        kit_require((before >> place & 1) == 0, "two have the same place");
    }
    kin__a32_add(rc == 0 ? &s->passed : &s->broken, 1);
}

static void wait_for_others(struct state *s)
{
    uint32_t place = 0;
    int rc = kin_barrier_wait(s->barrier, KIN_FOREVER, &place);
    note(s, rc, place);
}

static void bystander(void *arg)
{
    wait_for_others(arg);
}

static int act(void *arg)
{
    struct state *s = arg;
    kin__a32_add(&s->acted, 1);
    return 0;
}

static void arrive(void *arg)
{
    struct state *s = arg;
    uint32_t place = 0;
    kit_assert_int(kin_barrier_wait(s->barrier, KIN_FOREVER, &place), 0);
    kin__a32_store(&s->done, 1);
    note(s, 0, place);
}

static void arrive_and_act(void *arg)
{
    struct state *s = arg;
    uint32_t place = 0;
    kit_assert_int(kin_barrier_wait_with(s->barrier, act, s, KIN_FOREVER, &place), 0);
    kin__a32_store(&s->done, 1);
    note(s, 0, place);
}

static void time_out(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_barrier_wait(s->barrier, 1, NULL), -ETIMEDOUT);
    kin__a32_store(&s->done, 1);
}

static void abort_it(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_barrier_abort(s->barrier), 0);
    kin__a32_store(&s->done, 1);
}

static void reset(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_barrier_reset(s->barrier), 0);
    kin__a32_store(&s->done, 1);
}

/* As a sweeper comes by the barrier. The sweep around it is the family's. */
static void sweep_dead(void *arg)
{
    struct state *s = arg;
    kin__object_sweep(s->dead_slot, s->dead_generation, KIN__END_ABNORMAL);
}

/* The last party. */
static void release(void *arg)
{
    wait_for_others(arg);
}

/* In the victim's place: it may have died before anybody could take it for a party. If it had
 * arrived the barrier breaks, and so it does if it had gone on. */
static void survive(void *arg)
{
    struct state *s = arg;
    kin__sweep(true); /* as a slice's end would */
    if (kin__a32_load(&s->done) == 0) {
        int rc = kin_barrier_wait(s->barrier, KIN_FOREVER, NULL);
        kit_require(rc == 0 || rc == KIN_EBROKEN, "wait: %d", rc);
    }
}

/* We may have arrived already, in release. */
static void survive_alone(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    if (kin__a32_load(&s->passed) + kin__a32_load(&s->broken) == 0) {
        wait_for_others(s);
    }
}

static void survive_break(void *arg)
{
    struct state *s = arg;
    if (kin__a32_load(&s->done) == 0) {
        kit_assert_int(kin_barrier_abort(s->barrier), 0);
    }
}

/* The death alone releases the others. */
static void survive_sweep(void *arg)
{
    (void)arg;
    kin__sweep(true);
}

static const char *check(void *arg)
{
    struct state *s = arg;
    uint32_t passed = kin__a32_load(&s->passed), broken = kin__a32_load(&s->broken);
    if (passed != 0 && broken != 0) {
        return "some passed and some did not";
    }
    if (passed + broken < kin__a32_load(&s->parties)) {
        return "a party is missing";
    }
    /* Whole and empty again. */
    kit_assert_int(kin_barrier_reset(s->barrier), 0);
    kit_assert_int(kin_barrier_broken(s->barrier), 0);
    kit_assert_int(kin_barrier_waiting(s->barrier), 0);
    kin__sweep(true);
    return kin_barrier_wait(s->barrier, 0, NULL) == -ETIMEDOUT ? NULL : "it does not work again";
}

static const char *check_passed(void *arg)
{
    struct state *s = arg;
    if (kin__a32_load(&s->done) != 0 && kin__a32_load(&s->broken) != 0) {
        return "the victim passed and others did not";
    }
    return check(arg);
}

static const char *check_acted(void *arg)
{
    struct state *s = arg;
    uint32_t acted = kin__a32_load(&s->acted);
    return kin__a32_load(&s->done) != 0 && acted != 1 ? "not acted just once" : check_passed(arg);
}

static const char *check_broken(void *arg)
{
    return kin__a32_load(&((struct state *)arg)->passed) != 0 ? "somebody passed" : check(arg);
}

static void end(void *arg)
{
    struct state *s = arg;
    if (s->mortal != 0) {
        kit_assert(WIFSIGNALED(kit_reap(s->mortal)));
    }
    kin__sweep(true);
    kin_barrier_destroy(s->barrier);
    kit_assert_int(kin_barrier_parties(s->barrier), KIN_ESTALE);
}

#define STATE .state_size = sizeof(struct state), .teardown = end
#define TWO .bystanders = {{bystander, true}, {bystander, true}}

static const struct kit_case cases[] = {
    {.name = "the last party", STATE, .setup = begin, .warm = enter,
     .victim = arrive, .survivor = survive, .check = check_passed, TWO},
    {.name = "the last party, with an action", STATE, .setup = begin, .warm = enter,
     .victim = arrive_and_act, .survivor = survive, .check = check_acted, TWO},
    {.name = "the first party", STATE, .setup = begin_holders, .warm = enter,
     .victim = arrive, .release = release, .survivor = survive_alone, .check = check_passed},
    {.name = "timed wait, others asleep", STATE, .setup = begin_short, .warm = enter,
     .victim = time_out, .survivor = survive_break, .check = check_broken, TWO},
    {.name = "abort, others asleep", STATE, .setup = begin, .warm = enter, .victim = abort_it,
     .survivor = survive_break, .check = check_broken, TWO},
    {.name = "reset, others asleep", STATE, .setup = begin, .warm = enter, .victim = reset,
     .survivor = survive_break, .check = check_broken, TWO},
    {.name = "sweep of a dead party, another asleep", STATE, .setup = begin_with_mortal,
     .warm = kill_mortal, .victim = sweep_dead, .survivor = survive_sweep, .check = check_broken,
     .bystanders = {{bystander, true}}},
};

int main(int argc, char **argv)
{
    kin__spin_refuse(true); /* so that every run takes the same way */
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
