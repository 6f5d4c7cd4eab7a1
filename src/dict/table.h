/*
 * Open-addressing hash tables in shared memory: one block, never changed in size. Layer: dict.
 * Protocol: docs/design/dict.md.
 *
 * All of it is read and written under the lock of the stripe that the table belongs to.
 */
#ifndef KIN_DICT_TABLE_H
#define KIN_DICT_TABLE_H

#include "dict/item.h"

#define KIN__TABLE_MIN 8
#define KIN__TABLE_MAX (UINT64_C(1) << 36)

/* The item decides: 0 is a free slot, TOMB one whose item was removed (probing goes on behind it),
 * else the word of the item. The hash means something only beside an item, and is stored first. */
struct kin__table_slot {
    kin__a64 hash;
    kin__a64 item;
};
#define KIN__TOMB 1

struct kin__table {
    uint64_t capacity; /* slots, a power of two; constant */
    uint64_t reserved;
    struct kin__table_slot slot[];
};

struct kin__table_view {
    struct kin__table_slot *slot; /* NULL: no table, hence empty */
    uint64_t mask;
};

static inline uint64_t kin__table_bytes(uint64_t capacity)
{
    return sizeof(struct kin__table) + capacity * sizeof(struct kin__table_slot);
}

/* Slots that may be in use, tombs included, so that every probe meets a free one. */
static inline uint64_t kin__table_limit(uint64_t capacity)
{
    return capacity - capacity / 4;
}

static inline bool kin__slot_is_item(uint64_t item)
{
    return item > KIN__TOMB;
}

/* The table that a word names; 0: none. KIN_ECORRUPT. */
int kin__table_view(uint64_t word, struct kin__table_view *ret_view);

/*
 * 1 with the slot of the key and a view of its item, or 0 with the slot to link it in (only where
 * there is a table with a free slot), or KIN_ECORRUPT.
 */
int kin__table_find(const struct kin__table_view *view, uint64_t hash, const void *key,
                    size_t key_size, struct kin__table_slot **ret_slot,
                    struct kin__item_view *ret_item);

/* The slot that holds exactly this word, or NULL. */
struct kin__table_slot *kin__table_find_word(const struct kin__table_view *view, uint64_t hash,
                                             uint64_t word);

/* The slot of an item with this hash, or NULL. */
struct kin__table_slot *kin__table_find_hash(const struct kin__table_view *view, uint64_t hash);

/* Copies every item of `from` into the empty table `to`. KIN_ECORRUPT if they do not fit. */
int kin__table_copy(const struct kin__table_view *from, struct kin__table_view *to);

/* Items and slots in use. */
void kin__table_count(const struct kin__table_view *view, uint64_t *ret_items, uint64_t *ret_used);

/* Frees the items in slots [first, end): idempotent. Leaves the slots as they are. */
void kin__table_free_items(const struct kin__table_view *view, uint64_t first, uint64_t end);

/* A keyed hash (SipHash-1-3) of user memory or private copies. */
uint64_t kin__hash(const uint64_t key[2], const void *data, size_t size);

#endif
