/*
 * How children are started: a start method and its options, as a plain value.
 */
#ifndef KINFOLK_CONTEXT_H
#define KINFOLK_CONTEXT_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kin_start_method {
    KIN_START_DEFAULT, /* what the context says; the default context says KIN_START_FORK */

    /*
     * fork(): the child has a copy of all that its parent has. Fastest where the parent is small,
     * needs nothing of the program. What another thread of the parent has locked (the library's
     * own locks and the C library's aside) stays locked in the child.
     */
    KIN_START_FORK,

    /*
     * A fresh image of the same program, by exec: none of its parent's heap, threads or
     * descriptors but those listed and 0, 1 and 2. Needs kin_child_main at the beginning of main.
     */
    KIN_START_SPAWN,

    /*
     * A fork of a small, single-threaded image of the same program (the fork server) that the
     * library starts by exec at the first such start: as fresh as SPAWN, nearly as fast as FORK,
     * whatever the parent's size. The child's own parent, as getppid() tells, is the fork server;
     * environment, working directory, limits and ignored signals are those that the process had
     * when the server was started, descriptors 0, 1 and 2 those at the start of the child.
     * Needs kin_child_main too. Where the program's image starts threads of its own before main,
     * a child is started as by SPAWN instead.
     */
    KIN_START_FORKSERVER
};

/* The most descriptors that one child can be given. */
#define KIN_FDS_MAX 128

struct kin_context {
    size_t size;
    enum kin_start_method method; /* KIN_START_DEFAULT: what the process's default context says */
    int die_with_parent;          /* children are killed within milliseconds of this process's end */
    const int *fds;               /* further descriptors that SPAWN and FORKSERVER children inherit, */
    size_t fd_count;              /* under the same numbers; see struct kin_process_options */
    /*
     * What SPAWN and FORKSERVER execute: a program's path and its arguments, ended by NULL. NULL:
     * this program again, with no arguments. For code that an interpreter or another program loads:
     * what is executed gets two further arguments, must hand them to kin_child_main, and must be
     * able to load the target's module. The fork server is the command of the start that started
     * it. The list and its strings must stay valid while the context is the default, and while a
     * pool uses it.
     */
    const char *const *command;
};
#define KIN_CONTEXT_INIT {sizeof(struct kin_context), KIN_START_DEFAULT, 0, NULL, 0, NULL}

/*
 * Sets this process's default context, which its children inherit (without the descriptors). NULL
 * restores the built-in one. Its descriptor list must stay valid while it is set. -EINVAL for an
 * unknown method or a malformed struct. Thread-safe.
 */
KIN_API int kin_context_set_default(const struct kin_context *context);

/* The default context, its method never KIN_START_DEFAULT. `size` of *ret_context is set by the
 * caller. -EINVAL. Thread-safe. */
KIN_API int kin_context_default(struct kin_context *ret_context);

/* "fork", "spawn", "forkserver", "default", or NULL for anything else. */
KIN_API const char *kin_start_method_name(enum kin_start_method method);

/* The method of that name, or -EINVAL. */
KIN_API int kin_start_method_parse(const char *name);

#ifdef __cplusplus
}
#endif

#endif
