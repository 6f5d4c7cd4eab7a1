/* The condition: tickets under a monitor. Layer: sync. Protocol: docs/design/monitor.md. */
#include <kinfolk/condition.h>

#include "base/options.h"
#include "sync/lock.h"
#include "sync/monitor.h"

/* A ticket's word: {number : 30, state : 2}. Its waiter sleeps on it. */
enum state {
    FREE,
    WAITING,
    NOTIFIED,     /* by a notify, which is passed on if the waiter cannot take it */
    NOTIFIED_ALL, /* by a notify for everybody: nothing to pass on */
};
#define STATE_MASK 3u
#define NUMBER_ONE 4u

/*
 * A waiter's place. Changed under the mutex only; the waiter reads `word` without. `owner` is
 * written before the word leaves FREE and means nothing while it is FREE.
 */
struct ticket {
    kin__a32 word;
    kin__a32 owner; /* the waiter's process, as in the owner word of a lock */
};

/*
 * All but the constants under the mutex. Invariants (monitor.md, C1..C4): tickets from `high` on
 * are FREE; numbers of tickets that are not FREE are different and rise in order of arrival; a
 * WAITING ticket whose number is before `all_before` counts as NOTIFIED_ALL.
 */
struct kin_condition {
    struct kin__object object;
    uint32_t recursive; /* constant: the lock is a kin_rlock */
    kin_ref lock;       /* constant: the lock that this condition's holders hold as well */
    struct kin__monitor monitor __attribute__((aligned(KIN__CACHE_LINE)));
    kin__a32 next;       /* the next ticket's word, in state FREE */
    kin__a32 all_before; /* the word `next` had at the last notify_all */
    kin__a32 high;
    struct ticket ticket[KIN_CONDITION_WAITERS];
};

static uint32_t state_of(const struct ticket *ticket)
{
    return kin__a32_load_relaxed(&ticket->word) & STATE_MASK;
}

/* Whether number a was given out before number b. */
static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)((a & ~STATE_MASK) - (b & ~STATE_MASK)) < 0;
}

static uint32_t high_of(const kin_condition *condition)
{
    return KIN__MIN(kin__a32_load_relaxed(&condition->high), KIN_CONDITION_WAITERS);
}

static void set_state(struct ticket *ticket, uint32_t state)
{
    kin__a32_store(&ticket->word,
                   (kin__a32_load_relaxed(&ticket->word) & ~STATE_MASK) | state);
}

/* Wakes a ticket's waiter. A system call, but never one that blocks, and the waiter it wakes needs
 * nothing of the caller's but the mutex for a moment. */
static void wake(struct ticket *ticket)
{
    if (!KIN__FAULT(WAKE_LOST)) {
        kin__futex_wake(&ticket->word, 1);
    }
}

/* Tickets before `all_before`, which is the commit, become NOTIFIED_ALL: its consequences. */
static void notify_all_before(kin_condition *condition)
{
    uint32_t limit = kin__a32_load_relaxed(&condition->all_before);
    uint32_t high = high_of(condition);
    for (uint32_t i = 0; i < high; i++) {
        struct ticket *ticket = &condition->ticket[i];
        if (state_of(ticket) == WAITING &&
            before(kin__a32_load_relaxed(&ticket->word), limit)) {
            set_state(ticket, NOTIFIED_ALL);
        }
    }
}

static int monitor_enter(kin_condition *condition)
{
    int rc = kin__monitor_enter(&condition->object, &condition->monitor, sizeof *condition);
    if (KIN__UNLIKELY(rc > 0)) {
        notify_all_before(condition); /* the dead one may not have come to the end of it */
        rc = 0;
    }
    return rc;
}

/* The ticket that has waited longest, or NULL. */
static struct ticket *oldest(kin_condition *condition)
{
    struct ticket *found = NULL;
    uint32_t high = high_of(condition);
    for (uint32_t i = 0; i < high; i++) {
        struct ticket *ticket = &condition->ticket[i];
        if (state_of(ticket) == WAITING &&
            (found == NULL || before(kin__a32_load_relaxed(&ticket->word),
                                     kin__a32_load_relaxed(&found->word)))) {
            found = ticket;
        }
    }
    return found;
}

static void lower_high(kin_condition *condition)
{
    uint32_t high = high_of(condition);
    while (high > 0 && state_of(&condition->ticket[high - 1]) == FREE) {
        high--;
    }
    kin__a32_store(&condition->high, high);
}

/* Frees a ticket; its notify, if it has one that is not for everybody, goes to the next in line,
 * which is returned to be woken. */
