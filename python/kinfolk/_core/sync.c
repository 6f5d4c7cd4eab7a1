/*
 * kinfolk._core.SemLock, Condition, Event, Barrier: handles on the library's primitives.
 * Layer: python.
 *
 * All live in the arena: a forked child uses the handle that it inherited, others attach by
 * reference. What a thread may take without waiting is taken without releasing the GIL.
 */
#include "core.h"

#include <errno.h>
#include <string.h>

#define RECURSIVE_MUTEX 0
#define SEMAPHORE 1

/* What is behind a SemLock. */
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

static PyObject *reference(PyObject *self, int rc, const kin_ref *ref)
{
    if (rc < 0) {
        return kin__py_error(kin__py_state_of(Py_TYPE(self)), rc, "share");
    }
    return PyBytes_FromStringAndSize((const char *)ref, sizeof *ref);
}

static bool parse_reference(PyObject *bytes, kin_ref *ret_ref)
{
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != sizeof *ret_ref) {
        PyErr_SetString(PyExc_ValueError, "malformed reference to a shared object");
        return false;
    }
    memcpy(ret_ref, PyBytes_AS_STRING(bytes), sizeof *ret_ref);
    return true;
}

static PyObject *done_or_error(PyObject *self, int rc, const char *what)
{
    if (rc < 0) {
        return kin__py_error(kin__py_state_of(Py_TYPE(self)), rc, what);
    }
    Py_RETURN_NONE;
}

/* --- SemLock --------------------------------------------------------------------------------- */

static int take(struct semlock *self, int64_t timeout_ns)
{
    switch (self->shape) {
    case SHAPE_RLOCK:
        return kin_rlock_lock(self->handle.rlock, timeout_ns);
    case SHAPE_LOCK:
        return kin_lock_lock(self->handle.lock, timeout_ns);
    default:
        return kin_semaphore_wait(self->handle.semaphore, timeout_ns);
    }
}

static int give(struct semlock *self)
{
    switch (self->shape) {
    case SHAPE_RLOCK:
        return kin_rlock_unlock(self->handle.rlock);
    case SHAPE_LOCK:
        return kin_lock_unlock(self->handle.lock);
    default:
        return kin_semaphore_post(self->handle.semaphore);
    }
}

/* Units to be had, or an error. */
static int value_of(struct semlock *self)
{
    int rc;
    switch (self->shape) {
    case SHAPE_RLOCK:
        rc = kin_rlock_is_locked(self->handle.rlock);
        return rc < 0 ? rc : !rc;
    case SHAPE_LOCK:
        rc = kin_lock_is_locked(self->handle.lock);
        return rc < 0 ? rc : !rc;
    default:
        return kin_semaphore_value(self->handle.semaphore);
    }
}

static bool is_mine(const struct semlock *self)
{
    return self->count > 0 && self->holder == PyThread_get_thread_ident();
}

static PyObject *acquired(PyObject *object, int rc)
{
    struct semlock *self = (struct semlock *)object;
    if (rc == -ETIMEDOUT) {
        Py_RETURN_FALSE;
    }
    if (rc < 0) {
        return kin__py_error(kin__py_state_of(Py_TYPE(object)), rc, "acquire");
    }
    self->count++;
    self->holder = PyThread_get_thread_ident();
    Py_RETURN_TRUE;
}

static PyObject *acquire_for(PyObject *object, int64_t timeout_ns)
{
    struct semlock *self = (struct semlock *)object;
    int rc = take(self, 0);
    if (rc == -ETIMEDOUT && timeout_ns != 0) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        rc = take(self, timeout_ns);
        kin__py_block_end(&block);
    }
    return acquired(object, rc);
}

