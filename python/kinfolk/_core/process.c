/* kinfolk._core.Process: a handle on a child, and how children are started. Layer: python. */
#include "core.h"

#include <errno.h>
#include <unistd.h>

struct process {
    PyObject_HEAD
    kin_process *handle; /* NULL once closed */
    int joins;           /* that use a handle without the GIL; the last one gives a closed one back */
};

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
    self->joins = 0;
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

/* --- children in fresh interpreters --------------------------------------------------------- */

/* The words of a command, ended by NULL; they live as long as `command` does. NULL with an exception. */
const char **kin__py_command(PyObject *command)
{
    PyObject *words = PySequence_Fast(command, "a command is a sequence of bytes");
    if (words == NULL) {
        return NULL;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(words);
    const char **argv = PyMem_New(const char *, count + 1);
    for (Py_ssize_t i = 0; argv != NULL && i < count; i++) {
        argv[i] = PyBytes_AsString(PySequence_Fast_GET_ITEM(words, i));
        if (argv[i] == NULL) {
            PyMem_Free(argv);
            argv = NULL;
        }
    }
    if (argv != NULL) {
        argv[count] = NULL;
    } else if (PyErr_Occurred() == NULL) {
        PyErr_NoMemory();
    }
    Py_DECREF(words);
    return argv;
}

/* The target of such a child. kin_child_main was called with the GIL held; this process ends when it
 * returns. */
static int run_child(void *arg, size_t size)
{
    int code = 1;
    PyObject *data = PyMemoryView_FromMemory(arg, (Py_ssize_t)size, PyBUF_READ);
    PyObject *module = data == NULL ? NULL : PyImport_ImportModule("kinfolk.spawn");
    PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, "_run_child", "(O)", data);
    if (result != NULL) {
        code = (int)(PyLong_AsLong(result) & 0xff);
    }
    if (PyErr_Occurred() != NULL) {
        PyErr_Print();
    }
    Py_XDECREF(result);
    Py_XDECREF(module);
    Py_XDECREF(data);
    return Py_FinalizeEx() < 0 ? 120 : code;
}

