/*
 * Processes: starting, joining and ending children.
 *
 * A child runs a function of the same program. How it comes to be is the start method's business
 * (context.h); what it may use is the same under each: its argument, inherited descriptors, and
 * everything shared of the family (memory.h, queues, locks, ...).
 *
 * A child ends when its target returns (then: its output streams are flushed, its daemonic children
 * get SIGTERM, and it ends with the low 8 bits of the target's value), by exit (the same, after the
 * exit handlers that the child itself registered), or by a signal. A forked child runs none of the
 * exit handlers, and none of the destructors, that its parent had registered.
 *
 * The library installs no signal handler and does not use SIGCHLD. A program that ignores SIGCHLD,
 * or waits for children that are not its own, takes exit statuses away: KIN_ESTATUSLOST.
 */
#ifndef KINFOLK_PROCESS_H
#define KINFOLK_PROCESS_H

#include <kinfolk/base.h>
#include <kinfolk/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A child, seen from the process that started it. Only that process may use it: KIN_EFORKED. */
typedef struct kin_process kin_process;

/*
 * What a child runs. `arg` is its own writable copy (NULL if none was given), aligned as malloc
 * aligns. The low 8 bits of the value are the exit code.
 */
typedef int kin_target_fn(void *arg, size_t size);

/* Longest name of a process, without the final NUL. */
#define KIN_NAME_MAX 63

struct kin_process_options {
    size_t size;
    kin_target_fn *target; /* may be NULL if `entry` names one */
    const void *arg;       /* `arg_size` bytes, copied before start returns */
    size_t arg_size;
    const char *name;      /* NULL: "Process-1" and so on; too long: -ENAMETOOLONG */
    const char *entry;     /* KIN_ENTRY's name of the target; NULL: found by the function */
    const struct kin_context *context; /* NULL: the process's default context */
    enum kin_start_method method;      /* KIN_START_DEFAULT: the context's */
    int daemon;            /* gets SIGTERM at the orderly end of the process that started it; others
                              are left running */
    int die_with_parent;   /* is killed within milliseconds of that process's end, orderly or not,
                              even while it computes */
    const int *fds;        /* descriptors that the child inherits under the same numbers, besides 0, */
    size_t fd_count;       /* 1, 2 and the context's; at most KIN_FDS_MAX in all. A forked child has
                              copies of all descriptors, listed or not */
};
#define KIN_PROCESS_OPTIONS_INIT                                                                   \
    {sizeof(struct kin_process_options), NULL, NULL, 0, NULL, NULL, NULL, KIN_START_DEFAULT, 0, 0, \
     NULL, 0}

/*
 * Starts a child. C output streams are flushed first (standard input's lock held by a thread that
 * reads leaves only stdout and stderr to be). Under KIN_START_FORK the child is a copy of the
 * calling thread; under the others the call waits until the child has found its target. With
 * die_with_parent, start from a thread that lives as long as the process, or accept that the
 * end of the main thread by pthread_exit counts as the process's.
 *
 * Returns 0 with a handle; -EINVAL (no target, a malformed struct, a bad descriptor list),
 * -ENAMETOOLONG, -EBADF (a listed descriptor is not open), KIN_ENOENTRY (main does not begin with
 * kin_child_main, `entry` is unknown, or the target's module cannot be named or found), -EAGAIN,
 * -ENOMEM, -EMFILE, KIN_EFAMILYFULL, KIN_EADDRESS, KIN_EABI, -ETIMEDOUT (a child of SPAWN or
 * FORKSERVER did not get as far as kin_child_main within a minute; it is killed), -EDEADLK (FORKSERVER
 * with a command of the context's: what the server executes starts threads, or founds a family,
 * before it calls kin_child_main; use SPAWN), or what the thread's interrupt function said.
 */
KIN_API int kin_process_start(const struct kin_process_options *options,
                              kin_process **ret_process);

