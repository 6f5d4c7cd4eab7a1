/* Creating, attaching and giving up dictionaries; size and clear. Layer: dict.
 * Protocol: docs/design/dict.md. */
#include <errno.h>
#include <stdlib.h>

#include "base/options.h"
#include "dict/dict.h"
#include "os/os.h"

#define STRIPES 8

static kin_dict *drop(kin_dict *dict)
{
    if (dict != NULL) {
        for (unsigned i = 0; i < dict->stripes && dict->stripe[i] != NULL; i++) {
            kin__object_drop(&dict->stripe[i]->object);
        }
        if (dict->shared != NULL) {
            kin__object_drop(&dict->shared->object);
        }
        free(dict);
    }
    return NULL;
}

static int make_stripes(kin_dict *dict)
{
    for (unsigned i = 0; i < dict->stripes; i++) {
        struct kin__object *object;
        kin_ref ref;
        int rc = kin__object_create(KIN__TYPE_STRIPE, sizeof(struct kin__stripe), &object);
        if (rc < 0) {
            return rc;
        }
        dict->stripe[i] = (struct kin__stripe *)object;
        kin__object_ready(object);
        kin__object_ref(object, &ref);
        dict->shared->stripe_ref[i] = ref.word[1];
    }
    return 0;
}

static int make_room(kin_dict *dict, uint64_t expected)
{
    /* Keys do not spread evenly: an eighth more for each stripe. */
    uint64_t each = expected / dict->stripes;
    each += each / 8 + 4;
    for (unsigned i = 0; i < dict->stripes; i++) {
        int rc = kin__stripe_grow(dict->stripe[i], each);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static void fill(kin_dict *dict)
{
    dict->stripes = (unsigned)dict->shared->stripes;
    dict->shift = 64 - kin__log2(dict->stripes);
    dict->seed[0] = dict->shared->seed[0];
    dict->seed[1] = dict->shared->seed[1];
}

int kin_dict_create(const struct kin_dict_options *given, kin_dict **ret_dict)
{
    struct kin_dict_options options = KIN_DICT_OPTIONS_INIT;
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc < 0 || ret_dict == NULL) {
        return -EINVAL;
    }
    uint64_t stripes = options.stripes == 0 ? STRIPES : options.stripes;
    if (stripes > KIN_DICT_STRIPES || (stripes & (stripes - 1)) != 0) {
        return -EINVAL;
    }
    rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin_dict *dict = calloc(1, sizeof *dict);
    struct kin__object *object;
    if (dict == NULL) {
        return -ENOMEM;
    }
    rc = kin__object_create(KIN__TYPE_DICT, sizeof(struct kin__dict), &object);
    if (rc == 0) {
        dict->shared = (struct kin__dict *)object;
        dict->shared->stripes = stripes;
        rc = kin__random(dict->shared->seed, sizeof dict->shared->seed);
    }
    if (rc == 0) {
        fill(dict);
        rc = make_stripes(dict);
    }
    if (rc == 0 && options.expected > 0) {
        rc = make_room(dict, options.expected);
    }
    if (rc < 0) {
        drop(dict);
        return rc;
    }
    kin__object_ready(&dict->shared->object);
    *ret_dict = dict;
    return 0;
}

int kin_dict_attach(const kin_ref *ref, kin_dict **ret_dict)
{
    if (ref == NULL || ret_dict == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin_dict *dict = calloc(1, sizeof *dict);
    if (dict == NULL) {
        return -ENOMEM;
    }
    struct kin__object *object;
    rc = kin__object_attach(ref, KIN__TYPE_DICT, &object);
    if (rc == 0) {
        dict->shared = (struct kin__dict *)object;
        uint64_t stripes = dict->shared->stripes;
        if (stripes == 0 || stripes > KIN_DICT_STRIPES || (stripes & (stripes - 1)) != 0) {
            rc = KIN_ECORRUPT;
        } else {
            fill(dict);
        }
    }
    for (unsigned i = 0; rc == 0 && i < dict->stripes; i++) {
        kin_ref stripe = {{ref->word[0], dict->shared->stripe_ref[i]}};
        rc = kin__object_attach(&stripe, KIN__TYPE_STRIPE, &object);
        if (rc == 0) {
            dict->stripe[i] = (struct kin__stripe *)object;
        }
    }
    if (rc < 0) {
        drop(dict);
        return rc;
    }
    *ret_dict = dict;
    return 0;
}

int kin_dict_ref(const kin_dict *dict, kin_ref *ret_ref)
{
    if (dict == NULL || ret_ref == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc == 0) {
        kin__object_ref(&dict->shared->object, ret_ref);
    }
    return rc;
}

kin_dict *kin_dict_destroy(kin_dict *dict)
{
    if (dict != NULL && kin__enter() < 0) {
        /* A child without a slot holds nothing that could be given up. */
        free(dict);
        return NULL;
    }
    return drop(dict);
}

int kin_dict_size(kin_dict *dict, size_t *ret_entries)
{
    if (dict == NULL || ret_entries == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    uint64_t entries = 0;
    for (unsigned i = 0; i < dict->stripes; i++) {
        /* Without the lock: the count is one word; between a commit and its store it lags by one,
         * and where a process died in between it does so until the next lock. */
        entries += kin__a64_load(&dict->stripe[i]->items);
    }
    *ret_entries = entries;
    return 0;
}

int kin_dict_clear(kin_dict *dict)
{
    if (dict == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    for (unsigned i = 0; rc == 0 && i < dict->stripes; i++) {
        rc = kin__stripe_clear(dict->stripe[i]);
    }
    return rc;
}

static const struct kin__type type = {.name = "dict"};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_DICT, &type);
}
