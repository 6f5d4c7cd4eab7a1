/* Stripes: linking, growing, clearing, repair and sweep. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include "dict/stripe.h"

#include "base/fault.h"

#define BATCH 128 /* items freed with one turn of the lock */

/* Locked: the counts as the table has them. */
static int recount(struct kin__stripe *stripe)
{
    struct kin__table_view view;
    int rc = kin__table_view(kin__a64_load_relaxed(&stripe->table), &view);
    if (rc < 0) {
        return rc;
    }
    uint64_t items, used;
    kin__table_count(&view, &items, &used);
    kin__a64_store(&stripe->items, items);
    kin__a64_store(&stripe->used, used);
    return 0;
}

/* The caches, and a clear that did not come to its commit. Idempotent. */
static int repair(struct kin__stripe *stripe)
{
    if (kin__a64_load_relaxed(&stripe->garbage) == kin__a64_load_relaxed(&stripe->table)) {
        kin__a64_store(&stripe->garbage, 0);
    }
    return recount(stripe);
}

int kin__stripe_lock(struct kin__stripe *stripe)
{
    int rc = kin__mutex_lock(&stripe->object.mutex);
    if (KIN__UNLIKELY(rc > 0)) {
        rc = repair(stripe);
        if (rc < 0) {
            kin__mutex_unlock(&stripe->object.mutex);
        }
    }
    return rc;
}

void kin__stripe_unlock(struct kin__stripe *stripe)
{
    kin__mutex_unlock(&stripe->object.mutex);
}

/* --- growing ------------------------------------------------------------------------------- */

/* What a growing table needs. */
struct growth {
    kin__lease *fresh; /* holds the new table until it is linked */
    kin__lease *old;   /* holds the old one once it is not */
    struct kin__table *table;
};

static bool has_room(const struct kin__stripe *stripe, const struct kin__table_view *view,
                     uint64_t expected, uint64_t *ret_wanted)
{
    uint64_t items = kin__a64_load_relaxed(&stripe->items);
    *ret_wanted = KIN__MAX(items + 1, expected);
    return view->slot != NULL &&
           kin__a64_load_relaxed(&stripe->used) < kin__table_limit(view->mask + 1) &&
           *ret_wanted <= kin__table_limit(view->mask + 1);
}

int kin__stripe_room(struct kin__stripe *stripe, uint64_t expected)
{
    struct kin__table_view view;
    uint64_t wanted;
    int rc = kin__table_view(kin__a64_load_relaxed(&stripe->table), &view);
    return rc < 0 ? rc : !has_room(stripe, &view, expected, &wanted);
}

/* Locked: 0 when there is room (now, or before), 1 with the capacity of the table that is needed. */
static int install(struct kin__stripe *stripe, struct growth *growth, uint64_t expected,
                   uint64_t *ret_capacity)
{
    struct kin__table_view view, fresh;
    uint64_t wanted, capacity = KIN__TABLE_MIN;
    int rc = kin__table_view(kin__a64_load_relaxed(&stripe->table), &view);
    if (rc < 0 || has_room(stripe, &view, expected, &wanted)) {
        return rc;
    }
    /* A count that somebody has spoilt must not decide how much memory is taken. */
    rc = recount(stripe);
    if (rc < 0 || has_room(stripe, &view, expected, &wanted)) {
        return rc;
    }
    if (wanted > KIN__TABLE_MAX / 2) {
        return KIN_EQUOTA;
    }
    while (capacity < wanted * 2) {
        capacity *= 2;
    }
    if (growth->table == NULL || growth->table->capacity < capacity) {
        *ret_capacity = capacity;
        return 1;
    }
    fresh.slot = growth->table->slot;
    fresh.mask = growth->table->capacity - 1;
    rc = kin__table_copy(&view, &fresh);
    if (rc < 0) {
        return rc;
    }
    kin__a64_store(growth->old, kin__a64_load_relaxed(&stripe->table));
    kin__a64_store(&stripe->table, kin__a64_load_relaxed(growth->fresh)); /* commit */
    kin__a64_store(growth->fresh, 0);
    kin__a64_store(&stripe->used, kin__a64_load_relaxed(&stripe->items));
    return 0;
}

