/*
 * KIN_START_SPAWN, and what it shares with the fork server: the message, the executing, the wait
 * for the child's report. Layer: process. Protocol: docs/design/process.md, "Spawn".
 */
#include "process/message.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* A fresh image whose address space has the arena's place taken gets another throw of the dice. */
#define TRIES 5

/* The most words of a command. */
#define COMMAND_MAX 128

/* How long a child may take to come to kin_child_main; and, having closed its report without a word,
 * to end. */
#define START_NS INT64_C(60000000000)
#define END_NS INT64_C(1000000000)

/* Guards the moments in which this process holds a child's end of a report socket. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void kin__start_lock(void)
{
    pthread_mutex_lock(&lock);
}

bool kin__start_trylock(void)
{
    return pthread_mutex_trylock(&lock) == 0;
}

void kin__start_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

KIN__FORK_PATH static void after_fork_in_child(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(kin__start_lock, kin__start_unlock, after_fork_in_child);
}

int kin__message_fill(struct kin__message *message, const kin_process *process,
                      const struct kin__start *start, void *function)
{
    int size = kin__function_encode((kin_function *)start->target, start->entry, function,
                                    KIN__FUNCTION_SIZE);
    if (size < 0) {
        return size;
    }
    *message = (struct kin__message){
        .kind = KIN__MESSAGE_CHILD,
        .slot = KIN__NO_SLOT,
        .die_with_parent = process->die_with_parent,
        .parent_main = process->owner_main,
        .arena = kin__family.fd,
        .report = -1,
        .lifeline = -1,
        .control = -1,
        .fd_count = start->fd_count,
        .function = function,
        .function_size = (size_t)size,
        .arg = (void *)(uintptr_t)start->arg,
        .arg_size = start->arg_size,
    };
    kin__birth_describe(process, &message->birth);
    memcpy(message->fds, start->fds, start->fd_count * sizeof start->fds[0]);
    if (process->die_with_parent) {
        message->lifeline = kin__lifeline_open();
        if (message->lifeline < 0) {
            return message->lifeline;
        }
    }
    return 0;
}

/* Adds a descriptor to a sorted list. */
static void insert(int *fds, unsigned *count, int fd)
{
    unsigned at = *count;
    if (fd < 0) {
        return;
    }
    for (; at > 0 && fds[at - 1] > fd; at--) {
        fds[at] = fds[at - 1];
    }
    fds[at] = fd;
    ++*count;
}

int kin__message_execute(const struct kin__message *message, const char *const *command,
                         kin__a32 *pid_word, int32_t *ret_pid, int *ret_pidfd)
{
    const char *const self[] = {program_invocation_name, NULL};
    const char *const *words = command != NULL ? command : self;
    char *argv[COMMAND_MAX + 3];
    unsigned length = 0;
    for (; words[length] != NULL; length++) {
        if (length == COMMAND_MAX) {
            return -E2BIG;
        }
        argv[length] = (char *)(uintptr_t)words[length];
    }
    int file = kin__message_store(message);
    if (file < 0) {
        return file;
    }
    int fds[KIN_FDS_MAX + 5];
    unsigned count = message->fd_count;
    memcpy(fds, message->fds, count * sizeof fds[0]);
    insert(fds, &count, message->arena);
    insert(fds, &count, message->report);
    insert(fds, &count, message->lifeline);
    insert(fds, &count, message->control);
    insert(fds, &count, file);
    char number[16], argument[] = KIN_CHILD_ARGUMENT;
    snprintf(number, sizeof number, "%d", file);
    argv[length++] = argument;
    argv[length++] = number;
    argv[length] = NULL;
    int rc = kin__execute(command != NULL ? command[0] : "/proc/self/exe", argv, fds, count,
                          pid_word, ret_pid, ret_pidfd);
    kin__fd_drop(file);
    return rc;
}

