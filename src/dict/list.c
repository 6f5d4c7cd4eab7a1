/* The public operations on lists. Layer: dict. Protocol: docs/design/dict.md. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/options.h"
#include "dict/list.h"

int kin_list_create(const struct kin_list_options *given, kin_list **ret_list)
{
    struct kin_list_options options = KIN_LIST_OPTIONS_INIT;
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc < 0 || ret_list == NULL) {
        return -EINVAL;
    }
    rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin_list *list = calloc(1, sizeof *list);
    struct kin__object *object;
    if (list == NULL) {
        return -ENOMEM;
    }
    rc = kin__object_create(KIN__TYPE_LIST, sizeof(struct kin__list), &object);
    if (rc < 0) {
        free(list);
        return rc;
    }
    kin__object_ready(object);
    list->shared = (struct kin__list *)object;
    *ret_list = list;
    return 0;
}

int kin_list_attach(const kin_ref *ref, kin_list **ret_list)
{
    if (ref == NULL || ret_list == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin_list *list = calloc(1, sizeof *list);
    struct kin__object *object;
    if (list == NULL) {
        return -ENOMEM;
    }
    rc = kin__object_attach(ref, KIN__TYPE_LIST, &object);
    if (rc < 0) {
        free(list);
        return rc;
    }
    list->shared = (struct kin__list *)object;
    *ret_list = list;
    return 0;
}

int kin_list_ref(const kin_list *list, kin_ref *ret_ref)
{
    if (list == NULL || ret_ref == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc == 0) {
        kin__object_ref(&list->shared->object, ret_ref);
    }
    return rc;
}

kin_list *kin_list_destroy(kin_list *list)
{
    if (list != NULL) {
        if (kin__enter() == 0) {
            kin__object_drop(&list->shared->object);
        }
        free(list);
    }
    return NULL;
}

/* --- storing --------------------------------------------------------------------------------- */

enum how {
    APPEND,
    INSERT,
    REPLACE,
};

static int attempt(struct kin__list *list, enum how how, int64_t index, struct kin__supplies *s)
{
    uint64_t at;
    if (how != REPLACE) {
        return kin__list_put(list, index, how == APPEND, s);
    }
    return kin__list_index(list, index, &at) ? kin__list_replace(list, at, s) : KIN_ENOTFOUND;
}

/* The supplies with the new element made. */
static int make(struct kin__supplies *s, bool full, kin_list *list, const void *data, size_t size,
                struct kin__item **ret_item)
{
    kin__supplies_init(s, full);
    int rc = kin__item_make(data, size, NULL, 0, s->item, ret_item);
    if (rc == 0) {
        (*ret_item)->owner = kin__offset(list->shared);
    }
    return rc;
}

