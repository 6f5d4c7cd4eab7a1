/*
 * The parent's private side of a pool. Layer: pool. Protocol: docs/design/pool.md, "Parent".
 *
 * Everything here is under the pool's lock unless it says otherwise. Rings are touched under it
 * too, so one thread at a time is at each ring end. The lock is never held while anything sleeps,
 * forks, or runs the user's functions. Order of locks: the supervisor's, then a pool's.
 */
#ifndef KIN_POOL_ENGINE_H
#define KIN_POOL_ENGINE_H

#include <kinfolk/process.h>

#include "pool/function.h"
#include "pool/shared.h"
#include "pool/spin.h"

#define KIN__ANY_ROLE (-1)

/* A queue of tasks, linked through them. */
struct kin__tasks {
    kin_future *first, *last;
};

enum kin__task_state {
    KIN__TASK_QUEUED, /* on its role's backlog */
    KIN__TASK_SENT,   /* on its worker's list, its message in the worker's ring */
    KIN__TASK_DONE,
};

/*
 * A task, and the user's handle to it. The reference count has one for the handle (or the iterator
 * that owns it) and one while it is not done. A map over items of different sizes has its tasks in an
 * array of its own, without references. Once DONE, what it came to is constant.
 */
struct kin_future {
    kin_pool *pool; /* a reference, unless the task is its owner's */
    kin__a32 references; /* constant 0: the task's memory is its owner's */
    kin__a32 state; /* enum kin__task_state; read without the lock: DONE is stored last */
    kin_future *next, *previous; /* in the queue that it is on */
    uint64_t fn; /* as kin__pool_function gives it */
    uint64_t id;
    int role;
    int retries, deaths;
    int64_t timeout_ns;
    bool timed_out; /* its worker was killed for it */
    struct kin__crew *crew; /* SENT: whose list */
    struct kin__call_message *message; /* SENT: in the ring */
    struct kin__pool_block *block; /* SENT: the argument's block, or NULL */
    int status, code;
    void *data;
    uint64_t size;
    void (*finished)(kin_future *task); /* of an owner inside the library, or NULL */
    void *owner;
    uint64_t index, slot; /* the owner's */
    kin_future_fn *callback;
    void *callback_arg;
    bool called; /* the callback has been queued */
    const void *arg; /* behind the task, or the owner's */
    uint64_t arg_size;
};

enum kin__crew_state {
    KIN__CREW_ABSENT,
    KIN__CREW_STARTING, /* started, or about to be; not heard of yet */
    KIN__CREW_READY,
    KIN__CREW_STOPPING, /* has been told to stop */
    KIN__CREW_DOOMED,   /* has been killed */
};

struct kin__map;

/* A worker as the parent sees it. */
struct kin__crew {
    int index;
    int role;
    int capacity; /* 1 to 1024 */
    enum kin__crew_state state;
    kin_process *process; /* NULL while it is being started, and for threads */
    int pidfd;            /* the process's, or -1 */
    pthread_t thread;
    bool has_thread;
    bool up;              /* its initializer has succeeded */
    bool ended;           /* threads: has sent its last message */
    bool corrupt;         /* has written what no worker writes: nothing is read of it any more */
    struct kin__worker_block *block;
    uint64_t block_value; /* lease value */
    struct kin__ring_end tasks, results;
    bool dirty; /* tasks reserved and not yet published */
    bool full;  /* no room in its ring until it has answered something */
    struct kin__tasks sent;
    int sent_count;
    uint64_t last_block; /* the reply block that was consumed last */
    int64_t mean;        /* ns a task, running mean; 0: not known */
    int64_t active;      /* when it was last heard of, or given its first task */
    uint64_t given;      /* items and tasks since its start */
    int failures;        /* starts in a row that did not get to READY */
    int64_t restart_at;
    /* The range it was given, if map is not NULL. */
    struct kin__map *map;
    uint64_t range_id;
    unsigned window;
    uint32_t begin, end; /* `end` is lowered as items are taken back */
    uint32_t range_failed; /* items of it that failed */
    uint32_t last_failed;  /* the last of them */
    int64_t range_since;
    bool trailing; /* its range is empty and its map gone: it has still to say that it is through */
};

