/*
 * Description: a child is killed at every instruction of becoming a member of the family, by fork,
 * by spawn and by itself, and a parent at every instruction of starting one by each method and of
 * joining one; afterwards whoever is left starts, joins and sweeps at once, and no slot, block or
 * descriptor is lost.
 */
#include "kit/step.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <kinfolk/memory.h>
#include <kinfolk/process.h>

#include "process/process.h"
#include "shm/object.h"
#include "shm/slot.h"

struct state {
    unsigned slots;                    /* taken in the beginning */
    size_t blocks, objects;
    int fds;
    kin_process *process;              /* the parent's handle of the victim */
    uint32_t slot, generation;         /* the embryo that the victim is to adopt */
    kin__a32 pid;                      /* of the victim */
    kin__a32 *ran;                     /* targets that have run; in the family's memory */
};

static int count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    kit_assert(folder != NULL);
    int count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static struct kin_arena_stats stats(void)
{
    struct kin_arena_stats now = {.size = sizeof now};
    kit_assert_ok(kin_arena_stats(&now));
    return now;
}

static unsigned count_slots(void)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < KIN__SLOTS; i++) {
        count += kin__slot_phase(kin__a64_load(&kin__slot_at(i)->state)) != KIN__SLOT_FREE;
    }
    return count;
}

static void begin(void *arg)
{
    struct state *state = arg;
    kit_assert_ok(kin__enter());
    kin__sweep(true);
    struct kin_arena_stats now = stats();
    state->slots = count_slots();
    state->blocks = now.blocks;
    state->objects = now.objects;
    state->fds = count_fds();
}

/* --- a child that joins -------------------------------------------------------------------- */

/* The next fork of this thread, which makes the victim, is that of a start. */
static void begin_with_start(void *arg)
{
    struct state *state = arg;
    begin(arg);
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    kit_assert_ok(kin_process_prepare_fork(&options, &state->process));
}

static void begin_with_embryo(void *arg)
{
    struct state *state = arg;
    begin(arg);
    kit_assert_ok(kin__family_reserve(&state->slot, &state->generation));
}

/* The victim has become a member in its fork; this makes it what it was right before. */
static void unborn(void *arg)
{
    struct state *state = arg;
    struct kin__slot *slot = kin__slot_at(kin__self->slot);
    state->slot = kin__self->slot;
    state->generation = kin__self->generation;
    kin__mutex_unlock(&slot->life);
    kin__a32_store(&slot->pid, 0);
    kin__a64_store(&slot->seen_at, 0);
    kin__a64_store(&slot->state, kin__slot_embryo(state->generation, 0));
    memset(kin__self, 0, sizeof *kin__self);
    kin__a32_store(&state->pid, (uint32_t)getpid());
}

/* The victim is no member and holds no slot. */
static void outside(void *arg)
{
    struct state *state = arg;
    uint32_t slot = kin__self->slot, generation = kin__self->generation;
    kin__mutex_unlock(&kin__slot_at(slot)->life);
    kin__slot_release(slot, generation);
    memset(kin__self, 0, sizeof *kin__self);
    kin__a32_store(&state->pid, (uint32_t)getpid());
}

/* And has no arena, but its descriptor: as after an exec. */
static int arena_fd;
static void outside_unmapped(void *arg)
{
    struct state *state = arg;
    outside(arg);
    kin__a32_store(&kin__slot_at(state->slot)->pid, (uint32_t)getpid());
    arena_fd = kin__family.fd;
    kin__unmap(kin__family.base, kin__family.size);
    kin__family = (struct kin__family){0};
}

/* From the fork's return in the child to its target. */
static void be_born(void *arg)
{
    struct state *state = arg;
    kin__slot_adopt(state->slot, state->generation);
    kin_process_complete_fork(state->process, 0);
    kin__enter();
}

static void be_born_of_a_stranger(void *arg)
{
    struct state *state = arg;
    kin__slot_adopt(state->slot, state->generation);
    kin__enter();
}

static void join_family(void *arg)
{
    struct state *state = arg;
    kin__family_join(arena_fd, state->slot, state->generation);
}

static void claim(void *arg)
{
    (void)arg;
    kin__enter();
}

/* The start returns, and the join, which finds the status taken by the harness. */
static void parent_goes_on(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_process_complete_fork(state->process, (int)kin__a32_load(&state->pid)), 0);
    kit_assert_int(kin_process_join(state->process, KIN_FOREVER, NULL), KIN_ESTATUSLOST);
    kit_assert(kin_process_destroy(state->process) == NULL);
    kit_assert_int(count_slots(), state->slots);
}

static void sweep(void *arg)
{
    (void)arg;
    kin__sweep(true);
}

/* --- a parent that starts ------------------------------------------------------------------ */

