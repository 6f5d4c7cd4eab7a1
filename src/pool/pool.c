/*
 * Pools as the user holds them: created, closed, terminated, joined, destroyed. Layer: pool.
 * Protocol: docs/design/pool.md.
 */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "process/process.h"

#define SPIN_FREE_NS 10000 /* longest spin where a CPU is left to spin on */
#define SPIN_BUSY_NS 2000  /* and where workers and the parent share all CPUs */

/* --- references and checks ------------------------------------------------------------------ */

int kin__pool_check(const kin_pool *pool)
{
    if (pool == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    return pool->owner_slot == kin__self->slot &&
                   pool->owner_generation == kin__self->generation
               ? 0
               : KIN_EFORKED;
}

int kin__pool_accepts(const kin_pool *pool)
{
    return pool->broken < 0 ? pool->broken : pool->phase != KIN__POOL_OPEN ? KIN_ESTATE : 0;
}

void kin__pool_hold(kin_pool *pool)
{
    kin__a32_add(&pool->references, 1);
}

void kin__pool_release(kin_pool *pool)
{
    if (kin__a32_sub(&pool->references, 1) != 1) {
        return;
    }
    kin_plan_destroy(pool->plan);
    free(pool->init_arg);
    free(pool->name);
    free(pool->crew);
    free(pool->backlog);
    free((void *)(uintptr_t)pool->options.process);
    kin__named_functions_free(&pool->functions);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int kin__pool_role(const kin_pool *pool, const char *name)
{
    return name == NULL ? KIN__ANY_ROLE : pool->plan == NULL ? KIN_EROLE
                                                             : kin_plan_role(pool->plan, name);
}

bool kin__pool_is_idle_for_good(const kin_pool *pool)
{
    return pool->outstanding == 0 &&
           (pool->phase == KIN__POOL_TERMINATED ||
            (pool->phase == KIN__POOL_CLOSED && pool->sources == 0));
}

bool kin__pool_is_over(const kin_pool *pool)
{
    if (!kin__pool_is_idle_for_good(pool) || pool->starting != 0 || pool->calls.first != NULL) {
        return false;
    }
    for (int i = 0; i < pool->size; i++) {
        if (pool->crew[i].state != KIN__CREW_ABSENT || pool->crew[i].process != NULL ||
            pool->crew[i].has_thread) {
            return false;
        }
    }
    return true;
}

/* --- creation ------------------------------------------------------------------------------- */

static int copy_options(kin_pool *pool)
{
    struct kin_pool_options *options = &pool->options;
    pool->name = strndup(options->name == NULL ? "kin-worker" : options->name, KIN_NAME_MAX - 8);
    options->name = NULL;
    if (pool->name == NULL) {
        return -ENOMEM;
    }
    if (options->init_size != 0) {
        pool->init_arg = malloc(options->init_size);
        if (pool->init_arg == NULL) {
            return -ENOMEM;
        }
        memcpy(pool->init_arg, options->init_arg, options->init_size);
    }
    options->init_arg = NULL;
    if (options->process != NULL) {
        /* With its context and the lists of descriptors behind it, in one piece. */
        struct kin_process_options given = KIN_PROCESS_OPTIONS_INIT;
        struct kin_context context = KIN_CONTEXT_INIT;
        int rc = kin__options_read(&given, sizeof given, options->process);
        if (rc == 0 && given.context != NULL) {
            rc = kin__options_read(&context, sizeof context, given.context);
        }
        struct kin_context settled;
        if (rc == 0) {
            rc = kin__context_read(&settled, given.context);
        }
        options->process = NULL;
        if (rc < 0 || (given.fds == NULL && given.fd_count != 0) ||
            (context.fds == NULL && context.fd_count != 0) || given.fd_count > KIN_FDS_MAX ||
            context.fd_count > KIN_FDS_MAX) {
            return -EINVAL;
        }
        struct {
            struct kin_process_options options;
            struct kin_context context;
            int fds[2 * KIN_FDS_MAX];
        } *copy = calloc(1, sizeof *copy);
        if (copy == NULL) {
            return -ENOMEM;
        }
        if (given.fd_count != 0) {
            memcpy(copy->fds, given.fds, given.fd_count * sizeof(int));
        }
        if (context.fd_count != 0) {
            memcpy(copy->fds + KIN_FDS_MAX, context.fds, context.fd_count * sizeof(int));
        }
        /* Settled now: replacements are started as the first workers were. */
        if (given.method == KIN_START_DEFAULT) {
            given.method = settled.method;
        }
        pool->by_name = options->kind == KIN_WORKERS_PROCESSES && given.method != KIN_START_FORK;
        context.fds = copy->fds + KIN_FDS_MAX;
        given.fds = copy->fds;
        copy->context = context;
        if (given.context != NULL) {
            given.context = &copy->context;
        }
        copy->options = given;
        options->process = &copy->options;
    }
    return 0;
}

/* How many workers, where, and what for. */
static int plan(kin_pool *pool)
{
    int cpus = kin_cpu_count();
    int wanted = pool->options.processes;
    if (pool->options.placement != NULL) {
        kin_topology *topology;
        int rc = kin_topology_load(NULL, &topology);
        if (rc == 0) {
            if (wanted == 0 && pool->options.placement->kind == KIN_PLACEMENT_SYMMETRIC) {
                wanted = cpus;
            }
            rc = kin_plan_create(pool->options.placement, topology, wanted, &pool->plan);
            kin_topology_destroy(topology);
        }
        if (rc < 0) {
            return rc;
        }
        wanted = pool->plan->worker_count;
    }
    pool->options.placement = NULL;
    pool->size = wanted == 0 ? KIN__MIN(cpus, KIN__POOL_WORKERS) : wanted;
    if (pool->size < 1 || pool->size > KIN__POOL_WORKERS) {
        return -EINVAL;
    }
    pool->roles = pool->plan == NULL ? 1 : pool->plan->role_count;
    pool->crew = calloc((size_t)pool->size, sizeof *pool->crew);
    pool->backlog = calloc((size_t)pool->roles + 1, sizeof *pool->backlog);
    if (pool->crew == NULL || pool->backlog == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        crew->index = i;
        crew->pidfd = -1;
        crew->capacity = pool->plan == NULL ? 1024 : pool->plan->workers[i].capacity;
        crew->role = pool->plan == NULL ? 0 : pool->plan->workers[i].role;
    }
    int64_t most = cpus == 1 ? 0 : pool->size < cpus ? SPIN_FREE_NS : SPIN_BUSY_NS;
    kin__spin_init(&pool->spin, most);
    pool->worker_spin = (int32_t)most;
    return 0;
}

static bool all_tried(void *arg)
{
    kin_pool *pool = arg;
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->state == KIN__CREW_ABSENT && crew->failures == 0) {
            return false;
        }
    }
    return pool->starting == 0;
}

