/* Probing, copying and counting hash tables. Layer: dict. Protocol: docs/design/dict.md. */
#include "dict/table.h"

#include <string.h>

int kin__table_view(uint64_t word, struct kin__table_view *ret_view)
{
    ret_view->slot = NULL;
    ret_view->mask = 0;
    if (word == 0) {
        return 0;
    }
    struct kin__table *table = kin__at(kin__lease_offset(word), sizeof *table);
    if (KIN__UNLIKELY(table == NULL)) {
        return KIN_ECORRUPT;
    }
    uint64_t capacity = table->capacity;
    if (KIN__UNLIKELY(capacity < KIN__TABLE_MIN || capacity > KIN__TABLE_MAX ||
                      (capacity & (capacity - 1)) != 0 ||
                      kin__table_bytes(capacity) > kin__block_size(kin__lease_offset(word)))) {
        return KIN_ECORRUPT;
    }
    ret_view->slot = table->slot;
    ret_view->mask = capacity - 1;
    return 0;
}

int kin__table_find(const struct kin__table_view *view, uint64_t hash, const void *key,
                    size_t key_size, struct kin__table_slot **ret_slot,
                    struct kin__item_view *ret_item)
{
    struct kin__table_slot *room = NULL;
    *ret_slot = NULL;
    for (uint64_t i = 0; view->slot != NULL && i <= view->mask; i++) {
        struct kin__table_slot *slot = &view->slot[(hash + i) & view->mask];
        uint64_t word = kin__a64_load_relaxed(&slot->item);
        if (!kin__slot_is_item(word)) {
            if (room == NULL) {
                room = slot;
            }
            if (word == 0) {
                break;
            }
            continue;
        }
        if (kin__a64_load_relaxed(&slot->hash) != hash) {
            continue;
        }
        if (KIN__UNLIKELY(kin__item_view(word, ret_item) < 0)) {
            return KIN_ECORRUPT;
        }
        if (ret_item->key_size == key_size &&
            (key_size == 0 || memcmp(ret_item->key, key, key_size) == 0)) {
            *ret_slot = slot;
            return 1;
        }
    }
    *ret_slot = room;
    return 0;
}

struct kin__table_slot *kin__table_find_word(const struct kin__table_view *view, uint64_t hash,
                                             uint64_t word)
{
    for (uint64_t i = 0; view->slot != NULL && i <= view->mask; i++) {
        struct kin__table_slot *slot = &view->slot[(hash + i) & view->mask];
        uint64_t item = kin__a64_load_relaxed(&slot->item);
        if (item == word) {
            return slot;
        }
        if (item == 0) {
            break;
        }
    }
    return NULL;
}

struct kin__table_slot *kin__table_find_hash(const struct kin__table_view *view, uint64_t hash)
{
    for (uint64_t i = 0; view->slot != NULL && i <= view->mask; i++) {
        struct kin__table_slot *slot = &view->slot[(hash + i) & view->mask];
        uint64_t item = kin__a64_load_relaxed(&slot->item);
        if (item == 0) {
            break;
        }
        if (kin__slot_is_item(item) && kin__a64_load_relaxed(&slot->hash) == hash) {
            return slot;
        }
    }
    return NULL;
}

int kin__table_copy(const struct kin__table_view *from, struct kin__table_view *to)
{
    uint64_t left = kin__table_limit(to->mask + 1);
    for (uint64_t i = 0; from->slot != NULL && i <= from->mask; i++) {
        uint64_t item = kin__a64_load_relaxed(&from->slot[i].item);
        if (!kin__slot_is_item(item)) {
            continue;
        }
        if (left-- == 0) {
            return KIN_ECORRUPT;
        }
        uint64_t hash = kin__a64_load_relaxed(&from->slot[i].hash), at = hash;
        while (kin__a64_load_relaxed(&to->slot[at & to->mask].item) != 0) {
            at++;
        }
        kin__a64_store_relaxed(&to->slot[at & to->mask].hash, hash);
        kin__a64_store_relaxed(&to->slot[at & to->mask].item, item);
    }
    return 0;
}

void kin__table_count(const struct kin__table_view *view, uint64_t *ret_items, uint64_t *ret_used)
{
    uint64_t items = 0, used = 0;
    for (uint64_t i = 0; view->slot != NULL && i <= view->mask; i++) {
        uint64_t item = kin__a64_load_relaxed(&view->slot[i].item);
        items += kin__slot_is_item(item);
        used += item != 0;
    }
    *ret_items = items;
    *ret_used = used;
}

void kin__table_free_items(const struct kin__table_view *view, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; view->slot != NULL && i < end && i <= view->mask; i++) {
        uint64_t item = kin__a64_load_relaxed(&view->slot[i].item);
        if (kin__slot_is_item(item)) {
            kin__block_free_leased(item);
        }
    }
}

/* --- SipHash-1-3 ----------------------------------------------------------------------------- */

static inline uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static inline void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t kin__hash(const uint64_t key[2], const void *data, size_t size)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const unsigned char *bytes = data;
    size_t whole = size & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)size << 56;
    for (size_t i = whole; i < size; i++) {
        last |= (uint64_t)bytes[i] << 8 * (i - whole);
    }
    v[3] ^= last;
    mix(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    mix(v);
    mix(v);
    mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
