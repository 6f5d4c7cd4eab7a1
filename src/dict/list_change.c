/* Changing a list under its lock, each change by one store. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include <string.h>

#include "base/fault.h"
#include "dict/list.h"

void kin__supplies_init(struct kin__supplies *s, bool full)
{
    kin__lease *leases[7];
    memset(s, 0, sizeof *s);
    kin__leases_take(leases, full ? 7 : 2);
    s->item = leases[0];
    s->old_item = leases[1];
    if (full) {
        s->full = true;
        s->chunk[0] = leases[2];
        s->chunk[1] = leases[3];
        s->directory = leases[4];
        s->old_chunk = leases[5];
        s->old_directory = leases[6];
    }
}

int kin__supplies_fill(struct kin__supplies *s)
{
    void *block;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < s->need_chunks; i++) {
        if (s->fresh[i] == NULL) {
            rc = kin__block_make(sizeof(struct kin__chunk), s->chunk[i], &block);
            s->fresh[i] = rc == 0 ? block : NULL;
        }
    }
    if (rc == 0 && s->need_rows > 0 && (s->rows == NULL || s->rows->capacity < s->need_rows)) {
        kin__block_free_leased(kin__a64_load_relaxed(s->directory)); /* one that was too small */
        kin__a64_store(s->directory, 0);
        s->rows = NULL;
        rc = kin__block_make(kin__directory_bytes(s->need_rows), s->directory, &block);
        if (rc == 0) {
            s->rows = block;
            s->rows->capacity = s->need_rows;
        }
    }
    return rc;
}

void kin__supplies_finish(struct kin__supplies *s)
{
    /* From the top down: a directory or chunk that was replaced names what lives on elsewhere, and
     * is freed as a mere block. */
    kin__lease_finish(s->old_directory);
    kin__lease_finish(s->directory);
    kin__lease_finish(s->old_chunk);
    kin__lease_finish(s->chunk[0]);
    kin__lease_finish(s->chunk[1]);
    kin__lease_finish(s->old_item);
    kin__lease_finish(s->item);
}

/* Whether there are that many fresh chunks and a fresh directory of that capacity. */
static bool have(struct kin__supplies *s, unsigned chunks, uint64_t rows)
{
    s->need_chunks = chunks;
    s->need_rows = rows;
    if (!s->full) {
        return false;
    }
    for (unsigned i = 0; i < chunks; i++) {
        if (s->fresh[i] == NULL) {
            return false;
        }
    }
    return rows == 0 || (s->rows != NULL && s->rows->capacity >= rows);
}

static uint64_t chunk_word(const struct kin__supplies *s, unsigned i)
{
    return kin__a64_load_relaxed(s->chunk[i]);
}

static void count_items(struct kin__list *list, int64_t more)
{
    kin__a64_store(&list->items, kin__a64_load_relaxed(&list->items) + (uint64_t)more);
}

/* Fills a fresh chunk with items [first, end) of another. */
static void copy_items(struct kin__chunk *to, const struct kin__chunk *from, uint64_t first,
                       uint64_t end)
{
    uint64_t count = kin__a64_load_relaxed(&to->count);
    for (uint64_t i = first; i < end; i++) {
        kin__a64_store_relaxed(&to->item[count++], kin__a64_load_relaxed(&from->item[i]));
    }
    kin__a64_store_relaxed(&to->count, count);
}

static void add_item(struct kin__chunk *to, uint64_t word)
{
    uint64_t count = kin__a64_load_relaxed(&to->count);
    kin__a64_store_relaxed(&to->item[count], word);
    kin__a64_store_relaxed(&to->count, count + 1);
}

/* Fills the fresh directory: rows [0, row) and [row + skip, count) of the old one around `chunks`
 * fresh chunks. */
static void copy_rows(struct kin__supplies *s, const struct kin__directory_view *view,
                      uint64_t row, uint64_t skip, unsigned chunks)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i <= view->count; i++) {
        for (unsigned k = 0; i == row && k < chunks; k++) {
            struct kin__row *to = &s->rows->row[count++];
            kin__a64_store_relaxed(&to->chunk, chunk_word(s, k));
            kin__a64_store_relaxed(&to->items, kin__a64_load_relaxed(&s->fresh[k]->count));
        }
        if (i == view->count || (i >= row && i < row + skip)) {
            continue;
        }
        const struct kin__row *from = &view->directory->row[i];
        struct kin__row *to = &s->rows->row[count++];
        kin__a64_store_relaxed(&to->chunk, kin__a64_load_relaxed(&from->chunk));
        kin__a64_store_relaxed(&to->items, kin__a64_load_relaxed(&from->items));
    }
    kin__a64_store(&s->rows->count, count);
}

