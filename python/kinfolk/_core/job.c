/*
 * kinfolk._core.Job: what one call of a Python pool comes to, in the parent. Layer: python.
 *
 * The items are sent in chunks, each a task of the library. A task that is finished is read by
 * part_done, in whatever thread drives the pool then; what it left undone is sent again as a task.
 * All fields are under the GIL.
 */
#include "task.h"

#include <errno.h>
#include <string.h>

/* Bytes that a result is taken to have before there is one, and bytes of an area at most: as long as
 * its results are small, and otherwise. */
#define AREA_AN_ITEM 32
#define AREA_SMALL ((size_t)1 << 20)
#define AREA_MAX ((size_t)16 << 20)

struct job;

/* A chunk. */
struct part {
    struct job *job;      /* a reference, while a task of it is on its way */
    PyObject *items;      /* a list; NULL when all is done */
    Py_ssize_t first;     /* its place among the job's items */
    Py_ssize_t begin;     /* items before this one are done */
    Py_ssize_t end;       /* items before this one are done or in the latest task */
    size_t an_item;       /* bytes that a result of it has, as far as is known */
    kin_future *future;   /* the latest task; NULL if there was none */
    struct area *area;
    size_t area_size;
};

struct job {
    PyObject_HEAD
    PyObject *pool;
    PyObject *function;   /* its pickle, bytes */
    PyObject *results;    /* a list, one for each item */
    PyObject *errors;     /* a dict, item's number -> exception; NULL while there is none */
    PyObject *on_done;    /* called once with the job; NULL for none, and afterwards */
    uint32_t style;
    struct part *parts;
    Py_ssize_t count;     /* of the parts */
    Py_ssize_t pending;   /* of these, not done */
    Py_ssize_t first;     /* all parts before this one are done */
    kin_future **spent;   /* earlier futures of parts: a thread may still be using them */
    size_t spent_count;
    unsigned using;       /* threads in a call on a future */
    PyThread_type_lock finished; /* locked until all is done */
    bool done;
};

static struct core_state *state_of(struct job *job)
{
    return kin__py_state_at((PyObject *)job);
}

/* --- results --------------------------------------------------------------------------------- */

