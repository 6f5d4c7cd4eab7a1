/* kinfolk._core.Pool: the library's pool with Python tasks. Layer: python. */
#include "task.h"

#include <errno.h>
#include <string.h>

struct pool {
    PyObject_HEAD
    kin_pool *handle;
    PyObject *start; /* (initializer or None, initargs): workers have it by fork */
};

static struct core_state *state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

static PyObject *new_pool(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"processes", "start", "max_tasks", "name", NULL};
    int processes, max_tasks;
    PyObject *start;
    const char *name;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "iOis", names, &processes, &start, &max_tasks,
                                     &name)) {
        return NULL;
    }
    struct pool *self = (struct pool *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->start = Py_NewRef(start);
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = processes;
    options.max_tasks_per_child = max_tasks;
    options.initializer = kin__py_worker_begin;
    options.init_arg = &self->start;
    options.init_size = sizeof self->start;
    options.finalizer = kin__py_worker_end;
    options.name = name;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_pool_create(&options, &self->handle);
    kin__py_block_end(&block);
    if (rc < 0) {
        kin__py_error(PyType_GetModuleState(type), rc, "Pool");
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* The list of results, or NULL with the first error in the order of the items. */
static PyObject *collect(struct core_state *state, const struct kin_bytes *results,
                         const int *codes, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *value = NULL;
        if (codes[i] == 0) {
            value = kin__py_reply_decode(state, results[i].data, results[i].size);
        } else if (codes[i] == KIN_EWORKERLOST) {
            PyErr_Format(state->worker_lost_error, "task %zd: %s", i, kin_strerror(codes[i]));
        } else {
            kin__py_error(state, codes[i], "task");
        }
        if (value == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, value);
        }
    }
    return list;
}

/* map(style, function, items) -> list; blocks until all items are done. */
static PyObject *map(PyObject *self, PyObject *args)
{
    unsigned style;
    PyObject *function, *items;
    if (!PyArg_ParseTuple(args, "IOO!", &style, &function, &PyList_Type, &items)) {
        return NULL;
    }
    struct core_state *state = state_of(self);
    Py_ssize_t count = PyList_GET_SIZE(items);
    PyObject *list = NULL;
    PyObject *tasks = PyList_New(count);
    PyObject *function_pickle = PyObject_CallOneArg(state->dumps, function);
    struct kin_bytes *in = PyMem_Calloc((size_t)count + 1, sizeof *in);
    struct kin_bytes *out = PyMem_Calloc((size_t)count + 1, sizeof *out);
    int *codes = PyMem_Calloc((size_t)count + 1, sizeof *codes);
    if (tasks == NULL || function_pickle == NULL) {
        goto done;
    }
    if (in == NULL || out == NULL || codes == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *task =
            kin__py_task_encode(state, style, function_pickle, PyList_GET_ITEM(items, i));
        if (task == NULL) {
            goto done;
        }
        PyList_SET_ITEM(tasks, i, task);
        in[i].data = PyBytes_AS_STRING(task);
        in[i].size = (size_t)PyBytes_GET_SIZE(task);
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_pool_map_var(((struct pool *)self)->handle, kin__py_task_run, in, (size_t)count,
                              out, &options);
    kin__py_block_end(&block);
    if (rc < 0 && rc != KIN_ETASK && rc != KIN_EWORKERLOST) {
        kin__py_error(state, rc, "Pool");
    } else {
        list = collect(state, out, codes, count);
    }
    kin_bytes_free(out, (size_t)count);
done:
    PyMem_Free(codes);
    PyMem_Free(out);
    PyMem_Free(in);
    Py_XDECREF(function_pickle);
    Py_XDECREF(tasks);
    return list;
}

static PyObject *done_or_error(PyObject *self, int rc, const char *what)
{
    if (rc < 0) {
        return kin__py_error(state_of(self), rc, what);
    }
    Py_RETURN_NONE;
}

static PyObject *close_pool(PyObject *self, PyObject *unused)
{
    (void)unused;
    return done_or_error(self, kin_pool_close(((struct pool *)self)->handle), "close");
}

static PyObject *terminate(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct kin__py_block block;
    kin__py_block_begin(&block);
    int rc = kin_pool_terminate(((struct pool *)self)->handle);
    kin__py_block_end(&block);
    return done_or_error(self, rc, "terminate");
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
    return done_or_error(self, rc, "join");
}

static PyObject *pids(PyObject *self, PyObject *unused)
{
    (void)unused;
    int found[1024];
    int count = kin_pool_pids(((struct pool *)self)->handle, found, 1024);
    if (count < 0) {
        return kin__py_error(state_of(self), count, "pids");
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
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"map", map, METH_VARARGS, "map(style, function, items) -> list of results"},
    {"close", close_pool, METH_NOARGS, "close(): no more work"},
    {"terminate", terminate, METH_NOARGS, "terminate(): end all workers at once"},
    {"join", join, METH_O, "join(timeout): wait for the workers' end"},
    {"pids", pids, METH_NOARGS, "pids() -> list of the live workers' process ids"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Pool(processes, start, max_tasks, name): the engine of kinfolk.pool.Pool."},
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
