/*
 * kin_pool_map: the calling thread's part, which copies items in and results out. Layer: pool.
 * Protocol: docs/design/pool.md, "Maps".
 */
#include "pool/map.h"

#include <errno.h>
#include <kinfolk/memory.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

#define WINDOW_BYTES (UINT64_C(8) << 20)
#define WINDOW_ITEMS 64 /* least number of items in a window, for each worker, if memory allows */
#define WINDOW_MOST UINT32_C(0x7fffffff)
#define SPARE_MOST (UINT64_C(32) << 20) /* the largest window kept for the next map */

/* --- windows -------------------------------------------------------------------------------- */

/* Bytes of copies for each item. */
static uint64_t copied(const struct kin__map *map)
{
    return (map->copies_items ? map->item_size : 0) + (map->copies_results ? map->result_size : 0);
}

/* Whole chunks, and not too many bytes. */
static uint32_t window_items(const struct kin__map *map)
{
    uint64_t n = WINDOW_MOST;
    uint64_t each = copied(map);
    if (each != 0) {
        n = KIN__MAX(WINDOW_BYTES / each, (uint64_t)map->pool->size * WINDOW_ITEMS);
        n = KIN__MIN(n, kin__family.head->size / 8 / each);
    }
    n = KIN__MAX(1, KIN__MIN(n, WINDOW_MOST));
    if (map->chunk != 0 && n > map->chunk) {
        n -= n % map->chunk;
    }
    return (uint32_t)KIN__MIN(n, map->count);
}

static uint64_t window_bytes(const struct kin__map *map, uint64_t items)
{
    return items * copied(map) + 2 * KIN__CACHE_LINE;
}

/* A block for copies, the last map's if it is large enough. Called with the lock. */
static int take_block(kin_pool *pool, uint64_t bytes, struct kin__pool_block **ret_block)
{
    for (int i = 0; i < 2; i++) {
        struct kin__pool_block *spare = pool->spare[i];
        if (spare != NULL && spare->size >= bytes) {
            pool->spare[i] = NULL;
            *ret_block = spare;
            return 0;
        }
    }
    return kin__chain_add(pool, bytes, ret_block);
}

static void drop_block(kin_pool *pool, struct kin__pool_block *block)
{
    if (block == NULL) {
        return;
    }
    for (int i = 0; i < 2 && block->size <= SPARE_MOST; i++) {
        if (pool->spare[i] == NULL || pool->spare[i]->size < block->size) {
            struct kin__pool_block *smaller = pool->spare[i];
            pool->spare[i] = block;
            block = smaller;
            if (block == NULL) {
                return;
            }
        }
    }
    kin__chain_remove(pool, block);
}

static void drop_spares(kin_pool *pool)
{
    for (int i = 0; i < 2; i++) {
        if (pool->spare[i] != NULL) {
            kin__chain_remove(pool, pool->spare[i]);
            pool->spare[i] = NULL;
        }
    }
}

/* Blocks for as many items as memory allows; *items is lowered to that. Called with the lock. */
static int make_windows(struct kin__map *map, uint32_t *items)
{
    kin_pool *pool = map->pool;
    if (copied(map) == 0) {
        return 0;
    }
    for (;;) {
        int rc = take_block(pool, window_bytes(map, *items), &map->windows[0].block);
        if (rc == 0) {
            break;
        }
        if (pool->spare[0] != NULL || pool->spare[1] != NULL) {
            drop_spares(pool);
            continue;
        }
        if (rc != KIN_EQUOTA || *items == 1) {
            return rc;
        }
        *items = *items / 2;
        if (map->chunk != 0 && *items > map->chunk) {
            *items -= (uint32_t)(*items % map->chunk);
        }
    }
    if (*items < map->count) {
        /* A second one, so that workers have the one while we copy the other; not a must. */
        take_block(pool, window_bytes(map, *items), &map->windows[1].block);
    }
    return 0;
}

