/*
 * Shared values and arrays: a number of items of one size in the family's memory, with a recursive
 * lock for whoever needs one. A value is an array of one item.
 *
 * A handle works in the process that created or attached it and, as it is, in every child forked
 * from it; other processes of the family attach by a reference. All functions are thread-safe;
 * only destroy must not run at the same time as another use of the same handle.
 *
 * The items lie in place: kin_array_data may be read and written directly, with the lock or with
 * C11 atomics where several processes do. kin_array_get and kin_array_set take the lock for one
 * item. When a process dies while it holds the lock, the next one to lock is told KIN_RECOVERED, as
 * by every kin_rlock: an item may be half written.
 *
 * Every function returns, besides what its own comment lists: -EINVAL for a handle, reference or
 * option that makes no sense, KIN_ESTALE for a handle to an array that is gone, and what entering
 * the family can say (KIN_EFAMILYFULL, KIN_EFORKED, -ENOMEM, ...).
 */
#ifndef KINFOLK_VALUE_H
#define KINFOLK_VALUE_H

#include <kinfolk/lock.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_array kin_array;

struct kin_array_options {
    size_t size;
    int raw;          /* 1: without a lock; not together with `rlock` */
    kin_rlock *rlock; /* NULL: a new one; else this, which the array keeps alive */
};
#define KIN_ARRAY_OPTIONS_INIT {sizeof(struct kin_array_options), 0, NULL}

/*
 * `count` items of `item_size` bytes, each at least 1, aligned to 64 bytes as a whole; copied from
 * `items`, or zero where that is NULL. KIN_EQUOTA: the arena is full.
 */
KIN_API int kin_array_create(size_t count, size_t item_size, const void *items,
                             const struct kin_array_options *options, kin_array **ret_array);

/* The items, in shared memory at the same address in every member; NULL for no handle. Valid as long
 * as a handle is held. */
KIN_API void *kin_array_data(kin_array *array);

/* Items and bytes of an item; 0 for no handle. */
KIN_API size_t kin_array_count(kin_array *array);
KIN_API size_t kin_array_item_size(kin_array *array);

/* Copies one item out or in, under the lock if there is one, waiting for that as long as it takes.
 * -ERANGE: no such index. KIN_RECOVERED (positive; done): the lock's last owner died. Or what the
 * thread's interrupt function said; then nothing is done. */
KIN_API int kin_array_get(kin_array *array, size_t index, void *ret_item);
KIN_API int kin_array_set(kin_array *array, size_t index, const void *item);

/* As kin_rlock_lock and kin_rlock_unlock. KIN_ESTATE for a raw array, which has no lock. */
KIN_API int kin_array_lock(kin_array *array, int64_t timeout_ns);
KIN_API int kin_array_unlock(kin_array *array);

KIN_API int kin_array_ref(kin_array *array, kin_ref *ret_ref);

/* KIN_ESTALE, KIN_ETYPE or KIN_ENOFAMILY for a reference that names no array of this family. */
KIN_API int kin_array_attach(const kin_ref *ref, kin_array **ret_array);

/* Gives this handle up; the items go with its last handle anywhere. NULL is allowed; returns
 * NULL. */
KIN_API kin_array *kin_array_destroy(kin_array *array);

#ifdef __cplusplus
}
#endif

#endif
