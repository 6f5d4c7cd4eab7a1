/*
 * KIN_START_FORKSERVER, the starting process's side: its zygote, requests, reports. Layer: process.
 * Protocol: docs/design/process.md, "Fork server".
 */
#include "process/message.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* A zygote that dies while it starts a child is replaced, and asked again, so often. */
#define TRIES 5
#define DYING_NS 100000000
#define FULL_NS 1000000 /* between two looks at a full request socket */

/* This process's zygote; under the start lock, which a fork takes. */
static struct {
    int control; /* requests go here; -1: there is no zygote */
    int pidfd;
    int32_t pid;
    bool proven; /* it has made a child */
    int refusal; /* why no zygote can be had: -EDEADLK, KIN_ENOENTRY; 0: one can */
} zygote = {.control = -1, .pidfd = -1};

/* It is the parent's zygote, and ends when nobody holds its socket. */
KIN__FORK_PATH static void after_fork_in_child(void)
{
    if (zygote.pidfd >= 0) {
        kin__fd_drop(zygote.control);
        kin__fd_drop(zygote.pidfd);
        zygote.control = zygote.pidfd = -1;
    }
}

static void reap_all(void)
{
    kin__children_reap();
    kin__forkserver_reap();
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
    kin__sweep_hook = reap_all;
}

/* All of these with the start lock held. */

/* Returns its wait status. */
static int zygote_end(void)
{
    int status = 0;
    if (zygote.control >= 0) {
        /* It ends without its socket; but it may be stopped, and has nothing that we wait for. */
        kin__fd_drop(zygote.control);
        kin__pidfd_signal(zygote.pidfd, SIGKILL);
        while (kin__fd_wait(zygote.pidfd, KIN__NEVER) != 1) {
        }
        kin__child_reap(zygote.pidfd, &status);
        kin__fd_drop(zygote.pidfd);
        zygote.control = zygote.pidfd = -1;
    }
    return status;
}

/* Ends one that is dead, or will be within `patience`: its descriptors close before its pidfd tells. */
static void zygote_check(int64_t patience)
{
    int64_t until = patience > 0 ? kin__clock_now() + patience : 0;
    if (zygote.control < 0 || kin__fd_wait(zygote.pidfd, until) != 1) {
        return;
    }
    /* One that exited without ever having made a child ran something else: the user's main. */
    bool exited = (zygote_end() & 0x7f) == 0;
    if (exited && !zygote.proven) {
        zygote.refusal = KIN_ENOENTRY;
    }
}

void kin__forkserver_reap(void)
{
    if (kin__start_trylock()) {
        zygote_check(0);
        kin__start_unlock();
    }
}

/* Does not wait until it serves: requests wait in its socket. */
static int zygote_begin(const char *const *command)
{
    int control[2];
    int rc = kin__packet_pair(control);
    if (rc < 0) {
        return rc;
    }
    struct kin__message message = {
        .kind = KIN__MESSAGE_ZYGOTE,
        .birth = {.parent_pid = kin__pid(), .method = KIN_START_FORKSERVER},
        .slot = KIN__NO_SLOT,
        .arena = -1,
        .report = -1,
        .lifeline = -1,
        .control = control[1],
        .function = "",
    };
    int32_t pid;
    int pidfd = -1;
    rc = kin__message_execute(&message, command, NULL, &pid, &pidfd);
    kin__fd_drop(control[1]);
    if (rc < 0) {
        kin__fd_drop(control[0]);
        return rc;
    }
    zygote.control = control[0];
    zygote.pidfd = pidfd;
    zygote.pid = pid;
    zygote.proven = false;
    return 0;
}

/* 0 with a zygote, which may die at any moment. */
static int zygote_ensure(const char *const *command)
{
    zygote_check(0);
    return zygote.refusal != 0   ? zygote.refusal
           : zygote.control >= 0 ? 0
                                 : zygote_begin(command);
}

