/*
 * Sleeping and waking between processes: the slice, and the door. Layer: shm.
 * Protocol: docs/design/waiting.md.
 *
 * Every wait in the library is a loop of: check the predicate, announce, check again, kin__sleep.
 * kin__sleep sleeps for one slice at most and then returns 0 so that the loop looks again: no wake
 * that a dying process fails to give costs more than a slice.
 */
#ifndef KIN_SHM_WAIT_H
#define KIN_SHM_WAIT_H

#include "os/os.h"
#include "shm/slot.h"

#define KIN__SLICE_NS 100000000

/* What this thread's interrupt function says: 0 to wait on (also without one), or negative. */
int kin__interrupted(void);

/*
 * Sleeps while *word == seen, for at most a slice, or until `deadline`, or until the process
 * {slot, generation} that the caller depends on dies (KIN__NO_SLOT: none). At the end of a slice
 * it sweeps. Returns 0 (look again), -ETIMEDOUT when the deadline has passed, or what the thread's
 * interrupt function said. Call with no internal lock held.
 */
int kin__sleep(kin__a32 *word, uint32_t seen, uint32_t slot, uint32_t generation,
               int64_t deadline);

/*
 * A door: an event count on one shared word {sequence : 31, somebody waits : 1}. Whoever makes a
 * predicate true rings after the store that does so; whoever waits announces before the last check
 * of the predicate. Both are read-modify-writes of the word, so one of them sees the other (P1).
 * A killed waiter leaves the bit raised, which costs one futile wake and is then lowered.
 */
struct kin__door {
    kin__a32 word;
};

/* Announces; the result is what to pass to kin__door_wait unless the predicate has become true. */
static inline uint32_t kin__door_announce(struct kin__door *door)
{
    uint32_t word = kin__a32_load_relaxed(&door->word);
    /* Announcing moves the sequence too, so that a ring which found nobody asleep cannot lower the
     * bit of a waiter who has announced since. */
    while (!kin__a32_cas(&door->word, &word, (word + 2) | 1)) {
    }
    return (word + 2) | 1;
}

static inline int kin__door_wait(struct kin__door *door, uint32_t seen, uint32_t slot,
                                 uint32_t generation, int64_t deadline)
{
    return kin__sleep(&door->word, seen, slot, generation, deadline);
}

void kin__door_wake_one(struct kin__door *door, uint32_t word);
void kin__door_wake_all(struct kin__door *door);

/* Wakes one waiter, if there is any. No system call otherwise. */
static inline void kin__door_ring_one(struct kin__door *door)
{
    uint32_t before = kin__a32_add(&door->word, 2);
    if (before & 1) {
        kin__door_wake_one(door, before + 2);
    }
}

/* Wakes all waiters, if there are any. */
static inline void kin__door_ring_all(struct kin__door *door)
{
    uint32_t before = kin__a32_add(&door->word, 2);
    if (before & 1) {
        kin__door_wake_all(door);
    }
}

#endif