int kin__report_wait(int socket, int pidfd, struct kin__report *ret_report, int *ret_fd)
{
    int64_t deadline = kin__clock_now() + START_NS;
    bool ended = false;
    for (;;) {
        int fd = -1;
        unsigned fd_count = 1;
        struct kin__report report = {0};
        int n = kin__packet_recv(socket, &report, sizeof report, &fd, &fd_count);
        if (n == (int)sizeof report) {
            *ret_report = report;
            *ret_fd = fd_count > 0 ? fd : -1;
            return 1;
        }
        if (n != -EAGAIN) {
            if (fd_count > 0) {
                kin__fd_drop(fd);
            }
            /* A message whose descriptor found no room here is a child that runs unseen: its end is
             * close, and is the starter's business. */
            if (n == -EMSGSIZE && report.kind == KIN__REPORT_READY && pidfd < 0) {
                kin__process_kill(report.pid);
                return -EMFILE;
            }
            return n == 0 || n == -ECONNRESET ? 0 : n > 0 ? -EPROTO : n;
        }
        if (ended) {
            return 0;
        }
        int64_t slice = kin__clock_now() + KIN__SLICE_NS;
        if (kin__fd_wait(socket, slice) > 0) {
            continue;
        }
        ended = pidfd >= 0 && kin__fd_wait(pidfd, 0) == 1; /* and a last look for its report */
        int rc = kin__interrupted();
        if (rc < 0) {
            return rc;
        }
        if (kin__clock_now() > deadline) {
            return -ETIMEDOUT;
        }
    }
}

/* Ends and reaps a child that is of no use, and releases its slot. */
static void give_up(kin_process *process)
{
    kin__pidfd_signal(process->pidfd, SIGKILL);
    while (kin__fd_wait(process->pidfd, KIN__NEVER) != 1) {
    }
    kin__process_poll(process);
}

/* Forgets that child: the handle is as it was before. */
static void reset(kin_process *process)
{
    kin__fd_drop(process->pidfd);
    process->pidfd = -1;
    process->slot = KIN__NO_SLOT;
    process->state = KIN__CHILD_RUNNING;
}

/* The child ended, or closed its report, without a word. */
static int without_report(kin_process *process)
{
    if (kin__fd_wait(process->pidfd, kin__clock_now() + END_NS) != 1) {
        give_up(process);
        return KIN_ENOENTRY;
    }
    /* Killed or crashed before it came so far: its end like any other. It returned or called exit
     * instead of kin_child_main: it ran the user's main. */
    bool exited = kin__process_poll(process) == KIN__CHILD_ENDED && (process->status & 0x7f) == 0;
    return exited ? KIN_ENOENTRY : 0;
}

static int spawn_once(kin_process *process, const char *const *command,
                      struct kin__message *message)
{
    int rc = kin__family_reserve(&process->slot, &process->generation);
    if (rc < 0) {
        return rc;
    }
    message->slot = process->slot;
    message->generation = process->generation;
    int ends[2];
    kin__start_lock();
    rc = kin__packet_pair(ends);
    if (rc == 0) {
        message->report = ends[1];
        /* The child writes its pid itself, before its exec: if this process is killed in between,
         * nobody takes the slot for that of a child that never was. */
        rc = kin__message_execute(message, command, &kin__slot_at(process->slot)->pid,
                                  &process->pid, &process->pidfd);
        kin__fd_drop(ends[1]);
    }
    kin__start_unlock();
    if (rc < 0) {
        if (message->report >= 0) {
            kin__fd_drop(ends[0]);
        }
        kin__slot_release(process->slot, process->generation);
        process->slot = KIN__NO_SLOT;
        return rc;
    }
    struct kin__report report;
    int fd = -1;
    rc = kin__report_wait(ends[0], process->pidfd, &report, &fd);
    kin__fd_drop(ends[0]);
    kin__fd_drop(fd);
    if (rc == 0) {
        return without_report(process);
    }
    if (rc > 0) {
        rc = report.kind == KIN__REPORT_READY && report.code <= 0 ? report.code : -EPROTO;
    }
    if (rc < 0) {
        give_up(process);
    }
    return rc;
}

int kin__start_spawn(kin_process *process, const struct kin__start *start)
{
    if (start->command == NULL && !kin__child_main_called()) {
        return KIN_ENOENTRY;
    }
    unsigned char function[KIN__FUNCTION_SIZE];
    struct kin__message message;
    int rc = kin__message_fill(&message, process, start, function);
    for (int i = 0; i < TRIES && rc == 0; i++) {
        rc = spawn_once(process, start->command, &message);
        if (rc != KIN_EADDRESS || i == TRIES - 1) {
            break;
        }
        reset(process);
        message.report = -1;
        rc = 0;
    }
    return rc;
}
