/* Process slots: claiming, liveness, leases. Layer: shm. Protocol: docs/design/family.md. */
#include "shm/slot.h"

#include <errno.h>
#include <kinfolk/base.h>
#include <linux/futex.h>

#include "shm/tracker.h"

KIN__FORK_PATH struct kin__slot *kin__slot_at(uint32_t slot)
{
    if (slot >= KIN__SLOTS) {
        return NULL;
    }
    return kin__in_file(kin__family.head->slots_offset + (uint64_t)slot * sizeof(struct kin__slot),
                        sizeof(struct kin__slot));
}

static int take_free(uint32_t *ret_slot, uint32_t *ret_generation)
{
    struct kin__head *head = kin__family.head;
    uint32_t reserver = KIN__NO_SLOT;
    if (kin__self != NULL && kin__a32_load(&kin__self->ready) != 0) {
        reserver = kin__self->slot;
        kin__a32_store(&kin__slot_at(reserver)->reserves, 1);
    }
    for (uint32_t i = 0; i < KIN__SLOTS; i++) {
        struct kin__slot *slot = kin__slot_at(i);
        uint64_t state = kin__a64_load(&slot->state);
        if (kin__slot_phase(state) != KIN__SLOT_FREE) {
            continue;
        }
        /* Before the slot is taken: whoever takes it and dies is not to be missed by a sweep. */
        uint32_t high = kin__a32_load(&head->slots_high);
        while (i >= high && !kin__a32_cas(&head->slots_high, &high, i + 1)) {
        }
        uint32_t generation = kin__slot_generation(state) + 1;
        if (!kin__a64_cas(&slot->state, &state, kin__slot_embryo(generation, reserver))) {
            continue;
        }
        kin__a64_store(&slot->reserved_at, kin__clock_ticks());
        *ret_slot = i;
        *ret_generation = generation;
        return 0;
    }
    return KIN_EFAMILYFULL;
}

int kin__slot_reserve(uint32_t *ret_slot, uint32_t *ret_generation)
{
    int rc = take_free(ret_slot, ret_generation);
    if (rc == KIN_EFAMILYFULL && kin__sweep(true) > 0) {
        rc = take_free(ret_slot, ret_generation);
    }
    return rc;
}

KIN__FORK_PATH static bool is_embryo(uint64_t state, uint32_t generation)
{
    return kin__slot_generation(state) == generation && kin__slot_phase(state) == KIN__SLOT_EMBRYO;
}

KIN__FORK_PATH int kin__slot_adopt(uint32_t number, uint32_t generation)
{
    struct kin__slot *slot = kin__slot_at(number);
    if (slot == NULL) {
        return -EINVAL;
    }
    uint64_t state = kin__a64_load(&slot->state);
    if (!is_embryo(state, generation)) {
        return KIN_ESTALE;
    }
    int32_t pid = kin__pid();
    /* Not its start time, which would cost each child a look into /proc. */
    kin__a64_store(&slot->seen_at, kin__clock_ticks());
    kin__a32_store(&slot->tracker, kin__tracker_inherited());
    kin__a32_store(&slot->pid, (uint32_t)pid);
    if (kin__a32_load(&slot->life_ready) == 0) {
        kin__mutex_init(&slot->life);
        kin__a32_store(&slot->life_ready, 1);
    }
    int rc = kin__mutex_lock(&slot->life);
    if (rc < 0) {
        return rc;
    }
    /* Again if its reserver has died meanwhile and a sweep has noted that. */
    while (!kin__a64_cas(&slot->state, &state, kin__slot_state(generation, KIN__SLOT_LIVE))) {
        if (!is_embryo(state, generation)) {
            kin__mutex_unlock(&slot->life);
            return KIN_ESTALE;
        }
    }
    kin__self->slot = number;
    kin__self->generation = generation;
    kin__self->pid = pid;
    kin__a32_store(&kin__self->ready, 1);
    return 0;
}

void kin__slot_release(uint32_t slot, uint32_t generation)
{
    kin__sweep_slot(slot, generation);
}

