/*
 * Driving a pool: results in, work out, and who does it. Layer: pool.
 * Protocol: docs/design/pool.md, "Driving".
 */
#include "pool/engine.h"

#include <errno.h>
#include <time.h>

#define PREFETCH_NS 200000 /* work to have queued at a worker */
#define PREFETCH_MOST 256 /* less than that of very short ones would not outlast a wake-up */
#define PREFETCH_UNKNOWN 16 /* tasks to queue while their length is not known */
#define REVOKE_NS 100000    /* work that must be queued elsewhere for an idle worker to take it */
#define LOOK_NS 1000000     /* between looks for work to take back */
#define QUIET_NS 150000     /* from a ring on, when results that follow it without one are there */

/* --- results in --------------------------------------------------------------------------- */

static int handle(kin_pool *pool, struct kin__crew *crew,
                  const struct kin__result_message *message, const void *data)
{
    switch (message->kind) {
    case KIN__RESULT_READY:
        if (message->code == 0 && !crew->up) {
            crew->up = true;
            crew->failures = 0;
            if (crew->state == KIN__CREW_STARTING) {
                crew->state = KIN__CREW_READY;
            }
        }
        return 0;
    case KIN__RESULT_CALL:
        crew->full = false;
        if (message->ns < INT64_MAX / 8) {
            int64_t ns = (int64_t)message->ns;
            crew->mean = crew->mean == 0 ? ns + 1 : (crew->mean * 7 + ns) / 8 + 1;
        }
        return kin__task_answered(pool, crew, message, data);
    case KIN__RESULT_FAILED:
        return kin__map_item_failed(pool, crew, message->size, message->code);
    case KIN__RESULT_RANGE:
        if (crew->trailing && crew->range_id == message->id) {
            crew->trailing = false;
            return 0;
        }
        return crew->map == NULL || crew->range_id != message->id
                   ? KIN_ECORRUPT
                   : kin__map_range_ended(pool, crew, message->code);
    case KIN__RESULT_ENDED:
        crew->ended = true;
        return 0;
    default:
        return KIN_ECORRUPT;
    }
}

bool kin__pool_has_results(struct kin__crew *crew)
{
    return crew->block != NULL && crew->state != KIN__CREW_ABSENT && !crew->corrupt &&
           kin__ring_pending(&crew->results) != 0;
}

bool kin__pool_drain_one(kin_pool *pool, struct kin__crew *crew)
{
    if (!kin__pool_has_results(crew)) {
        return false;
    }
    uint64_t pending = kin__ring_pending(&crew->results);
    for (;;) {
        void *payload;
        uint64_t size;
        int rc = kin__ring_read(&crew->results, &payload, &size);
        if (rc == 1) {
            struct kin__result_message message;
            if (size < sizeof message) {
                rc = KIN_ECORRUPT;
            } else {
                message = *(struct kin__result_message *)payload;
                bool fits = message.kind != KIN__RESULT_CALL || message.block != 0 ||
                            message.size <= size - sizeof message;
                rc = fits ? handle(pool, crew, &message,
                                   ((struct kin__result_message *)payload)->data)
                          : KIN_ECORRUPT;
            }
        } else if (rc == 0) {
            break;
        }
        if (rc < 0) {
            kin__crew_corrupt(crew);
            break;
        }
    }
    kin__ring_release(&crew->results);
    if (pending >= KIN__POOL_RESULT_RING / 4) {
        /* It may wait for room: then its ring was full, hence at least that full. */
        kin__door_ring_one(&crew->block->door);
    }
    return true;
}

static bool drain(kin_pool *pool, int64_t now)
{
    bool any = false;
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (kin__pool_drain_one(pool, crew)) {
            any = true;
            crew->active = now;
        }
        if (crew->ended) {
            kin__crew_reap(pool, crew);
        }
    }
    return any;
}

static bool results_wait(void *arg)
{
    kin_pool *pool = arg;
    for (int i = 0; i < pool->size; i++) {
        if (kin__pool_has_results(&pool->crew[i])) {
            return true;
        }
    }
    return false;
}

int64_t kin__pool_quiet_until(const kin_pool *pool)
{
    int64_t look = KIN__NEVER, now = 0;
    for (int i = 0; i < pool->size; i++) {
        const struct kin__crew *crew = &pool->crew[i];
        if (crew->sent_count < 2) {
            continue; /* it rings with its last result */
        }
        /* One look is enough, as a worker is only quiet for RING_NS (worker.c) after a ring; and in
         * the mean the next ring comes before it. */
        int64_t at = crew->active + QUIET_NS + 2 * crew->mean;
        now = now != 0 ? now : kin__clock_now();
        if (at > now) {
            look = KIN__MIN(look, at);
        }
    }
    return look;
}

/* --- work out ----------------------------------------------------------------------------- */

static int depth(const struct kin__crew *crew)
{
    if (crew->mean == 0) {
        return PREFETCH_UNKNOWN;
    }
    int64_t tasks = PREFETCH_NS / crew->mean;
    return (int)KIN__MAX(2, KIN__MIN(tasks, PREFETCH_MOST));
}

