/* kinfolk._core.Block: zeroed memory of the arena as a writable buffer. Layer: python. */
#include "core.h"

struct block {
    PyObject_HEAD
    kin_array *handle; /* an array of bytes without a lock: it lives as long as anybody holds it */
};

static PyObject *make(PyTypeObject *type, Py_ssize_t size, const kin_ref *ref)
{
    struct block *self = (struct block *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    struct kin_array_options options = KIN_ARRAY_OPTIONS_INIT;
    options.raw = 1;
    int rc = ref == NULL ? kin_array_create((size_t)size, 1, NULL, &options, &self->handle)
                         : kin_array_attach(ref, &self->handle);
    if (rc < 0) {
        kin__py_error(kin__py_state_of(type), rc, "Block");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *new_block(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    (void)kwds;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "n", &size)) {
        return NULL;
    }
    if (size < 1) {
        return PyErr_Format(PyExc_ValueError, "a block has at least 1 byte, not %zd", size);
    }
    return make(type, size, NULL);
}

static PyObject *attach(PyObject *cls, PyObject *bytes)
{
    kin_ref ref;
    return kin__py_parse_reference(bytes, &ref) ? make((PyTypeObject *)cls, 0, &ref) : NULL;
}

static PyObject *get_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return kin__py_reference(self, kin_array_ref(((struct block *)self)->handle, &ref), &ref);
}

static int get_buffer(PyObject *self, Py_buffer *view, int flags)
{
    kin_array *array = ((struct block *)self)->handle;
    return PyBuffer_FillInfo(view, self, kin_array_data(array), (Py_ssize_t)kin_array_count(array),
                             0, flags);
}

static Py_ssize_t length(PyObject *self)
{
    return (Py_ssize_t)kin_array_count(((struct block *)self)->handle);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    kin_array_destroy(((struct block *)self)->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"_ref", get_ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", attach, METH_O | METH_CLASS, "_attach(ref) -> the same memory"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Block(size)\n\nZeroed bytes in shared memory, aligned to 64, as a buffer."},
    {Py_tp_new, new_block},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_bf_getbuffer, get_buffer},
    {Py_sq_length, length},
    {0, NULL},
};

PyType_Spec kin__py_block_spec = {
    .name = "kinfolk._core.Block",
    .basicsize = sizeof(struct block),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = type_slots,
};
