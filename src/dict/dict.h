/* A process's handle on a dictionary, and what one operation on it needs. Layer: dict.
 * Protocol: docs/design/dict.md. */
#ifndef KIN_DICT_DICT_H
#define KIN_DICT_DICT_H

#include <kinfolk/dict.h>

#include "dict/stripe.h"

/* Constant once it is live, but for `order`. The object's mutex is not used: stripes have their
 * own. */
struct kin__dict {
    struct kin__object object;
    uint64_t seed[2];
    kin__a64 order; /* arrivals of keys so far */
    uint64_t stripes; /* a power of two */
    uint64_t stripe_ref[KIN_DICT_STRIPES]; /* the second word of each stripe's reference */
};

struct kin_dict {
    struct kin__dict *shared;
    unsigned stripes;
    unsigned shift; /* a hash's bits from here on are its stripe */
    uint64_t seed[2];
    struct kin__stripe *stripe[KIN_DICT_STRIPES];
};

/* A key, copied out of user memory, with its hash and stripe. */
struct kin__dict_key {
    struct kin__scratch copy;
    uint64_t hash;
    struct kin__stripe *stripe;
};

/* Checks the arguments, enters the family and copies the key; on 0, kin__dict_key_fini. */
int kin__dict_key_init(struct kin__dict_key *key, const kin_dict *dict, const void *data,
                       size_t size);
void kin__dict_key_fini(struct kin__dict_key *key);

/* Locked: the key's slot, as kin__table_find. */
int kin__dict_find(const struct kin__dict_key *key, struct kin__table_view *ret_view,
                   struct kin__table_slot **ret_slot, struct kin__item_view *ret_item);

/* What is required of the present value for an operation to go on; NULL-able private copies. */
enum kin__dict_when {
    KIN__WHEN_ALWAYS,
    KIN__WHEN_MISSING, /* the key must not be there */
    KIN__WHEN_EQUAL,   /* the value must be `expected` */
};

/*
 * Stores a value: 1 if it did so, 0 if `when` did not hold, or negative. `value` is user memory.
 */
int kin__dict_store(kin_dict *dict, const struct kin__dict_key *key, const void *value,
                    size_t value_size, enum kin__dict_when when,
                    const struct kin__scratch *expected);

/* Removes an entry: 1, 0 if `when` did not hold, KIN_ENOTFOUND, or negative. */
int kin__dict_remove(const struct kin__dict_key *key, enum kin__dict_when when,
                     const struct kin__scratch *expected);

/* Copies the value into `copy`. 0, KIN_ENOTFOUND, KIN_ETOOBIG with the size needed in copy->size
 * if that is more than `room`. */
int kin__dict_read(const struct kin__dict_key *key, size_t room, struct kin__scratch *copy);

#endif
