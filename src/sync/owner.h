/*
 * The owner word: one shared 32-bit word that says which process holds a lock. Layer: sync.
 * Protocol: docs/design/lock.md.
 */
#ifndef KIN_SYNC_OWNER_H
#define KIN_SYNC_OWNER_H

#include "sync/spin.h"
#include "sync/sync.h"

/*
 * {waiters : 1, holder : 12, generation : 19}. The holder is a slot's number + 1, or one of the
 * values below, whose generation is 0.
 */
#define KIN__OWNER_WAITERS UINT32_C(0x80000000)
#define KIN__OWNER_MASK UINT32_C(0x7fffffff)
#define KIN__OWNER_GENERATION_BITS 19
#define KIN__OWNER_GENERATION_MASK ((UINT32_C(1) << KIN__OWNER_GENERATION_BITS) - 1)
#define KIN__OWNER_FREE UINT32_C(0)
/* Its owner died holding it; nobody holds it now. */
#define KIN__OWNER_RECOVERABLE (UINT32_C(0xffe) << KIN__OWNER_GENERATION_BITS)
/* Its owner ended in an orderly way and left it locked; anybody may unlock it. */
#define KIN__OWNER_HANDED_OFF (UINT32_C(0xfff) << KIN__OWNER_GENERATION_BITS)

_Static_assert(KIN__SLOTS + 1 < 0xffe, "slot numbers leave room for the special holders");

/*
 * Invariants (L1..L5 in lock.md): `word` changes hands by one CAS; the waiters bit is set while
 * anybody sleeps on the word, unless a wake is on its way.
 */
struct kin__owner {
    kin__a32 word;
    kin__a32 recovered;    /* 1: the holder took it over from a dead one; written by the holder */
    kin__a32 deaths;       /* rises before each change to RECOVERABLE, perhaps more than once */
    struct kin__spin spin; /* hint */
};

static inline uint32_t kin__owner_of(uint32_t slot, uint32_t generation)
{
    return (slot + 1) << KIN__OWNER_GENERATION_BITS | (generation & KIN__OWNER_GENERATION_MASK);
}

static inline uint32_t kin__owner_me(void)
{
    return kin__owner_of(kin__self->slot, kin__self->generation);
}

/* Who holds it, without the waiters bit. Relaxed: only the holder itself may act on it. */
static inline uint32_t kin__owner_holder(const struct kin__owner *owner)
{
    return kin__a32_load_relaxed(&owner->word) & KIN__OWNER_MASK;
}

static inline bool kin__owner_is_locked(const struct kin__owner *owner)
{
    uint32_t holder = kin__owner_holder(owner);
    return holder != KIN__OWNER_FREE && holder != KIN__OWNER_RECOVERABLE;
}

/* The part of a lock behind the first failed CAS. */
int kin__owner_lock_slowly(struct kin__owner *owner, bool strict, int64_t timeout_ns,
                           bool interruptible);

/*
 * 0, KIN_RECOVERED, -ETIMEDOUT, KIN_EOWNERDEAD (strict), or the interrupt function's code if
 * `interruptible`. The CAS acquires what the last owner released (P1).
 */
static inline int kin__owner_lock(struct kin__owner *owner, bool strict, int64_t timeout_ns)
{
    uint32_t seen = KIN__OWNER_FREE;
    if (KIN__LIKELY(kin__a32_cas(&owner->word, &seen, kin__owner_me()))) {
        return 0;
    }
    return kin__owner_lock_slowly(owner, strict, timeout_ns, true);
}

/* RECOVERABLE → mine: true for exactly one caller. */
bool kin__owner_recover(struct kin__owner *owner);

/* Wakes one sleeper on a word that has just become free. */
void kin__owner_wake(struct kin__owner *owner);

/* Whoever holds it → FREE; KIN_EOVERFLOW if nobody does. */
static inline int kin__owner_unlock(struct kin__owner *owner)
{
    uint32_t seen = kin__a32_load_relaxed(&owner->word);
    if (KIN__UNLIKELY(kin__a32_load_relaxed(&owner->recovered) != 0)) {
        kin__a32_store_relaxed(&owner->recovered, 0);
    }
    do {
        uint32_t holder = seen & KIN__OWNER_MASK;
        if (KIN__UNLIKELY(holder == KIN__OWNER_FREE || holder == KIN__OWNER_RECOVERABLE)) {
            return KIN_EOVERFLOW;
        }
        /* Releases to the next owner (P1). */
    } while (!kin__a32_cas(&owner->word, &seen, KIN__OWNER_FREE));
    if (KIN__UNLIKELY((seen & KIN__OWNER_WAITERS) != 0)) {
        kin__owner_wake(owner);
    }
    return 0;
}

/*
 * A process that may have held or awaited it is dead. If it was the owner, the word becomes
 * `successor` (RECOVERABLE or HANDED_OFF). Wakes all: a wake may have died with the dead.
 */
void kin__owner_sweep(struct kin__owner *owner, uint32_t slot, uint32_t generation,
                      uint32_t successor);

#endif
