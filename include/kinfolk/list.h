/*
 * Lists of byte strings in shared memory.
 *
 * Any number of processes and threads of the family may use a list at once. Each operation happens
 * wholly or not at all, also when its process is killed in the middle of it, and hangs nobody.
 * Elements are counted from 0; a negative index counts from the end, -1 being the last element.
 * Reaching an element takes time in proportion to size / 250; inserting and deleting in the middle
 * copy 2 KiB at most times.
 *
 * A handle is private to a process and may be used by its threads at once and, after a fork, by
 * the child. Other members get a handle from a reference (kin_list_ref, kin_list_attach). The list
 * itself lives as long as any process holds a handle.
 *
 * Nothing here waits but for a short internal lock (which is held for the copy of an element).
 * Every function may also return: -EINVAL for a NULL or nonsensical argument; -ENOMEM; KIN_ECORRUPT
 * when shared memory holds what the library never writes; KIN_EFAMILYFULL, KIN_EFORKED or another
 * error of joining the family in a process that uses the library for the first time. What stores
 * can also return KIN_EQUOTA when the arena is full; nothing is changed then.
 */
#ifndef KINFOLK_LIST_H
#define KINFOLK_LIST_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_list kin_list;

struct kin_list_options {
    size_t size; /* of this struct */
};
#define KIN_LIST_OPTIONS_INIT {sizeof(struct kin_list_options)}

/* Creates an empty list; `options` NULL: the defaults. 0, KIN_EQUOTA. */
KIN_API int kin_list_create(const struct kin_list_options *options, kin_list **ret_list);

/* Gives the handle back (NULL allowed); returns NULL. With the last handle the elements go. */
KIN_API kin_list *kin_list_destroy(kin_list *list);

/* The list's name, to be sent to another member; the sender keeps its handle until then. */
KIN_API int kin_list_ref(const kin_list *list, kin_ref *ret_ref);

/* A handle of this process's own, from a reference. 0, KIN_ESTALE, KIN_ETYPE, KIN_ENOFAMILY. */
KIN_API int kin_list_attach(const kin_ref *ref, kin_list **ret_list);

/* Adds a copy of `size` bytes (0 allowed) at the end. */
KIN_API int kin_list_append(kin_list *list, const void *data, size_t size);

/* One element of kin_list_extend. */
struct kin_list_item {
    const void *data;
    size_t size;
};

/*
 * Appends `count` elements in order; those of other processes may come between them. Returns how
 * many it appended (at most INT_MAX): fewer than `count` after an error behind the first; if none
 * was appended, the error.
 */
KIN_API int kin_list_extend(kin_list *list, const struct kin_list_item *items, size_t count);

/*
 * Copies an element into `buffer`. `*size` is the room on entry and the element's length on return.
 * 0; KIN_ENOTFOUND for an index out of range; KIN_ETOOBIG when the room is too small: then `*size`
 * is the length needed.
 */
KIN_API int kin_list_get(kin_list *list, int64_t index, void *buffer, size_t *size);

/* The same, and removes the element (not with KIN_ETOOBIG). Exactly one caller gets it. */
KIN_API int kin_list_pop(kin_list *list, int64_t index, void *buffer, size_t *size);

/* Replaces an element. 0, KIN_ENOTFOUND. */
KIN_API int kin_list_set(kin_list *list, int64_t index, const void *data, size_t size);

/* Inserts before the element at the index; an index out of range means the nearest end. */
KIN_API int kin_list_insert(kin_list *list, int64_t index, const void *data, size_t size);

/* Removes an element. 0, KIN_ENOTFOUND. */
KIN_API int kin_list_delete(kin_list *list, int64_t index);

/* How many elements there are: exact when nobody changes the list meanwhile. */
KIN_API int kin_list_size(kin_list *list, size_t *ret_elements);

/* Removes all elements that are there, at once. */
KIN_API int kin_list_clear(kin_list *list);

#ifdef __cplusplus
}
#endif

#endif
