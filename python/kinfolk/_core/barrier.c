/* kinfolk._core.Barrier: a barrier of the library. Layer: python. */
#include "core.h"

#include <errno.h>

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
    return kin__py_parse_reference(bytes, &ref) ? make_barrier((PyTypeObject *)cls, 0, &ref) : NULL;
}

static PyObject *barrier_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return kin__py_reference(self, kin_barrier_ref(((struct barrier *)self)->handle, &ref), &ref);
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
    return rc < 0 ? kin__py_done(self, rc, "wait") : PyLong_FromUnsignedLong(index);
}

static PyObject *barrier_reset(PyObject *self, PyObject *unused)
{
    (void)unused;
    return kin__py_done(self, kin_barrier_reset(((struct barrier *)self)->handle), "reset");
}

static PyObject *barrier_abort(PyObject *self, PyObject *unused)
{
    (void)unused;
    return kin__py_done(self, kin_barrier_abort(((struct barrier *)self)->handle), "abort");
}

static PyObject *barrier_parties(PyObject *self, void *unused)
{
    (void)unused;
    int rc = kin_barrier_parties(((struct barrier *)self)->handle);
    return rc < 0 ? kin__py_done(self, rc, "parties") : PyLong_FromLong(rc);
}

static PyObject *barrier_waiting(PyObject *self, void *unused)
{
    (void)unused;
    int rc = kin_barrier_waiting(((struct barrier *)self)->handle);
    return rc < 0 ? kin__py_done(self, rc, "n_waiting") : PyLong_FromLong(rc);
}

static PyObject *barrier_broken(PyObject *self, void *unused)
{
    (void)unused;
    int rc = kin_barrier_broken(((struct barrier *)self)->handle);
    return rc < 0 ? kin__py_done(self, rc, "broken") : PyBool_FromLong(rc);
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
