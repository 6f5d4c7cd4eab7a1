/*
 * Shared memory without a name: blocks of the family's arena.
 *
 * A family is a process and all that descend from it through the library; it is founded by the
 * first call that needs it. Its arena is one anonymous file of the kernel's (memfd), mapped at the
 * same address in every member, so that a pointer to a block means the same thing in all of them,
 * whether they were started before or after the block was allocated. Nothing of it survives the
 * last member, however that one dies.
 */
#ifndef KINFOLK_MEMORY_H
#define KINFOLK_MEMORY_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Allocates `size` bytes (zeroed by nobody: contents are undefined) aligned to 64 bytes. The block
 * belongs to the family, not to the process: it lives until somebody calls kin_free, even if the
 * allocating process ends. NULL when the arena's quota or the machine's memory is spent, when
 * `size` is 0, or when the family cannot be founded; kin_alloc_error tells which. Thread-safe,
 * safe in every member; does not block beyond a short internal lock.
 */
KIN_API void *kin_alloc(size_t size);

/* As kin_alloc, with all bytes zero and an overflow check on count * size. */
KIN_API void *kin_calloc(size_t count, size_t size);

/* Why this thread's last kin_alloc or kin_calloc returned NULL: KIN_EQUOTA, -EINVAL, ... */
KIN_API int kin_alloc_error(void);

/*
 * Gives a block back; any member may, exactly once. NULL is allowed. Returns 0, or -EINVAL for a
 * pointer that is not the start of a live block (nothing is changed then).
 */
KIN_API int kin_free(void *block);

/* Usable bytes of a live block, or 0 for anything else. */
KIN_API size_t kin_alloc_size(const void *block);

/* 1 if the `size` bytes at `pointer` lie in one live block of the arena, else 0. */
KIN_API int kin_is_shared(const void *pointer, size_t size);

struct kin_arena_stats {
    size_t size;        /* of this struct, set by the caller */
    size_t quota;       /* bytes the arena may grow to */
    size_t committed;   /* bytes it has grown to */
    size_t used;        /* bytes in live blocks, internal ones included */
    size_t blocks;      /* live blocks, internal ones included */
    size_t objects;     /* live queues, locks, ... */
    size_t processes;   /* live members of the family */
};
KIN_API int kin_arena_stats(struct kin_arena_stats *ret_stats);

/*
 * The quota, in bytes, of the arena that this process will found; -EBUSY once it is founded (the
 * first creation of anything shared does that). The default is the lesser of a quarter of the
 * memory available and half of the control group's limit. KINFOLK_ARENA_QUOTA in the environment
 * (bytes, or with a suffix K, M or G) overrides the default.
 */
KIN_API int kin_arena_set_quota(size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
