/* Running the handshake over a connection. Layer: connection.
 * Protocol: docs/design/connection.md. */
#ifndef KIN_CONNECTION_AUTHENTICATE_H
#define KIN_CONNECTION_AUTHENTICATE_H

#include <kinfolk/connection.h>

#include "connection/handshake.h"

/*
 * Both ends prove that they know the key, by `deadline`. 0; KIN_EAUTH, also for a peer that hangs
 * up or does not speak the protocol; -ETIMEDOUT; what the interrupt function said.
 */
int kin__authenticate(kin_connection *connection, enum kin__handshake_role role, const void *key,
                      size_t key_size, int64_t deadline);

/* KIN_EAUTH unless the peer of an AF_UNIX socket is this user or root. */
int kin__authenticate_user(const kin_connection *connection);

#endif
