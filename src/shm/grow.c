/* Growth of the arena: pages first, outside every lock, then one store. Layer: shm.
 * Protocol: docs/design/arena.md. */
#include <errno.h>

#include "base/fault.h"
#include "os/os.h"
#include "shm/heap.h"

#define STEP_MIN (UINT64_C(4) * KIN__UNIT)
#define STEP_MAX (UINT64_C(1024) * KIN__UNIT)
/* A signal makes the kernel undo a fallocate and start over: pieces that outpace any timer. */
#define PIECE (UINT64_C(16) * KIN__UNIT)

static int allocate(uint64_t offset, uint64_t length)
{
    return kin__file_grow(kin__family.fd, offset, length);
}

/* Pages for the entries and words of the units in [from, to): nothing in the heap lock faults for
 * want of memory. */
static int allocate_tables(uint64_t from, uint64_t to)
{
    const struct kin__head *head = kin__family.head;
    uint64_t first = from / KIN__UNIT * sizeof(kin__a64);
    uint64_t length = (to - from) / KIN__UNIT * sizeof(kin__a64);
    int rc = allocate(head->units_offset + first, length);
    return rc < 0 ? rc : allocate(head->words_offset + first, length);
}

/* Allocates [from, to) piece by piece and returns the end of what was got. The caller has found
 * memory for the first step available; that for each further one is looked for before it. */
static uint64_t allocate_range(uint64_t from, uint64_t to)
{
    uint64_t at = from, checked = KIN__MIN(from + STEP_MAX, to);
    while (at < to) {
        if (at >= checked) {
            checked = KIN__MIN(at + STEP_MAX, to);
            if (kin__memory_available() < checked - at) {
                break;
            }
        }
        uint64_t length = KIN__MIN(PIECE, checked - at);
        if (allocate_tables(at, at + length) < 0 || allocate(at, length) < 0) {
            break;
        }
        at += length;
    }
    return at;
}

void kin__heap_append(struct kin__heap_view *view, uint32_t end)
{
    uint32_t unit = view->end;
    if (KIN__FAULT(COMMIT_BEFORE_WRITE)) {
        kin__a64_store(&kin__family.head->committed, (uint64_t)end * KIN__UNIT);
    }
    kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_FREE, 0, end - unit));
    /* The commit: from here on the run is part of the data area, and kin__at lets it through. */
    kin__a64_store(&kin__family.head->committed, (uint64_t)end * KIN__UNIT);
    view->end = end;
    kin__run_free(view, unit, end - unit);
}

int kin__heap_grow(uint32_t need_units)
{
    const struct kin__head *head = kin__family.head;
    uint64_t need = (uint64_t)need_units * KIN__UNIT;
    uint64_t size = KIN__MIN(head->size, kin__family.size) & ~(uint64_t)(KIN__UNIT - 1);
    uint64_t from = kin__a64_load(&head->committed);
    if (from > size || need > size - from) {
        return KIN_EQUOTA;
    }
    /* Doubles the data area, within bounds. */
    uint64_t data = from - KIN__MIN(from, head->data_offset);
    uint64_t step = KIN__MIN(KIN__MAX(data, STEP_MIN), STEP_MAX);
    step = KIN__MIN(KIN__MAX(step & ~(uint64_t)(KIN__UNIT - 1), need), size - from);
    uint64_t available = kin__memory_available();
    if (available < step) {
        step = need;
    }
    if (available < need) {
        return KIN_EQUOTA;
    }
    uint64_t to = allocate_range(from, from + step);
    if (to == from) {
        return KIN_EQUOTA;
    }
    struct kin__heap_view view;
    int rc = kin__heap_lock(&view);
    if (rc < 0) {
        return rc;
    }
    /* Somebody else may have appended meanwhile: the rest of ours, if any, goes behind that. */
    if (to / KIN__UNIT > view.end) {
        kin__heap_append(&view, (uint32_t)(to / KIN__UNIT));
    }
    kin__heap_unlock(&view);
    return to - from < need ? KIN_EQUOTA : 0;
}