/* Sends the request to the zygote, which is started if there is none. -EPIPE: it died. */
static int ask(const struct kin__request *request, const int *fds, unsigned fd_count,
               const char *const *command)
{
    int rc = zygote_ensure(command);
    if (rc == 0) {
        rc = kin__packet_send(zygote.control, request, sizeof *request, fds, fd_count);
    }
    if (rc == -EPIPE || rc == -ECONNRESET) {
        zygote_check(DYING_NS);
        rc = zygote.refusal != 0 ? zygote.refusal : -EPIPE;
    }
    return rc;
}

/* The descriptors of a request, in their order. */
static unsigned collect(const struct kin__message *message, int report, int file, int *fds,
                        struct kin__request *ret_request)
{
    unsigned count = 0;
    *ret_request = (struct kin__request){.magic = KIN__REQUEST_MAGIC,
                                         .lifeline = message->lifeline >= 0,
                                         .fd_count = message->fd_count};
    fds[count++] = report;
    fds[count++] = file;
    fds[count++] = message->arena;
    if (message->lifeline >= 0) {
        fds[count++] = message->lifeline;
    }
    for (int stream = 0; stream < 3; stream++) {
        if (kin__fd_check(stream) == 0) {
            ret_request->streams |= 1u << stream;
            fds[count++] = stream;
        }
    }
    memcpy(fds + count, message->fds, message->fd_count * sizeof fds[0]);
    return count + message->fd_count;
}

/* Sends the message, with the other end of a new report socket. */
static int request(const struct kin__message *message, const char *const *command,
                   int *ret_report)
{
    int file = kin__message_store(message);
    if (file < 0) {
        return file;
    }
    int fds[KIN_FDS_MAX + 7], ends[2];
    struct kin__request text;
    int rc;
    for (;;) {
        kin__start_lock();
        rc = kin__packet_pair(ends);
        if (rc == 0) {
            rc = ask(&text, fds, collect(message, ends[1], file, fds, &text), command);
            kin__fd_drop(ends[1]);
            if (rc < 0) {
                kin__fd_drop(ends[0]);
            }
        }
        kin__start_unlock();
        if (rc != -EAGAIN || (rc = kin__interrupted()) < 0) {
            break;
        }
        kin__fd_wait(-1, kin__clock_now() + FULL_NS);
    }
    kin__fd_drop(file);
    if (rc == 0) {
        *ret_report = ends[0];
    }
    return rc;
}

/* What a report makes of the handle: 0, or why there is no child. */
static int take_report(kin_process *process, const struct kin__report *report, int *fd)
{
    switch (report->kind) {
    case KIN__REPORT_READY:
        if (report->code < 0) {
            return report->code;
        }
        if (*fd < 0 || report->pid <= 0) {
            return -EMFILE; /* it could not open its pidfd; it has ended itself */
        }
        process->pid = report->pid;
        process->pidfd = kin__fd_lift(*fd);
        *fd = -1;
        return process->pidfd < 0 ? process->pidfd : 0;
    case KIN__REPORT_STATUS:
        /* Killed before it could report. Nobody had its pidfd, so there is nothing to signal. */
        process->pid = report->pid;
        process->state = KIN__CHILD_ENDED;
        process->status = report->code;
        process->pidfd = kin__sentinel_ended();
        return process->pidfd < 0 ? process->pidfd : 0;
    case KIN__REPORT_FAILED:
        return report->code < 0 ? report->code : -EPROTO;
    default:
        return -EPROTO;
    }
}

/* Closes the report so that a child which has not reported never runs; kills one that has. */
static void give_up(kin_process *process)
{
    kin__packet_refuse(process->report);
    struct kin__report report;
    int n, fd;
    do {
        unsigned fd_count = 1;
        fd = -1;
        n = kin__packet_recv(process->report, &report, sizeof report, &fd, &fd_count);
        if (fd >= 0) {
            kin__pidfd_signal(fd, SIGKILL);
            kin__fd_drop(fd);
        }
    } while (n > 0);
    kin__fd_drop(process->report);
    process->report = -1;
}

