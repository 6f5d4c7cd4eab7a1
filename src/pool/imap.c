/*
 * Iterators of results, bounded at both ends: items are pulled by the thread that asks for results,
 * at most `buffer` ahead of it. Layer: pool. See docs/design/pool.md, "Iterators".
 */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/options.h"

/* The fields below `ready` are under the pool's lock; the others are the calling thread's. */
struct kin_imap {
    kin_pool *pool; /* a reference */
    uint64_t fn; /* as kin__pool_function gives it */
    kin_pull_fn *pull;
    void *pull_arg;
    struct kin_imap_options options;
    int role;
    uint64_t pulled, returned;
    int ended;            /* 1: no more input; negative: it ended with that error */
    kin_future *shown;    /* whose reply the caller looks at */
    kin_future **window;  /* by index % buffer: tasks not yet returned (ordered) */
    /* Done and not returned, in that order (unordered). */
    struct done {
        kin_future **tasks;
        uint64_t first, count; /* a ring of `buffer` */
    } ready;
};

int kin_pool_imap(kin_pool *pool, kin_task_fn *fn, kin_pull_fn *pull, void *pull_arg,
                  const struct kin_imap_options *options, kin_imap **ret_imap)
{
    struct kin_imap_options given = KIN_IMAP_OPTIONS_INIT;
    int rc = kin__pool_check(pool);
    if (rc < 0 || (rc = kin__options_read(&given, sizeof given, options)) < 0) {
        return rc;
    }
    if (fn == NULL || pull == NULL || ret_imap == NULL || given.retries < KIN_RETRIES_DEFAULT) {
        return -EINVAL;
    }
    int role = kin__pool_role(pool, given.role);
    if (role == KIN_EROLE) {
        return role;
    }
    uint64_t word;
    rc = kin__pool_function(pool, (kin_function *)fn, &word);
    if (rc < 0) {
        return rc;
    }
    if (given.buffer == 0) {
        given.buffer = KIN__MAX(16, 4 * (size_t)pool->size);
    }
    given.role = NULL;
    pthread_mutex_lock(&pool->lock);
    rc = kin__pool_accepts(pool);
    pool->sources += rc == 0; /* until the input ends */
    pthread_mutex_unlock(&pool->lock);
    if (rc < 0) {
        return rc;
    }
    kin_imap *imap = calloc(1, sizeof *imap);
    if (imap != NULL) {
        imap->window = calloc(given.buffer, sizeof *imap->window);
        imap->ready.tasks = calloc(given.buffer, sizeof *imap->ready.tasks);
    }
    if (imap == NULL || imap->window == NULL || imap->ready.tasks == NULL) {
        if (imap != NULL) {
            free(imap->window);
            free(imap->ready.tasks);
        }
        free(imap);
        pthread_mutex_lock(&pool->lock);
        pool->sources--;
        pthread_mutex_unlock(&pool->lock);
        return -ENOMEM;
    }
    imap->pool = pool;
    kin__pool_hold(pool);
    imap->fn = word;
    imap->pull = pull;
    imap->pull_arg = pull_arg;
    imap->options = given;
    imap->role = role;
    *ret_imap = imap;
    return 0;
}

static void on_finished(kin_future *task)
{
    kin_imap *imap = task->owner;
    struct done *ready = &imap->ready;
    ready->tasks[(ready->first + ready->count++) % imap->options.buffer] = task;
}

/* The input has ended: 1, or a negative error. */
static void end_input(kin_imap *imap, int how)
{
    kin_pool *pool = imap->pool;
    imap->ended = how;
    pthread_mutex_lock(&pool->lock);
    pool->sources--;
    if (pool->object != NULL) {
        kin__pool_hand_over(pool); /* a closed pool may be done now */
    }
    pthread_mutex_unlock(&pool->lock);
}

