/*
 * Spreading a map's items over workers: given as ranges, taken back, settled. Layer: pool.
 * Protocol: docs/design/pool.md, "Maps".
 */
#include "pool/map.h"

#include <errno.h>
#include <stdlib.h>

#define WORTH_NS 60000   /* work that a busy worker must have left for an idle one to take some */
#define LOOK_NS 1000000  /* between looks where it is not, or where it has to give back first */

/* --- settling ------------------------------------------------------------------------------- */

static void settle(struct kin__map *map, unsigned window, uint32_t count)
{
    if (count == 0) {
        return; /* without unsettled items the window may be the caller's again, who has no lock */
    }
    struct kin__window *w = &map->windows[window];
    w->settled += count;
    if (w->settled >= w->count) {
        kin__pool_changed(map->pool); /* its caller's turn */
    }
}

static void add_gap(struct kin__map *map, unsigned window, uint32_t begin, uint32_t end)
{
    struct kin__window *w = &map->windows[window];
    if (!map->copies_results) {
        return;
    }
    if (w->gap_count == w->gap_room) {
        size_t room = w->gap_room == 0 ? 16 : w->gap_room * 2;
        struct kin__gap *gaps = realloc(w->gaps, room * sizeof *gaps);
        if (gaps == NULL) {
            /* One gap over everything: too little is delivered, and the call says why. */
            kin__map_stop(map, -ENOMEM, false);
            if (w->gap_room != 0) {
                w->gaps[0] = (struct kin__gap){0, w->count};
                w->gap_count = 1;
            }
            return;
        }
        w->gaps = gaps;
        w->gap_room = room;
    }
    w->gaps[w->gap_count++] = (struct kin__gap){begin, end};
}

/* Items that have come to nothing. */
static void settle_without(struct kin__map *map, unsigned window, uint32_t begin, uint32_t end,
                           int code)
{
    if (map->codes != NULL) {
        for (uint32_t i = begin; i < end; i++) {
            map->codes[map->windows[window].first + i] = code;
        }
    }
    add_gap(map, window, begin, end);
    settle(map, window, end - begin);
}

void kin__map_offer(struct kin__map *map, unsigned window, uint32_t begin, uint32_t end)
{
    if (begin >= end) {
        return;
    }
    struct kin__span *span = map->stop ? NULL : malloc(sizeof *span);
    if (span == NULL) {
        if (!map->stop) {
            kin__map_stop(map, -ENOMEM, false);
        }
        map->cancelled += end - begin;
        settle_without(map, window, begin, end, KIN_ECANCELLED);
        return;
    }
    *span = (struct kin__span){map->spans, window, begin, end};
    map->spans = span;
    map->waiting += end - begin;
}

/* Lowers the end of the member's range to what it has claimed; the items taken are [*ret, end). */
static void take_unclaimed(struct kin__crew *crew, uint32_t keep, uint32_t *ret_begin,
                           uint32_t *ret_end)
{
    uint64_t word = kin__a64_load(&crew->block->range);
    for (;;) {
        uint32_t next = kin__range_next(word);
        *ret_end = crew->end;
        if (next < crew->begin || next > crew->end || kin__range_end(word) != crew->end) {
            *ret_begin = *ret_end; /* not what we wrote: its end will show */
            return;
        }
        *ret_begin = keep > crew->end - next ? crew->end : next + keep;
        if (*ret_begin == *ret_end) {
            return;
        }
        if (kin__a64_cas(&crew->block->range, &word, kin__range(next, *ret_begin))) {
            crew->end = *ret_begin;
            return;
        }
    }
}

void kin__map_stop(struct kin__map *map, int error, bool kill)
{
    kin_pool *pool = map->pool;
    if (map->error == 0) {
        map->error = error;
    }
    map->stop = true;
    struct kin__span *span;
    while ((span = map->spans) != NULL) {
        map->spans = span->next;
        map->waiting -= span->end - span->begin;
        map->cancelled += span->end - span->begin;
        settle_without(map, span->window, span->begin, span->end, KIN_ECANCELLED);
        free(span);
    }
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->map != map) {
            continue;
        }
        uint32_t begin, end;
        take_unclaimed(crew, 0, &begin, &end);
        kin__map_offer(map, crew->window, begin, end);
        kin__a32_or(&crew->block->control, KIN__CONTROL_CANCEL);
        if (kill) {
            kin__crew_kill(crew);
        }
    }
    kin__pool_changed(pool);
}

