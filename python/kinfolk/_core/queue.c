/*
 * kinfolk._core.Queue: objects through the library's queue. Layer: python.
 *
 * An object is pickled in the caller of put, and in the queue before put returns: there is no feeder
 * thread, so nothing is lost if the process ends at once.
 */
#include "core.h"

#include <errno.h>
#include <time.h>

struct queue {
    PyObject_HEAD
    kin_queue *handle; /* NULL until __init__ */
    char closed;         /* for this process */
    char end_closed[2];  /* the same of its ends: the reader's, the writer's */
};

enum { READER, WRITER };

static PyObject *fail(PyObject *self, int rc, const char *what)
{
    if (PyErr_Occurred() == NULL && rc == KIN_ECLOSED) {
        PyErr_SetString(PyExc_OSError, "the queue is closed");
        return NULL;
    }
    return kin__py_error(kin__py_state_at(self), rc, what);
}

static PyObject *raise_named(const char *name)
{
    PyObject *module = PyImport_ImportModule("queue");
    PyObject *error = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    if (error != NULL) {
        PyErr_SetNone(error);
    }
    Py_XDECREF(error);
    Py_XDECREF(module);
    return NULL;
}

static bool check_open(PyObject *self)
{
    if (((struct queue *)self)->closed) {
        PyErr_Format(PyExc_ValueError, "Queue %R is closed", self);
        return false;
    }
    return true;
}

static bool check_end(PyObject *self, int end)
{
    if (((struct queue *)self)->end_closed[end]) {
        PyErr_SetString(PyExc_OSError, "handle is closed");
        return false;
    }
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

/* Subclasses have arguments of their own. */
static PyObject *new_queue(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    (void)args;
    (void)kwds;
    return type->tp_alloc(type, 0);
}

static int adopt(PyObject *self, int rc, kin_queue *handle)
{
    struct queue *queue = (struct queue *)self;
    if (rc < 0) {
        fail(self, rc, "Queue");
        return -1;
    }
    kin_queue_destroy(queue->handle);
    queue->handle = handle;
    queue->closed = queue->end_closed[READER] = queue->end_closed[WRITER] = 0;
    return 0;
}

static int init_queue(PyObject *self, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"maxsize", "joinable", NULL};
    Py_ssize_t maxsize = 0;
    int joinable = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "|np", names, &maxsize, &joinable)) {
        return -1;
    }
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = maxsize > 0 ? (size_t)maxsize : 0;
    options.joinable = joinable;
    kin_queue *handle = NULL;
    int rc = kin_queue_create(&options, &handle);
    return adopt(self, rc, handle);
}

/* _attach(ref): this object becomes a handle on that queue */
static PyObject *attach(PyObject *self, PyObject *bytes)
{
    kin_ref ref;
    if (!kin__py_parse_reference(bytes, &ref)) {
        return NULL;
    }
    kin_queue *handle = NULL;
    int rc = kin_queue_attach(&ref, &handle);
    if (adopt(self, rc, handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *get_ref(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_ref ref;
    return kin__py_reference(self, kin_queue_ref(((struct queue *)self)->handle, &ref), &ref);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    kin_queue_destroy(((struct queue *)self)->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

/* This process puts and gets no more. The queue stays, and what is in it: others have it. */
static PyObject *close_queue(PyObject *self, PyObject *unused)
{
    (void)unused;
    ((struct queue *)self)->closed = 1;
    Py_RETURN_NONE;
}

static PyObject *close_end(PyObject *self, PyObject *writable)
{
    int end = PyObject_IsTrue(writable) > 0 ? WRITER : READER;
    ((struct queue *)self)->end_closed[end] = 1;
    Py_RETURN_NONE;
}

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct queue *)self)->closed);
}

/* --- put -------------------------------------------------------------------------------------- */

/* Seconds to wait: of (block, timeout). -2 with an exception. */
static int64_t patience(PyObject *block, PyObject *timeout)
{
    int waits = block == NULL ? 1 : PyObject_IsTrue(block);
    return waits < 0 ? -2 : waits ? kin__py_timeout(timeout) : 0;
}

/* Fills `ret`, of `room` places, from positional and named arguments; the first `needed` must be there. */
static bool parse(const char *function, PyObject *const *args, Py_ssize_t count, PyObject *names,
                  const char *const *known, int room, int needed, PyObject **ret)
{
    if (count > room) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", function, room,
                     count);
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        ret[i] = args[i];
    }
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int at = 0;
        while (at < room && PyUnicode_CompareWithASCIIString(name, known[at]) != 0) {
            at++;
        }
        if (at == room || ret[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected argument '%U'", function, name);
            return false;
        }
        ret[at] = args[count + i];
    }
    for (int i = 0; i < needed; i++) {
        if (ret[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing argument '%s'", function, known[i]);
            return false;
        }
    }
    return true;
}

