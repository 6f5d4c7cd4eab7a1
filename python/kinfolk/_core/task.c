/*
 * Tasks of a Python pool: encoding and decoding in the parent, running in the worker.
 * Layer: python.
 *
 * In a worker the library waits for tasks without the GIL; a task takes it. No Python code of
 * Kinfolk's runs for a task that succeeds.
 */
#include "task.h"

#include <errno.h>
#include <string.h>

/* The worker's own: there is one Python pool worker to a process. */
static struct {
    PyThreadState *thread;
    struct core_state *state;
    PyObject *function_pickle; /* of the last task's function, and what it unpickled to */
    PyObject *function;
} worker;

/* kinfolk.pool.<name>(*args); steals nothing. */
static PyObject *call_helper(const char *name, const char *format, ...)
{
    PyObject *module = PyImport_ImportModule("kinfolk.pool");
    if (module == NULL) {
        return NULL;
    }
    va_list list;
    va_start(list, format);
    PyObject *args = Py_VaBuildValue(format, list);
    va_end(list);
    PyObject *helper = args == NULL ? NULL : PyObject_GetAttrString(module, name);
    PyObject *result = helper == NULL ? NULL : PyObject_CallObject(helper, args);
    Py_XDECREF(helper);
    Py_XDECREF(args);
    Py_DECREF(module);
    return result;
}

static PyObject *loads(struct core_state *state, const char *data, Py_ssize_t size)
{
    PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)data, size, PyBUF_READ);
    if (view == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_CallOneArg(state->loads, view);
    Py_DECREF(view);
    return object;
}

PyObject *kin__py_task_encode(struct core_state *state, uint32_t style, PyObject *function_pickle,
                              PyObject *item)
{
    PyObject *pickle = PyObject_CallOneArg(state->dumps, item);
    if (pickle == NULL) {
        return NULL;
    }
    Py_ssize_t function_size = PyBytes_GET_SIZE(function_pickle);
    Py_ssize_t item_size = PyBytes_GET_SIZE(pickle);
    struct task_head head = {.style = style, .function_size = (uint32_t)function_size};
    PyObject *task = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)sizeof head + function_size + item_size);
    if (task != NULL) {
        char *at = PyBytes_AS_STRING(task);
        memcpy(at, &head, sizeof head);
        memcpy(at + sizeof head, PyBytes_AS_STRING(function_pickle), (size_t)function_size);
        memcpy(at + sizeof head + function_size, PyBytes_AS_STRING(pickle), (size_t)item_size);
    }
    Py_DECREF(pickle);
    return task;
}

PyObject *kin__py_reply_decode(struct core_state *state, const void *data, size_t size)
{
    const char *bytes = data;
    if (size == 0 || (bytes[0] != REPLY_RESULT && bytes[0] != REPLY_ERROR)) {
        PyErr_SetString(state->process_error, "a worker sent a malformed reply");
        return NULL;
    }
    PyObject *object = loads(state, bytes + 1, (Py_ssize_t)size - 1);
    if (object == NULL || bytes[0] == REPLY_RESULT) {
        return object;
    }
    PyObject *error = call_helper("_rebuild_error", "(O)", object);
    Py_DECREF(object);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

/* --- in the worker ------------------------------------------------------------------------ */

/* The exception that is set, with its traceback; it is no longer set. */
static PyObject *take_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(traceback);
    Py_DECREF(type);
    return value;
}

static PyObject *function_of(const char *pickle, Py_ssize_t size)
{
    if (worker.function != NULL && PyBytes_GET_SIZE(worker.function_pickle) == size &&
        memcmp(PyBytes_AS_STRING(worker.function_pickle), pickle, (size_t)size) == 0) {
        return Py_NewRef(worker.function);
    }
    PyObject *key = PyBytes_FromStringAndSize(pickle, size);
    PyObject *function = key == NULL ? NULL : PyObject_CallOneArg(worker.state->loads, key);
    if (function == NULL) {
        Py_XDECREF(key);
        return NULL;
    }
    Py_XSETREF(worker.function_pickle, key);
    Py_XSETREF(worker.function, Py_NewRef(function));
    return function;
}

