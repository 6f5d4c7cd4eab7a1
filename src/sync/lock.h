/* The shared structs of kin_lock and kin_rlock, for the condition. Layer: sync. */
#ifndef KIN_SYNC_LOCK_H
#define KIN_SYNC_LOCK_H

#include <kinfolk/lock.h>

#include "sync/owner.h"

struct kin_lock {
    struct kin__object object;
    uint32_t strict; /* constant */
    struct kin__owner owner __attribute__((aligned(KIN__CACHE_LINE)));
};

/*
 * Invariant: `thread` is 0 or names the thread that holds the lock; the owner writes it behind its
 * taking of the word and clears it before it frees the word. Of a dead owner it may stay behind,
 * and matches nobody: a process's name is never used again.
 */
struct kin_rlock {
    struct kin__object object;
    struct kin__owner owner __attribute__((aligned(KIN__CACHE_LINE)));
    kin__a32 count;  /* levels; the owner's alone */
    kin__a64 thread; /* {process as in the owner word : 32, kin__sync_thread : 32} */
};

static inline uint64_t kin__rlock_me(void)
{
    return (uint64_t)kin__owner_me() << 32 | kin__sync_thread();
}

/* Whether the calling thread is the owner. Relaxed: only its own stores can make it true. */
static inline bool kin__rlock_is_mine(const kin_rlock *lock)
{
    return kin__a64_load_relaxed(&lock->thread) == kin__rlock_me();
}

/* Gives up all levels; the result is what kin__rlock_restore takes. The caller is the owner. */
uint32_t kin__rlock_give_up(kin_rlock *lock);

/* Locks again, waiting as long as it takes and through interrupts: 0 or KIN_RECOVERED. */
int kin__rlock_restore(kin_rlock *lock, uint32_t count);

#endif
