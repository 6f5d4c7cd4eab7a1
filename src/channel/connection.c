/* Connections: the handle's life, and the public calls. Layer: channel.
 * Protocol: docs/design/connection.md. */
#include "channel/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define ONE UINT64_C(2) /* one user in `users` */

static uint64_t users_of(int32_t pid, uint64_t count)
{
    return (uint64_t)(uint32_t)pid << 32 | count * ONE;
}

/* The word as this process sees it: users that a fork copied along are not there. */
static uint64_t users_here(uint64_t users)
{
    if ((uint32_t)(users >> 32) == (uint32_t)kin__self->pid) {
        return users;
    }
    return users & KIN__CONNECTION_CLOSED ? KIN__CONNECTION_CLOSED | users_of(kin__self->pid, 0)
                                          : users_of(kin__self->pid, 1);
}

int kin__connection_begin(struct kin_connection *connection)
{
    if (connection == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    uint64_t users = kin__a64_load_relaxed(&connection->users);
    uint64_t more;
    do {
        more = users_here(users);
        if (more & KIN__CONNECTION_CLOSED) {
            return KIN_ESTATE;
        }
        more += ONE;
    } while (!kin__a64_cas(&connection->users, &users, more));
    return 0;
}

/* One user fewer; whoever leaves it {none, closed} closes the descriptor. */
static void leave(struct kin_connection *connection, uint64_t closed)
{
    uint64_t users = kin__a64_load_relaxed(&connection->users);
    uint64_t fewer;
    do {
        fewer = (users_here(users) - ONE) | closed;
    } while (!kin__a64_cas(&connection->users, &users, fewer));
    if (fewer != (users_of(kin__self->pid, 0) | KIN__CONNECTION_CLOSED)) {
        return;
    }
    kin__stream_abandon(connection);
    if (!connection->released) {
        kin__fd_close(connection->fd);
    }
    kin__object_drop(&connection->channel->head);
}

void kin__connection_end(struct kin_connection *connection)
{
    leave(connection, 0);
}

int kin__connection_wait(struct kin_connection *connection, short event,
                         const struct kin__turn *peer, int64_t deadline, bool *ret_ready)
{
    /* Before the poll: what a sender that died has sent is there by then. */
    int verdict = peer == NULL ? 0 : kin__turn_verdict(peer);
    int64_t now = kin__clock_now();
    int64_t until = now + KIN__SLICE_NS;
    struct pollfd item = {.fd = connection->fd, .events = event};
    int rc = kin__fd_poll(&item, 1, verdict != 0 ? 0 : deadline < until ? deadline : until);
    if (rc > 0) {
        if (item.revents & POLLNVAL) {
            return -EBADF;
        }
        if (ret_ready != NULL) {
            *ret_ready = true;
        }
        return 0;
    }
    if (rc < 0 && rc != -EINTR) {
        return rc;
    }
    if (kin__a64_load_relaxed(&connection->users) & KIN__CONNECTION_CLOSED) {
        return KIN_ESTATE;
    }
    if (rc == 0 && verdict != 0) {
        return KIN_EPEERDIED;
    }
    if (rc == 0 && kin__clock_now() >= deadline) {
        return -ETIMEDOUT;
    }
    bool slept = rc == 0;
    rc = kin__interrupted();
    if (rc == 0 && slept) {
        kin__sweep(false);
    }
    return rc;
}

static void sweep_channel(struct kin__object *object, uint32_t slot, uint32_t generation,
                          enum kin__end how)
{
    (void)how; /* in the middle of a message, one end is like another */
    struct kin__channel *channel = (struct kin__channel *)object;
    for (unsigned i = 0; i < 2; i++) {
        kin__turn_sweep(&channel->direction[i].send, slot, generation);
        kin__turn_sweep(&channel->direction[i].recv, slot, generation);
    }
}

static const struct kin__type channel_type = {.name = "connection", .sweep = sweep_channel};

__attribute__((constructor)) static void register_type(void)
{
    kin__type_register(KIN__TYPE_CONNECTION, &channel_type);
}

int kin__channel_create(struct kin__channel **ret_channel)
{
    struct kin__object *object = NULL;
    int rc = kin__object_create(KIN__TYPE_CONNECTION, sizeof(struct kin__channel), &object);
    if (rc < 0) {
        return rc;
    }
    kin__object_ready(object);
    *ret_channel = (struct kin__channel *)object;
    return 0;
}

int kin__connection_wrap(struct kin__channel *channel, int fd, unsigned side, bool paired,
                         struct kin_connection **ret_connection)
{
    struct kin__fd_info info;
    int rc = kin__fd_probe(fd, &info);
    if (rc < 0) {
        return rc;
    }
    struct kin_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        return -ENOMEM;
    }
    connection->users.value = users_of(kin__self->pid, 1);
    connection->fd = fd;
    connection->kind = info.kind;
    connection->readable = info.readable;
    connection->writable = info.writable;
    connection->whole = info.whole;
    connection->paired = paired;
    connection->side = side;
    connection->channel = channel;
    *ret_connection = connection;
    return 0;
}

