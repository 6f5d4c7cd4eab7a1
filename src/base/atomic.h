/*
 * The only door to C11 atomics. Layer: base.
 *
 * Loads acquire and stores release unless the name says relaxed; read-modify-writes are seq_cst.
 * There are no stand-alone fences: ThreadSanitizer models none. Where a store must be ordered
 * before a later load (announce, then re-check), one of the two is a read-modify-write, or the
 * store is one and the load says seq.
 */
#ifndef KIN_BASE_ATOMIC_H
#define KIN_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct kin__a32 {
    _Atomic uint32_t value;
} kin__a32;

typedef struct kin__a64 {
    _Atomic uint64_t value;
} kin__a64;

#define KIN__ATOMIC(name, type, word)                                                              \
    static inline type kin__##name##_load(const word *w)                                           \
    {                                                                                              \
        return atomic_load_explicit(&((word *)(uintptr_t)w)->value, memory_order_acquire);         \
    }                                                                                              \
    static inline type kin__##name##_load_relaxed(const word *w)                                   \
    {                                                                                              \
        return atomic_load_explicit(&((word *)(uintptr_t)w)->value, memory_order_relaxed);         \
    }                                                                                              \
    static inline type kin__##name##_load_seq(const word *w)                                       \
    {                                                                                              \
        return atomic_load_explicit(&((word *)(uintptr_t)w)->value, memory_order_seq_cst);         \
    }                                                                                              \
    static inline void kin__##name##_store(word *w, type v)                                        \
    {                                                                                              \
        atomic_store_explicit(&w->value, v, memory_order_release);                                 \
    }                                                                                              \
    static inline void kin__##name##_store_relaxed(word *w, type v)                                \
    {                                                                                              \
        atomic_store_explicit(&w->value, v, memory_order_relaxed);                                 \
    }                                                                                              \
    /* On failure *expected receives the current value. */                                         \
    static inline bool kin__##name##_cas(word *w, type *expected, type desired)                    \
    {                                                                                              \
        return atomic_compare_exchange_strong(&w->value, expected, desired);                       \
    }                                                                                              \
    static inline type kin__##name##_xchg(word *w, type v)                                         \
    {                                                                                              \
        return atomic_exchange(&w->value, v);                                                      \
    }                                                                                              \
    /* The value before. */                                                                        \
    static inline type kin__##name##_add(word *w, type v)                                          \
    {                                                                                              \
        return atomic_fetch_add(&w->value, v);                                                     \
    }                                                                                              \
    static inline type kin__##name##_sub(word *w, type v)                                          \
    {                                                                                              \
        return atomic_fetch_sub(&w->value, v);                                                     \
    }                                                                                              \
    static inline type kin__##name##_or(word *w, type v)                                           \
    {                                                                                              \
        return atomic_fetch_or(&w->value, v);                                                      \
    }                                                                                              \
    static inline type kin__##name##_and(word *w, type v)                                          \
    {                                                                                              \
        return atomic_fetch_and(&w->value, v);                                                     \
    }

KIN__ATOMIC(a32, uint32_t, kin__a32)
KIN__ATOMIC(a64, uint64_t, kin__a64)

#undef KIN__ATOMIC

/* A pointer that one thread sets under a lock and others read without: with what it points to. */
#define kin__pointer_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define kin__pointer_store(p, value) __atomic_store_n((p), (value), __ATOMIC_RELEASE)

/* Tells the core that the caller spins. */
static inline void kin__pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
