/*
 * The list of this process's children, and the reaping of those that nobody joins.
 * Layer: process. Protocol: docs/design/process.md, "Reaping".
 */
#include "process/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Inside it a handle's mutex and, in a sweep, the family's locks may be taken; a sweep that looks for
 * children to reap (kin__children_reap) therefore only tries it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Every handle of this process that stands for a started child; under `lock`. */
static struct {
    kin_process *first, *last;
} children;
/* How many of them are detached; written under `lock`, read without it to skip the look. */
static kin__a32 detached;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* The children are the parent's: their descriptors are of no use here, the handles are dead. */
static void after_fork_in_child(void)
{
    kin_process *next;
    for (kin_process *p = children.first; p != NULL; p = next) {
        next = p->next;
        kin__fd_drop(p->pidfd);
        kin__fd_drop(p->report);
        p->pidfd = p->report = -1;
        p->listed = false;
        if (p->detached) {
            free(p);
        }
    }
    children.first = children.last = NULL;
    kin__a32_store_relaxed(&detached, 0);
    pthread_mutex_init(&lock, NULL);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void kin__children_add(kin_process *process)
{
    pthread_mutex_lock(&lock);
    process->listed = true;
    process->next = NULL;
    process->previous = children.last;
    *(children.last != NULL ? &children.last->next : &children.first) = process;
    children.last = process;
    pthread_mutex_unlock(&lock);
}

/* The lock is held. */
static void unlist(kin_process *process)
{
    *(process->previous != NULL ? &process->previous->next : &children.first) = process->next;
    *(process->next != NULL ? &process->next->previous : &children.last) = process->previous;
    process->listed = false;
    if (process->detached) {
        kin__a32_sub(&detached, 1);
    }
}

void kin__children_release(kin_process *process)
{
    bool ended = kin__process_poll(process) != KIN__CHILD_RUNNING;
    pthread_mutex_lock(&lock);
    if (ended) {
        unlist(process);
    } else {
        process->detached = true;
        kin__a32_add(&detached, 1);
    }
    pthread_mutex_unlock(&lock);
    if (ended) {
        kin__process_free(process);
    }
}

void kin__children_reap(void)
{
    if (kin__a32_load(&detached) == 0) {
        return;
    }
    /* Taken: this is a sweep inside another look, or beside one. */
    if (pthread_mutex_trylock(&lock) != 0) {
        return;
    }
    kin_process *next;
    for (kin_process *p = children.first; p != NULL; p = next) {
        next = p->next;
        if (p->detached && kin__process_poll(p) != KIN__CHILD_RUNNING) {
            unlist(p);
            kin__process_free(p);
        }
    }
    pthread_mutex_unlock(&lock);
}

void kin__children_terminate_daemons(void)
{
    /* Called at exit, maybe from a signal handler that interrupted a holder: do not insist. */
    if (pthread_mutex_trylock(&lock) != 0) {
        return;
    }
    for (kin_process *p = children.first; p != NULL; p = p->next) {
        if (p->daemon && !p->worker) {
            kin__pidfd_signal(p->pidfd, SIGTERM);
        }
    }
    pthread_mutex_unlock(&lock);
}

int kin_process_active(struct kin_process_info *ret_infos, size_t room, size_t *ret_count)
{
    if (ret_count == NULL || (ret_infos == NULL && room != 0)) {
        return -EINVAL;
    }
    int32_t self = kin__pid();
    size_t count = 0;
    pthread_mutex_lock(&lock);
    kin_process *next;
    for (kin_process *p = children.first; p != NULL; p = next) {
        next = p->next;
        if (kin__process_poll(p) != KIN__CHILD_RUNNING) {
            if (p->detached) {
                unlist(p);
                kin__process_free(p);
            }
            continue;
        }
        if (p->worker) {
            continue;
        }
        if (count < room) {
            struct kin_process_info *info = &ret_infos[count];
            memset(info, 0, sizeof *info);
            info->size = sizeof *info;
            info->pid = p->pid;
            info->parent_pid = self;
            info->daemon = p->daemon;
            info->method = p->method;
            memcpy(info->name, p->name, sizeof info->name);
        }
        count++;
    }
    pthread_mutex_unlock(&lock);
    *ret_count = count;
    return 0;
}
