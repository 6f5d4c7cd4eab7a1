/* The arena's contract (arena.h) over runs and slabs. Layer: shm. Protocol: docs/design/arena.md. */
#include "shm/arena.h"

#include <errno.h>

#include "shm/heap.h"

#define RETRIES 3 /* repairs in one call before the heap counts as corrupt */

int kin__heap_look(struct kin__heap_view *view)
{
    struct kin__head *head = kin__family.head;
    uint64_t committed = kin__a64_load(&head->committed);
    uint64_t data = head->data_offset, units = head->units_offset, words = head->words_offset;
    uint64_t table = committed / KIN__UNIT * sizeof(kin__a64);
    if (KIN__UNLIKELY(committed > kin__family.size || data > committed || data % KIN__UNIT != 0 ||
                      table > data || units > data - table || words > data - table ||
                      (units | words) % sizeof(kin__a64) != 0)) {
        return KIN_ECORRUPT;
    }
    view->heap = &head->heap;
    view->base = kin__family.base;
    view->units = (kin__a64 *)(kin__family.base + units);
    view->words = (kin__a64 *)(kin__family.base + words);
    view->first = (uint32_t)(data / KIN__UNIT);
    view->end = (uint32_t)(committed / KIN__UNIT);
    view->need = 0;
    return 0;
}

int kin__heap_lock(struct kin__heap_view *view)
{
    struct kin__heap *heap = &kin__family.head->heap;
    int rc = kin__mutex_lock(&heap->lock);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    if (KIN__UNLIKELY(rc > 0)) {
        heap->stale = 1;
    }
    rc = kin__heap_look(view);
    if (KIN__LIKELY(rc == 0) && KIN__UNLIKELY(heap->stale != 0)) {
        rc = kin__heap_repair(view);
    }
    if (KIN__UNLIKELY(rc < 0)) {
        kin__mutex_unlock(&heap->lock);
    }
    return rc;
}

void kin__heap_unlock(struct kin__heap_view *view)
{
    kin__mutex_unlock(&view->heap->lock);
}

int kin__arena_init(void)
{
    struct kin__head *head = kin__family.head;
    kin__mutex_init(&head->heap.lock);
    /* The founder may have committed some data already: that becomes the first run. */
    uint64_t committed = kin__a64_load(&head->committed) & ~(uint64_t)(KIN__UNIT - 1);
    kin__a64_store(&head->committed, head->data_offset);
    if (committed <= head->data_offset) {
        return kin__heap_grow(1);
    }
    struct kin__heap_view view;
    int rc = kin__heap_lock(&view);
    if (rc < 0) {
        return rc;
    }
    kin__heap_append(&view, (uint32_t)(committed / KIN__UNIT));
    kin__heap_unlock(&view);
    return 0;
}

bool kin__place_at(struct kin__heap_view *view, uint64_t offset, struct kin__place *ret_place)
{
    uint64_t unit = offset / KIN__UNIT;
    if (unit < view->first || unit >= view->end || offset % KIN__GRANULE != 0) {
        return false;
    }
    uint64_t entry = kin__a64_load(&view->units[unit]);
    struct kin__place place = {
        .kind = (enum kin__unit_kind)kin__entry_kind(entry),
        .class = kin__entry_class(entry),
        .unit = (uint32_t)unit,
    };
    if (place.kind == KIN__UNIT_LARGE) {
        uint64_t length = kin__entry_length(entry);
        if (offset % KIN__UNIT != 0 || length == 0 || length > view->end - unit) {
            return false;
        }
        place.word = &view->words[unit];
        place.size = length * KIN__UNIT;
    } else if ((place.kind == KIN__UNIT_DATA || place.kind == KIN__UNIT_OBJECT) &&
               place.class < KIN__CLASS_COUNT) {
        const struct kin__class *c = &kin__class[place.class];
        uint32_t granule = (uint32_t)(offset % KIN__UNIT / KIN__GRANULE);
        if (granule < c->first) {
            return false;
        }
        granule -= c->first;
        place.index = (uint32_t)((uint64_t)granule * c->reciprocal >> 20);
        if (place.index >= c->count || place.index * c->granules != granule) {
            return false;
        }
        place.word = &((struct kin__slab *)(view->base + unit * KIN__UNIT))->words[place.index];
        place.size = (uint64_t)c->granules * KIN__GRANULE;
    } else {
        return false;
    }
    *ret_place = place;
    return true;
}

/* --- allocation ---------------------------------------------------------------------------- */

struct request {
    enum kin__unit_kind kind;
    uint64_t size;
    kin__lease *lease;
};

