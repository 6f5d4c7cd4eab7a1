/*
 * The supervisor: one thread per process that has pools. It notices deaths, replaces workers, keeps
 * time limits, and drives every pool that no waiting thread drives. Layer: pool.
 * Protocol: docs/design/pool.md, "Supervisor".
 */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>

#define EVENT_TAG UINT64_MAX
#define INDEX_BITS 12

/* One thread's life, from the first pool to the last. */
struct session {
    pthread_t thread;
    int watch, event;
    bool stop;   /* under `lock` */
    bool orphan; /* under `lock`: nobody joins the thread, which frees the session itself */
    /* The thread's own: */
    int64_t next;    /* when the next round is due at the latest */
    uint64_t rounds; /* begun so far */
};

/* Under `lock`. `session` is there as long as some pool is, and does not change meanwhile: a
 * pool's calls may read it without the lock. */
static struct {
    pthread_mutex_t lock;
    struct session *session;
    uint64_t last_number;
    kin_pool *pools; /* newest first */
} supervisor = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct session *mine; /* in the supervisor itself */

bool kin__supervisor_is_me(void)
{
    return mine != NULL;
}

void kin__supervisor_wake(void)
{
    kin__event_signal(supervisor.session->event);
}

int kin__supervisor_watch(kin_pool *pool, struct kin__crew *crew)
{
    return kin__watch_add(supervisor.session->watch, crew->pidfd,
                          pool->number << INDEX_BITS | (unsigned)crew->index);
}

void kin__supervisor_unwatch(struct kin__crew *crew)
{
    kin__watch_remove(supervisor.session->watch, crew->pidfd);
}

/* The pool of that number, held; or NULL. */
static kin_pool *find(uint64_t number)
{
    pthread_mutex_lock(&supervisor.lock);
    kin_pool *pool = supervisor.pools;
    while (pool != NULL && pool->number != number) {
        pool = pool->next;
    }
    if (pool != NULL) {
        kin__pool_hold(pool);
    }
    pthread_mutex_unlock(&supervisor.lock);
    return pool;
}

/* The pool after that number, held; numbers fall along the list. NULL at its end. */
static kin_pool *next_below(uint64_t number)
{
    pthread_mutex_lock(&supervisor.lock);
    kin_pool *pool = supervisor.pools;
    while (pool != NULL && pool->number >= number) {
        pool = pool->next;
    }
    if (pool != NULL) {
        kin__pool_hold(pool);
    }
    pthread_mutex_unlock(&supervisor.lock);
    return pool;
}

static void on_death(uint64_t tag)
{
    kin_pool *pool = find(tag >> INDEX_BITS);
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    int index = (int)(tag & ((1u << INDEX_BITS) - 1));
    if (pool->object != NULL && index < pool->size) {
        kin__crew_reap(pool, &pool->crew[index]);
    }
    pthread_mutex_unlock(&pool->lock);
    kin__pool_release(pool);
}

/* Looks after one pool; returns when to come again. */
static int64_t serve(kin_pool *pool)
{
    int64_t next = KIN__NEVER;
    pthread_mutex_lock(&pool->lock);
    if (pool->object == NULL) {
        pthread_mutex_unlock(&pool->lock);
        return next;
    }
    next = kin__crew_tend(pool, kin__clock_now(), true);
    int64_t limit = kin__task_limits(pool, kin__clock_now());
    next = KIN__MIN(next, limit);
    if (!pool->driving) {
        bool work = true;
        while (work && !pool->driving && pool->object != NULL) {
            work = kin__pool_drive(pool, kin__clock_now());
            work = work || pool->calls.first != NULL;
            kin__pool_callbacks(pool);
            if (!work && (pool->outstanding != 0 || pool->phase != KIN__POOL_OPEN)) {
                /* The last look comes after the bell is armed. */
                kin__doorbell_arm(&pool->object->bell);
                work = kin__pool_drive(pool, kin__clock_now());
                work = work || pool->calls.first != NULL;
            }
        }
        if (pool->object != NULL) {
            next = KIN__MIN(next, pool->look_at);
            int64_t quiet = kin__pool_quiet_until(pool);
            next = KIN__MIN(next, quiet);
        }
    } else {
        kin__pool_dispatch(pool, kin__clock_now());
    }
    if (pool->object != NULL && (pool->outstanding != 0 || pool->phase != KIN__POOL_OPEN)) {
        /* No wake-up that a dying worker owed us is missed for longer. */
        next = KIN__MIN(next, kin__clock_now() + KIN__SLICE_NS);
    }
    pthread_mutex_unlock(&pool->lock);
    return next;
}