static kin__a32 *life_word(struct kin__slot *slot)
{
    /* glibc keeps the futex of a mutex in its first word. */
    return (kin__a32 *)(void *)&slot->life;
}

bool kin__slot_is_gone(uint32_t number, uint32_t generation)
{
    struct kin__slot *slot = kin__slot_at(number);
    if (slot == NULL) {
        return true;
    }
    uint64_t state = kin__a64_load(&slot->state);
    if (kin__slot_generation(state) != generation) {
        return true;
    }
    switch (kin__slot_phase(state)) {
    case KIN__SLOT_LIVE:
        if ((kin__a32_load(life_word(slot)) & FUTEX_OWNER_DIED) == 0) {
            return false;
        }
        break;
    case KIN__SLOT_EMBRYO:
        if (kin__a32_load(&slot->pid) == 0) {
            return false;
        }
        break;
    default:
        return true;
    }
    return kin__slot_kernel_says_gone(number);
}

bool kin__slot_kernel_says_gone(uint32_t number)
{
    struct kin__slot *slot = kin__slot_at(number);
    bool live = kin__slot_phase(kin__a64_load(&slot->state)) == KIN__SLOT_LIVE;
    enum kin__life life =
        kin__process_life((int32_t)kin__a32_load(&slot->pid), kin__a64_load(&slot->seen_at),
                          live ? kin__family.inode : 0);
    return life == KIN__LIFE_GONE || life == KIN__LIFE_OTHER_IMAGE;
}

bool kin__slot_life_word(uint32_t number, uint32_t generation, kin__a32 **ret_word,
                         uint32_t *ret_seen)
{
    struct kin__slot *slot = kin__slot_at(number);
    if (slot == NULL) {
        return false;
    }
    kin__a32 *word = life_word(slot);
    uint32_t seen = kin__a32_load(word);
    do {
        /* No thread id: not locked yet, or flipped. */
        if ((seen & FUTEX_OWNER_DIED) != 0 || (seen & FUTEX_TID_MASK) == 0) {
            return false;
        }
    } while ((seen & FUTEX_WAITERS) == 0 && !kin__a32_cas(word, &seen, seen | FUTEX_WAITERS));
    if (kin__a64_load(&slot->state) != kin__slot_state(generation, KIN__SLOT_LIVE)) {
        return false;
    }
    *ret_word = word;
    *ret_seen = seen | FUTEX_WAITERS;
    return true;
}

/* --- leases ------------------------------------------------------------------------------- */

kin__lease *kin__lease_take(void)
{
    for (;;) {
        for (unsigned i = 0; i < KIN__ARRAY_SIZE(kin__self->lease_map); i++) {
            uint64_t map = kin__a64_load_relaxed(&kin__self->lease_map[i]);
            while (map != UINT64_MAX) {
                unsigned bit = (unsigned)__builtin_ctzll(~map);
                if (kin__a64_cas(&kin__self->lease_map[i], &map, map | UINT64_C(1) << bit)) {
                    return &kin__slot_at(kin__self->slot)->lease[i * 64 + bit];
                }
            }
        }
        kin__yield();
    }
}

void kin__leases_take(kin__lease **ret_leases, unsigned count)
{
    /* One thread at a time collects; all that it can wait for is held by finished collectors. The
     * gate is in the page that a fork wipes: a child's is open. */
    uint32_t open = 0;
    while (!kin__a32_cas(&kin__self->lease_gate, &open, 1)) {
        open = 0;
        kin__yield();
    }
    for (unsigned i = 0; i < count; i++) {
        ret_leases[i] = kin__lease_take();
    }
    kin__a32_store(&kin__self->lease_gate, 0);
}

void kin__lease_drop(kin__lease *lease)
{
    kin__a64_store(lease, 0);
    uint64_t index = (uint64_t)(lease - kin__slot_at(kin__self->slot)->lease);
    kin__a64_and(&kin__self->lease_map[index / 64], ~(UINT64_C(1) << index % 64));
}
