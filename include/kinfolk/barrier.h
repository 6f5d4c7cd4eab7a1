/*
 * Barriers in shared memory: a number of parties (threads, of any processes) wait for each other,
 * over and over.
 *
 * A handle works in the process that created or attached it and, as it is, in every child forked
 * from it; other processes of the family attach by a reference. All functions are thread-safe;
 * only destroy must not run at the same time as another use of the same handle.
 *
 * A barrier breaks, and everybody who waits or comes gets KIN_EBROKEN until kin_barrier_reset, when
 * a party's wait times out, when kin_barrier_abort is called, when an action fails, and when a party
 * dies: a process that is gone while one of its threads waits, however it ended, or one that has
 * waited on the barrier before and is killed (or crashes, or calls _exit or exec). A process that
 * has not waited yet cannot be told from one that never will; with `holders` set, every process
 * that has a handle counts as a party.
 *
 * Every function returns, besides what its own comment lists: -EINVAL, KIN_ESTALE and what entering
 * the family can say; creating may also say KIN_EQUOTA.
 */
#ifndef KINFOLK_BARRIER_H
#define KINFOLK_BARRIER_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_barrier kin_barrier;

#define KIN_BARRIER_PARTIES_MAX 65535

struct kin_barrier_options {
    size_t size;
    uint32_t parties; /* 1 to KIN_BARRIER_PARTIES_MAX; there is no default */
    int holders;      /* 1: the abnormal end of any process that has a handle breaks the barrier */
};
#define KIN_BARRIER_OPTIONS_INIT {sizeof(struct kin_barrier_options), 0, 0}

/* -EINVAL also without a number of parties. */
KIN_API int kin_barrier_create(const struct kin_barrier_options *options,
                               kin_barrier **ret_barrier);

/*
 * Called by the last party to arrive, in its thread, before the others are released. A negative
 * value breaks the barrier and becomes the result of that party's wait.
 */
typedef int kin_barrier_action_fn(void *arg);

/*
 * Waits up to timeout_ns for the other parties. Returns 0, with this party's place in the order of
 * arrival (0 to parties - 1; NULL: not wanted) in *ret_index; -ETIMEDOUT (the barrier is broken by
 * it); KIN_EBROKEN; or what the thread's interrupt function said (the party has then left, and the
 * barrier is as before). A timeout of 0 succeeds for the last party only.
 */
KIN_API int kin_barrier_wait(kin_barrier *barrier, int64_t timeout_ns, uint32_t *ret_index);
KIN_API int kin_barrier_wait_with(kin_barrier *barrier, kin_barrier_action_fn *action, void *arg,
                                  int64_t timeout_ns, uint32_t *ret_index);

/* Breaks the barrier until it is reset. Does not block beyond a short internal lock. */
KIN_API int kin_barrier_abort(kin_barrier *barrier);

/* Makes it whole and empty; who waits gets KIN_EBROKEN. Forgets who has been a party. */
KIN_API int kin_barrier_reset(kin_barrier *barrier);

KIN_API int kin_barrier_parties(kin_barrier *barrier);
/* Parties that wait at this moment; 0 in a broken barrier. */
KIN_API int kin_barrier_waiting(kin_barrier *barrier);
/* 1 or 0. */
KIN_API int kin_barrier_broken(kin_barrier *barrier);

KIN_API int kin_barrier_ref(kin_barrier *barrier, kin_ref *ret_ref);
/* KIN_ESTALE, KIN_ETYPE or KIN_ENOFAMILY for a reference that names no barrier of this family. */
KIN_API int kin_barrier_attach(const kin_ref *ref, kin_barrier **ret_barrier);
/* Gives this handle up; NULL is allowed; returns NULL. */
KIN_API kin_barrier *kin_barrier_destroy(kin_barrier *barrier);

#ifdef __cplusplus
}
#endif

#endif
