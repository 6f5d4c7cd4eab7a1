/*
 * Starting a child: the options, the handle, and which method makes it. Layer: process.
 * Protocol: docs/design/process.md, "Starting".
 */
#include "process/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

/* The options with all defaults settled. */
struct settled {
    struct kin_process_options options;
    struct kin_context context;
    enum kin_start_method method;
};

static int settle(struct settled *ret_settled, const struct kin_process_options *given)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    int rc = given == NULL ? -EINVAL : kin__options_read(&options, sizeof options, given);
    if (rc < 0) {
        return rc;
    }
    rc = kin__context_read(&ret_settled->context, options.context);
    if (rc < 0) {
        return rc;
    }
    if (kin_start_method_name(options.method) == NULL ||
        (options.arg == NULL && options.arg_size != 0) ||
        (options.fds == NULL && options.fd_count != 0)) {
        return -EINVAL;
    }
    if (options.name != NULL && strnlen(options.name, KIN_NAME_MAX + 1) > KIN_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    ret_settled->options = options;
    ret_settled->method = options.method != KIN_START_DEFAULT ? options.method
                                                              : ret_settled->context.method;
    return 0;
}

static int compare_fds(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

/* Both lists, sorted and without duplicates and 0, 1, 2, which every child has. */
static int collect_fds(struct kin__start *start, const struct settled *settled)
{
    const int *lists[2] = {settled->options.fds, settled->context.fds};
    size_t counts[2] = {settled->options.fd_count, settled->context.fd_count};
    if (counts[0] > KIN_FDS_MAX || counts[1] > KIN_FDS_MAX - counts[0]) {
        return -EINVAL;
    }
    unsigned count = 0;
    for (unsigned list = 0; list < 2; list++) {
        for (size_t i = 0; i < counts[list]; i++) {
            int fd = lists[list][i];
            int rc = fd < 0 ? -EBADF : kin__fd_check(fd);
            if (rc < 0) {
                return rc;
            }
            if (fd > 2) {
                start->fds[count++] = fd;
            }
        }
    }
    qsort(start->fds, count, sizeof start->fds[0], compare_fds);
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        if (kept == 0 || start->fds[kept - 1] != start->fds[i]) {
            start->fds[kept++] = start->fds[i];
        }
    }
    start->fd_count = kept;
    return 0;
}

static int make_handle(const struct settled *settled, unsigned flags, kin_process **ret_process)
{
    /* Not calloc, which passes by the thread's cache of free blocks: the parent of a chain of
     * short children then writes to, and copies, one page less a child. */
    kin_process *process = malloc(sizeof *process);
    if (process == NULL) {
        return -ENOMEM;
    }
    bool worker = (flags & KIN__PROCESS_WORKER) != 0;
    int32_t pid = kin__pid();
    *process = (kin_process){
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .pidfd = -1,
        .report = -1,
        .slot = KIN__NO_SLOT,
        .owner_slot = kin__self->slot,
        .owner_generation = kin__self->generation,
        .owner_pid = pid,
        .owner_main = kin__tid() == pid,
        .method = settled->method,
        .daemon = settled->options.daemon != 0,
        .worker = worker,
        .die_with_parent = worker || settled->options.die_with_parent != 0 ||
                           settled->context.die_with_parent != 0,
    };
    kin__birth_name(process, settled->options.name);
    *ret_process = process;
    return 0;
}

int kin__process_start(const struct kin_process_options *options, unsigned flags,
                       kin_process **ret_process)
{
    struct settled settled;
    int rc = ret_process == NULL ? -EINVAL : settle(&settled, options);
    if (rc < 0) {
        return rc;
    }
    struct kin__start start = {
        .target = settled.options.target,
        .arg = settled.options.arg,
        .arg_size = settled.options.arg_size,
        .entry = settled.options.entry,
        .command = settled.context.command,
    };
    if ((rc = kin__entry_settle(&start.target, &start.entry)) < 0 ||
        (rc = collect_fds(&start, &settled)) < 0 || (rc = kin__enter()) < 0) {
        return rc;
    }
    kin__children_reap();
    kin_process *process;
    rc = make_handle(&settled, flags, &process);
    if (rc < 0) {
        return rc;
    }
    kin__children_add(process);
    kin__flush_output();
    switch (process->method) {
    case KIN_START_SPAWN:
        rc = kin__start_spawn(process, &start);
        break;
    case KIN_START_FORKSERVER:
        rc = kin__start_forkserver(process, &start);
        break;
    default:
        rc = kin__start_fork(process, &start);
        break;
    }
    if (rc < 0) {
        kin__children_remove(process);
        return rc;
    }
    kin__children_started(process);
    *ret_process = process;
    return 0;
}

int kin_process_start(const struct kin_process_options *options, kin_process **ret_process)
{
    return kin__process_start(options, 0, ret_process);
}

int kin_process_prepare_fork(const struct kin_process_options *options, kin_process **ret_process)
{
    struct settled settled;
    int rc = ret_process == NULL ? -EINVAL : settle(&settled, options);
    if (rc < 0 || (rc = kin__enter()) < 0) {
        return rc;
    }
    settled.method = KIN_START_FORK;
    kin__children_reap();
    kin_process *process;
    rc = make_handle(&settled, 0, &process);
    if (rc < 0) {
        return rc;
    }
    kin__children_add(process);
    kin__flush_output();
    rc = kin__fork_prepare(process);
    if (rc < 0) {
        kin__children_remove(process);
        return rc;
    }
    *ret_process = process;
    return 0;
}

int kin_process_complete_fork(kin_process *process, int pid)
{
    if (process == NULL) {
        return -EINVAL;
    }
    if (pid == 0) {
        kin__fork_in_child(process);
        free(process);
        return 0;
    }
    int rc = kin__fork_in_parent(process, pid < 0 ? -1 : pid);
    if (rc < 0) {
        kin__children_remove(process);
        return pid < 0 ? 0 : rc;
    }
    kin__children_started(process);
    return 0;
}
