/* Making, viewing and freeing the blocks that dictionaries and lists link. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include "dict/item.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

int kin__item_view(uint64_t word, struct kin__item_view *ret_view)
{
    uint64_t offset = kin__lease_offset(word);
    const struct kin__item *item = kin__at(offset, sizeof *item);
    if (KIN__UNLIKELY(item == NULL)) {
        return KIN_ECORRUPT;
    }
    uint64_t value_size = item->value_size, key_size = item->key_size, size;
    if (KIN__UNLIKELY(__builtin_add_overflow(value_size, key_size, &size) ||
                      __builtin_add_overflow(size, sizeof *item, &size) ||
                      kin__at(offset, size) == NULL)) {
        return KIN_ECORRUPT;
    }
    ret_view->item = item;
    ret_view->value = (char *)(uintptr_t)(item + 1);
    ret_view->key = ret_view->value + value_size;
    ret_view->value_size = value_size;
    ret_view->key_size = key_size;
    return 0;
}

int kin__item_make(const void *value, size_t value_size, const void *key, size_t key_size,
                   kin__lease *lease, struct kin__item **ret_item)
{
    uint64_t size, offset;
    if (__builtin_add_overflow(value_size, key_size, &size) ||
        __builtin_add_overflow(size, sizeof(struct kin__item), &size)) {
        return KIN_EQUOTA;
    }
    int rc = kin__block_alloc(size, lease, &offset);
    if (rc < 0) {
        return rc;
    }
    struct kin__item *item = kin__at(offset, size);
    *item = (struct kin__item){.value_size = value_size, .key_size = key_size};
    char *bytes = (char *)(item + 1);
    if (value_size > 0 && !KIN__FAULT(COMMIT_BEFORE_WRITE)) {
        memcpy(bytes, value, value_size);
    }
    if (key_size > 0) {
        memcpy(bytes + value_size, key, key_size);
    }
    *ret_item = item;
    return 0;
}

int kin__block_make(uint64_t size, kin__lease *lease, void **ret_block)
{
    uint64_t offset;
    int rc = kin__block_alloc(size, lease, &offset);
    if (rc < 0) {
        return rc;
    }
    void *block = kin__at(offset, size);
    memset(block, 0, size);
    *ret_block = block;
    return 0;
}

void kin__lease_finish(kin__lease *lease)
{
    if (lease == NULL) {
        return;
    }
    uint64_t word = kin__a64_load_relaxed(lease);
    if (word != 0) {
        kin__block_free_leased(word);
    }
    kin__lease_drop(lease);
}

bool kin__item_made_for(uint64_t word, uint64_t owner, uint64_t *ret_hash)
{
    /* The block may have been freed and belong to somebody else by now: then these are any bytes,
     * and the caller finds no link to them. */
    const struct kin__item *item = kin__at(kin__lease_offset(word), sizeof *item);
    if (item == NULL || item->owner != owner) {
        return false;
    }
    *ret_hash = item->hash;
    return true;
}

int kin__scratch_grow(struct kin__scratch *scratch, size_t room)
{
    if (room <= scratch->room) {
        return 0;
    }
    kin__scratch_fini(scratch);
    char *data = malloc(room);
    if (data == NULL) {
        return -ENOMEM;
    }
    scratch->data = data;
    scratch->room = room;
    return 0;
}

int kin__scratch_copy(struct kin__scratch *scratch, const void *data, size_t size)
{
    int rc = kin__scratch_grow(scratch, size);
    if (rc == 0) {
        if (size > 0) {
            memcpy(scratch->data, data, size);
        }
        scratch->size = size;
    }
    return rc;
}

void kin__scratch_fini(struct kin__scratch *scratch)
{
    if (scratch->data != scratch->small) {
        free(scratch->data);
    }
    kin__scratch_init(scratch);
}
