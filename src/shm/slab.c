/*
 * Slabs: units cut into small blocks of one class, with the blocks' words and a bitmap of the free
 * ones at the unit's start. Layer: shm. Protocol: docs/design/arena.md.
 *
 * Nothing that the heap believes lies inside a block, so a user who writes to a freed block harms
 * only whoever owns it then.
 */
#include <string.h>

#include "shm/heap.h"
#include "shm/object.h"

#define HEADER offsetof(struct kin__slab, words)
#define COUNT(granules)                                                                            \
    ((KIN__UNIT - HEADER - (KIN__GRANULE - 1)) / ((granules) * KIN__GRANULE + sizeof(kin__a64)))
#define FIRST(count)                                                                               \
    ((HEADER + (count) * sizeof(kin__a64) + KIN__GRANULE - 1) / KIN__GRANULE)
#define CLASS(granules)                                                                            \
    {                                                                                              \
        granules, COUNT(granules), FIRST(COUNT(granules)),                                         \
            ((1u << 20) + (granules) - 1) / (granules)                                             \
    }

/* Four a doubling up to 4 KiB; above, the sizes that fill a unit with 13, 11, 9, 8, ... 2 blocks. */
const struct kin__class kin__class[KIN__CLASS_COUNT] = {
    CLASS(1),   CLASS(2),   CLASS(3),   CLASS(4),   CLASS(5),   CLASS(6),
    CLASS(7),   CLASS(8),   CLASS(10),  CLASS(12),  CLASS(14),  CLASS(16),
    CLASS(20),  CLASS(24),  CLASS(28),  CLASS(32),  CLASS(40),  CLASS(48),
    CLASS(56),  CLASS(67),  CLASS(78),  CLASS(92),  CLASS(113), CLASS(127),
    CLASS(145), CLASS(170), CLASS(204), CLASS(255), CLASS(340), CLASS(510),
};
_Static_assert(KIN__CLASS_COUNT <= KIN__CLASSES, "the heap has a list for each class");
_Static_assert(COUNT(1) <= KIN__SLAB_WORDS * 64, "the bitmap has a bit for each block");
_Static_assert(COUNT(170) == 6 && COUNT(255) == 4 && COUNT(510) == 2, "blocks fill the unit");
_Static_assert(KIN__SMALL_MAX == 510 * KIN__GRANULE, "the largest class");

static uint32_t *list_of(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class)
{
    return kind == KIN__UNIT_OBJECT ? &view->heap->object_slabs[class]
                                    : &view->heap->data_slabs[class];
}

static struct kin__slab *slab_of(struct kin__heap_view *view, uint32_t unit)
{
    return (struct kin__slab *)(view->base + (uint64_t)unit * KIN__UNIT);
}

static uint64_t block_offset(unsigned class, uint32_t unit, uint32_t index)
{
    const struct kin__class *c = &kin__class[class];
    return (uint64_t)unit * KIN__UNIT +
           (c->first + (uint64_t)index * c->granules) * KIN__GRANULE;
}

struct kin__slab *kin__slab_at(struct kin__heap_view *view, uint32_t unit,
                               enum kin__unit_kind kind, unsigned class)
{
    if (unit < view->first || unit >= view->end ||
        kin__a64_load(&view->units[unit]) != kin__entry(kind, class, 1)) {
        return NULL;
    }
    return slab_of(view, unit);
}

static void link_slab(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                      uint32_t unit)
{
    uint32_t *list = list_of(view, kind, class);
    struct kin__slab *slab = slab_of(view, unit);
    struct kin__slab *next = *list == 0 ? NULL : kin__slab_at(view, *list, kind, class);
    if (*list != 0 && next == NULL) {
        view->heap->stale = 1;
        return;
    }
    slab->prev = 0;
    slab->next = *list;
    if (next != NULL) {
        next->prev = unit;
    }
    *list = unit;
}

