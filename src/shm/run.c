/*
 * Runs of units: the coarse half of the heap, and large blocks, which are runs of their own.
 * Layer: shm. Protocol: docs/design/arena.md.
 *
 * While the lock is free, every unit that is not the first of a run has kind INSIDE, and no two
 * free runs touch. The last unit of a free run of several units carries the run's length, a hint
 * that finds the run from its end.
 */
#include "shm/heap.h"

/* The run that begins at the unit; false if none does. */
static bool run_at(struct kin__heap_view *view, uint32_t unit, uint64_t *ret_entry)
{
    if (unit < view->first || unit >= view->end) {
        return false;
    }
    uint64_t entry = kin__a64_load_relaxed(&view->units[unit]);
    uint32_t length = kin__entry_length(entry);
    if (kin__entry_kind(entry) == KIN__UNIT_INSIDE || length == 0 || length > view->end - unit) {
        return false;
    }
    *ret_entry = entry;
    return true;
}

/* The free run that ends just before the unit, 0 if none does. */
static uint32_t free_before(struct kin__heap_view *view, uint32_t unit)
{
    if (unit <= view->first) {
        return 0;
    }
    uint64_t entry = kin__a64_load_relaxed(&view->units[unit - 1]);
    uint32_t length = kin__entry_length(entry);
    if (length == 0 || length > unit - view->first) {
        return 0;
    }
    /* A run of one unit is its own hint; a stale hint leads to a run that says otherwise. */
    if (!run_at(view, unit - length, &entry) || kin__entry_kind(entry) != KIN__UNIT_FREE ||
        kin__entry_length(entry) != length) {
        return 0;
    }
    return unit - length;
}

static void write_hint(struct kin__heap_view *view, uint32_t unit, uint32_t length)
{
    if (length > 1) {
        kin__a64_store(&view->units[unit + length - 1],
                       kin__entry(KIN__UNIT_INSIDE, 0, length));
    }
}

int kin__run_find(struct kin__heap_view *view, uint32_t count, uint32_t *ret_unit,
                  uint32_t *ret_length)
{
    uint64_t entry;
    uint32_t start = view->heap->search;
    if (!run_at(view, start, &entry)) {
        start = view->first;
    }
    uint32_t unit = start;
    bool wrapped = false;
    while (!wrapped || unit < start) {
        if (unit >= view->end) {
            if (wrapped) {
                break;
            }
            wrapped = true;
            unit = view->first;
            continue;
        }
        if (!run_at(view, unit, &entry)) {
            return KIN__HEAP_STALE;
        }
        uint32_t length = kin__entry_length(entry);
        if (kin__entry_kind(entry) == KIN__UNIT_FREE && length >= count) {
            *ret_unit = unit;
            *ret_length = length;
            return 0;
        }
        unit += length;
    }
    uint32_t last = free_before(view, view->end);
    view->need = last == 0 ? count : count - (view->end - last);
    return KIN__HEAP_ROOM;
}

void kin__run_take(struct kin__heap_view *view, uint32_t unit, uint32_t length, uint32_t count,
                   enum kin__unit_kind kind, unsigned class)
{
    if (length > count) {
        write_hint(view, unit + count, length - count);
        /* Before the head, so that the two runs appear at once; inside the old run until then. */
        kin__a64_store(&view->units[unit + count],
                       kin__entry(KIN__UNIT_FREE, 0, length - count));
    }
    kin__a64_store(&view->units[unit], kin__entry(kind, class, count));
    view->heap->search = length > count ? unit + count : unit;
}

void kin__run_free(struct kin__heap_view *view, uint32_t unit, uint32_t length)
{
    kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_FREE, 0, length));
    uint64_t entry;
    uint32_t next = unit + length;
    if (run_at(view, next, &entry) && kin__entry_kind(entry) == KIN__UNIT_FREE) {
        length += kin__entry_length(entry);
        kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_FREE, 0, length));
        kin__a64_store(&view->units[next], kin__entry(KIN__UNIT_INSIDE, 0, 0));
    }
    uint32_t before = free_before(view, unit);
    if (before != 0) {
        length += unit - before;
        kin__a64_store(&view->units[before], kin__entry(KIN__UNIT_FREE, 0, length));
        kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_INSIDE, 0, 0));
        unit = before;
    }
    write_hint(view, unit, length);
    view->heap->search = unit;
}

int kin__large_alloc(struct kin__heap_view *view, uint64_t size, kin__lease *lease,
                     uint64_t *ret_offset)
{
    uint64_t count = (size + KIN__UNIT - 1) / KIN__UNIT;
    uint32_t unit, length;
    int rc = kin__run_find(view, (uint32_t)count, &unit, &length);
    if (rc != 0) {
        return rc;
    }
    uint64_t offset = (uint64_t)unit * KIN__UNIT;
    uint64_t generation = kin__heap_generation(view->heap);
    if (lease != NULL) {
        kin__a64_store(lease, kin__lease_value(offset, generation));
    }
    /* Live only with the entry, which is the commit. */
    kin__a64_store(&view->words[unit], kin__word(generation, kin__self->slot, KIN__BLOCK_LIVE));
    kin__run_take(view, unit, length, (uint32_t)count, KIN__UNIT_LARGE, 0);
    view->heap->used += count * KIN__UNIT;
    view->heap->blocks++;
    *ret_offset = offset;
    return 0;
}

void kin__large_free(struct kin__heap_view *view, uint32_t unit)
{
    uint64_t entry = kin__a64_load_relaxed(&view->units[unit]);
    uint64_t word = kin__a64_load_relaxed(&view->words[unit]);
    uint32_t length = kin__entry_length(entry);
    kin__a64_store(&view->words[unit],
                   kin__word(kin__word_generation(word), 0, KIN__BLOCK_FREE));
    view->heap->used -= (uint64_t)length * KIN__UNIT;
    view->heap->blocks--;
    kin__run_free(view, unit, length);
}
