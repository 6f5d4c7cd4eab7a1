/*
 * Children of this process, and this process as a child: what the files of this layer and the pool
 * share. Layer: process. Protocol: docs/design/process.md.
 */
#ifndef KIN_PROCESS_PROCESS_H
#define KIN_PROCESS_PROCESS_H

#include <kinfolk/process.h>

#include "shm/wait.h"

enum kin__process_flag {
    KIN__PROCESS_WORKER = 1, /* a pool's: dies with its parent, not counted as an active child */
};

enum kin__child_state {
    KIN__CHILD_RUNNING, /* not known to have ended */
    KIN__CHILD_ENDED,   /* reaped; `status` holds its wait status */
    KIN__CHILD_LOST,    /* ended; nobody knows how */
};

/*
 * A child's handle. Private memory of the process that started it, and in a forked child of that
 * process a dead copy whose descriptors are closed. Constant after start but for:
 *   state, status   under `mutex`; RUNNING moves once, to ENDED or LOST
 *   next, previous, started, detached, reaping   under the lock of children.c
 */
struct kin_process {
    pthread_mutex_t mutex;
    enum kin__child_state state;
    int status;
    int32_t pid;
    int pidfd;
    int report;                 /* FORKSERVER: socket on which the zygote tells the status, or -1 */
    uint32_t slot, generation;             /* the child's, or KIN__NO_SLOT */
    uint32_t owner_slot, owner_generation; /* the process that started it, ... */
    int32_t owner_pid;
    bool owner_main;            /* ... and whether its main thread did */
    enum kin_start_method method;
    bool daemon;
    bool worker;
    bool die_with_parent;
    bool started;  /* what is constant after start is */
    bool detached; /* destroyed by the user; children.c frees it when the child has ended */
    bool reaping;  /* a thread is about to do that */
    struct kin_process *next, *previous;
    char name[KIN_NAME_MAX + 1];
    char identity[KIN_NAME_MAX + 1]; /* "1:2", of which the default name is made */
};

/* --- start.c ------------------------------------------------------------------------------ */

/*
 * kin_process_start with private flags. A pool's worker runs an internal target of the library
 * under every method: give it a KIN_ENTRY.
 */
int kin__process_start(const struct kin_process_options *options, unsigned flags,
                       kin_process **ret_process);

/* A start's settled options: defaults filled in, everything checked. */
struct kin__start {
    kin_target_fn *target;
    const void *arg;
    size_t arg_size;
    const char *entry;
    int fds[KIN_FDS_MAX]; /* sorted, no duplicates, all open, none below 3 */
    unsigned fd_count;
    const char *const *command; /* what is executed; NULL: this program */
};

/* One per method: starts the child that `process` and `start` describe and fills in the handle. */
int kin__start_fork(kin_process *process, const struct kin__start *start);
int kin__start_spawn(kin_process *process, const struct kin__start *start);
int kin__start_forkserver(kin_process *process, const struct kin__start *start);

/* The parts of the first, for runtimes that fork themselves (fork.c). */
int kin__fork_prepare(kin_process *process);
int kin__fork_in_parent(kin_process *process, int32_t pid);
void kin__fork_in_child(kin_process *process);

/* kin__fork, with the runtime's hooks around it. */
int32_t kin__fork_with_hooks(void);

/* --- context.c ---------------------------------------------------------------------------- */

/* What was given (NULL: the default context), its method settled. -EINVAL. */
int kin__context_read(struct kin_context *ret_context, const struct kin_context *given);

/* --- entry.c: functions by name ------------------------------------------------------------- */

/*
 * Fills in whichever of the two is NULL: the function that the name has, or a name that the
 * function has, which may stay NULL. -EINVAL if both are, or if they contradict each other,
 * KIN_ENOENTRY for an unknown name.
 */
int kin__entry_settle(kin_target_fn **target, const char **name);

/* The function of that name, or NULL. */
kin_function *kin__entry_find(const char *name);

/* --- handle.c ----------------------------------------------------------------------------- */

/* 0 if the handle may be used here, KIN_EFORKED, -EINVAL, or why this process has no family. */
int kin__process_check(const kin_process *process);

/* Looks whether the child has ended, reaps it and sweeps what it left: its state from now on. */
enum kin__child_state kin__process_poll(kin_process *process);

/* FORKSERVER (forkserver.c): the status that the zygote tells: 1, 0 if it is still to come, or
 * -ECHILD if it never will. Called once the pidfd tells of the end. */
int kin__report_status(int socket, int *ret_status);

/* Closes what the handle holds and frees it. */
void kin__process_free(kin_process *process);

/* --- children.c: the list of this process's children --------------------------------------- */

/* From before its child comes to be, so that a fork by another thread meanwhile sees its
 * descriptors; then it has started, or is removed and freed. */
void kin__children_add(kin_process *process);
void kin__children_started(kin_process *process);
void kin__children_remove(kin_process *process);

/* Takes the handle off the list, or, if the child still runs, leaves it to the list. */
void kin__children_release(kin_process *process);

/* Reaps destroyed children that have ended. Cheap if there are none. Takes no lock that is taken, so
 * that it may be called from a sweep. */
void kin__children_reap(void);

/* Reaps a fork server that has died. As cheap, and as shy. */
void kin__forkserver_reap(void);

/* SIGTERM to the daemonic ones. */
void kin__children_terminate_daemons(void);

/* --- current.c: this process as a child ----------------------------------------------------- */

/* What a child is told about itself. */
struct kin__birth {
    uint64_t parent_seen_at; /* FORKSERVER: ticks at which the starter, no parent then, lived */
    int32_t parent_pid;
    enum kin_start_method method;
    bool daemon;
    bool worker;
    char name[KIN_NAME_MAX + 1];
    char identity[KIN_NAME_MAX + 1];
    char parent_name[KIN_NAME_MAX + 1];
};

/* In the starting process: what the child that the handle stands for is to be told. */
void kin__birth_describe(const kin_process *process, struct kin__birth *ret_birth);

/* In the child, before anything else runs: takes the description as its own. */
void kin__birth_adopt(const struct kin__birth *birth);

/* Fills in the default name and the identity of the next child. */
void kin__birth_name(kin_process *process, const char *name);

/* Whether this process is a pool's worker. */
bool kin__process_is_worker(void);

/* --- lifeline.c ---------------------------------------------------------------------------- */

/* Makes this process's lifeline at the first call: its read end, for SPAWN and FORKSERVER to hand
 * on, or -errno. */
int kin__lifeline_open(void);

/* Whether the child of this thread's fork that follows keeps the read end, for follow_forked. */
void kin__lifeline_keep(bool keep);

/*
 * In a child: ties its life to its starter's, by the read end `fd` of the starter's lifeline (-1:
 * there is none; taken over) and, where `parent` > 0, by the death of the thread that started it in
 * that process.
 */
void kin__lifeline_follow(int fd, int32_t parent);
void kin__lifeline_follow_forked(int32_t parent);

/* --- ending.c ------------------------------------------------------------------------------- */

/*
 * Makes exit() in a child that is about to be forked end the child without its parent's exit
 * handlers: push before the fork; pop in the parent; arm in the child, which then stays in the
 * caller's frame for life.
 */
struct kin__exit_guard {
    int armed;
};
void kin__exit_guard_push(struct kin__exit_guard *guard);
void kin__exit_guard_pop(struct kin__exit_guard *guard);
void kin__exit_guard_arm(struct kin__exit_guard *guard);

/* Flushes C output streams, without waiting for a thread that reads standard input. */
void kin__flush_output(void);

#endif
