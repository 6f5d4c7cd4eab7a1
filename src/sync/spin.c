/*
 * Adaptive spinning: halve the time on failure, double it on success, and try again now and then
 * once it has come down to nothing. Layer: sync.
 */
#include "sync/spin.h"

#include "base/bits.h"
#include "os/os.h"

#define FIRST_NS 4000
#define MOST_NS 10000
#define LEAST_NS 250
#define PROBE_NS 1000
#define PROBE_EVERY 64   /* contended operations with spinning switched off */
#define RECOUNT_EVERY 1024
#define PAUSES 16        /* between two looks at the clock */

static kin__a32 refused;

void kin__spin_refuse(bool refuse)
{
    kin__a32_store_relaxed(&refused, refuse);
}

/* Whether this thread may run on more than one CPU; asked anew from time to time. */
static bool several_cpus(void)
{
    static _Thread_local unsigned calls;
    static _Thread_local bool several;
    if (calls++ % RECOUNT_EVERY == 0) {
        uint64_t mask[16] = {0};
        int count = 0;
        if (kin__affinity_get(mask, KIN__ARRAY_SIZE(mask)) >= 0) {
            for (unsigned i = 0; i < KIN__ARRAY_SIZE(mask); i++) {
                count += __builtin_popcountll(mask[i]);
            }
        }
        several = count > 1;
    }
    return several;
}

static int64_t budget_of(struct kin__spin *spin)
{
    uint32_t budget = kin__a32_load_relaxed(&spin->budget);
    if (budget == 0) {
        return FIRST_NS;
    }
    if (budget - 1 >= LEAST_NS) {
        return KIN__MIN(budget - 1, MOST_NS);
    }
    static _Thread_local unsigned skipped;
    return skipped++ % PROBE_EVERY == PROBE_EVERY - 1 ? PROBE_NS : 0;
}

bool kin__spin_until(struct kin__spin *spin, const kin__a32 *word, uint32_t mask, bool zero)
{
    if (kin__a32_load_relaxed(&refused) != 0 || !several_cpus()) {
        return false;
    }
    int64_t budget = budget_of(spin);
    if (budget == 0) {
        return false;
    }
    int64_t until = kin__clock_now() + budget;
    bool found;
    do {
        for (int i = 0; i < PAUSES; i++) {
            found = ((kin__a32_load(word) & mask) == 0) == zero;
            if (found) {
                break;
            }
            kin__pause();
        }
    } while (!found && kin__clock_now() < until);
    int64_t next = found ? KIN__MIN(budget * 2, MOST_NS) : budget / 2;
    if (next != budget) {
        kin__a32_store_relaxed(&spin->budget, (uint32_t)next + 1);
    }
    return found;
}
