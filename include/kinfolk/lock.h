/*
 * Locks that survive their owner: kin_lock (plain) and kin_rlock (recursive).
 *
 * Both live in the family's shared memory. A handle works in the process that created or attached
 * it and, as it is, in every child forked from it; other processes of the family attach by a
 * reference. All functions are thread-safe and may be used in every member; only destroy must not
 * run at the same time as another use of the same handle.
 *
 * When the owner of a lock is killed (or crashes, or calls _exit or exec), whoever locks it next
 * holds it and is told so by the positive result KIN_RECOVERED: what the lock guards may be half
 * changed. A stopped owner (SIGSTOP) is alive: others wait for it or for their timeout.
 *
 * Every function returns, besides what its own comment lists: -EINVAL for a handle, reference or
 * option that makes no sense, KIN_ESTALE for a handle to an object that is gone, and what entering
 * the family can say (KIN_EFAMILYFULL, KIN_EFORKED, -ENOMEM, ...). Creating may also say KIN_EQUOTA.
 */
#ifndef KINFOLK_LOCK_H
#define KINFOLK_LOCK_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- lock --------------------------------------------------------------------------------- */

/*
 * Not recursive. It belongs to nobody in particular: any thread of any process may unlock it. A
 * process that ends in an orderly way (returns, exits) leaves it locked, and another may unlock it.
 */
typedef struct kin_lock kin_lock;

struct kin_lock_options {
    size_t size;
    int strict; /* 1: after an owner's death nobody gets the lock until kin_lock_recover */
};
#define KIN_LOCK_OPTIONS_INIT {sizeof(struct kin_lock_options), 0}

KIN_API int kin_lock_create(const struct kin_lock_options *options, kin_lock **ret_lock);

/*
 * Locks, waiting up to timeout_ns (KIN_FOREVER, or 0 to try). Returns 0; KIN_RECOVERED (positive;
 * held as well) if the last owner died; -ETIMEDOUT; KIN_EOWNERDEAD from a strict lock whose owner
 * died (not held); or what the thread's interrupt function said (not held).
 */
KIN_API int kin_lock_lock(kin_lock *lock, int64_t timeout_ns);

/* Unlocks. KIN_EOVERFLOW if it is not locked (nothing is changed then). Never blocks. */
KIN_API int kin_lock_unlock(kin_lock *lock);

/*
 * Takes a strict lock whose owner died: exactly one caller gets it, puts right what it guards and
 * unlocks it. Returns 0 with the lock held, or KIN_ESTATE if it is not in that state (somebody else
 * took it, or nobody died). Never blocks.
 */
KIN_API int kin_lock_recover(kin_lock *lock);

/* 1 while anybody holds it, else 0: a moment's view. */
KIN_API int kin_lock_is_locked(kin_lock *lock);

/* 1 while this process is the one that locked it, else 0. */
KIN_API int kin_lock_is_mine(kin_lock *lock);

/* 1 while it is locked and this holding was taken over from an owner that died, else 0. */
KIN_API int kin_lock_is_recovered(kin_lock *lock);

KIN_API int kin_lock_ref(kin_lock *lock, kin_ref *ret_ref);
/* KIN_ESTALE, KIN_ETYPE or KIN_ENOFAMILY for a reference that names no lock of this family. */
KIN_API int kin_lock_attach(const kin_ref *ref, kin_lock **ret_lock);
/* Gives this handle up; the lock goes with its last handle anywhere. NULL is allowed; returns NULL.
 * Whoever destroys a locked lock leaves it locked for the others. */
KIN_API kin_lock *kin_lock_destroy(kin_lock *lock);

/* --- rlock -------------------------------------------------------------------------------- */

/*
 * Recursive: its owner is one thread of one process, which may lock it again and unlocks it as
 * often. It recovers from any end of its owner's process, an orderly one too.
 */
typedef struct kin_rlock kin_rlock;

struct kin_rlock_options {
    size_t size;
};
#define KIN_RLOCK_OPTIONS_INIT {sizeof(struct kin_rlock_options)}

KIN_API int kin_rlock_create(const struct kin_rlock_options *options, kin_rlock **ret_lock);

/*
 * As kin_lock_lock; 0 at once where the calling thread holds it already. KIN_EOVERFLOW when it is
 * held 2^31-1 times.
 */
KIN_API int kin_rlock_lock(kin_rlock *lock, int64_t timeout_ns);

/* One level less; free with the last. KIN_ENOTOWNER if the calling thread does not hold it. */
KIN_API int kin_rlock_unlock(kin_rlock *lock);

KIN_API int kin_rlock_is_locked(kin_rlock *lock);
/* 1 while the calling thread holds it, else 0. */
KIN_API int kin_rlock_is_mine(kin_rlock *lock);
/* How often the calling thread holds it; 0 if it does not. */
KIN_API int kin_rlock_count(kin_rlock *lock);
KIN_API int kin_rlock_is_recovered(kin_rlock *lock);

KIN_API int kin_rlock_ref(kin_rlock *lock, kin_ref *ret_ref);
KIN_API int kin_rlock_attach(const kin_ref *ref, kin_rlock **ret_lock);
KIN_API kin_rlock *kin_rlock_destroy(kin_rlock *lock);

#ifdef __cplusplus
}
#endif

#endif