/* Takes the exception that is set for the item's. */
static void set_error(struct job *job, Py_ssize_t index)
{
    PyObject *error = kin__py_take_exception();
    if (PyErr_GivenExceptionMatches(error, PyExc_KeyboardInterrupt)) {
        PyErr_SetInterrupt(); /* it was meant for the main thread, not for this item alone */
    }
    if (job->errors == NULL) {
        job->errors = PyDict_New();
    }
    PyObject *key = PyLong_FromSsize_t(index);
    if (job->errors == NULL || key == NULL || PyDict_SetItem(job->errors, key, error) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(key);
    Py_DECREF(error);
}

static void set_code(struct job *job, Py_ssize_t index, int rc)
{
    struct core_state *state = state_of(job);
    switch (rc) {
    case KIN_EWORKERLOST:
        PyErr_Format(state->worker_lost_error, "task %zd: %s", index, kin_strerror(rc));
        break;
    case KIN_ECANCELLED:
        PyErr_SetString(state->process_error, "the pool was terminated before the task was done");
        break;
    default:
        kin__py_error(state, rc, "task");
    }
    set_error(job, index);
}

/* The bytes that a worker made of an item: see enum result_tag. */
static void set_result(struct job *job, Py_ssize_t index, const char *bytes, size_t size)
{
    PyObject *object = kin__py_result_value(state_of(job), bytes, size);
    if (object == NULL) {
        set_error(job, index);
    } else if (bytes[0] != RESULT_ERROR) {
        PyList_SetItem(job->results, index, object);
    } else {
        PyObject *error = kin__py_pool_helper("_rebuild_error", "(O)", object);
        Py_DECREF(object);
        if (error != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
            Py_DECREF(error);
        }
        set_error(job, index);
    }
}

/* Reads the results in the area. What it holds is the worker's word: nothing is believed. */
static void read_area(struct part *part)
{
    if (part->area == NULL) {
        return;
    }
    const Py_ssize_t begin = part->begin;
    size_t used = 0, room = part->area_size - sizeof(struct area);
    uint32_t done = atomic_load_explicit(&part->area->done, memory_order_acquire);
    for (; done > 0 && part->begin < part->end; done--) {
        struct entry entry;
        if (room - used < sizeof entry) {
            break;
        }
        memcpy(&entry, part->area->entries + used, sizeof entry);
        used += sizeof entry;
        if (entry.size > room - used) {
            break;
        }
        set_result(part->job, part->first + part->begin++,
                   (const char *)part->area->entries + used, entry.size);
        used += (entry.size + (size_t)3) & ~(size_t)3;
        used = used < room ? used : room;
    }
    if (part->begin > begin) {
        part->an_item = used / (size_t)(part->begin - begin);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

static void part_done(kin_future *future, void *arg);

/* Decides which items the next task has: no more than there is room for results, so that what is
 * pickled is also run. */
static void begin_task(struct part *part)
{
    const size_t left = (size_t)(PyList_GET_SIZE(part->items) - part->begin);
    const size_t each = part->an_item + sizeof(struct entry) + 3;
    const size_t fit = (part->an_item <= 2 * AREA_AN_ITEM ? AREA_SMALL : AREA_MAX) / each;
    size_t count = left < fit ? left : fit;
    if (count > 1) {
        part->area_size = sizeof(struct area) + each * count;
        part->area = kin_alloc(part->area_size);
    }
    if (part->area != NULL) {
        atomic_store_explicit(&part->area->done, 0, memory_order_relaxed);
    } else {
        part->area_size = 0;
        count = 1; /* its result is the reply */
    }
    part->end = part->begin + (Py_ssize_t)count;
}

static PyObject *encode(struct part *part)
{
    struct job *job = part->job;
    const Py_ssize_t count = part->end - part->begin;
    PyObject *items = count == PyList_GET_SIZE(part->items)
                          ? Py_NewRef(part->items)
                          : PyList_GetSlice(part->items, part->begin, part->end);
    PyObject *pickle = items == NULL ? NULL : kin__py_dumps(state_of(job), items);
    Py_XDECREF(items);
    Py_buffer view;
    if (pickle == NULL || PyObject_GetBuffer(pickle, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(pickle);
        return NULL;
    }
    const Py_ssize_t function_size = PyBytes_GET_SIZE(job->function);
    struct task_head head = {.style = job->style,
                             .function_size = (uint32_t)function_size,
                             .count = (uint64_t)count,
                             .area = (uint64_t)(uintptr_t)part->area,
                             .area_size = part->area_size};
    PyObject *task = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)sizeof head + function_size + view.len);
    if (task != NULL) {
        char *at = PyBytes_AS_STRING(task);
        memcpy(at, &head, sizeof head);
        memcpy(at + sizeof head, PyBytes_AS_STRING(job->function), (size_t)function_size);
        memcpy(at + sizeof head + function_size, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    Py_DECREF(pickle);
    return task;
}

static void drop_area(struct part *part)
{
    kin_free(part->area);
    part->area = NULL;
    part->area_size = 0;
}

static int keep_spent(struct job *job, kin_future *future)
{
    kin_future **more = PyMem_Realloc(job->spent, (job->spent_count + 1) * sizeof *more);
    if (more == NULL) {
        return -ENOMEM;
    }
    job->spent = more;
    more[job->spent_count++] = future;
    return 0;
}

static void drop_spent(struct job *job)
{
    while (job->spent_count > 0) {
        kin_future_destroy(job->spent[--job->spent_count]);
    }
}

static void finish(struct job *job)
{
    job->done = true;
    PyThread_release_lock(job->finished);
    PyObject *on_done = job->on_done;
    job->on_done = NULL;
    if (on_done != NULL) {
        PyObject *none = PyObject_CallOneArg(on_done, (PyObject *)job);
        if (none == NULL) {
            PyErr_WriteUnraisable(on_done);
        }
        Py_XDECREF(none);
        Py_DECREF(on_done);
    }
}

/* All items of the part have an outcome. */
static void finish_part(struct part *part)
{
    struct job *job = part->job;
    Py_CLEAR(part->items);
    part->job = NULL;
    if (--job->pending == 0) {
        finish(job);
    }
    Py_DECREF(job);
}

/* The same error for all that have no outcome; for the exception that is set, if `rc` is 0. */
static void fail_rest(struct part *part, int rc)
{
    const Py_ssize_t count = PyList_GET_SIZE(part->items);
    PyObject *error = rc == 0 ? kin__py_take_exception() : NULL;
    for (; part->begin < count; part->begin++) {
        if (error == NULL) {
            set_code(part->job, part->first + part->begin, rc);
        } else {
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
            set_error(part->job, part->first + part->begin);
        }
    }
    Py_XDECREF(error);
}

/* Sends what comes next of the part, or gives all that is left the outcome that it cannot be sent. */
static void send(struct part *part)
{
    struct job *job = part->job;
    begin_task(part);
    PyObject *task = encode(part);
    if (task == NULL) {
        drop_area(part);
        fail_rest(part, 0);
        finish_part(part);
        return;
    }
    kin_future *future = NULL;
    kin_pool *pool = ((struct pool *)job->pool)->handle;
    PyThreadState *thread = PyEval_SaveThread();
    int rc = kin_pool_submit(pool, kin__py_task_run, PyBytes_AS_STRING(task),
                             (size_t)PyBytes_GET_SIZE(task), NULL, &future);
    PyEval_RestoreThread(thread);
    Py_DECREF(task);
    if (rc == 0 && part->future != NULL && (rc = keep_spent(job, part->future)) < 0) {
        kin_future_destroy(future);
    }
    if (rc < 0) {
        drop_area(part);
        fail_rest(part, rc);
        finish_part(part);
        return;
    }
    part->future = future;
    /* It may be finished, and the job too, before this call has returned: both stay until then. */
    Py_INCREF(job);
    job->using++;
    thread = PyEval_SaveThread();
    kin_future_on_ready(future, part_done, part);
    PyEval_RestoreThread(thread);
    job->using--;
    Py_DECREF(job);
}

static void part_done(kin_future *future, void *arg)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    /* It may be called for the pool's end while an exception is on its way. */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct part *part = arg;
    const void *data = NULL;
    size_t size = 0;
    int rc = kin_future_result(future, &data, &size);
    read_area(part);
    drop_area(part);
    if (part->begin < part->end) {
        const Py_ssize_t index = part->first + part->begin;
        if (rc == 0) {
            set_result(part->job, index, data, size);
            part->begin++;
            part->an_item = size > part->an_item ? size : part->an_item;
        } else if (rc == KIN_EWORKERLOST) {
            set_code(part->job, index, rc);
            part->begin++;
        } else {
            fail_rest(part, rc);
        }
    }
    if (part->begin < PyList_GET_SIZE(part->items)) {
        send(part);
    } else {
        finish_part(part);
    }
    PyErr_Restore(type, value, traceback);
    PyGILState_Release(gil);
}

PyObject *kin__py_pool_submit(PyObject *pool, PyObject *args)
{
    unsigned style;
    PyObject *function, *items, *on_done;
    Py_ssize_t chunksize;
    if (!PyArg_ParseTuple(args, "IOO!nO", &style, &function, &PyList_Type, &items, &chunksize,
                          &on_done)) {
        return NULL;
    }
    if (chunksize < 1) {
        return PyErr_Format(PyExc_ValueError, "a chunk has at least 1 item, not %zd", chunksize);
    }
    struct core_state *state = kin__py_state_at(pool);
    struct job *job = PyObject_GC_New(struct job, state->job_type);
    if (job == NULL) {
        return NULL;
    }
    memset((char *)job + sizeof(PyObject), 0, sizeof *job - sizeof(PyObject));
    const Py_ssize_t count = PyList_GET_SIZE(items);
    job->pool = Py_NewRef(pool);
    job->style = style;
    job->on_done = on_done == Py_None ? NULL : Py_NewRef(on_done);
    job->count = count == 0 ? 0 : (count - 1) / chunksize + 1;
    job->pending = job->count;
    job->results = PyList_New(count);
    job->parts = PyMem_Calloc((size_t)job->count + 1, sizeof *job->parts);
    job->finished = PyThread_allocate_lock();
    if (job->results == NULL || job->parts == NULL || job->finished == NULL) {
        Py_DECREF(job);
        return PyErr_Occurred() != NULL ? NULL : PyErr_NoMemory();
    }
    PyThread_acquire_lock(job->finished, WAIT_LOCK);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyList_SET_ITEM(job->results, i, Py_NewRef(Py_None));
    }
    for (Py_ssize_t i = 0; i < job->count; i++) {
        struct part *part = &job->parts[i];
        part->first = i * chunksize;
        part->items = PyList_GetSlice(items, part->first, part->first + chunksize);
        if (part->items == NULL) {
            Py_DECREF(job);
            return NULL;
        }
    }
    PyObject_GC_Track(job);
    PyObject *pickle = count == 0 ? NULL : kin__py_dumps(state, function);
    job->function = pickle == NULL ? NULL : PyBytes_FromObject(pickle);
    Py_XDECREF(pickle);
    /* From here on all is reported as the job's outcome. */
    PyObject *failure = count > 0 && job->function == NULL ? kin__py_take_exception() : NULL;
    for (Py_ssize_t i = 0; i < job->count; i++) {
        struct part *part = &job->parts[i];
        part->job = (struct job *)Py_NewRef(job);
        if (failure != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
            fail_rest(part, 0);
            finish_part(part);
        } else {
            part->an_item = AREA_AN_ITEM;
            send(part);
        }
    }
    Py_XDECREF(failure);
    if (count == 0) {
        finish(job);
    }
    return (PyObject *)job;
}

/* --- waiting --------------------------------------------------------------------------------- */

/* Drives the pool until some part's task is finished, or a moment has passed. */
static int wait_a_while(struct job *job, int64_t timeout_ns)
{
    enum { MOMENT_NS = 1000000 };
    kin_future *future = NULL;
    while (job->first < job->count && job->parts[job->first].items == NULL) {
        job->first++;
    }
    for (Py_ssize_t i = job->first; i < job->count && future == NULL; i++) {
        if (job->parts[i].items != NULL && job->parts[i].future != NULL &&
            kin_future_ready(job->parts[i].future) == 0) {
            future = job->parts[i].future;
        }
    }
    struct kin__py_block block;
    job->using++;
    kin__py_block_begin(&block);
    int rc = 0;
    if (future != NULL) {
        rc = kin_future_wait(future, timeout_ns);
    } else {
        /* All that is left is in the hands of another thread, which is reading the results. */
        int64_t moment = timeout_ns >= 0 && timeout_ns < MOMENT_NS ? timeout_ns : MOMENT_NS;
        if (PyThread_acquire_lock_timed(job->finished, moment / 1000, 0) == PY_LOCK_ACQUIRED) {
            PyThread_release_lock(job->finished);
        }
    }
    kin__py_block_end(&block);
    if (--job->using == 0) {
        drop_spent(job);
    }
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    /* Of the task's own outcome part_done has taken note. */
    (void)rc;
    return PyErr_Occurred() != NULL ? -1 : 0;
}

static PyObject *wait(PyObject *self, PyObject *timeout)
{
    struct job *job = (struct job *)self;
    int64_t timeout_ns = kin__py_timeout(timeout);
    if (timeout_ns == -2) {
        return NULL;
    }
    int64_t until = timeout_ns < 0 ? 0 : kin__py_now() + timeout_ns;
    while (!job->done) {
        int64_t left = timeout_ns < 0 ? KIN_FOREVER : until - kin__py_now();
        if (timeout_ns >= 0 && left <= 0) {
            Py_RETURN_FALSE;
        }
        if (wait_a_while(job, left) < 0) {
            return NULL;
        }
    }
    Py_RETURN_TRUE;
}

static PyObject *ready(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct job *)self)->done);
}

