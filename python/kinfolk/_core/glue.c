/* Errors, timeouts, blocking calls and forks between the library and Python. Layer: python. */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

void *kin__py_error(struct core_state *state, int rc, const char *what)
{
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    PyObject *type = state->process_error;
    switch (rc) {
    case -ENOMEM:
    case KIN_EQUOTA:
        type = PyExc_MemoryError;
        break;
    case -ETIMEDOUT:
        type = state->timeout_error;
        break;
    case -EINVAL:
    case KIN_ESTATE:
        type = PyExc_ValueError;
        break;
    case KIN_EWORKERLOST:
        type = state->worker_lost_error;
        break;
    case KIN_EWORKERINIT:
        type = state->worker_init_error;
        break;
    default:
        if (rc > -4096) {
            errno = -rc;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
    }
    PyErr_Format(type, "%s: %s", what, kin_strerror(rc));
    return NULL;
}

/* What C pickles by itself, and nobody registers. */
static bool is_plain(PyObject *object)
{
    return object == Py_None || PyLong_CheckExact(object) || PyUnicode_CheckExact(object) ||
           PyBytes_CheckExact(object) || PyFloat_CheckExact(object) || PyBool_Check(object);
}

/* Whether __main__ has what no file has that another process could import. */
static bool at_prompt(void)
{
    PyObject *main_module = PyDict_GetItemString(PyImport_GetModuleDict(), "__main__");
    PyObject *file = main_module == NULL ? NULL : PyObject_GetAttrString(main_module, "__file__");
    PyObject *flags = PySys_GetObject("flags");
    PyObject *interactive = flags == NULL ? NULL : PyObject_GetAttrString(flags, "interactive");
    bool result = file == NULL || file == Py_None || PySys_GetObject("ps1") != NULL ||
                  interactive == NULL || PyObject_IsTrue(interactive) != 0 ||
                  (PyUnicode_Check(file) && PyUnicode_GET_LENGTH(file) > 0 &&
                   PyUnicode_READ_CHAR(file, 0) == '<');
    Py_XDECREF(interactive);
    Py_XDECREF(file);
    PyErr_Clear();
    return result;
}

PyObject *kin__py_at_prompt(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(at_prompt());
}

/* kinfolk.reduction.ForkingPickler.dumps without its Python frames: what it does where nothing is
 * pickled by value. */
static PyObject *dumps_registered(struct core_state *state, PyObject *object)
{
    PyObject *known = PyObject_GetAttrString(state->own_pickler, "_copyreg_dispatch");
    PyObject *registered = PyObject_GetAttrString(state->own_pickler, "_extra_reducers");
    PyObject *table = known == NULL ? NULL : PyDict_Copy(known);
    PyObject *file = PyObject_CallNoArgs(state->bytes_io);
    PyObject *pickler = file == NULL ? NULL : PyObject_CallOneArg(state->pickler_type, file);
    PyObject *pickle = NULL;
    if (registered != NULL && table != NULL && pickler != NULL &&
        PyDict_Update(table, registered) == 0 &&
        PyObject_SetAttrString(pickler, "dispatch_table", table) == 0) {
        PyObject *none = PyObject_CallMethod(pickler, "dump", "(O)", object);
        pickle = none == NULL ? NULL : PyObject_CallMethod(file, "getbuffer", NULL);
        Py_XDECREF(none);
    }
    Py_XDECREF(pickler);
    Py_XDECREF(file);
    Py_XDECREF(table);
    Py_XDECREF(registered);
    Py_XDECREF(known);
    return pickle;
}

PyObject *kin__py_dumps(struct core_state *state, PyObject *object)
{
    if (is_plain(object)) {
        return PyObject_CallOneArg(state->dumps, object);
    }
    if (state->own_pickler == NULL) {
        PyObject *own = PyImport_ImportModule("kinfolk.reduction");
        Py_XSETREF(own, own == NULL ? NULL : PyObject_GetAttrString(own, "ForkingPickler"));
        if (own == NULL || (state->context == NULL &&
                            (state->context = PyImport_ImportModule("kinfolk.context")) == NULL)) {
            Py_XDECREF(own);
            return NULL;
        }
        state->own_pickler = own;
    }
    PyObject *reduction = PyObject_GetAttrString(state->context, "reduction");
    PyObject *pickler =
        reduction == NULL ? NULL : PyObject_GetAttrString(reduction, "ForkingPickler");
    PyObject *pickle = NULL;
    if (pickler != NULL) {
        pickle = pickler == state->own_pickler && !at_prompt()
                     ? dumps_registered(state, object)
                     : PyObject_CallMethod(pickler, "dumps", "(O)", object);
    }
    Py_XDECREF(pickler);
    Py_XDECREF(reduction);
    return pickle;
}

PyObject *kin__py_done(PyObject *self, int rc, const char *what)
{
    if (rc < 0) {
        return kin__py_error(kin__py_state_at(self), rc, what);
    }
    Py_RETURN_NONE;
}

PyObject *kin__py_reference(PyObject *self, int rc, const kin_ref *ref)
{
    if (rc < 0) {
        return kin__py_error(kin__py_state_at(self), rc, "share");
    }
    return PyBytes_FromStringAndSize((const char *)ref, sizeof *ref);
}

bool kin__py_parse_reference(PyObject *bytes, kin_ref *ret_ref)
{
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != sizeof *ret_ref) {
        PyErr_SetString(PyExc_ValueError, "malformed reference to a shared object");
        return false;
    }
    memcpy(ret_ref, PyBytes_AS_STRING(bytes), sizeof *ret_ref);
    return true;
}

int64_t kin__py_timeout(PyObject *seconds)
{
    if (seconds == NULL || seconds == Py_None) {
        return KIN_FOREVER;
    }
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred() != NULL) {
        return -2;
    }
    if (isnan(s)) {
        PyErr_SetString(PyExc_ValueError, "timeout must be a number of seconds, not nan");
        return -2;
    }
    /* Two hundred years is for ever. */
    return s <= 0.0 ? 0 : s > 6e9 ? KIN_FOREVER : (int64_t)(s * 1e9);
}

int64_t kin__py_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int run_signal_handlers(void *arg)
{
    (void)arg;
    PyGILState_STATE gil = PyGILState_Ensure();
    int rc = PyErr_CheckSignals() < 0 ? -EINTR : 0;
    PyGILState_Release(gil);
    return rc;
}

/* A blocking call may run Python code, which makes another. */
static _Thread_local unsigned depth;

void kin__py_block_begin(struct kin__py_block *block)
{
    if (depth++ == 0) {
        kin_thread_set_interrupt(run_signal_handlers, NULL);
    }
    block->thread = PyEval_SaveThread();
}

void kin__py_block_end(struct kin__py_block *block)
{
    PyEval_RestoreThread(block->thread);
    if (--depth == 0) {
        kin_thread_set_interrupt(NULL, NULL);
    }
}

/* --- forks that the library makes (replacement of workers): Python's own protocol ---------- */

static _Thread_local PyGILState_STATE forking_gil;

static void before_fork(void)
{
    forking_gil = PyGILState_Ensure();
    PyOS_BeforeFork();
}

static void after_fork_in_parent(void)
{
    PyOS_AfterFork_Parent();
    PyGILState_Release(forking_gil);
}

static void after_fork_in_child(void)
{
    depth = 0;
    PyOS_AfterFork_Child(); /* the child goes on holding the GIL: see task.c */
}

int kin__py_install_fork_hooks(void)
{
    return kin_process_set_fork_hooks(before_fork, after_fork_in_parent, after_fork_in_child);
}