static int prepare(struct growth *growth, uint64_t capacity)
{
    void *block;
    kin__block_free_leased(kin__a64_load_relaxed(growth->fresh)); /* one that was too small */
    kin__a64_store(growth->fresh, 0);
    growth->table = NULL;
    int rc = kin__block_make(kin__table_bytes(capacity), growth->fresh, &block);
    if (rc == 0) {
        growth->table = block;
        growth->table->capacity = capacity;
    }
    return rc;
}

int kin__stripe_grow(struct kin__stripe *stripe, uint64_t expected)
{
    kin__lease *leases[2];
    uint64_t capacity = 0;
    kin__leases_take(leases, 2);
    struct growth growth = {.fresh = leases[0], .old = leases[1]};
    int rc;
    do {
        rc = kin__stripe_lock(stripe);
        if (rc == 0) {
            rc = install(stripe, &growth, expected, &capacity);
            kin__stripe_unlock(stripe);
        }
    } while (rc == 1 && (rc = prepare(&growth, capacity)) == 0);
    kin__lease_finish(growth.fresh);
    kin__lease_finish(growth.old);
    return rc;
}

/* --- linking ------------------------------------------------------------------------------- */

void kin__stripe_link(struct kin__stripe *stripe, struct kin__table_slot *slot, uint64_t hash,
                      kin__lease *item)
{
    uint64_t word = kin__a64_load_relaxed(item);
    if (KIN__FAULT(LEASE_CLEARED_EARLY)) {
        kin__a64_store(item, 0);
    }
    bool tomb = kin__a64_load_relaxed(&slot->item) == KIN__TOMB;
    kin__a64_store(&slot->hash, hash);
    kin__a64_store(&slot->item, word); /* commit */
    kin__a64_store(item, 0);
    kin__a64_store(&stripe->items, kin__a64_load_relaxed(&stripe->items) + 1);
    if (!tomb) {
        kin__a64_store(&stripe->used, kin__a64_load_relaxed(&stripe->used) + 1);
    }
}

void kin__stripe_replace(struct kin__table_slot *slot, kin__lease *item, kin__lease *old)
{
    uint64_t word = kin__a64_load_relaxed(item);
    /* Both are on leases of ours around the commit: whichever is not linked when we die is freed,
     * and the sweep takes the other one off (kin__stripe_sweep). */
    kin__a64_store(old, kin__a64_load_relaxed(&slot->item));
    kin__a64_store(&slot->item, word); /* commit */
    kin__a64_store(item, 0);
}

void kin__stripe_unlink(struct kin__stripe *stripe, const struct kin__table_view *view,
                        struct kin__table_slot *slot, kin__lease *old)
{
    /* Where the next slot is free no probe needs to go on from here: no tomb. */
    uint64_t next = ((uint64_t)(slot - view->slot) + 1) & view->mask;
    bool last = kin__a64_load_relaxed(&view->slot[next].item) == 0;
    if (!KIN__FAULT(LEASE_CLEARED_EARLY)) {
        kin__a64_store(old, kin__a64_load_relaxed(&slot->item));
        kin__a64_store(&slot->item, last ? 0 : KIN__TOMB); /* commit */
    } else {
        uint64_t word = kin__a64_load_relaxed(&slot->item);
        kin__a64_store(&slot->item, last ? 0 : KIN__TOMB);
        kin__a64_store(old, word);
    }
    kin__a64_store(&stripe->items, kin__a64_load_relaxed(&stripe->items) - 1);
    if (last) {
        kin__a64_store(&stripe->used, kin__a64_load_relaxed(&stripe->used) - 1);
    }
}

/* --- clearing ------------------------------------------------------------------------------- */

/* Locked: cuts the table off, to be freed bit by bit. There is no other garbage. */
static void cut(struct kin__stripe *stripe)
{
    kin__a64_store(&stripe->garbage_at, 0);
    kin__a64_store(&stripe->garbage, kin__a64_load_relaxed(&stripe->table));
    kin__a64_store(&stripe->table, 0); /* commit */
    kin__a64_store(&stripe->items, 0);
    kin__a64_store(&stripe->used, 0);
}