static void unlink_slab(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                        uint32_t unit)
{
    uint32_t *list = list_of(view, kind, class);
    struct kin__slab *slab = slab_of(view, unit);
    uint32_t next_unit = slab->next, prev_unit = slab->prev;
    struct kin__slab *next = next_unit == 0 ? NULL : kin__slab_at(view, next_unit, kind, class);
    struct kin__slab *prev = prev_unit == 0 ? NULL : kin__slab_at(view, prev_unit, kind, class);
    if ((next == NULL) != (next_unit == 0) || (prev == NULL) != (prev_unit == 0)) {
        view->heap->stale = 1;
        return;
    }
    if (next != NULL) {
        next->prev = prev_unit;
    }
    if (prev != NULL) {
        prev->next = next_unit;
    } else {
        *list = next_unit;
    }
    slab->next = slab->prev = 0;
}

/* Object slabs are never unlinked from this chain; readers walk it without the heap lock. */
static void chain_slab(struct kin__heap_view *view, uint32_t unit)
{
    struct kin__slab *slab = slab_of(view, unit);
    uint32_t newest = kin__a32_load_relaxed(&view->heap->all_objects);
    if (newest != unit) {
        kin__a32_store(&slab->older, newest);
        /* Release; pairs with the acquire in kin__object_block_each (P2). */
        kin__a32_store(&view->heap->all_objects, unit);
    }
    slab->chained = 1;
}

static void fill_bitmap(struct kin__slab *slab, uint32_t count)
{
    for (uint32_t i = 0; i < KIN__SLAB_WORDS; i++) {
        uint32_t bits = count <= i * 64 ? 0 : KIN__MIN(count - i * 64, 64u);
        slab->bitmap[i] = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    }
}

static int make_slab(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                     uint32_t *ret_unit)
{
    const struct kin__class *c = &kin__class[class];
    uint32_t unit, length;
    int rc = kin__run_find(view, 1, &unit, &length);
    if (rc != 0) {
        return rc;
    }
    struct kin__slab *slab = slab_of(view, unit);
    memset(slab, 0, (size_t)c->first * KIN__GRANULE);
    fill_bitmap(slab, c->count);
    slab->free = c->count;
    if (kind == KIN__UNIT_OBJECT) {
        for (uint32_t i = 0; i < c->count; i++) {
            /* The memory may have been somebody's data, but an object begins without holders. */
            char *block = view->base + block_offset(class, unit, i);
            memset(block, 0, KIN__MIN(sizeof(struct kin__object), c->granules * KIN__GRANULE));
            kin__mutex_init((pthread_mutex_t *)block);
        }
    }
    kin__run_take(view, unit, length, 1, kind, class);
    if (kind == KIN__UNIT_OBJECT) {
        chain_slab(view, unit);
    }
    link_slab(view, kind, class, unit);
    *ret_unit = unit;
    return 0;
}

/* The number of a free block, or the class's count if the bitmap has none. */
static uint32_t free_block(struct kin__slab *slab, uint32_t count)
{
    uint32_t word = slab->hint;
    if (KIN__UNLIKELY(word >= KIN__SLAB_WORDS || slab->bitmap[word] == 0)) {
        word = 0;
        while (word < KIN__SLAB_WORDS && slab->bitmap[word] == 0) {
            word++;
        }
        if (word == KIN__SLAB_WORDS) {
            return count;
        }
        slab->hint = word;
    }
    uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(slab->bitmap[word]);
    return KIN__MIN(index, count);
}

