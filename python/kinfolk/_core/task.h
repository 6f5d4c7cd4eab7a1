/* What travels between a Python pool and its workers. Layer: python. */
#ifndef KIN_PYTHON_TASK_H
#define KIN_PYTHON_TASK_H

#include "core.h"

/* How the function is called on what was unpickled. */
enum call_style {
    CALL_ITEM,    /* function(item) */
    CALL_STAR,    /* function(*item) */
    CALL_APPLY,   /* function(*item[0], **item[1]) */
};

/* A task: this head, the function's pickle, the item's pickle. */
struct task_head {
    uint32_t style;
    uint32_t function_size;
};

/* A reply: one of these bytes, then a pickle. */
enum reply_tag {
    REPLY_RESULT = 'r',
    REPLY_ERROR = 'e', /* of (exception, traceback text) */
};

/* The task's bytes, or NULL with the exception of the pickling. */
PyObject *kin__py_task_encode(struct core_state *state, uint32_t style, PyObject *function_pickle,
                              PyObject *item);

/* The result that a reply brings, or NULL with the exception that it brings. */
PyObject *kin__py_reply_decode(struct core_state *state, const void *data, size_t size);

/* Runs in workers; see kin_task_fn. */
int kin__py_task_run(const void *arg, size_t size, kin_reply *reply, void *worker_state);

/* Runs in workers; init_arg points to the pool's PyObject *(initializer, initargs), which the
 * worker has by fork. */
int kin__py_worker_begin(void *init_arg, size_t size, void **ret_state);
void kin__py_worker_end(void *worker_state);

#endif