/* Nobody tells of memory that becomes free: look, and look again. */
static int put_when_there_is_memory(kin_queue *handle, const Py_buffer *view, int64_t timeout_ns)
{
    enum { LOOK_NS = 2000000 };
    int64_t now = kin__py_now();
    int64_t deadline = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
    int rc = KIN_EQUOTA;
    while ((rc == KIN_EQUOTA || rc == -ETIMEDOUT) && now < deadline) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
        rc = kin_queue_put(handle, view->buf, (size_t)view->len, 0);
        kin__py_block_end(&block);
        if (rc < 0 && PyErr_CheckSignals() < 0) {
            return -EINTR;
        }
        now = kin__py_now();
    }
    return rc;
}

static PyObject *put_buffer(PyObject *self, const Py_buffer *view, int64_t timeout_ns)
{
    kin_queue *handle = ((struct queue *)self)->handle;
    int rc = kin_queue_put(handle, view->buf, (size_t)view->len, 0);
    if (rc == -ETIMEDOUT && timeout_ns != 0) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        rc = kin_queue_put(handle, view->buf, (size_t)view->len, timeout_ns);
        kin__py_block_end(&block);
    }
    if (rc == KIN_EQUOTA && timeout_ns > 0) {
        rc = put_when_there_is_memory(handle, view, timeout_ns);
    }
    if (rc == -ETIMEDOUT) {
        return raise_named("Full");
    }
    if (rc < 0) {
        return fail(self, rc, "put");
    }
    Py_RETURN_NONE;
}

/* The object could not be pickled: the queue's own method says what to do about it. */
static PyObject *on_error(PyObject *self, PyObject *object)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    PyObject *done = PyErr_GivenExceptionMatches(error, PyExc_Exception)
                         ? PyObject_CallMethod(self, "_on_queue_feeder_error", "(OO)", error, object)
                         : NULL;
    if (done == NULL && PyErr_Occurred() == NULL) {
        PyErr_SetObject(type, error);
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    if (done == NULL) {
        return NULL;
    }
    Py_DECREF(done);
    Py_RETURN_NONE;
}