/* Commits the fresh directory: what it replaces goes on leases first, what is linked comes off. */
static void commit_directory(struct kin__list *list, struct kin__supplies *s, uint64_t old_chunk)
{
    kin__a64_store(s->old_directory, kin__a64_load_relaxed(&list->root));
    kin__a64_store(s->old_chunk, old_chunk);
    kin__a64_store(&list->root, kin__a64_load_relaxed(s->directory)); /* commit */
    kin__a64_store(s->directory, 0);
    for (unsigned i = 0; i < s->need_chunks; i++) {
        kin__a64_store(s->chunk[i], 0);
    }
    kin__a64_store(s->item, 0);
}

/* Commits a fresh chunk in place of a row's. */
static void commit_chunk(struct kin__row *row, struct kin__supplies *s)
{
    kin__a64_store(s->old_chunk, kin__a64_load_relaxed(&row->chunk));
    kin__a64_store(&row->chunk, chunk_word(s, 0)); /* commit */
    kin__a64_store(s->chunk[0], 0);
    kin__a64_store(s->item, 0);
    kin__a64_store(&row->items, kin__a64_load_relaxed(&s->fresh[0]->count));
}

/* --- adding ---------------------------------------------------------------------------------- */

/* A chunk of its own for the item, in a row behind all others. */
static int put_in_new_row(struct kin__list *list, const struct kin__directory_view *view,
                          struct kin__supplies *s)
{
    bool room = view->count < view->capacity;
    uint64_t rows = room ? 0 : KIN__MAX(view->count * 2, (uint64_t)KIN__ROWS_MIN);
    if (!have(s, 1, rows)) {
        return KIN__LIST_NEED;
    }
    if (rows > KIN__ROWS_MAX) {
        return KIN_EQUOTA;
    }
    add_item(s->fresh[0], kin__a64_load_relaxed(s->item));
    if (!room) {
        copy_rows(s, view, view->count, 0, 1);
        commit_directory(list, s, 0);
        return 0;
    }
    struct kin__row *row = &view->directory->row[view->count];
    kin__a64_store(&row->chunk, chunk_word(s, 0));
    kin__a64_store(&row->items, 1);
    kin__a64_store(&view->directory->count, view->count + 1); /* commit */
    kin__a64_store(s->chunk[0], 0);
    kin__a64_store(s->item, 0);
    return 0;
}

/* In the middle of a full chunk: two half ones in its place. */
static int split(struct kin__list *list, const struct kin__directory_view *view,
                 const struct kin__position *at, const struct kin__chunk_view *chunk,
                 struct kin__supplies *s)
{
    uint64_t rows = KIN__MAX(view->capacity, view->count + 1 + view->count / 8);
    if (!have(s, 2, rows)) {
        return KIN__LIST_NEED;
    }
    uint64_t half = chunk->count / 2;
    uint64_t word = kin__a64_load_relaxed(s->item);
    struct kin__chunk *low = s->fresh[0], *high = s->fresh[1];
    if (at->index <= half) {
        copy_items(low, chunk->chunk, 0, at->index);
        add_item(low, word);
        copy_items(low, chunk->chunk, at->index, half);
        copy_items(high, chunk->chunk, half, chunk->count);
    } else {
        copy_items(low, chunk->chunk, 0, half);
        copy_items(high, chunk->chunk, half, at->index);
        add_item(high, word);
        copy_items(high, chunk->chunk, at->index, chunk->count);
    }
    copy_rows(s, view, at->row, 1, 2);
    commit_directory(list, s, kin__a64_load_relaxed(&view->directory->row[at->row].chunk));
    return 0;
}

static int put_at(struct kin__list *list, const struct kin__directory_view *view,
                  const struct kin__position *at, struct kin__supplies *s)
{
    struct kin__chunk_view chunk;
    if (at->row == view->count) {
        return put_in_new_row(list, view, s);
    }
    struct kin__row *row = &view->directory->row[at->row];
    int rc = kin__chunk_view(kin__a64_load_relaxed(&row->chunk), &chunk);
    if (rc < 0) {
        return rc;
    }
    if (at->index > chunk.count) {
        return KIN_ECORRUPT;
    }
    if (at->index == chunk.count) { /* at the end of the last chunk */
        if (chunk.count == KIN__CHUNK_ITEMS) {
            return put_in_new_row(list, view, s);
        }
        if (KIN__FAULT(LEASE_CLEARED_EARLY)) {
            uint64_t word = kin__a64_load_relaxed(s->item);
            kin__a64_store(s->item, 0);
            kin__a64_store(&chunk.chunk->item[chunk.count], word);
        } else {
            kin__a64_store(&chunk.chunk->item[chunk.count], kin__a64_load_relaxed(s->item));
        }
        kin__a64_store(&chunk.chunk->count, chunk.count + 1); /* commit */
        kin__a64_store(s->item, 0);
        kin__a64_store(&row->items, chunk.count + 1);
        return 0;
    }
    if (chunk.count == KIN__CHUNK_ITEMS) {
        return split(list, view, at, &chunk, s);
    }
    if (!have(s, 1, 0)) {
        return KIN__LIST_NEED;
    }
    copy_items(s->fresh[0], chunk.chunk, 0, at->index);
    add_item(s->fresh[0], kin__a64_load_relaxed(s->item));
    copy_items(s->fresh[0], chunk.chunk, at->index, chunk.count);
    commit_chunk(row, s);
    return 0;
}

