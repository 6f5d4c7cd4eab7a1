/*
 * Futures: what one task of a pool comes to.
 *
 * A future belongs to the process that submitted the task; in a forked child every call on it is
 * KIN_EFORKED. It outlives its pool: what the pool did not finish is cancelled.
 */
#ifndef KINFOLK_FUTURE_H
#define KINFOLK_FUTURE_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_future kin_future;

/*
 * Waits until the task is finished. Returns
 *   0               it succeeded
 *   -ETIMEDOUT      it is not finished after timeout_ns (0: only looks); or it is, and it had run
 *                   longer than its own limit: kin_future_ready tells the two apart
 *   KIN_ETASK       its function failed: kin_future_code has the function's value
 *   KIN_EWORKERLOST its worker died while it ran, more often than it may be retried
 *   KIN_ECANCELLED  it was cancelled, or the pool was terminated or destroyed
 *   KIN_EWORKERINIT the pool's workers cannot be initialised
 *   other           why it could not be sent or its result not received (KIN_EQUOTA, ...)
 * or what the thread's interrupt function said. Any number of threads may wait. While it waits the
 * thread drives the pool: other tasks' callbacks may be called in it.
 */
KIN_API int kin_future_wait(kin_future *future, int64_t timeout_ns);

/* 1 if the task is finished, in whatever way, else 0. Does not block. */
KIN_API int kin_future_ready(const kin_future *future);

/*
 * The bytes of a successful task's reply, valid until the future is destroyed (NULL and 0 if it
 * replied nothing). -EAGAIN if the task is not finished; if it failed, what kin_future_wait says.
 */
KIN_API int kin_future_result(const kin_future *future, const void **ret_data, size_t *ret_size);

/*
 * The task's code: 0, the function's own value, or the reason as kin_future_wait gives it.
 * -EAGAIN if it is not finished.
 */
KIN_API int kin_future_code(const kin_future *future, int *ret_code);

/*
 * Takes back a task that has not begun: it will never run, and the future is finished at once with
 * KIN_ECANCELLED; returns 0. -EBUSY if it has begun, -EALREADY if it is finished. Exact: a task is
 * either cancelled or runs.
 */
KIN_API int kin_future_cancel(kin_future *future);

/*
 * Has `callback` called once when the task is finished: by some thread that waits on the pool or by
 * the library's own, with no lock held; at once and by the caller if it is finished already. It may
 * call anything but kin_pool_join and kin_pool_destroy of the future's pool, and should not block.
 * One callback a future: -EALREADY for a second. The future stays valid during the callback, which
 * may destroy it.
 */
typedef void kin_future_fn(kin_future *future, void *arg);
KIN_API int kin_future_on_ready(kin_future *future, kin_future_fn *callback, void *arg);

/*
 * Gives the handle up; the task goes on, and its callback is still called unless it is this one's
 * last. Accepts NULL; returns NULL. No other thread may be in a call on the future.
 */
KIN_API kin_future *kin_future_destroy(kin_future *future);

#ifdef __cplusplus
}
#endif

#endif