enum kin__pool_phase {
    KIN__POOL_OPEN,
    KIN__POOL_CLOSED,
    KIN__POOL_TERMINATED,
};

struct kin_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t owner_slot, owner_generation; /* constant */
    kin__a32 references; /* the handle, the supervisor, each future */
    uint64_t number;     /* constant; names the pool in the supervisor's tags */
    kin_pool *next;      /* the supervisor's list, under its lock */
    struct kin__pool_object *object; /* NULL once the pool is destroyed */
    struct kin_pool_options options; /* constant; pointers in it are ours or NULL */
    struct kin_plan *plan;
    unsigned char *init_arg;
    char *name;
    bool by_name; /* workers execute the program again: functions have other addresses there */
    struct kin__named_function *functions; /* that have been named so far */
    uint64_t initializer, finalizer; /* as kin__pool_function gives them */
    int event_fd;
    uint64_t signals;
    int32_t worker_spin;

    enum kin__pool_phase phase;
    int broken; /* KIN_EWORKERINIT: no task will ever run */
    int64_t kill_at; /* TERMINATED: when SIGKILL follows, then KIN__NEVER */
    struct kin__crew *crew;
    int size;
    int starting; /* members being started outside the lock */
    struct kin__tasks *backlog; /* one a role, then the one for any role */
    int roles;
    uint64_t queued;
    uint64_t outstanding; /* tasks not done, and maps */
    uint64_t sources; /* accepted calls that still bring in tasks */
    struct kin__map *maps;
    unsigned turn;
    struct kin__tasks calls; /* done, their callbacks to be called */
    uint64_t last_id;
    bool driving; /* a thread drives, and may be asleep on the bell with the lock released */
    bool opened;     /* the supervisor may start workers */
    int start_error; /* of the last start that failed */
    uint64_t changes; /* bumped by kin__pool_changed */
    int waiters;  /* threads in pthread_cond_wait */
    int timed;    /* sent tasks that have a time limit */
    int64_t look_at; /* when to look again for work to take back */
    struct kin__spin spin;
    struct kin__pool_block *blocks; /* the newest; chain.c */
    struct kin__pool_block *spare[2]; /* windows of the last map */
    struct kin_pool_stats stats;
};

/* --- pool.c ------------------------------------------------------------------------------- */

/* 0 if this process may use the pool. Without the lock. */
int kin__pool_check(const kin_pool *pool);

/* Why no new work is accepted, or 0. */
int kin__pool_accepts(const kin_pool *pool);

void kin__pool_hold(kin_pool *pool);
void kin__pool_release(kin_pool *pool);

/* The role's index, KIN__ANY_ROLE for NULL, or KIN_EROLE. */
int kin__pool_role(const kin_pool *pool, const char *name);

/* No work is left or to come, and the workers may go. */
bool kin__pool_is_idle_for_good(const kin_pool *pool);

/* That, and they have gone. */
bool kin__pool_is_over(const kin_pool *pool);

/* --- chain.c: blocks that the pool owns --------------------------------------------------- */

/* What the parent knows of a block on the pool's chain. */
struct kin__pool_block {
    struct kin__pool_link *link; /* in the arena */
    uint64_t value;              /* the lease value that the chain has for it */
    uint64_t size;               /* of the payload */
    struct kin__pool_block *next, *previous;
};

/* A block of at least `size` bytes on the pool's chain. KIN_EQUOTA. */
int kin__chain_add(kin_pool *pool, uint64_t size, struct kin__pool_block **ret_block);
void kin__chain_remove(kin_pool *pool, struct kin__pool_block *block);