void kin__supervisor_round(int64_t deadline)
{
    struct session *session = mine;
    uint64_t tags[64];
    int n = kin__watch_wait(session->watch, tags, 64, KIN__MIN(deadline, session->next));
    /* A callback that waits makes rounds of its own: the first of them at once, and after the last
     * this one's findings are out of date. */
    session->next = 0;
    uint64_t round = ++session->rounds;
    for (int i = 0; i < n; i++) {
        if (tags[i] == EVENT_TAG) {
            kin__event_drain(session->event);
        } else {
            on_death(tags[i]);
        }
    }
    int64_t next = KIN__NEVER;
    uint64_t number = UINT64_MAX;
    kin_pool *pool;
    while ((pool = next_below(number)) != NULL) {
        number = pool->number;
        int64_t due = serve(pool);
        next = KIN__MIN(next, due);
        kin__pool_release(pool);
    }
    session->next = session->rounds == round ? next : 0;
}

static void close_session(struct session *session)
{
    kin__fd_drop(session->event);
    kin__fd_drop(session->watch);
    free(session);
}

static void *run(void *arg)
{
    struct session *session = mine = arg;
    bool stop = false, orphan = false;
    while (!stop) {
        kin__supervisor_round(KIN__NEVER);
        pthread_mutex_lock(&supervisor.lock);
        stop = session->stop;
        orphan = session->orphan;
        pthread_mutex_unlock(&supervisor.lock);
    }
    if (orphan) {
        close_session(session);
    }
    return NULL;
}

static void before_fork(void)
{
    pthread_mutex_lock(&supervisor.lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&supervisor.lock);
}

KIN__FORK_PATH static void after_fork_in_child(void)
{
    /* The thread, its pools and their workers are the parent's. The event descriptor stays open: a
     * worker rings its parent with it. */
    if (supervisor.session != NULL) {
        kin__fd_drop(supervisor.session->watch);
        free(supervisor.session);
    }
    supervisor.session = NULL;
    supervisor.pools = NULL;
    mine = NULL;
    pthread_mutex_unlock(&supervisor.lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static int start(void)
{
    struct session *session = malloc(sizeof *session);
    if (session == NULL) {
        return -ENOMEM;
    }
    *session = (struct session){.watch = kin__watch_create(), .event = kin__event_create()};
    int rc = session->watch < 0 ? session->watch : session->event < 0 ? session->event : 0;
    if (rc == 0) {
        rc = kin__watch_add(session->watch, session->event, EVENT_TAG);
    }
    if (rc == 0) {
        uint64_t signals = kin__signals_block(); /* the user's handlers run in the user's threads */
        rc = -pthread_create(&session->thread, NULL, run, session);
        kin__signals_restore(signals);
    }
    if (rc < 0) {
        close_session(session);
        return rc;
    }
    supervisor.session = session;
    return 0;
}

int kin__supervisor_adopt(kin_pool *pool)
{
    pthread_mutex_lock(&supervisor.lock);
    int rc = supervisor.session != NULL ? 0 : start();
    if (rc == 0) {
        pool->number = ++supervisor.last_number;
        pool->event_fd = supervisor.session->event;
        pool->next = supervisor.pools;
        supervisor.pools = pool;
        kin__pool_hold(pool);
    }
    pthread_mutex_unlock(&supervisor.lock);
    return rc;
}

void kin__supervisor_drop(kin_pool *pool)
{
    pthread_mutex_lock(&supervisor.lock);
    kin_pool **at = &supervisor.pools;
    while (*at != NULL && *at != pool) {
        at = &(*at)->next;
    }
    bool found = *at != NULL;
    struct session *last = NULL;
    if (found) {
        *at = pool->next;
        if (supervisor.pools == NULL) {
            /* With its last pool the thread ends: none of ours makes a later fork unsafe. */
            last = supervisor.session;
            last->stop = true;
            last->orphan = last == mine; /* in a callback, after its own pool has gone */
            supervisor.session = NULL;
        }
    }
    pthread_mutex_unlock(&supervisor.lock);
    if (last != NULL && last == mine) {
        pthread_detach(last->thread);
    } else if (last != NULL) {
        kin__event_signal(last->event);
        pthread_join(last->thread, NULL);
        close_session(last);
    }
    if (found) {
        kin__pool_release(pool);
    }
}