static int attempt(struct kin__heap_view *view, const struct request *request,
                   uint64_t *ret_offset)
{
    int rc = request->size <= KIN__SMALL_MAX
                 ? kin__slab_alloc(view, request->kind, kin__class_of(request->size),
                                   request->lease, ret_offset)
                 : kin__large_alloc(view, request->size, request->lease, ret_offset);
    if (KIN__UNLIKELY(rc == KIN__HEAP_STALE)) {
        view->heap->stale = 1;
    }
    return rc;
}

/* Empty slabs that were kept for speed become room. */
static int trim(void)
{
    struct kin__heap_view view;
    int rc = kin__heap_lock(&view);
    if (rc < 0) {
        return rc;
    }
    kin__slab_trim(&view);
    kin__heap_unlock(&view);
    return 0;
}

static int allocate(const struct request *request, uint64_t *ret_offset)
{
    unsigned repairs = 0, pressed = 0;
    for (;;) {
        struct kin__heap_view view;
        int rc = kin__heap_lock(&view);
        if (KIN__UNLIKELY(rc < 0)) {
            return rc;
        }
        rc = attempt(&view, request, ret_offset);
        kin__heap_unlock(&view);
        if (KIN__LIKELY(rc == 0)) {
            return 0;
        }
        if (rc == KIN__HEAP_STALE) {
            if (++repairs > RETRIES) {
                return KIN_ECORRUPT;
            }
            continue;
        }
        rc = kin__heap_grow(view.need);
        if (rc == 0) {
            continue;
        }
        if (rc != KIN_EQUOTA || pressed == 2) {
            return rc;
        }
        if (pressed++ == 1) {
            kin__sweep(true);
        }
        rc = trim();
        if (rc < 0) {
            return rc;
        }
    }
}

int kin__block_alloc(uint64_t size, kin__lease *lease, uint64_t *ret_offset)
{
    if (size == 0) {
        return -EINVAL;
    }
    if (size > kin__family.size) {
        return KIN_EQUOTA;
    }
    struct request request = {KIN__UNIT_DATA, size, lease};
    return allocate(&request, ret_offset);
}

int kin__object_block_alloc(uint64_t size, uint64_t *ret_offset)
{
    if (size == 0 || size > KIN__SMALL_MAX) {
        return -EINVAL;
    }
    struct request request = {KIN__UNIT_OBJECT, size, NULL};
    return allocate(&request, ret_offset);
}

/* --- freeing ------------------------------------------------------------------------------- */

static void free_place(struct kin__heap_view *view, const struct kin__place *place)
{
    if (place->kind == KIN__UNIT_LARGE) {
        kin__large_free(view, place->unit);
    } else {
        kin__slab_free(view, place->kind, place->class, place->unit, place->index);
    }
}

int kin__block_free(uint64_t offset)
{
    struct kin__heap_view view;
    struct kin__place place;
    int rc = kin__heap_lock(&view);
    if (rc < 0) {
        return rc;
    }
    if (kin__place_at(&view, offset, &place) && place.kind != KIN__UNIT_OBJECT &&
        kin__word_live(kin__a64_load_relaxed(place.word))) {
        free_place(&view, &place);
    } else {
        rc = -EINVAL;
    }
    kin__heap_unlock(&view);
    return rc;
}

void kin__block_free_leased(uint64_t lease_value)
{
    struct kin__heap_view view;
    struct kin__place place;
    if (lease_value == 0 || kin__heap_lock(&view) < 0) {
        return;
    }
    if (kin__place_at(&view, kin__lease_offset(lease_value), &place) &&
        place.kind != KIN__UNIT_OBJECT) {
        uint64_t word = kin__a64_load_relaxed(place.word);
        if (kin__word_live(word) &&
            (kin__word_generation(word) & 0xffffff) == kin__lease_generation(lease_value)) {
            free_place(&view, &place);
        }
    }
    kin__heap_unlock(&view);
}

void kin__object_block_free(uint64_t offset)
{
    struct kin__heap_view view;
    struct kin__place place;
    if (kin__heap_lock(&view) < 0) {
        return;
    }
    if (kin__place_at(&view, offset, &place) && place.kind == KIN__UNIT_OBJECT &&
        kin__word_live(kin__a64_load_relaxed(place.word))) {
        free_place(&view, &place);
    }
    kin__heap_unlock(&view);
}

/* --- looking ------------------------------------------------------------------------------- */

/* The word of a live data block; 0 if none starts there. */
static uint64_t live_word(uint64_t offset, uint64_t *ret_size)
{
    struct kin__heap_view view;
    struct kin__place place;
    if (kin__heap_look(&view) < 0 || !kin__place_at(&view, offset, &place) ||
        place.kind == KIN__UNIT_OBJECT) {
        return 0;
    }
    uint64_t word = kin__a64_load(place.word);
    if (!kin__word_live(word)) {
        return 0;
    }
    *ret_size = place.size;
    return word;
}

uint64_t kin__block_size(uint64_t offset)
{
    uint64_t size;
    return live_word(offset, &size) == 0 ? 0 : size;
}

