/*
 * What a pool's parent and its workers share: the object, a block per worker, the messages.
 * Layer: pool. Protocol: docs/design/pool.md, "Layout".
 *
 * Everything a worker wrote is untrusted input for the parent.
 */
#ifndef KIN_POOL_SHARED_H
#define KIN_POOL_SHARED_H

#include <kinfolk/pool.h>

#include "channel/ring.h"
#include "pool/doorbell.h"
#include "shm/object.h"

#define KIN__POOL_WORKERS 900
#define KIN__POOL_TASK_RING 32768
#define KIN__POOL_RESULT_RING 65536
#define KIN__POOL_INLINE 2048 /* longest argument or reply that travels inside a ring */

enum kin__pool_control {
    KIN__CONTROL_HURRY = 1,  /* others are idle: give back what you claimed and have not begun */
    KIN__CONTROL_CANCEL = 2, /* end the range after the item that runs */
};

/*
 * One worker's. Reinitialised by the parent before a worker starts; `serial` tells one from the
 * next. Each line has one writer but `range`, which both change by CAS, and `control`, which the
 * parent sets and the worker clears.
 */
struct kin__worker_block {
    /* The parent's. */
    struct kin__door door __attribute__((aligned(64))); /* a task, or room for results */
    kin__a32 control __attribute__((aligned(64)));
    /* The worker's. */
    kin__a64 progress __attribute__((aligned(64))); /* {index : 63, runs : 1}: every item of the
                                      range below index is settled; runs: index is being run */
    kin__a64 began;   /* when the last timed task was begun, monotonic ns * 2 */
    kin__a64 pending; /* lease value of the newest reply block, published or not */
    /* {next : 32, end : 32}: the items of the range that nobody has claimed. Only the worker moves
     * `next`; the parent only lowers `end`. */
    kin__a64 range __attribute__((aligned(64)));
    unsigned char rings[] __attribute__((aligned(64))); /* tasks, then results */
};

#define KIN__POOL_BLOCK_BYTES                                                                      \
    (sizeof(struct kin__worker_block) + 2 * sizeof(struct kin__ring) + KIN__POOL_TASK_RING +       \
     KIN__POOL_RESULT_RING)

static inline struct kin__ring *kin__worker_tasks(struct kin__worker_block *block)
{
    return (struct kin__ring *)block->rings;
}
static inline struct kin__ring *kin__worker_results(struct kin__worker_block *block)
{
    return (struct kin__ring *)(block->rings + kin__ring_bytes(KIN__POOL_TASK_RING));
}

static inline uint64_t kin__range(uint32_t next, uint32_t end)
{
    return (uint64_t)next << 32 | end;
}
static inline uint32_t kin__range_next(uint64_t range)
{
    return (uint32_t)(range >> 32);
}
static inline uint32_t kin__range_end(uint64_t range)
{
    return (uint32_t)range;
}

/*
 * The pool as a family object, held by the parent and, by inheritance, its children. Its blocks are
 * the parent's to free; if the parent died, whoever drops the object last frees them.
 */
struct kin__pool_object {
    struct kin__object object;
    struct kin__doorbell bell __attribute__((aligned(64)));
    kin__a64 chain __attribute__((aligned(64))); /* lease value of the newest of the pool's blocks */
    kin__a64 limbo;   /* of the block that the parent is adding or removing, or 0 */
    kin__a64 freeing; /* of the block that a sweeper is taking from the chain, or 0 */
    uint32_t workers;                            /* constant: how many of the following are used */
    kin__a64 worker[KIN__POOL_WORKERS];          /* lease values of the workers' blocks, or 0 */
};

/*
 * First in every block that hangs on the pool's chain; the payload follows. Written by the parent
 * only, and read only once it is dead: its own account is in struct kin__pool_block, which no worker
 * can spoil. Invariant: a block is live from before it is linked until after it is unlinked.
 */
struct kin__pool_link {
    kin__a64 next; /* lease value, or 0 */
    unsigned char payload[] __attribute__((aligned(64)));
};

/* --- messages: payloads of ring records, which lie at 8 modulo 64 -------------------------- */

enum kin__task_kind {
    KIN__TASK_CALL,
    KIN__TASK_RANGE,
    KIN__TASK_STOP,
};

/* A call's life. Moves by CAS: the worker takes PENDING to STARTED, the parent to REVOKED. */
enum kin__call_state {
    KIN__CALL_PENDING,
    KIN__CALL_STARTED,
    KIN__CALL_REVOKED,
};

struct kin__call_message {
    uint32_t kind;
    kin__a32 state;
    uint64_t id;
    uint64_t fn;
    uint64_t block; /* offset of the argument if it is not inline, else 0 */
    uint64_t size : 63;
    uint64_t timed : 1; /* the worker is to tell when it begins */
    unsigned char data[]; /* at 48 modulo 64 */
};

struct kin__range_message {
    uint32_t kind;
    uint32_t spare;
    uint64_t id;  /* of the range */
    uint64_t job; /* of the map; the argument's copy is kept as long as it stays the same */
    uint64_t fn;
    uint64_t items, results; /* addresses of the window's first item and result */
    uint64_t item_size, result_size;
    uint64_t arg, arg_size; /* address; 0: none */
    uint64_t chunk; /* 0: measured */
};

struct kin__stop_message {
    uint32_t kind;
};

enum kin__result_kind {
    KIN__RESULT_READY,  /* code: the initializer's; anything but 0 is the worker's last message */
    KIN__RESULT_CALL,
    KIN__RESULT_FAILED, /* item `size` of range `id` failed with `code` */
    KIN__RESULT_RANGE,  /* range `id` is ended */
    KIN__RESULT_ENDED,  /* the worker's last message (threads) */
};

struct kin__result_message {
    uint32_t kind;
    int32_t code;
    uint64_t id;
    uint64_t block; /* lease value of the reply if it is not inline, else 0 */
    uint64_t size;
    uint64_t ns;    /* how long it ran */
    unsigned char data[]; /* at 48 modulo 64 */
};

/* --- worker.c ------------------------------------------------------------------------------ */

/* What a worker is started with: its process's argument, init_size bytes of init_arg behind it. */
struct kin__worker_start {
    kin_ref pool;
    uint32_t index;
    uint32_t owner_slot, owner_generation; /* KIN__NO_SLOT: a thread of the parent */
    int32_t event_fd;
    int32_t spin_ns;
    int32_t bound;
    int32_t by_name; /* functions come by name */
    struct kin_cpu_set cpus;
    uint64_t initializer, finalizer;
    uint64_t init_size;
    uint64_t signals; /* the parent's signal mask */
    unsigned char init_arg[] __attribute__((aligned(16)));
};

/* A worker process's target. Returns when the parent says so or is gone. */
int kin__worker_main(void *arg, size_t size);

/* The same as a thread, with the pool at hand. */
void kin__worker_thread(const struct kin__worker_start *start, struct kin__pool_object *object);

#endif
