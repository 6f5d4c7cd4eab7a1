/* kinfolk._core.Connection: messages of bytes and of objects over a descriptor. Layer: python. */
#include "core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A message up to this size is sent whole or not at all: it may be tried without waiting. */
#define WHOLE 4092

struct connection {
    PyObject_HEAD
    /* Freed with the object: a call may be using it. NULL once released, and if there was no such
     * descriptor, which is told at the first use. */
    kin_connection *handle;
    int number; /* of the descriptor that there was not */
    char closed;
    char readable;
    char writable;
};

static struct connection *check(PyObject *self)
{
    struct connection *connection = (struct connection *)self;
    if (connection->closed) {
        PyErr_SetString(PyExc_OSError, "handle is closed");
        return NULL;
    }
    if (connection->handle == NULL) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        return NULL;
    }
    return connection;
}

static struct connection *check_readable(PyObject *self)
{
    struct connection *connection = check(self);
    if (connection != NULL && !connection->readable) {
        PyErr_SetString(PyExc_OSError, "connection is write-only");
        return NULL;
    }
    return connection;
}

static struct connection *check_writable(PyObject *self)
{
    struct connection *connection = check(self);
    if (connection != NULL && !connection->writable) {
        PyErr_SetString(PyExc_OSError, "connection is read-only");
        return NULL;
    }
    return connection;
}

static PyObject *fail(PyObject *self, int rc, bool sending)
{
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    switch (rc) {
    case KIN_ECLOSED:
    case KIN_EPEERDIED:
        if (sending) {
            errno = EPIPE;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        PyErr_SetNone(PyExc_EOFError);
        return NULL;
    case KIN_ESTATE:
        PyErr_SetString(PyExc_OSError, "handle is closed");
        return NULL;
    case KIN_ETORN:
    case KIN_ECORRUPT:
        PyErr_Format(PyExc_OSError, "%s", kin_strerror(rc));
        return NULL;
    default:
        return kin__py_error(kin__py_state_at(self), rc, sending ? "send" : "recv");
    }
}

/* --- life ------------------------------------------------------------------------------------ */

static PyObject *wrap(PyTypeObject *type, kin_connection *handle, int readable, int writable)
{
    struct connection *self = (struct connection *)type->tp_alloc(type, 0);
    if (self == NULL) {
        kin_connection_destroy(handle);
        return NULL;
    }
    self->handle = handle;
    self->readable = readable != 0;
    self->writable = writable != 0;
    return (PyObject *)self;
}

static PyObject *new_connection(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"handle", "readable", "writable", NULL};
    PyObject *number;
    int readable = 1, writable = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "O|pp", names, &number, &readable, &writable)) {
        return NULL;
    }
    PyObject *index = PyNumber_Index(number);
    long fd = index == NULL ? -1 : PyLong_AsLong(index);
    Py_XDECREF(index);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (fd < 0 || fd > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "invalid handle");
        return NULL;
    }
    if (!readable && !writable) {
        PyErr_SetString(PyExc_ValueError,
                        "at least one of `readable` and `writable` must be True");
        return NULL;
    }
    kin_connection *handle = NULL;
    int rc = kin_connection_from_fd((int)fd, &handle);
    if (rc < 0 && rc != -EBADF) {
        return kin__py_error(kin__py_state_of(type), rc, "Connection");
    }
    PyObject *self = wrap(type, handle, readable, writable);
    if (self != NULL) {
        ((struct connection *)self)->number = (int)fd;
    }
    return self;
}

/* The arguments are for subclasses' __init__ to pass up; __new__ has taken them. */
static int init_connection(PyObject *self, PyObject *args, PyObject *kwds)
{
    (void)self;
    (void)args;
    (void)kwds;
    return 0;
}

