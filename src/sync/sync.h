/* What the primitives share: checking a handle at the door. Layer: sync. */
#ifndef KIN_SYNC_SYNC_H
#define KIN_SYNC_SYNC_H

#include <errno.h>

#include "shm/object.h"
#include "shm/wait.h"

/*
 * Handles of this layer are the shared objects themselves: the arena lies at the same address in
 * every member, so a handle that a forked child inherits is as good as its parent's.
 */
static inline int kin__sync_enter(const struct kin__object *object, enum kin__type_id id)
{
    int rc = kin__enter();
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    if (KIN__UNLIKELY(!kin__inside(object))) {
        return -EINVAL;
    }
    /* The tag's low half: {state : 8, type : 8}. */
    uint16_t tag = (uint16_t)kin__a64_load_relaxed(&object->tag);
    return KIN__LIKELY(tag == (KIN__OBJECT_LIVE << 8 | id)) ? 0 : KIN_ESTALE;
}

/* The object of `size` bytes that another one refers to and holds; NULL if the reference does not
 * lead to one. */
static inline struct kin__object *kin__sync_referent(const kin_ref *ref, uint64_t size,
                                                     enum kin__type_id id)
{
    struct kin__object *object = kin__at(kin__lease_offset(ref->word[1]), size);
    return object != NULL && kin__sync_enter(object, id) == 0 ? object : NULL;
}

/*
 * The three functions that every type has. `kind` is the public type without its prefix; `object`
 * is the first member of its struct.
 */
#define KIN__SYNC_HANDLE(kind, id)                                                                 \
    int kin_##kind##_ref(kin_##kind *handle, kin_ref *ret_ref)                                     \
    {                                                                                              \
        int rc = kin__sync_enter((struct kin__object *)handle, id);                                \
        if (rc < 0 || ret_ref == NULL) {                                                           \
            return rc < 0 ? rc : -EINVAL;                                                          \
        }                                                                                          \
        kin__object_ref(&handle->object, ret_ref);                                                 \
        return 0;                                                                                  \
    }                                                                                              \
                                                                                                   \
    int kin_##kind##_attach(const kin_ref *ref, kin_##kind **ret_handle)                           \
    {                                                                                              \
        if (ref == NULL || ret_handle == NULL) {                                                   \
            return -EINVAL;                                                                        \
        }                                                                                          \
        struct kin__object *object;                                                                \
        int rc = kin__enter();                                                                     \
        if (rc == 0) {                                                                             \
            rc = kin__object_attach(ref, id, &object);                                             \
        }                                                                                          \
        if (rc == 0) {                                                                             \
            *ret_handle = (kin_##kind *)object;                                                    \
        }                                                                                          \
        return rc;                                                                                 \
    }                                                                                              \
                                                                                                   \
    kin_##kind *kin_##kind##_destroy(kin_##kind *handle)                                           \
    {                                                                                              \
        if (handle != NULL && kin__sync_enter(&handle->object, id) == 0) {                         \
            kin__object_drop(&handle->object);                                                     \
        }                                                                                          \
        return NULL;                                                                               \
    }

/* For try-forms that fail: looks for dead members at most once a slice in this process, so that
 * polling alone brings back what a dead process held. Returns whether anybody was swept. */
bool kin__sync_poll(void);

/* The calling thread's number, never 0 and never used again in this process. A forked child's
 * thread keeps it: it is one of another process. */
uint32_t kin__sync_thread(void);

#endif