void kin__map_cancel_all(kin_pool *pool, int error)
{
    for (struct kin__map *map = pool->maps; map != NULL; map = map->next) {
        kin__map_stop(map, error, false);
    }
}

/* --- what workers tell ---------------------------------------------------------------------- */

static void count_failure(struct kin__map *map)
{
    map->failed++;
    map->pool->stats.failed++;
    if (map->on_error == KIN_ON_ERROR_RAISE && !map->stop) {
        kin__map_stop(map, 0, false);
    }
}

int kin__map_item_failed(kin_pool *pool, struct kin__crew *crew, uint64_t index, int code)
{
    (void)pool;
    struct kin__map *map = crew->map;
    if (map == NULL || index < crew->begin || index >= crew->end || code == 0) {
        return KIN_ECORRUPT;
    }
    if (crew->range_failed > 0 && index <= crew->last_failed) {
        return KIN_ECORRUPT;
    }
    crew->range_failed++;
    crew->last_failed = (uint32_t)index;
    if (map->codes != NULL) {
        map->codes[map->windows[crew->window].first + index] = code;
    }
    add_gap(map, crew->window, (uint32_t)index, (uint32_t)index + 1);
    count_failure(map);
    return 0;
}

/* The member has the range no more; items [begin, reached) are settled. */
static struct kin__map *leave(kin_pool *pool, struct kin__crew *crew, uint32_t reached)
{
    struct kin__map *map = crew->map;
    crew->map = NULL;
    map->active--;
    uint32_t ran = reached - crew->begin;
    pool->stats.completed += ran - KIN__MIN(ran, crew->range_failed);
    settle(map, crew->window, ran);
    return map;
}

int kin__map_range_ended(kin_pool *pool, struct kin__crew *crew, int code)
{
    uint32_t reached = kin__range_next(kin__a64_load(&crew->block->range));
    if (reached < crew->begin || reached > crew->end) {
        return KIN_ECORRUPT;
    }
    struct kin__map *map = leave(pool, crew, reached);
    crew->full = false;
    if (code < 0 && !map->stop) {
        kin__map_stop(map, code, false);
    }
    kin__map_offer(map, crew->window, reached, crew->end);
    return 0;
}

void kin__map_forget(struct kin__map *map)
{
    kin_pool *pool = map->pool;
    for (int i = 0; i < pool->size; i++) {
        if (pool->crew[i].map == map) {
            pool->crew[i].map = NULL;
            pool->crew[i].trailing = true;
        }
    }
}

/* Whether an item whose worker died once more may run again. */
static bool may_retry(struct kin__map *map, uint64_t index)
{
    if (map->retries == 0) {
        return false;
    }
    struct kin__death *death = map->deaths;
    while (death != NULL && death->index != index) {
        death = death->next;
    }
    if (death == NULL) {
        death = malloc(sizeof *death);
        if (death == NULL) {
            return false;
        }
        *death = (struct kin__death){map->deaths, index, 0};
        map->deaths = death;
    }
    return ++death->count <= map->retries;
}

void kin__map_range_lost(kin_pool *pool, struct kin__crew *crew)
{
    if (crew->map == NULL) {
        return;
    }
    uint64_t progress = kin__a64_load(&crew->block->progress);
    uint64_t at = progress >> 1;
    bool runs = progress & 1;
    if (at < crew->begin || at > crew->end || (runs && at == crew->end)) {
        at = crew->begin; /* nonsense: believe nothing of it, but get on */
        runs = crew->begin < crew->end;
    }
    uint32_t index = (uint32_t)at;
    if (runs && crew->range_failed > 0 && crew->last_failed == index) {
        index++; /* it had told that this one failed */
        runs = false;
    }
    unsigned window = crew->window;
    struct kin__map *map = leave(pool, crew, index);
    uint32_t rest = index;
    if (runs) {
        rest++;
        if (map->stop && map->error != 0) {
            int code = map->error == -ETIMEDOUT ? -ETIMEDOUT : KIN_ECANCELLED;
            map->timed_out++;
            settle_without(map, window, index, rest, code);
        } else if (may_retry(map, map->windows[window].first + index)) {
            pool->stats.retried++;
            kin__map_offer(map, window, index, rest);
        } else {
            settle_without(map, window, index, rest, KIN_EWORKERLOST);
            map->lost++;
            count_failure(map);
        }
    }
    kin__map_offer(map, window, rest, crew->end);
}

