/* kinfolk._core.Event: an event of the library. Layer: python. */
#include "core.h"

#include <errno.h>

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
    return kin__py_parse_reference(bytes, &ref) ? make_event((PyTypeObject *)cls, &ref) : NULL;
}

static PyObject *event_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return kin__py_reference(self, kin_event_ref(((struct event *)self)->handle, &ref), &ref);
}

static PyObject *event_is_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    int rc = kin_event_is_set(((struct event *)self)->handle);
    return rc < 0 ? kin__py_done(self, rc, "is_set") : PyBool_FromLong(rc);
}

static PyObject *event_set(PyObject *self, PyObject *unused)
{
    (void)unused;
    return kin__py_done(self, kin_event_set(((struct event *)self)->handle), "set");
}

static PyObject *event_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    return kin__py_done(self, kin_event_clear(((struct event *)self)->handle), "clear");
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
        return kin__py_error(kin__py_state_at(self), rc, "wait");
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
