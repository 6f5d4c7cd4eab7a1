/*
 * Counting semaphores in shared memory, plain and bounded.
 *
 * A handle works in the process that created or attached it and, as it is, in every child forked
 * from it; other processes of the family attach by a reference. All functions are thread-safe;
 * only destroy must not run at the same time as another use of the same handle.
 *
 * Units of the dead: a unit counts as held by the process that waited for it until that process
 * posts; a post by a process that holds none gives back a unit of the process that holds most (the
 * same thing where one process waits and another posts on its behalf). When a holder is killed (or
 * crashes, or calls _exit or exec) its units come back, as far as that does not lift the value
 * above the initial one. Hence a semaphore that only signals (initial value 0) gets nothing back.
 * A process that ends in an orderly way leaves its units taken: others may post them. Where units
 * do not stand for something held at all, set `signal`: nothing is remembered, nothing comes back,
 * and waiting and posting cost one atomic instruction.
 *
 * Every function returns, besides what its own comment lists: -EINVAL, KIN_ESTALE, KIN_ECORRUPT and
 * what entering the family can say; creating may also say KIN_EQUOTA.
 */
#ifndef KINFOLK_SEMAPHORE_H
#define KINFOLK_SEMAPHORE_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_semaphore kin_semaphore;

#define KIN_SEMAPHORE_MAX 0x7fffffff

struct kin_semaphore_options {
    size_t size;
    uint32_t value; /* units at the start, at most KIN_SEMAPHORE_MAX */
    uint32_t bound; /* the most that posts may lift it to; 0: KIN_SEMAPHORE_MAX */
    int signal;     /* 1: units are signals; they do not come back when a process dies */
};
#define KIN_SEMAPHORE_OPTIONS_INIT {sizeof(struct kin_semaphore_options), 1, 0, 0}

/* -EINVAL also where the value is beyond the bound. Options NULL: one unit, no bound. */
KIN_API int kin_semaphore_create(const struct kin_semaphore_options *options,
                                 kin_semaphore **ret_semaphore);

/*
 * Takes a unit, waiting up to timeout_ns (KIN_FOREVER, or 0 to try). Returns 0, -ETIMEDOUT, or
 * what the thread's interrupt function said (nothing is taken then).
 */
KIN_API int kin_semaphore_wait(kin_semaphore *semaphore, int64_t timeout_ns);

/* Gives a unit. KIN_EOVERFLOW at the bound (nothing is changed then). Does not block beyond a short
 * internal lock. */
KIN_API int kin_semaphore_post(kin_semaphore *semaphore);

/* Units to be had, at this moment: 0 to KIN_SEMAPHORE_MAX. */
KIN_API int kin_semaphore_value(kin_semaphore *semaphore);

/* Units that count as held by this process; always 0 with `signal`. */
KIN_API int kin_semaphore_held(kin_semaphore *semaphore);

KIN_API int kin_semaphore_ref(kin_semaphore *semaphore, kin_ref *ret_ref);
/* KIN_ESTALE, KIN_ETYPE or KIN_ENOFAMILY for a reference that names no semaphore of this family. */
KIN_API int kin_semaphore_attach(const kin_ref *ref, kin_semaphore **ret_semaphore);
/* Gives this handle up; NULL is allowed; returns NULL. Units that this process holds stay taken. */
KIN_API kin_semaphore *kin_semaphore_destroy(kin_semaphore *semaphore);

#ifdef __cplusplus
}
#endif

#endif
