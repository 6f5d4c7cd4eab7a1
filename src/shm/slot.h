/* Process slots: claiming, liveness, leases. Layer: shm. Protocol: docs/design/family.md. */
#ifndef KIN_SHM_SLOT_H
#define KIN_SHM_SLOT_H

#include "os/os.h"
#include "shm/family.h"

/* The slot of that number, or NULL. */
struct kin__slot *kin__slot_at(uint32_t slot);

static inline uint32_t kin__slot_generation(uint64_t state)
{
    return (uint32_t)(state >> 32);
}
static inline enum kin__slot_phase kin__slot_phase(uint64_t state)
{
    return (enum kin__slot_phase)(state & 0xff);
}
/* KIN__NO_SLOT: none, or gone. */
static inline uint32_t kin__slot_reserver(uint64_t state)
{
    return (uint32_t)(state >> 8 & 0xffffff) - 1;
}
static inline uint64_t kin__slot_state(uint32_t generation, enum kin__slot_phase phase)
{
    return (uint64_t)generation << 32 | (uint32_t)phase;
}
static inline uint64_t kin__slot_embryo(uint32_t generation, uint32_t reserver)
{
    return (uint64_t)generation << 32 | (uint64_t)((reserver + 1) & 0xffffff) << 8 |
           KIN__SLOT_EMBRYO;
}

/* FREE → EMBRYO in the first free slot, after a sweep if there is none. KIN_EFAMILYFULL. */
int kin__slot_reserve(uint32_t *ret_slot, uint32_t *ret_generation);

/*
 * EMBRYO → LIVE by the process that the embryo was reserved for: pid, start time, life lock. Nobody
 * else writes the pid: who is late would write it into the slot of another.
 */
int kin__slot_adopt(uint32_t slot, uint32_t generation);

/* EMBRYO → swept and FREE: no child came to be. */
void kin__slot_release(uint32_t slot, uint32_t generation);

/*
 * Whether the process that had this generation of the slot is gone, as far as a cheap look tells
 * (its life word flipped and the kernel confirms it, or the slot moved on). Never wrong when true.
 */
bool kin__slot_is_gone(uint32_t slot, uint32_t generation);

/* What the kernel says, without regard to the life word. */
bool kin__slot_kernel_says_gone(uint32_t slot);

/*
 * For waits that depend on another process: the word to sleep on and the value to expect, with the
 * kernel's waiters bit set in it so that the death wakes us. Returns false if the word has already
 * flipped (or the slot has moved on): confirm with kin__slot_is_gone, and poll, do not sleep on it.
 */
bool kin__slot_life_word(uint32_t slot, uint32_t generation, kin__a32 **ret_word,
                         uint32_t *ret_seen);

/* --- leases of this process --------------------------------------------------------------- */

/* A free lease entry of ours, for one operation of one thread; yields while all are taken. */
kin__lease *kin__lease_take(void);

/*
 * Several at once, for an operation that needs them together: the caller holds none and takes no
 * more until it has dropped these, so that threads cannot wait for each other's.
 */
void kin__leases_take(kin__lease **ret_leases, unsigned count);

/* Clears the entry and gives it back. */
void kin__lease_drop(kin__lease *lease);

static inline uint64_t kin__lease_value(uint64_t offset, uint64_t generation)
{
    return (offset / 64) << 24 | (generation & 0xffffff);
}
static inline uint64_t kin__lease_offset(uint64_t value)
{
    return (value >> 24) * 64;
}
static inline uint64_t kin__lease_generation(uint64_t value)
{
    return value & 0xffffff;
}

/* --- sweeping (sweep.c) ------------------------------------------------------------------- */

/*
 * Looks for dead members and puts right what they left: objects' own sweeps, leases, holdings,
 * the slot. Cheap when nobody died: one look at each slot's life word. `deep` asks the kernel
 * about every member. Call with no internal lock held. Any member may, at any time; one at a time
 * does. Returns how many were swept.
 */
int kin__sweep(bool deep);

/* Called first by each kin__sweep, if set: the process layer reaps children that nobody joins. */
extern void (*kin__sweep_hook)(void);

/* Sweeps one slot whose process the caller knows to be gone (it reaped it). */
void kin__sweep_slot(uint32_t slot, uint32_t generation);

#endif
