/*
 * A child's handle: waiting for its end, its status, signals to it. Layer: process.
 * Protocol: docs/design/process.md, "Reaping".
 */
#include "process/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

static bool is_own(const kin_process *process)
{
    return process->owner_slot == kin__self->slot &&
           process->owner_generation == kin__self->generation;
}

int kin__process_check(const kin_process *process)
{
    if (process == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    return is_own(process) ? 0 : KIN_EFORKED;
}

/* As kin__child_reap. The handle is locked. */
static int look(kin_process *process, int *ret_status)
{
    if (process->report < 0) {
        return kin__child_reap(process->pidfd, ret_status);
    }
    if (kin__fd_wait(process->pidfd, 0) != 1) {
        return 0;
    }
    /* Nobody will ask for the status of a detached one: no need to wait until the zygote tells. */
    return process->detached ? 1 : kin__report_status(process->report, ret_status);
}

enum kin__child_state kin__process_poll(kin_process *process)
{
    pthread_mutex_lock(&process->mutex);
    if (process->state == KIN__CHILD_RUNNING) {
        int status = 0;
        int rc = look(process, &status);
        if (rc != 0) {
            process->status = status;
            process->state = rc > 0 ? KIN__CHILD_ENDED : KIN__CHILD_LOST;
            /* Before anybody learns of the end: what a join's caller sees is settled. */
            if (process->slot != KIN__NO_SLOT) {
                kin__sweep_slot(process->slot, process->generation);
            }
        }
    }
    enum kin__child_state state = process->state;
    pthread_mutex_unlock(&process->mutex);
    return state;
}

/* The outcome of a child that is not running any more. */
static int outcome(const kin_process *process, enum kin__child_state state, int *ret_exitcode)
{
    if (state == KIN__CHILD_LOST) {
        return KIN_ESTATUSLOST;
    }
    if (ret_exitcode != NULL) {
        int signal_number = process->status & 0x7f;
        *ret_exitcode = signal_number != 0 ? -signal_number : process->status >> 8 & 0xff;
    }
    return 0;
}

int kin_process_join(kin_process *process, int64_t timeout_ns, int *ret_exitcode)
{
    int rc = kin__process_check(process);
    if (rc < 0) {
        return rc;
    }
    int64_t deadline = kin__clock_deadline(timeout_ns);
    for (;;) {
        /* The pidfd first: waiting for the end and reaping it are two system calls then. */
        int64_t slice = kin__clock_now() + KIN__SLICE_NS;
        int ready = kin__fd_wait(process->pidfd, slice < deadline ? slice : deadline);
        enum kin__child_state state = KIN__CHILD_RUNNING;
        if (ready != 0 || deadline <= slice) {
            state = kin__process_poll(process);
        }
        if (state != KIN__CHILD_RUNNING) {
            kin__children_reap();
            return outcome(process, state, ret_exitcode);
        }
        rc = kin__interrupted();
        if (rc < 0) {
            return rc;
        }
        if (kin__clock_now() >= deadline) {
            return -ETIMEDOUT;
        }
    }
}

int kin_process_exitcode(kin_process *process, int *ret_exitcode)
{
    int rc = kin__process_check(process);
    if (rc < 0) {
        return rc;
    }
    enum kin__child_state state = kin__process_poll(process);
    return state == KIN__CHILD_RUNNING ? -EAGAIN : outcome(process, state, ret_exitcode);
}

int kin_process_is_alive(kin_process *process)
{
    int rc = kin__process_check(process);
    return rc < 0 ? rc : kin__process_poll(process) == KIN__CHILD_RUNNING;
}

int kin_process_signal(kin_process *process, int signal_number)
{
    int rc = kin__process_check(process);
    if (rc == 0) {
        rc = kin__pidfd_signal(process->pidfd, signal_number);
    }
    return rc == -EBADF ? -ESRCH : rc; /* a sentinel that is no pidfd: see kin__fork_in_parent */
}

int kin_process_terminate(kin_process *process)
{
    int rc = kin_process_signal(process, SIGTERM);
    return rc == -ESRCH ? 0 : rc;
}

int kin_process_kill(kin_process *process)
{
    int rc = kin_process_signal(process, SIGKILL);
    return rc == -ESRCH ? 0 : rc;
}

int kin_process_pid(const kin_process *process)
{
    return process != NULL ? process->pid : -EINVAL;
}

const char *kin_process_name(const kin_process *process)
{
    return process != NULL ? process->name : NULL;
}

int kin_process_daemon(const kin_process *process)
{
    return process != NULL ? process->daemon : -EINVAL;
}

int kin_process_method(const kin_process *process)
{
    return process != NULL ? (int)process->method : -EINVAL;
}

int kin_process_sentinel(kin_process *process)
{
    int rc = kin__process_check(process);
    return rc < 0 ? rc : process->pidfd;
}

void kin__process_free(kin_process *process)
{
    kin__fd_drop(process->pidfd);
    kin__fd_drop(process->report);
    pthread_mutex_destroy(&process->mutex);
    free(process);
}

kin_process *kin_process_destroy(kin_process *process)
{
    if (process == NULL) {
        return NULL;
    }
    if (is_own(process)) {
        kin__children_release(process);
    } else {
        /* A forked child's copy: the fork has closed its descriptors, and its mutex may have been
         * locked at it. */
        free(process);
    }
    return NULL;
}