static struct kin__crew *least_loaded(kin_pool *pool, int role, bool *ret_ranges_only)
{
    struct kin__crew *best = NULL;
    bool any = false, in_range = false;
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (!kin__crew_takes(pool, crew, role)) {
            continue;
        }
        if (crew->map != NULL) {
            in_range = true;
            continue;
        }
        any = true;
        if (!crew->full && crew->sent_count < depth(crew) &&
            (best == NULL || crew->sent_count < best->sent_count)) {
            best = crew;
            if (best->sent_count == 0) {
                break;
            }
        }
    }
    *ret_ranges_only = in_range && !any;
    return best;
}

static void send_backlog(kin_pool *pool, struct kin__tasks *backlog, int role)
{
    kin_future *task;
    while ((task = backlog->first) != NULL) {
        bool ranges_only;
        struct kin__crew *crew = least_loaded(pool, role, &ranges_only);
        if (crew == NULL) {
            if (ranges_only) {
                kin__map_yield(pool, role);
            }
            return;
        }
        if (crew->sent_count == 0) {
            crew->active = kin__clock_now();
        }
        if (kin__task_send(pool, crew, task) < 0) {
            crew->full = true;
        }
    }
}

/* Takes tasks that wait behind a long one back for workers that are idle. */
static int64_t revoke_for_idle(kin_pool *pool, int64_t now)
{
    int64_t look = KIN__NEVER;
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->sent_count < 2) {
            continue;
        }
        int free_hands = 0;
        int role = crew->sent.last->role;
        for (int j = 0; j < pool->size; j++) {
            free_hands += kin__crew_is_idle(pool, &pool->crew[j], role);
        }
        if (free_hands == 0) {
            continue;
        }
        int64_t each = KIN__MAX(crew->mean, now - crew->active);
        if (each * crew->sent_count < REVOKE_NS) {
            look = now + LOOK_NS;
            continue;
        }
        for (int n = KIN__MIN(free_hands, crew->sent_count - 1); n > 0; n--) {
            if (kin__task_revoke_last(pool, crew) == NULL) {
                break;
            }
        }
        send_backlog(pool, &pool->backlog[role == KIN__ANY_ROLE ? pool->roles : role], role);
    }
    return look;
}

static void publish(kin_pool *pool)
{
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->dirty) {
            crew->dirty = false;
            kin__ring_publish(&crew->tasks);
            if (kin__a32_load_seq(&crew->block->door.word) & 1) {
                kin__door_ring_one(&crew->block->door);
            }
        }
    }
}

void kin__pool_dispatch(kin_pool *pool, int64_t now)
{
    if (pool->maps != NULL) {
        for (int i = 0; i < pool->size; i++) {
            struct kin__crew *crew = &pool->crew[i];
            if (!kin__crew_is_idle(pool, crew, KIN__ANY_ROLE) || !kin__map_has_items(pool, crew)) {
                continue;
            }
            /* In turns, where both a task and a map could use the worker. */
            bool task_waits = pool->backlog[pool->roles].first != NULL ||
                              pool->backlog[crew->role].first != NULL;
            if (!task_waits || (pool->turn++ & 1)) {
                kin__map_assign(pool, crew, now);
            }
        }
    }
    for (int role = 0; pool->queued != 0 && role <= pool->roles; role++) {
        send_backlog(pool, &pool->backlog[role], role == pool->roles ? KIN__ANY_ROLE : role);
    }
    pool->look_at = KIN__NEVER;
    if (pool->maps != NULL) {
        pool->look_at = kin__map_balance(pool, now);
    }
    if (pool->outstanding != 0) {
        int64_t look_at = revoke_for_idle(pool, now);
        pool->look_at = KIN__MIN(pool->look_at, look_at);
    }
    if (pool->phase != KIN__POOL_OPEN || pool->options.max_tasks_per_child != 0) {
        kin__crew_stop(pool);
    }
    publish(pool);
}

bool kin__pool_drive(kin_pool *pool, int64_t now)
{
    bool any = drain(pool, now);
    kin__pool_dispatch(pool, now);
    return any;
}

/* --- who drives --------------------------------------------------------------------------- */

void kin__pool_changed(kin_pool *pool)
{
    pool->changes++;
    if (pool->waiters > 0) {
        pthread_cond_broadcast(&pool->changed);
    }
    kin__doorbell_ring(&pool->object->bell, pool->event_fd);
}

static _Thread_local kin_pool *called_by;

bool kin__pool_in_callback(const kin_pool *pool)
{
    return called_by == pool;
}

void kin__pool_call(kin_pool *pool, kin_future *task)
{
    kin_pool *outer = called_by;
    called_by = pool;
    task->callback(task, task->callback_arg);
    called_by = outer;
}

