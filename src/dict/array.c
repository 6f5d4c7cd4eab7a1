/* Shared values and arrays: <kinfolk/value.h>. Layer: dict.
 * Protocol: docs/design/family.md, "Holding". */
#include <kinfolk/value.h>

#include <string.h>

#include "base/options.h"
#include "sync/lock.h"

/* Constants but for `items`, which goes to 0 when the array is taken apart. */
struct kin_array {
    struct kin__object object;
    uint64_t count;
    uint64_t item_size;
    uint32_t raw;
    kin_ref rlock;  /* of the lock, which each holder of the array holds as well; unless raw */
    kin__a64 items; /* lease value of the block */
};

static void fini(struct kin__object *object)
{
    kin_array *array = (kin_array *)object;
    kin__block_free_leased(kin__a64_load(&array->items));
    kin__a64_store(&array->items, 0);
}

static const struct kin__type type = {.name = "array", .fini = fini};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_VALUE, &type);
}

static int enter(const kin_array *array)
{
    return kin__sync_enter((const struct kin__object *)array, KIN__TYPE_VALUE);
}

/* The lock; NULL in a raw array, and where the array does not hold what it must. */
static kin_rlock *lock_of(const kin_array *array)
{
    return array->raw != 0
               ? NULL
               : (kin_rlock *)kin__sync_referent(&array->rlock, sizeof(kin_rlock), KIN__TYPE_RLOCK);
}

/* The items; NULL where the object does not hold what it must. */
static char *items_of(const kin_array *array)
{
    uint64_t offset = kin__lease_offset(kin__a64_load_relaxed(&array->items)), bytes;
    return __builtin_mul_overflow(array->count, array->item_size, &bytes)
               ? NULL
               : kin__at(offset, bytes);
}

/* A hold on the lock that the options name, for the array; NULL for none. */
static int choose_lock(const struct kin_array_options *options, kin_rlock **ret_lock)
{
    *ret_lock = options->rlock;
    if (options->raw != 0) {
        return options->rlock == NULL ? 0 : -EINVAL;
    }
    if (options->rlock == NULL) {
        return kin_rlock_create(NULL, ret_lock);
    }
    int rc = kin__sync_enter((struct kin__object *)options->rlock, KIN__TYPE_RLOCK);
    if (rc == 0) {
        kin__object_hold((struct kin__object *)options->rlock);
    }
    return rc;
}

/* The block is the array's from the instruction that stores it there; before, it is our lease's. */
static int give_items(kin_array *array, uint64_t bytes, const void *items)
{
    kin__lease *lease = kin__lease_take();
    uint64_t offset;
    int rc = kin__block_alloc(bytes, lease, &offset);
    if (rc == 0) {
        void *block = kin__at(offset, bytes);
        if (items != NULL) {
            memcpy(block, items, bytes);
        } else {
            memset(block, 0, bytes);
        }
        kin__a64_store(&array->items, kin__a64_load_relaxed(lease));
        kin__a64_store(lease, 0);
    }
    kin__lease_drop(lease);
    return rc;
}

int kin_array_create(size_t count, size_t item_size, const void *items,
                     const struct kin_array_options *given, kin_array **ret_array)
{
    struct kin_array_options options = KIN_ARRAY_OPTIONS_INIT;
    uint64_t bytes;
    if (ret_array == NULL || count == 0 || item_size == 0) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc == 0 && __builtin_mul_overflow((uint64_t)count, (uint64_t)item_size, &bytes)) {
        rc = KIN_EQUOTA;
    }
    rc = rc < 0 ? rc : kin__enter();
    kin_rlock *lock = NULL;
    rc = rc < 0 ? rc : choose_lock(&options, &lock);
    if (rc < 0) {
        return rc;
    }
    struct kin__object *object;
    rc = kin__object_create(KIN__TYPE_VALUE, sizeof(kin_array), &object);
    if (rc == 0) {
        kin_array *array = (kin_array *)object;
        array->count = count;
        array->item_size = item_size;
        array->raw = options.raw != 0;
        if (lock != NULL) {
            kin__object_ref(&lock->object, &array->rlock);
        }
        rc = give_items(array, bytes, items);
        if (rc < 0) {
            kin__object_drop(object);
        } else {
            kin__object_ready(object);
            *ret_array = array;
        }
    }
    if (rc < 0) {
        kin_rlock_destroy(lock);
    }
    return rc;
}