/* The block of a worker, made at first use. */
int kin__chain_worker_block(kin_pool *pool, struct kin__crew *crew);

/* Frees everything; no worker is left. */
void kin__chain_clear(kin_pool *pool);

/* --- function.c --------------------------------------------------------------------------- */

/* What names the function in messages to workers. Without the lock. KIN_ENOENTRY, -ENOMEM,
 * KIN_EQUOTA. */
int kin__pool_function(kin_pool *pool, kin_function *function, uint64_t *ret_word);

/* --- crew.c: workers come and go ---------------------------------------------------------- */

/* Starts the member; releases the lock meanwhile. Not while it is anything but ABSENT. */
int kin__crew_start(kin_pool *pool, struct kin__crew *crew);

/* Looks whether the member's process or thread has ended, and if so deals with all that follows. */
bool kin__crew_reap(kin_pool *pool, struct kin__crew *crew);

/* It has ended, and all it wrote has been read: what was in its hands is lost, run again or given to
 * others. */
void kin__crew_gone(kin_pool *pool, struct kin__crew *crew, bool orderly);

/* SIGKILL. What it did before counts. */
void kin__crew_kill(struct kin__crew *crew);

/* The worker wrote what no worker writes: it is killed, and nothing more is read of it. */
void kin__crew_corrupt(struct kin__crew *crew);

/* Tells members to stop where they are not needed any more. */
void kin__crew_stop(kin_pool *pool);

/* Starts and kills what is due; only the supervisor may start. Returns when to come again. */
int64_t kin__crew_tend(kin_pool *pool, int64_t now, bool may_start);

/* Whether it may be given work, of that role. */
bool kin__crew_takes(const kin_pool *pool, const struct kin__crew *crew, int role);

/* Whether it has nothing to do and may be given work of that role. */
bool kin__crew_is_idle(const kin_pool *pool, const struct kin__crew *crew, int role);

/* How many more items it may be given before it is replaced. */
uint64_t kin__crew_allowance(const kin_pool *pool, const struct kin__crew *crew);

/* --- driver.c ----------------------------------------------------------------------------- */

/* Whether the member has results that nobody has read. */
bool kin__pool_has_results(struct kin__crew *crew);

/* Reads all results of the member. */
bool kin__pool_drain_one(kin_pool *pool, struct kin__crew *crew);

/* One round: results in, work out. Returns whether any result came in. */
bool kin__pool_drive(kin_pool *pool, int64_t now);

/* When to look for results of which no worker may have told; KIN__NEVER: there are none. */
int64_t kin__pool_quiet_until(const kin_pool *pool);

/* Gives out work and publishes it. */
void kin__pool_dispatch(kin_pool *pool, int64_t now);

/*
 * Waits until ready(arg), driving the pool if nobody else does. Called and returns with the lock
 * held, which it releases meanwhile. 0, -ETIMEDOUT, or what the interrupt function said.
 */
int kin__pool_wait(kin_pool *pool, bool (*ready)(void *), void *arg, int64_t deadline);

/* Runs the callbacks that are due, with the lock released. */
void kin__pool_callbacks(kin_pool *pool);

/* Calls the task's callback, after which the task may be gone. Without the lock. */
void kin__pool_call(kin_pool *pool, kin_future *task);

/* Whether the calling thread is in a callback of the pool. No lock needed. */
bool kin__pool_in_callback(const kin_pool *pool);

/* Wakes threads that wait, after something that may concern them changed. */
void kin__pool_changed(kin_pool *pool);

/* Makes sure that somebody drives: arms the bell, and wakes the supervisor if need be. */
void kin__pool_hand_over(kin_pool *pool);

/* --- supervisor.c ------------------------------------------------------------------------- */

