/*
 * The queue's shared layout, and what its files need of one another. Layer: channel.
 * Protocol: docs/design/queue.md.
 */
#ifndef KIN_CHANNEL_QUEUE_H
#define KIN_CHANNEL_QUEUE_H

#include <kinfolk/queue.h>

#include "base/fault.h"
#include "base/options.h"
#include "shm/object.h"
#include "shm/wait.h"

/*
 * The line is a run of records in segments that form a circle. A record is never changed once
 * `tail` has passed it. The record at `tail` is a stub: it tells what came before it and nothing
 * else, until a put makes it a message or a jump.
 */
enum kin__record_kind {
    KIN__RECORD_STUB,
    KIN__RECORD_SMALL, /* `length` bytes follow */
    KIN__RECORD_LARGE, /* one word follows: the lease value of the block that holds the bytes */
    KIN__RECORD_JUMP,  /* the line goes on at the start of the next segment */
};

struct kin__record {
    uint32_t kind;
    uint32_t back;   /* bytes from the segment's start to here */
    uint64_t length; /* of the message */
    uint64_t seq;    /* messages put before this record */
    uint64_t bytes;  /* bytes of messages put before it */
};

struct kin__segment {
    kin__a64 next; /* lease value of the next one in the circle: inserting and removing one is a
                      store here, under the lock */
    uint64_t self; /* its own lease value */
    uint64_t size; /* usable bytes, this head included */
    uint64_t unused;
};

#define KIN__SEGMENT_FIRST 64   /* bytes; the first one */
#define KIN__RECORD_ALIGN 16
#define KIN__SEGMENT_SMALLEST 4288 /* bytes asked for; then four times as many, up to */
#define KIN__SEGMENT_LARGEST 32640

static inline uint64_t kin__record_stride(uint64_t length)
{
    return sizeof(struct kin__record) + kin__align_up(length, KIN__RECORD_ALIGN);
}

/*
 * What the holder of the lock is about to do, so that whoever inherits the lock from the dead can
 * finish or undo it. Written (kind last) before the one store that commits, cleared after.
 */
enum kin__queue_op {
    KIN__OP_NONE,
    KIN__OP_GIVE, /* a block on the lease becomes the queue's: afterwards the lease is empty */
    KIN__OP_TAKE, /* a block of the queue's becomes the lease's: beforehand the lease is empty */
    KIN__OP_COUNT, /* no block: only a debt changes */
    KIN__OP_END,   /* taking apart: the block is freed, then the word stored, by whoever gets to it */
};

struct kin__queue_note {
    kin__a64 kind;
    uint64_t word;  /* offset of the word whose store commits */
    uint64_t value; /* what is stored there: never what was there */
    uint64_t lease; /* offset of the lease, 0: none */
    uint64_t block; /* lease value */
    uint64_t slot;  /* joinable: whose debt changes with the commit; KIN__NO_SLOT: nobody's */
    uint64_t debt;  /* joinable: what it then is */
};

#define KIN__POLLERS 64

/* Who sleeps in poll: written under the lock. */
struct kin__poller {
    kin__a64 owner; /* {generation : 32, slot + 1 : 32}; 0: free */
    uint64_t nonce; /* names its bell (os/os.h) */
    uint64_t rung;  /* 1: its descriptor is readable for sure */
};

/*
 * All fields are guarded by the object's mutex. The truth is head, tail, the records, the circle,
 * done and closed; got and got_bytes are caches of what the record at head says, for the limits.
 */
struct kin__queue {
    struct kin__object object;
    kin__a64 tail __attribute__((aligned(64))); /* offset of the stub; its store commits a put.
                                  Also read without the lock by spinning readers, as a hint. */
    kin__a64 head; /* offset of the next record to take; its store commits a get. The same. */
    uint64_t got;
    uint64_t got_bytes;
    struct kin__door not_empty; /* rung by whoever moves tail */
    struct kin__door not_full;  /* by whoever moves head, in a queue with a limit */
    struct kin__door idle;      /* when done reaches the messages put */
    kin__a32 closed;            /* 0 → 1 */
    kin__a32 pollers;           /* entries below this may be in use */
    struct kin__queue_note note __attribute__((aligned(64)));
    /* Constant once the object is LIVE. */
    uint64_t capacity __attribute__((aligned(64)));
    uint64_t max_bytes;
    uint64_t joinable;
    kin__a64 done; /* joinable: messages done; its store commits a task_done */
    uint64_t lost; /* joinable: of these, by death. A statistic. */
    struct kin__poller poller[KIN__POLLERS];
    /*
     * Joinable queues only: what each process has got and not declared done, {generation of the
     * process : 32, messages : 32}; an entry of another generation counts as 0.
     */
    uint64_t debt[];
};

