/*
 * The zygote: a small image of the program that forks a child per request, reaps it and tells its
 * status. Layer: process. Protocol: docs/design/process.md, "Fork server".
 *
 * One thread, no arena, no slot: it holds nothing that its death could leave in a bad state. All
 * it knows of a child is its pidfd and the socket on which its starter waits.
 */
#include "process/message.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX (UINT64_C(1) << 40)
/* report, message, arena, lifeline, three streams, the user's */
#define FDS_MAX (7 + KIN_FDS_MAX)

struct kid {
    int pidfd;
    int report;
    int32_t pid;
};

/* Only this process's one thread touches them. */
static struct {
    int control;
    bool refusing; /* the program's image has threads, so that what is forked from it may hang, or a
                      family of its own, so that what is forked from it can join no other */
    struct kid *kids;
    struct pollfd *polls; /* [0]: control; [i + 1]: kid i */
    size_t count, room;
} server;

static int make_room(void)
{
    if (server.count < server.room) {
        return 0;
    }
    size_t room = server.room * 2 + 16;
    struct kid *kids = realloc(server.kids, room * sizeof *kids);
    if (kids == NULL) {
        return -ENOMEM;
    }
    server.kids = kids;
    struct pollfd *polls = realloc(server.polls, (room + 1) * sizeof *polls);
    if (polls == NULL) {
        return -ENOMEM;
    }
    server.polls = polls;
    server.room = room;
    return 0;
}

static void tell(int socket, enum kin__report_kind kind, int code, int32_t pid)
{
    struct kin__report report = {.kind = kind, .code = code, .pid = pid};
    kin__packet_send(socket, &report, sizeof report, NULL, 0);
}

/* --- in the child --------------------------------------------------------------------------- */

static bool is_listed(const int *fds, unsigned count, int fd)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] == fd) {
            return true;
        }
    }
    return false;
}

/* The streams and the user's descriptors, under their numbers; of all others, the first
 * `own` (report, message, arena, lifeline), wherever they are now, and nothing else. */
