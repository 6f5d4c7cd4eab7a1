/* The handshake over a connection, under one deadline. Layer: connection.
 * Protocol: docs/design/connection.md. */
#include "connection/authenticate.h"

#include <errno.h>

#include "os/os.h"

static int64_t left(int64_t deadline)
{
    if (deadline == KIN__NEVER) {
        return KIN_FOREVER;
    }
    int64_t ns = deadline - kin__clock_now();
    return ns < 0 ? 0 : ns;
}

/* What went wrong, as the caller of accept or connect is told. */
static int verdict_of(int rc)
{
    switch (rc) {
    case KIN_ECLOSED:
    case KIN_EPEERDIED:
    case KIN_ETORN:
    case KIN_ECORRUPT:
    case KIN_ETOOBIG:
        return KIN_EAUTH;
    default:
        return rc;
    }
}

int kin__authenticate(kin_connection *connection, enum kin__handshake_role role, const void *key,
                      size_t key_size, int64_t deadline)
{
    uint8_t random[KIN__HANDSHAKE_RANDOM];
    int rc = kin__random(random, sizeof random);
    if (rc < 0) {
        return rc;
    }
    struct kin__handshake handshake;
    uint8_t in[KIN__HANDSHAKE_MAX];
    uint8_t out[KIN__HANDSHAKE_MAX];
    size_t out_size = 0;
    kin__handshake_begin(&handshake, role, key, key_size, random, out, &out_size);
    int state = 1;
    for (;;) {
        if (out_size > 0) {
            rc = kin_connection_send(connection, out, out_size, left(deadline));
            if (rc < 0) {
                break;
            }
        }
        if (state <= 0) {
            rc = state;
            break;
        }
        /* The room is the limit: a longer message is refused by its header alone. */
        size_t size = sizeof in;
        rc = kin_connection_recv(connection, in, &size, left(deadline));
        if (rc < 0) {
            break;
        }
        state = kin__handshake_step(&handshake, in, size, out, &out_size);
    }
    return state < 0 ? state : verdict_of(rc);
}

int kin__authenticate_user(const kin_connection *connection)
{
    struct kin_peer peer;
    int rc = kin_connection_peer(connection, &peer);
    if (rc == -ENOTSUP) {
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    return peer.uid == 0 || peer.uid == kin__uid() ? 0 : KIN_EAUTH;
}
