/*
 * kinfolk._core.SemLock: a lock, a recursive lock or a semaphore of the library. Layer: python.
 *
 * It lives in the arena: a forked child uses the handle that it inherited, others attach by
 * reference. What a thread may take without waiting is taken without releasing the GIL.
 */
#include "semlock.h"

#include <errno.h>

#define RECURSIVE_MUTEX 0
#define SEMAPHORE 1

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

static PyObject *acquired(PyObject *object, int rc)
{
    struct semlock *self = (struct semlock *)object;
    if (rc == -ETIMEDOUT) {
        Py_RETURN_FALSE;
    }
    if (rc < 0) {
        return kin__py_error(kin__py_state_at(object), rc, "acquire");
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
        return kin__py_error(kin__py_state_at(object), rc, "release");
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
    return PyBool_FromLong(kin__py_semlock_is_mine((struct semlock *)self));
}

static PyObject *get_value(PyObject *self, PyObject *unused)
{
    (void)unused;
    int value = value_of((struct semlock *)self);
    return value < 0 ? kin__py_done(self, value, "get_value") : PyLong_FromLong(value);
}

static PyObject *get_is_zero(PyObject *self, PyObject *unused)
{
    (void)unused;
    int value = value_of((struct semlock *)self);
    return value < 0 ? kin__py_done(self, value, "locked") : PyBool_FromLong(value == 0);
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
    return kin__py_reference(object, rc, &ref);
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
    if (kind != RECURSIVE_MUTEX && kind != SEMAPHORE) {
        PyErr_SetString(PyExc_ValueError, "unrecognized kind");
        return NULL;
    }
    if (value < 0 || maximum < value || maximum == 0 || (kind == RECURSIVE_MUTEX && value != 1)) {
        PyErr_Format(PyExc_ValueError, "the initial value must be from %d to %d, not %d",
                     kind == RECURSIVE_MUTEX, kind == RECURSIVE_MUTEX ? 1 : maximum, value);
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
        !kin__py_parse_reference(bytes, &ref)) {
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