void *kin_array_data(kin_array *array)
{
    return enter(array) < 0 ? NULL : items_of(array);
}

size_t kin_array_count(kin_array *array)
{
    return enter(array) < 0 ? 0 : array->count;
}

size_t kin_array_item_size(kin_array *array)
{
    return enter(array) < 0 ? 0 : array->item_size;
}

/* What get and set have in common: where the item is, with the lock held unless the array is raw. */
static int begin(kin_array *array, size_t index, char **ret_item)
{
    int rc = enter(array);
    if (rc < 0) {
        return rc;
    }
    char *items = items_of(array);
    kin_rlock *lock = lock_of(array);
    if (items == NULL || (lock == NULL && array->raw == 0)) {
        return KIN_ECORRUPT;
    }
    if (index >= array->count) {
        return -ERANGE;
    }
    *ret_item = items + index * array->item_size;
    return lock == NULL ? 0 : kin_rlock_lock(lock, KIN_FOREVER);
}

static void end(kin_array *array)
{
    kin_rlock *lock = lock_of(array);
    if (lock != NULL) {
        kin_rlock_unlock(lock);
    }
}

int kin_array_get(kin_array *array, size_t index, void *ret_item)
{
    char *item;
    int rc = ret_item == NULL ? -EINVAL : begin(array, index, &item);
    if (rc >= 0) {
        memcpy(ret_item, item, array->item_size);
        end(array);
    }
    return rc;
}

int kin_array_set(kin_array *array, size_t index, const void *item)
{
    char *to;
    int rc = item == NULL ? -EINVAL : begin(array, index, &to);
    if (rc >= 0) {
        memcpy(to, item, array->item_size);
        end(array);
    }
    return rc;
}

int kin_array_lock(kin_array *array, int64_t timeout_ns)
{
    int rc = enter(array);
    if (rc < 0) {
        return rc;
    }
    kin_rlock *lock = lock_of(array);
    return lock == NULL ? KIN_ESTATE : kin_rlock_lock(lock, timeout_ns);
}

int kin_array_unlock(kin_array *array)
{
    int rc = enter(array);
    if (rc < 0) {
        return rc;
    }
    kin_rlock *lock = lock_of(array);
    return lock == NULL ? KIN_ESTATE : kin_rlock_unlock(lock);
}

int kin_array_ref(kin_array *array, kin_ref *ret_ref)
{
    int rc = ret_ref == NULL ? -EINVAL : enter(array);
    if (rc == 0) {
        kin__object_ref(&array->object, ret_ref);
    }
    return rc;
}

int kin_array_attach(const kin_ref *ref, kin_array **ret_array)
{
    if (ref == NULL || ret_array == NULL) {
        return -EINVAL;
    }
    struct kin__object *object, *lock;
    int rc = kin__enter();
    rc = rc < 0 ? rc : kin__object_attach(ref, KIN__TYPE_VALUE, &object);
    if (rc < 0) {
        return rc;
    }
    kin_array *array = (kin_array *)object;
    /* Whoever gave us the reference holds the array, and with it the lock. */
    if (array->raw == 0 &&
        (rc = kin__object_attach(&array->rlock, KIN__TYPE_RLOCK, &lock)) < 0) {
        kin__object_drop(object);
        return rc;
    }
    *ret_array = array;
    return 0;
}

kin_array *kin_array_destroy(kin_array *array)
{
    if (array != NULL && enter(array) == 0) {
        kin_rlock *lock = lock_of(array);
        kin__object_drop(&array->object);
        kin_rlock_destroy(lock);
    }
    return NULL;
}
