/* The public operations on one entry of a dictionary. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include <errno.h>
#include <string.h>

#include "dict/dict.h"

int kin_dict_set(kin_dict *dict, const void *key, size_t key_size, const void *value,
                 size_t value_size)
{
    struct kin__dict_key k;
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    rc = kin__dict_store(dict, &k, value, value_size, KIN__WHEN_ALWAYS, NULL);
    kin__dict_key_fini(&k);
    return rc < 0 ? rc : 0;
}

int kin_dict_insert(kin_dict *dict, const void *key, size_t key_size, const void *value,
                    size_t value_size)
{
    struct kin__dict_key k;
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    rc = kin__dict_store(dict, &k, value, value_size, KIN__WHEN_MISSING, NULL);
    kin__dict_key_fini(&k);
    return rc;
}

int kin_dict_get(kin_dict *dict, const void *key, size_t key_size, void *buffer, size_t *size)
{
    struct kin__dict_key k;
    struct kin__scratch value;
    if (size == NULL || (buffer == NULL && *size > 0)) {
        return -EINVAL;
    }
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    kin__scratch_init(&value);
    rc = kin__dict_read(&k, *size, &value);
    if (rc == 0 && value.size > 0) {
        memcpy(buffer, value.data, value.size);
    }
    if (rc == 0 || rc == KIN_ETOOBIG) {
        *size = value.size;
    }
    kin__scratch_fini(&value);
    kin__dict_key_fini(&k);
    return rc;
}

int kin_dict_contains(kin_dict *dict, const void *key, size_t key_size)
{
    struct kin__dict_key k;
    struct kin__table_view view;
    struct kin__table_slot *slot;
    struct kin__item_view item;
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    rc = kin__stripe_lock(k.stripe);
    if (rc == 0) {
        rc = kin__dict_find(&k, &view, &slot, &item);
        kin__stripe_unlock(k.stripe);
    }
    kin__dict_key_fini(&k);
    return rc;
}

/* Takes the entry out; the item is ours alone then, so that the copy needs no lock. */
static int take(const struct kin__dict_key *key, void *buffer, size_t *size, kin__lease *old)
{
    struct kin__table_view view;
    struct kin__table_slot *slot;
    struct kin__item_view item;
    size_t room = *size;
    int rc = kin__stripe_lock(key->stripe);
    if (rc < 0) {
        return rc;
    }
    rc = kin__dict_find(key, &view, &slot, &item);
    if (rc > 0 && item.value_size <= room) {
        kin__stripe_unlink(key->stripe, &view, slot, old);
    }
    kin__stripe_unlock(key->stripe);
    if (rc <= 0) {
        return rc < 0 ? rc : KIN_ENOTFOUND;
    }
    *size = item.value_size;
    if (item.value_size > room) {
        return KIN_ETOOBIG;
    }
    if (item.value_size > 0) {
        memcpy(buffer, item.value, item.value_size);
    }
    return 0;
}

int kin_dict_pop(kin_dict *dict, const void *key, size_t key_size, void *buffer, size_t *size)
{
    struct kin__dict_key k;
    if (size == NULL || (buffer == NULL && *size > 0)) {
        return -EINVAL;
    }
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    kin__lease *old = kin__lease_take();
    rc = take(&k, buffer, size, old);
    kin__lease_finish(old);
    kin__dict_key_fini(&k);
    return rc;
}

int kin_dict_delete(kin_dict *dict, const void *key, size_t key_size)
{
    struct kin__dict_key k;
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    rc = kin__dict_remove(&k, KIN__WHEN_ALWAYS, NULL);
    kin__dict_key_fini(&k);
    return rc < 0 ? rc : 0;
}

