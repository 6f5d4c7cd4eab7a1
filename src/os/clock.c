/* Monotonic time. Layer: os. */
#include "os/os.h"

#include <time.h>

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
