/*
 * Shared objects: making, holding, referring, taking apart. Layer: shm.
 * Protocol: docs/design/family.md.
 */
#include "shm/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_OBJECT 16384

static const struct kin__type *types[KIN__TYPES];

void kin__type_register(enum kin__type_id id, const struct kin__type *type)
{
    types[id] = type;
}

static uint64_t tag_of(uint64_t generation, enum kin__object_state state, uint32_t type)
{
    return generation << 16 | (uint64_t)state << 8 | type;
}
static uint64_t tag_generation(uint64_t tag)
{
    return tag >> 16;
}
static enum kin__object_state tag_state(uint64_t tag)
{
    return (enum kin__object_state)(tag >> 8 & 0xff);
}
static uint32_t tag_type(uint64_t tag)
{
    return (uint32_t)(tag & 0xff);
}

/* --- this process's handles: how many it has on each object ------------------------------- */

/* Open addressing; offset 0: empty. An entry whose count fell to 0 stays until the next resize.
 * `lock` ranks outside every shared lock and is held across fork. */
static struct {
    pthread_mutex_t lock;
    struct handles {
        uint64_t offset;
        uint32_t count;
    } *entries;
    size_t size; /* a power of two, or 0 */
    size_t taken;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct handles *find(struct handles *entries, size_t size, uint64_t offset)
{
    size_t i = (size_t)((offset >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (size - 1);
    while (entries[i].offset != 0 && entries[i].offset != offset) {
        i = (i + 1) & (size - 1);
    }
    return &entries[i];
}

static int make_room(void)
{
    if (table.taken + 1 <= table.size / 2) {
        return 0;
    }
    size_t live = 0;
    for (size_t i = 0; i < table.size; i++) {
        live += table.entries[i].count > 0;
    }
    size_t size = 64;
    while (size < (live + 1) * 4) {
        size *= 2;
    }
    struct handles *entries = calloc(size, sizeof *entries);
    if (entries == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < table.size; i++) {
        if (table.entries[i].count > 0) {
            *find(entries, size, table.entries[i].offset) = table.entries[i];
        }
    }
    free(table.entries);
    table.entries = entries;
    table.size = size;
    table.taken = live;
    return 0;
}

/* The entry for an object; there is room for it (make_room). */
static struct handles *entry_of(uint64_t offset)
{
    struct handles *entry = find(table.entries, table.size, offset);
    if (entry->offset == 0) {
        entry->offset = offset;
        table.taken++;
    }
    return entry;
}

void kin__object_fork_lock(void)
{
    pthread_mutex_lock(&table.lock);
}

KIN__FORK_PATH void kin__object_fork_unlock(void)
{
    pthread_mutex_unlock(&table.lock);
}

bool kin__object_has_handles(void)
{
    bool any = false;
    pthread_mutex_lock(&table.lock);
    for (size_t i = 0; i < table.size; i++) {
        any = any || table.entries[i].count > 0;
    }
    pthread_mutex_unlock(&table.lock);
    return any;
}

/* --- holding ------------------------------------------------------------------------------ */

/* The bits are correct at every instruction: an owner's death inside needs no repair. */
static void lock_objects(void)
{
    kin__mutex_lock(&kin__family.head->objects);
}

static void unlock_objects(void)
{
    kin__mutex_unlock(&kin__family.head->objects);
}

static bool holds(const struct kin__object *object, uint32_t slot)
{
    return (kin__a64_load(&object->holders[slot / 64]) >> slot % 64 & 1) != 0;
}

static void set_holder(struct kin__object *object, uint32_t slot)
{
    kin__a64_or(&object->holders[slot / 64], UINT64_C(1) << slot % 64);
}

static void clear_holder(struct kin__object *object, uint32_t slot)
{
    kin__a64_and(&object->holders[slot / 64], ~(UINT64_C(1) << slot % 64));
}

static bool held_by_others(const struct kin__object *object, uint32_t slot)
{
    for (uint32_t i = 0; i < KIN__ARRAY_SIZE(object->holders); i++) {
        uint64_t word = kin__a64_load(&object->holders[i]);
        if (i == slot / 64) {
            word &= ~(UINT64_C(1) << slot % 64);
        }
        if (word != 0) {
            return true;
        }
    }
    return false;
}

/* The object is ENDING and `slot` is its only holder. */
static void take_apart(struct kin__object *object, uint32_t slot, uint32_t type)
{
    if (type < KIN__TYPES && types[type] != NULL && types[type]->fini != NULL) {
        types[type]->fini(object);
    }
    /* If we die behind the untagging, the sweep of `slot` finds memory of its own without a tag. */
    kin__object_block_own(kin__offset(object), slot);
    lock_objects();
    uint64_t tag = kin__a64_load(&object->tag);
    kin__a64_store(&object->tag, tag_of(tag_generation(tag), KIN__OBJECT_FREE, KIN__TYPE_NONE));
    clear_holder(object, slot);
    unlock_objects();
    kin__object_block_free(kin__offset(object));
}

/* Ends the holding of `slot`; the last holder takes the object apart. */
static void let_go(struct kin__object *object, uint32_t slot)
{
    lock_objects();
    uint64_t tag = kin__a64_load(&object->tag);
    enum kin__object_state state = tag_state(tag);
    uint32_t type = state == KIN__OBJECT_MAKING ? KIN__TYPE_NONE : tag_type(tag); /* no fini */
    bool last = false;
    if (state != KIN__OBJECT_FREE && holds(object, slot)) {
        if (held_by_others(object, slot)) {
            clear_holder(object, slot);
        } else {
            /* Our bit stays: if we die in fini, whoever sweeps us finishes it. A death of a
             * finisher leaves ENDING behind, whose fini is begun again. */
            last = true;
            kin__a64_store(&object->tag,
                           tag_of(tag_generation(tag), KIN__OBJECT_ENDING, type));
        }
    }
    unlock_objects();
    if (last) {
        take_apart(object, slot, type);
    }
}

int kin__object_create(enum kin__type_id type, uint64_t size, struct kin__object **ret_object)
{
    if (size < sizeof(struct kin__object) || size > SIZE_MAX_OBJECT) {
        return -EINVAL;
    }
    pthread_mutex_lock(&table.lock);
    uint64_t offset;
    int rc = make_room();
    if (rc == 0) {
        rc = kin__object_block_alloc(size, &offset);
    }
    struct kin__object *object = rc < 0 ? NULL : kin__at(offset, size);
    if (object != NULL) {
        memset(object + 1, 0, size - sizeof *object);
        uint64_t generation = kin__a64_add(&kin__family.head->generation, 1) + 1;
        lock_objects();
        set_holder(object, kin__self->slot);
        kin__a64_store(&object->tag, tag_of(generation, KIN__OBJECT_MAKING, type));
        unlock_objects();
        entry_of(offset)->count = 1;
        *ret_object = object;
    } else if (rc == 0) {
        rc = KIN_ECORRUPT;
    }
    pthread_mutex_unlock(&table.lock);
    return rc;
}

void kin__object_ready(struct kin__object *object)
{
    lock_objects();
    uint64_t tag = kin__a64_load(&object->tag);
    kin__a64_store(&object->tag,
                   tag_of(tag_generation(tag), KIN__OBJECT_LIVE, tag_type(tag)));
    unlock_objects();
}

void kin__object_hold(struct kin__object *object)
{
    pthread_mutex_lock(&table.lock);
    entry_of(kin__offset(object))->count++;
    pthread_mutex_unlock(&table.lock);
}

void kin__object_drop(struct kin__object *object)
{
    pthread_mutex_lock(&table.lock);
    struct handles *entry = find(table.entries, table.size, kin__offset(object));
    bool last = entry->count == 1;
    if (entry->count > 0) {
        entry->count--;
    }
    if (last) {
        /* Under the private lock, so that an attach in another thread sees all or nothing. */
        let_go(object, kin__self->slot);
    }
    pthread_mutex_unlock(&table.lock);
}

/* --- references --------------------------------------------------------------------------- */

void kin__object_ref(const struct kin__object *object, kin_ref *ret_ref)
{
    uint64_t generation = tag_generation(kin__a64_load(&object->tag));
    ret_ref->word[0] = kin__family.head->family;
    ret_ref->word[1] = kin__lease_value(kin__offset(object), generation);
}

int kin__object_attach(const kin_ref *ref, enum kin__type_id type,
                       struct kin__object **ret_object)
{
    if (ref->word[0] != kin__family.head->family) {
        return ref->word[0] == 0 ? -EINVAL : KIN_ENOFAMILY;
    }
    uint64_t offset = kin__lease_offset(ref->word[1]);
    if (!kin__object_block_exists(offset)) {
        return KIN_ESTALE;
    }
    struct kin__object *object = kin__at(offset, sizeof *object);
    if (object == NULL) {
        return KIN_ESTALE;
    }
    pthread_mutex_lock(&table.lock);
    int rc = make_room();
    if (rc == 0) {
        lock_objects();
        uint64_t tag = kin__a64_load(&object->tag);
        if (tag_state(tag) != KIN__OBJECT_LIVE ||
            (tag_generation(tag) & 0xffffff) != kin__lease_generation(ref->word[1])) {
            rc = KIN_ESTALE;
        } else if (tag_type(tag) != type) {
            rc = KIN_ETYPE;
        } else {
            set_holder(object, kin__self->slot);
        }
        unlock_objects();
    }
    if (rc == 0) {
        entry_of(offset)->count++;
        *ret_object = object;
    }
    pthread_mutex_unlock(&table.lock);
    return rc;
}

/* --- fork and sweep ----------------------------------------------------------------------- */

struct inheritance {
    uint32_t from;
    uint32_t to;
};

static void inherit(uint64_t offset, uint32_t slot, void *arg)
{
    (void)slot;
    const struct inheritance *who = arg;
    struct kin__object *object = kin__at(offset, sizeof *object);
    if (object == NULL || !holds(object, who->from)) {
        return;
    }
    enum kin__object_state state = tag_state(kin__a64_load(&object->tag));
    if (state == KIN__OBJECT_MAKING || state == KIN__OBJECT_LIVE) {
        set_holder(object, who->to);
    }
}

void kin__object_inherit(uint32_t from, uint32_t to)
{
    struct inheritance who = {.from = from, .to = to};
    lock_objects();
    kin__object_block_each(inherit, &who);
    unlock_objects();
}

struct death {
    uint32_t slot;
    uint32_t generation;
    enum kin__end end;
};

static void sweep(uint64_t offset, uint32_t slot, void *arg)
{
    (void)slot;
    const struct death *death = arg;
    struct kin__object *object = kin__at(offset, sizeof *object);
    if (object == NULL || !holds(object, death->slot)) {
        return;
    }
    uint64_t tag = kin__a64_load(&object->tag);
    uint32_t type = tag_type(tag);
    if (tag_state(tag) == KIN__OBJECT_LIVE && type < KIN__TYPES && types[type] != NULL &&
        types[type]->sweep != NULL) {
        types[type]->sweep(object, death->slot, death->generation, death->end);
    }
}

void kin__object_sweep(uint32_t slot, uint32_t generation, enum kin__end end)
{
    struct death death = {.slot = slot, .generation = generation, .end = end};
    kin__object_block_each(sweep, &death);
}

static void forget(uint64_t offset, uint32_t owner, void *arg)
{
    uint32_t slot = *(const uint32_t *)arg;
    struct kin__object *object = kin__at(offset, sizeof *object);
    if (object == NULL) {
        return;
    }
    if (tag_state(kin__a64_load(&object->tag)) != KIN__OBJECT_FREE) {
        let_go(object, slot);
        return;
    }
    /* Without a tag and ours to answer for: it died in the middle of making or freeing this. */
    clear_holder(object, slot);
    if (owner == slot) {
        kin__object_block_free(offset);
    }
}

void kin__object_forget(uint32_t slot)
{
    kin__object_block_each(forget, &slot);
}

static void count(uint64_t offset, uint32_t slot, void *arg)
{
    (void)offset;
    (void)slot;
    ++*(uint64_t *)arg;
}

uint64_t kin__object_count(void)
{
    uint64_t n = 0;
    kin__object_block_each(count, &n);
    return n;
}
