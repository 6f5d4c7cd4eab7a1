/*
 * Shared objects (queues, locks, ...): their common head, who holds them, references to them.
 * Layer: shm. Protocol: docs/design/family.md.
 *
 * An object lives as long as some process holds it. Holding is a bit per process slot, so setting
 * and clearing it is idempotent and a dead process's bits can be cleared by anybody. A process
 * must hold an object before it touches it; hence the sweep of a dead process visits every object
 * that it can have left in the middle of something.
 */
#ifndef KIN_SHM_OBJECT_H
#define KIN_SHM_OBJECT_H

#include <kinfolk/base.h>

#include "shm/arena.h"

enum kin__type_id {
    KIN__TYPE_NONE,
    KIN__TYPE_LOCK,
    KIN__TYPE_RLOCK,
    KIN__TYPE_SEMAPHORE,
    KIN__TYPE_CONDITION,
    KIN__TYPE_EVENT,
    KIN__TYPE_BARRIER,
    KIN__TYPE_QUEUE,
    KIN__TYPE_DICT,
    KIN__TYPE_STRIPE, /* a part of a dictionary */
    KIN__TYPE_SEGMENT,
    KIN__TYPE_LIST,
    KIN__TYPE_VALUE,
    KIN__TYPE_POOL,
    KIN__TYPE_PROCESS,
    KIN__TYPE_CONNECTION,
    KIN__TYPE_TEST,
    KIN__TYPES,
};

enum kin__object_state {
    KIN__OBJECT_FREE,
    KIN__OBJECT_MAKING, /* allocated, not yet initialised by its module */
    KIN__OBJECT_LIVE,
    KIN__OBJECT_ENDING, /* nobody's any more: whoever dropped it last takes it apart */
};

struct kin__object {
    pthread_mutex_t mutex; /* robust, initialised once for the memory; for the module's own use */
    kin__a64 tag;          /* {generation : 48, state : 8, type : 8}; under the `objects` lock */
    kin__a64 holders[KIN__SLOTS / 64]; /* under the `objects` lock */
};

/* How a dead process ended. */
enum kin__end {
    KIN__END_ORDERLY,  /* it returned, called exit, or the like */
    KIN__END_ABNORMAL, /* a signal, _exit outside the library, another program */
};

/* What a module tells about its objects. */
struct kin__type {
    const char *name;
    /*
     * A process that held the object is dead: lock the object, repair it, take back what the dead
     * one had in it, wake whoever may depend on that. Idempotent: the sweeper may die too. May be
     * NULL.
     */
    void (*sweep)(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end);
    /* Nobody holds it: free the blocks that belong to it. Idempotent. May be NULL. */
    void (*fini)(struct kin__object *object);
};

/* Called by a constructor of each module, before main. */
void kin__type_register(enum kin__type_id id, const struct kin__type *type);

/*
 * A new object of `size` bytes (the struct kin__object included, at most 16 KiB), held by this
 * process, all bytes behind the head zero, in state MAKING: initialise it, then kin__object_ready.
 * The caller has entered (kin__enter).
 */
int kin__object_create(enum kin__type_id type, uint64_t size, struct kin__object **ret_object);

/* MAKING → LIVE: from here on references work, and sweep and fini are called. */
void kin__object_ready(struct kin__object *object);

/* One more private handle to the object in this process (which already holds it). */
void kin__object_hold(struct kin__object *object);

/* One handle fewer; with the last one this process holds it no longer, and if nobody else does,
 * the object is taken apart (also from MAKING: for failed constructors). */
void kin__object_drop(struct kin__object *object);

/* A reference to an object that this process holds. */
void kin__object_ref(const struct kin__object *object, kin_ref *ret_ref);

/*
 * Finds and holds the object that a reference names. KIN_ESTALE, KIN_ETYPE, KIN_ENOFAMILY for
 * another family's, -EINVAL for nonsense.
 */
int kin__object_attach(const kin_ref *ref, enum kin__type_id type,
                       struct kin__object **ret_object);

/* --- for the fork handlers and the sweeper ------------------------------------------------ */

/* The private table of handles must not change while a fork copies it. */
void kin__object_fork_lock(void);
void kin__object_fork_unlock(void);

/* Whether this process has any handle. */
bool kin__object_has_handles(void);

/* The embryo holds whatever `from` holds. */
void kin__object_inherit(uint32_t from, uint32_t to);

/* Calls the sweeps of everything that a dead process's slot holds. */
void kin__object_sweep(uint32_t slot, uint32_t generation, enum kin__end end);

/* Clears the bits of a dead process's slot and takes apart what nobody else holds. */
void kin__object_forget(uint32_t slot);

/* Live objects, for statistics. */
uint64_t kin__object_count(void);

#endif
