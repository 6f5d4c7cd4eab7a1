/*
 * One byte string in shared memory, with its key where it is a dictionary's: a block that never
 * changes once it is linked (but for a counter's eight bytes). Layer: dict.
 * Protocol: docs/design/dict.md.
 *
 * A link to a block is a *word*: {offset / 64 : 40, generation : 24}, the same value that a lease
 * on the block holds. It names one life of the block, so freeing through a word is idempotent
 * (kin__block_free_leased): whoever finds a half-done freeing simply does it again.
 */
#ifndef KIN_DICT_ITEM_H
#define KIN_DICT_ITEM_H

#include <kinfolk/base.h>

#include "shm/object.h"

/* Written by the block's maker before it is linked, constant after that. */
struct kin__item {
    uint64_t owner;      /* offset of the stripe or list that it was made for: a hint for sweeps */
    uint64_t hash;       /* of the key */
    uint64_t order;      /* number of the key's arrival */
    uint64_t value_size;
    uint64_t key_size;
    uint64_t reserved;
    /* The value, then the key, follow; the value is aligned to 16. */
};

/* A checked view of an item: private copies of its sizes. */
struct kin__item_view {
    const struct kin__item *item;
    char *value;
    const char *key;
    uint64_t value_size;
    uint64_t key_size;
};

/* KIN_ECORRUPT if the word leads out of the arena. The caller keeps the block from being freed. */
int kin__item_view(uint64_t word, struct kin__item_view *ret_view);

/*
 * A new item on a lease: *lease is the word to link it by. `value` and `key` are user memory, read
 * here, outside of every lock.
 */
int kin__item_make(const void *value, size_t value_size, const void *key, size_t key_size,
                   kin__lease *lease, struct kin__item **ret_item);

/* A block of zeros on a lease. */
int kin__block_make(uint64_t size, kin__lease *lease, void **ret_block);

/*
 * The end of an operation, outside of every lock: frees what the lease still holds, which is no
 * longer linked, or never was, and gives the lease back.
 */
void kin__lease_finish(kin__lease *lease);

/* Whether the lease of a dead process may name a block made for this stripe or list. */
bool kin__item_made_for(uint64_t word, uint64_t owner, uint64_t *ret_hash);

/* --- private copies: user memory is never touched under a lock ------------------------------ */

/* A buffer that starts on the stack; see kin__scratch_fini. */
struct kin__scratch {
    char *data;
    size_t room;
    size_t size; /* bytes in use */
    char small[256] __attribute__((aligned(16)));
};

static inline void kin__scratch_init(struct kin__scratch *scratch)
{
    scratch->data = scratch->small;
    scratch->room = sizeof scratch->small;
    scratch->size = 0;
}

/* Makes room; contents are lost. -ENOMEM. */
int kin__scratch_grow(struct kin__scratch *scratch, size_t room);

/* A copy of user memory. -ENOMEM. */
int kin__scratch_copy(struct kin__scratch *scratch, const void *data, size_t size);

void kin__scratch_fini(struct kin__scratch *scratch);

#endif
