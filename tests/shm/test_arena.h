/* The suites of the arena's test program, and what they share. */
#ifndef TEST_ARENA_H
#define TEST_ARENA_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

TCase *arena_repair_case(void);
TCase *arena_storm_case(void);

struct usage {
    uint64_t used, blocks;
};

/* The heap's counters. */
struct usage usage(void);

/* The same after every cache was rebuilt from the truth. */
struct usage usage_recomputed(void);

/* Whether all the bytes have that value. */
bool filled(const char *bytes, size_t size, int value);

#define ck_assert_usage_eq(a, b)                                                                   \
    do {                                                                                           \
        struct usage usage_a_ = (a), usage_b_ = (b);                                               \
        ck_assert_uint_eq(usage_a_.blocks, usage_b_.blocks);                                       \
        ck_assert_uint_eq(usage_a_.used, usage_b_.used);                                           \
    } while (0)

#endif