int kin__list_put(struct kin__list *list, int64_t index, bool at_end, struct kin__supplies *s)
{
    struct kin__directory_view view;
    struct kin__position at;
    uint64_t items = kin__a64_load_relaxed(&list->items);
    uint64_t where = (uint64_t)index;
    if (at_end || (index >= 0 && where > items)) {
        where = items;
    } else if (index < 0) {
        where = (uint64_t)-(index + 1) >= items ? 0 : items + where;
    }
    int rc = kin__directory_view(kin__a64_load_relaxed(&list->root), &view);
    if (rc == 0) {
        rc = kin__directory_find(&view, where, &at);
    }
    if (rc == 0) {
        rc = put_at(list, &view, &at, s);
    }
    if (rc == 0) {
        count_items(list, 1);
    }
    return rc;
}

/* --- removing -------------------------------------------------------------------------------- */

static int take_from(struct kin__list *list, const struct kin__directory_view *view,
                     const struct kin__position *at, const struct kin__chunk_view *chunk,
                     struct kin__supplies *s)
{
    struct kin__row *row = &view->directory->row[at->row];
    uint64_t word = kin__a64_load_relaxed(&chunk->chunk->item[at->index]);
    if (chunk->count == 1) { /* with its only item goes the chunk */
        if (!have(s, 0, at->row + 1 == view->count ? 0 : view->capacity)) {
            return KIN__LIST_NEED;
        }
        kin__a64_store(s->old_item, word);
        if (at->row + 1 == view->count) {
            kin__a64_store(s->old_chunk, kin__a64_load_relaxed(&row->chunk));
            kin__a64_store(&view->directory->count, view->count - 1); /* commit */
            return 0;
        }
        copy_rows(s, view, at->row, 1, 0);
        commit_directory(list, s, kin__a64_load_relaxed(&row->chunk));
        return 0;
    }
    if (at->index + 1 == chunk->count) {
        kin__a64_store(s->old_item, word);
        kin__a64_store(&chunk->chunk->count, chunk->count - 1); /* commit */
        kin__a64_store(&row->items, chunk->count - 1);
        return 0;
    }
    if (!have(s, 1, 0)) {
        return KIN__LIST_NEED;
    }
    copy_items(s->fresh[0], chunk->chunk, 0, at->index);
    copy_items(s->fresh[0], chunk->chunk, at->index + 1, chunk->count);
    kin__a64_store(s->old_item, word);
    commit_chunk(row, s);
    return 0;
}

static int locate(struct kin__list *list, uint64_t index, struct kin__directory_view *view,
                  struct kin__position *at, struct kin__chunk_view *chunk)
{
    int rc = kin__directory_view(kin__a64_load_relaxed(&list->root), view);
    if (rc == 0) {
        rc = kin__directory_find(view, index, at);
    }
    if (rc == 0 && at->row >= view->count) {
        rc = KIN_ECORRUPT;
    }
    if (rc == 0) {
        rc = kin__chunk_view(kin__a64_load_relaxed(&view->directory->row[at->row].chunk), chunk);
    }
    return rc == 0 && at->index >= chunk->count ? KIN_ECORRUPT : rc;
}

int kin__list_take(struct kin__list *list, uint64_t index, struct kin__supplies *s)
{
    struct kin__directory_view view;
    struct kin__position at;
    struct kin__chunk_view chunk;
    int rc = locate(list, index, &view, &at, &chunk);
    if (rc == 0) {
        rc = take_from(list, &view, &at, &chunk, s);
    }
    if (rc == 0) {
        count_items(list, -1);
    }
    return rc;
}

int kin__list_replace(struct kin__list *list, uint64_t index, struct kin__supplies *s)
{
    struct kin__directory_view view;
    struct kin__position at;
    struct kin__chunk_view chunk;
    int rc = locate(list, index, &view, &at, &chunk);
    if (rc == 0) {
        kin__a64 *slot = &chunk.chunk->item[at.index];
        kin__a64_store(s->old_item, kin__a64_load_relaxed(slot));
        kin__a64_store(slot, kin__a64_load_relaxed(s->item)); /* commit */
        kin__a64_store(s->item, 0);
    }
    return rc;
}

int kin__list_word(struct kin__list *list, uint64_t index, uint64_t *ret_word)
{
    struct kin__directory_view view;
    struct kin__position at;
    struct kin__chunk_view chunk;
    int rc = locate(list, index, &view, &at, &chunk);
    if (rc == 0) {
        *ret_word = kin__a64_load_relaxed(&chunk.chunk->item[at.index]);
    }
    return rc;
}
