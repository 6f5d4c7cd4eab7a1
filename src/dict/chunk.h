/*
 * A list's two levels: a directory of chunks, chunks of words of items. Layer: dict.
 * Protocol: docs/design/dict.md.
 *
 * All of it is read and written under the list's lock. Every operation has one store that commits
 * it: of an item's word, a chunk's count, a directory's count, a row's chunk or the list's root.
 */
#ifndef KIN_DICT_CHUNK_H
#define KIN_DICT_CHUNK_H

#include "dict/item.h"

#define KIN__CHUNK_ITEMS 254 /* a chunk fills 2 KiB */
#define KIN__ROWS_MIN 6
#define KIN__ROWS_MAX (UINT64_C(1) << 32)

struct kin__chunk {
    kin__a64 count; /* items [0, count) are linked */
    uint64_t reserved;
    kin__a64 item[KIN__CHUNK_ITEMS];
};

struct kin__row {
    kin__a64 chunk; /* its word */
    kin__a64 items; /* cache of its count */
};

struct kin__directory {
    uint64_t capacity; /* rows; constant */
    kin__a64 count;    /* rows [0, count) are linked */
    struct kin__row row[];
};

static inline uint64_t kin__directory_bytes(uint64_t capacity)
{
    return sizeof(struct kin__directory) + capacity * sizeof(struct kin__row);
}

/* Checked private copies; rows NULL: an empty list. */
struct kin__directory_view {
    struct kin__directory *directory;
    uint64_t capacity;
    uint64_t count;
};

struct kin__chunk_view {
    struct kin__chunk *chunk;
    uint64_t count;
};

/* KIN_ECORRUPT if the word does not lead to one. A word of 0 is an empty directory. */
int kin__directory_view(uint64_t word, struct kin__directory_view *ret_view);
int kin__chunk_view(uint64_t word, struct kin__chunk_view *ret_view);

/* Where an element is. */
struct kin__position {
    uint64_t row;
    uint64_t index; /* in the row's chunk */
};

/* The position of element `at`, or of the place behind the last; at <= number of elements. */
int kin__directory_find(const struct kin__directory_view *view, uint64_t at,
                        struct kin__position *ret_position);

/* Frees every item and chunk that rows [first, end) name: idempotent. */
void kin__directory_free_rows(const struct kin__directory_view *view, uint64_t first,
                              uint64_t end);

#endif
