/*
 * Putting right what dead members left. Layer: shm. Protocol: docs/design/family.md.
 *
 * Every step is idempotent and a slot stays in SWEEPING until the last of them is done, so a
 * sweeper that dies is followed by another that begins that slot again.
 */
#include <errno.h>
#include <limits.h>
#include <time.h>

#include "os/os.h"
#include "shm/object.h"
#include "shm/slot.h"

/* How long a sweep of one known slot waits for another sweeper before leaving the slot to it. */
#define PATIENCE_NS 200000000

static bool begin(uint32_t number, uint32_t generation)
{
    struct kin__slot *slot = kin__slot_at(number);
    if (slot == NULL) {
        return false;
    }
    uint64_t state = kin__a64_load(&slot->state);
    for (;;) {
        if (kin__slot_generation(state) != generation ||
            kin__slot_phase(state) == KIN__SLOT_FREE) {
            return false;
        }
        if (kin__slot_phase(state) == KIN__SLOT_SWEEPING ||
            kin__a64_cas(&slot->state, &state, kin__slot_state(generation, KIN__SLOT_SWEEPING))) {
            return true;
        }
    }
}

/* Embryos that it reserved: nobody is left who knows whether there was a fork. */
static void orphan(uint32_t number)
{
    struct kin__slot *reserver = kin__slot_at(number);
    if (kin__a32_load(&reserver->reserves) == 0) {
        return;
    }
    uint32_t high = kin__a32_load(&kin__family.head->slots_high);
    for (uint32_t i = 0; i < high && i < KIN__SLOTS; i++) {
        struct kin__slot *slot = kin__slot_at(i);
        uint64_t state = kin__a64_load(&slot->state);
        if (kin__slot_phase(state) == KIN__SLOT_EMBRYO && kin__slot_reserver(state) == number) {
            /* Where that fails, it is adopted. */
            kin__a64_cas(&slot->state, &state,
                         kin__slot_embryo(kin__slot_generation(state), KIN__NO_SLOT));
        }
    }
    kin__a32_store(&reserver->reserves, 0);
}

/* The slot is in SWEEPING; the caller holds the sweep lock. */
static void finish(uint32_t number, uint32_t generation)
{
    struct kin__slot *slot = kin__slot_at(number);
    enum kin__end end =
        kin__a32_load(&slot->leaving) != 0 ? KIN__END_ORDERLY : KIN__END_ABNORMAL;
    kin__object_sweep(number, generation, end);
    for (unsigned i = 0; i < KIN__LEASES; i++) {
        uint64_t lease = kin__a64_load(&slot->lease[i]);
        if (lease != 0) {
            kin__block_free_leased(lease);
            kin__a64_store(&slot->lease[i], 0);
        }
    }
    kin__object_forget(number);
    orphan(number);
    kin__a32_store(&slot->pid, 0);
    kin__a64_store(&slot->seen_at, 0);
    kin__a32_store(&slot->tracker, 0);
    kin__a32_store(&slot->leaving, 0);
    kin__a32_store(&slot->exit_known, 0);
    for (unsigned i = 0; i < KIN__ARRAY_SIZE(slot->process_word); i++) {
        kin__a64_store(&slot->process_word[i], 0);
    }
    kin__a64_store(&slot->state, kin__slot_state(generation, KIN__SLOT_FREE));
}

/* 0 with the sweep lock held, or -EBUSY. */
static int lock_sweep(int64_t patience)
{
    pthread_mutex_t *mutex = &kin__family.head->sweep;
    int rc = pthread_mutex_trylock(mutex);
    if (rc == EBUSY && patience > 0) {
        int64_t until = kin__clock_now() + patience;
        struct timespec t = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
        rc = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &t);
    }
    if (rc == EOWNERDEAD) {
        pthread_mutex_consistent(mutex);
        rc = 0;
    }
    return rc == 0 ? 0 : -EBUSY;
}

