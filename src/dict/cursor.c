/*
 * Walking over a dictionary that others change. Layer: dict. Protocol: docs/design/dict.md.
 *
 * A cursor takes, stripe by stripe, a private copy of the table's slots: words and hashes. Each
 * step then looks for one of them under the lock: by its word, or, where the value was replaced
 * meanwhile, by its hash, 64 bits under a secret key.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dict/dict.h"

struct entry {
    uint64_t hash;
    uint64_t word;
};

struct kin_dict_cursor {
    kin_dict *dict;
    unsigned stripe; /* the stripe after the one that `entries` is of */
    struct entry *entries;
    size_t count;
    size_t room;
    size_t at;
    uint64_t order;
    struct kin__scratch copy; /* the value and the key of one entry */
};

int kin_dict_cursor_create(kin_dict *dict, kin_dict_cursor **ret_cursor)
{
    if (dict == NULL || ret_cursor == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin_dict_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL) {
        return -ENOMEM;
    }
    cursor->dict = dict;
    kin__scratch_init(&cursor->copy);
    *ret_cursor = cursor;
    return 0;
}

kin_dict_cursor *kin_dict_cursor_destroy(kin_dict_cursor *cursor)
{
    if (cursor != NULL) {
        kin__scratch_fini(&cursor->copy);
        free(cursor->entries);
        free(cursor);
    }
    return NULL;
}

/* Locked: 0, 1 if there is not room enough (`*ret_items` says for how many), or negative. */
static int snapshot(kin_dict_cursor *cursor, struct kin__stripe *stripe, uint64_t *ret_items)
{
    struct kin__table_view view;
    uint64_t used;
    int rc = kin__table_view(kin__a64_load_relaxed(&stripe->table), &view);
    if (rc < 0) {
        return rc;
    }
    kin__table_count(&view, ret_items, &used);
    if (*ret_items > cursor->room) {
        return 1;
    }
    cursor->count = cursor->at = 0;
    for (uint64_t i = 0; view.slot != NULL && i <= view.mask; i++) {
        uint64_t word = kin__a64_load_relaxed(&view.slot[i].item);
        if (kin__slot_is_item(word)) {
            cursor->entries[cursor->count++] =
                (struct entry){kin__a64_load_relaxed(&view.slot[i].hash), word};
        }
    }
    return 0;
}

static int next_stripe(kin_dict_cursor *cursor)
{
    struct kin__stripe *stripe = cursor->dict->stripe[cursor->stripe];
    for (;;) {
        uint64_t items;
        int rc = kin__stripe_lock(stripe);
        if (rc < 0) {
            return rc;
        }
        rc = snapshot(cursor, stripe, &items);
        kin__stripe_unlock(stripe);
        if (rc <= 0) {
            cursor->stripe += rc == 0;
            return rc;
        }
        size_t room = items + items / 8 + 8;
        struct entry *entries = realloc(cursor->entries, room * sizeof *entries);
        if (entries == NULL) {
            return -ENOMEM;
        }
        cursor->entries = entries;
        cursor->room = room;
    }
}

/*
 * Locked: copies the entry out. 0, 1 where the copy has too little room (cursor->copy.size says how
 * much it needs), KIN_ENOTFOUND, or negative.
 */
static int copy_entry(kin_dict_cursor *cursor, struct kin__stripe *stripe,
                      const struct entry *entry, struct kin__item_view *ret_item)
{
    struct kin__table_view view;
    int rc = kin__table_view(kin__a64_load_relaxed(&stripe->table), &view);
    if (rc < 0) {
        return rc;
    }
    struct kin__table_slot *slot = kin__table_find_word(&view, entry->hash, entry->word);
    if (slot == NULL) {
        slot = kin__table_find_hash(&view, entry->hash);
    }
    if (slot == NULL) {
        return KIN_ENOTFOUND;
    }
    rc = kin__item_view(kin__a64_load_relaxed(&slot->item), ret_item);
    if (rc < 0) {
        return rc;
    }
    cursor->copy.size = ret_item->value_size + ret_item->key_size;
    if (cursor->copy.size > cursor->copy.room) {
        return 1;
    }
    memcpy(cursor->copy.data, ret_item->value, cursor->copy.size); /* the key is right behind */
    cursor->order = ret_item->item->order;
    return 0;
}

/* One entry of the snapshot into the copy; `*ret_item` has its sizes. */
static int fetch(kin_dict_cursor *cursor, const struct entry *entry,
                 struct kin__item_view *ret_item)
{
    struct kin__stripe *stripe = cursor->dict->stripe[cursor->stripe - 1];
    for (;;) {
        int rc = kin__stripe_lock(stripe);
        if (rc < 0) {
            return rc;
        }
        rc = copy_entry(cursor, stripe, entry, ret_item);
        kin__stripe_unlock(stripe);
        if (rc != 1) {
            return rc;
        }
        size_t size = cursor->copy.size;
        rc = kin__scratch_grow(&cursor->copy, size);
        if (rc < 0) {
            return rc;
        }
    }
}

int kin_dict_cursor_next(kin_dict_cursor *cursor, void *key, size_t *key_size, void *value,
                         size_t *value_size)
{
    if (cursor == NULL || key_size == NULL || (key == NULL && *key_size > 0) ||
        (value != NULL && value_size == NULL)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    while (rc == 0) {
        struct kin__item_view item;
        if (cursor->at == cursor->count) {
            if (cursor->stripe == cursor->dict->stripes) {
                return 0;
            }
            rc = next_stripe(cursor);
            continue;
        }
        rc = fetch(cursor, &cursor->entries[cursor->at], &item);
        if (rc == KIN_ENOTFOUND) {
            cursor->at++;
            rc = 0;
            continue;
        }
        if (rc < 0) {
            return rc;
        }
        bool fits = item.key_size <= *key_size &&
                    (value == NULL || item.value_size <= *value_size);
        *key_size = item.key_size;
        if (value_size != NULL) {
            *value_size = item.value_size;
        }
        if (!fits) {
            return KIN_ETOOBIG;
        }
        if (item.key_size > 0) {
            memcpy(key, cursor->copy.data + item.value_size, item.key_size);
        }
        if (value != NULL && item.value_size > 0) {
            memcpy(value, cursor->copy.data, item.value_size);
        }
        cursor->at++;
        return 1;
    }
    return rc;
}

int kin_dict_cursor_order(const kin_dict_cursor *cursor, uint64_t *ret_order)
{
    if (cursor == NULL || ret_order == NULL) {
        return -EINVAL;
    }
    *ret_order = cursor->order;
    return 0;
}