/* The private handle. */
struct kin_queue {
    struct kin__queue *shared;
    kin__a32 spin_empty;  /* ns to spin before sleeping; adapts (queue_wait.c) */
    kin__a32 spin_full;
    kin__a32 expect_large; /* 1: the last message got was large, so take a lease up front */
    kin__a64 poll_lock;    /* as kin__poller.owner: whose thread is making the descriptor */
    kin__a64 poll_owner;   /* the same: who made it, stored after the next two; 0: nobody */
    int poll_fd;
    uint32_t poll_index;
};

/* --- queue_core.c: inside the lock --------------------------------------------------------- */

/* What to ring once the lock is free. */
enum kin__queue_ring {
    KIN__RING_EMPTY_ONE = 1, /* not_empty */
    KIN__RING_EMPTY_ALL = 2,
    KIN__RING_FULL_ONE = 4, /* not_full */
    KIN__RING_FULL_ALL = 8,
    KIN__RING_IDLE = 16,
    KIN__RING_EVERYTHING = KIN__RING_EMPTY_ALL | KIN__RING_FULL_ALL | KIN__RING_IDLE,
};

/*
 * Locks; if the last owner died inside, puts right what it left, and adds to *ring (which the
 * caller has set) what kin__queue_leave is to ring. 0 or an error, then without the lock.
 */
int kin__queue_enter(struct kin__queue *queue, unsigned *ring);

/* Unlocks, then rings. */
void kin__queue_leave(struct kin__queue *queue, unsigned ring);

/*
 * The lock's owner takes this note before the store that commits, and clears it after. `slot`:
 * whose debt becomes `debt` with the commit, or KIN__NO_SLOT.
 */
void kin__queue_note(struct kin__queue *queue, enum kin__queue_op kind, kin__a64 *word,
                     uint64_t value, kin__lease *lease, uint64_t block, uint32_t slot,
                     uint64_t debt);
void kin__queue_note_clear(struct kin__queue *queue);

/* The debt of a process, as messages; and the word for a number of them. */
uint32_t kin__queue_debt(const struct kin__queue *queue, uint32_t slot, uint32_t generation);
static inline uint64_t kin__queue_debt_word(uint32_t generation, uint32_t messages)
{
    return (uint64_t)generation << 32 | messages;
}

/* The segment that a lease value or a record names, checked; NULL: corrupt. */
struct kin__segment *kin__segment_at(uint64_t value);
struct kin__segment *kin__segment_of(uint64_t position);

/* Where a batch of puts has got to. */
struct kin__queue_tail {
    uint64_t position;        /* the stub */
    struct kin__record *stub; /* there */
};

int kin__queue_tail(struct kin__queue *queue, struct kin__queue_tail *ret_tail);

/* Positive results: the caller does what is needed without the lock and begins again. */
#define KIN__NEED_SEGMENT 1 /* kin__queue_grow */
#define KIN__NEED_ROOM 2    /* kin__queue_wait_not_full */
#define KIN__NEED_BELL 3    /* kin__queue_poll_prepare */

/*
 * Writes a record behind *tail and moves *tail behind it; nothing is visible until the caller
 * commits. `data`: of `length` bytes for a small message, of one word for a large one; never the
 * user's memory. 0; KIN__NEED_SEGMENT, KIN__NEED_ROOM, KIN_ECLOSED: nothing happened.
 */
int kin__queue_append(struct kin__queue *queue, struct kin__queue_tail *tail,
                      enum kin__record_kind kind, const void *data, uint64_t length);

/* Whether a message of that length may be put now: 0, KIN__NEED_ROOM, KIN_ECLOSED. */
int kin__queue_room(const struct kin__queue *queue, const struct kin__queue_tail *tail,
                    uint64_t length);

/* Where a batch of gets has got to. */
struct kin__queue_head {
    uint64_t position;          /* behind the last record passed */
    bool jumped;                /* a segment has been left behind */
    struct kin__record *record; /* the next message, not yet passed */
    uint64_t length;            /* of it, read once */
    uint64_t seq;
    uint64_t bytes;
    bool large;
    uint64_t block; /* of a large one: its lease value, of a live block of that size */
};

/*
 * Finds the next message at or behind head->position (start with kin__queue_head_begin). 1 and
 * the fields, or 0 if there is none, or KIN_ECORRUPT.
 */
void kin__queue_head_begin(struct kin__queue *queue, struct kin__queue_head *ret_head);
int kin__queue_head_next(struct kin__queue *queue, struct kin__queue_head *head);
void kin__queue_head_pass(struct kin__queue_head *head);

/*
 * Commits the gets passed, `messages` of them, the last being at head->seq. A large message needs
 * the lease, others NULL. The return value is what to ring.
 */
unsigned kin__queue_commit_get(struct kin__queue *queue, const struct kin__queue_head *head,
                               uint32_t messages, kin__lease *lease);

