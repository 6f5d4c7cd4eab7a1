/*
 * Receiving whole messages from a byte stream, with a message that came in part kept for the next
 * call. Layer: channel. Protocol: docs/design/connection.md.
 */
#include "channel/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SKIP_CHUNK 16384

static void forget(struct kin__receiver *receiver)
{
    uint8_t *kept = receiver->kept;
    /* First, for a fork of another thread that copies this in the middle. */
    receiver->kept = NULL;
    free(kept);
    receiver->sized = false;
    receiver->skipping = false;
    receiver->have = 0;
    receiver->size = 0;
    receiver->got = 0;
}

/* A child's copy of its parent's unfinished message is nobody's; its buffer may be half a pointer.
 */
static void disown(struct kin__receiver *receiver)
{
    if (receiver->pid != kin__self->pid) {
        receiver->kept = NULL;
        receiver->pid = kin__self->pid;
    }
    forget(receiver);
}

/* Whether this handle is the one in this process that has the message under way. */
static bool has_part(const struct kin__receiver *receiver)
{
    return receiver->pid == kin__self->pid && (receiver->sized || receiver->have > 0);
}

/* Takes the turn and puts the receiver where the stream is. */
static int begin(struct kin_connection *connection, struct kin__turn *turn, int64_t deadline)
{
    int rc = kin__turn_take(turn, deadline, &connection->users, KIN__CONNECTION_CLOSED);
    if (rc < 0) {
        return rc;
    }
    struct kin__receiver *receiver = &connection->receiver;
    if (rc == 0) {
        disown(receiver);
    } else if (!has_part(receiver)) {
        /* Another handle of this process, to the same end, has it. */
        kin__turn_keep(turn);
        return KIN_ESTATE;
    }
    uint64_t progress = kin__a64_load(&turn->progress);
    int code = kin__turn_code(progress);
    if (code != 0) {
        kin__turn_give(turn);
        return code;
    }
    if (rc == 0 && progress != 0) {
        receiver->sized = true;
        receiver->size = progress - 1;
    }
    return 0;
}

/*
 * Ends the turn, saying to all processes where the stream is. In the middle of a message the
 * process keeps the turn: only it has the bytes that were consumed.
 */
static void end(struct kin_connection *connection, struct kin__turn *turn)
{
    struct kin__receiver *receiver = &connection->receiver;
    if (receiver->sized && receiver->got == 0 && !receiver->skipping) {
        kin__a64_store(&turn->progress, receiver->size + 1);
        forget(receiver);
    } else if (receiver->sized || receiver->have > 0) {
        kin__turn_keep(turn);
        return;
    }
    kin__turn_give(turn);
}

static int fail(struct kin_connection *connection, struct kin__turn *turn, int code)
{
    forget(&connection->receiver);
    kin__a64_store(&turn->progress, kin__turn_broken(code));
    return code;
}

/*
 * Reads up to `size` bytes, waiting for the first of them. `resting` is the progress to show while
 * nothing is consumed yet, KIN__TURN_MID if something already is.
 */
static int read_some(struct kin_connection *connection, struct kin__turn *turn, void *buffer,
                     size_t size, uint64_t resting, size_t *ret_count, int64_t deadline)
{
    for (;;) {
        /* I1: said before the bytes leave the stream, taken back if none has. */
        kin__a64_store(&turn->progress, KIN__TURN_MID);
        ssize_t n = kin__fd_read(connection->fd, connection->kind, buffer, size);
        if (n > 0) {
            *ret_count = (size_t)n;
            return 0;
        }
        if (resting != KIN__TURN_MID) {
            kin__a64_store(&turn->progress, resting);
        }
        if (n == -EAGAIN || n == -EINTR) {
            int rc = kin__connection_wait(connection, POLLIN, kin__connection_sender(connection),
                                          deadline, NULL);
            if (rc == KIN_EPEERDIED) {
                return fail(connection, turn, rc);
            }
            if (rc < 0) {
                return rc;
            }
            continue;
        }
        if (n < 0 && n != -ECONNRESET) {
            return (int)n;
        }
        /* An AF_UNIX peer that closed without reading all that we sent resets, after its data. Where
         * the sender died before the first byte of a message, the stream looks whole. */
        const struct kin__turn *sender = kin__connection_sender(connection);
        if (resting == 0 && (n == 0 || connection->kind == KIN__FD_UNIX) &&
            (sender == NULL || kin__turn_verdict(sender) == 0)) {
            return KIN_ECLOSED;
        }
        return fail(connection, turn, KIN_EPEERDIED);
    }
}

static int read_header(struct kin_connection *connection, struct kin__turn *turn, int64_t deadline)
{
    struct kin__receiver *receiver = &connection->receiver;
    while (!receiver->sized) {
        uint64_t size = 0;
        int want = kin__frame_decode(receiver->header, receiver->have, &size);
        if (want < 0 || (want == 0 && size > SIZE_MAX)) {
            return fail(connection, turn, KIN_ECORRUPT);
        }
        if (want == 0 && connection->limit > 0 && size > connection->limit) {
            return fail(connection, turn, KIN_ETOOBIG);
        }
        if (want == 0) {
            receiver->size = size;
            receiver->sized = true;
            /* From here the message may be taken over by anybody, should we die. */
            kin__a64_store(&turn->progress, size + 1);
            break;
        }
        size_t n = 0;
        int rc = read_some(connection, turn, receiver->header + receiver->have,
                           (size_t)want - receiver->have, receiver->have == 0 ? 0 : KIN__TURN_MID,
                           &n, deadline);
        if (rc < 0) {
            return rc;
        }
        receiver->have = (uint8_t)(receiver->have + n);
    }
    return 0;
}

