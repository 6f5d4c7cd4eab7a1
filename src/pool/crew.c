/*
 * Workers come and go: started, told to stop, killed, found dead, replaced. Layer: pool.
 * Protocol: docs/design/pool.md, "Crew".
 */
#include "pool/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process/process.h"

#define FAILURES_MOST 5 /* starts in a row that fail before the pool is given up */
#define BACKOFF_NS 10000000
#define BACKOFF_MOST_NS 1000000000

KIN_ENTRY(kin__pool_worker, kin__worker_main);

bool kin__crew_takes(const kin_pool *pool, const struct kin__crew *crew, int role)
{
    return (crew->state == KIN__CREW_READY || crew->state == KIN__CREW_STARTING) &&
           (role == KIN__ANY_ROLE || role == crew->role) && !crew->ended &&
           kin__crew_allowance(pool, crew) > 0;
}

bool kin__crew_is_idle(const kin_pool *pool, const struct kin__crew *crew, int role)
{
    return crew->map == NULL && !crew->trailing && crew->sent_count == 0 &&
           kin__crew_takes(pool, crew, role);
}

uint64_t kin__crew_allowance(const kin_pool *pool, const struct kin__crew *crew)
{
    uint64_t most = (uint64_t)pool->options.max_tasks_per_child;
    return most == 0 ? UINT64_MAX : crew->given < most ? most - crew->given : 0;
}

/* --- starting ------------------------------------------------------------------------------- */

static struct kin__worker_start *describe(const kin_pool *pool, const struct kin__crew *crew,
                                          uint64_t *ret_size)
{
    uint64_t size = sizeof(struct kin__worker_start) + pool->options.init_size;
    struct kin__worker_start *start = aligned_alloc(16, kin__align_up(size, 16));
    if (start == NULL) {
        return NULL;
    }
    memset(start, 0, sizeof *start);
    kin__object_ref(&pool->object->object, &start->pool);
    bool threads = pool->options.kind == KIN_WORKERS_THREADS;
    start->index = (uint32_t)crew->index;
    start->owner_slot = threads ? KIN__NO_SLOT : pool->owner_slot;
    start->owner_generation = pool->owner_generation;
    start->event_fd = pool->event_fd;
    start->spin_ns = pool->worker_spin;
    const struct kin_plan_worker *place =
        pool->plan == NULL ? NULL : &pool->plan->workers[crew->index];
    if (place != NULL && place->bound) {
        start->bound = 1;
        start->cpus = place->cpus;
    }
    start->by_name = pool->by_name;
    start->initializer = pool->initializer;
    start->finalizer = pool->finalizer;
    start->init_size = pool->options.init_size;
    start->signals = pool->signals;
    if (pool->options.init_size != 0) {
        memcpy(start->init_arg, pool->init_arg, pool->options.init_size);
    }
    *ret_size = size;
    return start;
}

static int start_process(kin_pool *pool, struct kin__crew *crew,
                         const struct kin__worker_start *start, uint64_t size,
                         kin_process **ret_process)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.method = KIN_START_FORK;
    if (pool->options.process != NULL) {
        options = *pool->options.process;
    }
    char name[KIN_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s-%d", pool->name, crew->index + 1);
    int fds[KIN_FDS_MAX];
    if (options.fd_count >= KIN_FDS_MAX) {
        return -EINVAL;
    }
    if (options.fd_count != 0) {
        memcpy(fds, options.fds, options.fd_count * sizeof fds[0]);
    }
    fds[options.fd_count++] = pool->event_fd;
    options.fds = fds;
    options.target = kin__worker_main;
    options.entry = NULL;
    options.arg = start;
    options.arg_size = size;
    options.name = name;
    options.daemon = 0;
    return kin__process_start(&options, KIN__PROCESS_WORKER, ret_process);
}

struct thread_start {
    kin_pool *pool;
    struct kin__worker_start *start;
};

static void *run_thread(void *arg)
{
    struct thread_start *given = arg;
    struct kin__pool_object *object = given->pool->object;
    kin__worker_thread(given->start, object);
    free(given->start);
    free(given);
    return NULL;
}

static int start_thread(kin_pool *pool, struct kin__worker_start *start, pthread_t *ret_thread)
{
    struct thread_start *given = malloc(sizeof *given);
    if (given == NULL) {
        return -ENOMEM;
    }
    *given = (struct thread_start){pool, start};
    uint64_t signals = kin__signals_block(); /* the user's handlers run in the user's threads */
    int rc = -pthread_create(ret_thread, NULL, run_thread, given);
    kin__signals_restore(signals);
    if (rc < 0) {
        free(given);
    }
    return rc;
}

/* The next start of a member that did not come up, later each time. */
static void back_off(kin_pool *pool, struct kin__crew *crew)
{
    int64_t delay = BACKOFF_NS << KIN__MIN(crew->failures, 10);
    crew->restart_at = kin__clock_now() + KIN__MIN(delay, BACKOFF_MOST_NS);
    crew->failures++;
    if (crew->failures < FAILURES_MOST || pool->broken < 0) {
        return;
    }
    for (int i = 0; i < pool->size; i++) {
        if (pool->crew[i].state == KIN__CREW_READY) {
            return;
        }
    }
    pool->broken = KIN_EWORKERINIT;
    kin__task_fail_all(pool, KIN_EWORKERINIT);
    kin__map_cancel_all(pool, KIN_EWORKERINIT);
}

