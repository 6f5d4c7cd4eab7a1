/*
 * Tasks of a Python pool, in the worker. Layer: python.
 *
 * The library waits for tasks without the GIL; a task takes it. No Python code of Kinfolk's runs for
 * a task that succeeds.
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

PyObject *kin__py_pool_helper(const char *name, const char *format, ...)
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

PyObject *kin__py_take_exception(void)
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

PyObject *kin__py_loads(struct core_state *state, const char *data, Py_ssize_t size)
{
    PyObject *view = PyMemoryView_FromMemory((char *)(uintptr_t)data, size, PyBUF_READ);
    if (view == NULL) {
        return NULL;
    }
    PyObject *object = PyObject_CallOneArg(state->loads, view);
    Py_DECREF(view);
    return object;
}

/* --- running --------------------------------------------------------------------------------- */

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

static PyObject *malformed(void)
{
    PyErr_SetString(worker.state->process_error, "a pool sent a malformed task");
    return NULL;
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
        return malformed();
    }
}

/* The pickle of a result; NULL with the exception that the caller is to see. */
static PyObject *encode(PyObject *result)
{
    PyObject *pickle = kin__py_dumps(worker.state, result);
    if (pickle == NULL) {
        PyObject *reason = kin__py_take_exception();
        PyObject *none = kin__py_pool_helper("_raise_encoding_error", "(OO)", reason, result);
        Py_XDECREF(none);
        Py_DECREF(reason);
    }
    return pickle;
}

/* Pickles the current exception; what is no Exception ends the worker instead. */
static PyObject *encode_error(void)
{
    PyObject *error = kin__py_take_exception();
    if (!PyErr_GivenExceptionMatches(error, PyExc_Exception)) {
        PyObject *code = kin__py_pool_helper("_exit_worker", "(O)", error);
        kin_process_exit(code == NULL ? 1 : (int)PyLong_AsLong(code));
    }
    PyObject *pickle = kin__py_pool_helper("_encode_error", "(O)", error);
    Py_DECREF(error);
    return pickle;
}

struct output {
    struct area *area; /* NULL: there is none */
    size_t room, used; /* of its entries, bytes */
    kin_reply *reply;
};

/* 1: stored, go on; 0: it is the reply, which ends the task; negative: neither. */
static int store(struct output *output, char tag, const void *bytes, size_t byte_count)
{
    size_t size = 1 + byte_count;
    size_t whole = sizeof(struct entry) + ((size + 3) & ~(size_t)3);
    int rc = 1;
    void *at;
    if (output->area != NULL && size <= UINT32_MAX && whole <= output->room - output->used) {
        struct entry entry = {.size = (uint32_t)size};
        at = output->area->entries + output->used;
        memcpy(at, &entry, sizeof entry);
        at = (char *)at + sizeof entry;
        output->used += whole;
    } else {
        rc = kin_reply_reserve(output->reply, size, &at);
    }
    if (rc >= 0) {
        ((char *)at)[0] = tag;
        memcpy((char *)at + 1, bytes, byte_count);
    }
    if (rc > 0) {
        atomic_fetch_add_explicit(&output->area->done, 1, memory_order_release);
    }
    return rc;
}