/* Fills the window with the next items. Without the lock: nobody else looks at it. */
static void load(struct kin__map *map, struct kin__window *window, uint32_t items)
{
    window->first = map->loaded;
    window->count = (uint32_t)KIN__MIN(items, map->count - map->loaded);
    window->settled = 0;
    window->gap_count = 0;
    unsigned char *copy = window->block == NULL ? NULL : window->block->link->payload;
    window->items = (unsigned char *)(uintptr_t)map->items;
    if (map->items != NULL) {
        window->items += window->first * map->item_size;
    }
    window->results = map->results;
    if (map->results != NULL) {
        window->results += window->first * map->result_size;
    }
    if (map->copies_items) {
        memcpy(copy, window->items, window->count * map->item_size);
        window->items = copy;
        copy += kin__align_up((uint64_t)window->count * map->item_size, KIN__CACHE_LINE);
    }
    if (map->copies_results) {
        window->results = copy;
    }
}

static int compare_gaps(const void *a, const void *b)
{
    const struct kin__gap *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Copies out what has results. Without the lock, as above. */
static void unload(struct kin__map *map, struct kin__window *window)
{
    if (!map->copies_results) {
        return;
    }
    unsigned char *to = map->results + window->first * map->result_size;
    if (window->gap_count > 1) {
        qsort(window->gaps, window->gap_count, sizeof *window->gaps, compare_gaps);
    }
    uint64_t at = 0;
    for (size_t i = 0; i <= window->gap_count; i++) {
        uint64_t until = i < window->gap_count ? window->gaps[i].begin : window->count;
        if (until > at) {
            memcpy(to + at * map->result_size, window->results + at * map->result_size,
                   (until - at) * map->result_size);
        }
        if (i < window->gap_count) {
            at = KIN__MAX(at, window->gaps[i].end);
        }
    }
}

/* --- the call ------------------------------------------------------------------------------- */

static bool is_settled(const struct kin__window *window)
{
    return window->in_use && window->settled >= window->count;
}

static bool wants_caller(void *arg)
{
    const struct kin__map *map = arg;
    return is_settled(&map->windows[0]) || is_settled(&map->windows[1]);
}

/* Fills windows, waits, empties them, until all is settled. Called with the lock. */
static int run(struct kin__map *map, uint32_t items, int64_t deadline)
{
    kin_pool *pool = map->pool;
    int rc = 0;
    for (;;) {
        bool busy = false;
        for (unsigned i = 0; i < 2; i++) {
            struct kin__window *window = &map->windows[i];
            if (window->in_use && !is_settled(window)) {
                busy = true;
                continue;
            }
            bool more = map->loaded < map->count && !map->stop &&
                        (window->block != NULL || (i == 0 && copied(map) == 0));
            if (!window->in_use && !more) {
                continue;
            }
            pthread_mutex_unlock(&pool->lock);
            if (window->in_use) {
                unload(map, window);
            }
            if (more) {
                load(map, window, items);
            }
            pthread_mutex_lock(&pool->lock);
            window->in_use = more;
            if (more) {
                map->loaded += window->count;
                kin__map_offer(map, i, 0, window->count);
                kin__pool_dispatch(pool, kin__clock_now());
                busy = true;
            }
        }
        if (!busy) {
            return rc;
        }
        int waited = kin__pool_wait(pool, wants_caller, map, deadline);
        if (waited < 0 && rc == 0) {
            /* From here on only what runs is waited for, and where it can be it is killed. */
            rc = waited;
            deadline = KIN__NEVER;
            kin__map_stop(map, rc, true);
        }
    }
}

static int outcome(const struct kin__map *map, int waited)
{
    if (waited == -ETIMEDOUT && map->cancelled == 0 && map->timed_out == 0 &&
        map->loaded == map->count) {
        waited = 0; /* it was ready after all */
    }
    int rc = waited < 0 ? waited : map->error;
    if (rc == 0 && map->failed > 0 && map->on_error != KIN_ON_ERROR_RETURN) {
        rc = map->failed == map->lost ? KIN_EWORKERLOST : KIN_ETASK;
    }
    return rc;
}

static int start_map(struct kin__map *map, const struct kin_map_options *options)
{
    kin_pool *pool = map->pool;
    if (options->arg == NULL) {
        return 0;
    }
    int rc = kin__chain_add(pool, options->arg_size, &map->arg);
    if (rc == 0) {
        memcpy(map->arg->link->payload, options->arg, options->arg_size);
        map->arg_size = options->arg_size;
    }
    return rc;
}

static void end_map(struct kin__map *map)
{
    kin_pool *pool = map->pool;
    for (int i = 0; i < 2; i++) {
        drop_block(pool, map->windows[i].block);
        free(map->windows[i].gaps);
    }
    if (map->arg != NULL) {
        kin__chain_remove(pool, map->arg);
    }
    struct kin__death *death;
    while ((death = map->deaths) != NULL) {
        map->deaths = death->next;
        free(death);
    }
}

/* Whether an array of the caller's may be used where it is. */
static bool in_place(const kin_pool *pool, const void *array, uint64_t bytes)
{
    return bytes == 0 || pool->options.kind == KIN_WORKERS_THREADS || kin_is_shared(array, bytes);
}

int kin_pool_map(kin_pool *pool, kin_map_fn *fn, const void *items, size_t count,
                 size_t item_size, void *results, size_t result_size,
                 const struct kin_map_options *options)
{
    struct kin_map_options given = KIN_MAP_OPTIONS_INIT;
    int rc = kin__pool_check(pool);
    if (rc < 0 || (rc = kin__options_read(&given, sizeof given, options)) < 0) {
        return rc;
    }
    size_t larger = KIN__MAX(item_size, result_size);
    if (fn == NULL || (items == NULL && item_size != 0 && count != 0) ||
        (results == NULL && result_size != 0 && count != 0) ||
        (larger != 0 && count > SIZE_MAX / 4 / larger) || given.retries < KIN_RETRIES_DEFAULT ||
        given.on_error < KIN_ON_ERROR_FINISH || given.on_error > KIN_ON_ERROR_RETURN ||
        (given.arg == NULL && given.arg_size != 0)) {
        return -EINVAL;
    }
    struct kin__map map = {
        .pool = pool,
        .items = item_size == 0 ? NULL : items,
        .results = result_size == 0 ? NULL : results,
        .count = count,
        .item_size = item_size,
        .result_size = result_size,
        .copies_items = !in_place(pool, items, count * item_size),
        .copies_results = !in_place(pool, results, count * result_size),
        .chunk = given.chunk,
        .role = kin__pool_role(pool, given.role),
        .retries = given.retries == KIN_RETRIES_DEFAULT ? pool->options.retries : given.retries,
        .on_error = given.on_error,
        .codes = given.codes,
    };
    if (map.role == KIN_EROLE) {
        return KIN_EROLE;
    }
    rc = kin__pool_function(pool, (kin_function *)fn, &map.fn);
    if (rc < 0) {
        return rc;
    }
    int64_t deadline = kin__clock_deadline(given.timeout_ns);
    pthread_mutex_lock(&pool->lock);
    rc = kin__pool_accepts(pool);
    if (rc < 0 || count == 0) {
        pthread_mutex_unlock(&pool->lock);
        return rc;
    }
    uint32_t window = window_items(&map);
    if ((rc = start_map(&map, &given)) == 0 && (rc = make_windows(&map, &window)) == 0) {
        if (given.codes != NULL) {
            memset(given.codes, 0, count * sizeof *given.codes);
        }
        map.job = ++pool->last_id;
        struct kin__map **at = &pool->maps;
        while (*at != NULL) {
            at = &(*at)->next;
        }
        *at = &map;
        pool->outstanding++;
        int waited = run(&map, window, deadline);
        kin__map_forget(&map);
        for (at = &pool->maps; *at != &map; at = &(*at)->next) {
        }
        *at = map.next;
        pool->outstanding--;
        rc = outcome(&map, waited);
    }
    end_map(&map);
    kin__pool_dispatch(pool, kin__clock_now());
    kin__pool_hand_over(pool); /* a closed pool may be done now */
    pthread_mutex_unlock(&pool->lock);
    for (uint64_t i = map.loaded; given.codes != NULL && rc < 0 && i < count; i++) {
        given.codes[i] = KIN_ECANCELLED;
    }
    return rc;
}
