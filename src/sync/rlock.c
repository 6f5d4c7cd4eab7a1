/*
 * The recursive lock: an owner word, and beside it which thread and how often. Layer: sync.
 * Protocol: docs/design/lock.md.
 */
#include "sync/lock.h"

#include "base/options.h"

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    (void)end; /* nobody else may unlock it: however its owner ended, it must be recovered */
    kin_rlock *lock = (kin_rlock *)object;
    kin__owner_sweep(&lock->owner, slot, generation, KIN__OWNER_RECOVERABLE);
}

static const struct kin__type type = {.name = "rlock", .sweep = sweep};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_RLOCK, &type);
}

KIN__SYNC_HANDLE(rlock, KIN__TYPE_RLOCK)

static int enter(const kin_rlock *lock)
{
    return kin__sync_enter((const struct kin__object *)lock, KIN__TYPE_RLOCK);
}

int kin_rlock_create(const struct kin_rlock_options *given, kin_rlock **ret_lock)
{
    struct kin_rlock_options options = KIN_RLOCK_OPTIONS_INIT;
    if (ret_lock == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc == 0) {
        rc = kin__enter();
    }
    struct kin__object *object;
    if (rc == 0) {
        rc = kin__object_create(KIN__TYPE_RLOCK, sizeof(kin_rlock), &object);
    }
    if (rc < 0) {
        return rc;
    }
    kin__object_ready(object);
    *ret_lock = (kin_rlock *)object;
    return 0;
}

static void begin(kin_rlock *lock, uint32_t count)
{
    kin__a32_store_relaxed(&lock->count, count);
    kin__a64_store_relaxed(&lock->thread, kin__rlock_me());
}

int kin_rlock_lock(kin_rlock *lock, int64_t timeout_ns)
{
    int rc = enter(lock);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    if (kin__rlock_is_mine(lock)) {
        uint32_t count = kin__a32_load_relaxed(&lock->count);
        if (count >= INT32_MAX) {
            return KIN_EOVERFLOW;
        }
        kin__a32_store_relaxed(&lock->count, count + 1);
        return 0;
    }
    rc = kin__owner_lock(&lock->owner, false, timeout_ns);
    if (KIN__LIKELY(rc >= 0)) {
        begin(lock, 1);
    }
    return rc;
}

int kin_rlock_unlock(kin_rlock *lock)
{
    int rc = enter(lock);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    if (!kin__rlock_is_mine(lock)) {
        return KIN_ENOTOWNER;
    }
    uint32_t count = kin__a32_load_relaxed(&lock->count);
    if (count > 1) {
        kin__a32_store_relaxed(&lock->count, count - 1);
        return 0;
    }
    kin__rlock_give_up(lock);
    return 0;
}

uint32_t kin__rlock_give_up(kin_rlock *lock)
{
    uint32_t count = kin__a32_load_relaxed(&lock->count);
    /* Before the word: we must not find ourselves named once somebody else has taken it. */
    kin__a64_store_relaxed(&lock->thread, 0);
    kin__owner_unlock(&lock->owner);
    return count;
}

int kin__rlock_restore(kin_rlock *lock, uint32_t count)
{
    int rc = kin__owner_lock_slowly(&lock->owner, false, KIN_FOREVER, false);
    if (rc >= 0) {
        begin(lock, count);
    }
    return rc;
}

int kin_rlock_is_locked(kin_rlock *lock)
{
    int rc = enter(lock);
    return rc < 0 ? rc : kin__owner_is_locked(&lock->owner);
}

int kin_rlock_is_mine(kin_rlock *lock)
{
    int rc = enter(lock);
    return rc < 0 ? rc : kin__rlock_is_mine(lock);
}

int kin_rlock_count(kin_rlock *lock)
{
    int rc = enter(lock);
    if (rc < 0) {
        return rc;
    }
    return kin__rlock_is_mine(lock) ? (int)kin__a32_load_relaxed(&lock->count) : 0;
}

int kin_rlock_is_recovered(kin_rlock *lock)
{
    int rc = enter(lock);
    return rc < 0 ? rc
                  : kin__owner_is_locked(&lock->owner) &&
                        kin__a32_load_relaxed(&lock->owner.recovered) != 0;
}
