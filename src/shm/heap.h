/*
 * The heap inside the arena: runs of units, slabs of small blocks. Layer: shm, private to the
 * arena's own files. Protocol: docs/design/arena.md.
 *
 * The truth is the unit entries and the block words: each changes by one release store, so that a
 * process killed at any instruction leaves them meaning something. All the rest is a cache of them,
 * rebuilt by kin__heap_repair when the lock's owner died or a cache is found wrong.
 */
#ifndef KIN_SHM_HEAP_H
#define KIN_SHM_HEAP_H

#include <kinfolk/base.h>

#include "shm/arena.h"

#define KIN__GRANULE 64

/* What an attempt under the heap lock may say besides 0 and -errno. */
enum {
    KIN__HEAP_ROOM = 1,  /* no free run is long enough: grow by view->need units, try again */
    KIN__HEAP_STALE = 2, /* a cache contradicts the truth: repair, try again */
};

/* Checked, private copy of what locates the heap; valid while the caller holds the heap lock (or,
 * from kin__heap_look, for reading entries and words only). */
struct kin__heap_view {
    struct kin__heap *heap;
    char *base;
    kin__a64 *units; /* entries */
    kin__a64 *words; /* words of large blocks */
    uint32_t first;  /* first data unit */
    uint32_t end;    /* the unit behind the last one committed */
    uint32_t need;   /* out: units missing, with KIN__HEAP_ROOM */
};

/* --- arena.c ------------------------------------------------------------------------------ */

/* KIN_ECORRUPT if the head is nonsense. Takes no lock. */
int kin__heap_look(struct kin__heap_view *view);

/* Locks the heap, repairs it if need be, and looks. */
int kin__heap_lock(struct kin__heap_view *view);
void kin__heap_unlock(struct kin__heap_view *view);

/* --- repair.c ----------------------------------------------------------------------------- */

/* Rebuilds every cache from the truth. Idempotent. KIN_ECORRUPT if the truth is broken. */
int kin__heap_repair(struct kin__heap_view *view);

/* --- grow.c ------------------------------------------------------------------------------- */

/* Appends at least `need` units. Call without the heap lock. KIN_EQUOTA. */
int kin__heap_grow(uint32_t need);

/* Under the lock: units [view->end, end), whose pages exist, become a free run. */
void kin__heap_append(struct kin__heap_view *view, uint32_t end);

/* --- entries and words -------------------------------------------------------------------- */

static inline uint64_t kin__entry(enum kin__unit_kind kind, unsigned class, uint32_t length)
{
    return (uint64_t)kind << 56 | (uint64_t)class << 48 | length;
}
static inline unsigned kin__entry_kind(uint64_t entry)
{
    return (unsigned)(entry >> 56);
}
static inline unsigned kin__entry_class(uint64_t entry)
{
    return (unsigned)(entry >> 48 & 0xff);
}
static inline uint32_t kin__entry_length(uint64_t entry)
{
    return (uint32_t)entry;
}

static inline uint64_t kin__word(uint64_t generation, uint32_t slot, enum kin__block_state state)
{
    return generation << 16 | (uint64_t)(slot & 0xfff) << 4 | state;
}
static inline bool kin__word_live(uint64_t word)
{
    return (word & 0xf) == KIN__BLOCK_LIVE;
}
static inline uint32_t kin__word_slot(uint64_t word)
{
    return (uint32_t)(word >> 4 & 0xfff);
}
static inline uint64_t kin__word_generation(uint64_t word)
{
    return word >> 16;
}

/* The next of the heap's generations: no two allocations share one. Heap lock held. */
static inline uint64_t kin__heap_generation(struct kin__heap *heap)
{
    uint64_t generation = (heap->generation + 1) & ((UINT64_C(1) << 48) - 1);
    heap->generation = generation += generation == 0;
    return generation;
}

/* --- run.c: runs of units; heap lock held -------------------------------------------------- */

/* A free run of at least `count` units: its first unit and length. KIN__HEAP_ROOM, .._STALE. */
int kin__run_find(struct kin__heap_view *view, uint32_t count, uint32_t *ret_unit,
                  uint32_t *ret_length);