/* Locked: frees some more items of the garbage; the table itself comes on `old` when it is done. */
static int drain(struct kin__stripe *stripe, kin__lease *old)
{
    struct kin__table_view view;
    uint64_t word = kin__a64_load_relaxed(&stripe->garbage);
    uint64_t at = kin__a64_load_relaxed(&stripe->garbage_at);
    int rc = kin__table_view(word, &view);
    if (rc < 0 || view.slot == NULL) {
        return rc;
    }
    /* Freed under the lock, which ranks outside the heap's; a leased word per item would need as
     * many turns of it. Whoever comes after a death here frees them again, to no effect. */
    kin__table_free_items(&view, at, at + BATCH);
    kin__a64_store(&stripe->garbage_at, at + BATCH);
    if (at + BATCH > view.mask) {
        kin__a64_store(old, word);
        kin__a64_store(&stripe->garbage, 0);
    }
    return 0;
}

int kin__stripe_clear(struct kin__stripe *stripe)
{
    kin__lease *old = kin__lease_take();
    bool mine = false, more = true;
    int rc = 0;
    while (more && (rc = kin__stripe_lock(stripe)) == 0) {
        /* Garbage of another, who is at it or died over it, is helped along first. */
        if (kin__a64_load_relaxed(&stripe->garbage) == 0 && !mine) {
            cut(stripe);
            mine = true;
        }
        rc = drain(stripe, old);
        more = rc == 0 && (kin__a64_load_relaxed(&stripe->garbage) != 0 || !mine);
        kin__stripe_unlock(stripe);
        kin__block_free_leased(kin__a64_load_relaxed(old));
        kin__a64_store(old, 0);
    }
    kin__lease_finish(old);
    return rc;
}

/* --- sweep and end -------------------------------------------------------------------------- */

static bool links(struct kin__stripe *stripe, uint64_t word)
{
    struct kin__table_view view;
    uint64_t table = kin__a64_load_relaxed(&stripe->table);
    uint64_t garbage = kin__a64_load_relaxed(&stripe->garbage);
    uint64_t hash;
    if (word == table || word == garbage) {
        return true;
    }
    if (!kin__item_made_for(word, kin__offset(stripe), &hash)) {
        return false;
    }
    return (kin__table_view(table, &view) == 0 && kin__table_find_word(&view, hash, word)) ||
           (kin__table_view(garbage, &view) == 0 && kin__table_find_word(&view, hash, word));
}

/* Of what the dead process had on leases, what is linked stays: the rest is freed by the sweeper
 * when all objects have been asked. */
static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation, enum kin__end end)
{
    (void)generation;
    (void)end;
    struct kin__stripe *stripe = (struct kin__stripe *)object;
    struct kin__slot *dead = kin__slot_at(slot);
    if (dead == NULL || kin__stripe_lock(stripe) < 0) {
        return;
    }
    for (unsigned i = 0; i < KIN__LEASES; i++) {
        uint64_t word = kin__a64_load(&dead->lease[i]);
        if (word != 0 && links(stripe, word)) {
            kin__a64_store(&dead->lease[i], 0);
        }
    }
    kin__stripe_unlock(stripe);
}

/* A table is freed last, so while it lives its words are still the stripe's own. */
static void free_table(uint64_t word)
{
    struct kin__table_view view;
    uint64_t generation = kin__block_generation(kin__lease_offset(word));
    if (word == 0 || kin__lease_value(kin__lease_offset(word), generation) != word ||
        kin__table_view(word, &view) < 0) {
        return;
    }
    kin__table_free_items(&view, 0, view.mask + 1);
    kin__block_free_leased(word);
}

static void fini(struct kin__object *object)
{
    struct kin__stripe *stripe = (struct kin__stripe *)object;
    free_table(kin__a64_load(&stripe->garbage));
    free_table(kin__a64_load(&stripe->table));
}

static const struct kin__type type = {.name = "stripe", .sweep = sweep, .fini = fini};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_STRIPE, &type);
}
