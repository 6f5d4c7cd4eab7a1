/*
 * Blocks of shared memory: allocation that a kill at any instruction leaves consistent.
 * Layer: shm. Protocol: docs/design/arena.md.
 */
#ifndef KIN_SHM_ARENA_H
#define KIN_SHM_ARENA_H

#include "shm/slot.h"

/* Lays the heap out in a new arena whose head and tables are zero. */
int kin__arena_init(void);

/*
 * Allocates at least `size` bytes, aligned to 64, not zeroed. The block is on `lease` from the
 * instruction that takes it: if this process dies before the lease is dropped, it is freed again.
 * It lies in the arena, whatever others have written there.
 * KIN_EQUOTA when the quota or the machine's memory is spent (after a sweep), -EINVAL for 0.
 */
int kin__block_alloc(uint64_t size, kin__lease *lease, uint64_t *ret_offset);

/* Frees a live block. -EINVAL if the offset is not the start of one (nothing is changed then). */
int kin__block_free(uint64_t offset);

/* Usable bytes of the live block that starts at the offset, 0 if none does. */
uint64_t kin__block_size(uint64_t offset);

/* The live block that contains the offset: its start and usable size; false if none does. */
bool kin__block_find(uint64_t offset, uint64_t *ret_start, uint64_t *ret_size);

/* The block's current generation, for kin__lease_value; 0 if it is not live. */
uint64_t kin__block_generation(uint64_t offset);

/* Puts an already live block on a lease of ours (its receiver does, before it becomes ours). */
int kin__lease_hold(kin__lease *lease, uint64_t offset);

/* Whether a lease value names a block that is live, and still the same one. */
bool kin__lease_is_live(uint64_t lease_value);

/* For the sweeper: frees the block that a dead process's lease names, if it is still that one. */
void kin__block_free_leased(uint64_t lease_value);

/*
 * Object memory, up to 16 KiB a block: type-stable, in slabs that are never freed, each block
 * beginning with a robust mutex that was initialised once. The rest of the struct kin__object is
 * zero at first and then what the caller makes of it; other contents are undefined. For object.c
 * only. kin__object_block_alloc may sweep and grow, as kin__block_alloc does: call both with no
 * internal lock held, but for an object's own mutex.
 */
int kin__object_block_alloc(uint64_t size, uint64_t *ret_offset);
void kin__object_block_free(uint64_t offset);

/* Makes `slot` the one that the block's word names: it answers for the block from here on. */
void kin__object_block_own(uint64_t offset, uint32_t slot);

/* Whether the offset, from an untrusted reference, is that of an object block (free or not). */
bool kin__object_block_exists(uint64_t offset);

/*
 * Calls `visit` for every object block that is not free, with its offset and the slot of the
 * process that allocated it. Takes no lock (slabs are only ever added): blocks that come and go
 * meanwhile may be visited or not.
 */
void kin__object_block_each(void (*visit)(uint64_t offset, uint32_t slot, void *arg), void *arg);

/* Bytes in live blocks and their number, objects included. */
int kin__heap_usage(uint64_t *ret_used, uint64_t *ret_blocks);

#endif