/* Makes the first `count` units of a free run of `length` a run of that kind, by one store. */
void kin__run_take(struct kin__heap_view *view, uint32_t unit, uint32_t length, uint32_t count,
                   enum kin__unit_kind kind, unsigned class);

/* Makes a run free, by one store, and joins it with free neighbours. */
void kin__run_free(struct kin__heap_view *view, uint32_t unit, uint32_t length);

/* A large block. As kin__slab_alloc. */
int kin__large_alloc(struct kin__heap_view *view, uint64_t size, kin__lease *lease,
                     uint64_t *ret_offset);
void kin__large_free(struct kin__heap_view *view, uint32_t unit);

/* --- slab.c: blocks below half a unit ------------------------------------------------------ */

#define KIN__SLAB_WORDS 15 /* of the bitmap */

/* The beginning of a slab's unit. All fields under the heap lock but where said. */
struct kin__slab {
    uint32_t next, prev; /* cache: slabs of this kind and class with a free block, 0: none */
    uint32_t free;       /* cache: free blocks */
    uint32_t hint;       /* cache: where in the bitmap to look first */
    kin__a32 older;      /* object slabs: the next of all_objects; constant once published */
    uint32_t chained;    /* object slabs: 1 once the slab is in that chain */
    uint64_t bitmap[KIN__SLAB_WORDS]; /* cache: 1 for a free block */
    kin__a64 words[];    /* truth; read without the lock too */
};

struct kin__class {
    uint16_t granules;   /* size of a block in units of 64 bytes */
    uint16_t count;      /* blocks in a slab */
    uint16_t first;      /* granules before the first block */
    uint32_t reciprocal; /* 2^20 / granules, rounded up */
};
#define KIN__CLASS_COUNT 30
#define KIN__SMALL_MAX 32640 /* size of the largest class */
extern const struct kin__class kin__class[KIN__CLASS_COUNT];

/* The class for 1 .. KIN__SMALL_MAX bytes. */
static inline unsigned kin__class_of(uint64_t size)
{
    uint32_t granules = (uint32_t)((size + KIN__GRANULE - 1) / KIN__GRANULE);
    if (granules <= 4) {
        return granules - 1;
    }
    if (granules <= 64) {
        /* Four classes a doubling: k is the doubling, the two bits below its top one the class. */
        unsigned k = kin__log2(granules - 1);
        return 4 * (k - 1) + ((granules - 1) >> (k - 2) & 3);
    }
    unsigned class = 19;
    while (kin__class[class].granules < granules) {
        class++;
    }
    return class;
}

/* The slab header of a unit whose entry says so; NULL if it does not. */
struct kin__slab *kin__slab_at(struct kin__heap_view *view, uint32_t unit,
                               enum kin__unit_kind kind, unsigned class);

/* Takes a block; `lease` may be NULL. 0, KIN__HEAP_ROOM or KIN__HEAP_STALE. */
int kin__slab_alloc(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                    kin__lease *lease, uint64_t *ret_offset);

/* Frees a live block. */
void kin__slab_free(struct kin__heap_view *view, enum kin__unit_kind kind, unsigned class,
                    uint32_t unit, uint32_t index);

/* Rebuilds the caches of one slab and links it; counts its live blocks. */
int kin__slab_rebuild(struct kin__heap_view *view, uint32_t unit, uint64_t entry);

/* Gives every empty slab of data back; true if there was one. */
bool kin__slab_trim(struct kin__heap_view *view);

/* --- finding a block ------------------------------------------------------------------------ */

/* A block by its start: where its word is. */
struct kin__place {
    kin__a64 *word;
    uint64_t size; /* usable bytes */
    enum kin__unit_kind kind;
    unsigned class;
    uint32_t unit;
    uint32_t index; /* in its slab */
};

/* The block, live or not, that starts at the offset; false if none does. Works without the lock
 * for blocks that stay live meanwhile. */
bool kin__place_at(struct kin__heap_view *view, uint64_t offset, struct kin__place *ret_place);

#endif