/* outcome() -> (results, errors): the results are given away */
static PyObject *outcome(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct job *job = (struct job *)self;
    return PyTuple_Pack(2, job->results, job->errors == NULL ? Py_None : job->errors);
}

/* --- the type --------------------------------------------------------------------------------- */

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct job *job = (struct job *)self;
    Py_VISIT(job->pool);
    Py_VISIT(job->results);
    Py_VISIT(job->errors);
    Py_VISIT(job->on_done);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int clear(PyObject *self)
{
    struct job *job = (struct job *)self;
    Py_CLEAR(job->results);
    Py_CLEAR(job->errors);
    Py_CLEAR(job->on_done);
    return 0;
}

/* No task is on its way: each has a reference to the job. */
static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct job *job = (struct job *)self;
    PyObject_GC_UnTrack(self);
    for (Py_ssize_t i = 0; job->parts != NULL && i < job->count; i++) {
        kin_future_destroy(job->parts[i].future);
        Py_XDECREF(job->parts[i].items);
    }
    drop_spent(job);
    PyMem_Free(job->spent);
    PyMem_Free(job->parts);
    clear(self);
    Py_XDECREF(job->pool);
    Py_XDECREF(job->function);
    if (job->finished != NULL) {
        if (!job->done) {
            PyThread_release_lock(job->finished);
        }
        PyThread_free_lock(job->finished);
    }
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"wait", wait, METH_O, "wait(timeout) -> bool: is all done; seconds, or None"},
    {"ready", ready, METH_NOARGS, "ready() -> bool: is all done"},
    {"outcome", outcome, METH_NOARGS,
     "outcome() -> (results, errors): a list, None where there is no result, and a dict of exceptions\n"
     "by the items' numbers, or None; when all is done"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "What a call of a pool comes to."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec kin__py_job_spec = {
    .name = "kinfolk._core.Job",
    .basicsize = sizeof(struct job),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = type_slots,
};