static PyObject *put_for(PyObject *self, PyObject *object, int64_t timeout_ns)
{
    PyObject *pickle = kin__py_dumps(kin__py_state_at(self), object);
    Py_buffer view;
    if (pickle == NULL || PyObject_GetBuffer(pickle, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(pickle);
        return on_error(self, object);
    }
    PyObject *done = put_buffer(self, &view, timeout_ns);
    PyBuffer_Release(&view);
    Py_DECREF(pickle);
    return done;
}

static PyObject *put(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const known[] = {"obj", "block", "timeout"};
    PyObject *given[3] = {NULL};
    if (!check_open(self) || !parse("put", args, count, names, known, 3, 1, given)) {
        return NULL;
    }
    int64_t timeout_ns = patience(given[1], given[2]);
    return timeout_ns == -2 ? NULL : put_for(self, given[0], timeout_ns);
}

static PyObject *put_nowait(PyObject *self, PyObject *object)
{
    return check_open(self) ? put_for(self, object, 0) : NULL;
}

static PyObject *put_object(PyObject *self, PyObject *object)
{
    return check_end(self, WRITER) ? put_for(self, object, KIN_FOREVER) : NULL;
}

/* put_bytes(data, timeout): as it is */
static PyObject *put_bytes(PyObject *self, PyObject *args)
{
    Py_buffer view;
    PyObject *timeout = Py_None;
    if (!PyArg_ParseTuple(args, "y*|O", &view, &timeout)) {
        return NULL;
    }
    int64_t timeout_ns = kin__py_timeout(timeout);
    PyObject *done = NULL;
    if (view.len == 0) {
        PyErr_SetString(PyExc_ValueError, "a queue's message has at least 1 byte");
    } else if (timeout_ns != -2) {
        done = put_buffer(self, &view, timeout_ns);
    }
    PyBuffer_Release(&view);
    return done;
}

/* --- get -------------------------------------------------------------------------------------- */

/* As kin_queue_get: first without releasing the GIL. */
static int get_into(kin_queue *handle, void *buffer, size_t *size, int64_t timeout_ns)
{
    size_t room = *size;
    int rc = kin_queue_get(handle, buffer, size, 0);
    if (rc == -ETIMEDOUT && timeout_ns != 0) {
        struct kin__py_block block;
        kin__py_block_begin(&block);
        *size = room;
        rc = kin_queue_get(handle, buffer, size, timeout_ns);
        kin__py_block_end(&block);
    }
    return rc;
}

static PyObject *get_message(PyObject *self, int64_t timeout_ns)
{
    kin_queue *handle = ((struct queue *)self)->handle;
    char small[4096];
    size_t size = sizeof small;
    int rc = get_into(handle, small, &size, timeout_ns);
    if (rc == 0) {
        return PyBytes_FromStringAndSize(small, (Py_ssize_t)size);
    }
    while (rc == KIN_ETOOBIG) {
        /* Another reader may be faster: then the next message has another size. */
        PyObject *message = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (message == NULL) {
            return NULL;
        }
        const size_t room = size;
        rc = get_into(handle, PyBytes_AS_STRING(message), &size, timeout_ns);
        if (rc == 0 && (size == room || _PyBytes_Resize(&message, (Py_ssize_t)size) == 0)) {
            return message;
        }
        Py_XDECREF(message);
        if (rc == 0) {
            return NULL;
        }
    }
    return rc == -ETIMEDOUT ? raise_named("Empty") : fail(self, rc, "get");
}

static PyObject *get_for(PyObject *self, int64_t timeout_ns)
{
    PyObject *message = get_message(self, timeout_ns);
    if (message == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_CallOneArg(kin__py_state_at(self)->loads, message);
    Py_DECREF(message);
    return object;
}

static PyObject *get(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const known[] = {"block", "timeout"};
    PyObject *given[2] = {NULL};
    if (!check_open(self) || !parse("get", args, count, names, known, 2, 0, given)) {
        return NULL;
    }
    int64_t timeout_ns = patience(given[0], given[1]);
    return timeout_ns == -2 ? NULL : get_for(self, timeout_ns);
}

static PyObject *get_nowait(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_open(self) ? get_for(self, 0) : NULL;
}

static PyObject *get_object(PyObject *self, PyObject *unused)
{
    (void)unused;
    return check_end(self, READER) ? get_for(self, KIN_FOREVER) : NULL;
}

/* get_bytes(timeout): as it is */
static PyObject *get_bytes(PyObject *self, PyObject *timeout)
{
    int64_t timeout_ns = kin__py_timeout(timeout);
    return timeout_ns == -2 ? NULL : get_message(self, timeout_ns);
}

/* --- looking ---------------------------------------------------------------------------------- */

/* poll(timeout) -> bool: whether a message is there to be got */
static PyObject *poll(PyObject *self, PyObject *timeout)
{
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    /* No message fits into nothing: it stays. */
    size_t size = 0;
    int rc = get_into(((struct queue *)self)->handle, NULL, &size, timeout_ns);
    if (rc < 0 && rc != -ETIMEDOUT && rc != KIN_ETOOBIG) {
        return fail(self, rc, "poll");
    }
    return PyBool_FromLong(rc == KIN_ETOOBIG);
}

static PyObject *is_used(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct kin_queue_stats stats = {.size = sizeof stats};
    int rc = kin_queue_stats(((struct queue *)self)->handle, &stats);
    return rc < 0 ? fail(self, rc, "empty") : PyBool_FromLong(stats.put != 0);
}

static PyObject *qsize(PyObject *self, PyObject *unused)
{
    (void)unused;
    size_t messages;
    int rc = kin_queue_size(((struct queue *)self)->handle, &messages);
    return rc < 0 ? fail(self, rc, "qsize") : PyLong_FromSize_t(messages);
}

/* The descriptor that is readable when a message may be there. */
static PyObject *number(PyObject *self, PyObject *unused)
{
    (void)unused;
    int fd = kin_queue_fd(((struct queue *)self)->handle);
    return fd < 0 ? fail(self, fd, "fileno") : PyLong_FromLong(fd);
}

/* --- counting what is done ---------------------------------------------------------------------- */

static PyObject *task_done(PyObject *self, PyObject *unused)
{
    (void)unused;
    int rc = kin_queue_task_done(((struct queue *)self)->handle);
    if (rc == KIN_EOVERFLOW) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (rc < 0) {
        return fail(self, rc, "task_done");
    }
    Py_RETURN_NONE;
}

static PyObject *join(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_queue_join(((struct queue *)self)->handle, KIN_FOREVER);
    kin__py_block_end(&block);
    if (rc < 0) {
        return fail(self, rc, "join");
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"put", (PyCFunction)(void (*)(void))put, METH_FASTCALL | METH_KEYWORDS,
     "put(obj, block=True, timeout=None)\n\nPut an object, waiting so many seconds for room in a\n"
     "bounded queue; queue.Full if there was none. MemoryError: the shared memory is full."},
    {"put_nowait", put_nowait, METH_O, "put_nowait(obj)\n\nPut an object, or raise queue.Full."},
    {"get", (PyCFunction)(void (*)(void))get, METH_FASTCALL | METH_KEYWORDS,
     "get(block=True, timeout=None) -> object\n\nTake the oldest object, waiting so many seconds for\n"
     "one; queue.Empty if there was none."},
    {"get_nowait", get_nowait, METH_NOARGS,
     "get_nowait() -> object\n\nTake the oldest object, or raise queue.Empty."},
    {"close", close_queue, METH_NOARGS, "close()\n\nThis process uses the queue no more."},
    {"qsize", qsize, METH_NOARGS, "qsize() -> int\n\nObjects in the queue, at this moment."},
    {"_put_object", put_object, METH_O, "put(obj)\n\nPut an object."},
    {"_get_object", get_object, METH_NOARGS,
     "get() -> object\n\nTake the oldest object; waits for one."},
    {"_close_end", close_end, METH_O, "_close_end(writable): this process puts, or gets, no more"},
    {"_put_bytes", put_bytes, METH_VARARGS, "_put_bytes(data, timeout=None)"},
    {"_get_bytes", get_bytes, METH_O, "_get_bytes(timeout) -> bytes"},
    {"_is_used", is_used, METH_NOARGS, "_is_used() -> bool: was anything ever put"},
    {"_poll", poll, METH_O, "_poll(timeout) -> bool: is anything there"},
    {"_fileno", number, METH_NOARGS, "_fileno() -> int: readable when something may be there"},
    {"_task_done", task_done, METH_NOARGS, "one object that was got is dealt with"},
    {"_join", join, METH_NOARGS, "waits until all objects are dealt with"},
    {"_ref", get_ref, METH_NOARGS, "_ref() -> bytes for _attach"},
    {"_attach", attach, METH_O, "_attach(ref): becomes a handle on that queue"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"_closed", get_closed, NULL, "whether this process has closed it", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Queue(maxsize=0, joinable=False)\n\nObjects, first in, first out, between processes."},
    {Py_tp_new, new_queue},
    {Py_tp_init, init_queue},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {0, NULL},
};

PyType_Spec kin__py_queue_spec = {
    .name = "kinfolk._core.Queue",
    .basicsize = sizeof(struct queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = type_slots,
};