/*
 * Commits the puts up to *tail; `lease` holds the block of a large message, else NULL. 0, or
 * KIN__NEED_BELL or an error of waking those who poll: then nothing was put. Adds to *ring.
 */
int kin__queue_commit_put(struct kin__queue *queue, const struct kin__queue_tail *tail,
                          kin__lease *lease, uint32_t messages, unsigned *ring);

/* --- queue_segment.c: the circle ------------------------------------------------------------ */

/* Frees the block that the lease names, if any, and gives the lease back. NULL: nothing. */
void kin__queue_discard(kin__lease *lease);

/* Makes the first segment of a queue that nobody else knows yet. */
int kin__queue_first_segment(struct kin__queue *queue);

/* Without the lock: adds a segment behind the tail's if there is still need. 0 or an error. */
int kin__queue_grow(struct kin__queue *queue);

/* Without the lock: frees the segments that a burst has left, all but one. */
void kin__queue_shrink(struct kin__queue *queue);

/* Under the lock: whether two segments or more are unused. */
bool kin__queue_has_spare(struct kin__queue *queue);
uint64_t kin__queue_segments(struct kin__queue *queue);

/* Takes everything apart; nobody holds the queue. Idempotent. */
void kin__queue_fini(struct kin__object *object);

/* --- queue_wait.c: waiting ------------------------------------------------------------------ */

/* A wait in progress: begin with {.timeout_ns = ...}. */
struct kin__queue_wait {
    int64_t timeout_ns;
    int64_t deadline;
    int phase;
    uint32_t seen;
};

/*
 * Called under the lock when the predicate is false; leaves, and spins or sleeps until it may have
 * become true. 0: lock and look again; else an error (-ETIMEDOUT only after one last look).
 */
int kin__queue_wait_not_empty(kin_queue *handle, struct kin__queue_wait *wait, unsigned ring);
int kin__queue_wait_not_full(kin_queue *handle, struct kin__queue_wait *wait, unsigned ring);
int kin__queue_wait_idle(kin_queue *handle, struct kin__queue_wait *wait, unsigned ring);

/* A new handle's first idea of how long to spin. */
void kin__queue_wait_init(kin_queue *handle);

/* --- queue_poll.c: descriptors -------------------------------------------------------------- */

/* Under the lock: makes every poller's descriptor readable. 0, KIN__NEED_BELL, or an error. */
int kin__queue_poll_ring(struct kin__queue *queue);

/* Without the lock: what kin__queue_poll_ring needs of this process. 0 or an error. */
int kin__queue_poll_prepare(void);

/* Under the lock, the queue being empty and open: our own descriptor becomes unreadable. */
void kin__queue_poll_drain(kin_queue *handle);

/* Under the lock: forgets the pollers of a process. */
void kin__queue_poll_forget(struct kin__queue *queue, uint32_t slot, uint32_t generation);

/* The handle goes. */
void kin__queue_poll_close(kin_queue *handle);

/* --- queue_task.c: joinable queues ---------------------------------------------------------- */

/* Under the lock: what a dead process had got and not declared done counts as done. */
void kin__queue_task_settle(struct kin__queue *queue, uint32_t slot, uint32_t generation,
                            enum kin__end end);

/* --- queue_move.c: whole operations --------------------------------------------------------- */

/* Messages to put in one go: either small ones or one large one. */
struct kin__queue_run {
    uint32_t count;
    const uint16_t *lengths; /* of small ones, which lie at `bytes`, each at a multiple of 8 */
    const char *bytes;
    kin__lease *lease; /* of a large one, else NULL */
    uint64_t length;
};

/* Puts all of them in order, waiting. *done counts them. 0 or the error that stopped it. */
int kin__queue_put_run(kin_queue *handle, const struct kin__queue_run *run,
                       struct kin__queue_wait *wait, uint32_t *done);

/* Messages taken in one go. */
struct kin__queue_catch {
    /* What is wanted. */
    uint32_t most;
    char *staging; /* small ones are copied here, each at a multiple of 16; never user memory */
    uint64_t staging_size;
    uint64_t room;      /* of the user's buffer, for all of them, the same way */
    kin__lease *lease;  /* may be NULL: is taken when a large one needs it */
    /* What was got. */
    uint32_t count;
    uint64_t *lengths;  /* of `most` entries; on KIN_ETOOBIG, the first is the length needed */
    bool large;         /* a single large one, its block on `lease` */
    uint64_t block;     /* offset */
};

/* Waits for one, then takes what is there. 0 or an error; the caller drops `lease` if not NULL. */
int kin__queue_take(kin_queue *handle, struct kin__queue_catch *take, struct kin__queue_wait *wait);

/* Waits until a large message has room, so as not to hold memory while waiting. 0 or an error. */
int kin__queue_await_room(kin_queue *handle, uint64_t length, struct kin__queue_wait *wait);

#endif
