/* Pipes: two connections that are joined. Messages, errors and threads: connection.h. */
#ifndef KINFOLK_PIPE_H
#define KINFOLK_PIPE_H

#include <kinfolk/connection.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kin_pipe_options {
    size_t size;
    int duplex; /* 0: a pipe(2), *ret_a receives and *ret_b sends; else a socketpair(2), both do
                   both */
    size_t capacity; /* bytes that the kernel should hold in a direction; 0: its default */
};
#define KIN_PIPE_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(struct kin_pipe_options), 1, 0                                                      \
    }

/*
 * Makes a pipe; NULL: duplex. Both ends are inherited by forked children; close the ones you do
 * not use. -EINVAL, -EMFILE, -ENFILE, KIN_EQUOTA, -ENOMEM; -EPERM for a capacity beyond the
 * system's limit. Does not block.
 */
KIN_API int kin_pipe_create(const struct kin_pipe_options *options, kin_connection **ret_a,
                            kin_connection **ret_b);

#ifdef __cplusplus
}
#endif

#endif
