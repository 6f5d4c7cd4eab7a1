/* kinfolk._core: module definition, state and module-level functions. Layer: python. */
#include "core.h"

struct core_state *kin__py_state(PyObject *module)
{
    return PyModule_GetState(module);
}

struct core_state *kin__py_state_of(PyTypeObject *type)
{
    for (; type != NULL; type = type->tp_base) {
        PyObject *module = (type->tp_flags & Py_TPFLAGS_HEAPTYPE) != 0
                               ? ((PyHeapTypeObject *)type)->ht_module
                               : NULL;
        if (module != NULL && PyModule_GetDef(module) == &kin__py_module) {
            return PyModule_GetState(module);
        }
    }
    return NULL;
}

static PyObject *cpu_count(PyObject *module, PyObject *unused)
{
    (void)unused;
    int n = kin_cpu_count();
    return n < 0 ? kin__py_error(kin__py_state(module), n, "cpu_count") : PyLong_FromLong(n);
}

static PyObject *leave(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    kin_process_leave();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"cpu_count", cpu_count, METH_NOARGS,
     "cpu_count() -> int\n\nCPUs this process may use: affinity, cgroup quota and cpuset."},
    {"leave", leave, METH_NOARGS,
     "leave()\n\nMarks the coming end of this process as an orderly one."},
    {"child_main", kin__py_child_main, METH_O,
     "child_main(argv)\n\nBecomes the child that the last two words say; does not return."},
    {"forkserver_ensure", kin__py_forkserver_ensure, METH_O,
     "forkserver_ensure(command)\n\nStarts this process's fork server unless one runs."},
    {"forkserver_pid", kin__py_forkserver_pid, METH_NOARGS,
     "forkserver_pid() -> int or None\n\nThe process id of this process's fork server."},
    {"forkserver_stop", kin__py_forkserver_stop, METH_NOARGS,
     "forkserver_stop()\n\nEnds this process's fork server, if one runs."},
    {"parent_sentinel", kin__py_parent_sentinel, METH_NOARGS,
     "parent_sentinel() -> int\n\nA pidfd of the process that started this one."},
    {"wait_for_parent", kin__py_wait_for_parent, METH_O,
     "wait_for_parent(timeout) -> bool\n\nWhether the parent has ended, waiting so many seconds."},
    {"at_prompt", kin__py_at_prompt, METH_NOARGS,
     "at_prompt() -> bool: whether __main__ has what no file has that others could import"},
    {"wait", kin__py_wait, METH_VARARGS,
     "wait(objects, timeout) -> list\n\nThose objects, of at least one, that are ready."},
    {NULL, NULL, 0, NULL},
};

static PyObject *new_error(PyObject *module, const char *name, PyObject *base, const char *doc)
{
    char qualified[64];
    snprintf(qualified, sizeof qualified, "kinfolk.context.%s", name);
    PyObject *error = PyErr_NewExceptionWithDoc(qualified, doc, base, NULL);
    if (error != NULL && PyModule_AddObjectRef(module, name, error) < 0) {
        Py_CLEAR(error);
    }
    return error;
}

static PyTypeObject *new_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL && PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_CLEAR(type);
    }
    return (PyTypeObject *)type;
}

static PyObject *borrow(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return object;
}

