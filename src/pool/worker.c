/*
 * The loop of a pool's worker, process or thread. Layer: pool. Protocol: docs/design/pool.md.
 *
 * A worker process has no thread but the user's own; it ends when the parent tells it to or is gone.
 */
#include "pool/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define RING_NS 50000 /* results wait at most about this long for the bell, while more is to do */

static bool owner_gone(const struct kin__worker *worker)
{
    return worker->owner_slot != KIN__NO_SLOT &&
           kin__slot_is_gone(worker->owner_slot, worker->owner_generation);
}

/* Sleeps on our door until `seen` changes. */
static int doze(struct kin__worker *worker, uint32_t seen)
{
    int rc = kin__door_wait(&worker->block->door, seen, worker->owner_slot,
                            worker->owner_generation, KIN__NEVER);
    if (rc < 0 && rc != -EINTR) {
        /* An interrupt function that the user's code set has no say over the worker's own waits. */
        rc = 0;
    }
    return owner_gone(worker) ? KIN_EPEERDIED : 0;
}

int kin__worker_reserve(struct kin__worker *worker, uint64_t size,
                        struct kin__result_message **ret_message)
{
    for (;;) {
        void *room;
        int rc = kin__ring_reserve(&worker->results, size, &room);
        if (rc != -EAGAIN) {
            *ret_message = room;
            return rc;
        }
        kin__doorbell_ring(&worker->object->bell, worker->event_fd);
        uint32_t seen = kin__door_announce(&worker->block->door);
        rc = kin__ring_reserve(&worker->results, size, &room);
        if (rc != -EAGAIN) {
            *ret_message = room;
            return rc;
        }
        rc = doze(worker, seen);
        if (rc < 0) {
            return rc;
        }
    }
}

void kin__worker_publish(struct kin__worker *worker, bool urgent)
{
    worker->unrung++;
    if (urgent) {
        worker->unrung = 0;
        kin__ring_publish(&worker->results);
        kin__doorbell_ring(&worker->object->bell, worker->event_fd);
    } else {
        kin__ring_publish_quietly(&worker->results);
    }
}

int kin__worker_tell(struct kin__worker *worker, uint32_t kind, uint64_t id, uint64_t size,
                     int code, bool urgent)
{
    struct kin__result_message *message;
    int rc = kin__worker_reserve(worker, sizeof *message, &message);
    if (rc < 0) {
        return rc;
    }
    *message =
        (struct kin__result_message){.kind = kind, .code = code, .id = id, .size = size};
    kin__worker_publish(worker, urgent);
    return 0;
}

static bool has_message(void *arg)
{
    struct kin__worker *worker = arg;
    return kin__ring_pending(&worker->tasks) != 0;
}

static int await_message(struct kin__worker *worker, void **ret_message, uint64_t *ret_size)
{
    for (;;) {
        int rc = kin__ring_read(&worker->tasks, ret_message, ret_size);
        if (rc != 0) {
            return rc;
        }
        worker->free_since = 0;
        worker->rung = 0; /* the first result of what comes next is told at once */
        if (worker->unrung != 0) {
            /* What was to follow those results has been taken back. */
            kin__worker_publish(worker, true);
        }
        if (kin__spin_until(&worker->spin, has_message, worker)) {
            continue;
        }
        uint32_t seen = kin__door_announce(&worker->block->door);
        if (has_message(worker)) {
            continue;
        }
        rc = doze(worker, seen);
        if (rc < 0) {
            return rc;
        }
    }
}

/* Sends the reply of the call with that code. */
static int answer(struct kin__worker *worker, uint64_t id, int code, int64_t began)
{
    struct kin_reply *reply = &worker->reply;
    if (code != 0) {
        kin__reply_drop(reply);
    }
    uint64_t inlined = reply->block == 0 ? reply->size : 0;
    struct kin__result_message *message;
    int rc = kin__worker_reserve(worker, sizeof *message + inlined, &message);
    if (rc < 0) {
        kin__reply_drop(reply);
        return rc;
    }
    int64_t now = kin__clock_now();
    *message = (struct kin__result_message){.kind = KIN__RESULT_CALL,
                                            .code = code,
                                            .id = id,
                                            .size = reply->size,
                                            .ns = (uint64_t)(now - began)};
    if (inlined != 0) {
        memcpy(message->data, reply->room, inlined);
    }
    if (reply->block != 0) {
        /* From the lease to `pending`, which the parent looks at when we have died, and from there
         * to the message: at every instant one of them names the block. */
        uint64_t value =
            kin__lease_value(reply->block, kin__block_generation(reply->block));
        if (KIN__FAULT(LEASE_CLEARED_EARLY)) {
            kin__lease_drop(reply->lease);
        }
        message->block = value;
        kin__a64_store(&worker->block->pending, value);
        if (!KIN__FAULT(LEASE_CLEARED_EARLY)) {
            kin__lease_drop(reply->lease);
        }
    }
    kin__reply_begin(reply);
    uint64_t left = kin__ring_pending(&worker->tasks);
    bool urgent = left == 0 || now - worker->rung > RING_NS ||
                  worker->unrung * KIN__GRANULE * 2 >= left;
    if (urgent) {
        worker->rung = now;
    }
    kin__worker_publish(worker, urgent);
    worker->free_since = now;
    return 0;
}

