/* One entry under the lock of its stripe: find, read, store, remove. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "dict/dict.h"

int kin__dict_key_init(struct kin__dict_key *key, const kin_dict *dict, const void *data,
                       size_t size)
{
    if (dict == NULL || (data == NULL && size > 0)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin__scratch_init(&key->copy);
    rc = kin__scratch_copy(&key->copy, data, size);
    if (rc < 0) {
        return rc;
    }
    key->hash = kin__hash(dict->seed, key->copy.data, size);
    key->stripe = dict->stripe[dict->shift < 64 ? key->hash >> dict->shift : 0];
    return 0;
}

void kin__dict_key_fini(struct kin__dict_key *key)
{
    kin__scratch_fini(&key->copy);
}

int kin__dict_find(const struct kin__dict_key *key, struct kin__table_view *ret_view,
                   struct kin__table_slot **ret_slot, struct kin__item_view *ret_item)
{
    int rc = kin__table_view(kin__a64_load_relaxed(&key->stripe->table), ret_view);
    return rc < 0 ? rc
                  : kin__table_find(ret_view, key->hash, key->copy.data, key->copy.size, ret_slot,
                                    ret_item);
}

int kin__dict_read(const struct kin__dict_key *key, size_t room, struct kin__scratch *copy)
{
    for (;;) {
        struct kin__table_view view;
        struct kin__table_slot *slot;
        struct kin__item_view item;
        int rc = kin__stripe_lock(key->stripe);
        if (rc < 0) {
            return rc;
        }
        rc = kin__dict_find(key, &view, &slot, &item);
        if (rc > 0) {
            copy->size = item.value_size;
            rc = item.value_size > room ? KIN_ETOOBIG : item.value_size > copy->room ? 1 : 0;
            if (rc == 0) {
                memcpy(copy->data, item.value, item.value_size);
            }
        } else if (rc == 0) {
            rc = KIN_ENOTFOUND;
        }
        kin__stripe_unlock(key->stripe);
        if (rc != 1) {
            return rc;
        }
        /* Too large for the copy: make room with no lock held, then look again. */
        size_t size = copy->size;
        rc = kin__scratch_grow(copy, size);
        if (rc < 0) {
            return rc;
        }
    }
}

static bool holds(enum kin__dict_when when, const struct kin__scratch *expected, int found,
                  const struct kin__item_view *item)
{
    switch (when) {
    case KIN__WHEN_MISSING:
        return found == 0;
    case KIN__WHEN_EQUAL:
        return found != 0 && item->value_size == expected->size &&
               memcmp(item->value, expected->data, expected->size) == 0;
    case KIN__WHEN_ALWAYS:
    default:
        return true;
    }
}

/* What a store needs. */
struct store {
    kin__lease *item; /* holds the new one until it is linked */
    kin__lease *old;  /* holds the one that it replaced */
    struct kin__item *fresh;
};

#define GROW 2 /* the stripe's table must grow first */

/* One attempt under the lock: 1 stored, 0 refused, GROW, or negative. */
static int attempt(kin_dict *dict, const struct kin__dict_key *key, const struct store *store,
                   enum kin__dict_when when, const struct kin__scratch *expected)
{
    struct kin__table_view view;
    struct kin__table_slot *slot;
    struct kin__item_view item;
    int found = kin__dict_find(key, &view, &slot, &item);
    if (found < 0) {
        return found;
    }
    if (!holds(when, expected, found, &item)) {
        return 0;
    }
    if (found) {
        store->fresh->order = item.item->order;
        kin__stripe_replace(slot, store->item, store->old);
        return 1;
    }
    int rc = kin__stripe_room(key->stripe, 0);
    if (rc != 0) {
        return rc < 0 ? rc : GROW;
    }
    if (slot == NULL) {
        return KIN_ECORRUPT;
    }
    store->fresh->order = kin__a64_add(&dict->shared->order, 1);
    kin__stripe_link(key->stripe, slot, key->hash, store->item);
    return 1;
}

static int store_once(kin_dict *dict, const struct kin__dict_key *key, const void *value,
                      size_t value_size, enum kin__dict_when when,
                      const struct kin__scratch *expected)
{
    kin__lease *leases[2];
    kin__leases_take(leases, 2);
    struct store store = {.item = leases[0], .old = leases[1]};
    int rc = kin__item_make(value, value_size, key->copy.data, key->copy.size, store.item,
                            &store.fresh);
    if (rc == 0) {
        store.fresh->owner = kin__offset(key->stripe);
        store.fresh->hash = key->hash;
        rc = kin__stripe_lock(key->stripe);
    }
    if (rc == 0) {
        rc = attempt(dict, key, &store, when, expected);
        kin__stripe_unlock(key->stripe);
    }
    if (KIN__FAULT(COMMIT_BEFORE_WRITE) && rc == 1 && value_size > 0) {
        memcpy(store.fresh + 1, value, value_size);
    }
    kin__lease_finish(store.old);
    kin__lease_finish(store.item);
    return rc;
}

int kin__dict_store(kin_dict *dict, const struct kin__dict_key *key, const void *value,
                    size_t value_size, enum kin__dict_when when,
                    const struct kin__scratch *expected)
{
    if (value == NULL && value_size > 0) {
        return -EINVAL;
    }
    int rc;
    while ((rc = store_once(dict, key, value, value_size, when, expected)) == GROW) {
        /* Rare, so the item is made anew rather than kept on its lease while two more are taken. */
        rc = kin__stripe_grow(key->stripe, 0);
        if (rc < 0) {
            return rc;
        }
    }
    return rc;
}

int kin__dict_remove(const struct kin__dict_key *key, enum kin__dict_when when,
                     const struct kin__scratch *expected)
{
    struct kin__table_view view;
    struct kin__table_slot *slot;
    struct kin__item_view item;
    kin__lease *old = kin__lease_take();
    int rc = kin__stripe_lock(key->stripe);
    if (rc == 0) {
        rc = kin__dict_find(key, &view, &slot, &item);
        if (rc == 0) {
            rc = KIN_ENOTFOUND;
        } else if (rc > 0) {
            rc = holds(when, expected, 1, &item);
            if (rc > 0) {
                kin__stripe_unlink(key->stripe, &view, slot, old);
            }
        }
        kin__stripe_unlock(key->stripe);
    }
    kin__lease_finish(old);
    return rc;
}
