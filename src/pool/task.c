/*
 * Tasks in the parent: queued, sent, answered, taken back, lost. Layer: pool.
 * Protocol: docs/design/pool.md, "Tasks".
 */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void kin__tasks_push(struct kin__tasks *tasks, kin_future *task)
{
    task->next = NULL;
    task->previous = tasks->last;
    *(tasks->last != NULL ? &tasks->last->next : &tasks->first) = task;
    tasks->last = task;
}

void kin__tasks_push_front(struct kin__tasks *tasks, kin_future *task)
{
    task->previous = NULL;
    task->next = tasks->first;
    *(tasks->first != NULL ? &tasks->first->previous : &tasks->last) = task;
    tasks->first = task;
}

void kin__tasks_remove(struct kin__tasks *tasks, kin_future *task)
{
    *(task->previous != NULL ? &task->previous->next : &tasks->first) = task->next;
    *(task->next != NULL ? &task->next->previous : &tasks->last) = task->previous;
    task->next = task->previous = NULL;
}

void kin__task_init(kin_pool *pool, const struct kin__task_request *request, kin_future *task)
{
    *task = (kin_future){
        .pool = pool,
        .fn = request->fn,
        .role = request->role,
        .retries =
            request->retries == KIN_RETRIES_DEFAULT ? pool->options.retries : request->retries,
        .timeout_ns = request->timeout_ns,
        .finished = request->finished,
        .owner = request->owner,
        .index = request->index,
        .arg = request->arg,
        .arg_size = request->size,
    };
}

kin_future *kin__task_create(kin_pool *pool, const struct kin__task_request *request)
{
    if (request->size > SIZE_MAX / 2) {
        return NULL;
    }
    kin_future *task = malloc(sizeof *task + request->size);
    if (task == NULL) {
        return NULL;
    }
    kin__task_init(pool, request, task);
    kin__pool_hold(pool);
    kin__a32_store_relaxed(&task->references, 2);
    if (request->size != 0) {
        task->arg = memcpy(task + 1, request->arg, request->size);
    }
    return task;
}

void kin__task_hold(kin_future *task)
{
    kin__a32_add(&task->references, 1);
}

void kin__task_release(kin_future *task)
{
    if (kin__a32_sub(&task->references, 1) == 1) {
        kin__pool_release(task->pool);
        free(task->data);
        free(task);
    }
}

void kin__task_discard(kin_future *task)
{
    kin__task_release(task);
    kin__task_release(task);
}

static struct kin__tasks *backlog_of(kin_pool *pool, const kin_future *task)
{
    return &pool->backlog[task->role == KIN__ANY_ROLE ? pool->roles : task->role];
}

void kin__task_queue(kin_pool *pool, kin_future *task)
{
    task->id = ++pool->last_id;
    kin__tasks_push(backlog_of(pool, task), task);
    pool->queued++;
    pool->outstanding++;
}

/* Back on the backlog, ahead of what has not been sent yet. */
static void requeue(kin_pool *pool, kin_future *task)
{
    kin__a32_store(&task->state, KIN__TASK_QUEUED);
    task->id = ++pool->last_id;
    kin__tasks_push_front(backlog_of(pool, task), task);
    pool->queued++;
}

static void unqueue(kin_pool *pool, kin_future *task)
{
    kin__tasks_remove(backlog_of(pool, task), task);
    pool->queued--;
}

void kin__task_finish(kin_pool *pool, kin_future *task, int status, int code, void *data,
                      uint64_t size)
{
    bool owned = kin__a32_load_relaxed(&task->references) == 0;
    task->status = status;
    task->code = code;
    task->data = data;
    task->size = size;
    if (status == 0) {
        pool->stats.completed++;
    } else {
        pool->stats.failed++;
    }
    pool->outstanding--;
    kin__a32_store(&task->state, KIN__TASK_DONE); /* pairs with the load in kin_future_ready */
    if (task->finished != NULL) {
        task->finished(task);
    }
    if (task->callback != NULL && !task->called) {
        task->called = true;
        kin__task_hold(task);
        kin__tasks_push(&pool->calls, task);
    }
    kin__pool_changed(pool);
    if (!owned) {
        kin__task_release(task);
    }
}