static int run_call(struct kin__worker *worker, struct kin__call_message *message, uint64_t size)
{
    int64_t began = worker->free_since != 0 ? worker->free_since : kin__clock_now();
    if (message->timed) {
        kin__a64_store(&worker->block->began, (uint64_t)began << 1); /* before the claim, P5 */
    }
    uint32_t expected = KIN__CALL_PENDING;
    if (!kin__a32_cas(&message->state, &expected, KIN__CALL_STARTED)) {
        return 0;
    }
    const void *arg = message->data;
    uint64_t arg_size = message->size;
    if (message->block != 0) {
        arg = kin__at(message->block, arg_size);
    } else if (arg_size > size - sizeof *message) {
        arg = NULL;
    }
    if (arg == NULL) {
        return KIN_ECORRUPT;
    }
    kin_function *fn;
    kin__reply_begin(&worker->reply);
    int code = kin__worker_function(worker, message->fn, &fn);
    if (code == 0) {
        code = ((kin_task_fn *)fn)(arg, arg_size, &worker->reply, worker->state);
    }
    return answer(worker, message->id, code, began);
}

static int serve(struct kin__worker *worker)
{
    for (;;) {
        void *message;
        uint64_t size;
        int rc = await_message(worker, &message, &size);
        if (rc < 0) {
            return rc;
        }
        uint32_t kind = size < sizeof kind ? UINT32_MAX : *(uint32_t *)message;
        if (kind == KIN__TASK_CALL && size >= sizeof(struct kin__call_message)) {
            rc = run_call(worker, message, size);
        } else if (kind == KIN__TASK_RANGE && size >= sizeof(struct kin__range_message)) {
            rc = kin__worker_run_range(worker, message);
            worker->free_since = 0;
        } else if (kind == KIN__TASK_STOP) {
            kin__ring_release(&worker->tasks);
            return 0;
        } else {
            rc = KIN_ECORRUPT;
        }
        kin__ring_release_quietly(&worker->tasks); /* the parent sends more when it has answers */
        if (rc < 0) {
            return rc;
        }
    }
}

static int open_worker(struct kin__worker *worker, const struct kin__worker_start *start,
                       struct kin__pool_object *object)
{
    *worker = (struct kin__worker){.object = object,
                                   .owner_slot = start->owner_slot,
                                   .owner_generation = start->owner_generation,
                                   .event_fd = start->event_fd,
                                   .thread = start->owner_slot == KIN__NO_SLOT,
                                   .by_name = start->by_name != 0};
    uint64_t value = kin__a64_load(&object->worker[start->index % KIN__POOL_WORKERS]);
    worker->block = kin__at(kin__lease_offset(value), KIN__POOL_BLOCK_BYTES);
    if (worker->block == NULL) {
        return KIN_ECORRUPT;
    }
    worker->reply.buffer = aligned_alloc(64, KIN__POOL_INLINE);
    if (worker->reply.buffer == NULL) {
        return -ENOMEM;
    }
    kin__ring_attach(&worker->tasks, kin__worker_tasks(worker->block), KIN__POOL_TASK_RING);
    kin__ring_attach(&worker->results, kin__worker_results(worker->block),
                     KIN__POOL_RESULT_RING);
    kin__spin_init(&worker->spin, start->spin_ns);
    return 0;
}

static void close_worker(struct kin__worker *worker)
{
    free(worker->reply.buffer);
    free(worker->scratch);
    free(worker->job_arg);
    kin__named_functions_free(&worker->functions);
}

/* From the initializer to the finalizer. */
static int live(struct kin__worker *worker, const struct kin__worker_start *start)
{
    int code = 0;
    void *init_arg = NULL;
    kin_function *initializer = NULL, *finalizer = NULL;
    if (start->bound) {
        kin_cpu_bind(&start->cpus); /* CPUs may have gone since the plan: then anywhere */
    }
    if (start->initializer != 0) {
        code = kin__worker_function(worker, start->initializer, &initializer);
    }
    if (code == 0 && start->finalizer != 0) {
        code = kin__worker_function(worker, start->finalizer, &finalizer);
    }
    if (code == 0 && initializer != NULL) {
        if (start->init_size != 0) {
            init_arg = malloc(start->init_size);
            if (init_arg == NULL) {
                code = -ENOMEM;
            } else {
                memcpy(init_arg, start->init_arg, start->init_size);
            }
        }
        if (code == 0) {
            code = ((kin_worker_init_fn *)initializer)(init_arg, start->init_size, &worker->state);
        }
    }
    int rc = kin__worker_tell(worker, KIN__RESULT_READY, 0, 0, code, true);
    if (rc == 0 && code == 0) {
        rc = serve(worker);
        if (rc == 0 && finalizer != NULL) {
            ((kin_worker_fini_fn *)finalizer)(worker->state);
        }
    }
    free(init_arg);
    return rc == 0 && code == 0 ? 0 : 1;
}

int kin__worker_main(void *arg, size_t size)
{
    const struct kin__worker_start *start = arg;
    if (size < sizeof *start || start->init_size > size - sizeof *start) {
        return 1;
    }
    /* Replacements are forked by a thread that blocks all signals; what the user types at the
     * terminal is the parent's to decide about. */
    kin__signals_restore(start->signals);
    kin__signal_ignore(SIGINT);
    struct kin__object *object;
    if (kin__enter() < 0 ||
        kin__object_attach(&start->pool, KIN__TYPE_POOL, &object) < 0) {
        return 1;
    }
    struct kin__worker worker;
    int code = 1;
    if (open_worker(&worker, start, (struct kin__pool_object *)object) == 0) {
        code = live(&worker, start);
        close_worker(&worker);
    }
    kin__object_drop(object);
    return code;
}

void kin__worker_thread(const struct kin__worker_start *start, struct kin__pool_object *object)
{
    struct kin__worker worker;
    if (open_worker(&worker, start, object) == 0) {
        live(&worker, start);
        kin__worker_tell(&worker, KIN__RESULT_ENDED, 0, 0, 0, true);
        close_worker(&worker);
    }
}