int kin_dict_compare_set(kin_dict *dict, const void *key, size_t key_size, const void *expected,
                         size_t expected_size, const void *desired, size_t desired_size)
{
    struct kin__dict_key k;
    struct kin__scratch value;
    if ((expected == NULL && expected_size > 0) || (desired == NULL && desired_size > 0)) {
        return -EINVAL;
    }
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    kin__scratch_init(&value);
    enum kin__dict_when when = expected != NULL ? KIN__WHEN_EQUAL : KIN__WHEN_MISSING;
    rc = kin__scratch_copy(&value, expected, expected_size);
    if (rc == 0 && desired != NULL) {
        rc = kin__dict_store(dict, &k, desired, desired_size, when, &value);
    } else if (rc == 0 && expected != NULL) {
        rc = kin__dict_remove(&k, when, &value);
        rc = rc == KIN_ENOTFOUND ? 0 : rc;
    } else if (rc == 0) {
        rc = kin_dict_contains(dict, key, key_size);
        rc = rc < 0 ? rc : !rc; /* missing, as expected, and desired so */
    }
    kin__scratch_fini(&value);
    kin__dict_key_fini(&k);
    return rc;
}

/* Adds in place, by one store of the eight bytes: 1, 0 if the key is not there, or negative. */
static int add_in_place(const struct kin__dict_key *key, int64_t delta, int64_t *ret_sum)
{
    struct kin__table_view view;
    struct kin__table_slot *slot;
    struct kin__item_view item;
    int rc = kin__stripe_lock(key->stripe);
    if (rc < 0) {
        return rc;
    }
    rc = kin__dict_find(key, &view, &slot, &item);
    if (rc > 0) {
        if (item.value_size != sizeof(int64_t)) {
            rc = KIN_ETYPE;
        } else {
            kin__a64 *counter = (kin__a64 *)(void *)item.value;
            int64_t value = (int64_t)kin__a64_load_relaxed(counter);
            if (__builtin_add_overflow(value, delta, ret_sum)) {
                rc = -ERANGE;
            } else {
                kin__a64_store(counter, (uint64_t)*ret_sum); /* commit */
            }
        }
    }
    kin__stripe_unlock(key->stripe);
    return rc;
}

int kin_dict_add(kin_dict *dict, const void *key, size_t key_size, int64_t delta,
                 int64_t *ret_value)
{
    struct kin__dict_key k;
    int64_t sum;
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = add_in_place(&k, delta, &sum);
        if (rc == 0) {
            sum = delta;
            rc = kin__dict_store(dict, &k, &sum, sizeof sum, KIN__WHEN_MISSING, NULL);
        }
    } while (rc == 0); /* 0: somebody else stored it in between */
    kin__dict_key_fini(&k);
    if (rc < 0) {
        return rc;
    }
    if (ret_value != NULL) {
        *ret_value = sum;
    }
    return 0;
}

/* One round of an update: 1 done, 0 the value changed meanwhile, or negative. */
static int update_once(kin_dict *dict, const struct kin__dict_key *key,
                       struct kin__scratch *value, kin_dict_update_fn *update, void *arg)
{
    int rc = kin__dict_read(key, SIZE_MAX, value);
    if (rc < 0 && rc != KIN_ENOTFOUND) {
        return rc;
    }
    bool there = rc == 0;
    enum kin__dict_when when = there ? KIN__WHEN_EQUAL : KIN__WHEN_MISSING;
    struct kin_dict_value desired = {NULL, 0};
    rc = update(there ? value->data : NULL, there ? value->size : 0, &desired, arg);
    if (rc < 0 || rc == KIN_DICT_KEEP) {
        return rc;
    }
    if (rc == 0) {
        return kin__dict_store(dict, key, desired.data, desired.size, when, value);
    }
    if (rc != KIN_DICT_REMOVE) {
        return -EINVAL;
    }
    rc = there ? kin__dict_remove(key, when, value) : 1;
    return rc == KIN_ENOTFOUND ? 0 : rc;
}

int kin_dict_update(kin_dict *dict, const void *key, size_t key_size, kin_dict_update_fn *update,
                    void *arg)
{
    struct kin__dict_key k;
    struct kin__scratch value;
    if (update == NULL) {
        return -EINVAL;
    }
    int rc = kin__dict_key_init(&k, dict, key, key_size);
    if (rc < 0) {
        return rc;
    }
    kin__scratch_init(&value);
    do {
        rc = update_once(dict, &k, &value, update, arg);
    } while (rc == 0);
    kin__scratch_fini(&value);
    kin__dict_key_fini(&k);
    return rc < 0 ? rc : 0;
}
