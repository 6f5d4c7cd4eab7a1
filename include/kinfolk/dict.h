/*
 * Dictionaries of byte strings in shared memory: what a Manager is for, without a manager process.
 *
 * Keys and values are any bytes, empty ones too. Any number of processes and threads of the family
 * may use a dictionary at once: it is cut into stripes with a lock each, so operations on different
 * keys mostly do not meet. Each operation on one key happens wholly or not at all, also when its
 * process is killed in the middle of it, and hangs nobody.
 *
 * A handle is private to a process and may be used by its threads at once and, after a fork, by
 * the child. Other members get a handle from a reference (kin_dict_ref, kin_dict_attach). The
 * dictionary itself lives as long as any process holds a handle.
 *
 * Nothing here waits but for the short internal lock of a stripe (which is held for the copy of a
 * value). Every function may also return: -EINVAL for a NULL or nonsensical argument; -ENOMEM;
 * KIN_ECORRUPT when shared memory holds what the library never writes; KIN_EFAMILYFULL, KIN_EFORKED
 * or another error of joining the family in a process that uses the library for the first time.
 * What stores can also return KIN_EQUOTA when the arena is full; nothing is changed then.
 */
#ifndef KINFOLK_DICT_H
#define KINFOLK_DICT_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_dict kin_dict;

#define KIN_DICT_STRIPES 64 /* most stripes of a dictionary */

struct kin_dict_options {
    size_t size;     /* of this struct */
    size_t stripes;  /* a power of two up to KIN_DICT_STRIPES; 0: 8 */
    size_t expected; /* entries to make room for at once; 0: it grows as it fills */
};
#define KIN_DICT_OPTIONS_INIT {sizeof(struct kin_dict_options), 0, 0}

/* Creates an empty dictionary; `options` NULL: the defaults. 0, KIN_EQUOTA. */
KIN_API int kin_dict_create(const struct kin_dict_options *options, kin_dict **ret_dict);

/* Gives the handle back (NULL allowed); returns NULL. With the last handle the entries go. */
KIN_API kin_dict *kin_dict_destroy(kin_dict *dict);

/* The dictionary's name, to be sent to another member; the sender keeps its handle until then. */
KIN_API int kin_dict_ref(const kin_dict *dict, kin_ref *ret_ref);

/* A handle of this process's own, from a reference. 0, KIN_ESTALE, KIN_ETYPE, KIN_ENOFAMILY. */
KIN_API int kin_dict_attach(const kin_ref *ref, kin_dict **ret_dict);

/* --- one entry ---------------------------------------------------------------------------- */

/* Stores a copy of the value under a copy of the key, in place of what was there. */
KIN_API int kin_dict_set(kin_dict *dict, const void *key, size_t key_size, const void *value,
                         size_t value_size);

/* Stores only if the key is not there. Returns 1 if it stored, 0 if the key was there. */
KIN_API int kin_dict_insert(kin_dict *dict, const void *key, size_t key_size, const void *value,
                            size_t value_size);

/*
 * Copies the value into `buffer`. `*size` is the room on entry and the value's length on return.
 * 0; KIN_ENOTFOUND; KIN_ETOOBIG when the room is too small: then `*size` is the length needed.
 */
KIN_API int kin_dict_get(kin_dict *dict, const void *key, size_t key_size, void *buffer,
                         size_t *size);

/* The same, and removes the entry (not with KIN_ETOOBIG). Exactly one caller gets it. */
KIN_API int kin_dict_pop(kin_dict *dict, const void *key, size_t key_size, void *buffer,
                         size_t *size);

/* Removes the entry. 0, KIN_ENOTFOUND. */
KIN_API int kin_dict_delete(kin_dict *dict, const void *key, size_t key_size);

/* 1 if the key is there, 0 if not. */
KIN_API int kin_dict_contains(kin_dict *dict, const void *key, size_t key_size);

/*
 * Replaces the value only if it is, byte for byte, the `expected` one (NULL: only if the key is not
 * there). `desired` NULL removes the entry. Returns 1 if it did so, 0 if the value differed. An
 * empty value is a non-NULL pointer with size 0.
 */
KIN_API int kin_dict_compare_set(kin_dict *dict, const void *key, size_t key_size,
                                 const void *expected, size_t expected_size, const void *desired,
                                 size_t desired_size);

/*
 * Adds `delta` to a counter, a value of exactly 8 bytes that holds an int64_t; a missing one counts
 * as 0 and is stored. `ret_value` (NULL allowed) receives the sum. 0; -ERANGE where the sum does
 * not fit; KIN_ETYPE for a value of another size. Nothing is changed on either.
 */
KIN_API int kin_dict_add(kin_dict *dict, const void *key, size_t key_size, int64_t delta,
                         int64_t *ret_value);

/* A value to store, on return from a kin_dict_update_fn. */
struct kin_dict_value {
    const void *data;
    size_t size;
};
#define KIN_DICT_KEEP 1   /* leave the entry as it is */
#define KIN_DICT_REMOVE 2 /* remove it */

/*
 * Computes the new value from the present one (`value` NULL: the key is not there), which is a
 * private copy, aligned to 16. Returns 0 to store *ret_value (whatever it points to need live only
 * until the next call or the end of kin_dict_update), KIN_DICT_KEEP, KIN_DICT_REMOVE, or a
 * negative code of its own to give up.
 */
typedef int kin_dict_update_fn(const void *value, size_t size, struct kin_dict_value *ret_value,
                               void *arg);

/*
 * Changes one entry atomically: calls `update` with the value, stores what it makes of it if the
 * value is still the same by then, else calls it again with the new one. No lock is held during
 * the call. Returns 0, or what `update` said when it was negative.
 */
KIN_API int kin_dict_update(kin_dict *dict, const void *key, size_t key_size,
                            kin_dict_update_fn *update, void *arg);

/* --- all entries -------------------------------------------------------------------------- */

/* How many entries there are: exact when nobody changes the dictionary meanwhile. */
KIN_API int kin_dict_size(kin_dict *dict, size_t *ret_entries);

/* Removes all entries, stripe by stripe: those that others store meanwhile may stay. */
KIN_API int kin_dict_clear(kin_dict *dict);

/*
 * A walk over the entries while others may change them: every key that is there from the beginning
 * to the end of the walk is returned exactly once, with the value that it has when it is returned;
 * one that is stored or removed meanwhile may be returned or not. In no particular order.
 * The cursor is private to one thread at a time and holds no lock between calls. It must be
 * destroyed before the handle.
 */
typedef struct kin_dict_cursor kin_dict_cursor;

KIN_API int kin_dict_cursor_create(kin_dict *dict, kin_dict_cursor **ret_cursor);
/* NULL allowed; returns NULL. */
KIN_API kin_dict_cursor *kin_dict_cursor_destroy(kin_dict_cursor *cursor);

/*
 * The next entry: returns 1 with the key in `key` and the value in `value` (NULL: not wanted), their
 * sizes in and out as in kin_dict_get; 0 at the end; KIN_ETOOBIG when either room is too small: the
 * sizes then tell what is needed, and the next call returns the same entry.
 */
KIN_API int kin_dict_cursor_next(kin_dict_cursor *cursor, void *key, size_t *key_size, void *value,
                                 size_t *value_size);

/*
 * A number of the entry that kin_dict_cursor_next returned last: keys stored later have larger ones,
 * and a key keeps its number while it is there, whatever its value becomes. Sorting by it gives the
 * order in which the keys came.
 */
KIN_API int kin_dict_cursor_order(const kin_dict_cursor *cursor, uint64_t *ret_order);

#ifdef __cplusplus
}
#endif

#endif
