/*
 * The private side of connections: handle and shared part. Layer: channel.
 * Protocol: docs/design/connection.md.
 */
#ifndef KIN_CHANNEL_CONNECTION_H
#define KIN_CHANNEL_CONNECTION_H

#include <kinfolk/connection.h>

#include "channel/frame.h"
#include "channel/turn.h"
#include "os/os.h"
#include "shm/object.h"

/*
 * The shared part: one for both ends of a pipe, one for each other connection. Two directions; the
 * end on side s sends in direction s and receives in the other one. Each turn says who owns it.
 */
struct kin__channel {
    struct kin__object head;
    struct {
        struct kin__turn send;
        struct kin__turn recv;
    } direction[2];
};

/*
 * What has been consumed of the message under way. Valid while this process owns the receiving
 * turn, kept turns included; guarded by it.
 */
struct kin__receiver {
    int32_t pid;   /* whose state this is: a forked child's copy is not its own */
    bool sized;    /* the header is whole and `size` valid */
    bool skipping; /* the message is being thrown away: `kept` is unused */
    uint8_t have;  /* bytes of header */
    uint8_t header[KIN__FRAME_LONG];
    uint64_t size;
    uint64_t got;  /* bytes of the message consumed */
    uint8_t *kept; /* those bytes, between calls; NULL if got is 0 */
};

/*
 * users: {pid : 32, count : 31, closed : 1}: calls under way plus one while open. Calls of the
 * parent that a fork copied are not ours: another pid means "none". The descriptor is closed by
 * whoever brings it to {count 0, closed}. All else is constant, but for the receiver.
 */
struct kin_connection {
    kin__a64 users;
    int fd;
    enum kin__fd_kind kind;
    bool readable;
    bool writable;
    bool released; /* the descriptor is not ours to close any more */
    bool paired; /* the other end has the same shared part, so its turns tell about the peer */
    unsigned side;
    size_t whole;   /* bytes that one write sends whole or not at all */
    uint64_t limit; /* bytes of a message to receive, 0: any; set before anybody else has it */
    struct kin__channel *channel;
    struct kin__receiver receiver;
};

#define KIN__CONNECTION_CLOSED UINT64_C(1)

static inline struct kin__turn *kin__connection_send_turn(const struct kin_connection *c)
{
    return &c->channel->direction[c->side].send;
}
static inline struct kin__turn *kin__connection_recv_turn(const struct kin_connection *c)
{
    return &c->channel->direction[1 - c->side].recv;
}
/* The peer's turn opposite to ours, where it is known. */
static inline const struct kin__turn *kin__connection_sender(const struct kin_connection *c)
{
    return c->paired ? &c->channel->direction[1 - c->side].send : NULL;
}
static inline const struct kin__turn *kin__connection_receiver(const struct kin_connection *c)
{
    return c->paired ? &c->channel->direction[c->side].recv : NULL;
}

/* Begins and ends a call on the handle: 0, -EINVAL, KIN_ESTATE when closed, or kin__enter's. */
int kin__connection_begin(struct kin_connection *connection);
void kin__connection_end(struct kin_connection *connection);

/* A handle to a channel that this process holds once more for it. Takes over both on success. */
int kin__connection_wrap(struct kin__channel *channel, int fd, unsigned side, bool paired,
                         struct kin_connection **ret_connection);

/* A new shared part. */
int kin__channel_create(struct kin__channel **ret_channel);

/*
 * Waits for one slice at most until the descriptor is ready for `event`. Returns 0: try again
 * (*ret_ready, unless NULL, is set if it is ready);
 * -ETIMEDOUT; what the interrupt function said; KIN_ESTATE once closed; KIN_EPEERDIED if it is not
 * ready and `peer` (may be NULL) will never make it so.
 */
int kin__connection_wait(struct kin_connection *connection, short event,
                         const struct kin__turn *peer, int64_t deadline, bool *ret_ready);

/* stream_send.c, stream_recv.c: whole messages, by a caller that is between begin and end. */
int kin__stream_send(struct kin_connection *connection, const void *data, size_t size,
                     int64_t deadline);
int kin__stream_recv(struct kin_connection *connection, void *buffer, size_t room, size_t *ret_size,
                     int64_t deadline);
int kin__stream_peek(struct kin_connection *connection, size_t *ret_size, int64_t deadline);
int kin__stream_skip(struct kin_connection *connection, int64_t deadline);

/* Takes the receiving turn at a boundary, for what is no message (descriptors). */
int kin__stream_recv_raw_begin(struct kin_connection *connection, int64_t deadline);

/* The handle is being closed: a message that it has in part is lost to everybody. */
void kin__stream_abandon(struct kin_connection *connection);

/*
 * Whether the shared part has something to tell receivers that no poll of the descriptor tells: a
 * broken direction, a peer that died in the middle, an empty message whose header is consumed.
 */
bool kin__connection_has_news(const struct kin_connection *connection);

#endif