uint64_t kin__block_generation(uint64_t offset)
{
    uint64_t size;
    return kin__word_generation(live_word(offset, &size));
}

int kin__lease_hold(kin__lease *lease, uint64_t offset)
{
    uint64_t generation = kin__block_generation(offset);
    if (generation == 0) {
        return -EINVAL;
    }
    kin__a64_store(lease, kin__lease_value(offset, generation));
    return 0;
}

bool kin__lease_is_live(uint64_t lease_value)
{
    uint64_t generation = kin__block_generation(kin__lease_offset(lease_value));
    return generation != 0 && (generation & 0xffffff) == kin__lease_generation(lease_value);
}

static bool object_place(uint64_t offset, struct kin__place *ret_place)
{
    struct kin__heap_view view;
    return kin__heap_look(&view) == 0 && kin__place_at(&view, offset, ret_place) &&
           ret_place->kind == KIN__UNIT_OBJECT;
}

bool kin__object_block_exists(uint64_t offset)
{
    struct kin__place place;
    return object_place(offset, &place);
}

void kin__object_block_own(uint64_t offset, uint32_t slot)
{
    struct kin__place place;
    if (!object_place(offset, &place)) {
        return;
    }
    uint64_t word = kin__a64_load(place.word), owned;
    do {
        owned = kin__word(kin__word_generation(word), slot, KIN__BLOCK_LIVE);
    } while (kin__word_live(word) && !kin__a64_cas(place.word, &word, owned));
}

/* The start of the block that the offset may lie in; heap lock held. */
static uint64_t start_of(struct kin__heap_view *view, uint64_t offset)
{
    uint32_t unit = (uint32_t)(offset / KIN__UNIT);
    uint64_t entry = kin__a64_load_relaxed(&view->units[unit]);
    while (unit > view->first && kin__entry_kind(entry) == KIN__UNIT_INSIDE) {
        entry = kin__a64_load_relaxed(&view->units[--unit]);
    }
    uint64_t start = (uint64_t)unit * KIN__UNIT;
    if (kin__entry_kind(entry) == KIN__UNIT_DATA && kin__entry_class(entry) < KIN__CLASS_COUNT) {
        const struct kin__class *c = &kin__class[kin__entry_class(entry)];
        uint64_t first = start + (uint64_t)c->first * KIN__GRANULE;
        uint64_t size = (uint64_t)c->granules * KIN__GRANULE;
        start = offset < first ? start : first + (offset - first) / size * size;
    }
    return start;
}

bool kin__block_find(uint64_t offset, uint64_t *ret_start, uint64_t *ret_size)
{
    struct kin__heap_view view;
    struct kin__place place;
    if (kin__heap_lock(&view) < 0) {
        return false;
    }
    bool found = false;
    if (offset / KIN__UNIT >= view.first && offset / KIN__UNIT < view.end) {
        uint64_t start = start_of(&view, offset);
        found = kin__place_at(&view, start, &place) && place.kind != KIN__UNIT_OBJECT &&
                kin__word_live(kin__a64_load_relaxed(place.word)) &&
                offset - start < place.size;
        if (found) {
            *ret_start = start;
            *ret_size = place.size;
        }
    }
    kin__heap_unlock(&view);
    return found;
}

void kin__object_block_each(void (*visit)(uint64_t offset, uint32_t slot, void *arg), void *arg)
{
    struct kin__heap_view view;
    if (kin__heap_look(&view) < 0) {
        return;
    }
    /* Acquire; pairs with the release in chain_slab (P2). */
    uint32_t unit = kin__a32_load(&view.heap->all_objects);
    for (uint32_t left = view.end; unit >= view.first && unit < view.end && left > 0; left--) {
        unsigned class = kin__entry_class(kin__a64_load(&view.units[unit]));
        if (class >= KIN__CLASS_COUNT) {
            return;
        }
        struct kin__slab *slab = kin__slab_at(&view, unit, KIN__UNIT_OBJECT, class);
        if (slab == NULL) {
            return;
        }
        const struct kin__class *c = &kin__class[class];
        for (uint32_t i = 0; i < c->count; i++) {
            uint64_t word = kin__a64_load(&slab->words[i]);
            if (kin__word_live(word)) {
                visit((uint64_t)unit * KIN__UNIT +
                          (c->first + (uint64_t)i * c->granules) * KIN__GRANULE,
                      kin__word_slot(word), arg);
            }
        }
        unit = kin__a32_load(&slab->older);
    }
}

int kin__heap_usage(uint64_t *ret_used, uint64_t *ret_blocks)
{
    struct kin__heap_view view;
    int rc = kin__heap_lock(&view);
    if (rc < 0) {
        return rc;
    }
    *ret_used = view.heap->used;
    *ret_blocks = view.heap->blocks;
    kin__heap_unlock(&view);
    return 0;
}
