/*
 * Waiting for an owner word, and taking it over from the dead. Layer: sync.
 * Protocol: docs/design/lock.md.
 */
#include "sync/owner.h"

#include <limits.h>

#include "base/fault.h"

/* The process that a word names; KIN__NO_SLOT if it is none that a waiter can depend on. */
static uint32_t process_of(uint32_t word, uint32_t *ret_generation)
{
    uint32_t number = (word & KIN__OWNER_MASK) >> KIN__OWNER_GENERATION_BITS;
    struct kin__slot *slot = number == 0 ? NULL : kin__slot_at(number - 1);
    if (slot == NULL) {
        return KIN__NO_SLOT;
    }
    /* The word has the low bits; a slot is not used again before the words that name it are swept,
     * so the whole is at most one turn behind what the slot has now. */
    uint32_t now = kin__slot_generation(kin__a64_load(&slot->state));
    *ret_generation = now - ((now - word) & KIN__OWNER_GENERATION_MASK);
    return number - 1;
}

/*
 * The word names a process: whether that one is dead. Then the word has been put right on return,
 * or another sweeper is about to.
 */
static bool bury(struct kin__owner *owner, uint32_t seen)
{
    uint32_t generation;
    uint32_t slot = process_of(seen, &generation);
    if (slot == KIN__NO_SLOT || !kin__slot_is_gone(slot, generation)) {
        return false;
    }
    kin__sweep_slot(slot, generation);
    uint64_t state = kin__a64_load(&kin__slot_at(slot)->state);
    if (kin__slot_generation(state) != generation || kin__slot_phase(state) == KIN__SLOT_FREE) {
        /* The sweep is over. If the word still names the dead one, that one had given up its
         * handle while it held the lock, and no sweep will ever come by here. */
        kin__owner_sweep(owner, slot, generation, KIN__OWNER_RECOVERABLE);
    }
    return true;
}

/* Takes a word that nobody holds; `seen` is updated on failure. */
static bool take(struct kin__owner *owner, uint32_t *seen, uint32_t waiters)
{
    bool recovered = (*seen & KIN__OWNER_MASK) == KIN__OWNER_RECOVERABLE;
    if (!kin__a32_cas(&owner->word, seen,
                      kin__owner_me() | waiters | (*seen & KIN__OWNER_WAITERS))) {
        return false;
    }
    if (recovered) {
        kin__a32_store_relaxed(&owner->recovered, 1);
    }
    return true;
}

/*
 * We have slept and go away without the lock. A wake meant for "one of the sleepers" may have been
 * ours: see to it that another one follows.
 */
static void pass_on(struct kin__owner *owner)
{
    uint32_t seen = kin__a32_load(&owner->word);
    for (;;) {
        uint32_t holder = seen & KIN__OWNER_MASK;
        if (holder == KIN__OWNER_FREE || holder == KIN__OWNER_RECOVERABLE) {
            kin__owner_wake(owner);
            return;
        }
        if ((seen & KIN__OWNER_WAITERS) != 0 ||
            kin__a32_cas(&owner->word, &seen, seen | KIN__OWNER_WAITERS)) {
            return;
        }
    }
}

int kin__owner_lock_slowly(struct kin__owner *owner, bool strict, int64_t timeout_ns,
                           bool interruptible)
{
    int64_t deadline = 0;
    uint32_t waiters = 0; /* having slept, we take the word with the bit set: others may sleep */
    bool spun = timeout_ns == 0;
    int slept = 0;
    uint32_t seen = kin__a32_load(&owner->word);
    for (;;) {
        uint32_t holder = seen & KIN__OWNER_MASK;
        if (holder == KIN__OWNER_RECOVERABLE && strict) {
            if (waiters != 0) {
                pass_on(owner);
            }
            return KIN_EOWNERDEAD;
        }
        if (holder == KIN__OWNER_FREE || holder == KIN__OWNER_RECOVERABLE) {
            if (take(owner, &seen, waiters)) {
                return holder == KIN__OWNER_RECOVERABLE ? KIN_RECOVERED : 0;
            }
            continue;
        }
        if (slept < 0) {
            pass_on(owner);
            return slept;
        }
        if (!spun) {
            spun = true;
            kin__spin_until(&owner->spin, &owner->word, KIN__OWNER_MASK, true);
            seen = kin__a32_load(&owner->word);
            continue;
        }
        if ((timeout_ns == 0 || waiters != 0) && bury(owner, seen)) {
            uint32_t now = kin__a32_load(&owner->word);
            if (now != seen) {
                seen = now;
                continue;
            }
        }
        if (timeout_ns == 0) {
            return -ETIMEDOUT;
        }
        if (waiters == 0) {
            waiters = KIN__OWNER_WAITERS;
            deadline = kin__clock_deadline(timeout_ns);
        }
        /* The bit is set before the sleep that compares the word (P2): an unlock in between
         * changes the word, one behind it sees the bit. */
        if ((seen & KIN__OWNER_WAITERS) == 0 &&
            !kin__a32_cas(&owner->word, &seen, seen | KIN__OWNER_WAITERS)) {
            continue;
        }
        uint32_t generation = 0;
        uint32_t slot = process_of(seen, &generation);
        if (slot == kin__self->slot) {
            slot = KIN__NO_SLOT; /* if this process dies, nobody is left to be told */
        }
        slept = kin__sleep(&owner->word, seen | KIN__OWNER_WAITERS, slot, generation, deadline);
        if (slept < 0 && slept != -ETIMEDOUT && !interruptible) {
            slept = 0;
        }
        if (slept < 0 && slept != -ETIMEDOUT) {
            pass_on(owner);
            return slept;
        }
        seen = kin__a32_load(&owner->word);
    }
}

bool kin__owner_recover(struct kin__owner *owner)
{
    uint32_t seen = kin__a32_load(&owner->word);
    while ((seen & KIN__OWNER_MASK) == KIN__OWNER_RECOVERABLE) {
        if (take(owner, &seen, 0)) {
            return true;
        }
    }
    return false;
}

void kin__owner_wake(struct kin__owner *owner)
{
    if (KIN__FAULT(WAKE_LOST)) {
        return;
    }
    kin__futex_wake(&owner->word, 1);
}

void kin__owner_sweep(struct kin__owner *owner, uint32_t slot, uint32_t generation,
                      uint32_t successor)
{
    uint32_t dead = kin__owner_of(slot, generation);
    uint32_t seen = kin__a32_load(&owner->word);
    while ((seen & KIN__OWNER_MASK) == dead) {
        if (successor == KIN__OWNER_RECOVERABLE) {
            kin__a32_add(&owner->deaths, 1);
        }
        if (kin__a32_cas(&owner->word, &seen, successor | (seen & KIN__OWNER_WAITERS))) {
            break;
        }
    }
    kin__futex_wake(&owner->word, INT_MAX);
}
