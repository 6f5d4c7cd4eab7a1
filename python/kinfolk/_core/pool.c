/* kinfolk._core.Pool: the library's pool with Python tasks. Layer: python. */
#include "task.h"

#include <errno.h>
#include <string.h>

/* What init_arg is: a tag, and the object or the bytes that it announces. NULL with an exception. */
static char *make_start(PyObject *start, enum kin_start_method method, size_t *ret_size)
{
    if (method == KIN_START_FORK) {
        char *bytes = PyMem_Malloc(1 + sizeof start);
        if (bytes != NULL) {
            bytes[0] = START_FORKED;
            memcpy(bytes + 1, &start, sizeof start);
            *ret_size = 1 + sizeof start;
        }
        return bytes;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(start, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    char *bytes = PyMem_Malloc(1 + (size_t)view.len);
    if (bytes != NULL) {
        bytes[0] = START_FRESH;
        memcpy(bytes + 1, view.buf, (size_t)view.len);
        *ret_size = 1 + (size_t)view.len;
    }
    PyBuffer_Release(&view);
    return bytes;
}

static int create(struct pool *self, int processes, int max_tasks, const char *name,
                  const char *method_name, PyObject *fds)
{
    struct core_state *state = kin__py_state_at((PyObject *)self);
    int list[KIN_FDS_MAX];
    struct kin_context context = KIN_CONTEXT_INIT;
    struct kin_process_options process = KIN_PROCESS_OPTIONS_INIT;
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    int method = kin_start_method_parse(method_name);
    if (method < 0) {
        PyErr_Format(PyExc_ValueError, "unknown start method '%s'", method_name);
        return -1;
    }
    if (kin__py_fill_fds(fds, list, &process.fd_count) < 0) {
        return -1;
    }
    char *start = make_start(self->start, (enum kin_start_method)method, &options.init_size);
    if (start == NULL) {
        if (PyErr_Occurred() == NULL) {
            PyErr_NoMemory();
        }
        return -1;
    }
    context.command = self->argv;
    process.method = (enum kin_start_method)method;
    process.context = &context;
    process.fds = list;
    options.process = &process;
    options.processes = processes;
    options.max_tasks_per_child = max_tasks;
    options.initializer = kin__py_worker_begin;
    options.init_arg = start;
    options.finalizer = kin__py_worker_end;
    options.name = name;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_pool_create(&options, &self->handle);
    kin__py_block_end(&block);
    PyMem_Free(start);
    if (rc < 0) {
        kin__py_error(state, rc, "Pool");
    }
    return PyErr_Occurred() != NULL ? -1 : 0; /* perhaps of a signal handler */
}

static PyObject *new_pool(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"processes", "start", "max_tasks", "name", "method", "command", "fds",
                            NULL};
    int processes, max_tasks;
    PyObject *start, *command, *fds;
    const char *name, *method;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "iOissOO", names, &processes, &start, &max_tasks,
                                     &name, &method, &command, &fds)) {
        return NULL;
    }
    struct pool *self = (struct pool *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->start = Py_NewRef(start);
    if (command != Py_None) {
        self->command = PySequence_List(command);
        self->argv = self->command == NULL ? NULL : kin__py_command(self->command);
    }
    if ((command != Py_None && self->argv == NULL) ||
        create(self, processes, max_tasks, name, method, fds) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *close_pool(PyObject *self, PyObject *unused)
{
    (void)unused;
    return kin__py_done(self, kin_pool_close(((struct pool *)self)->handle), "close");
}

static PyObject *terminate(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_pool_terminate(((struct pool *)self)->handle);
    kin__py_block_end(&block);
    return kin__py_done(self, rc, "terminate");
}

static PyObject *join(PyObject *self, PyObject *timeout)
{
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_pool_join(((struct pool *)self)->handle, timeout_ns);
    kin__py_block_end(&block);
    return kin__py_done(self, rc, "join");
}

static PyObject *pids(PyObject *self, PyObject *unused)
{
    (void)unused;
    int found[1024];
    int count = kin_pool_pids(((struct pool *)self)->handle, found, 1024);
    if (count < 0) {
        return kin__py_error(kin__py_state_at(self), count, "pids");
    }
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < count && i < 1024; i++) {
        PyObject *pid = PyLong_FromLong(found[i]);
        if (pid == NULL || PyList_Append(list, pid) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pid);
    }
    return list;
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct pool *)self)->start);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int clear(PyObject *self)
{
    Py_CLEAR(((struct pool *)self)->start);
    Py_CLEAR(((struct pool *)self)->command);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct pool *pool = (struct pool *)self;
    PyObject_GC_UnTrack(self);
    if (pool->handle != NULL) {
        PyThreadState *thread = PyEval_SaveThread();
        kin_pool_destroy(pool->handle);
        PyEval_RestoreThread(thread);
    }
    clear(self);
    PyMem_Free(pool->argv);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"submit", kin__py_pool_submit, METH_VARARGS,
     "submit(style, function, items, chunksize, on_done) -> Job"},
    {"close", close_pool, METH_NOARGS, "close(): no more work"},
    {"terminate", terminate, METH_NOARGS, "terminate(): end all workers at once"},
    {"join", join, METH_O, "join(timeout): wait for the workers' end"},
    {"pids", pids, METH_NOARGS, "pids() -> list of the live workers' process ids"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Pool(processes, start, max_tasks, name, method, command, fds)\n\n"
                "The engine of kinfolk.pool.Pool."},
    {Py_tp_new, new_pool},
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec kin__py_pool_spec = {
    .name = "kinfolk._core.Pool",
    .basicsize = sizeof(struct pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = type_slots,
};
