/*
 * A child that executes the program again: from kin_child_main to its target. Layer: process.
 * Protocol: docs/design/process.md, "Spawn".
 */
#include "process/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX (UINT64_C(1) << 40)
#define EXIT_NO_CHILD 127

static kin__a32 called;

bool kin__child_main_called(void)
{
    return kin__a32_load(&called) != 0;
}

/* Tells the starter that this child runs, or why it does not. A starter that has given up, or is
 * gone, does not take it: then it must not run. */
static int report(const struct kin__message *m, int code)
{
    struct kin__report text = {.kind = KIN__REPORT_READY, .code = code, .pid = kin__pid()};
    int pidfd = -1;
    if (code == 0 && m->birth.method == KIN_START_FORKSERVER) {
        pidfd = kin__pidfd_open(text.pid);
        text.code = pidfd < 0 ? pidfd : 0;
    }
    int rc = kin__packet_send(m->report, &text, sizeof text, &pidfd, pidfd >= 0);
    kin__fd_drop(pidfd);
    return rc < 0 ? rc : text.code;
}

/* The slot that the starter reserved, or, if that is gone with the starter, another one. */
static int join_family(const struct kin__message *m)
{
    int rc = kin__family_join(m->arena, m->slot, m->generation);
    if (rc == KIN_ESTALE && m->slot != KIN__NO_SLOT) {
        rc = kin__family_join(m->arena, KIN__NO_SLOT, 0);
    }
    return rc;
}

void kin__child_run(struct kin__message *m)
{
    if (m->die_with_parent) {
        bool has_parent = m->birth.method == KIN_START_SPAWN && m->parent_main;
        kin__lifeline_follow(m->lifeline, has_parent ? m->birth.parent_pid : 0);
    }
    kin_function *function = NULL;
    int rc = kin__function_decode(m->function, m->function_size, &function);
    if (rc == 0) {
        rc = join_family(m);
    }
    if (rc == 0) {
        kin__birth_adopt(&m->birth);
    }
    if (report(m, rc) < 0) {
        kin__process_end(EXIT_NO_CHILD);
    }
    kin__fd_drop(m->report);
    /* An image of its own: what it registered to run at exit is its own too. */
    exit(((kin_target_fn *)function)(m->arg, m->arg_size) & 0xff);
}

/* A descriptor's number, or -1. */
static int parse_number(const char *text)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno != 0 || end == text || *end != '\0' || number < 3 || number > INT32_MAX
               ? -1
               : (int)number;
}

static void hide(int fd)
{
    if (fd >= 0) {
        kin__fd_set_inherited(fd, false);
    }
}

int kin_child_main(int argc, char **argv)
{
    kin__a32_store(&called, 1);
    if (argc < 3 || argv == NULL || strcmp(argv[argc - 2], KIN_CHILD_ARGUMENT) != 0) {
        return 0;
    }
    int file = parse_number(argv[argc - 1]);
    void *bytes = NULL;
    size_t size = 0;
    struct kin__message message;
    if (file < 0 || kin__file_read_all(file, MESSAGE_MAX, &bytes, &size) < 0 ||
        kin__message_parse(bytes, size, &message) < 0) {
        kin__process_end(EXIT_NO_CHILD);
    }
    kin__fd_drop(file);
    hide(message.arena);
    hide(message.report);
    hide(message.lifeline);
    hide(message.control);
    for (unsigned i = 0; i < message.fd_count; i++) {
        hide(message.fds[i]);
    }
    if (message.kind == KIN__MESSAGE_ZYGOTE) {
        struct kin__message child;
        kin__zygote_serve(message.control, &child);
        message = child;
    }
    kin__child_run(&message);
}