void kin__pool_callbacks(kin_pool *pool)
{
    kin_future *task;
    while ((task = pool->calls.first) != NULL) {
        kin__tasks_remove(&pool->calls, task);
        pthread_mutex_unlock(&pool->lock);
        kin__pool_call(pool, task);
        kin__task_release(task);
        pthread_mutex_lock(&pool->lock);
    }
}

void kin__pool_hand_over(kin_pool *pool)
{
    if (pool->driving) {
        return;
    }
    if (pool->waiters > 0) {
        pthread_cond_broadcast(&pool->changed);
        return;
    }
    if (pool->outstanding == 0 && pool->phase == KIN__POOL_OPEN) {
        return;
    }
    kin__doorbell_arm(&pool->object->bell);
    if (results_wait(pool) || pool->look_at != KIN__NEVER || pool->calls.first != NULL) {
        kin__supervisor_wake();
    }
}

/* What to look at while spinning without the lock: the tails of result rings, which stay where they
 * are as long as the pool does. */
#define SPIN_MOST 32
struct tails {
    int count;
    struct kin__ring *ring[SPIN_MOST];
    uint64_t own[SPIN_MOST];
};

static bool tail_moved(void *arg)
{
    const struct tails *tails = arg;
    for (int i = 0; i < tails->count; i++) {
        if (kin__a64_load(&tails->ring[i]->tail) != tails->own[i]) {
            return true;
        }
    }
    return false;
}

static void spin(kin_pool *pool)
{
    struct tails tails = {.count = 0};
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->sent_count == 0 && crew->map == NULL) {
            continue;
        }
        if (tails.count == SPIN_MOST) {
            return;
        }
        tails.ring[tails.count] = crew->results.ring;
        tails.own[tails.count++] = crew->results.own;
    }
    struct kin__spin spin = pool->spin;
    pthread_mutex_unlock(&pool->lock);
    kin__spin_until(&spin, tail_moved, &tails);
    pthread_mutex_lock(&pool->lock);
    pool->spin = spin;
}

/* Sleeps on the bell, the lock released, until something may have come in. */
static int sleep_on_bell(kin_pool *pool, int64_t deadline)
{
    struct kin__doorbell *bell = &pool->object->bell;
    uint64_t changes = pool->changes;
    if (pool->spin.most != 0 && pool->outstanding != 0) {
        spin(pool);
    }
    uint32_t seen = kin__doorbell_announce(bell);
    if (results_wait(pool) || pool->changes != changes) {
        return 0;
    }
    int64_t until = kin__pool_quiet_until(pool);
    until = KIN__MIN(until, pool->look_at);
    until = KIN__MIN(until, deadline);
    pthread_mutex_unlock(&pool->lock);
    int rc = kin__sleep(&bell->word, seen, KIN__NO_SLOT, 0, until);
    pthread_mutex_lock(&pool->lock);
    return rc == -ETIMEDOUT && until != deadline ? 0 : rc;
}

/* Sleeps until another thread, which drives, has changed something. */
static int sleep_on_changes(kin_pool *pool, int64_t deadline)
{
    int64_t now = kin__clock_now();
    int64_t until = KIN__MIN(deadline, now + KIN__SLICE_NS);
    struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    pool->waiters++;
    pthread_cond_timedwait(&pool->changed, &pool->lock, &at);
    pool->waiters--;
    if (kin__clock_now() < until) {
        return 0;
    }
    pthread_mutex_unlock(&pool->lock);
    int rc = kin__interrupted();
    pthread_mutex_lock(&pool->lock);
    return rc;
}

int kin__pool_wait(kin_pool *pool, bool (*ready)(void *), void *arg, int64_t deadline)
{
    int rc = 0;
    for (;;) {
        kin__pool_callbacks(pool);
        if (ready(arg)) {
            break;
        }
        if (kin__supervisor_is_me()) {
            /* In a callback: nobody else sees workers die, or replaces them. */
            if (deadline != KIN__NEVER && deadline <= kin__clock_now()) {
                rc = -ETIMEDOUT;
            } else {
                pthread_mutex_unlock(&pool->lock);
                kin__supervisor_round(deadline);
                pthread_mutex_lock(&pool->lock);
            }
        } else if (!pool->driving) {
            int64_t now = kin__clock_now();
            if (kin__pool_drive(pool, now) || pool->calls.first != NULL) {
                continue;
            }
            if (ready(arg)) {
                break;
            }
            if (deadline <= now) {
                rc = -ETIMEDOUT;
                break;
            }
            pool->driving = true;
            rc = sleep_on_bell(pool, deadline);
            pool->driving = false;
        } else if (deadline != KIN__NEVER && deadline <= kin__clock_now()) {
            rc = -ETIMEDOUT;
        } else {
            rc = sleep_on_changes(pool, deadline);
        }
        if (rc < 0) {
            /* What came in meanwhile counts. */
            if (!pool->driving) {
                kin__pool_drive(pool, kin__clock_now());
            }
            if (ready(arg)) {
                rc = 0;
            }
            break;
        }
    }
    kin__pool_hand_over(pool);
    return rc;
}