static void begin_start(void *arg)
{
    struct state *state = arg;
    state->ran = kin_alloc(sizeof *state->ran);
    kit_assert(state->ran != NULL);
    kin__a32_store(state->ran, 0);
    begin(arg);
}

static void end_start(void *arg)
{
    struct state *state = arg;
    kin_free(state->ran);
}

/* The argument is state->ran: a target that begins in a program executed anew has nothing else. */
static int run(void *arg, size_t size)
{
    (void)size;
    kin__a32_add(*(kin__a32 **)arg, 1);
    return 0;
}

static int run_for_ever(void *arg, size_t size)
{
    run(arg, size);
    for (;;) {
        pause();
    }
    return 0;
}

static kin_process *child;

static int start(struct state *state, enum kin_start_method method, kin_target_fn *target)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.method = method;
    options.target = target;
    options.arg = &state->ran;
    options.arg_size = sizeof state->ran;
    options.die_with_parent = target == run_for_ever;
    return kin_process_start(&options, &child);
}

static void start_by_fork(void *arg)
{
    start(arg, KIN_START_FORK, run_for_ever);
}

static void start_by_spawn(void *arg)
{
    start(arg, KIN_START_SPAWN, run_for_ever);
}

static void start_by_server(void *arg)
{
    start(arg, KIN_START_FORKSERVER, run_for_ever);
}

/* The victim's server runs, and has forked before. */
static void start_server(void *arg)
{
    struct state *state = arg;
    kit_assert_ok(start(state, KIN_START_FORKSERVER, run));
    kit_assert_ok(kin_process_join(child, KIN_FOREVER, NULL));
    kin_process_destroy(child);
    kin__a32_store(state->ran, 0);
}

static void start_child(void *arg)
{
    start(arg, KIN_START_FORK, run);
}

static void join(void *arg)
{
    (void)arg;
    kin_process_join(child, KIN_FOREVER, NULL);
    kin_process_destroy(child);
}

/* It begins, or ends, by itself, and that wakes the victim. */
static void let_child_go_on(void *arg)
{
    (void)arg;
}

/* Children that are left end by themselves, or with the victim: then their slots are free. */
static void await_family(void *arg)
{
    struct state *state = arg;
    while (kin__sweep(true), count_slots() != state->slots) {
        sched_yield();
    }
}

/* --- afterwards ---------------------------------------------------------------------------- */

static const char *check(void *arg)
{
    struct state *state = arg;
    struct kin_arena_stats now = stats();
    if (count_slots() != state->slots) {
        return "a slot is lost";
    }
    if (now.blocks != state->blocks || now.objects != state->objects) {
        return "a block or an object is lost";
    }
    if (count_fds() != state->fds) {
        return "a descriptor is lost";
    }
    return NULL;
}

/* The slot that the victim had is the next one's. */
static const char *check_slot(void *arg)
{
    struct state *state = arg;
    uint32_t slot, generation;
    kit_assert_ok(kin__family_reserve(&slot, &generation));
    kin__slot_release(slot, generation);
    if (slot != state->slot || generation == state->generation) {
        return "the slot is not used again";
    }
    return check(arg);
}

static const char *check_start(void *arg)
{
    struct state *state = arg;
    return kin__a32_load(state->ran) > 1 ? "the target has run twice" : check(arg);
}

#define STATE .state_size = sizeof(struct state)
#define START                                                                                      \
    STATE, .setup = begin_start, .release = let_child_go_on, .survivor = await_family,               \
    .check = check_start, .teardown = end_start, .await_descendants = true

static const struct kit_case cases[] = {
    {.name = "attach, a started child", STATE, .setup = begin_with_start, .warm = unborn,
     .victim = be_born, .survivor = parent_goes_on, .check = check_slot},
    {.name = "attach, a child of a foreign fork", STATE, .setup = begin, .warm = unborn,
     .victim = be_born_of_a_stranger, .survivor = sweep, .check = check_slot, .pairs = 40},
    {.name = "attach, a spawned child", STATE, .setup = begin_with_embryo,
     .warm = outside_unmapped, .victim = join_family, .survivor = sweep, .check = check_slot,
     .pairs = 40},
    {.name = "attach, by itself", STATE, .setup = begin, .warm = outside, .victim = claim,
     .survivor = sweep, .check = check, .pairs = 40},
    {.name = "start by fork", START, .victim = start_by_fork},
    {.name = "start by spawn", START, .victim = start_by_spawn},
    {.name = "start by a fork server that runs", START, .warm = start_server,
     .victim = start_by_server},
    {.name = "start by a fork server that does not", START, .victim = start_by_server},
    {.name = "join", START, .warm = start_child, .victim = join},
};

int main(int argc, char **argv)
{
    kin_child_main(argc, argv);
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