int kin__py_fill_fds(PyObject *fds, int *ret_fds, size_t *ret_count)
{
    PyObject *list = PySequence_Fast(fds, "fds is a sequence of int");
    if (list == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
    if (count > KIN_FDS_MAX) {
        PyErr_Format(PyExc_ValueError, "a child can be given at most %d descriptors, not %zd",
                     KIN_FDS_MAX, count);
        Py_DECREF(list);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        ret_fds[i] = (int)PyLong_AsLong(PySequence_Fast_GET_ITEM(list, i));
    }
    *ret_count = (size_t)count;
    Py_DECREF(list);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* start(cls, method, command, data, fds, name, daemon) -> handle */
static PyObject *start_process(PyObject *cls, PyObject *args)
{
    const char *method, *name;
    PyObject *command, *fds;
    Py_buffer data;
    int daemon;
    if (!PyArg_ParseTuple(args, "sOy*Osp", &method, &command, &data, &fds, &name, &daemon)) {
        return NULL;
    }
    struct core_state *state = PyType_GetModuleState((PyTypeObject *)cls);
    int list[KIN_FDS_MAX];
    struct kin_context context = KIN_CONTEXT_INIT;
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    struct process *self = NULL;
    const char **argv = kin__py_command(command);
    if (argv != NULL && kin__py_fill_fds(fds, list, &options.fd_count) == 0 &&
        (self = PyObject_New(struct process, (PyTypeObject *)cls)) != NULL) {
        self->handle = NULL;
        self->joins = 0;
        context.command = argv;
        options.target = run_child;
        options.arg = data.buf;
        options.arg_size = (size_t)data.len;
        options.name = name;
        options.daemon = daemon;
        options.context = &context;
        options.fds = list;
        int found = kin_start_method_parse(method);
        options.method = (enum kin_start_method)found;
        struct kin__py_block block;
        kin__py_block_begin(&block);
        int rc = found < 0 ? found : kin_process_start(&options, &self->handle);
        kin__py_block_end(&block);
        if (rc < 0) {
            kin__py_error(state, rc, "start");
        } else if (PyErr_Occurred() != NULL) {
            kin_process_kill(self->handle); /* of a signal handler: nobody will know of the child */
        }
        if (PyErr_Occurred() != NULL) {
            Py_CLEAR(self);
        }
    }
    PyMem_Free(argv);
    PyBuffer_Release(&data);
    return (PyObject *)self;
}

PyObject *kin__py_child_main(PyObject *module, PyObject *words)
{
    (void)module;
    const char **argv = kin__py_command(words);
    if (argv == NULL) {
        return NULL;
    }
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    const char *line[] = {"", argc > 1 ? argv[argc - 2] : "", argc > 1 ? argv[argc - 1] : "", NULL};
    kin_child_main(3, (char **)line);
    PyMem_Free(argv);
    PyErr_SetString(PyExc_ValueError, "this process was not started as a child");
    return NULL;
}

PyObject *kin__py_forkserver_ensure(PyObject *module, PyObject *command)
{
    const char **argv = kin__py_command(command);
    if (argv == NULL) {
        return NULL;
    }
    struct kin_context context = KIN_CONTEXT_INIT;
    context.method = KIN_START_FORKSERVER;
    context.command = argv;
    int rc = kin_forkserver_start(&context);
    PyMem_Free(argv);
    if (rc < 0) {
        return kin__py_error(kin__py_state(module), rc, "forkserver");
    }
    Py_RETURN_NONE;
}

PyObject *kin__py_forkserver_pid(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    int pid = kin_forkserver_pid();
    if (pid < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(pid);
}

PyObject *kin__py_forkserver_stop(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    kin_forkserver_stop();
    Py_RETURN_NONE;
}

/* --- the parent ------------------------------------------------------------------------------ */

PyObject *kin__py_parent_sentinel(PyObject *module, PyObject *unused)
{
    (void)unused;
    int fd = kin_process_parent_sentinel();
    return fd < 0 ? kin__py_error(kin__py_state(module), fd, "parent_sentinel")
                  : PyLong_FromLong(fd);
}

PyObject *kin__py_wait_for_parent(PyObject *module, PyObject *timeout)
{
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    int fd = kin_process_parent_sentinel();
    if (fd == -ESRCH) {
        Py_RETURN_TRUE; /* it had ended before anybody asked */
    }
    struct kin_wait_item item = kin_wait_on_fd(fd, KIN_WAIT_READ);
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = fd < 0 ? fd : kin_wait(&item, 1, timeout_ns);
    kin__py_block_end(&block);
    if (rc < 0 && rc != -ETIMEDOUT) {
        return kin__py_error(kin__py_state(module), rc, "parent_process");
    }
    return PyBool_FromLong(rc >= 0);
}

/* --- a handle -------------------------------------------------------------------------------- */

/* The exit code, of a call that returned `rc`. */
static PyObject *code_of(PyObject *self, int rc, int code, const char *what)
{
    if (rc == KIN_ESTATUSLOST) {
        code = 255; /* as multiprocessing reports a status that it could not learn */
    } else if (rc == -EAGAIN || rc == -ETIMEDOUT) {
        Py_RETURN_NONE;
    } else if (rc < 0) {
        return kin__py_error(kin__py_state_at(self), rc, what);
    }
    return PyLong_FromLong(code);
}

static PyObject *join(PyObject *self, PyObject *timeout)
{
    kin_process *handle = handle_of(self);
    int64_t timeout_ns = handle == NULL ? -2 : kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    struct process *process = (struct process *)self;
    int code = 0;
    struct kin__py_block block;
    process->joins++;
    kin__py_block_begin(&block);
    int rc = kin_process_join(handle, timeout_ns, &code);
    kin__py_block_end(&block);
    if (--process->joins == 0 && process->handle == NULL) {
        kin_process_destroy(handle);
    }
    return code_of(self, rc, code, "join");
}

static PyObject *exitcode(PyObject *self, PyObject *unused)
{
    (void)unused;
    kin_process *handle = handle_of(self);
    int code = 0;
    return handle == NULL ? NULL
                          : code_of(self, kin_process_exitcode(handle, &code), code, "exitcode");
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
        return kin__py_error(kin__py_state_at(self), rc, "signal");
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
    return fd < 0 ? kin__py_error(kin__py_state_at(self), fd, "sentinel") : PyLong_FromLong(fd);
}

static PyObject *close_process(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct process *process = (struct process *)self;
    if (process->joins == 0) {
        kin_process_destroy(process->handle);
    }
    process->handle = NULL;
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
    {"start", start_process, METH_VARARGS | METH_CLASS,
     "start(method, command, data, fds, name, daemon) -> handle on a child that executes the\n"
     "command and runs kinfolk.spawn._run_child(data)"},
    {"join", join, METH_O, "join(timeout) -> as exitcode(), after so many seconds at most, or None"},
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