/*
 * Starts the first workers. A child is killed when the thread that forked it ends, so it must be
 * one that lasts: the main thread, or else the supervisor, for which we wait.
 */
static int start_all(kin_pool *pool)
{
    int rc = 0, started = 0;
    pthread_mutex_lock(&pool->lock);
    if (kin__tid() == kin__pid() || kin__supervisor_is_me() ||
        pool->options.kind == KIN_WORKERS_THREADS) {
        for (int i = 0; i < pool->size; i++) {
            if (pool->crew[i].state == KIN__CREW_ABSENT) {
                rc = kin__crew_start(pool, &pool->crew[i]);
            }
            if (rc < 0) {
                break; /* the others are not likely to fare better: the supervisor tries again */
            }
        }
    } else {
        pool->opened = true;
        kin__supervisor_wake();
        int waited = kin__pool_wait(pool, all_tried, pool, KIN__NEVER);
        rc = waited < 0 ? waited : pool->start_error;
    }
    pool->opened = true;
    for (int i = 0; i < pool->size; i++) {
        started += pool->crew[i].state != KIN__CREW_ABSENT;
    }
    pthread_mutex_unlock(&pool->lock);
    return started > 0 ? 0 : rc < 0 ? rc : -EAGAIN;
}

int kin_pool_create(const struct kin_pool_options *options, kin_pool **ret_pool)
{
    struct kin_pool_options given = KIN_POOL_OPTIONS_INIT;
    int rc = ret_pool == NULL ? -EINVAL : kin__options_read(&given, sizeof given, options);
    if (rc == 0 &&
        (given.processes < 0 || given.processes > KIN__POOL_WORKERS ||
         (given.kind != KIN_WORKERS_PROCESSES && given.kind != KIN_WORKERS_THREADS) ||
         given.max_tasks_per_child < 0 || given.retries < 0 ||
         (given.init_arg == NULL && given.init_size != 0) || given.init_size > SIZE_MAX / 2 ||
         (given.name != NULL && strlen(given.name) > KIN_NAME_MAX - 8))) {
        rc = -EINVAL;
    }
    if (rc < 0 || (rc = kin__enter()) < 0) {
        return rc;
    }
    kin_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pool->owner_slot = kin__self->slot;
    pool->owner_generation = kin__self->generation;
    kin__a32_store_relaxed(&pool->references, 1);
    pool->options = given;
    pool->options.process = given.process;
    pool->event_fd = -1;
    pool->kill_at = pool->look_at = KIN__NEVER;
    pool->signals = kin__signals_blocked();
    struct kin__object *object = NULL;
    if ((rc = copy_options(pool)) < 0 || (rc = plan(pool)) < 0 ||
        (rc = kin__object_create(KIN__TYPE_POOL, sizeof(struct kin__pool_object), &object)) < 0) {
        kin__pool_release(pool);
        return rc;
    }
    pool->object = (struct kin__pool_object *)object;
    pool->object->workers = (uint32_t)pool->size;
    kin__object_ready(object);
    rc = kin__supervisor_adopt(pool);
    if (rc < 0) {
        kin__object_drop(object);
        kin__pool_release(pool);
        return rc;
    }
    if ((rc = kin__pool_function(pool, (kin_function *)given.initializer, &pool->initializer)) == 0 &&
        (rc = kin__pool_function(pool, (kin_function *)given.finalizer, &pool->finalizer)) == 0) {
        rc = start_all(pool);
    }
    if (rc < 0) {
        kin_pool_destroy(pool);
        return rc;
    }
    *ret_pool = pool;
    return 0;
}