/* Pulls and submits until the buffer is full or the input ends. */
static void fill(kin_imap *imap)
{
    kin_pool *pool = imap->pool;
    while (imap->ended == 0 && imap->pulled - imap->returned < imap->options.buffer) {
        const void *item = NULL;
        size_t size = 0;
        int more = imap->pull(imap->pull_arg, &item, &size);
        if (more <= 0 || (item == NULL && size != 0)) {
            end_input(imap, more == 0 ? 1 : more < 0 ? more : -EINVAL);
            return;
        }
        struct kin__task_request request = {
            .fn = imap->fn,
            .arg = item,
            .size = size,
            .role = imap->role,
            .retries = imap->options.retries,
            .timeout_ns = imap->options.timeout_ns < 0 ? -1 : imap->options.timeout_ns,
            .finished = imap->options.unordered ? on_finished : NULL,
            .owner = imap,
            .index = imap->pulled,
        };
        kin_future *task = kin__task_create(pool, &request);
        if (task == NULL) {
            end_input(imap, -ENOMEM);
            return;
        }
        pthread_mutex_lock(&pool->lock);
        int rc = pool->broken < 0 ? pool->broken
                 : pool->phase == KIN__POOL_TERMINATED ? KIN_ECANCELLED
                                                       : 0;
        if (rc == 0) {
            task->slot = imap->pulled++ % imap->options.buffer;
            imap->window[task->slot] = task;
            kin__task_queue(pool, task);
            kin__pool_dispatch(pool, 0);
            kin__pool_hand_over(pool);
        }
        pthread_mutex_unlock(&pool->lock);
        if (rc < 0) {
            kin__task_discard(task);
            end_input(imap, rc);
        }
    }
}

static bool has_next(void *arg)
{
    kin_imap *imap = arg;
    if (imap->options.unordered) {
        return imap->ready.count != 0;
    }
    kin_future *task = imap->window[imap->returned % imap->options.buffer];
    return kin__a32_load(&task->state) == KIN__TASK_DONE;
}

int kin_imap_next(kin_imap *imap, struct kin_imap_item *ret_item, int64_t timeout_ns)
{
    if (imap == NULL || ret_item == NULL) {
        return -EINVAL;
    }
    int rc = kin__pool_check(imap->pool);
    if (rc < 0) {
        return rc;
    }
    if (imap->shown != NULL) {
        kin__task_release(imap->shown);
        imap->shown = NULL;
    }
    int64_t deadline = kin__clock_deadline(timeout_ns);
    fill(imap);
    if (imap->returned == imap->pulled) {
        return imap->ended < 0 ? imap->ended : 0;
    }
    kin_pool *pool = imap->pool;
    pthread_mutex_lock(&pool->lock);
    rc = has_next(imap) ? 0 : kin__pool_wait(pool, has_next, imap, deadline);
    kin_future *task = NULL;
    if (rc == 0) {
        struct done *ready = &imap->ready;
        uint64_t buffer = imap->options.buffer;
        kin_future **slot = &imap->window[imap->returned % buffer];
        if (imap->options.unordered) {
            /* The window's slots name tasks in any order: only their number matters. */
            task = ready->tasks[ready->first % buffer];
            ready->first++;
            ready->count--;
            imap->window[task->slot] = *slot;
            (*slot)->slot = task->slot;
        } else {
            task = *slot;
        }
        *slot = NULL;
        imap->returned++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (rc < 0) {
        return rc;
    }
    imap->shown = task;
    *ret_item = (struct kin_imap_item){.index = task->index,
                                       .status = task->status,
                                       .code = task->code,
                                       .data = task->data,
                                       .size = task->size};
    return 1;
}

kin_imap *kin_imap_destroy(kin_imap *imap)
{
    if (imap == NULL || kin__pool_check(imap->pool) < 0) {
        return NULL;
    }
    if (imap->ended == 0) {
        end_input(imap, 1);
    }
    kin_pool *pool = imap->pool;
    pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < imap->options.buffer; i++) {
        kin_future *task = imap->window[i];
        if (task != NULL) {
            task->finished = NULL;
            if (kin__task_take_back(pool, task) == 0) {
                kin__task_finish(pool, task, KIN_ECANCELLED, KIN_ECANCELLED, NULL, 0);
            }
        }
    }
    kin__pool_hand_over(pool);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < imap->options.buffer; i++) {
        if (imap->window[i] != NULL) {
            kin__task_release(imap->window[i]);
        }
    }
    if (imap->shown != NULL) {
        kin__task_release(imap->shown);
    }
    kin__pool_release(pool);
    free(imap->window);
    free(imap->ready.tasks);
    free(imap);
    return NULL;
}
