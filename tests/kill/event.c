/*
 * Description: a process is killed at every instruction of setting, clearing and waiting for an
 * event; afterwards whoever sleeps is released by the survivor's set.
 */
#include "kit/step.h"

#include <errno.h>

#include <kinfolk/event.h>

#include "shm/slot.h"
#include "sync/spin.h"

struct state {
    kin_event *event;
    kin__a32 done; /* 1: the victim's set has returned */
};

static void begin(void *arg)
{
    kit_assert_int(kin_event_create(NULL, &((struct state *)arg)->event), 0);
}

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static void set(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_event_set(s->event), 0);
    kin__a32_store(&s->done, 1);
}

static void set_and_clear(void *arg)
{
    struct state *s = arg;
    set(s);
    kit_assert_int(kin_event_clear(s->event), 0);
}

static void wait_for_it(void *arg)
{
    kit_assert_int(kin_event_wait(((struct state *)arg)->event, KIN_FOREVER), 0);
}

static void time_out(void *arg)
{
    kit_assert_int(kin_event_wait(((struct state *)arg)->event, 1), -ETIMEDOUT);
}

static void release(void *arg)
{
    kit_assert_int(kin_event_set(((struct state *)arg)->event), 0);
}

/* What the victim has set, and perhaps cleared, releases the others without us. */
static void survive(void *arg)
{
    struct state *s = arg;
    if (kin__a32_load(&s->done) == 0) {
        release(s);
        wait_for_it(s);
    }
}

/* It still works. */
static const char *check(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_event_clear(s->event), 0);
    kit_assert_int(kin_event_wait(s->event, 0), -ETIMEDOUT);
    kit_assert_int(kin_event_set(s->event), 0);
    return kin_event_is_set(s->event) == 1 ? NULL : "it is not set";
}

static void end(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    kin_event_destroy(s->event);
    kit_assert_int(kin_event_is_set(s->event), KIN_ESTALE);
}

#define STATE .state_size = sizeof(struct state), .setup = begin, .warm = enter,                  \
    .survivor = survive, .check = check, .teardown = end

static const struct kit_case cases[] = {
    {.name = "set, others asleep", STATE, .victim = set,
     .bystanders = {{wait_for_it, true}, {wait_for_it, true}}},
    {.name = "set and clear, others asleep", STATE, .victim = set_and_clear,
     .bystanders = {{wait_for_it, true}, {wait_for_it, true}}},
    {.name = "wait after a sleep, another asleep", STATE, .victim = wait_for_it,
     .release = release, .bystanders = {{wait_for_it, false}}},
    {.name = "timed wait, another asleep", STATE, .victim = time_out,
     .bystanders = {{wait_for_it, false}}},
};

int main(int argc, char **argv)
{
    kin__spin_refuse(true); /* so that every run takes the same way */
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