static PyObject *call(uint32_t style, PyObject *function, PyObject *item)
{
    switch (style) {
    case CALL_ITEM:
        return PyObject_CallOneArg(function, item);
    case CALL_STAR: {
        PyObject *args = PySequence_Tuple(item);
        PyObject *result = args == NULL ? NULL : PyObject_Call(function, args, NULL);
        Py_XDECREF(args);
        return result;
    }
    case CALL_APPLY:
        if (PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2 &&
            PyTuple_Check(PyTuple_GET_ITEM(item, 0)) && PyDict_Check(PyTuple_GET_ITEM(item, 1))) {
            return PyObject_Call(function, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1));
        }
        /* fallthrough */
    default:
        PyErr_SetString(worker.state->process_error, "a pool sent a malformed task");
        return NULL;
    }
}

/* The pickle of what the task returns; NULL with the exception that it raised. */
static PyObject *run(const char *task, size_t size)
{
    struct task_head head;
    if (size < sizeof head) {
        return call(CALL_APPLY, NULL, Py_None);
    }
    memcpy(&head, task, sizeof head);
    size -= sizeof head;
    if (head.function_size > size) {
        return call(CALL_APPLY, NULL, Py_None);
    }
    const char *pickles = task + sizeof head;
    PyObject *function = function_of(pickles, (Py_ssize_t)head.function_size);
    PyObject *item = function == NULL ? NULL
                                      : loads(worker.state, pickles + head.function_size,
                                              (Py_ssize_t)(size - head.function_size));
    PyObject *result = item == NULL ? NULL : call(head.style, function, item);
    Py_XDECREF(item);
    Py_XDECREF(function);
    if (result == NULL) {
        return NULL;
    }
    PyObject *pickle = PyObject_CallOneArg(worker.state->dumps, result);
    if (pickle == NULL) {
        PyObject *reason = take_exception();
        PyObject *none = call_helper("_raise_encoding_error", "(OO)", reason, result);
        Py_XDECREF(none);
        Py_DECREF(reason);
    }
    Py_DECREF(result);
    return pickle;
}

/* Pickles the current exception; a SystemExit ends the worker instead. */
static PyObject *encode_error(void)
{
    PyObject *error = take_exception();
    if (PyErr_GivenExceptionMatches(error, PyExc_SystemExit)) {
        PyObject *code = call_helper("_exit_worker", "(O)", error);
        kin_process_exit(code == NULL ? 1 : (int)PyLong_AsLong(code));
    }
    PyObject *pickle = call_helper("_encode_error", "(O)", error);
    Py_DECREF(error);
    return pickle;
}

int kin__py_task_run(const void *arg, size_t size, kin_reply *reply, void *worker_state)
{
    (void)worker_state;
    PyEval_RestoreThread(worker.thread);
    char tag = REPLY_RESULT;
    PyObject *pickle = run(arg, size);
    if (pickle == NULL) {
        tag = REPLY_ERROR;
        pickle = encode_error();
    }
    int rc = -ENOMEM;
    void *room;
    if (pickle != NULL &&
        (rc = kin_reply_reserve(reply, 1 + (size_t)PyBytes_GET_SIZE(pickle), &room)) >= 0) {
        ((char *)room)[0] = tag;
        memcpy((char *)room + 1, PyBytes_AS_STRING(pickle), (size_t)PyBytes_GET_SIZE(pickle));
        rc = 0;
    }
    Py_XDECREF(pickle);
    PyErr_Clear();
    worker.thread = PyEval_SaveThread();
    return rc;
}

int kin__py_worker_begin(void *init_arg, size_t size, void **ret_state)
{
    (void)size;
    (void)ret_state;
    PyObject *start;
    memcpy(&start, init_arg, sizeof start);
    kin_thread_set_interrupt(NULL, NULL); /* a copy of the forking thread's */
    /* The fork hook left the GIL with us. */
    PyObject *module = PyImport_ImportModule("kinfolk._core");
    worker.state = module == NULL ? NULL : kin__py_state(module);
    struct kin_process_info info = KIN_PROCESS_INFO_INIT;
    kin_process_current(&info);
    PyObject *done = module == NULL
                         ? NULL
                         : call_helper("_begin_worker", "(sO)", info.name, start);
    int rc = 0;
    if (done == NULL) {
        PyErr_WriteUnraisable(start);
        rc = 1;
    }
    Py_XDECREF(done);
    worker.thread = PyEval_SaveThread();
    return rc;
}

void kin__py_worker_end(void *worker_state)
{
    (void)worker_state;
    PyEval_RestoreThread(worker.thread);
    PyObject *done = call_helper("_end_worker", "()");
    Py_XDECREF(done);
    PyErr_Clear();
    worker.thread = PyEval_SaveThread();
}
