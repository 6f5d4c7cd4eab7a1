/* Sending whole messages on a byte stream. Layer: channel. Protocol: docs/design/connection.md. */
#include "channel/connection.h"

#include <errno.h>
#include <poll.h>
#include <sys/uio.h>

/* The parts of a frame from its byte `done` on; returns how many there are. */
static int rest_of(const uint8_t *header, size_t header_size, const void *data, size_t size,
                   size_t done, struct iovec parts[2])
{
    int count = 0;
    if (done < header_size) {
        parts[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)(header + done),
                                        .iov_len = header_size - done};
        done = header_size;
    }
    size_t sent = done - header_size;
    if (sent < size) {
        parts[count++] = (struct iovec){
            .iov_base = (void *)(uintptr_t)((const uint8_t *)data + sent), .iov_len = size - sent};
    }
    return count;
}

/* A message was begun and cannot be finished, so no other may follow it. */
static void hang_up(const struct kin_connection *connection)
{
    if (connection->kind == KIN__FD_UNIX || connection->kind == KIN__FD_SOCKET) {
        /* The peer sees the end in the middle of the message and need not ask the turn. */
        kin__fd_shutdown_write(connection->fd);
    }
}

static int send_holding_turn(struct kin_connection *connection, struct kin__turn *turn,
                             const void *data, size_t size, int64_t deadline)
{
    uint8_t header[KIN__FRAME_LONG];
    const size_t header_size = kin__frame_encode(size, header);
    const size_t total = header_size + size;
    const bool whole = total <= connection->whole;

    int code = kin__turn_code(kin__a64_load(&turn->progress));
    if (code != 0) {
        hang_up(connection); /* whoever died in the middle could not */
        return code;
    }
    for (size_t done = 0; done < total;) {
        struct iovec parts[2];
        int count = rest_of(header, header_size, data, size, done, parts);
        /* I1: a write that can stop in the middle says so first. */
        if (!whole && done == 0) {
            kin__a64_store(&turn->progress, KIN__TURN_MID);
        }
        ssize_t n = kin__fd_write(connection->fd, connection->kind, parts, count);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (!whole && done == 0) {
            kin__a64_store(&turn->progress, 0);
        }
        int rc = 0;
        if (n == 0 || n == -EAGAIN || n == -EINTR) {
            rc = kin__connection_wait(connection, POLLOUT, kin__connection_receiver(connection),
                                      deadline, NULL);
        } else if (n == -EPIPE || n == -ECONNRESET) {
            rc = done == 0 ? KIN_ECLOSED : KIN_EPEERDIED;
        } else {
            rc = (int)n;
        }
        if (rc < 0 && done > 0) {
            kin__a64_store(&turn->progress,
                           kin__turn_broken(rc == KIN_EPEERDIED ? rc : KIN_ETORN));
            hang_up(connection);
            return rc == -ETIMEDOUT ? KIN_ETORN : rc;
        }
        if (rc < 0) {
            return rc;
        }
    }
    kin__a64_store(&turn->progress, 0);
    return 0;
}

int kin__stream_send(struct kin_connection *connection, const void *data, size_t size,
                     int64_t deadline)
{
    struct kin__turn *turn = kin__connection_send_turn(connection);
    int rc = kin__turn_take(turn, deadline, &connection->users, KIN__CONNECTION_CLOSED);
    if (rc < 0) {
        return rc;
    }
    rc = send_holding_turn(connection, turn, data, size, deadline);
    kin__turn_give(turn);
    return rc;
}