/*
 * Waits for the child's end. *ret_exitcode (NULL allowed) is 0 to 255, or minus the signal's number
 * if a signal killed it. Any number of threads may wait, any number of times. Returns 0, -ETIMEDOUT,
 * KIN_ESTATUSLOST (it has ended, how is not known), KIN_EFORKED, -EINVAL, or what the thread's
 * interrupt function said. On return 0 or KIN_ESTATUSLOST all that the child held is released.
 */
KIN_API int kin_process_join(kin_process *process, int64_t timeout_ns, int *ret_exitcode);

/* As join, without waiting: -EAGAIN while the child runs. */
KIN_API int kin_process_exitcode(kin_process *process, int *ret_exitcode);

/* 1 while the child runs, 0 when it has ended, or KIN_EFORKED, -EINVAL. Does not block. */
KIN_API int kin_process_is_alive(kin_process *process);

/*
 * Send SIGTERM, SIGKILL, or any signal. Never reach another process that has got the same pid.
 * Return 0; terminate and kill also if the child has already ended, signal then -ESRCH.
 * KIN_EFORKED, -EINVAL, -EPERM.
 */
KIN_API int kin_process_terminate(kin_process *process);
KIN_API int kin_process_kill(kin_process *process);
KIN_API int kin_process_signal(kin_process *process, int signal_number);

/* The child's pid (also when it has ended), or -EINVAL. Allowed in forked children. */
KIN_API int kin_process_pid(const kin_process *process);

/* The name, valid until destroy; NULL for NULL. Allowed in forked children. */
KIN_API const char *kin_process_name(const kin_process *process);

/* 1 or 0 as started, or -EINVAL. Allowed in forked children. */
KIN_API int kin_process_daemon(const kin_process *process);

/* The method by which the child was started, or -EINVAL. Allowed in forked children. */
KIN_API int kin_process_method(const kin_process *process);

/*
 * A pidfd: readable in poll, select and epoll once the child has ended. The handle owns it; it is
 * close-on-exec. KIN_EFORKED, -EINVAL.
 */
KIN_API int kin_process_sentinel(kin_process *process);

/*
 * Gives the handle back. A child that still runs is neither ended nor waited for: it is reaped by a
 * later call of the library after its end. Closes the sentinel. Accepts NULL, returns NULL; allowed
 * in forked children.
 */
KIN_API kin_process *kin_process_destroy(kin_process *process);

struct kin_process_info {
    size_t size;       /* of this struct, set by the caller */
    int pid;
    int parent_pid;    /* of the process that started it, or 0 if the library did not start it */
    int daemon;
    enum kin_start_method method; /* KIN_START_DEFAULT: not started by the library */
    char name[KIN_NAME_MAX + 1];
};
#define KIN_PROCESS_INFO_INIT {sizeof(struct kin_process_info), 0, 0, 0, KIN_START_DEFAULT, {0}}

/*
 * The children of this process that run, oldest first, also those whose handle is destroyed; pool
 * workers are not among them. Fills at most `room` elements (whose `size` need not be set) and
 * stores how many there are. Reaps what has ended. Returns 0 or -EINVAL.
 */
KIN_API int kin_process_active(struct kin_process_info *ret_infos, size_t room, size_t *ret_count);

/* This process. The first one is called "MainProcess". Returns 0 or -EINVAL. */
KIN_API int kin_process_current(struct kin_process_info *ret_info);

/* The process that started this one: 0, -EINVAL, or -ESRCH in a process that the library did not
 * start. Its own parent_pid and daemon are not known and 0. */
KIN_API int kin_process_parent(struct kin_process_info *ret_info);

/*
 * A pidfd of the process that started this one, readable once that one has ended. The library
 * owns it. -ESRCH in a process that the library did not start, or if the parent ended before the
 * first call.
 */
KIN_API int kin_process_parent_sentinel(void);

/* --- programs that are executed again: SPAWN and FORKSERVER ------------------------------- */

/*
 * The first statement of main in a program that uses SPAWN or FORKSERVER. Returns 0 at once in the
 * first process; never returns in a child, which it knows by the last two arguments. Does not change
 * argv. May be called more than once.
 */
