/*
 * Pools: workers, processes or threads, that run functions on items.
 *
 * A worker that dies fails only the item it was running; it is replaced, and everything else
 * completes. No pointer of the parent reaches a worker: items, arguments and results are copied
 * through shared memory, except that memory from kin_alloc is used in place.
 *
 * A pool belongs to the process that created it; in a forked child every call on it is KIN_EFORKED
 * (its destroy does nothing). Workers may create pools of their own. When the parent dies, however
 * it dies, its workers end within a second, also while they compute. All calls are thread-safe
 * except destroy. Design: docs/design/pool.md.
 */
#ifndef KINFOLK_POOL_H
#define KINFOLK_POOL_H

#include <kinfolk/base.h>
#include <kinfolk/future.h>
#include <kinfolk/placement.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kin_process_options;

typedef struct kin_pool kin_pool;
typedef struct kin_reply kin_reply;
typedef struct kin_imap kin_imap;

/* --- functions that run in workers -------------------------------------------------------- */

/*
 * One item of kin_pool_map. Reads `item`, writes `result` (its bytes are undefined before) and
 * returns 0; any other value fails the item with that code, and its result is dropped. `state`:
 * the worker's own copy of the call's `arg`; without one what the worker's initializer stored;
 * else NULL.
 */
typedef int kin_map_fn(const void *item, void *result, void *state);

/*
 * One task of everything else: reads the `size` bytes at `arg` (aligned to 16), may reply with
 * bytes, and returns 0; any other value fails the task with that code, and its reply is dropped.
 * `state` as above.
 */
typedef int kin_task_fn(const void *arg, size_t size, kin_reply *reply, void *state);

/* Replies with a copy of the bytes; replaces an earlier reply of the task. 0, KIN_EQUOTA. */
KIN_API int kin_reply_set(kin_reply *reply, const void *data, size_t size);

/*
 * Replies with `size` bytes that the caller then writes at *ret_room (aligned to 16) before the
 * task's function returns; replaces an earlier reply. 0, KIN_EQUOTA.
 */
KIN_API int kin_reply_reserve(kin_reply *reply, size_t size, void **ret_room);

/* Shortens a reserved reply to `size` bytes. -EINVAL if it is not that long. */
KIN_API int kin_reply_trim(kin_reply *reply, size_t size);

/*
 * Runs in each worker before its first task: gets its own copy of init_arg and may store a state for
 * the worker's tasks. A value other than 0 fails the worker.
 */
typedef int kin_worker_init_fn(void *arg, size_t size, void **ret_state);

/* Runs in each worker that ends in an orderly way, after its last task. */
typedef void kin_worker_fini_fn(void *state);

/* --- pools -------------------------------------------------------------------------------- */

enum kin_workers {
    KIN_WORKERS_PROCESSES,
    /* Threads of this process: the same calls and results; a crash in a task ends the process, and
     * a task that runs cannot be stopped (terminate and destroy wait for it). */
    KIN_WORKERS_THREADS,
};

struct kin_pool_options {
    size_t size;
    int processes;              /* workers; 0: kin_cpu_count(), or as `placement` says; at most 900 */
    int kind;                   /* enum kin_workers */
    int max_tasks_per_child;    /* items after which a worker is replaced; 0: never */
    int retries;                /* how often an item whose worker died is run again; default 0 */
    kin_worker_init_fn *initializer; /* or NULL */
    const void *init_arg;       /* init_size bytes, copied */
    size_t init_size;
    kin_worker_fini_fn *finalizer;   /* or NULL */
    const char *name;           /* of the workers: "name-1", ...; NULL: "kin-worker"; copied */
    const struct kin_placement *placement; /* where workers run; NULL: anywhere, all of one role */
    const struct kin_process_options *process; /* how workers are started: method, context, ...;
                                   NULL: by fork. Its target, argument, name, daemon are ignored */
    int64_t grace_ns;           /* between SIGTERM and SIGKILL in terminate; default 0.5 s */
};
#define KIN_POOL_OPTIONS_INIT                                                                      \
    {sizeof(struct kin_pool_options), 0, KIN_WORKERS_PROCESSES, 0, 0, NULL, NULL, 0, NULL, NULL,   \
     NULL, NULL, INT64_C(500000000)}

/*
 * Starts a pool; options NULL: the defaults. Returns when the workers have been started, not when
 * they have been initialised: an initializer that fails shows as KIN_EWORKERINIT in later calls.
 * -EINVAL; what kin_plan_create says of a placement; -ENOMEM, KIN_EQUOTA; why not even one
 * worker could be started (-EAGAIN, KIN_ENOENTRY, ...).
 */
KIN_API int kin_pool_create(const struct kin_pool_options *options, kin_pool **ret_pool);

/* Workers that the pool is to have (replacements under way count). */
KIN_API int kin_pool_size(const kin_pool *pool);

/* No more work: later calls that bring some give KIN_ESTATE. What was accepted completes. Does
 * not block. 0, also when closed or terminated already. */