/* What the end of the report means: try again (-EPIPE), or do not. */
static int without_report(void)
{
    kin__start_lock();
    zygote_check(DYING_NS);
    int rc = zygote.refusal;
    kin__start_unlock();
    return rc < 0 ? rc : -EPIPE;
}

/* Takes note of what the zygote can do. */
static int learn(int rc)
{
    kin__start_lock();
    if (rc == -EDEADLK) {
        zygote.refusal = -EDEADLK;
        zygote_end();
    } else if (rc == 0) {
        zygote.proven = true;
    }
    kin__start_unlock();
    return rc;
}

/* -EPIPE: the zygote died, and the child has not run and never will. */
static int serve_once(kin_process *process, const char *const *command,
                      struct kin__message *message)
{
    int rc = kin__family_reserve(&process->slot, &process->generation);
    if (rc < 0) {
        return rc;
    }
    message->slot = process->slot;
    message->generation = process->generation;
    rc = request(message, command, &process->report);
    if (rc == 0) {
        struct kin__report report;
        int fd = -1;
        rc = kin__report_wait(process->report, -1, &report, &fd);
        rc = rc > 0    ? learn(take_report(process, &report, &fd))
             : rc == 0 ? without_report()
                       : rc;
        kin__fd_drop(fd);
        if (rc < 0) {
            give_up(process);
        }
    }
    if (rc < 0 || process->state == KIN__CHILD_ENDED) {
        kin__slot_release(process->slot, process->generation);
        process->slot = KIN__NO_SLOT;
    }
    return rc;
}

int kin__start_forkserver(kin_process *process, const struct kin__start *start)
{
    if (start->command == NULL && !kin__child_main_called()) {
        return KIN_ENOENTRY;
    }
    unsigned char function[KIN__FUNCTION_SIZE];
    struct kin__message message;
    int rc = kin__message_fill(&message, process, start, function);
    if (rc < 0) {
        return rc;
    }
    message.birth.parent_seen_at = kin__a64_load(&kin__slot_at(kin__self->slot)->seen_at);
    for (int i = 0; i < TRIES; i++) {
        rc = serve_once(process, start->command, &message);
        if (rc != -EPIPE) {
            break;
        }
    }
    if ((rc == -EDEADLK && start->command == NULL) || rc == KIN_EADDRESS) {
        /* No zygote can be had, or this one's image has the arena's place taken. A command may be
         * one for a zygote only. */
        rc = kin__start_spawn(process, start);
    }
    return rc;
}

int kin_forkserver_start(const struct kin_context *context)
{
    struct kin_context settled;
    int rc = kin__context_read(&settled, context);
    if (rc < 0 || (rc = kin__enter()) < 0) {
        return rc;
    }
    if (settled.command == NULL && !kin__child_main_called()) {
        return KIN_ENOENTRY;
    }
    kin__start_lock();
    rc = zygote_ensure(settled.command);
    kin__start_unlock();
    return rc;
}

int kin_forkserver_pid(void)
{
    kin__start_lock();
    zygote_check(0);
    int pid = zygote.control >= 0 ? zygote.pid : -ESRCH;
    kin__start_unlock();
    return pid;
}

int kin_forkserver_stop(void)
{
    kin__start_lock();
    zygote_end();
    zygote.refusal = 0;
    kin__start_unlock();
    return 0;
}

int kin__report_status(int socket, int *ret_status)
{
    struct kin__report report;
    for (;;) {
        unsigned none = 0;
        int n = kin__packet_recv(socket, &report, sizeof report, NULL, &none);
        if (n == -EAGAIN) {
            return 0;
        }
        if (n != (int)sizeof report) {
            return -ECHILD; /* the zygote is gone, and its knowledge with it */
        }
        if (report.kind == KIN__REPORT_STATUS) {
            *ret_status = report.code;
            return 1;
        }
    }
}
