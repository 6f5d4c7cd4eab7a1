/*
 * The receiving side of a connection whose peer writes any bytes, in any pieces, with descriptors
 * among them, and hangs up when it likes.
 */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kinfolk/pipe.h>

#include "channel/connection.h"
#include "fuzz.h"

struct wire {
    int peer;              /* -1: hung up */
    kin_connection *other; /* the handle of `peer`, if the library made the pipe, or NULL */
    kin_connection *connection;
    kin_connection *twin; /* another handle to the same end, or NULL */
    bool sockets;
};

/* Kinds: a one-way pipe or a socket pair, of the library or foreign, with or without a limit. */
static void open_wire(struct wire *wire, uint8_t kind)
{
    int fds[2];
    wire->sockets = (kind & 1) != 0;
    wire->twin = NULL;
    wire->other = NULL;
    if (kind & 8) {
        struct kin_pipe_options options = KIN_PIPE_OPTIONS_INIT;
        options.duplex = wire->sockets;
        REQUIRE(kin_pipe_create(&options, &wire->connection, &wire->other) == 0);
        fds[0] = kin_connection_fd(wire->connection);
        fds[1] = kin_connection_fd(wire->other);
    } else {
        REQUIRE((wire->sockets ? kin__socketpair_create(fds) : kin__pipe_create(fds)) == 0);
        REQUIRE(kin_connection_from_fd(fds[0], &wire->connection) == 0);
    }
    wire->peer = fds[1];
    if (kind & 2) {
        wire->connection->limit = 64;
    }
    if (kind & 4) {
        struct kin_connection_ref ref;
        REQUIRE(kin_connection_ref(wire->connection, &ref) == 0);
        REQUIRE(kin_connection_attach(&ref, dup(fds[0]), &wire->twin) == 0);
    }
}

static void hang_up(struct wire *wire)
{
    if (wire->other != NULL) {
        wire->other = kin_connection_destroy(wire->other);
    } else if (wire->peer >= 0) {
        close(wire->peer);
    }
    wire->peer = -1;
}

static void close_wire(struct wire *wire)
{
    hang_up(wire);
    kin_connection_destroy(wire->twin);
    kin_connection_destroy(wire->connection);
}

static void write_bytes(struct wire *wire, const uint8_t *bytes, size_t size)
{
    if (wire->peer >= 0 && size > 0) {
        ssize_t n = wire->sockets ? send(wire->peer, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : write(wire->peer, bytes, size);
        REQUIRE(n == (ssize_t)size || errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
    }
}

static void write_fds(struct wire *wire, struct fuzz_input *input)
{
    int fds[3] = {0, 0, 0};
    size_t count = 1 + fuzz_byte(input) % 3;
    if (wire->peer >= 0 && wire->sockets) {
        kin__fds_send(wire->peer, fds, count);
    }
}

static void receive_fds(kin_connection *connection, struct fuzz_input *input)
{
    int fds[3];
    size_t count = 1 + fuzz_byte(input) % 3;
    if (kin_connection_recv_fds(connection, fds, &count, 0) == 0) {
        REQUIRE(count >= 1 && count <= 3);
        for (size_t i = 0; i < count; i++) {
            REQUIRE(close(fds[i]) == 0);
        }
    }
}

static void receive(const struct wire *wire, kin_connection *connection,
                    struct fuzz_input *input)
{
    /* Its exact size, so that a write beyond it is seen. */
    size_t room = fuzz_byte(input);
    size_t size = room;
    uint8_t *buffer = malloc(room + 1);
    REQUIRE(buffer != NULL);
    int rc = kin_connection_recv(connection, buffer, &size, 0);
    REQUIRE(rc != 0 || size <= room);
    REQUIRE(rc != KIN_ETOOBIG || size > room || wire->connection->limit > 0);
    free(buffer);
}

static void receive_new(kin_connection *connection)
{
    void *message = NULL;
    size_t size = 0;
    if (kin_connection_recv_new(connection, 4096, &message, &size, 0) == 0) {
        REQUIRE(size <= 4096);
        free(message);
    }
}

/* The handle as a forked child finds it: another process's message is under way in it. */
static void pretend_fork(kin_connection *connection)
{
    struct kin__receiver *receiver = &connection->receiver;
    if (receiver->kept == NULL && receiver->pid == kin__self->pid &&
        kin__a64_load(&kin__connection_recv_turn(connection)->owner) == 0) {
        receiver->pid = -1;
    }
}

/* The sender died in the middle of a message; nobody has swept it. */
static void kill_sender(struct wire *wire)
{
    if (wire->other != NULL) {
        struct kin__turn *turn = kin__connection_send_turn(wire->other);
        kin__a64_store(&turn->owner, UINT64_C(77) << 32 | (FUZZ_PEER + 1) << 1);
        kin__a64_store(&turn->progress, KIN__TURN_MID);
    }
}

int fuzz_target(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    struct wire wire;
    static bool entered;
    if (!entered) {
        REQUIRE(kin__enter() == 0);
        signal(SIGPIPE, SIG_IGN);
        entered = true;
    }
    int next = dup(0);
    close(next);
    open_wire(&wire, fuzz_byte(&input));
    for (unsigned i = 0; i < 64 && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        kin_connection *connection = step & 128 && wire.twin ? wire.twin : wire.connection;
        uint8_t header[KIN__FRAME_LONG];
        size_t length;
        const uint8_t *bytes;
        switch (step & 15) {
        case 0:
        case 1:
            bytes = fuzz_bytes(&input, fuzz_byte(&input), &length);
            write_bytes(&wire, bytes, length);
            break;
        case 2: /* a whole message, or one that lacks its end */
            length = kin__frame_encode(fuzz_byte(&input), header);
            write_bytes(&wire, header, length);
            bytes = fuzz_bytes(&input, fuzz_byte(&input), &length);
            write_bytes(&wire, bytes, length);
            break;
        case 3:
            length = kin__frame_encode(fuzz_number(&input, 8) % KIN__FRAME_MAX, header);
            write_bytes(&wire, header, length);
            break;
        case 4:
        case 5:
            receive(&wire, connection, &input);
            break;
        case 6:
            receive_new(connection);
            break;
        case 7:
            kin_connection_next_size(connection, &length, 0);
            break;
        case 8:
            kin_connection_skip(connection, 0);
            break;
        case 9:
            kin_connection_poll(connection, 0);
            break;
        case 10:
            write_fds(&wire, &input);
            break;
        case 11:
            receive_fds(connection, &input);
            break;
        case 12:
            if (step & 64) {
                kill_sender(&wire);
            } else {
                pretend_fork(connection);
            }
            break;
        case 13:
            if (connection == wire.twin) {
                wire.twin = kin_connection_destroy(wire.twin);
            }
            break;
        case 14:
            if (step & 64) {
                hang_up(&wire);
            }
            break;
        default:
            if (step & 64 && wire.sockets && wire.peer >= 0) {
                shutdown(wire.peer, SHUT_WR);
            }
        }
    }
    close_wire(&wire);
    /* No descriptor is left behind, whatever came. */
    int after = dup(0);
    close(after);
    REQUIRE(after == next);
    return 0;
}
