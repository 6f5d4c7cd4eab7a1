/*
 * A map over items of one size, in the parent: what its caller (map.c) and the engine (spread.c)
 * share. Layer: pool. Protocol: docs/design/pool.md, "Maps".
 */
#ifndef KIN_POOL_MAP_H
#define KIN_POOL_MAP_H

#include "pool/engine.h"

/* Items [begin, end) of a window that no worker has. */
struct kin__span {
    struct kin__span *next;
    unsigned window;
    uint32_t begin, end;
};

/* Items of a window that have no result. */
struct kin__gap {
    uint32_t begin, end;
};

/*
 * A stretch of the items, in place or copied. Invariant: its items are settled, in a span, or in a
 * worker's range, each exactly once. Once all are settled (or before it is in use) the window is the
 * map's caller's, without the lock, though a worker may still have an empty range of it; until then it
 * is under the lock.
 */
struct kin__window {
    bool in_use;
    struct kin__pool_block *block; /* the copies; NULL: all in place */
    unsigned char *items, *results;
    uint64_t first; /* index of its first item */
    uint32_t count;
    uint32_t settled;
    struct kin__gap *gaps;
    size_t gap_count, gap_room;
};

struct kin__death {
    struct kin__death *next;
    uint64_t index;
    int count;
};

/* Under the pool's lock but for what never changes. */
struct kin__map {
    kin_pool *pool;
    struct kin__map *next;
    uint64_t job;
    uint64_t fn; /* as kin__pool_function gives it */
    const unsigned char *items;
    unsigned char *results;
    uint64_t count, item_size, result_size;
    bool copies_items, copies_results;
    uint64_t chunk;
    int role, retries, on_error;
    int *codes;
    struct kin__pool_block *arg;
    uint64_t arg_size;
    struct kin__window windows[2];
    uint64_t loaded;  /* items before this one have been in a window */
    struct kin__span *spans;
    uint64_t waiting; /* items in spans */
    int active;       /* ranges that workers have */
    struct kin__death *deaths;
    uint64_t failed, lost, timed_out, cancelled;
    bool stop; /* nothing is to begin any more */
    int error; /* why, if it is the call's failure and not an item's */
};

/* Gives items to be run; if the map is stopped or memory is short they are cancelled. */
void kin__map_offer(struct kin__map *map, unsigned window, uint32_t begin, uint32_t end);

/* Nothing is to begin any more; `kill`: what runs is killed, where workers are processes. */
void kin__map_stop(struct kin__map *map, int error, bool kill);

#endif
