/* Ringing the parent's doorbell. Layer: pool. Protocol: docs/design/pool.md, "Doorbell". */
#include "pool/doorbell.h"

#include <limits.h>

void kin__doorbell_ring_slowly(struct kin__doorbell *bell, int event_fd)
{
    /* Lowering the bits and moving the sequence in one step: a parent that announces after it
     * looks at the rings again, one that announced before is woken below. */
    uint32_t word = kin__a32_load_relaxed(&bell->word);
    uint32_t next;
    do {
        next = (word + KIN__DOORBELL_STEP) & ~(KIN__DOORBELL_ASLEEP | KIN__DOORBELL_ARMED);
    } while (!kin__a32_cas(&bell->word, &word, next));
    if (word & KIN__DOORBELL_ASLEEP) {
        kin__futex_wake(&bell->word, INT_MAX);
    }
    if (word & KIN__DOORBELL_ARMED) {
        kin__event_signal(event_fd);
    }
}
