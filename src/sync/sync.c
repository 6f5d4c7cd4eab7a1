/* What the primitives share. Layer: sync. */
#include "sync/sync.h"

bool kin__sync_poll(void)
{
    static kin__a64 last;
    uint64_t now = (uint64_t)kin__clock_now();
    uint64_t before = kin__a64_load_relaxed(&last);
    if (now - before < KIN__SLICE_NS || !kin__a64_cas(&last, &before, now)) {
        return false;
    }
    return kin__sweep(false) > 0;
}

uint32_t kin__sync_thread(void)
{
    static kin__a32 last;
    static _Thread_local uint32_t mine;
    if (KIN__UNLIKELY(mine == 0)) {
        mine = kin__a32_add(&last, 1) + 1;
    }
    return mine;
}
