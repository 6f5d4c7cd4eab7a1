/* The semaphore. Layer: sync. Protocol: docs/design/monitor.md. */
#include <kinfolk/semaphore.h>

#include "base/options.h"
#include "sync/monitor.h"
#include "sync/spin.h"

/* The account of units whose holders ended in an orderly way: somebody else may post them. */
#define NOBODY KIN__SLOTS

/*
 * Under the mutex, except in a signal-only semaphore, which has no mutex and no table: there
 * `value` changes by CAS. Anybody may read `value` at any time.
 * Invariants: 0 <= value <= bound; held[s] is the units that the process in slot s took and has
 * not given back, and changes together with `value` (monitor.md, S1..S3).
 */
struct kin_semaphore {
    struct kin__object object;
    uint32_t initial; /* constant */
    uint32_t bound;   /* constant, 1..KIN_SEMAPHORE_MAX */
    uint32_t signal;  /* constant */
    kin__a32 value __attribute__((aligned(KIN__CACHE_LINE)));
    struct kin__monitor monitor;
    struct kin__door door __attribute__((aligned(KIN__CACHE_LINE))); /* rung when value rises */
    struct kin__spin spin;
    kin__a32 slots_used; /* held[] is zero from here on; only grows */
    kin__a32 held[];     /* KIN__SLOTS + 1 of them, or none */
};

static uint64_t size_of(bool signal)
{
    return sizeof(kin_semaphore) + (signal ? 0 : (KIN__SLOTS + 1) * sizeof(kin__a32));
}

static uint32_t held_by(const kin_semaphore *semaphore, uint32_t slot)
{
    return kin__a32_load_relaxed(&semaphore->held[slot]);
}

/* Sets one account and the value together. */
static void commit(kin_semaphore *semaphore, uint32_t slot, uint32_t held, uint32_t value)
{
    kin__monitor_commit(&semaphore->object, &semaphore->monitor, &semaphore->held[slot], held,
                        &semaphore->value, value);
}

static int monitor_enter(kin_semaphore *semaphore)
{
    int rc = kin__monitor_enter(&semaphore->object, &semaphore->monitor, size_of(false));
    return rc < 0 ? rc : 0;
}

static void ring(kin_semaphore *semaphore)
{
    if (KIN__FAULT(WAKE_LOST)) {
        return;
    }
    kin__door_ring_one(&semaphore->door);
}

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    (void)generation; /* the slot is not used again before we are done */
    kin_semaphore *semaphore = (kin_semaphore *)object;
    if (semaphore->signal == 0 && monitor_enter(semaphore) == 0) {
        uint32_t held = held_by(semaphore, slot);
        uint32_t value = kin__a32_load_relaxed(&semaphore->value);
        uint32_t room = semaphore->initial > value ? semaphore->initial - value : 0;
        if (held != 0 && end == KIN__END_ABNORMAL) {
            commit(semaphore, slot, 0, value + KIN__MIN(held, room));
        } else if (held != 0) {
            kin__monitor_commit(object, &semaphore->monitor, &semaphore->held[slot], 0,
                                &semaphore->held[NOBODY], held_by(semaphore, NOBODY) + held);
        }
        kin__monitor_leave(object);
    }
    /* Even if nothing came back: a wake may have died with the dead. */
    kin__door_ring_all(&semaphore->door);
}

static const struct kin__type type = {.name = "semaphore", .sweep = sweep};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_SEMAPHORE, &type);
}

KIN__SYNC_HANDLE(semaphore, KIN__TYPE_SEMAPHORE)

static int enter(const kin_semaphore *semaphore)
{
    return kin__sync_enter((const struct kin__object *)semaphore, KIN__TYPE_SEMAPHORE);
}

int kin_semaphore_create(const struct kin_semaphore_options *given, kin_semaphore **ret_semaphore)
{
    struct kin_semaphore_options options = KIN_SEMAPHORE_OPTIONS_INIT;
    if (ret_semaphore == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    uint32_t bound = options.bound == 0 ? KIN_SEMAPHORE_MAX : options.bound;
    if (rc == 0 && (bound > KIN_SEMAPHORE_MAX || options.value > bound)) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = kin__enter();
    }
    struct kin__object *object;
    if (rc == 0) {
        rc = kin__object_create(KIN__TYPE_SEMAPHORE, size_of(options.signal != 0), &object);
    }
    if (rc < 0) {
        return rc;
    }
    kin_semaphore *semaphore = (kin_semaphore *)object;
    semaphore->initial = options.value;
    semaphore->bound = bound;
    semaphore->signal = options.signal != 0;
    kin__a32_store_relaxed(&semaphore->value, options.value);
    kin__object_ready(object);
    *ret_semaphore = semaphore;
    return 0;
}