static PyObject *acquire(PyObject *object, PyObject *const *args, Py_ssize_t count,
                         PyObject *names)
{
    PyObject *given[2] = {NULL, NULL};
    static const char *const known[2] = {"block", "timeout"};
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)", count);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        given[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int at = PyUnicode_CompareWithASCIIString(name, known[0]) == 0   ? 0
                 : PyUnicode_CompareWithASCIIString(name, known[1]) == 0 ? 1
                                                                         : -1;
        if (at < 0 || given[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "acquire() got an unexpected argument '%U'", name);
            return NULL;
        }
        given[at] = args[count + i];
    }
    int block = given[0] == NULL ? 1 : PyObject_IsTrue(given[0]);
    if (block < 0) {
        return NULL;
    }
    int64_t timeout_ns = block ? kin__py_timeout(given[1]) : 0;
    return timeout_ns == -2 ? NULL : acquire_for(object, timeout_ns);
}

static PyObject *release(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct semlock *self = (struct semlock *)object;
    int rc = give(self);
    if (rc == KIN_ENOTOWNER) {
        PyErr_SetString(PyExc_AssertionError,
                        "attempt to release recursive lock not owned by thread");
        return NULL;
    }
    if (rc == KIN_EOVERFLOW) {
        PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
        return NULL;
    }
    if (rc < 0) {
        return kin__py_error(kin__py_state_of(Py_TYPE(object)), rc, "release");
    }
    self->count--;
    Py_RETURN_NONE;
}

static PyObject *semlock_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return acquire_for(self, KIN_FOREVER);
}

static PyObject *semlock_exit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return release(self, NULL);
}

static PyObject *get_count(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct semlock *)self)->count);
}

static PyObject *get_is_mine(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(is_mine((struct semlock *)self));
}

static PyObject *get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    int value = value_of((struct semlock *)self);
    return value < 0 ? done_or_error(self, value, "get_value") : PyLong_FromLong(value);
}

static PyObject *get_is_zero(PyObject *self, PyObject *unused)
{
    (void)unused;
    int value = value_of((struct semlock *)self);
    return value < 0 ? done_or_error(self, value, "locked") : PyBool_FromLong(value == 0);
}

static PyObject *after_fork(PyObject *self, PyObject *unused)
{
    (void)unused;
    ((struct semlock *)self)->count = 0;
    Py_RETURN_NONE;
}

static PyObject *semlock_ref(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct semlock *self = (struct semlock *)object;
    kin_ref ref;
    int rc = self->shape == SHAPE_RLOCK  ? kin_rlock_ref(self->handle.rlock, &ref)
             : self->shape == SHAPE_LOCK ? kin_lock_ref(self->handle.lock, &ref)
                                         : kin_semaphore_ref(self->handle.semaphore, &ref);
    return reference(object, rc, &ref);
}

static enum shape shape_of(int kind, int value, unsigned maximum)
{
    return kind == RECURSIVE_MUTEX          ? SHAPE_RLOCK
           : maximum == 1 && value == 1 ? SHAPE_LOCK
                                            : SHAPE_SEMAPHORE;
}

