/* A worker's own view of itself: what the worker's files share. Layer: pool. */
#ifndef KIN_POOL_WORKER_H
#define KIN_POOL_WORKER_H

#include <kinfolk/process.h>

#include "pool/function.h"
#include "pool/shared.h"
#include "pool/spin.h"

/* A task's reply while it is being made; the worker's only one. */
struct kin_reply {
    unsigned char *room; /* NULL: none */
    uint64_t size;
    uint64_t block;      /* offset, 0: room is the worker's buffer */
    kin__lease *lease;   /* on the block */
    unsigned char *buffer;
};

/* Private to the worker's thread. */
struct kin__worker {
    struct kin__pool_object *object;
    struct kin__worker_block *block;
    struct kin__ring_end tasks, results;
    struct kin__spin spin;
    uint32_t owner_slot, owner_generation;
    int event_fd;
    bool thread;
    void *state;        /* what the initializer stored */
    int64_t rung;       /* when the bell was last rung */
    int64_t free_since; /* when the last call ended, if nothing was waited for since; else 0 */
    uint64_t unrung;    /* results published since */
    bool by_name;       /* functions come by name */
    struct kin__named_function *functions; /* that have been found so far */
    struct kin_reply reply;
    /* The map whose ranges were run last. */
    uint64_t job;
    void *job_arg;      /* our copy of its argument */
    uint32_t step;      /* items to claim next */
    unsigned char *scratch; /* a result on its way, at least scratch_size bytes */
    uint64_t scratch_size;
};

/* Room for a message to the parent, waiting for it if need be; KIN_EPEERDIED, KIN_ECORRUPT. */
int kin__worker_reserve(struct kin__worker *worker, uint64_t size,
                        struct kin__result_message **ret_message);

/* Publishes what was reserved; `urgent`: wakes the parent if it sleeps. */
void kin__worker_publish(struct kin__worker *worker, bool urgent);

/* Sends a message without data. */
int kin__worker_tell(struct kin__worker *worker, uint32_t kind, uint64_t id, uint64_t size,
                     int code, bool urgent);

/* function.c: the function that a message names. KIN_ENOENTRY, KIN_ECORRUPT, -ENOMEM. */
int kin__worker_function_named(struct kin__worker *worker, uint64_t word,
                               kin_function **ret_function);
static inline int kin__worker_function(struct kin__worker *worker, uint64_t word,
                                       kin_function **ret_function)
{
    if (worker->by_name) {
        return kin__worker_function_named(worker, word, ret_function);
    }
    *ret_function = (kin_function *)(uintptr_t)word;
    return 0;
}

/* range.c: runs the items of a range. 0, or why the worker must end. */
int kin__worker_run_range(struct kin__worker *worker, const struct kin__range_message *message);

/* reply.c */
void kin__reply_begin(struct kin_reply *reply);
void kin__reply_drop(struct kin_reply *reply);

#endif
