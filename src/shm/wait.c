/* Sleeping and waking between processes. Layer: shm. Protocol: docs/design/waiting.md. */
#include "shm/wait.h"

#include <errno.h>
#include <kinfolk/base.h>
#include <limits.h>

/* A life word that has flipped while the kernel still shows the process alive cannot wake us (its
 * main thread ended, or it is on its way out): look again after this long. */
#define UNCERTAIN_SLICE_NS 5000000

static _Thread_local struct {
    kin_interrupt_fn *fn;
    void *arg;
} interrupt;

void kin_thread_set_interrupt(kin_interrupt_fn *fn, void *arg)
{
    interrupt.fn = fn;
    interrupt.arg = arg;
}

int kin__interrupted(void)
{
    int rc = interrupt.fn == NULL ? 0 : interrupt.fn(interrupt.arg);
    return rc < 0 ? rc : 0;
}

int kin__sleep(kin__a32 *word, uint32_t seen, uint32_t slot, uint32_t generation,
               int64_t deadline)
{
    int64_t now = kin__clock_now();
    if (deadline <= now) {
        return -ETIMEDOUT;
    }
    int64_t slice = KIN__SLICE_NS;
    struct kin__futex_pair pairs[2] = {{.word = word, .seen = seen}};
    unsigned count = 1;
    if (slot != KIN__NO_SLOT) {
        if (kin__slot_life_word(slot, generation, &pairs[1].word, &pairs[1].seen)) {
            count = 2;
        } else {
            slice = UNCERTAIN_SLICE_NS;
            if (kin__slot_is_gone(slot, generation)) {
                kin__sweep_slot(slot, generation);
            }
        }
    }
    int64_t until = slice < deadline - now ? now + slice : deadline;
    int rc = kin__futex_wait_many(pairs, count, until);
    if (rc == 0) {
        return 0;
    }
    int said = kin__interrupted();
    if (said < 0) {
        return said;
    }
    if (rc == -ETIMEDOUT) {
        if (until == deadline) {
            return -ETIMEDOUT;
        }
        kin__sweep(false);
    }
    return rc == -EINTR || rc == -ETIMEDOUT ? 0 : rc;
}

void kin__door_wake_one(struct kin__door *door, uint32_t word)
{
    if (kin__futex_wake(&door->word, 1) == 0) {
        /* Nobody is asleep. Fails, rightly, if somebody has announced or rung since. */
        kin__a32_cas(&door->word, &word, word & ~1u);
    }
}

void kin__door_wake_all(struct kin__door *door)
{
    kin__a32_and(&door->word, ~1u);
    kin__futex_wake(&door->word, INT_MAX);
}
