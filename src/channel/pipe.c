/* Pipes: a channel and its two ends. Layer: channel. Protocol: docs/design/connection.md. */
#include <kinfolk/pipe.h>

#include <errno.h>

#include "base/options.h"
#include "channel/connection.h"

int kin_pipe_create(const struct kin_pipe_options *options, kin_connection **ret_a,
                    kin_connection **ret_b)
{
    struct kin_pipe_options o = KIN_PIPE_OPTIONS_INIT;
    if (ret_a == NULL || ret_b == NULL || kin__options_read(&o, sizeof o, options) < 0) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__channel *channel = NULL;
    rc = kin__channel_create(&channel);
    if (rc < 0) {
        return rc;
    }
    int fds[2] = {-1, -1};
    kin_connection *a = NULL;
    kin_connection *b = NULL;
    rc = o.duplex ? kin__socketpair_create(fds) : kin__pipe_create(fds);
    if (rc < 0) {
        goto fail_channel;
    }
    if (o.capacity > 0) {
        rc = kin__stream_set_capacity(fds, o.duplex != 0, o.capacity);
        if (rc < 0) {
            goto fail_fds;
        }
    }
    /* Of a one-way pipe, side 1 sends in direction 1, and side 0 receives from it. */
    rc = kin__connection_wrap(channel, fds[0], 0, true, &a);
    if (rc < 0) {
        goto fail_fds;
    }
    kin__object_hold(&channel->head);
    rc = kin__connection_wrap(channel, fds[1], 1, true, &b);
    if (rc < 0) {
        kin__fd_close(fds[1]);
        kin__object_drop(&channel->head);
        kin_connection_destroy(a);
        return rc;
    }
    *ret_a = a;
    *ret_b = b;
    return 0;

fail_fds:
    kin__fd_close(fds[0]);
    kin__fd_close(fds[1]);
fail_channel:
    kin__object_drop(&channel->head);
    return rc;
}
