/*
 * The list of this process's children, and the reaping of those that nobody joins.
 * Layer: process. Protocol: docs/design/process.md, "Reaping".
 */
#include "process/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* No other lock is taken inside it: a fork takes it after those of the family. A sweep, which may come
 * from inside a fork's preparations, only tries it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Every handle of this process that stands for a started child; under `lock`. */
static struct {
    kin_process *first, *last;
} children;
/* How many there are, and how many of them are detached; written under `lock`, read without it to
 * skip the look. */
static kin__a32 listed, detached;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* The children are the parent's: their descriptors are of no use here, the handles are dead. Nothing
 * is written into these: that would copy pages. */
KIN__FORK_PATH static void after_fork_in_child(void)
{
    kin_process *next;
    for (kin_process *p = children.first; p != NULL; p = next) {
        next = p->next;
        kin__fd_drop(p->pidfd);
        kin__fd_drop(p->report);
        if (p->detached) {
            free(p);
        }
    }
    children.first = children.last = NULL;
    kin__a32_store_relaxed(&listed, 0);
    kin__a32_store_relaxed(&detached, 0);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void kin__children_add(kin_process *process)
{
    pthread_mutex_lock(&lock);
    process->next = NULL;
    process->previous = children.last;
    *(children.last != NULL ? &children.last->next : &children.first) = process;
    children.last = process;
    kin__a32_add(&listed, 1);
    pthread_mutex_unlock(&lock);
}

/* The lock is held. */
static void unlist(kin_process *process)
{
    *(process->previous != NULL ? &process->previous->next : &children.first) = process->next;
    *(process->next != NULL ? &process->next->previous : &children.last) = process->previous;
    kin__a32_sub(&listed, 1);
    if (process->detached) {
        kin__a32_sub(&detached, 1);
    }
}

void kin__children_started(kin_process *process)
{
    pthread_mutex_lock(&lock);
    process->started = true;
    pthread_mutex_unlock(&lock);
}

void kin__children_remove(kin_process *process)
{
    pthread_mutex_lock(&lock);
    unlist(process);
    pthread_mutex_unlock(&lock);
    kin__process_free(process);
}

void kin__children_release(kin_process *process)
{
    if (kin__process_poll(process) != KIN__CHILD_RUNNING) {
        kin__children_remove(process);
        return;
    }
    pthread_mutex_lock(&lock);
    process->detached = true;
    kin__a32_add(&detached, 1);
    pthread_mutex_unlock(&lock);
}

/* A detached child that has ended, for this thread to reap; the lock is held. It stays listed, so
 * that a fork meanwhile sees it. */
static kin_process *next_to_reap(void)
{
    for (kin_process *p = children.first; p != NULL; p = p->next) {
        if (p->detached && !p->reaping && kin__fd_wait(p->pidfd, 0) == 1) {
            p->reaping = true;
            return p;
        }
    }
    return NULL;
}

void kin__children_reap(void)
{
    if (kin__a32_load(&detached) == 0 || pthread_mutex_trylock(&lock) != 0) {
        return; /* nobody, or somebody is at it */
    }
    kin_process *p;
    while ((p = next_to_reap()) != NULL) {
        pthread_mutex_unlock(&lock);
        bool ended = kin__process_poll(p) != KIN__CHILD_RUNNING;
        pthread_mutex_lock(&lock);
        if (!ended) { /* its status is still to come: another time */
            p->reaping = false;
            break;
        }
        unlist(p);
        kin__process_free(p);
    }
    pthread_mutex_unlock(&lock);
}

KIN__FORK_PATH void kin__children_terminate_daemons(void)
{
    if (kin__a32_load(&listed) == 0) {
        return;
    }
    /* Called at exit, maybe from a signal handler that interrupted a holder: do not insist. */
    if (pthread_mutex_trylock(&lock) != 0) {
        return;
    }
    for (kin_process *p = children.first; p != NULL; p = p->next) {
        if (p->daemon && !p->worker && p->started) {
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
    kin__children_reap();
    int32_t self = kin__pid();
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (kin_process *p = children.first; p != NULL; p = p->next) {
        if (p->worker || !p->started || kin__fd_wait(p->pidfd, 0) == 1) {
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
