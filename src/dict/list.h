/* A shared list under its lock, and what changing it needs. Layer: dict.
 * Protocol: docs/design/dict.md. */
#ifndef KIN_DICT_LIST_H
#define KIN_DICT_LIST_H

#include <kinfolk/list.h>

#include "dict/chunk.h"

/* Everything is written under object.mutex; invariants as of a stripe (stripe.h). */
struct kin__list {
    struct kin__object object;
    kin__a64 root;       /* word of the directory; changed by one store */
    kin__a64 garbage;    /* word of a directory that a clear cut off; == root: not committed */
    kin__a64 garbage_at; /* its rows below this are freed */
    kin__a64 items;      /* cache; read without the lock by kin_list_size */
};

struct kin_list {
    struct kin__list *shared;
};

/*
 * Blocks and leases of one change: at first only leases for the element, which is all that most
 * changes at the end of a list need. When an attempt says that it needs more, all leases are taken
 * together (kin__leases_take) and blocks made in advance, outside of the lock; what is left over is
 * freed at the end.
 */
struct kin__supplies {
    kin__lease *item;      /* the element to be linked; 0 where there is none */
    kin__lease *old_item;  /* the element that was unlinked */
    kin__lease *chunk[2];  /* fresh ones until they are linked */
    kin__lease *directory;
    kin__lease *old_chunk; /* what they replaced */
    kin__lease *old_directory;
    struct kin__chunk *fresh[2];
    struct kin__directory *rows;
    bool full; /* there are leases for chunks and directories */
    /* Out, with NEED: */
    unsigned need_chunks;
    uint64_t need_rows; /* capacity of a directory; 0: none */
};

#define KIN__LIST_NEED 2 /* an attempt lacks supplies: unlock, kin__supplies_fill, try again */

/* Locked attempts: 0, KIN__LIST_NEED, KIN_ENOTFOUND (take), or negative. */
int kin__list_put(struct kin__list *list, int64_t index, bool at_end, struct kin__supplies *s);
int kin__list_take(struct kin__list *list, uint64_t index, struct kin__supplies *s);
int kin__list_replace(struct kin__list *list, uint64_t index, struct kin__supplies *s);

void kin__supplies_init(struct kin__supplies *s, bool full);
int kin__supplies_fill(struct kin__supplies *s);
void kin__supplies_finish(struct kin__supplies *s);

int kin__list_lock(struct kin__list *list);
void kin__list_unlock(struct kin__list *list);

/* The index as a caller means it → 0 .. items - 1; false if out of range. */
bool kin__list_index(const struct kin__list *list, int64_t index, uint64_t *ret_index);

/* Locked: the word of an element. */
int kin__list_word(struct kin__list *list, uint64_t index, uint64_t *ret_word);

int kin__list_clear(struct kin__list *list);

#endif