static PyObject *new_semlock(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"kind", "value", "maxvalue", NULL};
    int kind, value, maximum;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "iii", names, &kind, &value, &maximum)) {
        return NULL;
    }
    if ((kind != RECURSIVE_MUTEX && kind != SEMAPHORE) || value < 0 || maximum < value ||
        maximum == 0 || (kind == RECURSIVE_MUTEX && value != 1)) {
        PyErr_SetString(PyExc_ValueError, "unrecognized kind, or a value beyond the maximum");
        return NULL;
    }
    struct semlock *self = (struct semlock *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->shape = shape_of(kind, value, (unsigned)maximum);
    self->maximum = (unsigned)maximum;
    struct kin_semaphore_options options = KIN_SEMAPHORE_OPTIONS_INIT;
    options.value = (uint32_t)value;
    options.bound = (uint32_t)maximum;
    int rc = self->shape == SHAPE_RLOCK  ? kin_rlock_create(NULL, &self->handle.rlock)
             : self->shape == SHAPE_LOCK ? kin_lock_create(NULL, &self->handle.lock)
                                         : kin_semaphore_create(&options, &self->handle.semaphore);
    if (rc < 0) {
        kin__py_error(kin__py_state_of(type), rc, "SemLock");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* _attach(cls, ref, kind, value, maxvalue) */
static PyObject *semlock_attach(PyObject *cls, PyObject *args)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    PyObject *bytes;
    int kind, value, maximum;
    kin_ref ref;
    if (!PyArg_ParseTuple(args, "Oiii", &bytes, &kind, &value, &maximum) ||
        !parse_reference(bytes, &ref)) {
        return NULL;
    }
    struct semlock *self = (struct semlock *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->shape = shape_of(kind, value, (unsigned)maximum);
    self->maximum = (unsigned)maximum;
    int rc = self->shape == SHAPE_RLOCK  ? kin_rlock_attach(&ref, &self->handle.rlock)
             : self->shape == SHAPE_LOCK ? kin_lock_attach(&ref, &self->handle.lock)
                                         : kin_semaphore_attach(&ref, &self->handle.semaphore);
    if (rc < 0) {
        kin__py_error(kin__py_state_of(type), rc, "SemLock");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void semlock_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct semlock *self = (struct semlock *)object;
    switch (self->shape) {
    case SHAPE_RLOCK:
        kin_rlock_destroy(self->handle.rlock);
        break;
    case SHAPE_LOCK:
        kin_lock_destroy(self->handle.lock);
        break;
    default:
        kin_semaphore_destroy(self->handle.semaphore);
        break;
    }
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *get_kind(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((struct semlock *)self)->shape == SHAPE_RLOCK ? RECURSIVE_MUTEX
                                                                           : SEMAPHORE);
}

static PyObject *get_maximum(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(((struct semlock *)self)->maximum);
}

static PyObject *get_handle(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromVoidPtr(((struct semlock *)self)->handle.lock);
}

static PyMethodDef semlock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))acquire, METH_FASTCALL | METH_KEYWORDS,
     "acquire(block=True, timeout=None) -> bool\n\nWhether it could be had within so many seconds."},
    {"release", release, METH_NOARGS, "release()\n\nGive it back."},
    {"__enter__", semlock_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))semlock_exit, METH_FASTCALL, NULL},
    {"_count", get_count, METH_NOARGS, "acquisitions less releases of this process"},
    {"_is_mine", get_is_mine, METH_NOARGS, "whether this thread acquired it last and holds it"},
    {"_get_value", get_value, METH_NOARGS, "units to be had"},
    {"_is_zero", get_is_zero, METH_NOARGS, "whether none is to be had"},
    {"_after_fork", after_fork, METH_NOARGS, "in a forked child: this process holds none"},
    {"_ref", semlock_ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", semlock_attach, METH_VARARGS | METH_CLASS, "_attach(ref, kind, value, maxvalue)"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semlock_getset[] = {
    {"kind", get_kind, NULL, "RECURSIVE_MUTEX or SEMAPHORE", NULL},
    {"maxvalue", get_maximum, NULL, "the most units that there may be", NULL},
    {"handle", get_handle, NULL, "where it lies", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot semlock_slots[] = {
    {Py_tp_doc, "SemLock(kind, value, maxvalue)\n\nA lock, recursive lock or semaphore in shared "
                "memory."},
    {Py_tp_new, new_semlock},
    {Py_tp_dealloc, semlock_dealloc},
    {Py_tp_methods, semlock_methods},
    {Py_tp_getset, semlock_getset},
    {0, NULL},
};

PyType_Spec kin__py_semlock_spec = {
    .name = "kinfolk._core.SemLock",
    .basicsize = sizeof(struct semlock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = semlock_slots,
};

/* --- Condition ------------------------------------------------------------------------------- */

struct condition {
    PyObject_HEAD
    kin_condition *handle;
    PyObject *lock; /* the SemLock under it */
};

static PyObject *make_condition(PyTypeObject *type, PyObject *lock, const kin_ref *ref)
{
    struct core_state *state = kin__py_state_of(type);
    if (!PyObject_TypeCheck(lock, state->semlock_type) ||
        ((struct semlock *)lock)->shape == SHAPE_SEMAPHORE) {
        PyErr_SetString(PyExc_TypeError, "a condition is over a Lock or an RLock");
        return NULL;
    }
    struct condition *self = (struct condition *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->lock = Py_NewRef(lock);
    struct semlock *semlock = (struct semlock *)lock;
    struct kin_condition_options options = KIN_CONDITION_OPTIONS_INIT;
    if (semlock->shape == SHAPE_RLOCK) {
        options.rlock = semlock->handle.rlock;
    } else {
        options.lock = semlock->handle.lock;
    }
    int rc = ref == NULL ? kin_condition_create(&options, &self->handle)
                         : kin_condition_attach(ref, &self->handle);
    if (rc < 0) {
        kin__py_error(state, rc, "Condition");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *new_condition(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    (void)kwds;
    PyObject *lock;
    return PyArg_ParseTuple(args, "O", &lock) ? make_condition(type, lock, NULL) : NULL;
}

static PyObject *condition_attach(PyObject *cls, PyObject *args)
{
    PyObject *bytes, *lock;
    kin_ref ref;
    return PyArg_ParseTuple(args, "OO", &bytes, &lock) && parse_reference(bytes, &ref)
               ? make_condition((PyTypeObject *)cls, lock, &ref)
               : NULL;
}

static PyObject *condition_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return reference(self, kin_condition_ref(((struct condition *)self)->handle, &ref), &ref);
}

static bool check_held(struct condition *self, const char *text)
{
    if (!is_mine((struct semlock *)self->lock)) {
        PyErr_SetString(PyExc_AssertionError, text);
        return false;
    }
    return true;
}

static PyObject *condition_wait(PyObject *object, PyObject *timeout)
{
    struct condition *self = (struct condition *)object;
    struct semlock *lock = (struct semlock *)self->lock;
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2 || !check_held(self, "must acquire() condition before using wait()")) {
        return NULL;
    }
    int count = lock->count;
    lock->count = 0;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_condition_wait(self->handle, timeout_ns);
    kin__py_block_end(&block);
    lock->count = count;
    lock->holder = PyThread_get_thread_ident();
    if (rc < 0 && rc != -ETIMEDOUT) {
        return kin__py_error(kin__py_state_of(Py_TYPE(object)), rc, "wait");
    }
    return PyBool_FromLong(rc >= 0);
}

static PyObject *condition_notify(PyObject *object, PyObject *number)
{
    struct condition *self = (struct condition *)object;
    unsigned long count = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred() != NULL || !check_held(self, "lock is not owned")) {
        return NULL;
    }
    return done_or_error(object,
                         count >= UINT32_MAX ? kin_condition_notify_all(self->handle)
                                             : kin_condition_notify(self->handle, (uint32_t)count),
                         "notify");
}

static PyObject *condition_notify_all(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct condition *self = (struct condition *)object;
    return check_held(self, "lock is not owned")
               ? done_or_error(object, kin_condition_notify_all(self->handle), "notify_all")
               : NULL;
}

static PyObject *condition_waiting(PyObject *self, PyObject *unused)
{
    (void)unused;
    int count = kin_condition_waiting(((struct condition *)self)->handle);
    return count < 0 ? done_or_error(self, count, "waiting") : PyLong_FromLong(count);
}

static void condition_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct condition *self = (struct condition *)object;
    kin_condition_destroy(self->handle);
    Py_XDECREF(self->lock);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef condition_methods[] = {
    {"wait", condition_wait, METH_O, "wait(timeout) -> bool: was it notified in time"},
    {"notify", condition_notify, METH_O, "notify(n): wakes up to n that wait"},
    {"notify_all", condition_notify_all, METH_NOARGS, "notify_all(): wakes all that wait"},
    {"waiting", condition_waiting, METH_NOARGS, "waiting() -> int: how many wait"},
    {"_ref", condition_ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", condition_attach, METH_VARARGS | METH_CLASS, "_attach(ref, semlock)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, "Condition(semlock)\n\nA condition variable over a lock, in shared memory."},
    {Py_tp_new, new_condition},
    {Py_tp_dealloc, condition_dealloc},
    {Py_tp_methods, condition_methods},
    {0, NULL},
};

PyType_Spec kin__py_condition_spec = {
    .name = "kinfolk._core.Condition",
    .basicsize = sizeof(struct condition),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = condition_slots,
};

/* --- Event ----------------------------------------------------------------------------------- */

struct event {
    PyObject_HEAD
    kin_event *handle;
};

static PyObject *make_event(PyTypeObject *type, const kin_ref *ref)
{
    struct event *self = (struct event *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    int rc = ref == NULL ? kin_event_create(NULL, &self->handle)
                         : kin_event_attach(ref, &self->handle);
    if (rc < 0) {
        kin__py_error(kin__py_state_of(type), rc, "Event");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *new_event(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    (void)kwds;
    return PyArg_ParseTuple(args, "") ? make_event(type, NULL) : NULL;
}

static PyObject *event_attach(PyObject *cls, PyObject *bytes)
{
    kin_ref ref;
    return parse_reference(bytes, &ref) ? make_event((PyTypeObject *)cls, &ref) : NULL;
}

static PyObject *event_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return reference(self, kin_event_ref(((struct event *)self)->handle, &ref), &ref);
}

static PyObject *event_is_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    int rc = kin_event_is_set(((struct event *)self)->handle);
    return rc < 0 ? done_or_error(self, rc, "is_set") : PyBool_FromLong(rc);
}

static PyObject *event_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    return done_or_error(self, kin_event_set(((struct event *)self)->handle), "set");
}

static PyObject *event_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return done_or_error(self, kin_event_clear(((struct event *)self)->handle), "clear");
}

static PyObject *event_wait(PyObject *self, PyObject *timeout)
{
    struct event *event = (struct event *)self;
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    int rc = kin_event_wait(event->handle, 0);
    if (rc == -ETIMEDOUT && timeout_ns != 0) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        rc = kin_event_wait(event->handle, timeout_ns);
        kin__py_block_end(&block);
    }
    if (rc < 0 && rc != -ETIMEDOUT) {
        return kin__py_error(kin__py_state_of(Py_TYPE(self)), rc, "wait");
    }
    return PyBool_FromLong(rc >= 0);
}

static void event_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    kin_event_destroy(((struct event *)self)->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set() -> bool"},
    {"set", event_set, METH_NOARGS, "set(): releases all that wait"},
    {"clear", event_clear, METH_NOARGS, "clear()"},
    {"wait", event_wait, METH_O, "wait(timeout) -> bool: was it set in time"},
    {"_ref", event_ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", event_attach, METH_O | METH_CLASS, "_attach(ref)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "Event()\n\nA flag in shared memory."},
    {Py_tp_new, new_event},
    {Py_tp_dealloc, event_dealloc},
    {Py_tp_methods, event_methods},
    {0, NULL},
};

PyType_Spec kin__py_event_spec = {
    .name = "kinfolk._core.Event",
    .basicsize = sizeof(struct event),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = event_slots,
};

/* --- Barrier --------------------------------------------------------------------------------- */

struct barrier {
    PyObject_HEAD
    kin_barrier *handle;
};

static PyObject *make_barrier(PyTypeObject *type, long parties, const kin_ref *ref)
{
    struct barrier *self = (struct barrier *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    struct kin_barrier_options options = KIN_BARRIER_OPTIONS_INIT;
    options.parties = (uint32_t)parties;
    int rc = ref == NULL ? kin_barrier_create(&options, &self->handle)
                         : kin_barrier_attach(ref, &self->handle);
    if (rc < 0) {
        kin__py_error(kin__py_state_of(type), rc, "Barrier");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *new_barrier(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    (void)kwds;
    long parties;
    if (!PyArg_ParseTuple(args, "l", &parties)) {
        return NULL;
    }
    if (parties < 1 || parties > KIN_BARRIER_PARTIES_MAX) {
        return PyErr_Format(PyExc_ValueError, "parties must be from 1 to %d, not %ld",
                            KIN_BARRIER_PARTIES_MAX, parties);
    }
    return make_barrier(type, parties, NULL);
}

static PyObject *barrier_attach(PyObject *cls, PyObject *bytes)
{
    kin_ref ref;
    return parse_reference(bytes, &ref) ? make_barrier((PyTypeObject *)cls, 0, &ref) : NULL;
}

static PyObject *barrier_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return reference(self, kin_barrier_ref(((struct barrier *)self)->handle, &ref), &ref);
}

static int run_action(void *action)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *result = PyObject_CallNoArgs((PyObject *)action);
    Py_XDECREF(result);
    PyGILState_Release(gil);
    return result == NULL ? -ECANCELED : 0;
}

/* wait(action, timeout) -> index, or None if the barrier is broken */
static PyObject *barrier_wait(PyObject *self, PyObject *args)
{
    PyObject *action, *timeout;
    if (!PyArg_ParseTuple(args, "OO", &action, &timeout)) {
        return NULL;
    }
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    kin_barrier *handle = ((struct barrier *)self)->handle;
    uint32_t index = 0;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = action == Py_None
                 ? kin_barrier_wait(handle, timeout_ns, &index)
                 : kin_barrier_wait_with(handle, run_action, action, timeout_ns, &index);
    kin__py_block_end(&block);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (rc == -ETIMEDOUT || rc == KIN_EBROKEN) {
        Py_RETURN_NONE;
    }
    return rc < 0 ? done_or_error(self, rc, "wait") : PyLong_FromUnsignedLong(index);
}

static PyObject *barrier_reset(PyObject *self, PyObject *unused)
{
    (void)unused;
    return done_or_error(self, kin_barrier_reset(((struct barrier *)self)->handle), "reset");
}

static PyObject *barrier_abort(PyObject *self, PyObject *unused)
{
    (void)unused;
    return done_or_error(self, kin_barrier_abort(((struct barrier *)self)->handle), "abort");
}

static PyObject *barrier_parties(PyObject *self, void *unused)
{
    (void)unused;
    int rc = kin_barrier_parties(((struct barrier *)self)->handle);
    return rc < 0 ? done_or_error(self, rc, "parties") : PyLong_FromLong(rc);
}

static PyObject *barrier_waiting(PyObject *self, void *unused)
{
    (void)unused;
    int rc = kin_barrier_waiting(((struct barrier *)self)->handle);
    return rc < 0 ? done_or_error(self, rc, "n_waiting") : PyLong_FromLong(rc);
}

static PyObject *barrier_broken(PyObject *self, void *unused)
{
    (void)unused;
    int rc = kin_barrier_broken(((struct barrier *)self)->handle);
    return rc < 0 ? done_or_error(self, rc, "broken") : PyBool_FromLong(rc);
}

static void barrier_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    kin_barrier_destroy(((struct barrier *)self)->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef barrier_methods[] = {
    {"wait", barrier_wait, METH_VARARGS,
     "wait(action, timeout) -> place in the order of arrival, or None: the barrier is broken"},
    {"reset", barrier_reset, METH_NOARGS, "reset(): whole and empty"},
    {"abort", barrier_abort, METH_NOARGS, "abort(): broken until reset"},
    {"_ref", barrier_ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", barrier_attach, METH_O | METH_CLASS, "_attach(ref)"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getset[] = {
    {"parties", barrier_parties, NULL, "how many must come", NULL},
    {"n_waiting", barrier_waiting, NULL, "how many wait", NULL},
    {"broken", barrier_broken, NULL, "whether it is broken", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, "Barrier(parties)\n\nParties that wait for each other, in shared memory."},
    {Py_tp_new, new_barrier},
    {Py_tp_dealloc, barrier_dealloc},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getset},
    {0, NULL},
};

PyType_Spec kin__py_barrier_spec = {
    .name = "kinfolk._core.Barrier",
    .basicsize = sizeof(struct barrier),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = barrier_slots,
};
