/* The barrier: one 64-bit state word under a mutex. Layer: sync. Protocol: docs/design/monitor.md. */
#include <kinfolk/barrier.h>

#include "base/fault.h"
#include "base/options.h"
#include "sync/sync.h"

/*
 * {phase : 20, arrived : 16, status : 4, history : 24}. A phase ends when all have passed, or by a
 * reset; bit p % 24 of the history says whether phase p passed, for parties that look late.
 */
enum status {
    FILLING,
    ACTING, /* all are there; the last one runs its action */
    BROKEN,
};
#define PHASE_BITS 20
#define PHASE_MASK ((UINT32_C(1) << PHASE_BITS) - 1)
#define HISTORY 24

struct state {
    uint32_t phase;
    uint32_t arrived;
    uint32_t status;
    uint32_t history;
};

/*
 * What is known of the process in a slot: {party : 1, phase : 20, waiting : 11}. How many of its
 * threads wait, or waited, in that phase. It is written before the state when a party arrives and
 * after it when one leaves, so that a dead one's note never says less than was so.
 */
#define NOTE_PARTY UINT32_C(0x80000000)
#define NOTE_WAITING_BITS 11
#define NOTE_WAITING_MASK ((UINT32_C(1) << NOTE_WAITING_BITS) - 1)

/*
 * `state` changes by one store, under the object's mutex: every change is whole, or has not been
 * made. Anybody may read it at any time. Invariants: arrived < parties while FILLING; notes of
 * phases that are over mean only "has been a party" (monitor.md, B1..B3).
 */
struct kin_barrier {
    struct kin__object object;
    uint32_t parties; /* constant */
    uint32_t holders; /* constant */
    kin__a64 state __attribute__((aligned(KIN__CACHE_LINE)));
    struct kin__door door; /* rung when a phase ends or breaks */
    kin__a32 note[KIN__SLOTS];
};

static struct state read_state(const kin_barrier *barrier)
{
    uint64_t word = kin__a64_load(&barrier->state);
    return (struct state){
        .phase = (uint32_t)(word >> 44),
        .arrived = (uint32_t)(word >> 28 & 0xffff),
        .status = (uint32_t)(word >> 24 & 0xf),
        .history = (uint32_t)(word & 0xffffff),
    };
}

/* The commit of every change. */
static void write_state(kin_barrier *barrier, struct state s)
{
    kin__a64_store(&barrier->state, (uint64_t)s.phase << 44 | (uint64_t)s.arrived << 28 |
                                        (uint64_t)s.status << 24 | s.history);
}

/* The state in the next phase, with all gone. */
static struct state next_phase(struct state s, bool passed)
{
    uint32_t bit = UINT32_C(1) << s.phase % HISTORY;
    s.history = passed ? s.history | bit : s.history & ~bit;
    s.phase = (s.phase + 1) & PHASE_MASK;
    s.arrived = 0;
    s.status = FILLING;
    return s;
}

/* How a wait in `phase` ends: 0, KIN_EBROKEN, or -EAGAIN if it goes on. */
static int verdict(struct state s, uint32_t phase)
{
    if (s.phase != phase) {
        return (s.history >> phase % HISTORY & 1) != 0 ? 0 : KIN_EBROKEN;
    }
    return s.status == BROKEN ? KIN_EBROKEN : -EAGAIN;
}

static int lock(kin_barrier *barrier)
{
    /* The state is whole at every instruction: an owner's death inside needs no repair. */
    int rc = kin__mutex_lock(&barrier->object.mutex);
    return rc < 0 ? rc : 0;
}

static void unlock(kin_barrier *barrier)
{
    kin__mutex_unlock(&barrier->object.mutex);
}

static void ring(kin_barrier *barrier)
{
    if (!KIN__FAULT(WAKE_LOST)) {
        kin__door_ring_all(&barrier->door);
    }
}

/* The caller holds the mutex. */
static void break_it(kin_barrier *barrier)
{
    struct state s = read_state(barrier);
    s.status = BROKEN;
    write_state(barrier, s);
}

static uint32_t note_of(uint32_t phase, uint32_t waiting)
{
    return NOTE_PARTY | phase << NOTE_WAITING_BITS | KIN__MIN(waiting, NOTE_WAITING_MASK);
}

