/*
 * Waiting at a queue: a short spin that learns whether it pays, then sleep at a door.
 * Layer: channel. Protocols: docs/design/queue.md, docs/design/waiting.md.
 */
#include "channel/queue.h"

#include <errno.h>

#define SPIN_FIRST 4000 /* ns */
#define SPIN_MOST 10000
#define SPIN_LEAST 250  /* below this, spinning is off */
#define RETRY 64        /* and tried again after so many waits */

/* Where a wait is. */
enum phase {
    PHASE_SPIN,
    PHASE_SLEEP,
    PHASE_LAST, /* the deadline has passed: one more look */
};

static bool may_spin(void)
{
    uint64_t words[16];
    unsigned cpus = 0;
    if (kin__affinity_get(words, KIN__ARRAY_SIZE(words)) < 0) {
        return false;
    }
    for (unsigned i = 0; i < KIN__ARRAY_SIZE(words); i++) {
        cpus += (unsigned)__builtin_popcountll(words[i]);
    }
    return cpus > 1;
}

static bool changed(const kin__a64 *word, uint64_t seen)
{
    return kin__a64_load_relaxed(word) != seen;
}

/*
 * Spins until the word changes, as long as `budget` allows. The budget is {waits since spinning
 * was given up : 16, ns : 16}; it doubles when a spin succeeded, halves when not. Racing threads
 * may lose an update, which is harmless.
 */
static void spin(kin__a32 *budget, const kin__a64 *word, uint64_t seen)
{
    uint32_t state = kin__a32_load_relaxed(budget);
    uint32_t ns = state & 0xffff, waits = state >> 16;
    if (ns == 0) {
        if (++waits < RETRY || !may_spin()) {
            kin__a32_store_relaxed(budget, (waits % RETRY) << 16);
            return;
        }
        ns = SPIN_LEAST * 4;
    }
    int64_t until = kin__clock_now() + ns;
    do {
        for (int i = 0; i < 8; i++) {
            if (changed(word, seen)) {
                kin__a32_store_relaxed(budget, KIN__MIN(ns * 2, SPIN_MOST));
                return;
            }
            kin__pause();
        }
    } while (kin__clock_now() < until);
    ns /= 2;
    kin__a32_store_relaxed(budget, ns < SPIN_LEAST ? 0 : ns);
}

/* Common to all: under the lock; leaves it. `word` NULL: no spinning. */
static int wait_at(struct kin__queue *queue, struct kin__door *door, kin__a32 *budget,
                   const kin__a64 *word, struct kin__queue_wait *wait, unsigned ring)
{
    if (wait->timeout_ns == 0 || wait->phase == PHASE_LAST) {
        kin__queue_leave(queue, ring);
        return -ETIMEDOUT;
    }
    if (wait->deadline == 0) {
        wait->deadline = kin__clock_deadline(wait->timeout_ns);
    }
    if (wait->phase == PHASE_SPIN && word != NULL) {
        uint64_t seen = kin__a64_load_relaxed(word);
        kin__queue_leave(queue, ring);
        spin(budget, word, seen);
        wait->phase = PHASE_SLEEP;
        return 0;
    }
    /* The predicate was false under this lock, and nobody can make it true without the lock: so
     * either they find our announcement, or we would have found what they did (P1). */
    uint32_t seen = kin__door_announce(door);
    kin__queue_leave(queue, ring);
    int rc = kin__door_wait(door, seen, KIN__NO_SLOT, 0, wait->deadline);
    if (rc == -ETIMEDOUT) {
        wait->phase = PHASE_LAST;
        return 0;
    }
    return rc;
}

int kin__queue_wait_not_empty(kin_queue *handle, struct kin__queue_wait *wait, unsigned ring)
{
    struct kin__queue *queue = handle->shared;
    kin__queue_poll_drain(handle);
    return wait_at(queue, &queue->not_empty, &handle->spin_empty, &queue->tail, wait, ring);
}

int kin__queue_wait_not_full(kin_queue *handle, struct kin__queue_wait *wait, unsigned ring)
{
    struct kin__queue *queue = handle->shared;
    return wait_at(queue, &queue->not_full, &handle->spin_full, &queue->head, wait, ring);
}

int kin__queue_wait_idle(kin_queue *handle, struct kin__queue_wait *wait, unsigned ring)
{
    struct kin__queue *queue = handle->shared;
    return wait_at(queue, &queue->idle, NULL, NULL, wait, ring);
}

void kin__queue_wait_init(kin_queue *handle)
{
    uint32_t budget = may_spin() ? SPIN_FIRST : 0;
    kin__a32_store_relaxed(&handle->spin_empty, budget);
    kin__a32_store_relaxed(&handle->spin_full, budget);
}