static int store(kin_list *list, enum how how, int64_t index, const void *data, size_t size)
{
    struct kin__supplies s;
    struct kin__item *item;
    if (list == NULL || (data == NULL && size > 0)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    rc = make(&s, false, list, data, size, &item);
    while (rc == 0) {
        rc = kin__list_lock(list->shared);
        if (rc < 0) {
            break;
        }
        rc = attempt(list->shared, how, index, &s);
        kin__list_unlock(list->shared);
        if (rc != KIN__LIST_NEED) {
            break;
        }
        rc = 0;
        if (!s.full) {
            unsigned chunks = s.need_chunks;
            uint64_t rows = s.need_rows;
            kin__supplies_finish(&s);
            rc = make(&s, true, list, data, size, &item);
            s.need_chunks = chunks;
            s.need_rows = rows;
        }
        if (rc == 0) {
            rc = kin__supplies_fill(&s);
        }
    }
    if (KIN__FAULT(COMMIT_BEFORE_WRITE) && rc == 0 && size > 0) {
        memcpy(item + 1, data, size);
    }
    kin__supplies_finish(&s);
    return rc;
}

int kin_list_append(kin_list *list, const void *data, size_t size)
{
    return store(list, APPEND, 0, data, size);
}

int kin_list_insert(kin_list *list, int64_t index, const void *data, size_t size)
{
    return store(list, INSERT, index, data, size);
}

int kin_list_set(kin_list *list, int64_t index, const void *data, size_t size)
{
    return store(list, REPLACE, index, data, size);
}

int kin_list_extend(kin_list *list, const struct kin_list_item *items, size_t count)
{
    if (list == NULL || (items == NULL && count > 0) || count > INT_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        int rc = store(list, APPEND, 0, items[i].data, items[i].size);
        if (rc < 0) {
            return i == 0 ? rc : (int)i;
        }
    }
    return (int)count;
}

/* --- reading and removing --------------------------------------------------------------------- */

/* Locked: a view of the element at the caller's index. */
static int look(struct kin__list *list, int64_t index, uint64_t *ret_at,
                struct kin__item_view *ret_item)
{
    uint64_t word;
    if (!kin__list_index(list, index, ret_at)) {
        return KIN_ENOTFOUND;
    }
    int rc = kin__list_word(list, *ret_at, &word);
    return rc < 0 ? rc : kin__item_view(word, ret_item);
}

/* Copies the element into private memory: 0, KIN_ETOOBIG with the size in copy->size, ... */
static int read_item(struct kin__list *list, int64_t index, size_t room, struct kin__scratch *copy)
{
    for (;;) {
        struct kin__item_view item;
        uint64_t at;
        int rc = kin__list_lock(list);
        if (rc < 0) {
            return rc;
        }
        rc = look(list, index, &at, &item);
        if (rc == 0) {
            copy->size = item.value_size;
            rc = item.value_size > room ? KIN_ETOOBIG : item.value_size > copy->room ? 1 : 0;
        }
        if (rc == 0) {
            memcpy(copy->data, item.value, item.value_size);
        }
        kin__list_unlock(list);
        if (rc != 1) {
            return rc;
        }
        size_t size = copy->size;
        rc = kin__scratch_grow(copy, size);
        if (rc < 0) {
            return rc;
        }
    }
}

int kin_list_get(kin_list *list, int64_t index, void *buffer, size_t *size)
{
    struct kin__scratch copy;
    if (list == NULL || size == NULL || (buffer == NULL && *size > 0)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin__scratch_init(&copy);
    rc = read_item(list->shared, index, *size, &copy);
    if (rc == 0 && copy.size > 0) {
        memcpy(buffer, copy.data, copy.size);
    }
    if (rc == 0 || rc == KIN_ETOOBIG) {
        *size = copy.size;
    }
    kin__scratch_fini(&copy);
    return rc;
}

/* Takes the element out; `size` NULL: whatever its size. *ret_item is valid while it is on the
 * supplies' lease. */
static int take(struct kin__list *list, int64_t index, const size_t *room,
                struct kin__supplies *s, struct kin__item_view *ret_item)
{
    for (;;) {
        uint64_t at;
        int rc = kin__list_lock(list);
        if (rc < 0) {
            return rc;
        }
        rc = look(list, index, &at, ret_item);
        if (rc == 0 && room != NULL && ret_item->value_size > *room) {
            rc = KIN_ETOOBIG;
        }
        if (rc == 0) {
            rc = kin__list_take(list, at, s);
        }
        kin__list_unlock(list);
        if (rc != KIN__LIST_NEED) {
            return rc;
        }
        if (!s->full) {
            struct kin__supplies lacking = *s;
            kin__supplies_finish(s);
            kin__supplies_init(s, true);
            s->need_chunks = lacking.need_chunks;
            s->need_rows = lacking.need_rows;
        }
        rc = kin__supplies_fill(s);
        if (rc < 0) {
            return rc;
        }
    }
}

int kin_list_pop(kin_list *list, int64_t index, void *buffer, size_t *size)
{
    struct kin__supplies s;
    struct kin__item_view item;
    if (list == NULL || size == NULL || (buffer == NULL && *size > 0)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin__supplies_init(&s, false);
    rc = take(list->shared, index, size, &s, &item);
    if (rc == 0 || rc == KIN_ETOOBIG) {
        *size = item.value_size;
    }
    if (rc == 0 && item.value_size > 0) {
        memcpy(buffer, item.value, item.value_size); /* ours alone by now */
    }
    kin__supplies_finish(&s);
    return rc;
}

int kin_list_delete(kin_list *list, int64_t index)
{
    struct kin__supplies s;
    struct kin__item_view item;
    if (list == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    kin__supplies_init(&s, false);
    rc = take(list->shared, index, NULL, &s, &item);
    kin__supplies_finish(&s);
    return rc;
}

int kin_list_size(kin_list *list, size_t *ret_elements)
{
    if (list == NULL || ret_elements == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc == 0) {
        *ret_elements = kin__a64_load(&list->shared->items);
    }
    return rc;
}

int kin_list_clear(kin_list *list)
{
    if (list == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    return rc < 0 ? rc : kin__list_clear(list->shared);
}