static int place(int *fds, unsigned fd_count, unsigned own, const struct kin__request *request,
                 const struct kin__message *m)
{
    int targets[3 + KIN_FDS_MAX], sources[3 + KIN_FDS_MAX];
    unsigned count = 0, next = own;
    for (unsigned i = 0; i < fd_count; i++) {
        fds[i] = kin__fd_lift(fds[i]); /* a zygote may have been started with a stream closed */
        if (fds[i] < 0) {
            return fds[i];
        }
    }
    for (int stream = 0; stream < 3; stream++) {
        if ((request->streams & 1u << stream) != 0) {
            sources[count] = fds[next++];
            targets[count++] = stream;
        }
    }
    for (unsigned i = 0; i < m->fd_count; i++) {
        sources[count] = fds[next++];
        targets[count++] = m->fds[i];
    }
    /* Whatever sits on a number that is wanted moves out of the way of all of them. */
    int above = count > 0 && targets[count - 1] > 2 ? targets[count - 1] + 1 : 3;
    for (unsigned i = 0; i < own + count; i++) {
        int *fd = i < own ? &fds[i] : &sources[i - own];
        if (is_listed(targets, count, *fd) && (i < own || targets[i - own] != *fd)) {
            int moved = kin__fd_move_above(*fd, above);
            if (moved < 0) {
                return moved;
            }
            *fd = moved;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        int rc = kin__fd_put(sources[i], targets[i]);
        if (rc < 0) {
            return rc;
        }
    }
    for (int stream = 0; stream < 3; stream++) {
        if ((request->streams & 1u << stream) == 0) {
            kin__fd_drop(stream);
        }
    }
    int kept[3 + KIN_FDS_MAX + 4];
    memcpy(kept, targets, count * sizeof kept[0]);
    for (unsigned i = 0; i < own; i++) {
        unsigned at = count++;
        for (; at > 0 && kept[at - 1] > fds[i]; at--) {
            kept[at] = kept[at - 1];
        }
        kept[at] = fds[i];
    }
    kin__fds_keep(kept, count, true);
    return 0;
}

/* Becomes a child: 0 with its message, or why not. */
static int become(int *fds, unsigned fd_count, const struct kin__request *request,
                  struct kin__message *ret_message)
{
    kin__server_signals_restore();
    void *bytes;
    size_t size;
    struct kin__message m;
    int rc = kin__file_read_all(fds[1], MESSAGE_MAX, &bytes, &size);
    if (rc < 0) {
        return rc;
    }
    if (kin__message_parse(bytes, size, &m) < 0 || !kin__request_fits(request, fd_count, &m)) {
        return -EPROTO;
    }
    rc = place(fds, fd_count, kin__request_own_fds(request), request, &m);
    kin__fd_drop(fds[1]);
    m.report = fds[0];
    m.arena = fds[2];
    m.lifeline = request->lifeline ? fds[3] : -1;
    m.control = -1;
    *ret_message = m;
    return rc;
}

/* --- in the zygote -------------------------------------------------------------------------- */

/* Returns true in the child. */
static bool fork_kid(int *fds, unsigned fd_count, const struct kin__request *request,
                     struct kin__message *ret_message)
{
    int rc = server.refusing ? -EDEADLK : make_room();
    int32_t pid = rc < 0 ? rc : kin__fork_with_hooks();
    if (pid == 0) {
        int report = fds[0];
        rc = become(fds, fd_count, request, ret_message);
        if (rc < 0) {
            tell(report, KIN__REPORT_READY, rc, kin__pid());
            kin__process_end(127);
        }
        return true;
    }
    int pidfd = pid < 0 ? pid : kin__pidfd_open(pid);
    if (pidfd < 0) {
        if (pid > 0) {
            kin__child_kill(pid);
        }
        tell(fds[0], KIN__REPORT_FAILED, pidfd, 0);
        kin__fd_drop(fds[0]);
        return false;
    }
    server.kids[server.count++] = (struct kid){.pidfd = pidfd, .report = fds[0], .pid = pid};
    return false;
}

/* Takes one request. Returns true in the child that it makes; ends without a parent. */
static bool take_request(struct kin__message *ret_message)
{
    int fds[FDS_MAX];
    unsigned fd_count = FDS_MAX;
    struct kin__request request;
    int n = kin__packet_recv(server.control, &request, sizeof request, fds, &fd_count);
    if (n == -EAGAIN) {
        return false;
    }
    if (n == -EMSGSIZE) {
        /* Out of descriptors, as a rule. The first, if it came, is the report. */
        if (fd_count > 0) {
            tell(fds[0], KIN__REPORT_FAILED, -EMFILE, 0);
            kin__fd_drop(fds[0]);
        }
        return false;
    }
    if (n <= 0) {
        kin__process_end(0);
    }
    if (!kin__request_is_sound(&request, (size_t)n, fd_count)) {
        for (unsigned i = 0; i < fd_count; i++) {
            kin__fd_drop(fds[i]);
        }
        return false;
    }
    if (fork_kid(fds, fd_count, &request, ret_message)) {
        return true;
    }
    for (unsigned i = 1; i < fd_count; i++) {
        kin__fd_drop(fds[i]);
    }
    return false;
}

static void reap(size_t index)
{
    struct kid *kid = &server.kids[index];
    int status = 0;
    int rc = kin__child_reap(kid->pidfd, &status);
    if (rc == 0) {
        return;
    }
    if (rc > 0) {
        tell(kid->report, KIN__REPORT_STATUS, status, kid->pid);
    }
    kin__fd_drop(kid->report);
    kin__fd_drop(kid->pidfd);
    *kid = server.kids[--server.count];
}

void kin__zygote_serve(int control, struct kin__message *ret_message)
{
    server.control = control;
    server.refusing = kin__thread_count() != 1 || kin__family.base != NULL;
    kin__server_signals_take();
    kin__flush_output(); /* what constructors of the program wrote is not each child's to write */
    if (make_room() < 0) {
        kin__process_end(1);
    }
    for (;;) {
        server.polls[0] = (struct pollfd){.fd = control, .events = POLLIN};
        size_t count = server.count;
        for (size_t i = 0; i < count; i++) {
            server.polls[i + 1] = (struct pollfd){.fd = server.kids[i].pidfd, .events = POLLIN};
        }
        if (kin__fd_poll(server.polls, count + 1, KIN__NEVER) <= 0) {
            continue;
        }
        for (size_t i = count; i-- > 0;) {
            if (server.polls[i + 1].revents != 0) {
                reap(i); /* the last one takes its place, and has been looked at */
            }
        }
        if (server.polls[0].revents != 0 && take_request(ret_message)) {
            return;
        }
    }
}