/* _pipe(cls, duplex) -> (cls, cls) */
static PyObject *make_pipe(PyObject *cls, PyObject *args)
{
    int duplex;
    if (!PyArg_ParseTuple(args, "p", &duplex)) {
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)cls;
    struct kin_pipe_options options = KIN_PIPE_OPTIONS_INIT;
    options.duplex = duplex;
    kin_connection *ends[2];
    int rc = kin_pipe_create(&options, &ends[0], &ends[1]);
    if (rc < 0) {
        return kin__py_error(kin__py_state_of(type), rc, "Pipe");
    }
    PyObject *a = wrap(type, ends[0], 1, duplex);
    PyObject *b = wrap(type, ends[1], duplex, 1);
    PyObject *pair = a != NULL && b != NULL ? PyTuple_Pack(2, a, b) : NULL;
    Py_XDECREF(a);
    Py_XDECREF(b);
    return pair;
}

/* _ref() -> bytes: what another process needs besides the descriptor. */
static PyObject *ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct connection *connection = check(self);
    struct kin_connection_ref reference;
    int rc = connection == NULL ? 0 : kin_connection_ref(connection->handle, &reference);
    if (connection == NULL || rc < 0) {
        return connection == NULL ? NULL : fail(self, rc, true);
    }
    return PyBytes_FromStringAndSize((const char *)&reference, sizeof reference);
}

/* _attach(cls, ref, handle, readable, writable): in order with the others that use this end; where
 * these are of another family, or gone, a connection over the bare descriptor. */
static PyObject *attach(PyObject *cls, PyObject *args)
{
    Py_buffer bytes;
    int fd, readable, writable;
    if (!PyArg_ParseTuple(args, "y*ipp", &bytes, &fd, &readable, &writable)) {
        return NULL;
    }
    struct kin_connection_ref reference;
    kin_connection *handle = NULL;
    int rc = KIN_ESTALE;
    if (bytes.len == sizeof reference) {
        memcpy(&reference, bytes.buf, sizeof reference);
        rc = kin_connection_attach(&reference, fd, &handle);
    }
    PyBuffer_Release(&bytes);
    if (rc < 0) {
        rc = kin_connection_from_fd(fd, &handle);
    }
    if (rc < 0) {
        return kin__py_error(kin__py_state_of((PyTypeObject *)cls), rc, "Connection");
    }
    return wrap((PyTypeObject *)cls, handle, readable, writable);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    kin_connection_destroy(((struct connection *)self)->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *close_connection(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct connection *connection = (struct connection *)self;
    if (!connection->closed) {
        connection->closed = 1;
        if (connection->handle != NULL) {
            kin_connection_close(connection->handle);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check(self) == NULL ? NULL : Py_NewRef(self);
}

static PyObject *leave(PyObject *self, PyObject *args)
{
    (void)args;
    return close_connection(self, NULL);
}

/* --- what it is ------------------------------------------------------------------------------ */

static PyObject *number(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct connection *connection = (struct connection *)self;
    if (!connection->closed && connection->handle == NULL) {
        return PyLong_FromLong(connection->number);
    }
    return check(self) == NULL ? NULL : PyLong_FromLong(kin_connection_fd(connection->handle));
}

static PyObject *get_handle(PyObject *self, void *unused)
{
    (void)unused;
    struct connection *connection = (struct connection *)self;
    if (connection->closed) {
        Py_RETURN_NONE;
    }
    return number(self, NULL);
}

/* None: this object has nothing more to do with the descriptor, which stays open. */
static int set_handle(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    struct connection *connection = (struct connection *)self;
    if (value != Py_None) {
        PyErr_SetString(PyExc_AttributeError, "a connection's handle can only be set to None");
        return -1;
    }
    if (!connection->closed) {
        connection->closed = 1;
        if (connection->handle != NULL) {
            kin_connection_release(connection->handle);
        }
        connection->handle = NULL;
    }
    return 0;
}

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct connection *)self)->closed);
}

static PyObject *get_readable(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct connection *)self)->readable);
}

static PyObject *get_writable(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct connection *)self)->writable);
}

