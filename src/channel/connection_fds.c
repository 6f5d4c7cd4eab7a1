/* Descriptors sent along a connection, and who is at its other end. Layer: channel.
 * Protocol: docs/design/connection.md. */
#include "channel/connection.h"

#include <errno.h>
#include <poll.h>

int kin_connection_send_fds(kin_connection *connection, const int *fds, size_t count,
                            int64_t timeout_ns)
{
    if (fds == NULL || count == 0 || count > KIN__FDS_MAX) {
        return -EINVAL;
    }
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    const int64_t deadline = kin__clock_deadline(timeout_ns);
    struct kin__turn *turn = kin__connection_send_turn(connection);
    if (connection->kind != KIN__FD_UNIX) {
        rc = -ENOTSUP;
        goto out;
    }
    rc = kin__turn_take(turn, deadline, &connection->users, KIN__CONNECTION_CLOSED);
    if (rc < 0) {
        goto out;
    }
    rc = kin__turn_code(kin__a64_load(&turn->progress));
    while (rc == 0) {
        /* One byte: there is no middle. */
        rc = kin__fds_send(connection->fd, fds, count);
        if (rc != -EAGAIN && rc != -EINTR) {
            break;
        }
        rc = kin__connection_wait(connection, POLLOUT, kin__connection_receiver(connection),
                                  deadline, NULL);
    }
    if (rc == -EPIPE || rc == -ECONNRESET) {
        rc = KIN_ECLOSED;
    }
    kin__turn_give(turn);
out:
    kin__connection_end(connection);
    return rc;
}

static int recv_fds(kin_connection *connection, int *fds, size_t *count, int64_t deadline)
{
    struct kin__turn *turn = kin__connection_recv_turn(connection);
    int rc = kin__stream_recv_raw_begin(connection, deadline);
    if (rc < 0) {
        return rc;
    }
    for (;;) {
        size_t got = 0;
        bool eof = false;
        rc = kin__fds_recv(connection->fd, fds, *count, &got, &eof);
        if (rc == -EAGAIN || rc == -EINTR) {
            rc = kin__connection_wait(connection, POLLIN, kin__connection_sender(connection),
                                      deadline, NULL);
            if (rc < 0) {
                break;
            }
            continue;
        }
        if (eof || rc == -ECONNRESET) {
            rc = KIN_ECLOSED;
        } else if (rc == -EPROTO) {
            /* A byte of something else is consumed. */
            rc = KIN_ECORRUPT;
            kin__a64_store(&turn->progress, kin__turn_broken(rc));
        } else if (rc == 0) {
            *count = got;
        }
        break;
    }
    kin__turn_give(turn);
    return rc;
}

int kin_connection_recv_fds(kin_connection *connection, int *fds, size_t *count, int64_t timeout_ns)
{
    if (fds == NULL || count == NULL || *count == 0) {
        return -EINVAL;
    }
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    rc = connection->kind != KIN__FD_UNIX
             ? -ENOTSUP
             : recv_fds(connection, fds, count, kin__clock_deadline(timeout_ns));
    kin__connection_end(connection);
    return rc;
}

int kin_connection_peer(const kin_connection *connection, struct kin_peer *ret_peer)
{
    if (ret_peer == NULL) {
        return -EINVAL;
    }
    kin_connection *mutable = (kin_connection *)(uintptr_t)connection;
    int rc = kin__connection_begin(mutable);
    if (rc < 0) {
        return rc;
    }
    struct kin_peer peer = {0};
    rc = connection->kind != KIN__FD_UNIX
             ? -ENOTSUP
             : kin__socket_peer(connection->fd, &peer.pid, &peer.uid, &peer.gid);
    if (rc == 0) {
        *ret_peer = peer;
    }
    kin__connection_end(mutable);
    return rc;
}
