/* Monotonic time. Layer: os. */
#include "os/os.h"

#include <time.h>
#include <unistd.h>

int64_t kin__clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t kin__clock_deadline(int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        return KIN__NEVER;
    }
    int64_t now = kin__clock_now();
    return timeout_ns > KIN__NEVER - now ? KIN__NEVER : now + timeout_ns;
}

KIN__FORK_PATH uint64_t kin__clock_ticks(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    /* The kernel counts start times in ticks of this many a second, whatever its own are. */
    static kin__a64 known;
    uint64_t hz = kin__a64_load_relaxed(&known);
    if (hz == 0) {
        hz = (uint64_t)sysconf(_SC_CLK_TCK);
        kin__a64_store_relaxed(&known, hz);
    }
    return (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec * hz / 1000000000;
}
