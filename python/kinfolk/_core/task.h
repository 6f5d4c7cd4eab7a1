/*
 * What travels between a Python pool and its workers. Layer: python.
 *
 * A task is a chunk of items. Its worker stores each result, when it is there, in the task's *area*
 * of shared memory and then counts it, so that of a worker that dies only the item that it was running
 * is lost; the rest is another task. A result that finds no room in the area is the task's reply, and
 * ends the task there: what is left is another task, too. Design: docs/design/python.md, "Pools".
 */
#ifndef KIN_PYTHON_TASK_H
#define KIN_PYTHON_TASK_H

#include <stdatomic.h>

#include "core.h"

/* How the function is called on what was unpickled. */
enum call_style {
    CALL_ITEM,    /* function(item) */
    CALL_STAR,    /* function(*item) */
    CALL_APPLY,   /* function(*item[0], **item[1]) */
};

/* Results by number: `done` of them, each a struct entry and its bytes. Written by the worker. */
struct area {
    _Atomic uint32_t done;
    uint32_t unused;
    unsigned char entries[];
};

struct entry {
    uint32_t size; /* of the bytes, a result; the next entry is at a multiple of 4 */
};

/* A task: this head, the function's pickle, the pickle of a list of items. */
struct task_head {
    uint32_t style;
    uint32_t function_size;
    uint64_t count;
    uint64_t area; /* address of a struct area, or 0: the first result is the reply */
    uint64_t area_size;
};

/* A result: one of these bytes, then what it says. */
enum result_tag {
    RESULT_PICKLE = 'r',
    RESULT_ERROR = 'e', /* a pickle of (exception, traceback text) */
    RESULT_NONE = 'n',
    RESULT_TRUE = 't',
    RESULT_FALSE = 'f',
    RESULT_INT = 'i',   /* a long long */
    RESULT_FLOAT = 'd', /* a double */
    RESULT_BYTES = 'b',
    RESULT_TEXT = 'u',  /* UTF-8 */
};
#define RESULT_PLAIN_MAX 127 /* bytes without the tag: more are left to pickle */

/* Writes an object that needs no pickle, and the number of bytes; returns its tag, or '\0' for any
 * other. */
char kin__py_result_plain(PyObject *object, char at[RESULT_PLAIN_MAX], size_t *ret_size);

/* The value (of RESULT_ERROR the pair); NULL with the exception for the caller of the pool. */
PyObject *kin__py_result_value(struct core_state *state, const char *bytes, size_t size);

/* What init_arg of the pool begins with. */
enum worker_start {
    START_FORKED, /* a PyObject * follows, which the worker has by fork */
    START_FRESH,  /* bytes for kinfolk.pool._begin_fresh_worker */
};

/* A new reference to kinfolk.pool.<name>(*args); NULL with an exception. */
PyObject *kin__py_pool_helper(const char *name, const char *format, ...);

/* The exception that is set, with its traceback; it is no longer set. */
PyObject *kin__py_take_exception(void);

PyObject *kin__py_loads(struct core_state *state, const char *data, Py_ssize_t size);

/* Run in workers; see kin_pool_options and kin_task_fn. */
int kin__py_task_run(const void *arg, size_t size, kin_reply *reply, void *worker_state);
int kin__py_worker_begin(void *init_arg, size_t size, void **ret_state);
void kin__py_worker_end(void *worker_state);

/* --- pool.c and job.c ------------------------------------------------------------------------ */

struct pool {
    PyObject_HEAD
    kin_pool *handle;
    PyObject *start;     /* what workers that are forked inherit; see kin__py_worker_begin */
    PyObject *command;   /* the words behind `argv` */
    const char **argv;
};

/* submit(style, function, items, chunksize, on_done) -> Job */
PyObject *kin__py_pool_submit(PyObject *pool, PyObject *args);

#endif