int kin__supervisor_adopt(kin_pool *pool);
void kin__supervisor_drop(kin_pool *pool);
/* Watches the member's process. */
int kin__supervisor_watch(kin_pool *pool, struct kin__crew *crew);
void kin__supervisor_unwatch(struct kin__crew *crew);
void kin__supervisor_wake(void);
/* Whether the calling thread is it; then this is one round of its duties. No lock may be held. */
bool kin__supervisor_is_me(void);
void kin__supervisor_round(int64_t deadline);

/* --- task.c ------------------------------------------------------------------------------- */

struct kin__task_request {
    uint64_t fn; /* as kin__pool_function gives it */
    const void *arg;
    uint64_t size;
    int role;
    int retries;
    int64_t timeout_ns;
    void (*finished)(kin_future *task);
    void *owner;
    uint64_t index;
};

/* A task that is not queued yet, and a copy of its argument: the caller's reference, and one for the
 * queue. No lock needed. NULL: no memory. */
kin_future *kin__task_create(kin_pool *pool, const struct kin__task_request *request);

/* The same in the caller's memory, which stays, as does the argument, until it is finished. */
void kin__task_init(kin_pool *pool, const struct kin__task_request *request, kin_future *task);

/* Never queued: gives back both references. */
void kin__task_discard(kin_future *task);
void kin__task_hold(kin_future *task);
void kin__task_release(kin_future *task);

/* QUEUED, on the backlog. */
void kin__task_queue(kin_pool *pool, kin_future *task);

/* Writes the task into the member's ring: 0, -EAGAIN (no room), or it has been finished. */
int kin__task_send(kin_pool *pool, struct kin__crew *crew, kin_future *task);

/* Takes the member's last task back if it has not begun. */
kin_future *kin__task_revoke_last(kin_pool *pool, struct kin__crew *crew);

/* Takes this task back: 0, -EBUSY, -EALREADY. It is on no queue then. */
int kin__task_take_back(kin_pool *pool, kin_future *task);

/* The first task that was sent to the member has been answered. */
int kin__task_answered(kin_pool *pool, struct kin__crew *crew,
                       const struct kin__result_message *message, const void *data);

/* DONE; takes over `data`. The task is on no queue. */
void kin__task_finish(kin_pool *pool, kin_future *task, int status, int code, void *data,
                      uint64_t size);

/* The member is dead: its tasks are lost, run again or queued again. */
void kin__task_orphans(kin_pool *pool, struct kin__crew *crew);

/* Finishes every task that is not, with that status; what runs is not waited for. */
void kin__task_fail_all(kin_pool *pool, int status);

/* Kills workers whose task has run too long; returns when to look again. */
int64_t kin__task_limits(kin_pool *pool, int64_t now);

void kin__tasks_push(struct kin__tasks *tasks, kin_future *task);
void kin__tasks_push_front(struct kin__tasks *tasks, kin_future *task);
void kin__tasks_remove(struct kin__tasks *tasks, kin_future *task);

/* --- map.c, spread.c: maps over ranges ----------------------------------------------------- */

/* Whether some map has items to give to the member. */
bool kin__map_has_items(const kin_pool *pool, const struct kin__crew *crew);

/* Gives an idle member a range of some map; false if there is none for it. */
bool kin__map_assign(kin_pool *pool, struct kin__crew *crew, int64_t now);

/* Takes items back from busy members for idle ones. Returns when to look again. */
int64_t kin__map_balance(kin_pool *pool, int64_t now);

/* Has one member give its range up soon, so that a waiting task gets a worker. */
void kin__map_yield(kin_pool *pool, int role);

int kin__map_item_failed(kin_pool *pool, struct kin__crew *crew, uint64_t index, int code);
int kin__map_range_ended(kin_pool *pool, struct kin__crew *crew, int code);
/* The map is settled and ends: workers that were left with an empty range trail. */
void kin__map_forget(struct kin__map *map);
void kin__map_range_lost(kin_pool *pool, struct kin__crew *crew);
void kin__map_cancel_all(kin_pool *pool, int error);

#endif
