/* Viewing, searching and freeing a list's directory and chunks. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include "dict/chunk.h"

int kin__directory_view(uint64_t word, struct kin__directory_view *ret_view)
{
    *ret_view = (struct kin__directory_view){NULL, 0, 0};
    if (word == 0) {
        return 0;
    }
    struct kin__directory *directory = kin__at(kin__lease_offset(word), sizeof *directory);
    if (directory == NULL) {
        return KIN_ECORRUPT;
    }
    uint64_t capacity = directory->capacity, count = kin__a64_load_relaxed(&directory->count);
    if (capacity > KIN__ROWS_MAX || count > capacity ||
        kin__at(kin__lease_offset(word), kin__directory_bytes(capacity)) == NULL) {
        return KIN_ECORRUPT;
    }
    *ret_view = (struct kin__directory_view){directory, capacity, count};
    return 0;
}

int kin__chunk_view(uint64_t word, struct kin__chunk_view *ret_view)
{
    struct kin__chunk *chunk = kin__at(kin__lease_offset(word), sizeof *chunk);
    if (chunk == NULL) {
        return KIN_ECORRUPT;
    }
    uint64_t count = kin__a64_load_relaxed(&chunk->count);
    if (count > KIN__CHUNK_ITEMS) {
        return KIN_ECORRUPT;
    }
    *ret_view = (struct kin__chunk_view){chunk, count};
    return 0;
}

int kin__directory_find(const struct kin__directory_view *view, uint64_t at,
                        struct kin__position *ret_position)
{
    uint64_t row = 0;
    for (; row < view->count; row++) {
        uint64_t items = kin__a64_load_relaxed(&view->directory->row[row].items);
        /* The place behind the last element is in the last chunk. */
        if (at < items || (at == items && row + 1 == view->count)) {
            break;
        }
        at -= items;
    }
    if (row == view->count && (at > 0 || row > 0)) {
        return KIN_ECORRUPT; /* the counts do not add up */
    }
    *ret_position = (struct kin__position){row, at};
    return 0;
}

void kin__directory_free_rows(const struct kin__directory_view *view, uint64_t first,
                              uint64_t end)
{
    for (uint64_t row = first; row < end && row < view->count; row++) {
        uint64_t word = kin__a64_load_relaxed(&view->directory->row[row].chunk);
        uint64_t generation = kin__block_generation(kin__lease_offset(word));
        struct kin__chunk_view chunk;
        /* A chunk goes after its items: one that is gone has been dealt with. */
        if (kin__lease_value(kin__lease_offset(word), generation) != word ||
            kin__chunk_view(word, &chunk) < 0) {
            continue;
        }
        for (uint64_t i = 0; i < chunk.count; i++) {
            kin__block_free_leased(kin__a64_load_relaxed(&chunk.chunk->item[i]));
        }
        kin__block_free_leased(word);
    }
}