static int exec_module(PyObject *module)
{
    struct core_state *state = kin__py_state(module);
    int installed = kin__py_install_fork_hooks();
    if (installed < 0) {
        kin__py_error(state, installed, "import");
        return -1;
    }
    if ((state->process_error = new_error(module, "ProcessError", NULL,
                                          "The base of Kinfolk's own errors.")) == NULL ||
        (state->timeout_error = new_error(module, "TimeoutError", state->process_error,
                                          "The time was up.")) == NULL ||
        (state->buffer_too_short =
             new_error(module, "BufferTooShort", state->process_error,
                       "The buffer was too small for the message, which is args[0].")) == NULL ||
        (state->authentication_error =
             new_error(module, "AuthenticationError", state->process_error,
                       "The two ends do not have the same key.")) == NULL ||
        (state->worker_lost_error =
             new_error(module, "WorkerLostError", state->process_error,
                       "The worker process died while it ran the task.")) == NULL ||
        (state->worker_init_error =
             new_error(module, "WorkerInitError", state->process_error,
                       "The workers' initializer fails or kills its worker.")) == NULL) {
        return -1;
    }
    if ((state->dumps = borrow("_pickle", "dumps")) == NULL ||
        (state->loads = borrow("_pickle", "loads")) == NULL ||
        (state->pickler_type = borrow("_pickle", "Pickler")) == NULL ||
        (state->bytes_io = borrow("_io", "BytesIO")) == NULL ||
        (state->fork = borrow("os", "fork")) == NULL) {
        return -1;
    }
    if ((state->process_type = new_type(module, &kin__py_process_spec)) == NULL ||
        (state->pool_type = new_type(module, &kin__py_pool_spec)) == NULL ||
        (state->connection_type = new_type(module, &kin__py_connection_spec)) == NULL ||
        (state->semlock_type = new_type(module, &kin__py_semlock_spec)) == NULL ||
        (state->job_type = new_type(module, &kin__py_job_spec)) == NULL) {
        return -1;
    }
    PyType_Spec *const others[] = {&kin__py_condition_spec, &kin__py_event_spec,
                                   &kin__py_barrier_spec, &kin__py_block_spec,
                                   &kin__py_queue_spec};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        PyTypeObject *type = new_type(module, others[i]);
        if (type == NULL) {
            return -1;
        }
        Py_DECREF(type);
    }
    if (PyModule_AddStringConstant(module, "CHILD_ARGUMENT", KIN_CHILD_ARGUMENT) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", kin_version());
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct core_state *state = kin__py_state(module);
    Py_VISIT(state->process_type);
    Py_VISIT(state->pool_type);
    Py_VISIT(state->connection_type);
    Py_VISIT(state->buffer_too_short);
    Py_VISIT(state->authentication_error);
    Py_VISIT(state->context);
    Py_VISIT(state->semlock_type);
    Py_VISIT(state->job_type);
    Py_VISIT(state->process_error);
    Py_VISIT(state->timeout_error);
    Py_VISIT(state->worker_lost_error);
    Py_VISIT(state->worker_init_error);
    Py_VISIT(state->dumps);
    Py_VISIT(state->loads);
    Py_VISIT(state->pickler_type);
    Py_VISIT(state->bytes_io);
    Py_VISIT(state->own_pickler);
    Py_VISIT(state->fork);
    return 0;
}

static int clear(PyObject *module)
{
    struct core_state *state = kin__py_state(module);
    Py_CLEAR(state->process_type);
    Py_CLEAR(state->pool_type);
    Py_CLEAR(state->connection_type);
    Py_CLEAR(state->buffer_too_short);
    Py_CLEAR(state->authentication_error);
    Py_CLEAR(state->context);
    Py_CLEAR(state->semlock_type);
    Py_CLEAR(state->job_type);
    Py_CLEAR(state->process_error);
    Py_CLEAR(state->timeout_error);
    Py_CLEAR(state->worker_lost_error);
    Py_CLEAR(state->worker_init_error);
    Py_CLEAR(state->dumps);
    Py_CLEAR(state->loads);
    Py_CLEAR(state->pickler_type);
    Py_CLEAR(state->bytes_io);
    Py_CLEAR(state->own_pickler);
    Py_CLEAR(state->fork);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec_module},
#if PY_VERSION_HEX >= 0x030c0000
    /* The family and its fork handlers are the process's, not an interpreter's. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef kin__py_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "kinfolk._core",
    .m_doc = "libkinfolk for Python: processes, connections and the pool's engine.",
    .m_size = sizeof(struct core_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&kin__py_module);
}
