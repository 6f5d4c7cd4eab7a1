/* Single tasks and their futures, as the user holds them. Layer: pool. See docs/design/pool.md. */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

static int read_options(struct kin_task_options *options, const struct kin_task_options *given)
{
    int rc = kin__options_read(options, sizeof *options, given);
    if (rc == 0 && options->retries < KIN_RETRIES_DEFAULT) {
        rc = -EINVAL;
    }
    return rc;
}

int kin_pool_submit(kin_pool *pool, kin_task_fn *fn, const void *arg, size_t size,
                    const struct kin_task_options *options, kin_future **ret_future)
{
    struct kin_task_options given = KIN_TASK_OPTIONS_INIT;
    int rc = kin__pool_check(pool);
    if (rc < 0 || (rc = read_options(&given, options)) < 0) {
        return rc;
    }
    if (fn == NULL || (arg == NULL && size != 0) || ret_future == NULL) {
        return -EINVAL;
    }
    struct kin__task_request request = {
        .arg = arg,
        .size = size,
        .role = kin__pool_role(pool, given.role),
        .retries = given.retries,
        .timeout_ns = given.timeout_ns < 0 ? -1 : given.timeout_ns,
    };
    if (request.role == KIN_EROLE) {
        return KIN_EROLE;
    }
    rc = kin__pool_function(pool, (kin_function *)fn, &request.fn);
    if (rc < 0) {
        return rc;
    }
    kin_future *future = kin__task_create(pool, &request);
    if (future == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&pool->lock);
    rc = kin__pool_accepts(pool);
    if (rc == 0) {
        kin__task_queue(pool, future);
        kin__pool_dispatch(pool, 0);
        kin__pool_hand_over(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (rc < 0) {
        kin__task_discard(future);
        return rc;
    }
    *ret_future = future;
    return 0;
}

static bool is_done(void *arg)
{
    return kin__a32_load(&((kin_future *)arg)->state) == KIN__TASK_DONE;
}

/* 0, or why the future may not be used here. */
static int check(const kin_future *future)
{
    return future == NULL ? -EINVAL : kin__pool_check(future->pool);
}

int kin_future_wait(kin_future *future, int64_t timeout_ns)
{
    int rc = check(future);
    if (rc < 0) {
        return rc;
    }
    if (!is_done(future)) {
        kin_pool *pool = future->pool;
        pthread_mutex_lock(&pool->lock);
        rc = kin__pool_wait(pool, is_done, future, kin__clock_deadline(timeout_ns));
        pthread_mutex_unlock(&pool->lock);
    }
    return rc < 0 ? rc : future->status;
}

int kin_future_ready(const kin_future *future)
{
    int rc = check(future);
    return rc < 0 ? rc : is_done((void *)(uintptr_t)future);
}

int kin_future_result(const kin_future *future, const void **ret_data, size_t *ret_size)
{
    int rc = check(future);
    if (rc < 0) {
        return rc;
    }
    if (ret_data == NULL || ret_size == NULL) {
        return -EINVAL;
    }
    if (!is_done((void *)(uintptr_t)future)) {
        return -EAGAIN;
    }
    if (future->status == 0) {
        *ret_data = future->data;
        *ret_size = future->size;
    }
    return future->status;
}

int kin_future_code(const kin_future *future, int *ret_code)
{
    int rc = check(future);
    if (rc < 0) {
        return rc;
    }
    if (ret_code == NULL) {
        return -EINVAL;
    }
    if (!is_done((void *)(uintptr_t)future)) {
        return -EAGAIN;
    }
    *ret_code = future->code;
    return 0;
}

int kin_future_cancel(kin_future *future)
{
    int rc = check(future);
    if (rc < 0) {
        return rc;
    }
    kin_pool *pool = future->pool;
    pthread_mutex_lock(&pool->lock);
    rc = kin__task_take_back(pool, future);
    if (rc == 0) {
        kin__task_finish(pool, future, KIN_ECANCELLED, KIN_ECANCELLED, NULL, 0);
        kin__pool_hand_over(pool); /* its callback is due, and a closed pool may be done now */
    }
    pthread_mutex_unlock(&pool->lock);
    return rc;
}

int kin_future_on_ready(kin_future *future, kin_future_fn *callback, void *arg)
{
    int rc = check(future);
    if (rc < 0) {
        return rc;
    }
    if (callback == NULL) {
        return -EINVAL;
    }
    kin_pool *pool = future->pool;
    pthread_mutex_lock(&pool->lock);
    bool done = is_done(future);
    if (future->callback != NULL) {
        rc = -EALREADY;
    } else {
        future->callback = callback;
        future->callback_arg = arg;
        future->called = done;
    }
    pthread_mutex_unlock(&pool->lock);
    if (rc == 0 && done) {
        kin__pool_call(pool, future);
    }
    return rc;
}

kin_future *kin_future_destroy(kin_future *future)
{
    if (check(future) == 0) {
        kin__task_release(future);
    }
    return NULL;
}

int kin_pool_apply(kin_pool *pool, kin_task_fn *fn, const void *arg, size_t size, void *result,
                   size_t *result_size, const struct kin_task_options *options, int *ret_code)
{
    if (result != NULL && result_size == NULL) {
        return -EINVAL;
    }
    kin_future *future;
    int rc = kin_pool_submit(pool, fn, arg, size, options, &future);
    if (rc < 0) {
        return rc;
    }
    rc = kin_future_wait(future, KIN_FOREVER);
    if (!is_done(future)) {
        kin_future_cancel(future); /* the wait was interrupted */
    } else {
        if (ret_code != NULL) {
            *ret_code = future->code;
        }
        if (rc == 0 && result_size != NULL) {
            size_t room = result == NULL ? 0 : *result_size;
            *result_size = future->size;
            if (result != NULL && future->size > room) {
                rc = KIN_ETOOBIG;
            } else if (result != NULL && future->size != 0) {
                memcpy(result, future->data, future->size);
            }
        }
    }
    kin_future_destroy(future);
    return rc;
}