static PyObject *repr(PyObject *self)
{
    struct connection *connection = (struct connection *)self;
    if (connection->closed) {
        return PyUnicode_FromFormat("<%s closed>", Py_TYPE(self)->tp_name);
    }
    return PyUnicode_FromFormat("<%s handle=%d>", Py_TYPE(self)->tp_name,
                                connection->handle != NULL ? kin_connection_fd(connection->handle)
                                                           : connection->number);
}

/* --- sending --------------------------------------------------------------------------------- */

static PyObject *send(PyObject *self, struct connection *connection, const void *data,
                      Py_ssize_t size)
{
    int rc = size > WHOLE ? -ETIMEDOUT
                          : kin_connection_send(connection->handle, data, (size_t)size, 0);
    if (rc == -ETIMEDOUT) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        rc = kin_connection_send(connection->handle, data, (size_t)size, KIN_FOREVER);
        kin__py_block_end(&block);
    }
    if (rc < 0) {
        return fail(self, rc, true);
    }
    Py_RETURN_NONE;
}

static PyObject *send_object(PyObject *self, PyObject *object)
{
    struct connection *connection = check_writable(self);
    PyObject *pickle = connection == NULL ? NULL : kin__py_dumps(kin__py_state_at(self), object);
    if (pickle == NULL) {
        return NULL;
    }
    Py_buffer view;
    PyObject *done = NULL;
    if (PyObject_GetBuffer(pickle, &view, PyBUF_SIMPLE) == 0) {
        done = check(self) == NULL ? NULL : send(self, connection, view.buf, view.len);
        PyBuffer_Release(&view);
    }
    Py_DECREF(pickle);
    return done;
}

static PyObject *send_bytes(PyObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"buf", "offset", "size", NULL};
    Py_buffer view;
    Py_ssize_t offset = 0;
    PyObject *length = Py_None;
    struct connection *connection = check_writable(self);
    if (connection == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwds, "y*|nO", names, &view, &offset, &length)) {
        return NULL;
    }
    PyObject *done = NULL;
    Py_ssize_t size = length == Py_None ? view.len - offset : PyNumber_AsSsize_t(length, NULL);
    if (PyErr_Occurred() != NULL) {
        /* said already */
    } else if (offset < 0) {
        PyErr_SetString(PyExc_ValueError, "offset is negative");
    } else if (view.len < offset) {
        PyErr_SetString(PyExc_ValueError, "buffer length < offset");
    } else if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "size is negative");
    } else if (size > view.len - offset) {
        PyErr_SetString(PyExc_ValueError, "buffer length < offset + size");
    } else {
        done = send(self, connection, (const char *)view.buf + offset, size);
    }
    PyBuffer_Release(&view);
    return done;
}

/* --- receiving ------------------------------------------------------------------------------- */

/* Into `buffer` of *size bytes: as kin_connection_recv. */
static int recv_into(struct connection *connection, void *buffer, size_t *size)
{
    size_t room = *size;
    int rc = kin_connection_recv(connection->handle, buffer, size, 0);
    if (rc == -ETIMEDOUT) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        *size = room;
        rc = kin_connection_recv(connection->handle, buffer, size, KIN_FOREVER);
        kin__py_block_end(&block);
    }
    return rc;
}

/* The next message, as bytes; NULL with an exception. A limit of -1 is none. */
static PyObject *recv_message(PyObject *self, struct connection *connection, Py_ssize_t limit)
{
    char small[8192];
    size_t size = sizeof small;
    if (limit >= 0 && (size_t)limit < size) {
        size = (size_t)limit;
    }
    int rc = recv_into(connection, small, &size);
    if (rc == 0) {
        return PyBytes_FromStringAndSize(small, (Py_ssize_t)size);
    }
    while (rc == KIN_ETOOBIG) {
        if (limit >= 0 && size > (size_t)limit) {
            /* The message stays in the way of all others. */
            if (connection->writable) {
                connection->readable = 0;
            } else {
                close_connection(self, NULL);
            }
            PyErr_SetString(PyExc_OSError, "bad message length");
            return NULL;
        }
        PyObject *message = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (message == NULL) {
            return NULL;
        }
        const size_t room = size;
        rc = recv_into(connection, PyBytes_AS_STRING(message), &size);
        if (rc == 0 && (size == room || _PyBytes_Resize(&message, (Py_ssize_t)size) == 0)) {
            return message;
        }
        Py_XDECREF(message);
        if (rc == 0) {
            return NULL;
        }
    }
    return fail(self, rc, false);
}