KIN_API int kin_pool_close(kin_pool *pool);

/*
 * Ends the pool at once: tasks that have not begun are cancelled, those that run lose their worker
 * (SIGTERM, after grace_ns SIGKILL) and are cancelled too. Calls that wait on them return
 * KIN_ECANCELLED. Does not wait for the workers' end: kin_pool_join does. 0.
 */
KIN_API int kin_pool_terminate(kin_pool *pool);

/*
 * Waits until all work is done and all workers have ended. KIN_ESTATE if the pool is neither
 * closed nor terminated; -ETIMEDOUT; -EDEADLK in a callback of this pool.
 */
KIN_API int kin_pool_join(kin_pool *pool, int64_t timeout_ns);

/*
 * Terminates and joins the pool if need be, in bounded time, and frees it. Futures of the pool stay
 * valid. Iterators of the pool are destroyed first. Accepts NULL; returns NULL.
 */
KIN_API kin_pool *kin_pool_destroy(kin_pool *pool);

struct kin_pool_stats {
    size_t size;            /* of this struct, set by the caller */
    int workers;            /* alive and initialised */
    int busy;               /* of these, running something */
    uint64_t queued;        /* tasks that have not been given to a worker */
    uint64_t completed;     /* items and tasks that succeeded */
    uint64_t failed;        /* items and tasks that failed, in whatever way */
    uint64_t workers_lost;  /* workers that died */
    uint64_t workers_started; /* the first ones and all replacements */
    uint64_t retried;       /* items and tasks that were run again after their worker's death */
};
KIN_API int kin_pool_stats(kin_pool *pool, struct kin_pool_stats *ret_stats);

/* The process ids of the live workers: writes up to `count`, returns how many there are. 0 of a
 * pool of threads. */
KIN_API int kin_pool_pids(kin_pool *pool, int *ret_pids, size_t count);

/* --- map ---------------------------------------------------------------------------------- */

enum kin_on_error {
    KIN_ON_ERROR_FINISH, /* all items run, whatever becomes of some */
    KIN_ON_ERROR_RAISE,  /* the first failure cancels every item that has not begun */
    KIN_ON_ERROR_RETURN, /* as FINISH, but failed items do not fail the call: look at `codes` */
};

#define KIN_RETRIES_DEFAULT (-1)

struct kin_map_options {
    size_t size;
    size_t chunk;           /* items that a worker takes at once; never split, except by its death.
                               0: measured while it runs, about 50 us, and taken back when others idle */
    int64_t timeout_ns;     /* of the whole call; default KIN_FOREVER */
    int retries;            /* how often an item whose worker died is run again; KIN_RETRIES_DEFAULT:
                               as the pool says */
    int on_error;           /* enum kin_on_error */
    const void *arg;        /* arg_size bytes, copied once per call to each worker: the function's
                               state; NULL: the worker's own state */
    size_t arg_size;
    int *codes;             /* NULL, or one for each item: 0, the function's own value,
                               KIN_EWORKERLOST, KIN_ECANCELLED (did not run), or -ETIMEDOUT (had not
                               finished when the time was up) */
    const char *role;       /* which workers; NULL: any */
};
#define KIN_MAP_OPTIONS_INIT                                                                       \
    {sizeof(struct kin_map_options), 0, KIN_FOREVER, KIN_RETRIES_DEFAULT, KIN_ON_ERROR_FINISH, NULL,\
     0, NULL, NULL}

/*
 * Runs fn on each of `count` items of item_size bytes; the i-th result goes to result_size bytes at
 * results + i * result_size. Either size may be 0, with a NULL array. Blocks until all is done; any
 * number of threads may map at once. Items and results inside one block of kin_alloc are used in
 * place (the function reads the items there; a result is stored there when the function has
 * returned); others are copied through the arena in windows, so that they may be larger than it.
 *
 * Results of failed items are left untouched, all the others are there. (In place, a death in the
 * instant in which a result of more than 8 bytes is stored may tear that one.) Returns
 *   0                all items succeeded, or on_error is RETURN
 *   KIN_ETASK        some item failed
 *   KIN_EWORKERLOST  some item failed, all of them by their worker's death
 *   -ETIMEDOUT       the time was up: what had not begun never will, and workers that still ran an
 *                    item of the call have been killed and replaced (threads: waited for)
 *   KIN_ECANCELLED   the pool was terminated
 *   KIN_EWORKERINIT  the workers cannot be initialised
 *   KIN_ENOENTRY     workers that execute the program again (SPAWN, FORKSERVER) cannot find fn
 *   KIN_ESTATE, KIN_EROLE, KIN_EFORKED, -EINVAL, -ENOMEM, KIN_EQUOTA (not even one item fits)
 * or what the thread's interrupt function said (then as for -ETIMEDOUT).
 */
KIN_API int kin_pool_map(kin_pool *pool, kin_map_fn *fn, const void *items, size_t count,
                         size_t item_size, void *results, size_t result_size,
                         const struct kin_map_options *options);