static struct ticket *free_and_pass_on(kin_condition *condition, struct ticket *ticket)
{
    struct ticket *heir = state_of(ticket) == NOTIFIED ? oldest(condition) : NULL;
    if (heir != NULL) {
        uint32_t mine = kin__a32_load_relaxed(&ticket->word) & ~STATE_MASK;
        uint32_t theirs = kin__a32_load_relaxed(&heir->word) & ~STATE_MASK;
        kin__monitor_commit(&condition->object, &condition->monitor, &heir->word,
                            theirs | NOTIFIED, &ticket->word, mine | FREE);
    } else {
        set_state(ticket, FREE);
    }
    lower_high(condition);
    return heir;
}

/* --- the lock under it -------------------------------------------------------------------- */

/* The lock; NULL if the condition does not hold what it must. */
static struct kin__object *lock_of(const kin_condition *condition)
{
    return condition->recursive != 0
               ? kin__sync_referent(&condition->lock, sizeof(kin_rlock), KIN__TYPE_RLOCK)
               : kin__sync_referent(&condition->lock, sizeof(kin_lock), KIN__TYPE_LOCK);
}

static struct kin__owner *owner_of(struct kin__object *lock, bool recursive)
{
    return recursive ? &((kin_rlock *)lock)->owner : &((kin_lock *)lock)->owner;
}

static bool lock_is_mine(struct kin__object *lock, bool recursive)
{
    return recursive ? kin__rlock_is_mine((kin_rlock *)lock)
                     : kin__owner_holder(&((kin_lock *)lock)->owner) == kin__owner_me();
}

static int lock_again(struct kin__object *lock, bool recursive, uint32_t levels)
{
    if (recursive) {
        return kin__rlock_restore((kin_rlock *)lock, levels);
    }
    kin_lock *plain = (kin_lock *)lock;
    return kin__owner_lock_slowly(&plain->owner, plain->strict != 0, KIN_FOREVER, false);
}

static uint32_t unlock_wholly(struct kin__object *lock, bool recursive)
{
    if (recursive) {
        return kin__rlock_give_up((kin_rlock *)lock);
    }
    kin__owner_unlock(&((kin_lock *)lock)->owner);
    return 1;
}

/* --- deaths ------------------------------------------------------------------------------- */

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    kin_condition *condition = (kin_condition *)object;
    uint32_t dead = kin__owner_of(slot, generation);
    struct kin__object *lock = lock_of(condition);
    bool broken = false;
    if (lock != NULL) {
        bool recursive = condition->recursive != 0;
        uint32_t holder = kin__owner_holder(owner_of(lock, recursive));
        /* The lock's own sweep may come before this one or after it. */
        broken = holder == KIN__OWNER_RECOVERABLE ||
                 (holder == dead && (recursive || end == KIN__END_ABNORMAL));
    }
    if (monitor_enter(condition) < 0) {
        return;
    }
    if (broken) {
        kin__a32_store(&condition->all_before, kin__a32_load_relaxed(&condition->next));
        notify_all_before(condition);
    }
    for (uint32_t i = 0; i < high_of(condition); i++) {
        struct ticket *ticket = &condition->ticket[i];
        if (state_of(ticket) != FREE && kin__a32_load_relaxed(&ticket->owner) == dead) {
            free_and_pass_on(condition, ticket);
        }
    }
    uint32_t high = high_of(condition);
    kin__monitor_leave(object);
    /* Whoever has been notified is woken, by us or by a dead one who may not have come to it. */
    for (uint32_t i = 0; i < high; i++) {
        if (state_of(&condition->ticket[i]) != FREE) {
            kin__futex_wake(&condition->ticket[i].word, 1);
        }
    }
}

static const struct kin__type type = {.name = "condition", .sweep = sweep};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_CONDITION, &type);
}

/* --- handles ------------------------------------------------------------------------------ */

static int enter(const kin_condition *condition)
{
    return kin__sync_enter((const struct kin__object *)condition, KIN__TYPE_CONDITION);
}

/* A hold of the condition's own on the lock that the options name. */
static int choose_lock(const struct kin_condition_options *options, struct kin__object **ret_lock)
{
    if (options->lock != NULL && options->rlock != NULL) {
        return -EINVAL;
    }
    if (options->lock == NULL && options->rlock == NULL) {
        kin_rlock *lock;
        int rc = kin_rlock_create(NULL, &lock);
        if (rc == 0) {
            *ret_lock = &lock->object;
        }
        return rc;
    }
    struct kin__object *lock = options->lock != NULL ? (struct kin__object *)options->lock
                                                     : (struct kin__object *)options->rlock;
    int rc = kin__sync_enter(lock, options->lock != NULL ? KIN__TYPE_LOCK : KIN__TYPE_RLOCK);
    if (rc == 0) {
        kin__object_hold(lock);
        *ret_lock = lock;
    }
    return rc;
}

