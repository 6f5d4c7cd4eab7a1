/*
 * The extension module kinfolk._core: what its files share. Layer: python (public headers only).
 *
 * Every blocking call of the library is made without the GIL; signal handlers run through the
 * thread's interrupt function (kin__py_block_begin), which takes the GIL back for them.
 */
#ifndef KIN_PYTHON_CORE_H
#define KIN_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include <kinfolk.h>

struct core_state {
    PyTypeObject *process_type;
    PyTypeObject *pool_type;
    PyTypeObject *connection_type;
    PyTypeObject *semlock_type;
    PyTypeObject *job_type;
    PyObject *process_error;     /* ProcessError, the base of the library's own errors */
    PyObject *timeout_error;
    PyObject *buffer_too_short;
    PyObject *authentication_error;
    PyObject *worker_lost_error;
    PyObject *worker_init_error;
    PyObject *dumps;             /* pickle.dumps, C */
    PyObject *loads;
    PyObject *pickler_type;      /* pickle.Pickler, C */
    PyObject *bytes_io;          /* io.BytesIO, C */
    PyObject *fork;              /* os.fork */
    PyObject *context;           /* the module kinfolk.context, once it is needed */
    PyObject *own_pickler;       /* kinfolk.reduction.ForkingPickler, likewise */
};

extern struct PyModuleDef kin__py_module;
struct core_state *kin__py_state(PyObject *module);

/* The same from one of the module's types, or a subclass of one. */
struct core_state *kin__py_state_of(PyTypeObject *type);

/* The same from an object of one. */
static inline struct core_state *kin__py_state_at(PyObject *self)
{
    return kin__py_state_of(Py_TYPE(self));
}

/* The pickle of an object for another process, a buffer: by context.reduction.ForkingPickler, so
 * that what is registered there counts. NULL with the exception of the pickling. */
PyObject *kin__py_dumps(struct core_state *state, PyObject *object);

/* at_prompt() -> bool */
PyObject *kin__py_at_prompt(PyObject *module, PyObject *unused);

/* Sets the Python exception for a negative code of the library; returns NULL. `what` names the
 * call that failed. If a Python exception is already set (by a signal handler), keeps that. */
void *kin__py_error(struct core_state *state, int rc, const char *what);

/* None, or the exception for a negative code. */
PyObject *kin__py_done(PyObject *self, int rc, const char *what);

/* A reference as the bytes that are sent to another process, and back; false with an exception. */
PyObject *kin__py_reference(PyObject *self, int rc, const kin_ref *ref);
bool kin__py_parse_reference(PyObject *bytes, kin_ref *ret_ref);

/* Seconds (a number or None: for ever) as the library's nanoseconds; -2 with an exception set. */
int64_t kin__py_timeout(PyObject *seconds);

/* Monotonic nanoseconds. */
int64_t kin__py_now(void);

/* Brackets a blocking call: releases the GIL, lets signal handlers run. */
struct kin__py_block {
    PyThreadState *thread;
};
void kin__py_block_begin(struct kin__py_block *block);
void kin__py_block_end(struct kin__py_block *block);

/* Around forks that the library makes by itself: Python's fork protocol. */
int kin__py_install_fork_hooks(void);

/* The words of a command, ended by NULL, in memory of PyMem; they live as long as `command` does.
 * NULL with an exception. */
const char **kin__py_command(PyObject *command);

/* The descriptors of a sequence; `ret_fds` has room for KIN_FDS_MAX. -1 with an exception. */
int kin__py_fill_fds(PyObject *fds, int *ret_fds, size_t *ret_count);

/* process.c: functions of the module. */
PyObject *kin__py_child_main(PyObject *module, PyObject *words);
PyObject *kin__py_forkserver_ensure(PyObject *module, PyObject *command);
PyObject *kin__py_forkserver_pid(PyObject *module, PyObject *unused);
PyObject *kin__py_forkserver_stop(PyObject *module, PyObject *unused);
PyObject *kin__py_parent_sentinel(PyObject *module, PyObject *unused);
PyObject *kin__py_wait_for_parent(PyObject *module, PyObject *timeout);

extern PyType_Spec kin__py_process_spec;
extern PyType_Spec kin__py_pool_spec;
extern PyType_Spec kin__py_connection_spec;
extern PyType_Spec kin__py_semlock_spec;
extern PyType_Spec kin__py_condition_spec;
extern PyType_Spec kin__py_event_spec;
extern PyType_Spec kin__py_barrier_spec;
extern PyType_Spec kin__py_block_spec;
extern PyType_Spec kin__py_queue_spec;
extern PyType_Spec kin__py_job_spec;

/* connection.c: a function of the module. */
PyObject *kin__py_wait(PyObject *module, PyObject *args);

#endif