static PyObject *recv_object(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct connection *connection = check_readable(self);
    PyObject *message = connection == NULL ? NULL : recv_message(self, connection, -1);
    if (message == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_CallOneArg(kin__py_state_at(self)->loads, message);
    Py_DECREF(message);
    return object;
}

static PyObject *recv_bytes(PyObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"maxlength", NULL};
    PyObject *maximum = Py_None;
    struct connection *connection = check_readable(self);
    if (connection == NULL || !PyArg_ParseTupleAndKeywords(args, kwds, "|O", names, &maximum)) {
        return NULL;
    }
    Py_ssize_t limit = maximum == Py_None ? -1 : PyNumber_AsSsize_t(maximum, NULL);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (maximum != Py_None && limit < 0) {
        PyErr_SetString(PyExc_ValueError, "negative maxlength");
        return NULL;
    }
    return recv_message(self, connection, limit);
}

static PyObject *recv_bytes_into(PyObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"buf", "offset", NULL};
    Py_buffer view;
    Py_ssize_t offset = 0;
    struct connection *connection = check_readable(self);
    if (connection == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwds, "w*|n", names, &view, &offset)) {
        return NULL;
    }
    PyObject *result = NULL;
    if (offset < 0) {
        PyErr_SetString(PyExc_ValueError, "negative offset");
    } else if (offset > view.len) {
        PyErr_SetString(PyExc_ValueError, "offset too large");
    } else {
        size_t size = (size_t)(view.len - offset);
        int rc = recv_into(connection, (char *)view.buf + offset, &size);
        if (rc == 0) {
            result = PyLong_FromSize_t(size);
        } else if (rc == KIN_ETOOBIG) {
            PyObject *message = recv_message(self, connection, -1);
            if (message != NULL) {
                PyErr_SetObject(kin__py_state_at(self)->buffer_too_short, message);
                Py_DECREF(message);
            }
        } else {
            fail(self, rc, false);
        }
    }
    PyBuffer_Release(&view);
    return result;
}

static PyObject *poll(PyObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    struct connection *connection = check_readable(self);
    if (connection == NULL || !PyArg_ParseTupleAndKeywords(args, kwds, "|O", names, &timeout)) {
        return NULL;
    }
    int64_t timeout_ns = timeout == NULL ? 0 : kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    int rc = kin_connection_poll(connection->handle, 0);
    if (rc == -ETIMEDOUT && timeout_ns != 0) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        rc = kin_connection_poll(connection->handle, timeout_ns);
        kin__py_block_end(&block);
    }
    if (rc < 0 && rc != -ETIMEDOUT) {
        return fail(self, rc, false);
    }
    return PyBool_FromLong(rc >= 0);
}

/* --- waiting for many ------------------------------------------------------------------------- */

