/*
 * How a process ends: the orderly mark, the flush, and exit() in forked children.
 * Layer: process. Protocol: docs/design/process.md, "Ending".
 */
#include "process/process.h"

#include <stdio.h>
#include <sys/single_threaded.h>

/* The C++ ABI's exit handlers: later ones run first, and a handle takes its own back again. glibc
 * passes the exit code as a second argument. */
int __cxa_atexit(void (*function)(void *), void *arg, void *handle);
void __cxa_finalize(void *handle);

KIN__FORK_PATH static bool stdin_is_free(void)
{
    if (__libc_single_threaded) {
        return true;
    }
    if (ftrylockfile(stdin) != 0) {
        return false;
    }
    funlockfile(stdin);
    return true;
}

KIN__FORK_PATH void kin__flush_output(void)
{
    /* fflush(NULL) waits for every stream's lock, and a thread blocked in a read of stdin holds
     * that for as long as nobody types. */
    if (stdin_is_free()) {
        /* As fflush(NULL), each stream under its lock; in glibc it lies beside what it calls. */
        fflush_unlocked(NULL);
    } else {
        fflush(stdout);
        fflush(stderr);
    }
}

KIN__FORK_PATH void kin_process_leave(void)
{
    kin__children_terminate_daemons();
    kin__family_leave();
}

KIN__FORK_PATH void kin_process_exit(int code)
{
    kin_process_leave();
    kin__flush_output();
    kin__process_end(code & 0xff);
}

/* In the parent, and in whatever is not the guarded child, nothing. */
static void guard_run(void *arg, int code)
{
    const struct kin__exit_guard *guard = arg;
    if (guard->armed) {
        kin_process_exit(code);
    }
}

void kin__exit_guard_push(struct kin__exit_guard *guard)
{
    guard->armed = 0;
    /* Registered by the parent, not by the child: the lock of the list of handlers may be held by
     * another thread of the parent at the fork, and then nobody would release it in the child. */
    void (*function)(void *) = (void (*)(void *))(kin_function *)guard_run;
    __cxa_atexit(function, guard, guard);
}

void kin__exit_guard_pop(struct kin__exit_guard *guard)
{
    __cxa_finalize(guard);
}

KIN__FORK_PATH void kin__exit_guard_arm(struct kin__exit_guard *guard)
{
    guard->armed = 1;
}

/* Daemonic children end with an orderly end of this process; the family's own mark is set by its
 * own destructor. */
__attribute__((destructor)) static void leave_at_exit(void)
{
    kin__children_terminate_daemons();
}
