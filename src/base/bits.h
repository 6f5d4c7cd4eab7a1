/* Small arithmetic that every layer needs. Layer: base. */
#ifndef KIN_BASE_BITS_H
#define KIN_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIN__ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIN__CACHE_LINE 64

#define KIN__LIKELY(x) __builtin_expect(!!(x), 1)
#define KIN__UNLIKELY(x) __builtin_expect(!!(x), 0)

/* For what every forked child runs. The functions lie side by side, so that a child, for which the
 * kernel maps 16 pages at each first touch, touches the library's code once. */
#define KIN__FORK_PATH __attribute__((section(".text.hot.fork")))

#define KIN__MIN(a, b) ((a) < (b) ? (a) : (b))
#define KIN__MAX(a, b) ((a) > (b) ? (a) : (b))

/* `alignment` is a power of two; the caller excludes overflow. */
static inline uint64_t kin__align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Floor of the base-2 logarithm; value > 0. */
static inline unsigned kin__log2(uint64_t value)
{
    return 63u - (unsigned)__builtin_clzll(value);
}

#endif
