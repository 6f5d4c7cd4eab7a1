/*
 * A monitor: an object's robust mutex, and a redo log that changes two words of the object as one.
 * Layer: sync. Protocol: docs/design/monitor.md.
 */
#ifndef KIN_SYNC_MONITOR_H
#define KIN_SYNC_MONITOR_H

#include "base/fault.h"
#include "sync/sync.h"

struct kin__monitor_write {
    kin__a32 offset; /* of a word, from the object's start */
    kin__a32 value;
};

/*
 * All under the object's mutex. Invariant M1: while `sealed` is 1 both writes are valid, and the
 * object's state is what it will be once they have been done. Whoever enters and finds it 1 does
 * them (the last owner died between sealing and unsealing).
 */
struct kin__monitor {
    kin__a32 sealed;
    struct kin__monitor_write write[2];
};

/* Does the sealed writes of a dead owner. `size` is the object's. */
int kin__monitor_redo(struct kin__object *object, struct kin__monitor *monitor, uint64_t size);

/*
 * Locks. Returns 0, 1 if the last owner died inside (what it had sealed is done; only what the
 * module keeps outside the log may need a look), or an error. Rank: object.
 */
static inline int kin__monitor_enter(struct kin__object *object, struct kin__monitor *monitor,
                                     uint64_t size)
{
    int rc = kin__mutex_lock(&object->mutex);
    if (KIN__UNLIKELY(rc < 0)) {
        return rc;
    }
    if (KIN__UNLIKELY(kin__a32_load_relaxed(&monitor->sealed) != 0)) {
        int redo = kin__monitor_redo(object, monitor, size);
        if (redo < 0) {
            kin__mutex_unlock(&object->mutex);
            return redo;
        }
    }
    return rc;
}

static inline void kin__monitor_leave(struct kin__object *object)
{
    kin__mutex_unlock(&object->mutex);
}

/*
 * Changes two words of the object together: killed at any instruction, either both change or
 * neither. Every store here is a release: the dead one's stores are seen in program order anyway,
 * so what counts is that the compiler keeps that order (P3).
 */
static inline void kin__monitor_commit(struct kin__object *object, struct kin__monitor *monitor,
                                       kin__a32 *first, uint32_t first_value, kin__a32 *second,
                                       uint32_t second_value)
{
    if (KIN__FAULT(COMMIT_BEFORE_WRITE)) {
        kin__a32_store(&monitor->sealed, 1);
    }
    kin__a32_store(&monitor->write[0].offset, (uint32_t)((char *)first - (char *)object));
    kin__a32_store(&monitor->write[0].value, first_value);
    kin__a32_store(&monitor->write[1].offset, (uint32_t)((char *)second - (char *)object));
    kin__a32_store(&monitor->write[1].value, second_value);
    kin__a32_store(&monitor->sealed, 1); /* the commit */
    kin__a32_store(first, first_value);
    kin__a32_store(second, second_value);
    kin__a32_store(&monitor->sealed, 0);
}

#endif
