/* Taking, giving and recovering turns. Layer: channel. Protocol: docs/design/connection.md. */
#include "channel/turn.h"

#include <errno.h>

#include <kinfolk/base.h>

#define BUSY UINT64_C(1)

static uint64_t owner_of(uint32_t slot, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint64_t)(slot + 1) << 1;
}

static uint64_t owner_self(void)
{
    return owner_of(kin__self->slot, kin__self->generation);
}

static uint32_t slot_of(uint64_t owner)
{
    return ((uint32_t)owner >> 1) - 1;
}

static uint32_t generation_of(uint64_t owner)
{
    return (uint32_t)(owner >> 32);
}

static bool is_gone(uint64_t owner)
{
    uint32_t slot = slot_of(owner);
    return slot >= KIN__SLOTS || kin__slot_is_gone(slot, generation_of(owner));
}

/* The last owner died: what it left in the middle stays there for good. */
static void settle(struct kin__turn *turn)
{
    uint64_t mid = KIN__TURN_MID;
    kin__a64_cas(&turn->progress, &mid, kin__turn_broken(KIN_ETORN));
}

int kin__turn_take(struct kin__turn *turn, int64_t deadline, const kin__a64 *closed,
                   uint64_t closed_bit)
{
    const uint64_t self = owner_self();
    bool announced = false;
    uint32_t seen = 0;
    for (;;) {
        uint64_t owner = kin__a64_load(&turn->owner);
        if (owner == 0 || owner == self) {
            if (kin__a64_cas(&turn->owner, &owner, self | BUSY)) {
                return owner == self;
            }
            continue;
        }
        bool ours = (owner & ~BUSY) == self;
        if (!ours && is_gone(owner)) {
            /* By CAS from the dead owner's name: of several who notice, one takes over. */
            if (kin__a64_cas(&turn->owner, &owner, self | BUSY)) {
                settle(turn);
                return 0;
            }
            continue;
        }
        if (kin__a64_load_relaxed(closed) & closed_bit) {
            return KIN_ESTATE;
        }
        if (!announced) {
            seen = kin__door_announce(&turn->door);
            announced = true;
            continue;
        }
        announced = false;
        int rc = kin__door_wait(&turn->door, seen, ours ? KIN__NO_SLOT : slot_of(owner),
                                ours ? 0 : generation_of(owner), deadline);
        if (rc < 0) {
            return rc;
        }
    }
}

void kin__turn_give(struct kin__turn *turn)
{
    kin__a64_store(&turn->owner, 0);
    kin__door_ring_one(&turn->door);
}

void kin__turn_keep(struct kin__turn *turn)
{
    kin__a64_store(&turn->owner, owner_self());
    /* All: only a thread of this process can take it, and which sleeper is one nobody knows. */
    kin__door_ring_all(&turn->door);
}

int kin__turn_verdict(const struct kin__turn *turn)
{
    uint64_t owner = kin__a64_load(&turn->owner);
    uint64_t progress = kin__a64_load(&turn->progress);
    if (progress != KIN__TURN_MID) {
        return kin__turn_code(progress);
    }
    /* Read again: a name never comes back, so an owner that is gone, before and after, is the one
     * who left MID; and nobody moves progress until somebody has taken the turn. */
    bool torn = owner != 0 && is_gone(owner) && kin__a64_load(&turn->progress) == progress &&
                kin__a64_load(&turn->owner) == owner;
    return torn ? KIN_ETORN : 0;
}

void kin__turn_sweep(struct kin__turn *turn, uint32_t slot, uint32_t generation)
{
    uint64_t owner = kin__a64_load(&turn->owner);
    if ((owner & ~BUSY) != owner_of(slot, generation)) {
        return;
    }
    /* By taking it over, like everybody else: a sweeper that settled without owning the turn could
     * come late and break what the next owner has begun. If it dies here, its name is a dead
     * owner's in turn. */
    if (kin__a64_cas(&turn->owner, &owner, owner_self() | BUSY)) {
        settle(turn);
        kin__a64_store(&turn->owner, 0);
        kin__door_ring_all(&turn->door);
    }
}
