/* Map over items of different sizes: a task each, a bounded number at a time. Layer: pool. */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

#define AHEAD_MOST 512 /* tasks in the pool at once, for each worker */

/* All under the pool's lock. */
struct var_map {
    kin_pool *pool;
    struct kin_bytes *results;
    int *codes;
    kin_future *tasks; /* by slot; `finished` is NULL in those that are not under way */
    uint64_t *free_slots;
    uint64_t free_count, slots;
    uint64_t submitted, done;
    uint64_t failed, lost, cancelled;
    bool raise, stop; /* ON_ERROR_RAISE; and something failed */
    uint64_t wanted;  /* how many are to be done before more is submitted */
};

static void on_finished(kin_future *task)
{
    struct var_map *map = task->owner;
    map->done++;
    if (task->status == 0) {
        if (map->results != NULL) {
            map->results[task->index] = (struct kin_bytes){task->data, task->size};
        } else {
            free(task->data);
        }
    } else if (task->status == KIN_ECANCELLED) {
        map->cancelled++;
    } else {
        map->failed++;
        map->lost += task->status == KIN_EWORKERLOST;
        map->stop = map->raise;
    }
    if (map->codes != NULL) {
        map->codes[task->index] = task->status == KIN_ETASK ? task->code : task->status;
    }
    task->finished = NULL;
    map->free_slots[map->free_count++] = (uint64_t)(task - map->tasks);
}

static bool may_go_on(void *arg)
{
    const struct var_map *map = arg;
    return map->done >= map->wanted || map->stop;
}

static bool all_done(void *arg)
{
    const struct var_map *map = arg;
    return map->done == map->submitted;
}

/* Takes back what has not begun; of what runs, kills the workers if `kill`. The lock is held. */
static void cancel(struct var_map *map, bool kill)
{
    kin_pool *pool = map->pool;
    for (uint64_t i = 0; i < map->slots; i++) {
        kin_future *task = &map->tasks[i];
        if (task->finished == NULL) {
            continue;
        }
        if (kin__task_take_back(pool, task) == 0) {
            kin__task_finish(pool, task, KIN_ECANCELLED, KIN_ECANCELLED, NULL, 0);
        } else if (kill && task->crew != NULL && pool->options.kind == KIN_WORKERS_PROCESSES) {
            task->timed_out = true;
            kin__crew_kill(task->crew);
        }
    }
}

/* Submits item after item as long as there is room. */
static int submit(struct var_map *map, struct kin__task_request *request,
                  const struct kin_bytes *items, uint64_t *next, uint64_t count)
{
    kin_pool *pool = map->pool;
    while (*next < count && map->free_count > 0) {
        if (pool->broken < 0 || pool->phase == KIN__POOL_TERMINATED) {
            return pool->broken < 0 ? pool->broken : KIN_ECANCELLED;
        }
        request->arg = items[*next].data;
        request->size = items[*next].size;
        request->index = *next;
        kin_future *task = &map->tasks[map->free_slots[--map->free_count]];
        kin__task_init(pool, request, task);
        map->submitted++;
        kin__task_queue(pool, task);
        ++*next;
    }
    return 0;
}

static int run(struct var_map *map, struct kin__task_request *request,
               const struct kin_bytes *items, uint64_t *next, uint64_t count, int64_t deadline)
{
    while (!map->stop) {
        int rc = submit(map, request, items, next, count);
        if (rc < 0) {
            return rc;
        }
        /* More when half of the room is free, so that the workers have the other half meanwhile. */
        uint64_t some = KIN__MAX(map->slots / 2, 1);
        map->wanted = *next == count ? count : map->submitted - map->slots + some;
        if (map->done == count) {
            return 0;
        }
        kin__pool_dispatch(map->pool, kin__clock_now());
        rc = kin__pool_wait(map->pool, may_go_on, map, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int kin_pool_map_var(kin_pool *pool, kin_task_fn *fn, const struct kin_bytes *items, size_t count,
                     struct kin_bytes *ret_results, const struct kin_map_options *options)
{
    struct kin_map_options given = KIN_MAP_OPTIONS_INIT;
    int rc = kin__pool_check(pool);
    if (rc < 0 || (rc = kin__options_read(&given, sizeof given, options)) < 0) {
        return rc;
    }
    if (fn == NULL || (items == NULL && count != 0) || given.retries < KIN_RETRIES_DEFAULT ||
        given.on_error < KIN_ON_ERROR_FINISH || given.on_error > KIN_ON_ERROR_RETURN) {
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].data == NULL && items[i].size != 0) {
            return -EINVAL;
        }
    }
    struct kin__task_request request = {
        .role = kin__pool_role(pool, given.role),
        .retries = given.retries,
        .timeout_ns = -1,
        .finished = on_finished,
    };
    if (request.role == KIN_EROLE) {
        return KIN_EROLE;
    }
    pthread_mutex_lock(&pool->lock);
    rc = kin__pool_accepts(pool);
    pthread_mutex_unlock(&pool->lock);
    if (rc < 0 || count == 0 ||
        (rc = kin__pool_function(pool, (kin_function *)fn, &request.fn)) < 0) {
        return rc;
    }
    struct var_map map = {.pool = pool,
                          .results = ret_results,
                          .codes = given.codes,
                          .raise = given.on_error == KIN_ON_ERROR_RAISE,
                          .slots = KIN__MIN(count, (size_t)pool->size * AHEAD_MOST)};
    map.tasks = calloc(map.slots, sizeof *map.tasks);
    map.free_slots = calloc(map.slots, sizeof *map.free_slots);
    if (map.tasks == NULL || map.free_slots == NULL) {
        free(map.tasks);
        free(map.free_slots);
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < map.slots; i++) {
        map.free_slots[map.free_count++] = i;
    }
    if (ret_results != NULL) {
        memset(ret_results, 0, count * sizeof *ret_results);
    }
    request.owner = &map;
    uint64_t next = 0;
    pthread_mutex_lock(&pool->lock);
    pool->sources++;
    rc = run(&map, &request, items, &next, count, kin__clock_deadline(given.timeout_ns));
    if (rc < 0 || map.stop) {
        cancel(&map, rc < 0);
        /* What runs has been killed, or (threads, ON_ERROR_RAISE) is waited for. */
        while (kin__pool_wait(pool, all_done, &map, KIN__NEVER) < 0) {
        }
    }
    for (uint64_t i = next; given.codes != NULL && i < count; i++) {
        given.codes[i] = KIN_ECANCELLED;
    }
    bool terminated = pool->phase == KIN__POOL_TERMINATED;
    int broken = pool->broken;
    pool->sources--;
    kin__pool_hand_over(pool); /* a closed pool may be done now */
    pthread_mutex_unlock(&pool->lock);
    free(map.tasks);
    free(map.free_slots);
    if (rc == 0 && broken < 0 && map.failed > 0) {
        rc = broken;
    } else if (rc == 0 && terminated && (map.cancelled > 0 || map.done < count)) {
        rc = KIN_ECANCELLED;
    }
    if (rc == 0 && map.failed > 0 && given.on_error != KIN_ON_ERROR_RETURN) {
        rc = map.failed == map.lost ? KIN_EWORKERLOST : KIN_ETASK;
    }
    return rc;
}

void kin_bytes_free(struct kin_bytes *results, size_t count)
{
    for (size_t i = 0; results != NULL && i < count; i++) {
        free((void *)(uintptr_t)results[i].data);
        results[i] = (struct kin_bytes){NULL, 0};
    }
}