/* Off its worker's list, its argument's block freed. */
static void unsend(kin_pool *pool, kin_future *task)
{
    struct kin__crew *crew = task->crew;
    kin__tasks_remove(&crew->sent, task);
    crew->sent_count--;
    if (task->block != NULL) {
        kin__chain_remove(pool, task->block);
        task->block = NULL;
    }
    if (task->timeout_ns >= 0) {
        pool->timed--;
    }
    task->crew = NULL;
    task->message = NULL;
}

int kin__task_send(kin_pool *pool, struct kin__crew *crew, kin_future *task)
{
    struct kin__pool_block *block = NULL;
    uint64_t inlined = task->arg_size;
    if (task->arg_size > KIN__POOL_INLINE) {
        inlined = 0;
        int rc = kin__chain_add(pool, task->arg_size, &block);
        if (rc < 0) {
            if (rc == KIN_EQUOTA && pool->outstanding > pool->queued) {
                return -EAGAIN; /* what is under way will give memory back */
            }
            unqueue(pool, task);
            kin__task_finish(pool, task, rc, rc, NULL, 0);
            return 0;
        }
        memcpy(block->link->payload, task->arg, task->arg_size);
    }
    void *payload;
    int rc = kin__ring_reserve(&crew->tasks, sizeof(struct kin__call_message) + inlined, &payload);
    if (rc < 0) {
        if (block != NULL) {
            kin__chain_remove(pool, block);
        }
        if (rc != -EAGAIN) {
            kin__crew_corrupt(crew);
        }
        return -EAGAIN;
    }
    struct kin__call_message *message = payload;
    message->kind = KIN__TASK_CALL;
    kin__a32_store_relaxed(&message->state, KIN__CALL_PENDING);
    message->id = task->id;
    message->fn = task->fn;
    message->block = block == NULL ? 0 : kin__offset(block->link->payload);
    message->size = task->arg_size;
    message->timed = task->timeout_ns >= 0;
    if (inlined != 0) {
        memcpy(message->data, task->arg, inlined);
    }
    unqueue(pool, task);
    kin__tasks_push(&crew->sent, task);
    crew->sent_count++;
    crew->given++;
    crew->dirty = true;
    task->crew = crew;
    task->message = message;
    task->block = block;
    if (task->timeout_ns >= 0 && pool->timed++ == 0) {
        kin__supervisor_wake(); /* who keeps the limits, whoever drives */
    }
    kin__a32_store(&task->state, KIN__TASK_SENT);
    return 0;
}

/* PENDING → REVOKED; false if the worker was first. */
static bool revoke(kin_future *task)
{
    uint32_t expected = KIN__CALL_PENDING;
    return kin__a32_cas(&task->message->state, &expected, KIN__CALL_REVOKED);
}

kin_future *kin__task_revoke_last(kin_pool *pool, struct kin__crew *crew)
{
    kin_future *task = crew->sent.last;
    if (task == NULL || !revoke(task)) {
        return NULL;
    }
    unsend(pool, task);
    crew->given--;
    requeue(pool, task);
    return task;
}

int kin__task_take_back(kin_pool *pool, kin_future *task)
{
    switch (kin__a32_load(&task->state)) {
    case KIN__TASK_QUEUED:
        unqueue(pool, task);
        return 0;
    case KIN__TASK_SENT:
        if (!revoke(task)) {
            return -EBUSY;
        }
        task->crew->given--;
        unsend(pool, task);
        return 0;
    default:
        return -EALREADY;
    }
}

/* A private copy of the reply; NULL and 0 if it is empty. Frees its block. */
static int take_reply(struct kin__crew *crew, const struct kin__result_message *message,
                      const void *inlined, void **ret_data)
{
    *ret_data = NULL;
    if (message->size == 0 && message->block == 0) {
        return 0;
    }
    const void *from = inlined;
    if (message->block != 0) {
        uint64_t offset = kin__lease_offset(message->block);
        if (message->block == crew->last_block ||
            message->size > kin__block_size(offset) || !kin__lease_is_live(message->block)) {
            return KIN_ECORRUPT;
        }
        from = kin__at(offset, message->size);
        crew->last_block = message->block;
    }
    void *data = malloc(message->size == 0 ? 1 : message->size);
    if (data != NULL && from != NULL) {
        memcpy(data, from, message->size);
    }
    if (message->block != 0) {
        kin__block_free_leased(message->block);
    }
    if (from == NULL) {
        free(data);
        return KIN_ECORRUPT;
    }
    *ret_data = data;
    return data == NULL ? -ENOMEM : 0;
}