KIN_API int kin_child_main(int argc, char **argv);

/* The last but one argument of a child's, and of the fork server's, command line. */
#define KIN_CHILD_ARGUMENT "--kinfolk-child"

/*
 * Starts this process's fork server, if none runs, before a child needs it: with the context's
 * command (NULL: the default context). Does not wait until it serves. 0; KIN_ENOENTRY, -EMFILE and
 * why else nothing could be executed.
 */
KIN_API int kin_forkserver_start(const struct kin_context *context);

/* The pid of this process's fork server, or -ESRCH if none runs. */
KIN_API int kin_forkserver_pid(void);

/* Ends it; its children live on, but their exit status is lost. A later start begins another,
 * also where an earlier one was of no use (-EDEADLK, KIN_ENOENTRY). 0. */
KIN_API int kin_forkserver_stop(void);

typedef void kin_function(void);

/* Storage of KIN_ENTRY; its fields are the library's. */
struct kin_entry {
    const char *name;
    kin_function *function;
    struct kin_entry *next;
};
KIN_API void kin_entry_register(struct kin_entry *entry);
KIN_API void kin_entry_unregister(struct kin_entry *entry);

/*
 * At file scope, in a program or a shared library: gives a function a name, an identifier, by which
 * children find it. Needed only where a function cannot be found by its module's build-id and its
 * offset in it (a program linked without a build-id), or where the name should outlive a rebuild.
 * The first entry of a name counts.
 */
#define KIN_ENTRY(entry_name, entry_function)                                                      \
    static struct kin_entry kin_entry_##entry_name = {#entry_name, (kin_function *)(entry_function), \
                                                      NULL};                                       \
    __attribute__((constructor)) static void kin_entry_add_##entry_name(void)                      \
    {                                                                                              \
        kin_entry_register(&kin_entry_##entry_name);                                               \
    }                                                                                              \
    __attribute__((destructor)) static void kin_entry_remove_##entry_name(void)                    \
    {                                                                                              \
        kin_entry_unregister(&kin_entry_##entry_name);                                             \
    }                                                                                              \
    struct kin_entry_ends_with_a_semicolon

/* --- for language bindings ---------------------------------------------------------------- */

/*
 * KIN_START_FORK in two halves, for runtimes that must call their own fork. prepare makes the
 * handle and must be followed, in the same thread, by fork and then by complete with fork's result
 * in both processes, or with -1 if there was no fork. `target`, `arg` and `entry` are ignored.
 *
 * complete returns 0; in the child and for -1 the handle is gone then. In the child it makes this
 * process the one that the options describe. Such a child should end by kin_process_exit, or call
 * kin_process_leave before it ends in its own way, and is otherwise taken for one that crashed.
 */
KIN_API int kin_process_prepare_fork(const struct kin_process_options *options,
                                     kin_process **ret_process);
KIN_API int kin_process_complete_fork(kin_process *process, int pid);

/*
 * For runtimes with a fork protocol of their own: `before` is called in the forking thread right
 * before each fork that the library makes by itself (KIN_START_FORK and its pools' workers, also
 * from the pool's own thread, and the fork server's), then `parent` or `child` right after it, also if the fork failed
 * (parent). All three or none (NULL). Set them before the first start. 0, -EINVAL.
 */
typedef void kin_fork_hook(void);
KIN_API int kin_process_set_fork_hooks(kin_fork_hook *before, kin_fork_hook *parent,
                                       kin_fork_hook *child);

/*
 * This process is about to end in an orderly way: what it holds is handed on as after a return of
 * the target, and its daemonic children get SIGTERM. exit() does this by itself. Safe to repeat.
 */
KIN_API void kin_process_leave(void);

/* leave, flush the C output streams, end with the low 8 bits of the code and no exit handlers. */
KIN_API
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void kin_process_exit(int code);

#ifdef __cplusplus
}
#endif

#endif
