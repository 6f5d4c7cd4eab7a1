/*
 * A stripe: a part of a dictionary with its own lock and table. Layer: dict.
 * Protocol: docs/design/dict.md.
 *
 * A stripe is a shared object of its own, since object memory is where a robust mutex may live;
 * every handle on a dictionary holds all of its stripes.
 */
#ifndef KIN_DICT_STRIPE_H
#define KIN_DICT_STRIPE_H

#include "dict/table.h"

/*
 * Everything is written under object.mutex. Invariants, at every instruction: (I1) a word in the
 * table or the garbage names an item that is live, or that whoever frees the garbage has freed;
 * (I2) every live item made for the stripe is named by exactly one of table, garbage, or a lease
 * of a process that is at work or waits to be swept; (I3) no two items of the table have equal
 * keys; (I4) garbage == table means that a clear has not come to its commit.
 */
struct kin__stripe {
    struct kin__object object;
    kin__a64 table;      /* word of the table's block; changed by one store */
    kin__a64 garbage;    /* word of a table that a clear cut off and whose items are being freed */
    kin__a64 garbage_at; /* its slots below this are done; stored after their items are freed */
    kin__a64 items;      /* cache; read without the lock by kin_dict_size */
    kin__a64 used;       /* cache: slots in use, tombs included */
};

/* 0 with the stripe locked and consistent, or negative. */
int kin__stripe_lock(struct kin__stripe *stripe);
void kin__stripe_unlock(struct kin__stripe *stripe);

/*
 * Locked: whether one more item can be linked, and there is room for `expected` in all. 0; 1 if the
 * table is too small: unlock, kin__stripe_grow, lock, look again from the start; KIN_ECORRUPT.
 */
int kin__stripe_room(struct kin__stripe *stripe, uint64_t expected);

/* Not locked, no leases held: a larger table (or one without tombs) if it is still needed. */
int kin__stripe_grow(struct kin__stripe *stripe, uint64_t expected);

/* Locked: links the item on the lease into a free slot that kin__table_find gave. */
void kin__stripe_link(struct kin__stripe *stripe, struct kin__table_slot *slot, uint64_t hash,
                      kin__lease *item);

/* Locked: puts the item on the lease in place of the slot's, which is on `old` from then on. */
void kin__stripe_replace(struct kin__table_slot *slot, kin__lease *item, kin__lease *old);

/* Locked: removes the slot's item, which is on `old` from then on. */
void kin__stripe_unlink(struct kin__stripe *stripe, const struct kin__table_view *view,
                        struct kin__table_slot *slot, kin__lease *old);

/* Not locked: removes all items. Rests in between, so that others get their turn. */
int kin__stripe_clear(struct kin__stripe *stripe);

#endif