int kin__crew_start(kin_pool *pool, struct kin__crew *crew)
{
    uint64_t size;
    struct kin__worker_start *start = NULL;
    int rc = kin__chain_worker_block(pool, crew);
    if (rc == 0 && (start = describe(pool, crew, &size)) == NULL) {
        rc = -ENOMEM;
    }
    crew->full = crew->dirty = crew->ended = crew->corrupt = crew->up = crew->trailing = false;
    crew->given = 0;
    crew->last_block = 0;
    crew->active = kin__clock_now();
    kin_process *process = NULL;
    if (rc == 0) {
        crew->state = KIN__CREW_STARTING;
        pool->starting++;
        pthread_mutex_unlock(&pool->lock);
        if (pool->options.kind == KIN_WORKERS_THREADS) {
            rc = start_thread(pool, start, &crew->thread);
            if (rc < 0) {
                free(start);
            }
        } else {
            rc = start_process(pool, crew, start, size, &process);
            free(start);
            if (rc == 0) {
                crew->pidfd = kin_process_sentinel(process);
                rc = kin__supervisor_watch(pool, crew);
            }
            if (rc < 0 && process != NULL) {
                kin_process_kill(process); /* nobody would see its end */
                kin_process_join(process, KIN_FOREVER, NULL);
                process = kin_process_destroy(process);
            }
        }
        pthread_mutex_lock(&pool->lock);
        pool->starting--;
    }
    if (rc == 0) {
        pool->stats.workers_started++;
        crew->has_thread = process == NULL;
        crew->process = process;
        if (pool->phase == KIN__POOL_TERMINATED) {
            kin__crew_kill(crew);
        }
        kin__pool_changed(pool);
        return 0;
    }
    pool->start_error = rc;
    crew->state = KIN__CREW_ABSENT;
    kin__task_orphans(pool, crew);
    kin__map_range_lost(pool, crew);
    back_off(pool, crew);
    kin__pool_changed(pool);
    return rc;
}

/* --- ending ------------------------------------------------------------------------------- */

void kin__crew_kill(struct kin__crew *crew)
{
    if (crew->process != NULL) {
        crew->state = KIN__CREW_DOOMED;
        kin_process_kill(crew->process);
    }
}

void kin__crew_corrupt(struct kin__crew *crew)
{
    crew->state = KIN__CREW_DOOMED;
    crew->corrupt = true;
    kin__crew_kill(crew);
}

void kin__crew_gone(kin_pool *pool, struct kin__crew *crew, bool orderly)
{
    uint64_t pending = kin__a64_load(&crew->block->pending);
    if (pending != 0 && pending != crew->last_block) {
        kin__block_free_leased(pending);
    }
    crew->state = KIN__CREW_ABSENT;
    if (!orderly && pool->phase != KIN__POOL_TERMINATED) {
        pool->stats.workers_lost++;
    }
    kin__task_orphans(pool, crew);
    kin__map_range_lost(pool, crew);
    if (crew->up || orderly) {
        crew->restart_at = 0;
    } else {
        back_off(pool, crew);
    }
    if (!kin__supervisor_is_me()) {
        kin__supervisor_wake(); /* who replaces it */
    }
    kin__pool_changed(pool);
}

bool kin__crew_reap(kin_pool *pool, struct kin__crew *crew)
{
    bool orderly;
    if (crew->has_thread) {
        if (!crew->ended) {
            return false;
        }
        pthread_join(crew->thread, NULL); /* its last message is its last act */
        crew->has_thread = false;
        orderly = crew->up;
    } else {
        int exitcode = -1;
        if (crew->process == NULL ||
            kin_process_exitcode(crew->process, &exitcode) == -EAGAIN) {
            return false;
        }
        kin__pool_drain_one(pool, crew);
        orderly = exitcode == 0 && crew->state == KIN__CREW_STOPPING;
        kin__supervisor_unwatch(crew);
        crew->process = kin_process_destroy(crew->process);
        crew->pidfd = -1;
    }
    kin__crew_gone(pool, crew, orderly);
    return true;
}

void kin__crew_stop(kin_pool *pool)
{
    bool over = kin__pool_is_idle_for_good(pool);
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if ((crew->state != KIN__CREW_READY && crew->state != KIN__CREW_STARTING) ||
            crew->map != NULL || crew->sent_count != 0 ||
            (!over && kin__crew_allowance(pool, crew) > 0)) {
            continue;
        }
        void *payload;
        if (kin__ring_reserve(&crew->tasks, sizeof(struct kin__stop_message), &payload) == 0) {
            ((struct kin__stop_message *)payload)->kind = KIN__TASK_STOP;
            crew->dirty = true;
            /* A member that has not come up yet still counts as failed if it never does. */
            crew->state = KIN__CREW_STOPPING;
        }
    }
}

int64_t kin__crew_tend(kin_pool *pool, int64_t now, bool may_start)
{
    int64_t next = KIN__NEVER;
    if (pool->phase == KIN__POOL_TERMINATED && pool->kill_at <= now) {
        pool->kill_at = KIN__NEVER;
        for (int i = 0; i < pool->size; i++) {
            kin__crew_kill(&pool->crew[i]);
        }
    }
    if (pool->phase == KIN__POOL_TERMINATED) {
        return pool->kill_at;
    }
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->state != KIN__CREW_ABSENT || pool->broken < 0 || crew->process != NULL ||
            kin__pool_is_idle_for_good(pool)) {
            continue;
        }
        if (crew->restart_at > now || !may_start || !pool->opened) {
            next = KIN__MIN(next, crew->restart_at);
            continue;
        }
        kin__crew_start(pool, crew);
        if (crew->state == KIN__CREW_ABSENT) {
            next = KIN__MIN(next, crew->restart_at);
        }
    }
    return next;
}
