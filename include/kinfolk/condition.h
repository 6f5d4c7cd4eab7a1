/*
 * Condition variables in shared memory, over a kin_lock or a kin_rlock.
 *
 * A handle works in the process that created or attached it and, as it is, in every child forked
 * from it; other processes of the family attach by a reference (which brings the lock along). All
 * functions are thread-safe; only destroy must not run at the same time as another use of the same
 * handle.
 *
 * Waiters are woken in the order in which they came. As everywhere, wait in a loop that checks what
 * is waited for: a waiter can also be woken for no reason. Deaths: a notify that was given to a
 * waiter which died before its wait returned is passed on to the next; when a process dies while it
 * holds the lock (in a way that makes it recoverable, see lock.h), all waiters are woken, and the
 * first of them to get the lock is told KIN_RECOVERED.
 *
 * Every function returns, besides what its own comment lists: -EINVAL, KIN_ESTALE, KIN_ECORRUPT and
 * what entering the family can say; creating may also say KIN_EQUOTA.
 */
#ifndef KINFOLK_CONDITION_H
#define KINFOLK_CONDITION_H

#include <kinfolk/lock.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_condition kin_condition;

/* Threads, in all processes together, that can wait on one condition at once. */
#define KIN_CONDITION_WAITERS 1000

struct kin_condition_options {
    size_t size;
    kin_lock *lock;   /* at most one of the two; both NULL: a new kin_rlock of its own */
    kin_rlock *rlock;
};
#define KIN_CONDITION_OPTIONS_INIT {sizeof(struct kin_condition_options), NULL, NULL}

/* The condition keeps its lock alive; the caller keeps its own handle of it as well. */
KIN_API int kin_condition_create(const struct kin_condition_options *options,
                                 kin_condition **ret_condition);

/* Lock and unlock what lies under it; as kin_lock_lock and kin_rlock_lock, and their unlocks. */
KIN_API int kin_condition_lock(kin_condition *condition, int64_t timeout_ns);
KIN_API int kin_condition_unlock(kin_condition *condition);

/* 1 if the lock is held by this process (kin_lock) or thread (kin_rlock), else 0. */
KIN_API int kin_condition_is_mine(kin_condition *condition);

/*
 * Unlocks (a recursive lock on all levels), waits for a notify up to timeout_ns, and locks again,
 * however long that takes and whatever ended the wait. Returns, with the lock held as before:
 *   0               notified
 *   KIN_RECOVERED   the lock was taken over from an owner that died meanwhile; check everything
 *   -ETIMEDOUT      not notified in time
 *   KIN_ENOTOWNER   the caller does not hold the lock (this process, for a kin_lock); nothing done
 *   -EAGAIN         KIN_CONDITION_WAITERS are waiting already; nothing done
 *   other negative  what the thread's interrupt function said; no notify is used up. (Ask
 *                   kin_lock_is_recovered or kin_rlock_is_recovered about the lock.)
 * and with the lock not held:
 *   KIN_EOWNERDEAD  a strict lock whose owner died meanwhile; kin_lock_recover takes it
 */
KIN_API int kin_condition_wait(kin_condition *condition, int64_t timeout_ns);

/*
 * Wakes the `count` longest-waiting threads, or as many as there are. The lock should be held, so
 * that what is waited for cannot change meanwhile, but need not be. Does not block beyond a short
 * internal lock. A notifier that is killed has notified none, some or all.
 */
KIN_API int kin_condition_notify(kin_condition *condition, uint32_t count);

/* Wakes all who wait. A notifier that is killed has notified none or all. */
KIN_API int kin_condition_notify_all(kin_condition *condition);

/* Threads that wait now and have not been notified. */
KIN_API int kin_condition_waiting(kin_condition *condition);

KIN_API int kin_condition_ref(kin_condition *condition, kin_ref *ret_ref);
/* KIN_ESTALE, KIN_ETYPE or KIN_ENOFAMILY for a reference that names no condition of this family. */
KIN_API int kin_condition_attach(const kin_ref *ref, kin_condition **ret_condition);
/* Gives this handle up; NULL is allowed; returns NULL. */
KIN_API kin_condition *kin_condition_destroy(kin_condition *condition);

#ifdef __cplusplus
}
#endif

#endif