static int read_body(struct kin_connection *connection, struct kin__turn *turn, uint8_t *buffer,
                     int64_t deadline)
{
    struct kin__receiver *receiver = &connection->receiver;
    while (receiver->got < receiver->size) {
        uint8_t scratch[SKIP_CHUNK];
        size_t want = (size_t)(receiver->size - receiver->got);
        uint8_t *to = scratch;
        if (receiver->skipping) {
            want = want < sizeof scratch ? want : sizeof scratch;
        } else {
            to = buffer + receiver->got;
        }
        size_t n = 0;
        int rc = read_some(connection, turn, to, want,
                           receiver->got == 0 ? receiver->size + 1 : KIN__TURN_MID, &n, deadline);
        if (rc < 0) {
            return rc;
        }
        receiver->got += n;
    }
    forget(receiver);
    kin__a64_store(&turn->progress, 0);
    return 0;
}

/* A skip that timed out is finished before anything else is done. */
static int finish_skip(struct kin_connection *connection, struct kin__turn *turn, int64_t deadline)
{
    return connection->receiver.skipping ? read_body(connection, turn, NULL, deadline) : 0;
}

int kin__stream_recv(struct kin_connection *connection, void *buffer, size_t room, size_t *ret_size,
                     int64_t deadline)
{
    struct kin__turn *turn = kin__connection_recv_turn(connection);
    struct kin__receiver *receiver = &connection->receiver;
    int rc = begin(connection, turn, deadline);
    if (rc < 0) {
        return rc;
    }
    rc = finish_skip(connection, turn, deadline);
    if (rc == 0) {
        rc = read_header(connection, turn, deadline);
    }
    if (rc < 0) {
        goto out;
    }
    const size_t size = (size_t)receiver->size;
    if (size > room) {
        *ret_size = size;
        rc = KIN_ETOOBIG;
        goto out;
    }
    uint8_t *kept = receiver->kept;
    if (kept != NULL) {
        memcpy(buffer, kept, (size_t)receiver->got);
        receiver->kept = NULL;
    }
    rc = read_body(connection, turn, buffer, deadline);
    if (rc == 0) {
        free(kept);
        *ret_size = size;
    } else if (receiver->sized && receiver->got > 0) {
        /* In the middle: what has come is kept, and the next call goes on from there. */
        uint8_t *more = realloc(kept, (size_t)receiver->got);
        if (more == NULL) {
            free(kept);
            rc = fail(connection, turn, KIN_ETORN);
            goto out;
        }
        memcpy(more, buffer, (size_t)receiver->got);
        receiver->kept = more;
    } else {
        free(kept);
    }
out:
    end(connection, turn);
    return rc;
}

int kin__stream_peek(struct kin_connection *connection, size_t *ret_size, int64_t deadline)
{
    struct kin__turn *turn = kin__connection_recv_turn(connection);
    int rc = begin(connection, turn, deadline);
    if (rc < 0) {
        return rc;
    }
    rc = finish_skip(connection, turn, deadline);
    if (rc == 0) {
        rc = read_header(connection, turn, deadline);
    }
    if (rc == 0) {
        *ret_size = (size_t)connection->receiver.size;
    }
    end(connection, turn);
    return rc;
}

int kin__stream_skip(struct kin_connection *connection, int64_t deadline)
{
    struct kin__turn *turn = kin__connection_recv_turn(connection);
    struct kin__receiver *receiver = &connection->receiver;
    int rc = begin(connection, turn, deadline);
    if (rc < 0) {
        return rc;
    }
    rc = read_header(connection, turn, deadline);
    if (rc == 0) {
        uint8_t *kept = receiver->kept;
        receiver->kept = NULL;
        free(kept);
        receiver->skipping = true;
        rc = read_body(connection, turn, NULL, deadline);
    }
    end(connection, turn);
    return rc;
}

int kin__stream_recv_raw_begin(struct kin_connection *connection, int64_t deadline)
{
    struct kin__turn *turn = kin__connection_recv_turn(connection);
    int rc = begin(connection, turn, deadline);
    if (rc == 0) {
        rc = finish_skip(connection, turn, deadline);
        if (rc == 0 && (connection->receiver.sized || connection->receiver.have > 0)) {
            rc = KIN_ESTATE;
        }
        if (rc < 0) {
            end(connection, turn);
        }
    }
    return rc;
}

void kin__stream_abandon(struct kin_connection *connection)
{
    struct kin__turn *turn = kin__connection_recv_turn(connection);
    struct kin__receiver *receiver = &connection->receiver;
    if (!connection->readable || !has_part(receiver)) {
        return;
    }
    /* Nobody else uses the handle any more, so the turn is ours and not busy. */
    if (kin__turn_take(turn, 0, &connection->users, KIN__CONNECTION_CLOSED) == 1) {
        if (kin__a64_load(&turn->progress) == KIN__TURN_MID) {
            fail(connection, turn, KIN_ETORN);
        } else {
            forget(receiver);
        }
        kin__turn_give(turn);
    }
}