/* 0, or -EAGAIN if there is no unit. */
static int take(kin_semaphore *semaphore)
{
    uint32_t value = kin__a32_load(&semaphore->value);
    if (value == 0) {
        return -EAGAIN;
    }
    if (semaphore->signal != 0) {
        do {
            if (value == 0) {
                return -EAGAIN;
            }
        } while (!kin__a32_cas(&semaphore->value, &value, value - 1));
        return 0;
    }
    int rc = monitor_enter(semaphore);
    if (rc < 0) {
        return rc;
    }
    value = kin__a32_load_relaxed(&semaphore->value);
    rc = -EAGAIN;
    if (value != 0) {
        uint32_t me = kin__self->slot;
        if (kin__a32_load_relaxed(&semaphore->slots_used) <= me) {
            kin__a32_store(&semaphore->slots_used, me + 1);
        }
        commit(semaphore, me, held_by(semaphore, me) + 1, value - 1);
        rc = 0;
    }
    kin__monitor_leave(&semaphore->object);
    return rc;
}

int kin_semaphore_wait(kin_semaphore *semaphore, int64_t timeout_ns)
{
    int rc = enter(semaphore);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    rc = take(semaphore);
    if (KIN__LIKELY(rc != -EAGAIN)) {
        return rc;
    }
    if (timeout_ns == 0) {
        rc = kin__sync_poll() ? take(semaphore) : -EAGAIN;
        return rc == -EAGAIN ? -ETIMEDOUT : rc;
    }
    int64_t deadline = kin__clock_deadline(timeout_ns);
    kin__spin_until(&semaphore->spin, &semaphore->value, UINT32_MAX, false);
    int slept = 0;
    for (;;) {
        uint32_t seen = kin__door_announce(&semaphore->door);
        rc = take(semaphore); /* P2: behind the announcement */
        if (rc != -EAGAIN) {
            return rc;
        }
        if (slept < 0) {
            return slept;
        }
        slept = kin__door_wait(&semaphore->door, seen, KIN__NO_SLOT, 0, deadline);
        if (slept < 0 && slept != -ETIMEDOUT) {
            /* The ring that ended our sleep may have been meant for a sleeper who stays. */
            if (kin__a32_load(&semaphore->value) != 0) {
                kin__door_ring_one(&semaphore->door);
            }
            return slept;
        }
    }
}

/* On whose account a post goes: ours, else nobody's, else that of the process that holds most; one
 * that is at 0 if all are (then the post makes a unit). */
static uint32_t account(const kin_semaphore *semaphore)
{
    uint32_t best = kin__self->slot;
    if (held_by(semaphore, best) != 0) {
        return best;
    }
    if (held_by(semaphore, NOBODY) != 0) {
        return NOBODY;
    }
    uint32_t most = 0;
    uint32_t used = KIN__MIN(kin__a32_load_relaxed(&semaphore->slots_used), KIN__SLOTS);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t held = held_by(semaphore, i);
        if (held > most) {
            most = held;
            best = i;
        }
    }
    return best;
}

static int give_signal(kin_semaphore *semaphore)
{
    uint32_t value = kin__a32_load_relaxed(&semaphore->value);
    do {
        if (value >= semaphore->bound) {
            return KIN_EOVERFLOW;
        }
    } while (!kin__a32_cas(&semaphore->value, &value, value + 1));
    return 0;
}

static int give(kin_semaphore *semaphore)
{
    int rc = monitor_enter(semaphore);
    if (rc < 0) {
        return rc;
    }
    uint32_t value = kin__a32_load_relaxed(&semaphore->value);
    if (value >= semaphore->bound) {
        rc = KIN_EOVERFLOW;
    } else {
        uint32_t slot = account(semaphore);
        uint32_t held = held_by(semaphore, slot);
        commit(semaphore, slot, held == 0 ? 0 : held - 1, value + 1);
    }
    kin__monitor_leave(&semaphore->object);
    return rc;
}

int kin_semaphore_post(kin_semaphore *semaphore)
{
    int rc = enter(semaphore);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    rc = semaphore->signal != 0 ? give_signal(semaphore) : give(semaphore);
    if (KIN__LIKELY(rc == 0)) {
        ring(semaphore);
    }
    return rc;
}

int kin_semaphore_value(kin_semaphore *semaphore)
{
    int rc = enter(semaphore);
    return rc < 0 ? rc : (int)(kin__a32_load(&semaphore->value) & KIN_SEMAPHORE_MAX);
}

int kin_semaphore_held(kin_semaphore *semaphore)
{
    int rc = enter(semaphore);
    if (rc < 0 || semaphore->signal != 0) {
        return rc;
    }
    return (int)(held_by(semaphore, kin__self->slot) & KIN_SEMAPHORE_MAX);
}