static void announce(int swept)
{
    if (swept > 0) {
        kin__a32_add(&kin__family.head->deaths, 1);
        kin__futex_wake(&kin__family.head->deaths, INT_MAX);
    }
}

void kin__sweep_slot(uint32_t slot, uint32_t generation)
{
    if (lock_sweep(PATIENCE_NS) < 0) {
        return;
    }
    int swept = 0;
    if (begin(slot, generation)) {
        finish(slot, generation);
        swept = 1;
    }
    kin__mutex_unlock(&kin__family.head->sweep);
    announce(swept);
}

/* A look at one more slot each time, for members whose life word failed to flip: the kernel's walk
 * of a thread's robust list ends at the first broken mutex of the user's. */
static uint32_t next_to_ask(uint32_t high)
{
    static kin__a32 turn;
    return kin__a32_add(&turn, 1) % high;
}

static bool is_member(int32_t pid, void *arg)
{
    (void)arg;
    uint32_t high = kin__a32_load(&kin__family.head->slots_high);
    for (uint32_t i = 0; i < high && i < KIN__SLOTS; i++) {
        struct kin__slot *slot = kin__slot_at(i);
        if ((int32_t)kin__a32_load(&slot->pid) == pid &&
            kin__slot_phase(kin__a64_load(&slot->state)) != KIN__SLOT_FREE) {
            return true;
        }
    }
    return false;
}

/*
 * An embryo without a pid whose reserver died (or never had a slot), or has come back from the fork:
 * either there never was a child, or it died before it adopted its slot, or it exists and has not yet
 * come to its first instruction of ours. Only a process that maps the arena and has no slot can be
 * that child.
 */
static bool is_stillborn(struct kin__slot *slot, uint64_t state)
{
    if (kin__a32_load(&slot->pid) != 0 ||
        (kin__slot_reserver(state) != KIN__NO_SLOT &&
         kin__a32_load(&slot->forked) != kin__slot_generation(state))) {
        return false;
    }
    /* The pid again: the search takes a child that adopts meanwhile for a member. */
    return kin__process_find_mapping(kin__family.inode, kin__a64_load(&slot->reserved_at),
                                     is_member, NULL) == 0 &&
           kin__a32_load(&slot->pid) == 0;
}

static bool is_dead(uint32_t number, uint64_t state, bool ask)
{
    struct kin__slot *slot = kin__slot_at(number);
    switch (kin__slot_phase(state)) {
    case KIN__SLOT_SWEEPING:
        return true;
    case KIN__SLOT_LIVE:
    case KIN__SLOT_EMBRYO:
        break;
    default:
        return false;
    }
    if (kin__slot_is_gone(number, kin__slot_generation(state))) {
        return true;
    }
    if (!ask) {
        return false;
    }
    return kin__a32_load(&slot->pid) != 0 ? kin__slot_kernel_says_gone(number)
                                          : is_stillborn(slot, state);
}

void (*kin__sweep_hook)(void);

int kin__sweep(bool deep)
{
    if (kin__sweep_hook != NULL) {
        kin__sweep_hook();
    }
    uint32_t high = kin__a32_load(&kin__family.head->slots_high);
    if (high > KIN__SLOTS) {
        high = KIN__SLOTS;
    }
    if (high == 0) {
        return 0;
    }
    uint32_t ask = next_to_ask(high);
    int swept = 0;
    bool locked = false;
    for (uint32_t i = 0; i < high; i++) {
        struct kin__slot *slot = kin__slot_at(i);
        uint64_t state = kin__a64_load(&slot->state);
        if (!is_dead(i, state, deep || i == ask)) {
            continue;
        }
        if (!locked && lock_sweep(0) < 0) {
            return swept; /* somebody is at it */
        }
        locked = true;
        if (begin(i, kin__slot_generation(state))) {
            finish(i, kin__slot_generation(state));
            swept++;
        }
    }
    if (locked) {
        kin__mutex_unlock(&kin__family.head->sweep);
    }
    announce(swept);
    return swept;
}
