/*
 * Description: a process is killed at every instruction of waiting for and notifying a condition;
 * afterwards no notify is lost: whoever waits for what is there is woken within a second, by the
 * notify, by its being passed on, or by the death of the lock's owner.
 */
#include "kit/step.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/condition.h>

#include "shm/object.h"
#include "sync/spin.h"

struct state {
    kin_condition *condition;
    kin__a32 items;  /* guarded by the lock: what is waited for */
    kin__a32 taken;  /* the same: by bystanders */
    uint32_t bystanders;
    pid_t first;     /* waits in front of the bystanders; the victim's warm-up kills it */
    uint32_t dead_slot, dead_generation;
    struct kit_gate gate;
    kin__a32 arrived; /* pid of the bystander behind the gate */
};

static void lock(struct state *s)
{
    kit_assert_ok(kin_condition_lock(s->condition, KIN_FOREVER));
}

static void unlock(struct state *s)
{
    kit_assert_int(kin_condition_unlock(s->condition), 0);
}

/* With the lock held. Who is woken for no reason looks again. */
static void take_item(struct state *s)
{
    while (kin__a32_load(&s->items) == 0) {
        kit_assert_ok(kin_condition_wait(s->condition, KIN_FOREVER));
    }
    kin__a32_sub(&s->items, 1);
}

static void notify_items(struct state *s, uint32_t count)
{
    kin__a32_store(&s->items, count);
    if (count == 1) {
        kit_assert_int(kin_condition_notify(s->condition, 1), 0);
    } else {
        kit_assert_int(kin_condition_notify_all(s->condition), 0);
    }
}

/* --- setups ------------------------------------------------------------------------------- */

static void begin(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_condition_create(NULL, &s->condition), 0);
    s->bystanders = 1;
}

static void begin_with_two(void *arg)
{
    struct state *s = arg;
    begin(s);
    s->bystanders = 2;
}

/* Over a plain lock. */
static void begin_plain(void *arg)
{
    struct state *s = arg;
    struct kin_condition_options options = KIN_CONDITION_OPTIONS_INIT;
    kit_assert_int(kin_lock_create(NULL, &options.lock), 0);
    kit_assert_int(kin_condition_create(&options, &s->condition), 0);
    kin_lock_destroy(options.lock);
    s->bystanders = 1;
}

static void begin_with_first(void *arg)
{
    struct state *s = arg;
    begin(s);
    pid_t pid = kit_fork();
    if (pid == 0) {
        s->dead_slot = kin__self->slot;
        s->dead_generation = kin__self->generation;
        lock(s);
        take_item(s);
        kit_fail(__FILE__, __LINE__, "it was to be killed before");
    }
    s->first = pid;
    while (kin_condition_waiting(s->condition) == 0) {
        sched_yield();
    }
}

/* --- victims ------------------------------------------------------------------------------ */

static void enter(void *arg)
{
    struct state *s = arg;
    kit_assert_ok(kin__enter());
    /* Its thread's number, if there is a recursive lock under it. */
    lock(s);
    unlock(s);
}

static void notify_one(void *arg)
{
    lock(arg);
    notify_items(arg, 1);
    unlock(arg);
}

static void notify_two(void *arg)
{
    lock(arg);
    notify_items(arg, 2);
    unlock(arg);
}

static void wait_and_take(void *arg)
{
    lock(arg);
    take_item(arg);
    unlock(arg);
}

static void time_out(void *arg)
{
    struct state *s = arg;
    lock(s);
    kit_assert_int(kin_condition_wait(s->condition, 1), -ETIMEDOUT);
    unlock(s);
}

/* The first in line is notified and dies before its wait can return, for we hold the lock. */
static void kill_first(void *arg)
{
    struct state *s = arg;
    kit_assert_ok(kin__enter());
    lock(s);
    notify_items(s, 1);
    kill(s->first, SIGKILL);
    while (kit_process_state(s->first) != 'Z') {
        sched_yield();
    }
    unlock(s);
}