/* wait(objects, timeout) -> the list of those that are ready; one object at least */
PyObject *kin__py_wait(PyObject *module, PyObject *args)
{
    PyObject *objects, *timeout;
    if (!PyArg_ParseTuple(args, "OO", &objects, &timeout)) {
        return NULL;
    }
    struct core_state *state = kin__py_state(module);
    int64_t timeout_ns = kin__py_timeout(timeout);
    PyObject *list = timeout_ns == -2 ? NULL : PySequence_List(objects);
    PyObject *ready = list == NULL ? NULL : PyList_New(0);
    if (ready == NULL) {
        Py_XDECREF(list);
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(list);
    struct kin_wait_item *items = PyMem_New(struct kin_wait_item, count);
    int rc = -ENOMEM;
    for (Py_ssize_t i = 0; items != NULL && i < count; i++) {
        PyObject *object = PyList_GET_ITEM(list, i);
        if (PyObject_TypeCheck(object, state->connection_type)) {
            struct connection *connection = check(object);
            if (connection == NULL) {
                goto out;
            }
            items[i] = kin_wait_on_connection(connection->handle);
        } else {
            int fd = PyObject_AsFileDescriptor(object);
            if (fd < 0) {
                if (PyErr_ExceptionMatches(PyExc_TypeError)) {
                    PyErr_Format(PyExc_ValueError, "Invalid file object: %R is no descriptor and "
                                                   "has no fileno() that gives one", object);
                }
                goto out;
            }
            items[i] = kin_wait_on_fd(fd, KIN_WAIT_READ);
        }
    }
    if (items != NULL) {
        rc = kin_wait(items, (size_t)count, 0);
    }
    if (rc == -ETIMEDOUT && timeout_ns != 0) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        rc = kin_wait(items, (size_t)count, timeout_ns);
        kin__py_block_end(&block);
    }
    if (rc < 0 && rc != -ETIMEDOUT) {
        kin__py_error(state, rc, "wait");
        goto out;
    }
    for (Py_ssize_t i = 0; rc > 0 && i < count; i++) {
        if (items[i].ready != 0 && PyList_Append(ready, PyList_GET_ITEM(list, i)) < 0) {
            goto out;
        }
    }
out:
    PyMem_Free(items);
    Py_DECREF(list);
    if (PyErr_Occurred() != NULL) {
        Py_CLEAR(ready);
    }
    return ready;
}

/* --- the type --------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"fileno", number, METH_NOARGS, "fileno() -> int\n\nThe descriptor."},
    {"close", close_connection, METH_NOARGS, "close()\n\nClose the connection's descriptor."},
    {"send", send_object, METH_O, "send(obj)\n\nSend a picklable object."},
    {"recv", recv_object, METH_NOARGS,
     "recv() -> object\n\nReceive an object; waits. EOFError: the other end is closed."},
    {"send_bytes", (PyCFunction)(void (*)(void))send_bytes, METH_VARARGS | METH_KEYWORDS,
     "send_bytes(buf, offset=0, size=None)\n\nSend bytes as one message."},
    {"recv_bytes", (PyCFunction)(void (*)(void))recv_bytes, METH_VARARGS | METH_KEYWORDS,
     "recv_bytes(maxlength=None) -> bytes\n\nReceive one message. OSError: it is longer than\n"
     "maxlength, and the connection can receive no more."},
    {"recv_bytes_into", (PyCFunction)(void (*)(void))recv_bytes_into, METH_VARARGS | METH_KEYWORDS,
     "recv_bytes_into(buf, offset=0) -> int\n\nReceive one message into a buffer, from that byte\n"
     "on; its length. BufferTooShort (with the message): it does not fit."},
    {"poll", (PyCFunction)(void (*)(void))poll, METH_VARARGS | METH_KEYWORDS,
     "poll(timeout=0.0) -> bool\n\nWhether a message, or the end, is there to be received, waiting\n"
     "so many seconds, or for ever if None."},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", leave, METH_VARARGS, NULL},
    {"_pipe", make_pipe, METH_VARARGS | METH_CLASS, "_pipe(duplex) -> two joined connections"},
    {"_ref", ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", attach, METH_VARARGS | METH_CLASS,
     "_attach(ref, handle, readable, writable) -> connection"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"_handle", get_handle, set_handle, "the descriptor, or None", NULL},
    {"closed", get_closed, NULL, "True if the connection is closed", NULL},
    {"readable", get_readable, NULL, "True if the connection is readable", NULL},
    {"writable", get_writable, NULL, "True if the connection is writable", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Connection(handle, readable=True, writable=True)\n\n"
                "Messages over an open pipe or stream socket, whose descriptor it takes over."},
    {Py_tp_new, new_connection},
    {Py_tp_init, init_connection},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {0, NULL},
};

PyType_Spec kin__py_connection_spec = {
    .name = "kinfolk._core.Connection",
    .basicsize = sizeof(struct connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = type_slots,
};