/* --- ending --------------------------------------------------------------------------------- */

int kin_pool_close(kin_pool *pool)
{
    int rc = kin__pool_check(pool);
    if (rc < 0) {
        return rc;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->phase == KIN__POOL_OPEN) {
        pool->phase = KIN__POOL_CLOSED;
        kin__pool_dispatch(pool, kin__clock_now()); /* idle workers may go at once */
        kin__pool_changed(pool);
        kin__pool_hand_over(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

int kin_pool_terminate(kin_pool *pool)
{
    int rc = kin__pool_check(pool);
    if (rc < 0) {
        return rc;
    }
    pthread_mutex_lock(&pool->lock);
    if (pool->phase != KIN__POOL_TERMINATED) {
        pool->phase = KIN__POOL_TERMINATED;
        int64_t now = kin__clock_now();
        int64_t grace = KIN__MAX(pool->options.grace_ns, 0);
        pool->kill_at = grace > INT64_MAX / 2 ? KIN__NEVER : now + grace;
        kin__task_fail_all(pool, KIN_ECANCELLED);
        kin__map_cancel_all(pool, KIN_ECANCELLED);
        for (int i = 0; i < pool->size; i++) {
            if (pool->crew[i].process != NULL) {
                kin_process_terminate(pool->crew[i].process);
            }
        }
        kin__pool_dispatch(pool, now);
        kin__pool_changed(pool);
        kin__supervisor_wake();
    }
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

static bool is_over(void *arg)
{
    return kin__pool_is_over(arg);
}

int kin_pool_join(kin_pool *pool, int64_t timeout_ns)
{
    int rc = kin__pool_check(pool);
    if (rc < 0) {
        return rc;
    }
    if (kin__pool_in_callback(pool)) {
        return -EDEADLK;
    }
    pthread_mutex_lock(&pool->lock);
    rc = pool->phase == KIN__POOL_OPEN
             ? KIN_ESTATE
             : kin__pool_wait(pool, is_over, pool, kin__clock_deadline(timeout_ns));
    pthread_mutex_unlock(&pool->lock);
    return rc;
}

kin_pool *kin_pool_destroy(kin_pool *pool)
{
    if (kin__pool_check(pool) < 0) {
        return NULL; /* none, or another process's: its memory is a dead copy */
    }
    kin_pool_terminate(pool); /* nothing, where it is over */
    pthread_mutex_lock(&pool->lock);
    /* Not to be interrupted: there is no half-destroyed pool to come back to. */
    while (kin__pool_wait(pool, is_over, pool, KIN__NEVER) < 0) {
    }
    kin__chain_clear(pool);
    struct kin__object *object = &pool->object->object;
    pool->object = NULL;
    pthread_mutex_unlock(&pool->lock);
    kin__supervisor_drop(pool);
    kin__object_drop(object);
    kin__pool_release(pool);
    return NULL;
}

/* --- looking -------------------------------------------------------------------------------- */

int kin_pool_size(const kin_pool *pool)
{
    int rc = kin__pool_check(pool);
    return rc < 0 ? rc : pool->size;
}

int kin_pool_stats(kin_pool *pool, struct kin_pool_stats *ret_stats)
{
    int rc = kin__pool_check(pool);
    if (rc < 0) {
        return rc;
    }
    if (ret_stats == NULL || ret_stats->size < sizeof(size_t)) {
        return -EINVAL;
    }
    pthread_mutex_lock(&pool->lock);
    struct kin_pool_stats stats = pool->stats;
    stats.queued = pool->queued;
    for (int i = 0; i < pool->size; i++) {
        const struct kin__crew *crew = &pool->crew[i];
        stats.workers += crew->state == KIN__CREW_READY;
        stats.busy += crew->state == KIN__CREW_READY && (crew->sent_count > 0 || crew->map != NULL);
    }
    pthread_mutex_unlock(&pool->lock);
    stats.size = KIN__MIN(ret_stats->size, sizeof stats);
    memcpy(ret_stats, &stats, stats.size);
    return 0;
}

int kin_pool_pids(kin_pool *pool, int *ret_pids, size_t count)
{
    int rc = kin__pool_check(pool);
    if (rc < 0) {
        return rc;
    }
    if (ret_pids == NULL && count != 0) {
        return -EINVAL;
    }
    int found = 0;
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->size; i++) {
        if (pool->crew[i].process == NULL) {
            continue;
        }
        if ((size_t)found < count) {
            ret_pids[found] = kin_process_pid(pool->crew[i].process);
        }
        found++;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}