/* Threads of the slot's process that wait in the phase. */
static uint32_t waiting_of(uint32_t note, uint32_t phase)
{
    bool current = (note & NOTE_PARTY) != 0 && (note >> NOTE_WAITING_BITS & PHASE_MASK) == phase;
    return current ? note & NOTE_WAITING_MASK : 0;
}

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    (void)generation; /* the slot is not used again before we are done */
    kin_barrier *barrier = (kin_barrier *)object;
    if (lock(barrier) < 0) {
        return;
    }
    uint32_t note = kin__a32_load_relaxed(&barrier->note[slot]);
    bool abnormal = end == KIN__END_ABNORMAL;
    if (waiting_of(note, read_state(barrier).phase) != 0 ||
        (abnormal && (note != 0 || barrier->holders != 0))) {
        break_it(barrier);
    }
    kin__a32_store(&barrier->note[slot], 0);
    unlock(barrier);
    /* Even if it did not break: a wake may have died with the dead. */
    kin__door_ring_all(&barrier->door);
}

static const struct kin__type type = {.name = "barrier", .sweep = sweep};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_BARRIER, &type);
}

KIN__SYNC_HANDLE(barrier, KIN__TYPE_BARRIER)

static int enter(const kin_barrier *barrier)
{
    return kin__sync_enter((const struct kin__object *)barrier, KIN__TYPE_BARRIER);
}

int kin_barrier_create(const struct kin_barrier_options *given, kin_barrier **ret_barrier)
{
    struct kin_barrier_options options = KIN_BARRIER_OPTIONS_INIT;
    if (ret_barrier == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc == 0 && (options.parties == 0 || options.parties > KIN_BARRIER_PARTIES_MAX)) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = kin__enter();
    }
    struct kin__object *object;
    if (rc == 0) {
        rc = kin__object_create(KIN__TYPE_BARRIER, sizeof(kin_barrier), &object);
    }
    if (rc < 0) {
        return rc;
    }
    kin_barrier *barrier = (kin_barrier *)object;
    barrier->parties = options.parties;
    barrier->holders = options.holders != 0;
    kin__object_ready(object);
    *ret_barrier = barrier;
    return 0;
}

/* --- waiting ------------------------------------------------------------------------------ */

/* A party arrives. 0 and its phase and index, or KIN_EBROKEN. The last one ends the phase, or, if
 * there is an action, leaves it in ACTING. */
static int arrive(kin_barrier *barrier, bool action, uint32_t *ret_phase, uint32_t *ret_index)
{
    int rc = lock(barrier);
    if (rc < 0) {
        return rc;
    }
    struct state s = read_state(barrier);
    if (s.status != FILLING) {
        /* While one acts all are there: this is one party too many. */
        unlock(barrier);
        return s.status == BROKEN ? KIN_EBROKEN : -EAGAIN;
    }
    *ret_phase = s.phase;
    *ret_index = s.arrived;
    kin__a32 *note = &barrier->note[kin__self->slot];
    uint32_t waiting = waiting_of(kin__a32_load_relaxed(note), s.phase);
    kin__a32_store(note, note_of(s.phase, waiting + 1));
    s.arrived++;
    bool last = s.arrived >= barrier->parties;
    if (!last) {
        write_state(barrier, s);
    } else if (action) {
        s.status = ACTING;
        write_state(barrier, s);
    } else {
        write_state(barrier, next_phase(s, true));
    }
    unlock(barrier);
    if (last && !action) {
        ring(barrier);
    }
    return 0;
}

/* A party that is interrupted goes away again, unless its phase is over. */
static void leave(kin_barrier *barrier, uint32_t phase)
{
    if (lock(barrier) < 0) {
        return;
    }
    struct state s = read_state(barrier);
    if (verdict(s, phase) == -EAGAIN && s.status == FILLING && s.arrived > 0) {
        s.arrived--;
        write_state(barrier, s);
        kin__a32 *note = &barrier->note[kin__self->slot];
        uint32_t waiting = waiting_of(kin__a32_load_relaxed(note), phase);
        kin__a32_store(note, note_of(phase, waiting == 0 ? 0 : waiting - 1));
    }
    unlock(barrier);
}

/* Ends the wait of `phase` for want of time: breaks the barrier unless the phase is over. */
static int time_out(kin_barrier *barrier, uint32_t phase)
{
    int rc = lock(barrier);
    if (rc < 0) {
        return rc;
    }
    rc = verdict(read_state(barrier), phase);
    if (rc == -EAGAIN) {
        break_it(barrier);
        rc = -ETIMEDOUT;
    }
    unlock(barrier);
    if (rc == -ETIMEDOUT) {
        ring(barrier);
    }
    return rc;
}