/* --- giving --------------------------------------------------------------------------------- */

static bool suits(const struct kin__map *map, const struct kin__crew *crew)
{
    return map->waiting > 0 && (map->role == KIN__ANY_ROLE || map->role == crew->role);
}

bool kin__map_has_items(const kin_pool *pool, const struct kin__crew *crew)
{
    for (const struct kin__map *map = pool->maps; map != NULL; map = map->next) {
        if (suits(map, crew)) {
            return true;
        }
    }
    return false;
}

/* The member's share of what waits, by capacity among the idle ones. */
static uint64_t share(const kin_pool *pool, const struct kin__map *map,
                      const struct kin__crew *crew)
{
    uint64_t capacity = 0;
    for (int i = 0; i < pool->size; i++) {
        const struct kin__crew *other = &pool->crew[i];
        if (kin__crew_is_idle(pool, other, map->role)) {
            capacity += (uint64_t)other->capacity;
        }
    }
    /* In parts, so that nothing overflows. */
    uint64_t whole = map->waiting / KIN__MAX(capacity, 1);
    uint64_t part = map->waiting % KIN__MAX(capacity, 1);
    uint64_t mine = (uint64_t)crew->capacity;
    return whole * mine + (part * mine + capacity - 1) / KIN__MAX(capacity, 1);
}

static bool give(kin_pool *pool, struct kin__map *map, struct kin__crew *crew, uint32_t begin,
                 uint32_t end, unsigned window, int64_t now)
{
    void *payload;
    if (kin__ring_reserve(&crew->tasks, sizeof(struct kin__range_message), &payload) < 0) {
        return false;
    }
    crew->map = map;
    crew->window = window;
    crew->begin = begin;
    crew->end = end;
    crew->range_failed = 0;
    crew->range_id = ++pool->last_id;
    crew->range_since = now;
    crew->given += end - begin;
    crew->dirty = true;
    map->active++;
    kin__a64_store(&crew->block->range, kin__range(begin, end));
    kin__a64_store(&crew->block->progress, (uint64_t)begin << 1);
    const struct kin__window *w = &map->windows[window];
    *(struct kin__range_message *)payload = (struct kin__range_message){
        .kind = KIN__TASK_RANGE,
        .id = crew->range_id,
        .job = map->job,
        .fn = map->fn,
        .items = (uint64_t)(uintptr_t)w->items,
        .results = (uint64_t)(uintptr_t)w->results,
        .item_size = map->item_size,
        .result_size = map->result_size,
        .arg = map->arg == NULL ? 0 : (uint64_t)(uintptr_t)map->arg->link->payload,
        .arg_size = map->arg_size,
        .chunk = map->chunk,
    };
    return true;
}

bool kin__map_assign(kin_pool *pool, struct kin__crew *crew, int64_t now)
{
    struct kin__map *map = pool->maps;
    /* In turns, where several maps have items. */
    for (unsigned skip = pool->turn++ & 7; map != NULL && skip > 0; skip--) {
        map = map->next;
    }
    struct kin__map *from = map == NULL ? pool->maps : map;
    map = from;
    while (!suits(map, crew)) {
        map = map->next == NULL ? pool->maps : map->next;
        if (map == from) {
            return false;
        }
    }
    struct kin__span *span = map->spans;
    uint64_t length = span->end - span->begin;
    uint64_t n = share(pool, map, crew), allowance = kin__crew_allowance(pool, crew);
    n = KIN__MIN(n, allowance);
    if (map->chunk != 0) {
        n = (KIN__MAX(n, 1) + map->chunk - 1) / map->chunk * map->chunk;
    }
    n = KIN__MAX(1, KIN__MIN(n, length));
    uint32_t begin = span->begin, end = span->begin + (uint32_t)n;
    if (!give(pool, map, crew, begin, end, span->window, now)) {
        return false;
    }
    map->waiting -= n;
    span->begin = end;
    if (span->begin == span->end) {
        map->spans = span->next;
        free(span);
    }
    return true;
}

/* --- taking back ---------------------------------------------------------------------------- */

