/* The event: one word. Layer: sync. Protocol: docs/design/monitor.md. */
#include <kinfolk/event.h>

#include <limits.h>

#include "base/fault.h"
#include "base/options.h"
#include "sync/spin.h"
#include "sync/sync.h"

/* The word: {times set : 30, somebody waits : 1, set : 1}. */
#define SET 1u
#define WAITERS 2u
#define TURN 4u

/* Invariant: the word is changed by read-modify-writes only, so that a set sees the waiters bit of
 * everybody who did not see the set (P2). */
struct kin_event {
    struct kin__object object;
    kin__a32 word __attribute__((aligned(KIN__CACHE_LINE)));
    struct kin__spin spin;
};

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    (void)slot;
    (void)generation;
    (void)end;
    /* The dead one may have set it and not come to wake anybody. */
    kin__futex_wake(&((kin_event *)object)->word, INT_MAX);
}

static const struct kin__type type = {.name = "event", .sweep = sweep};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_EVENT, &type);
}

KIN__SYNC_HANDLE(event, KIN__TYPE_EVENT)

static int enter(const kin_event *event)
{
    return kin__sync_enter((const struct kin__object *)event, KIN__TYPE_EVENT);
}

int kin_event_create(const struct kin_event_options *given, kin_event **ret_event)
{
    struct kin_event_options options = KIN_EVENT_OPTIONS_INIT;
    if (ret_event == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc == 0) {
        rc = kin__enter();
    }
    struct kin__object *object;
    if (rc == 0) {
        rc = kin__object_create(KIN__TYPE_EVENT, sizeof(kin_event), &object);
    }
    if (rc < 0) {
        return rc;
    }
    kin_event *event = (kin_event *)object;
    kin__a32_store_relaxed(&event->word, options.set != 0 ? SET : 0);
    kin__object_ready(object);
    *ret_event = event;
    return 0;
}

int kin_event_set(kin_event *event)
{
    int rc = enter(event);
    if (rc < 0) {
        return rc;
    }
    uint32_t word = kin__a32_load(&event->word);
    do {
        if ((word & SET) != 0) {
            return 0;
        }
        /* Releases what the setter did before to those who see it. */
    } while (!kin__a32_cas(&event->word, &word, ((word & ~WAITERS) + TURN) | SET));
    if ((word & WAITERS) != 0 && !KIN__FAULT(WAKE_LOST)) {
        kin__futex_wake(&event->word, INT_MAX);
    }
    return 0;
}

int kin_event_clear(kin_event *event)
{
    int rc = enter(event);
    if (rc < 0) {
        return rc;
    }
    kin__a32_and(&event->word, ~SET);
    return 0;
}

int kin_event_is_set(kin_event *event)
{
    int rc = enter(event);
    return rc < 0 ? rc : (kin__a32_load(&event->word) & SET) != 0;
}

int kin_event_wait(kin_event *event, int64_t timeout_ns)
{
    int rc = enter(event);
    if (rc < 0) {
        return rc;
    }
    uint32_t word = kin__a32_load(&event->word);
    uint32_t turn = word / TURN;
    if ((word & SET) != 0) {
        return 0;
    }
    if (timeout_ns == 0) {
        return -ETIMEDOUT;
    }
    int64_t deadline = kin__clock_deadline(timeout_ns);
    kin__spin_until(&event->spin, &event->word, SET, false);
    for (;;) {
        word = kin__a32_load(&event->word);
        if ((word & SET) != 0 || word / TURN != turn) {
            return 0;
        }
        if (rc < 0) {
            return rc;
        }
        if ((word & WAITERS) == 0 && !kin__a32_cas(&event->word, &word, word | WAITERS)) {
            continue;
        }
        rc = kin__sleep(&event->word, word | WAITERS, KIN__NO_SLOT, 0, deadline);
        if (rc < 0 && rc != -ETIMEDOUT) {
            return rc;
        }
    }
}
