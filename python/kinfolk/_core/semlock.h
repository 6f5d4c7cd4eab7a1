/* What is behind a SemLock, for the Condition over it. Layer: python. */
#ifndef KIN_PYTHON_SEMLOCK_H
#define KIN_PYTHON_SEMLOCK_H

#include "core.h"

enum shape {
    SHAPE_RLOCK,
    SHAPE_LOCK, /* a semaphore of one unit: whoever dies with it leaves it recoverable */
    SHAPE_SEMAPHORE,
};

struct semlock {
    PyObject_HEAD
    union {
        kin_rlock *rlock;
        kin_lock *lock;
        kin_semaphore *semaphore;
    } handle;
    enum shape shape;
    unsigned maximum;
    /* This process's acquisitions less its releases, and the thread of the last one: under the GIL. */
    int count;
    unsigned long holder;
};

static inline bool kin__py_semlock_is_mine(const struct semlock *self)
{
    return self->count > 0 && self->holder == PyThread_get_thread_ident();
}

#endif