int kin_condition_create(const struct kin_condition_options *given, kin_condition **ret_condition)
{
    struct kin_condition_options options = KIN_CONDITION_OPTIONS_INIT;
    if (ret_condition == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    struct kin__object *lock = NULL;
    if (rc == 0) {
        rc = choose_lock(&options, &lock);
    }
    if (rc < 0) {
        return rc;
    }
    struct kin__object *object;
    rc = kin__object_create(KIN__TYPE_CONDITION, sizeof(kin_condition), &object);
    if (rc < 0) {
        kin__object_drop(lock);
        return rc;
    }
    kin_condition *condition = (kin_condition *)object;
    condition->recursive = options.lock == NULL;
    kin__object_ref(lock, &condition->lock);
    kin__object_ready(object);
    *ret_condition = condition;
    return 0;
}

int kin_condition_ref(kin_condition *condition, kin_ref *ret_ref)
{
    int rc = enter(condition);
    if (rc < 0 || ret_ref == NULL) {
        return rc < 0 ? rc : -EINVAL;
    }
    kin__object_ref(&condition->object, ret_ref);
    return 0;
}

int kin_condition_attach(const kin_ref *ref, kin_condition **ret_condition)
{
    if (ref == NULL || ret_condition == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    struct kin__object *object, *lock;
    if (rc == 0) {
        rc = kin__object_attach(ref, KIN__TYPE_CONDITION, &object);
    }
    if (rc < 0) {
        return rc;
    }
    kin_condition *condition = (kin_condition *)object;
    /* Whoever gave us the reference holds the condition, and with it the lock. */
    rc = kin__object_attach(&condition->lock,
                            condition->recursive != 0 ? KIN__TYPE_RLOCK : KIN__TYPE_LOCK, &lock);
    if (rc < 0) {
        kin__object_drop(object);
        return rc;
    }
    *ret_condition = condition;
    return 0;
}

kin_condition *kin_condition_destroy(kin_condition *condition)
{
    if (condition != NULL && enter(condition) == 0) {
        struct kin__object *lock = lock_of(condition);
        kin__object_drop(&condition->object);
        if (lock != NULL) {
            kin__object_drop(lock);
        }
    }
    return NULL;
}

int kin_condition_lock(kin_condition *condition, int64_t timeout_ns)
{
    int rc = enter(condition);
    if (rc < 0) {
        return rc;
    }
    struct kin__object *lock = lock_of(condition);
    if (lock == NULL) {
        return KIN_ECORRUPT;
    }
    return condition->recursive != 0 ? kin_rlock_lock((kin_rlock *)lock, timeout_ns)
                                     : kin_lock_lock((kin_lock *)lock, timeout_ns);
}

int kin_condition_unlock(kin_condition *condition)
{
    int rc = enter(condition);
    if (rc < 0) {
        return rc;
    }
    struct kin__object *lock = lock_of(condition);
    if (lock == NULL) {
        return KIN_ECORRUPT;
    }
    return condition->recursive != 0 ? kin_rlock_unlock((kin_rlock *)lock)
                                     : kin_lock_unlock((kin_lock *)lock);
}

int kin_condition_is_mine(kin_condition *condition)
{
    int rc = enter(condition);
    if (rc < 0) {
        return rc;
    }
    struct kin__object *lock = lock_of(condition);
    return lock == NULL ? KIN_ECORRUPT : lock_is_mine(lock, condition->recursive != 0);
}

/* --- waiting and notifying ---------------------------------------------------------------- */

/* A ticket in WAITING; its word is stored through ret_seen. */
static int take_ticket(kin_condition *condition, struct ticket **ret_ticket, uint32_t *ret_seen)
{
    int rc = monitor_enter(condition);
    if (rc < 0) {
        return rc;
    }
    uint32_t high = high_of(condition);
    uint32_t i = 0;
    while (i < high && state_of(&condition->ticket[i]) != FREE) {
        i++;
    }
    if (i == KIN_CONDITION_WAITERS) {
        kin__monitor_leave(&condition->object);
        return -EAGAIN;
    }
    if (i == high) {
        kin__a32_store(&condition->high, high + 1);
    }
    struct ticket *ticket = &condition->ticket[i];
    uint32_t number = kin__a32_load_relaxed(&condition->next) & ~STATE_MASK;
    /* Killed behind this, we leave a number unused, which does no harm. */
    kin__a32_store(&condition->next, number + NUMBER_ONE);
    kin__a32_store(&ticket->owner, kin__owner_me());
    kin__a32_store(&ticket->word, number | WAITING); /* the commit */
    kin__monitor_leave(&condition->object);
    *ret_ticket = ticket;
    *ret_seen = number | WAITING;
    return 0;
}

/* Gives the ticket back; returns whether it had been notified. `refuse`: the notify is not used. */
static int return_ticket(kin_condition *condition, struct ticket *ticket, bool refuse)
{
    int rc = monitor_enter(condition);
    if (rc < 0) {
        return rc;
    }
    int notified = state_of(ticket) != WAITING;
    struct ticket *heir = NULL;
    if (refuse) {
        heir = free_and_pass_on(condition, ticket);
    } else {
        set_state(ticket, FREE);
        lower_high(condition);
    }
    kin__monitor_leave(&condition->object);
    if (heir != NULL) {
        wake(heir);
    }
    return notified;
}

int kin_condition_wait(kin_condition *condition, int64_t timeout_ns)
{
    int rc = enter(condition);
    if (rc < 0) {
        return rc;
    }
    bool recursive = condition->recursive != 0;
    struct kin__object *lock = lock_of(condition);
    if (lock == NULL) {
        return KIN_ECORRUPT;
    }
    if (!lock_is_mine(lock, recursive)) {
        return KIN_ENOTOWNER;
    }
    /* While the lock is ours no owner of it dies. */
    struct kin__owner *owner = owner_of(lock, recursive);
    uint32_t deaths = kin__a32_load(&owner->deaths);
    struct ticket *ticket;
    uint32_t seen;
    rc = take_ticket(condition, &ticket, &seen);
    if (rc < 0) {
        return rc;
    }
    int64_t deadline = kin__clock_deadline(timeout_ns);
    uint32_t levels = unlock_wholly(lock, recursive);
    /* A notify changes the word before it wakes (P2), so it cannot fall into a gap. An owner that
     * died with the lock may have been the one to notify us; its successor may know nothing of
     * that, and may have come and gone. */
    while (rc == 0 && kin__a32_load(&ticket->word) == seen &&
           kin__a32_load(&owner->deaths) == deaths) {
        rc = kin__sleep(&ticket->word, seen, KIN__NO_SLOT, 0, deadline);
    }
    int locked = lock_again(lock, recursive, levels);
    /* The ticket is given back with the lock held: until then our death passes the notify on. */
    bool interrupted = rc < 0 && rc != -ETIMEDOUT;
    int notified = return_ticket(condition, ticket, interrupted || locked < 0);
    if (locked < 0) {
        return locked;
    }
    if (interrupted) {
        return rc;
    }
    if (locked == KIN_RECOVERED || notified < 0) {
        return locked == KIN_RECOVERED ? KIN_RECOVERED : notified;
    }
    return notified || rc == 0 ? 0 : -ETIMEDOUT;
}

int kin_condition_notify(kin_condition *condition, uint32_t count)
{
    int rc = enter(condition);
    if (rc < 0) {
        return rc;
    }
    if (count >= KIN_CONDITION_WAITERS) {
        return kin_condition_notify_all(condition);
    }
    /* One at a time, so that no array of what is to be woken is needed and the mutex is never held
     * for long. Only who waited before the call is notified. */
    uint32_t limit = 0;
    for (uint32_t i = 0; i < count; i++) {
        rc = monitor_enter(condition);
        if (rc < 0) {
            return rc;
        }
        if (i == 0) {
            limit = kin__a32_load_relaxed(&condition->next);
        }
        struct ticket *ticket = oldest(condition);
        if (ticket != NULL && !before(kin__a32_load_relaxed(&ticket->word), limit)) {
            ticket = NULL;
        }
        if (ticket != NULL) {
            set_state(ticket, NOTIFIED); /* the commit */
        }
        kin__monitor_leave(&condition->object);
        if (ticket == NULL) {
            break;
        }
        wake(ticket);
    }
    return 0;
}

int kin_condition_notify_all(kin_condition *condition)
{
    int rc = enter(condition);
    if (rc == 0) {
        rc = monitor_enter(condition);
    }
    if (rc < 0) {
        return rc;
    }
    kin__a32_store(&condition->all_before, kin__a32_load_relaxed(&condition->next)); /* commit */
    notify_all_before(condition);
    uint32_t high = high_of(condition);
    kin__monitor_leave(&condition->object);
    for (uint32_t i = 0; i < high; i++) {
        if (state_of(&condition->ticket[i]) == NOTIFIED_ALL) {
            wake(&condition->ticket[i]);
        }
    }
    return 0;
}

int kin_condition_waiting(kin_condition *condition)
{
    int rc = enter(condition);
    if (rc == 0) {
        rc = monitor_enter(condition);
    }
    if (rc < 0) {
        return rc;
    }
    int waiting = 0;
    uint32_t high = high_of(condition);
    for (uint32_t i = 0; i < high; i++) {
        waiting += state_of(&condition->ticket[i]) == WAITING;
    }
    kin__monitor_leave(&condition->object);
    return waiting;
}
