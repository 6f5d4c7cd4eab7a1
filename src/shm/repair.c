/*
 * Rebuilding the heap's caches after a process died inside the heap lock. Layer: shm.
 * Protocol: docs/design/arena.md.
 *
 * Idempotent: a repairer killed on the way leaves the truth as it was or nearer to rest, and the
 * next one starts over.
 */
#include <string.h>

#include "shm/heap.h"

/* The units behind the first of a run are INSIDE: a split or a join may have left a head there. */
static void clear_inside(struct kin__heap_view *view, uint32_t unit, uint32_t length)
{
    for (uint32_t i = unit + 1; i < unit + length; i++) {
        if (kin__a64_load_relaxed(&view->units[i]) != 0) {
            kin__a64_store(&view->units[i], 0);
        }
    }
}

/* A run as it is at rest: a large block whose word is not live was on its way in or out. */
static int settle(struct kin__heap_view *view, uint32_t unit, uint64_t *entry)
{
    uint32_t length = kin__entry_length(*entry);
    if (length == 0 || length > view->end - unit) {
        return KIN_ECORRUPT;
    }
    uint64_t word = kin__a64_load_relaxed(&view->words[unit]);
    switch (kin__entry_kind(*entry)) {
    case KIN__UNIT_FREE:
        return 0;
    case KIN__UNIT_DATA:
    case KIN__UNIT_OBJECT:
        return kin__slab_rebuild(view, unit, *entry);
    case KIN__UNIT_LARGE:
        if (kin__word_live(word)) {
            view->heap->used += (uint64_t)length * KIN__UNIT;
            view->heap->blocks++;
            view->heap->generation =
                KIN__MAX(view->heap->generation, kin__word_generation(word));
        } else {
            *entry = kin__entry(KIN__UNIT_FREE, 0, length);
            kin__a64_store(&view->units[unit], *entry);
        }
        return 0;
    default:
        return KIN_ECORRUPT;
    }
}

/* Joins the run with the free runs behind it. */
static void join(struct kin__heap_view *view, uint32_t unit, uint32_t *length)
{
    for (;;) {
        uint32_t next = unit + *length;
        if (next >= view->end) {
            return;
        }
        uint64_t entry = kin__a64_load_relaxed(&view->units[next]);
        uint32_t more = kin__entry_length(entry);
        bool free = kin__entry_kind(entry) == KIN__UNIT_FREE ||
                    (kin__entry_kind(entry) == KIN__UNIT_LARGE &&
                     !kin__word_live(kin__a64_load_relaxed(&view->words[next])));
        if (!free || more == 0 || more > view->end - next) {
            return;
        }
        *length += more;
        kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_FREE, 0, *length));
    }
}

int kin__heap_repair(struct kin__heap_view *view)
{
    struct kin__heap *heap = view->heap;
    heap->stale = 1;
    heap->used = heap->blocks = 0;
    heap->search = view->first;
    memset(heap->data_slabs, 0, sizeof heap->data_slabs);
    memset(heap->object_slabs, 0, sizeof heap->object_slabs);
    for (uint32_t unit = view->first; unit < view->end;) {
        uint64_t entry = kin__a64_load_relaxed(&view->units[unit]);
        int rc = settle(view, unit, &entry);
        if (rc < 0) {
            return rc;
        }
        uint32_t length = kin__entry_length(entry);
        if (kin__entry_kind(entry) == KIN__UNIT_FREE) {
            join(view, unit, &length);
        }
        clear_inside(view, unit, length);
        if (kin__entry_kind(entry) == KIN__UNIT_FREE && length > 1) {
            kin__a64_store(&view->units[unit + length - 1],
                           kin__entry(KIN__UNIT_INSIDE, 0, length));
        }
        unit += length;
    }
    heap->stale = 0;
    return 0;
}
