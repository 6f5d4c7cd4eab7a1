/* kinfolk._core.Condition: a condition of the library over a SemLock. Layer: python. */
#include "semlock.h"

#include <errno.h>

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
    return PyArg_ParseTuple(args, "OO", &bytes, &lock) && kin__py_parse_reference(bytes, &ref)
               ? make_condition((PyTypeObject *)cls, lock, &ref)
               : NULL;
}

static PyObject *condition_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    int rc = kin_condition_ref(((struct condition *)self)->handle, &ref);
    return kin__py_reference(self, rc, &ref);
}

static bool check_held(struct condition *self, const char *text)
{
    if (!kin__py_semlock_is_mine((struct semlock *)self->lock)) {
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
        return kin__py_error(kin__py_state_at(object), rc, "wait");
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
    return kin__py_done(object,
                         count >= UINT32_MAX ? kin_condition_notify_all(self->handle)
                                             : kin_condition_notify(self->handle, (uint32_t)count),
                         "notify");
}

static PyObject *condition_notify_all(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct condition *self = (struct condition *)object;
    return check_held(self, "lock is not owned")
               ? kin__py_done(object, kin_condition_notify_all(self->handle), "notify_all")
               : NULL;
}

static PyObject *condition_waiting(PyObject *self, PyObject *unused)
{
    (void)unused;
    int count = kin_condition_waiting(((struct condition *)self)->handle);
    return count < 0 ? kin__py_done(self, count, "waiting") : PyLong_FromLong(count);
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