int kin__task_answered(kin_pool *pool, struct kin__crew *crew,
                       const struct kin__result_message *message, const void *data)
{
    kin_future *task = crew->sent.first;
    void *reply;
    int rc = take_reply(crew, message, data, &reply);
    if (rc == KIN_ECORRUPT) {
        return rc;
    }
    if (pool->phase == KIN__POOL_TERMINATED) {
        free(reply); /* the task has been cancelled already */
        return 0;
    }
    if (task == NULL || task->id != message->id) {
        free(reply);
        return KIN_ECORRUPT;
    }
    unsend(pool, task);
    if (rc < 0) {
        kin__task_finish(pool, task, rc, rc, NULL, 0);
    } else if (message->code != 0) {
        free(reply);
        kin__task_finish(pool, task, KIN_ETASK, message->code, NULL, 0);
    } else {
        kin__task_finish(pool, task, 0, 0, reply, message->size);
    }
    return 0;
}

void kin__task_orphans(kin_pool *pool, struct kin__crew *crew)
{
    kin_future *task;
    /* From the last to the first, so that they are on the backlog in their order. */
    while ((task = crew->sent.last) != NULL) {
        bool started = kin__a32_load(&task->message->state) == KIN__CALL_STARTED;
        unsend(pool, task);
        if (!started) {
            requeue(pool, task);
        } else if (task->timed_out) {
            kin__task_finish(pool, task, -ETIMEDOUT, -ETIMEDOUT, NULL, 0);
        } else if (++task->deaths <= task->retries) {
            pool->stats.retried++;
            requeue(pool, task);
        } else {
            kin__task_finish(pool, task, KIN_EWORKERLOST, KIN_EWORKERLOST, NULL, 0);
        }
    }
}

void kin__task_fail_all(kin_pool *pool, int status)
{
    for (int i = 0; i <= pool->roles; i++) {
        kin_future *task;
        while ((task = pool->backlog[i].first) != NULL) {
            unqueue(pool, task);
            kin__task_finish(pool, task, status, status, NULL, 0);
        }
    }
    for (int i = 0; i < pool->size; i++) {
        kin_future *task;
        while ((task = pool->crew[i].sent.first) != NULL) {
            revoke(task);
            /* The argument of one that runs is freed with the worker's other memory. */
            bool runs = kin__a32_load(&task->message->state) == KIN__CALL_STARTED;
            if (runs) {
                task->block = NULL;
            }
            unsend(pool, task);
            kin__task_finish(pool, task, status, status, NULL, 0);
        }
    }
}

int64_t kin__task_limits(kin_pool *pool, int64_t now)
{
    int64_t next = KIN__NEVER;
    if (pool->timed == 0 || pool->options.kind == KIN_WORKERS_THREADS) {
        return next;
    }
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        kin_future *task = crew->sent.first;
        if (task == NULL || task->timeout_ns < 0 || crew->process == NULL ||
            crew->state == KIN__CREW_DOOMED) {
            continue;
        }
        int64_t due;
        if (kin__a32_load(&task->message->state) != KIN__CALL_STARTED) {
            due = now + KIN__MAX(task->timeout_ns, 1000000);
        } else {
            /* Stored before the claim that we have seen. Untrusted: a time in the future only puts
             * off that worker's own end. */
            int64_t began = (int64_t)(kin__a64_load(&crew->block->began) >> 1);
            due = task->timeout_ns > KIN__NEVER - began ? KIN__NEVER : began + task->timeout_ns;
        }
        if (due <= now) {
            task->timed_out = true;
            kin__crew_kill(crew);
        } else {
            next = KIN__MIN(next, due);
        }
    }
    return next;
}