/* Bytes of any number; a result's are allocated by the library and freed by kin_bytes_free. */
struct kin_bytes {
    const void *data;
    size_t size;
};

/*
 * Map over items of different sizes: ret_results[i] is what the function replied for items[i], NULL
 * and 0 if that was nothing or the item failed (NULL array: replies are dropped). Options, blocking
 * and return codes as kin_pool_map; `chunk` and `arg` are not used, and a timeout or an error of
 * the call as a whole also returns whatever results there are.
 */
KIN_API int kin_pool_map_var(kin_pool *pool, kin_task_fn *fn, const struct kin_bytes *items,
                             size_t count, struct kin_bytes *ret_results,
                             const struct kin_map_options *options);

/* Frees what kin_pool_map_var stored in `count` results and makes them empty. NULL is allowed. */
KIN_API void kin_bytes_free(struct kin_bytes *results, size_t count);

/* --- single tasks ------------------------------------------------------------------------- */

struct kin_task_options {
    size_t size;
    int64_t timeout_ns;     /* how long the task may run once begun; then its worker is killed and
                               it fails with -ETIMEDOUT (processes only). Default KIN_FOREVER */
    int retries;            /* as for map */
    const char *role;       /* which workers; NULL: any */
};
#define KIN_TASK_OPTIONS_INIT                                                                      \
    {sizeof(struct kin_task_options), KIN_FOREVER, KIN_RETRIES_DEFAULT, NULL}

/*
 * Has a worker run fn on a copy of the `size` bytes at `arg`. Does not wait for it; copies at most
 * `size` bytes and does not block otherwise. -EINVAL, -ENOMEM, KIN_ESTATE, KIN_EROLE,
 * KIN_EWORKERINIT, KIN_EFORKED, KIN_ENOENTRY (as for map; a worker that finds out only when the task
 * runs fails it with that code).
 */
KIN_API int kin_pool_submit(kin_pool *pool, kin_task_fn *fn, const void *arg, size_t size,
                            const struct kin_task_options *options, kin_future **ret_future);

/*
 * The same, and waits. `result` has room for *result_size bytes, which becomes the reply's length
 * (both may be NULL: the reply is dropped). Returns what kin_future_wait says, or KIN_ETOOBIG with
 * the length in *result_size. ret_code, if not NULL, receives the task's code whenever it ran.
 */
KIN_API int kin_pool_apply(kin_pool *pool, kin_task_fn *fn, const void *arg, size_t size,
                           void *result, size_t *result_size,
                           const struct kin_task_options *options, int *ret_code);

/* --- iterators ---------------------------------------------------------------------------- */

/*
 * Where an iterator's items come from: stores the next one, valid until the following call, and
 * returns 1; 0 at the end; a negative value ends the input with that error. Called only by
 * kin_imap_next, in its thread, with no lock held.
 */
typedef int kin_pull_fn(void *arg, const void **ret_item, size_t *ret_size);

struct kin_imap_options {
    size_t size;
    size_t buffer;          /* items read ahead of those returned; 0: 4 a worker, at least 16 */
    int unordered;          /* 1: results in the order in which they are finished */
    int64_t timeout_ns;     /* of each item, as in kin_task_options */
    int retries;
    const char *role;
};
#define KIN_IMAP_OPTIONS_INIT                                                                      \
    {sizeof(struct kin_imap_options), 0, 0, KIN_FOREVER, KIN_RETRIES_DEFAULT, NULL}

/* Results, one by one, of fn on the items that `pull` gives: both ends bounded by `buffer`, so an
 * endless input works in constant memory. Errors as kin_pool_submit. */
KIN_API int kin_pool_imap(kin_pool *pool, kin_task_fn *fn, kin_pull_fn *pull, void *pull_arg,
                          const struct kin_imap_options *options, kin_imap **ret_imap);

struct kin_imap_item {
    uint64_t index;         /* of the item, in the order of the input, from 0 */
    int status;             /* what kin_future_wait would say of it: 0, KIN_ETASK, ... */
    int code;               /* 0, the function's value, or the status */
    const void *data;       /* the reply, valid until the next call on the iterator */
    size_t size;
};

/*
 * The next result: 1 with *ret_item, 0 at the end, -ETIMEDOUT (nothing is lost), the error with
 * which `pull` ended the input (after all results before it), in the same way KIN_ECANCELLED or
 * KIN_EWORKERINIT if the pool ended before the input, KIN_EFORKED, -EINVAL, or what the thread's
 * interrupt function said. A failed item is a result like any other. One thread at a time.
 */
KIN_API int kin_imap_next(kin_imap *imap, struct kin_imap_item *ret_item, int64_t timeout_ns);

/* Cancels what has not begun and drops the rest. Accepts NULL; returns NULL. */
KIN_API kin_imap *kin_imap_destroy(kin_imap *imap);

#ifdef __cplusplus
}
#endif

#endif
