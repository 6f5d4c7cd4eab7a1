/*
 * Spinning before a sleep, for as long as it has been paying: halved by each spin that was in vain,
 * doubled by each that was not. Layer: pool.
 */
#ifndef KIN_POOL_SPIN_H
#define KIN_POOL_SPIN_H

#include "base/atomic.h"
#include "base/bits.h"
#include "os/os.h"

struct kin__spin {
    int64_t budget; /* ns */
    int64_t most;   /* 0: never spins */
};

#define KIN__SPIN_LEAST 250

static inline void kin__spin_init(struct kin__spin *spin, int64_t most)
{
    spin->most = most;
    spin->budget = most / 2;
}

/* Spins until ready(arg) or the budget is spent; the result is whether it became ready. */
static inline bool kin__spin_until(struct kin__spin *spin, bool (*ready)(void *), void *arg)
{
    if (spin->most == 0) {
        return false;
    }
    int64_t until = kin__clock_now() + spin->budget;
    do {
        for (int i = 0; i < 8; i++) {
            if (ready(arg)) {
                spin->budget = KIN__MIN(spin->budget * 2, spin->most);
                return true;
            }
            kin__pause();
        }
    } while (kin__clock_now() < until);
    spin->budget = KIN__MAX(spin->budget / 2, KIN__SPIN_LEAST);
    return false;
}

#endif
