/* kinfolk._core.Process: a handle on a forked child. Layer: python. */
#include "core.h"

#include <errno.h>
#include <unistd.h>

struct process {
    PyObject_HEAD
    kin_process *handle; /* NULL once closed */
};

static struct core_state *state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

/* The handle, or NULL with ValueError. */
static kin_process *handle_of(PyObject *self)
{
    kin_process *handle = ((struct process *)self)->handle;
    if (handle == NULL) {
        PyErr_SetString(PyExc_ValueError, "process object is closed");
    }
    return handle;
}

/*
 * fork(cls, name, daemon) -> handle in the parent, None in the child. The fork itself is os.fork:
 * audit events, at-fork hooks and warnings are Python's own.
 */
static PyObject *fork_process(PyObject *cls, PyObject *args)
{
    const char *name;
    int daemon;
    if (!PyArg_ParseTuple(args, "sp", &name, &daemon)) {
        return NULL;
    }
    struct core_state *state = PyType_GetModuleState((PyTypeObject *)cls);
    struct process *self = PyObject_New(struct process, (PyTypeObject *)cls);
    if (self == NULL) {
        return NULL;
    }
    self->handle = NULL;
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.name = name;
    options.daemon = daemon;
    kin_process *handle;
    int rc = kin_process_prepare_fork(&options, &handle);
    if (rc < 0) {
        Py_DECREF(self);
        return kin__py_error(state, rc, "start");
    }
    PyObject *forked = PyObject_CallNoArgs(state->fork);
    long pid = forked == NULL ? -1 : PyLong_AsLong(forked);
    Py_XDECREF(forked);
    rc = kin_process_complete_fork(handle, (int)pid);
    if (pid < 0 || rc < 0) {
        Py_DECREF(self);
        return kin__py_error(state, rc, "start");
    }
    if (pid == 0) {
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    self->handle = handle;
    return (PyObject *)self;
}

static PyObject *join(PyObject *self, PyObject *timeout)
{
    kin_process *handle = handle_of(self);
    int64_t timeout_ns = handle == NULL ? -2 : kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_process_join(handle, timeout_ns, NULL);
    kin__py_block_end(&block);
    if (rc < 0 && rc != KIN_ESTATUSLOST && rc != -ETIMEDOUT) {
        return kin__py_error(state_of(self), rc, "join");
    }
    return PyBool_FromLong(rc != -ETIMEDOUT);
}

static PyObject *exitcode(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_process *handle = handle_of(self);
    if (handle == NULL) {
        return NULL;
    }
    int code;
    int rc = kin_process_exitcode(handle, &code);
    if (rc == -EAGAIN) {
        Py_RETURN_NONE;
    }
    if (rc == KIN_ESTATUSLOST) {
        code = 255; /* as multiprocessing reports a status that it could not learn */
    } else if (rc < 0) {
        return kin__py_error(state_of(self), rc, "exitcode");
    }
    return PyLong_FromLong(code);
}

static PyObject *send_signal(PyObject *self, PyObject *args)
{
    int number;
    kin_process *handle = handle_of(self);
    if (handle == NULL || !PyArg_ParseTuple(args, "i", &number)) {
        return NULL;
    }
    int rc = kin_process_signal(handle, number);
    if (rc < 0 && rc != -ESRCH) {
        return kin__py_error(state_of(self), rc, "signal");
    }
    Py_RETURN_NONE;
}

static PyObject *get_pid(PyObject *self, void *unused)
{
    (void)unused;
    kin_process *handle = handle_of(self);
    return handle == NULL ? NULL : PyLong_FromLong(kin_process_pid(handle));
}

static PyObject *get_sentinel(PyObject *self, void *unused)
{
    (void)unused;
    kin_process *handle = handle_of(self);
    if (handle == NULL) {
        return NULL;
    }
    int fd = kin_process_sentinel(handle);
    return fd < 0 ? kin__py_error(state_of(self), fd, "sentinel") : PyLong_FromLong(fd);
}

static PyObject *close_process(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct process *process = (struct process *)self;
    process->handle = kin_process_destroy(process->handle);
    Py_RETURN_NONE;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    kin_process_destroy(((struct process *)self)->handle);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"fork", fork_process, METH_VARARGS | METH_CLASS,
     "fork(name, daemon) -> handle, or None in the child"},
    {"join", join, METH_O, "join(timeout) -> bool: has it ended; timeout in seconds or None"},
    {"exitcode", exitcode, METH_NOARGS,
     "exitcode() -> int, minus the signal's number if killed, or None while it runs"},
    {"signal", send_signal, METH_VARARGS, "signal(number): nothing if it has ended"},
    {"close", close_process, METH_NOARGS, "close(): gives the handle back"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"pid", get_pid, NULL, "the child's process id", NULL},
    {"sentinel", get_sentinel, NULL, "a pidfd, readable once the child has ended", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "A handle on a child process."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {0, NULL},
};

PyType_Spec kin__py_process_spec = {
    .name = "kinfolk._core.Process",
    .basicsize = sizeof(struct process),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = type_slots,
};
