/*
 * This process's view of its family: the mapped arena and who we are in it. Layer: shm.
 * Protocol: docs/design/family.md.
 */
#ifndef KIN_SHM_FAMILY_H
#define KIN_SHM_FAMILY_H

#include <stddef.h>
#include <stdint.h>

#include "shm/layout.h"

/* Constant once the family is founded or joined; inherited by forked children. */
struct kin__family {
    char *base;             /* NULL: no family yet */
    uint64_t size;          /* bytes mapped */
    int fd;                 /* the arena's memfd */
    uint64_t inode;
    struct kin__head *head; /* == base */
};
extern struct kin__family kin__family;

/* Who this process is: in a page that the kernel wipes in forked children. */
struct kin__self {
    kin__a32 ready; /* 1: this process has claimed its slot */
    uint32_t slot;
    uint32_t generation;
    int32_t pid;
    kin__a64 lease_map[KIN__LEASES / 64]; /* which of our leases are taken */
    kin__a32 lease_gate; /* 1: a thread is taking several */
};
extern struct kin__self *kin__self;

/* Founds or joins; see kin__enter. */
int kin__family_enter_slowly(void);

/*
 * The first thing that every public function does: makes sure that this process has a family and
 * a slot of its own (also after a foreign fork). Returns 0, or why it cannot be.
 */
static inline int kin__enter(void)
{
    struct kin__self *self = kin__pointer_load(&kin__self);
    if (KIN__LIKELY(self != NULL && kin__a32_load(&self->ready) != 0)) {
        return 0;
    }
    return kin__family_enter_slowly();
}

/*
 * A spawned child joins by its inherited arena fd and the slot that its parent reserved for it
 * (KIN__NO_SLOT: claims one itself). Fails with KIN_EABI, KIN_EADDRESS, KIN_ENOFAMILY, ...
 * Takes over the fd on success.
 */
int kin__family_join(int fd, uint32_t slot, uint32_t generation);

/*
 * Reserving the slot of a child that does not come from fork() in this process (spawn, a zygote's
 * child): the embryo holds every object that this process holds. The caller releases the slot if no
 * child came to be.
 */
int kin__family_reserve(uint32_t *ret_slot, uint32_t *ret_generation);

/*
 * The fork of this thread that follows is ours: its embryo's slot is stored through the pointers
 * by the prepare handler (KIN__NO_SLOT if the family is full: then the child is born without a
 * slot and claims one itself, if it can). Foreign forks get an embryo in the same way.
 */
void kin__family_watch_fork(uint32_t *ret_slot, uint32_t *ret_generation);

/*
 * Marks this process's end as an orderly one (as a destructor of the library does at exit): for
 * children that end by _exit.
 */
void kin__family_leave(void);

/* `length` bytes at an offset of the arena's file, or NULL if that is not inside it. */
static inline void *kin__in_file(uint64_t offset, uint64_t length)
{
    uint64_t committed = kin__a64_load_relaxed(&kin__family.head->committed);
    if (KIN__UNLIKELY(committed > kin__family.size || offset >= committed ||
                      length > committed - offset)) {
        return NULL;
    }
    return kin__family.base + offset;
}

/*
 * The same in the data area, where blocks and objects lie: for offsets read from shared memory. What
 * comes before is the family's own tables, into which no link that somebody has spoilt may lead.
 */
static inline void *kin__at(uint64_t offset, uint64_t length)
{
    return KIN__UNLIKELY(offset < kin__family.head->data_offset) ? NULL
                                                                 : kin__in_file(offset, length);
}

/* The offset of a pointer into the arena. */
static inline uint64_t kin__offset(const void *pointer)
{
    return (uint64_t)((const char *)pointer - kin__family.base);
}

/* Whether the pointer lies in the arena's mapping. */
static inline bool kin__inside(const void *pointer)
{
    return kin__family.base != NULL && (const char *)pointer >= kin__family.base &&
           (uint64_t)((const char *)pointer - kin__family.base) < kin__family.size;
}

/* Robust, process-shared. Used once in the life of the memory (type-stable). */
void kin__mutex_init(pthread_mutex_t *mutex);

/*
 * Locks; returns 0, 1 if the last owner died inside (the caller repairs what the lock guards; the
 * mutex is already consistent), or -errno.
 */
int kin__mutex_lock(pthread_mutex_t *mutex);
void kin__mutex_unlock(pthread_mutex_t *mutex);

#endif
