/* The plain lock. Layer: sync. Protocol: docs/design/lock.md. */
#include "sync/lock.h"

#include "base/options.h"

static void sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                  enum kin__end end)
{
    kin_lock *lock = (kin_lock *)object;
    kin__owner_sweep(&lock->owner, slot, generation,
                     end == KIN__END_ORDERLY ? KIN__OWNER_HANDED_OFF : KIN__OWNER_RECOVERABLE);
}

static const struct kin__type type = {.name = "lock", .sweep = sweep};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_LOCK, &type);
}

KIN__SYNC_HANDLE(lock, KIN__TYPE_LOCK)

static int enter(const kin_lock *lock)
{
    return kin__sync_enter((const struct kin__object *)lock, KIN__TYPE_LOCK);
}

int kin_lock_create(const struct kin_lock_options *given, kin_lock **ret_lock)
{
    struct kin_lock_options options = KIN_LOCK_OPTIONS_INIT;
    if (ret_lock == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&options, sizeof options, given);
    if (rc == 0) {
        rc = kin__enter();
    }
    struct kin__object *object;
    if (rc == 0) {
        rc = kin__object_create(KIN__TYPE_LOCK, sizeof(kin_lock), &object);
    }
    if (rc < 0) {
        return rc;
    }
    kin_lock *lock = (kin_lock *)object;
    lock->strict = options.strict != 0;
    kin__object_ready(object);
    *ret_lock = lock;
    return 0;
}

int kin_lock_lock(kin_lock *lock, int64_t timeout_ns)
{
    int rc = enter(lock);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    return kin__owner_lock(&lock->owner, lock->strict != 0, timeout_ns);
}

int kin_lock_unlock(kin_lock *lock)
{
    int rc = enter(lock);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    return kin__owner_unlock(&lock->owner);
}

int kin_lock_recover(kin_lock *lock)
{
    int rc = enter(lock);
    if (rc < 0) {
        return rc;
    }
    return kin__owner_recover(&lock->owner) ? 0 : KIN_ESTATE;
}

int kin_lock_is_locked(kin_lock *lock)
{
    int rc = enter(lock);
    return rc < 0 ? rc : kin__owner_is_locked(&lock->owner);
}

int kin_lock_is_mine(kin_lock *lock)
{
    int rc = enter(lock);
    return rc < 0 ? rc : kin__owner_holder(&lock->owner) == kin__owner_me();
}

int kin_lock_is_recovered(kin_lock *lock)
{
    int rc = enter(lock);
    return rc < 0 ? rc
                  : kin__owner_is_locked(&lock->owner) &&
                        kin__a32_load_relaxed(&lock->owner.recovered) != 0;
}
