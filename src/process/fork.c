/*
 * KIN_START_FORK. Layer: process. Protocol: docs/design/process.md, "Fork".
 */
#include "process/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct {
    kin_fork_hook *before;
    kin_fork_hook *parent;
    kin_fork_hook *child;
} hooks;

int kin_process_set_fork_hooks(kin_fork_hook *before, kin_fork_hook *parent, kin_fork_hook *child)
{
    if ((before == NULL) != (parent == NULL) || (before == NULL) != (child == NULL)) {
        return -EINVAL;
    }
    hooks.before = before;
    hooks.parent = parent;
    hooks.child = child;
    return 0;
}

KIN__FORK_PATH int32_t kin__fork_with_hooks(void)
{
    if (hooks.before != NULL) {
        hooks.before();
    }
    int32_t pid = kin__fork();
    kin_fork_hook *after = pid == 0 ? hooks.child : hooks.parent;
    if (after != NULL) {
        after();
    }
    return pid;
}

int kin__fork_prepare(kin_process *process)
{
    if (process->die_with_parent) {
        int fd = kin__lifeline_open();
        if (fd < 0) {
            return fd;
        }
        kin__lifeline_keep(true);
    }
    kin__family_watch_fork(&process->slot, &process->generation);
    return 0;
}

int kin__fork_in_parent(kin_process *process, int32_t pid)
{
    if (process->die_with_parent) {
        kin__lifeline_keep(false);
    }
    if (pid < 0) {
        /* Where there was no fork at all, the family still watches for one, to write into the
         * handle. */
        static _Thread_local uint32_t nobody[2];
        kin__family_watch_fork(&nobody[0], &nobody[1]);
        if (process->slot != KIN__NO_SLOT) {
            kin__slot_release(process->slot, process->generation);
        }
        return pid;
    }
    process->pid = pid;
    /* Nobody but this process reaps the child, so the pid is its. */
    int fd = kin__pidfd_open(pid);
    if (fd == -ESRCH) {
        /* Unless the host ignores SIGCHLD: it ended, and nobody will know how. */
        fd = kin__sentinel_ended();
    }
    if (fd < 0) {
        kin__child_kill(pid);
        if (process->slot != KIN__NO_SLOT) {
            kin__sweep_slot(process->slot, process->generation);
        }
        return fd;
    }
    process->pidfd = fd;
    return 0;
}

KIN__FORK_PATH void kin__fork_in_child(kin_process *process)
{
    struct kin__birth birth;
    kin__birth_describe(process, &birth);
    kin__birth_adopt(&birth);
    if (process->die_with_parent) {
        kin__lifeline_follow_forked(process->owner_main ? birth.parent_pid : 0);
    }
}

KIN__FORK_PATH int kin__start_fork(kin_process *process, const struct kin__start *start)
{
    /* The child's own copy: made here, because the caller's bytes may lie in shared memory. */
    void *arg = NULL;
    if (start->arg_size > 0) {
        arg = malloc(start->arg_size);
        if (arg == NULL) {
            return -ENOMEM;
        }
        memcpy(arg, start->arg, start->arg_size);
    }
    int rc = kin__fork_prepare(process);
    if (rc < 0) {
        free(arg);
        return rc;
    }
    struct kin__exit_guard guard;
    kin__exit_guard_push(&guard);
    int32_t pid = kin__fork_with_hooks();
    if (pid == 0) {
        kin__exit_guard_arm(&guard);
        /* The handle is not freed: that would copy a page of the heap for a process that may be short. */
        kin__fork_in_child(process);
        kin_process_exit(start->target(arg, start->arg_size));
    }
    kin__exit_guard_pop(&guard);
    free(arg);
    return kin__fork_in_parent(process, pid);
}