int kin__slab_alloc(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                    kin__lease *lease, uint64_t *ret_offset)
{
    const struct kin__class *c = &kin__class[class];
    struct kin__heap *heap = view->heap;
    uint32_t unit = *list_of(view, kind, class);
    if (unit == 0) {
        int rc = make_slab(view, kind, class, &unit);
        if (rc != 0) {
            return rc;
        }
    }
    struct kin__slab *slab = kin__slab_at(view, unit, kind, class);
    if (slab == NULL) {
        return KIN__HEAP_STALE;
    }
    uint32_t index = free_block(slab, c->count);
    if (index == c->count || slab->free == 0 ||
        kin__word_live(kin__a64_load_relaxed(&slab->words[index]))) {
        return KIN__HEAP_STALE;
    }
    uint64_t offset = block_offset(class, unit, index);
    uint64_t generation = kin__heap_generation(heap);
    if (lease != NULL) {
        /* First, so that there is no instruction at which the block is ours and on no lease. */
        kin__a64_store(lease, kin__lease_value(offset, generation));
    }
    kin__a64_store(&slab->words[index],
                   kin__word(generation, kin__self->slot, KIN__BLOCK_LIVE));
    slab->bitmap[index / 64] &= ~(UINT64_C(1) << index % 64);
    if (--slab->free == 0) {
        unlink_slab(view, kind, class, unit);
    }
    heap->used += (uint64_t)c->granules * KIN__GRANULE;
    heap->blocks++;
    *ret_offset = offset;
    return 0;
}

static void release_slab(struct kin__heap_view *view, unsigned class, uint32_t unit)
{
    unlink_slab(view, KIN__UNIT_DATA, class, unit);
    kin__run_free(view, unit, 1);
}

void kin__slab_free(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                    uint32_t unit, uint32_t index)
{
    const struct kin__class *c = &kin__class[class];
    struct kin__heap *heap = view->heap;
    struct kin__slab *slab = slab_of(view, unit);
    uint64_t word = kin__a64_load_relaxed(&slab->words[index]);
    kin__a64_store(&slab->words[index], kin__word(kin__word_generation(word), 0, KIN__BLOCK_FREE));
    heap->used -= (uint64_t)c->granules * KIN__GRANULE;
    heap->blocks--;
    slab->bitmap[index / 64] |= UINT64_C(1) << index % 64;
    slab->hint = index / 64;
    if (slab->free++ == 0) {
        link_slab(view, kind, class, unit);
    }
    if (slab->free > c->count) {
        heap->stale = 1;
    } else if (kind == KIN__UNIT_DATA && slab->free == c->count &&
               (slab->next != 0 || slab->prev != 0)) {
        /* Empty, and not the only one with room: the last stays, lest a pair of calls at the
         * edge makes and releases a slab each time. */
        release_slab(view, class, unit);
    }
}

int kin__slab_rebuild(struct kin__heap_view *view, uint32_t unit, uint64_t entry)
{
    enum kin__unit_kind kind = (enum kin__unit_kind)kin__entry_kind(entry);
    unsigned class = kin__entry_class(entry);
    if (class >= KIN__CLASS_COUNT || kin__entry_length(entry) != 1) {
        return KIN_ECORRUPT;
    }
    const struct kin__class *c = &kin__class[class];
    struct kin__heap *heap = view->heap;
    struct kin__slab *slab = slab_of(view, unit);
    fill_bitmap(slab, c->count);
    slab->free = c->count;
    slab->next = slab->prev = slab->hint = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t word = kin__a64_load_relaxed(&slab->words[i]);
        if (kin__word_live(word)) {
            slab->bitmap[i / 64] &= ~(UINT64_C(1) << i % 64);
            slab->free--;
            heap->used += (uint64_t)c->granules * KIN__GRANULE;
            heap->blocks++;
            heap->generation = KIN__MAX(heap->generation, kin__word_generation(word));
        }
    }
    if (kind == KIN__UNIT_OBJECT && slab->chained == 0) {
        chain_slab(view, unit);
    }
    if (slab->free > 0) {
        link_slab(view, kind, class, unit);
    }
    return 0;
}

bool kin__slab_trim(struct kin__heap_view *view)
{
    bool any = false;
    for (unsigned class = 0; class < KIN__CLASS_COUNT; class++) {
        uint32_t unit = view->heap->data_slabs[class];
        for (uint32_t left = view->end; unit != 0 && left > 0; left--) {
            struct kin__slab *slab = kin__slab_at(view, unit, KIN__UNIT_DATA, class);
            if (slab == NULL) {
                view->heap->stale = 1;
                return any;
            }
            uint32_t next = slab->next;
            if (slab->free == kin__class[class].count) {
                release_slab(view, class, unit);
                any = true;
            }
            unit = next;
        }
    }
    return any;
}
