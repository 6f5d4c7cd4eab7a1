/*
 * The handshake as a function from messages to messages. Layer: connection.
 * Protocol: docs/design/connection.md.
 *
 * Pure: no descriptor, no clock, no random numbers of its own. What comes in was chosen by a peer
 * that has proved nothing yet.
 */
#ifndef KIN_CONNECTION_HANDSHAKE_H
#define KIN_CONNECTION_HANDSHAKE_H

#include "connection/digest.h"

#define KIN__HANDSHAKE_MAX 256   /* bytes of the longest message, either way */
#define KIN__HANDSHAKE_RANDOM 40 /* random bytes that one side needs */

enum kin__handshake_role {
    KIN__HANDSHAKE_LISTENER, /* delivers its challenge first, then answers */
    KIN__HANDSHAKE_CLIENT,   /* answers first */
};

enum kin__handshake_step {
    KIN__HANDSHAKE_AWAIT_RESPONSE,  /* to our challenge */
    KIN__HANDSHAKE_AWAIT_CHALLENGE, /* the peer's */
    KIN__HANDSHAKE_AWAIT_VERDICT,   /* on our response */
    KIN__HANDSHAKE_OVER,
};

struct kin__handshake {
    enum kin__handshake_role role;
    enum kin__handshake_step step;
    const void *key; /* the caller's */
    size_t key_size;
    uint8_t challenge[KIN__DIGEST_NAME_MAX + 2 + KIN__HANDSHAKE_RANDOM]; /* ours, with its prefix */
    size_t challenge_size;
};

/*
 * Begins. *ret_size bytes of `ret_out` are to be sent first (none by the client). `random` must
 * never repeat and not be guessable.
 */
void kin__handshake_begin(struct kin__handshake *handshake, enum kin__handshake_role role,
                          const void *key, size_t key_size,
                          const uint8_t random[KIN__HANDSHAKE_RANDOM],
                          uint8_t ret_out[KIN__HANDSHAKE_MAX], size_t *ret_size);

/*
 * Takes the peer's next message. In every case *ret_size bytes of `ret_out` are then to be sent,
 * if any. Returns 1: go on with the next message; 0: both ends have proved themselves; KIN_EAUTH.
 */
int kin__handshake_step(struct kin__handshake *handshake, const uint8_t *message, size_t size,
                        uint8_t ret_out[KIN__HANDSHAKE_MAX], size_t *ret_size);

#endif
