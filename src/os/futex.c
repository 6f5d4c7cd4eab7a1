/* Futexes on words shared between processes. Layer: os. */
#include "os/os.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#define FALLBACK_SLICE_NS 10000000

/* As the kernel's struct futex_waitv, which Debian 12's headers have and older ones lack. */
struct waitv {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};
#define WAITV_32 2

static kin__a32 waitv_refused;

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

int kin__futex_wait(kin__a32 *word, uint32_t seen, int64_t deadline)
{
    struct timespec until = timespec_of(deadline);
    /* BITSET takes an absolute monotonic time. */
    long rc = syscall(SYS_futex, &word->value, FUTEX_WAIT_BITSET, seen,
                      deadline == KIN__NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    if (rc == 0 || errno == EAGAIN) {
        return 0;
    }
    return -errno;
}

int kin__futex_wait_many(const struct kin__futex_pair *pairs, unsigned count, int64_t deadline)
{
    if (count == 1) {
        return kin__futex_wait(pairs[0].word, pairs[0].seen, deadline);
    }
    if (kin__a32_load_relaxed(&waitv_refused) == 0) {
        struct waitv waiters[128];
        for (unsigned i = 0; i < count; i++) {
            waiters[i] = (struct waitv){.value = pairs[i].seen,
                                        .address = (uintptr_t)&pairs[i].word->value,
                                        .flags = WAITV_32};
        }
        struct timespec until = timespec_of(deadline);
        long rc = syscall(SYS_futex_waitv, waiters, count, 0,
                          deadline == KIN__NEVER ? NULL : &until, CLOCK_MONOTONIC);
        if (rc >= 0 || errno == EAGAIN) {
            return 0;
        }
        if (errno != ENOSYS && errno != EPERM) {
            return -errno;
        }
        kin__a32_store_relaxed(&waitv_refused, 1);
    }
    int64_t slice = kin__clock_now() + FALLBACK_SLICE_NS;
    int rc = kin__futex_wait(pairs[0].word, pairs[0].seen, slice < deadline ? slice : deadline);
    return rc == -ETIMEDOUT && slice < deadline ? 0 : rc;
}

void kin__futex_refuse_waitv(bool refuse)
{
    kin__a32_store_relaxed(&waitv_refused, refuse);
}

int kin__futex_wake(kin__a32 *word, int count)
{
    long rc = syscall(SYS_futex, &word->value, FUTEX_WAKE, count, NULL, NULL, 0);
    return rc < 0 ? -errno : (int)rc;
}