/* As store, of a result that may be NULL: then the exception that is set is pickled. */
static int store_pickled(struct output *output, PyObject *result)
{
    PyObject *pickle = result == NULL ? NULL : encode(result);
    char tag = RESULT_PICKLE;
    if (pickle == NULL) {
        tag = RESULT_ERROR;
        pickle = encode_error();
    }
    int rc = -ENOMEM;
    Py_buffer view;
    if (pickle != NULL && PyObject_GetBuffer(pickle, &view, PyBUF_SIMPLE) == 0) {
        rc = store(output, tag, view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
    }
    Py_XDECREF(pickle);
    PyErr_Clear();
    return rc;
}

/* Stores what the function made of the item, or the exception that is set if there is none. */
static int run_item(struct output *output, uint32_t style, PyObject *function, PyObject *item)
{
    PyObject *result = item == NULL ? NULL : call(style, function, item);
    char plain[RESULT_PLAIN_MAX];
    size_t size;
    char tag = result == NULL ? '\0' : kin__py_result_plain(result, plain, &size);
    int rc = tag != '\0' ? store(output, tag, plain, size) : store_pickled(output, result);
    Py_XDECREF(result);
    return rc;
}

/* 0, or why the task failed as a whole. */
static int run(const char *task, size_t size, kin_reply *reply)
{
    struct task_head head = {.count = 0};
    PyObject *function = NULL, *items = NULL;
    if (size >= sizeof head) {
        memcpy(&head, task, sizeof head);
    }
    const char *pickles = task + sizeof head;
    size_t left = size - sizeof head;
    if (size < sizeof head || head.count == 0 || head.function_size > left ||
        (head.area != 0 && (head.area_size < sizeof(struct area) ||
                            !kin_is_shared((void *)(uintptr_t)head.area, head.area_size)))) {
        malformed();
        head.count = 1;
        head.area = 0;
    } else if ((function = function_of(pickles, (Py_ssize_t)head.function_size)) != NULL) {
        items = kin__py_loads(worker.state, pickles + head.function_size,
                              (Py_ssize_t)(left - head.function_size));
        if (items != NULL &&
            (!PyList_Check(items) || (uint64_t)PyList_GET_SIZE(items) != head.count)) {
            malformed();
            Py_CLEAR(items);
        }
    }
    struct output output = {.reply = reply};
    if (head.area != 0) {
        output.area = (struct area *)(uintptr_t)head.area;
        output.room = head.area_size - sizeof(struct area);
    }
    /* What cannot be unpickled fails each item, as if the function had raised it. */
    PyObject *failure = items == NULL ? kin__py_take_exception() : NULL;
    int rc = 1;
    for (Py_ssize_t i = 0; rc > 0 && (uint64_t)i < head.count; i++) {
        PyObject *item = NULL;
        if (items != NULL) {
            item = PyList_GET_ITEM(items, i);
            PyList_SET_ITEM(items, i, Py_NewRef(Py_None)); /* the item goes when it is done */
        } else {
            PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        }
        rc = run_item(&output, head.style, function, item);
        Py_XDECREF(item);
    }
    Py_XDECREF(failure);
    Py_XDECREF(items);
    Py_XDECREF(function);
    return rc < 0 ? rc : 0;
}

int kin__py_task_run(const void *arg, size_t size, kin_reply *reply, void *worker_state)
{
    (void)worker_state;
    PyEval_RestoreThread(worker.thread);
    int rc = run(arg, size, reply);
    worker.thread = PyEval_SaveThread();
    return rc;
}

/* --- beginning and end ------------------------------------------------------------------------ */

int kin__py_worker_begin(void *init_arg, size_t size, void **ret_state)
{
    (void)ret_state;
    kin_thread_set_interrupt(NULL, NULL); /* a copy of the forking thread's */
    /* The GIL is ours: the fork hook left it with us, or kin_child_main was called with it. */
    PyObject *module = PyImport_ImportModule("kinfolk._core");
    worker.state = module == NULL ? NULL : kin__py_state(module);
    struct kin_process_info info = KIN_PROCESS_INFO_INIT;
    kin_process_current(&info);
    const char *bytes = init_arg;
    PyObject *done = NULL;
    if (module != NULL && size == 1 + sizeof(PyObject *) && bytes[0] == START_FORKED) {
        PyObject *start;
        memcpy(&start, bytes + 1, sizeof start);
        done = kin__py_pool_helper("_begin_worker", "(sO)", info.name, start);
    } else if (module != NULL && size > 0 && bytes[0] == START_FRESH) {
        done = kin__py_pool_helper("_begin_fresh_worker", "(sy#)", info.name, bytes + 1,
                                   (Py_ssize_t)size - 1);
    }
    int rc = 0;
    if (done == NULL) {
        if (PyErr_Occurred() != NULL) {
            PyErr_Print();
        }
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
    PyObject *done = kin__py_pool_helper("_end_worker", "()");
    Py_XDECREF(done);
    PyErr_Clear();
    worker.thread = PyEval_SaveThread();
}