static int act(kin_barrier *barrier, uint32_t phase, kin_barrier_action_fn *action, void *arg)
{
    int said = action(arg);
    int rc = lock(barrier);
    if (rc < 0) {
        return rc;
    }
    struct state s = read_state(barrier);
    rc = verdict(s, phase); /* it may have been broken meanwhile */
    if (rc == -EAGAIN) {
        rc = said < 0 ? said : 0;
        if (said < 0) {
            break_it(barrier);
        } else {
            write_state(barrier, next_phase(s, true));
        }
    }
    unlock(barrier);
    ring(barrier);
    return rc;
}

static int wait_for_phase(kin_barrier *barrier, uint32_t phase, int64_t deadline)
{
    for (;;) {
        uint32_t seen = kin__door_announce(&barrier->door);
        int rc = verdict(read_state(barrier), phase); /* P2: behind the announcement */
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = kin__door_wait(&barrier->door, seen, KIN__NO_SLOT, 0, deadline);
        if (rc == -ETIMEDOUT) {
            return time_out(barrier, phase);
        }
        if (rc < 0) {
            leave(barrier, phase);
            return rc;
        }
    }
}

/* As arrive, but one party too many waits until the action is over. */
static int arrive_in_time(kin_barrier *barrier, bool action, int64_t deadline, uint32_t *ret_phase,
                          uint32_t *ret_index)
{
    int rc = arrive(barrier, action, ret_phase, ret_index);
    while (rc == -EAGAIN) {
        uint32_t seen = kin__door_announce(&barrier->door);
        rc = arrive(barrier, action, ret_phase, ret_index);
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = kin__door_wait(&barrier->door, seen, KIN__NO_SLOT, 0, deadline);
        if (rc == 0) {
            rc = -EAGAIN;
        }
    }
    return rc;
}

int kin_barrier_wait_with(kin_barrier *barrier, kin_barrier_action_fn *action, void *arg,
                          int64_t timeout_ns, uint32_t *ret_index)
{
    int rc = enter(barrier);
    if (rc < 0) {
        return rc;
    }
    int64_t deadline = kin__clock_deadline(timeout_ns);
    uint32_t phase, index;
    rc = arrive_in_time(barrier, action != NULL, deadline, &phase, &index);
    if (rc < 0) {
        return rc;
    }
    if (index + 1 == barrier->parties) {
        rc = action != NULL ? act(barrier, phase, action, arg) : 0;
    } else {
        rc = wait_for_phase(barrier, phase, deadline);
    }
    if (rc == 0 && ret_index != NULL) {
        *ret_index = index;
    }
    return rc;
}

int kin_barrier_wait(kin_barrier *barrier, int64_t timeout_ns, uint32_t *ret_index)
{
    return kin_barrier_wait_with(barrier, NULL, NULL, timeout_ns, ret_index);
}

/* --- the rest ----------------------------------------------------------------------------- */

int kin_barrier_abort(kin_barrier *barrier)
{
    int rc = enter(barrier);
    if (rc == 0) {
        rc = lock(barrier);
    }
    if (rc < 0) {
        return rc;
    }
    break_it(barrier);
    unlock(barrier);
    ring(barrier);
    return 0;
}

int kin_barrier_reset(kin_barrier *barrier)
{
    int rc = enter(barrier);
    if (rc == 0) {
        rc = lock(barrier);
    }
    if (rc < 0) {
        return rc;
    }
    write_state(barrier, next_phase(read_state(barrier), false));
    /* Whoever has a note had its slot before this. */
    uint32_t high = KIN__MIN(kin__a32_load(&kin__family.head->slots_high), KIN__SLOTS);
    for (uint32_t i = 0; i < high; i++) {
        kin__a32_store(&barrier->note[i], 0);
    }
    unlock(barrier);
    ring(barrier);
    return 0;
}

int kin_barrier_parties(kin_barrier *barrier)
{
    int rc = enter(barrier);
    return rc < 0 ? rc : (int)barrier->parties;
}

int kin_barrier_waiting(kin_barrier *barrier)
{
    int rc = enter(barrier);
    if (rc < 0) {
        return rc;
    }
    struct state s = read_state(barrier);
    return s.status == BROKEN ? 0 : (int)s.arrived;
}

int kin_barrier_broken(kin_barrier *barrier)
{
    int rc = enter(barrier);
    return rc < 0 ? rc : read_state(barrier).status == BROKEN;
}
