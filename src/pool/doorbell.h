/*
 * The parent's doorbell: workers ring it after they have published, if the parent sleeps.
 * Layer: pool. Protocol: docs/design/pool.md, "Doorbell".
 *
 * One word {sequence : 30, armed : 1, asleep : 1}. ASLEEP: a thread of the parent sleeps on the
 * word. ARMED: nobody drives the pool, and the supervisor, which sleeps in epoll, wants to be told
 * by its eventfd. The parent sets a bit and then looks at the rings again; a worker publishes and
 * then looks at the bits: both write by read-modify-write and read by a seq_cst load, so one of
 * them sees the other (P4).
 */
#ifndef KIN_POOL_DOORBELL_H
#define KIN_POOL_DOORBELL_H

#include "base/fault.h"
#include "shm/wait.h"

#define KIN__DOORBELL_ASLEEP 1u
#define KIN__DOORBELL_ARMED 2u
#define KIN__DOORBELL_STEP 4u

/* Written by all workers and the parent, by read-modify-write only. */
struct kin__doorbell {
    kin__a32 word;
};

/* The parent is about to sleep: what to sleep on. */
static inline uint32_t kin__doorbell_announce(struct kin__doorbell *bell)
{
    uint32_t word = kin__a32_load_relaxed(&bell->word);
    uint32_t next;
    do {
        next = (word + KIN__DOORBELL_STEP) | KIN__DOORBELL_ASLEEP;
    } while (!kin__a32_cas(&bell->word, &word, next));
    return next;
}

/* The supervisor is about to sleep in epoll. */
static inline void kin__doorbell_arm(struct kin__doorbell *bell)
{
    kin__a32_or(&bell->word, KIN__DOORBELL_ARMED);
}

/* Wakes whoever sleeps; `event_fd` is the supervisor's. */
void kin__doorbell_ring_slowly(struct kin__doorbell *bell, int event_fd);

/* After a publish, which was a read-modify-write. No system call unless somebody sleeps. */
static inline void kin__doorbell_ring(struct kin__doorbell *bell, int event_fd)
{
    if (KIN__FAULT(WAKE_LOST)) {
        return;
    }
    if (kin__a32_load_seq(&bell->word) & (KIN__DOORBELL_ASLEEP | KIN__DOORBELL_ARMED)) {
        kin__doorbell_ring_slowly(bell, event_fd);
    }
}

#endif
