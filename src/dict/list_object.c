/* The list as a shared object: lock, repair, clear, sweep and end. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include "dict/list.h"

#define BATCH 1 /* chunks freed with one turn of the lock */

/* The caches, and a clear that did not come to its commit. Idempotent. */
static int repair(struct kin__list *list)
{
    uint64_t root = kin__a64_load_relaxed(&list->root), items = 0;
    if (kin__a64_load_relaxed(&list->garbage) == root) {
        kin__a64_store(&list->garbage, 0);
    }
    struct kin__directory_view view;
    int rc = kin__directory_view(root, &view);
    for (uint64_t i = 0; rc == 0 && i < view.count; i++) {
        struct kin__row *row = &view.directory->row[i];
        struct kin__chunk_view chunk;
        rc = kin__chunk_view(kin__a64_load_relaxed(&row->chunk), &chunk);
        if (rc == 0) {
            kin__a64_store(&row->items, chunk.count);
            items += chunk.count;
        }
    }
    if (rc == 0) {
        kin__a64_store(&list->items, items);
    }
    return rc;
}

int kin__list_lock(struct kin__list *list)
{
    int rc = kin__mutex_lock(&list->object.mutex);
    if (KIN__UNLIKELY(rc > 0)) {
        rc = repair(list);
        if (rc < 0) {
            kin__mutex_unlock(&list->object.mutex);
        }
    }
    return rc;
}

void kin__list_unlock(struct kin__list *list)
{
    kin__mutex_unlock(&list->object.mutex);
}

bool kin__list_index(const struct kin__list *list, int64_t index, uint64_t *ret_index)
{
    uint64_t items = kin__a64_load_relaxed(&list->items);
    uint64_t at = index < 0 ? items + (uint64_t)index : (uint64_t)index;
    if (at >= items || (index < 0 && (uint64_t)-(index + 1) >= items)) {
        return false;
    }
    *ret_index = at;
    return true;
}

/* --- clearing -------------------------------------------------------------------------------- */

/* Locked; as a stripe's (stripe.c). */
static void cut(struct kin__list *list)
{
    kin__a64_store(&list->garbage_at, 0);
    kin__a64_store(&list->garbage, kin__a64_load_relaxed(&list->root));
    kin__a64_store(&list->root, 0); /* commit */
    kin__a64_store(&list->items, 0);
}

static int drain(struct kin__list *list, kin__lease *old)
{
    struct kin__directory_view view;
    uint64_t word = kin__a64_load_relaxed(&list->garbage);
    uint64_t at = kin__a64_load_relaxed(&list->garbage_at);
    int rc = kin__directory_view(word, &view);
    if (rc < 0 || view.directory == NULL) {
        return rc;
    }
    kin__directory_free_rows(&view, at, at + BATCH);
    kin__a64_store(&list->garbage_at, at + BATCH);
    if (at + BATCH >= view.count) {
        kin__a64_store(old, word);
        kin__a64_store(&list->garbage, 0);
    }
    return 0;
}

int kin__list_clear(struct kin__list *list)
{
    kin__lease *old = kin__lease_take();
    bool mine = false, more = true;
    int rc = 0;
    while (more && (rc = kin__list_lock(list)) == 0) {
        if (kin__a64_load_relaxed(&list->garbage) == 0 && !mine) {
            cut(list);
            mine = true;
        }
        rc = drain(list, old);
        more = rc == 0 && (kin__a64_load_relaxed(&list->garbage) != 0 || !mine);
        kin__list_unlock(list);
        kin__block_free_leased(kin__a64_load_relaxed(old));
        kin__a64_store(old, 0);
    }
    kin__lease_finish(old);
    return rc;
}

/* --- sweep and end --------------------------------------------------------------------------- */

/* Whether the directory names the block: as a chunk, or as an item. */
static bool names(uint64_t directory, uint64_t word, bool is_item)
{
    struct kin__directory_view view;
    struct kin__chunk_view chunk;
    if (kin__directory_view(directory, &view) < 0) {
        return false;
    }
    for (uint64_t i = 0; i < view.count; i++) {
        uint64_t row = kin__a64_load_relaxed(&view.directory->row[i].chunk);
        if (row == word) {
            return true;
        }
        if (!is_item || kin__chunk_view(row, &chunk) < 0) {
            continue;
        }
        for (uint64_t k = 0; k < chunk.count; k++) {
            if (kin__a64_load_relaxed(&chunk.chunk->item[k]) == word) {
                return true;
            }
        }
    }
    return false;
}

static bool links(struct kin__list *list, uint64_t word)
{
    uint64_t root = kin__a64_load_relaxed(&list->root), hash;
    uint64_t garbage = kin__a64_load_relaxed(&list->garbage);
    if (word == root || word == garbage) {
        return true;
    }
    /* Items say whose they are, so that only a list's own cost a look at all elements. */
    bool item = kin__item_made_for(word, kin__offset(list), &hash);
    return names(root, word, item) || names(garbage, word, item);
}

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation, enum kin__end end)
{
    (void)generation;
    (void)end;
    struct kin__list *list = (struct kin__list *)object;
    struct kin__slot *dead = kin__slot_at(slot);
    if (dead == NULL || kin__list_lock(list) < 0) {
        return;
    }
    for (unsigned i = 0; i < KIN__LEASES; i++) {
        uint64_t word = kin__a64_load(&dead->lease[i]);
        if (word != 0 && links(list, word)) {
            kin__a64_store(&dead->lease[i], 0);
        }
    }
    kin__list_unlock(list);
}

static void free_directory(uint64_t word)
{
    struct kin__directory_view view;
    uint64_t generation = kin__block_generation(kin__lease_offset(word));
    if (word == 0 || kin__lease_value(kin__lease_offset(word), generation) != word ||
        kin__directory_view(word, &view) < 0) {
        return;
    }
    kin__directory_free_rows(&view, 0, view.count);
    kin__block_free_leased(word);
}

static void fini(struct kin__object *object)
{
    struct kin__list *list = (struct kin__list *)object;
    free_directory(kin__a64_load(&list->garbage));
    free_directory(kin__a64_load(&list->root));
}

static const struct kin__type type = {.name = "list", .sweep = sweep, .fini = fini};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_LIST, &type);
}