int kin_connection_from_fd(int fd, kin_connection **ret_connection)
{
    if (fd < 0 || ret_connection == NULL) {
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
    rc = kin__connection_wrap(channel, fd, 0, false, ret_connection);
    if (rc < 0) {
        kin__object_drop(&channel->head);
        return rc;
    }
    kin__fd_set_cloexec(fd);
    return 0;
}

int kin_connection_ref(const kin_connection *connection, struct kin_connection_ref *ret_ref)
{
    if (ret_ref == NULL) {
        return -EINVAL;
    }
    kin_connection *mutable = (kin_connection *)(uintptr_t)connection;
    int rc = kin__connection_begin(mutable);
    if (rc < 0) {
        return rc;
    }
    struct kin_connection_ref ref = {.side = connection->side, .paired = connection->paired};
    kin__object_ref(&connection->channel->head, &ref.channel);
    *ret_ref = ref;
    kin__connection_end(mutable);
    return 0;
}

int kin_connection_attach(const struct kin_connection_ref *ref, int fd,
                          kin_connection **ret_connection)
{
    if (ref == NULL || ref->side > 1 || ref->paired > 1 || fd < 0 || ret_connection == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__object *object = NULL;
    rc = kin__object_attach(&ref->channel, KIN__TYPE_CONNECTION, &object);
    if (rc < 0) {
        return rc;
    }
    rc = kin__connection_wrap((struct kin__channel *)object, fd, ref->side, ref->paired != 0,
                              ret_connection);
    if (rc < 0) {
        kin__object_drop(object);
        return rc;
    }
    kin__fd_set_cloexec(fd);
    return 0;
}

int kin_connection_close(kin_connection *connection)
{
    int rc = kin__connection_begin(connection);
    if (rc == KIN_ESTATE) {
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    uint64_t users = kin__a64_load_relaxed(&connection->users);
    uint64_t closed;
    do {
        if (users & KIN__CONNECTION_CLOSED) {
            kin__connection_end(connection);
            return 0;
        }
        /* The user that stands for "open" goes; ours remains until the end of this call. */
        closed = (users - ONE) | KIN__CONNECTION_CLOSED;
    } while (!kin__a64_cas(&connection->users, &users, closed));
    kin__connection_end(connection);
    return 0;
}

kin_connection *kin_connection_destroy(kin_connection *connection)
{
    if (connection != NULL) {
        if (kin_connection_close(connection) < 0) {
            /* A forked child that could not join the family has nothing but the descriptor. */
            if (!connection->released) {
                kin__fd_close(connection->fd);
            }
        }
        free(connection);
    }
    return NULL;
}

int kin_connection_release(kin_connection *connection)
{
    int fd = kin_connection_fd(connection);
    if (fd >= 0) {
        connection->released = true;
        kin_connection_destroy(connection);
    }
    return fd;
}

int kin_connection_fd(const kin_connection *connection)
{
    if (connection == NULL) {
        return -EINVAL;
    }
    return kin__a64_load_relaxed(&connection->users) & KIN__CONNECTION_CLOSED ? KIN_ESTATE
                                                                              : connection->fd;
}

int kin_connection_readable(const kin_connection *connection)
{
    return connection != NULL && connection->readable;
}

int kin_connection_writable(const kin_connection *connection)
{
    return connection != NULL && connection->writable;
}

int kin_connection_send(kin_connection *connection, const void *data, size_t size,
                        int64_t timeout_ns)
{
    if ((data == NULL && size > 0) || size > KIN__FRAME_MAX) {
        return -EINVAL;
    }
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    rc = !connection->writable
             ? -EBADF
             : kin__stream_send(connection, data, size, kin__clock_deadline(timeout_ns));
    kin__connection_end(connection);
    return rc;
}

int kin_connection_recv(kin_connection *connection, void *buffer, size_t *size, int64_t timeout_ns)
{
    if (size == NULL || (buffer == NULL && *size > 0)) {
        return -EINVAL;
    }
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    rc = !connection->readable
             ? -EBADF
             : kin__stream_recv(connection, buffer, *size, size, kin__clock_deadline(timeout_ns));
    kin__connection_end(connection);
    return rc;
}

int kin_connection_recv_new(kin_connection *connection, size_t limit, void **ret_data,
                            size_t *ret_size, int64_t timeout_ns)
{
    if (ret_data == NULL || ret_size == NULL) {
        return -EINVAL;
    }
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    const int64_t deadline = kin__clock_deadline(timeout_ns);
    void *data = NULL;
    size_t size = 0;
    if (!connection->readable) {
        rc = -EBADF;
        goto out;
    }
    rc = kin__stream_peek(connection, &size, deadline);
    while (rc == 0) {
        if (limit > 0 && size > limit) {
            *ret_size = size;
            rc = KIN_ETOOBIG;
            break;
        }
        void *larger = realloc(data, size > 0 ? size : 1);
        if (larger == NULL) {
            rc = -ENOMEM;
            break;
        }
        data = larger;
        rc = kin__stream_recv(connection, data, size, &size, deadline);
        if (rc == 0) {
            *ret_data = data;
            *ret_size = size;
            data = NULL;
            break;
        }
        if (rc == KIN_ETOOBIG) {
            rc = 0; /* another thread took that message, and the next one is larger */
        }
    }
out:
    free(data);
    kin__connection_end(connection);
    return rc;
}

int kin_connection_next_size(kin_connection *connection, size_t *ret_size, int64_t timeout_ns)
{
    if (ret_size == NULL) {
        return -EINVAL;
    }
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    rc = !connection->readable
             ? -EBADF
             : kin__stream_peek(connection, ret_size, kin__clock_deadline(timeout_ns));
    kin__connection_end(connection);
    return rc;
}

int kin_connection_skip(kin_connection *connection, int64_t timeout_ns)
{
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    rc = !connection->readable ? -EBADF
                               : kin__stream_skip(connection, kin__clock_deadline(timeout_ns));
    kin__connection_end(connection);
    return rc;
}

bool kin__connection_has_news(const struct kin_connection *connection)
{
    const struct kin__turn *peer = kin__connection_sender(connection);
    if (peer != NULL && kin__turn_verdict(peer) != 0) {
        return true;
    }
    /* Broken, or an empty message whose header is consumed: nothing more need come. */
    uint64_t progress = kin__a64_load(&kin__connection_recv_turn(connection)->progress);
    return kin__turn_code(progress) != 0 || progress == 1;
}

int kin_connection_poll(kin_connection *connection, int64_t timeout_ns)
{
    int rc = kin__connection_begin(connection);
    if (rc < 0) {
        return rc;
    }
    const int64_t deadline = kin__clock_deadline(timeout_ns);
    if (!connection->readable) {
        rc = -EBADF;
    }
    while (rc == 0 && !kin__connection_has_news(connection)) {
        bool ready = false;
        rc = kin__connection_wait(connection, POLLIN, NULL, deadline, &ready);
        if (ready) {
            break;
        }
    }
    kin__connection_end(connection);
    return rc;
}