/* As a sweeper comes by the condition. The sweep around it is the family's. */
static void sweep_first(void *arg)
{
    struct state *s = arg;
    kin__object_sweep(s->dead_slot, s->dead_generation, KIN__END_ABNORMAL);
}

/* --- the others --------------------------------------------------------------------------- */

static void wait_as_bystander(void *arg)
{
    struct state *s = arg;
    lock(s);
    take_item(s);
    kin__a32_add(&s->taken, 1);
    unlock(s);
}

static void wait_behind_gate(void *arg)
{
    struct state *s = arg;
    kit_gate_wait(&s->gate);
    kin__a32_store(&s->arrived, (uint32_t)getpid());
    wait_as_bystander(s);
}

/* The victim sleeps: the bystander comes to lie behind it, so that the victim is notified. */
static void release_before_another(void *arg)
{
    struct state *s = arg;
    if (kit_gate_is_open(&s->gate)) {
        return; /* it sleeps for the lock, which is on its way */
    }
    kit_gate_open(&s->gate);
    while (kin_condition_waiting(s->condition) != 2) {
        sched_yield();
    }
    notify_one(s);
}

/*
 * Sees to it that there is an item for each bystander, but notifies only of those that it makes:
 * one that is there has been notified of, or its maker died with the lock, which wakes all.
 */
static void survive(void *arg)
{
    struct state *s = arg;
    kit_gate_open(&s->gate);
    kin__sweep(true); /* as a slice's end would */
    lock(s);
    uint32_t missing =
        s->bystanders - kin__a32_load(&s->taken) - kin__a32_load(&s->items);
    if (missing != 0) {
        kin__a32_add(&s->items, missing);
        kit_assert_int(kin_condition_notify(s->condition, missing), 0);
    }
    unlock(s);
}

static void recover(void *arg)
{
    time_out(arg);
}

static const char *check(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    if (kin__a32_load(&s->taken) != s->bystanders) {
        return "a bystander has taken nothing";
    }
    return kin_condition_waiting(s->condition) == 0 ? NULL : "the dead still wait";
}

static void end(void *arg)
{
    struct state *s = arg;
    if (s->first != 0) {
        kit_assert(WIFSIGNALED(kit_reap(s->first)));
    }
    kin__sweep(true);
    kin_condition_destroy(s->condition);
    kit_assert_int(kin_condition_waiting(s->condition), KIN_ESTALE);
}

#define STATE .state_size = sizeof(struct state), .survivor = survive, .check = check,            \
    .recoverer = recover, .teardown = end

static const struct kit_case cases[] = {
    {.name = "notify, another waits", STATE, .setup = begin, .warm = enter, .victim = notify_one,
     .bystanders = {{wait_as_bystander, true}}},
    {.name = "notify over a plain lock", STATE, .setup = begin_plain, .warm = enter,
     .victim = notify_one, .bystanders = {{wait_as_bystander, true}}},
    {.name = "notify all, others wait", STATE, .setup = begin_with_two, .warm = enter,
     .victim = notify_two, .bystanders = {{wait_as_bystander, true}, {wait_as_bystander, true}}},
    {.name = "timed wait, another waits before", STATE, .setup = begin, .warm = enter,
     .victim = time_out, .bystanders = {{wait_as_bystander, false}}},
    {.name = "wait, another waits behind", STATE, .setup = begin, .warm = enter,
     .victim = wait_and_take, .release = release_before_another,
     .bystanders = {{wait_behind_gate, false}}},
    {.name = "sweep of a notified dead one, another waits behind", STATE,
     .setup = begin_with_first, .warm = kill_first, .victim = sweep_first,
     .bystanders = {{wait_as_bystander, false}}},
};

int main(int argc, char **argv)
{
    kin__spin_refuse(true); /* so that every run takes the same way */
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