struct left {
    uint32_t unclaimed, claimed; /* items of the range that have not begun */
    int64_t ns;                  /* how long they will take, as far as can be told */
};

static struct left look(const struct kin__crew *crew, int64_t now)
{
    struct left left = {0, 0, 0};
    uint64_t word = kin__a64_load(&crew->block->range);
    uint64_t progress = kin__a64_load(&crew->block->progress);
    uint64_t next = kin__range_next(word), begun = (progress >> 1) + (progress & 1);
    if (next < crew->begin || next > crew->end || begun < crew->begin || begun > crew->end) {
        return left;
    }
    left.unclaimed = crew->end - (uint32_t)next;
    left.claimed = begun < next ? (uint32_t)(next - begun) : 0;
    uint64_t done = (progress >> 1) - crew->begin;
    int64_t each = (now - crew->range_since) / (int64_t)KIN__MAX(done, 1);
    int64_t items = (int64_t)left.unclaimed + left.claimed;
    left.ns = each > INT64_MAX / 2 / KIN__MAX(items, 1) ? INT64_MAX / 2 : each * items;
    return left;
}

/* Half of what the member has not claimed, in whole chunks. */
static void take_half(struct kin__map *map, struct kin__crew *crew, uint32_t unclaimed)
{
    uint64_t keep = unclaimed / 2;
    if (map->chunk != 0) {
        uint64_t chunks = (unclaimed + map->chunk - 1) / map->chunk;
        keep = chunks / 2 * map->chunk;
    }
    uint32_t begin, end;
    take_unclaimed(crew, (uint32_t)KIN__MIN(keep, UINT32_MAX), &begin, &end);
    crew->given -= end - begin;
    kin__map_offer(map, crew->window, begin, end);
}

/* Finds items for one idle member. Returns when to look again if there are none yet. */
static int64_t find_for(kin_pool *pool, struct kin__crew *idle, int64_t now)
{
    struct kin__crew *victim = NULL;
    struct left most = {0, 0, 0};
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->map == NULL || crew->map->stop || crew->state == KIN__CREW_DOOMED ||
            (crew->map->role != KIN__ANY_ROLE && crew->map->role != idle->role)) {
            continue;
        }
        struct left left = look(crew, now);
        if (left.ns > most.ns && (left.unclaimed > 0 || crew->map->chunk == 0)) {
            victim = crew;
            most = left;
        }
    }
    if (victim == NULL) {
        return KIN__NEVER;
    }
    if (most.ns < WORTH_NS) {
        return now + LOOK_NS;
    }
    if (most.unclaimed == 0) {
        /* It rings when it has given back. */
        kin__a32_or(&victim->block->control, KIN__CONTROL_HURRY);
        return now + LOOK_NS;
    }
    struct kin__map *map = victim->map;
    take_half(map, victim, most.unclaimed);
    if (map->waiting > 0) {
        kin__map_assign(pool, idle, now);
    }
    return now + LOOK_NS;
}

int64_t kin__map_balance(kin_pool *pool, int64_t now)
{
    int64_t next = KIN__NEVER;
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (kin__crew_is_idle(pool, crew, KIN__ANY_ROLE) && !kin__map_has_items(pool, crew)) {
            if (now == 0) {
                now = kin__clock_now();
            }
            int64_t again = find_for(pool, crew, now);
            next = KIN__MIN(next, again);
        }
    }
    return next;
}

void kin__map_yield(kin_pool *pool, int role)
{
    struct kin__crew *chosen = NULL;
    for (int i = 0; i < pool->size; i++) {
        struct kin__crew *crew = &pool->crew[i];
        if (crew->map == NULL || !kin__crew_takes(pool, crew, role)) {
            continue;
        }
        struct left left = look(crew, crew->range_since);
        if (left.unclaimed == 0) {
            return; /* this one is about to be free */
        }
        if (chosen == NULL) {
            chosen = crew;
        }
    }
    if (chosen != NULL) {
        uint32_t begin, end;
        take_unclaimed(chosen, 0, &begin, &end);
        chosen->given -= end - begin;
        kin__map_offer(chosen->map, chosen->window, begin, end);
        if (chosen->map->chunk == 0) {
            kin__a32_or(&chosen->block->control, KIN__CONTROL_HURRY);
        }
    }
}
