/*
 * Description: a process is killed at every instruction of waiting for and posting the units of a
 * semaphore; afterwards no unit is lost and none is made, whoever sleeps gets one, and a survivor
 * has all of them within a second.
 */
#include "kit/step.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/semaphore.h>

#include "shm/object.h"
#include "sync/spin.h"

#define UNITS 2

struct state {
    kin_semaphore *semaphore;
    kin__a32 done; /* 1: the victim's call has returned */
    uint32_t dead_slot, dead_generation;
    struct kit_gate gate;
    kin__a32 arrived; /* pid of the bystander behind the gate */
};

static void make(struct state *s, uint32_t value, int signal)
{
    struct kin_semaphore_options options = KIN_SEMAPHORE_OPTIONS_INIT;
    options.value = value;
    options.bound = UNITS;
    options.signal = signal;
    kit_assert_int(kin_semaphore_create(&options, &s->semaphore), 0);
}

static void wait_for_unit(struct state *s)
{
    kit_assert_int(kin_semaphore_wait(s->semaphore, KIN_FOREVER), 0);
}

static void post(struct state *s)
{
    kit_assert_int(kin_semaphore_post(s->semaphore), 0);
}

static void begin(void *arg)
{
    make(arg, UNITS, 0);
}

/* The survivors' process has all units. */
static void begin_taken(void *arg)
{
    begin(arg);
    for (int i = 0; i < UNITS; i++) {
        wait_for_unit(arg);
    }
}

/* A process has died with a unit, and another unit is ours. */
static void begin_dead(void *arg)
{
    struct state *s = arg;
    begin(s);
    wait_for_unit(s);
    pid_t pid = kit_fork();
    if (pid == 0) {
        wait_for_unit(s);
        s->dead_slot = kin__self->slot;
        s->dead_generation = kin__self->generation;
        raise(SIGKILL);
    }
    kit_assert(WIFSIGNALED(kit_reap(pid)));
}

static void begin_signal(void *arg)
{
    make(arg, 0, 1);
}

static void begin_signalled(void *arg)
{
    begin_signal(arg);
    post(arg);
}

/* --- victims ------------------------------------------------------------------------------ */

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static void victim_post(void *arg)
{
    struct state *s = arg;
    post(s);
    kin__a32_store(&s->done, 1);
}

static void victim_wait(void *arg)
{
    struct state *s = arg;
    wait_for_unit(s);
    kin__a32_store(&s->done, 1);
}

static void use(void *arg)
{
    wait_for_unit(arg);
    post(arg);
}

static void post_beyond(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_semaphore_post(s->semaphore), KIN_EOVERFLOW);
    use(arg);
}

static void time_out(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_semaphore_wait(s->semaphore, 1), -ETIMEDOUT);
}

/* As a sweeper comes by the semaphore. The sweep around it is the family's. */
static void sweep(struct state *s, enum kin__end end)
{
    kin__object_sweep(s->dead_slot, s->dead_generation, end);
}

static void sweep_abnormal(void *arg)
{
    sweep(arg, KIN__END_ABNORMAL);
}

/* --- the others --------------------------------------------------------------------------- */

static void wait_and_post(void *arg)
{
    use(arg);
}

static void wait_behind_gate(void *arg)
{
    struct state *s = arg;
    kit_gate_wait(&s->gate);
    kin__a32_store(&s->arrived, (uint32_t)getpid());
    use(s);
}

static void wait_once(void *arg)
{
    wait_for_unit(arg);
}

static void release(void *arg)
{
    struct state *s = arg;
    if (kin_semaphore_held(s->semaphore) > 0) {
        post(s);
    }
}

/* The victim sleeps: the bystander comes to lie behind it, so that the victim is woken first. */
static void release_before_another(void *arg)
{
    struct state *s = arg;
    kit_gate_open(&s->gate);
    uint32_t pid;
    while ((pid = kin__a32_load(&s->arrived)) == 0) {
        sched_yield();
    }
    kit_until_asleep((pid_t)pid);
    release(s);
}

/* Gives back what this process has, so that all units can be had. */
static void survive(void *arg)
{
    struct state *s = arg;
    kit_gate_open(&s->gate);
    kin__sweep(true); /* as a slice's end would */
    while (kin_semaphore_held(s->semaphore) > 0) {
        post(s);
    }
    for (int i = 0; i < UNITS; i++) {
        wait_for_unit(s);
    }
    for (int i = 0; i < UNITS; i++) {
        post(s);
    }
}

/* What the victim did not signal. One who died in between did or did not. */
static void survive_signal(void *arg)
{
    struct state *s = arg;
    if (kin__a32_load(&s->done) == 0) {
        int rc = kin_semaphore_post(s->semaphore);
        kit_require(rc == 0 || rc == KIN_EOVERFLOW, "post: %d", rc);
    }
}

static const char *check(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    int value = kin_semaphore_value(s->semaphore);
    if (value != UNITS) {
        return value < UNITS ? "a unit is lost" : "a unit was made";
    }
    return kin_semaphore_held(s->semaphore) == 0 ? NULL : "we hold units that are free";
}

/* The bystander has taken one. */
static const char *check_post_signal(void *arg)
{
    struct state *s = arg;
    int value = kin_semaphore_value(s->semaphore);
    return value == 0 || (value == 1 && kin__a32_load(&s->done) == 0) ? NULL : "a signal too many";
}

static const char *check_wait_signal(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    int value = kin_semaphore_value(s->semaphore);
    return value == 0 || (value == 1 && kin__a32_load(&s->done) == 0) ? NULL
                                                                     : "a signal came back";
}

static void end(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    kin_semaphore_destroy(s->semaphore);
    kit_assert_int(kin_semaphore_value(s->semaphore), KIN_ESTALE);
}

#define STATE .state_size = sizeof(struct state), .warm = enter, .teardown = end
#define UNITS_STAY STATE, .survivor = survive, .check = check, .recoverer = use

static const struct kit_case cases[] = {
    {.name = "post, others asleep", UNITS_STAY, .setup = begin_taken, .victim = victim_post,
     .bystanders = {{wait_and_post, true}, {wait_and_post, true}}},
    {.name = "wait and post", UNITS_STAY, .setup = begin, .victim = use, .pairs = 40},
    {.name = "post beyond the bound", UNITS_STAY, .setup = begin, .victim = post_beyond,
     .pairs = 20},
    {.name = "signal, another asleep", STATE, .setup = begin_signal, .victim = victim_post,
     .bystanders = {{wait_once, true}}, .survivor = survive_signal, .check = check_post_signal},
    {.name = "wait for a signal", STATE, .setup = begin_signalled, .victim = victim_wait,
     .check = check_wait_signal},
    {.name = "wait after a sleep, another asleep behind", UNITS_STAY, .setup = begin_taken,
     .victim = use, .release = release_before_another, .bystanders = {{wait_behind_gate, false}}},
    {.name = "timed wait, another asleep", UNITS_STAY, .setup = begin_taken, .victim = time_out,
     .bystanders = {{wait_and_post, false}}},
    {.name = "sweep of a dead holder, another asleep", UNITS_STAY, .setup = begin_dead,
     .victim = sweep_abnormal, .pairs = 20},
};

int main(int argc, char **argv)
{
    kin__spin_refuse(true); /* so that every run takes the same way */
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
