/*
 * Challenge and response, wire-compatible with Python's multiprocessing.connection.
 * Layer: connection. Protocol: docs/design/connection.md.
 */
#include "connection/handshake.h"

#include <kinfolk/base.h>
#include <string.h>

#define CHALLENGE "#CHALLENGE#"
#define WELCOME "#WELCOME#"
#define FAILURE "#FAILURE#"
#define LENGTH(text) (sizeof(text) - 1)

/* Python before 3.12 sends challenges of 20 bytes and expects bare HMAC-MD5; nothing shorter is
 * answered. */
#define LEGACY_CHALLENGE 20
#define LEGACY_RESPONSE 16

/* A client's challenge ends in a mark under the key, by which clients know it: see is_clients. */
#define NONCE 24
#define MARK (KIN__HANDSHAKE_RANDOM - NONCE)
#define MARK_TEXT "kinfolk client challenge"

static void put(uint8_t *out, size_t *size, const void *bytes, size_t count)
{
    memcpy(out + *size, bytes, count);
    *size += count;
}

/* "{name}" */
static void put_prefix(uint8_t *out, size_t *size, enum kin__digest digest)
{
    const char *name = kin__digest_name(digest);
    put(out, size, "{", 1);
    put(out, size, name, strlen(name));
    put(out, size, "}", 1);
}

/*
 * Splits "{digest}payload". Returns the digest and the prefix's length; KIN__DIGEST_MD5 and 0 for
 * the bare messages of old peers; KIN__DIGESTS if it is neither.
 */
static enum kin__digest split(const uint8_t *message, size_t size, size_t *ret_prefix)
{
    *ret_prefix = 0;
    if (size == LEGACY_CHALLENGE || size == LEGACY_RESPONSE) {
        return KIN__DIGEST_MD5;
    }
    if (size == 0 || message[0] != '{') {
        return KIN__DIGESTS;
    }
    for (size_t i = 1; i < size && i <= KIN__DIGEST_NAME_MAX + 1; i++) {
        if (message[i] == '}') {
            *ret_prefix = i + 1;
            return kin__digest_find(message + 1, i - 1);
        }
    }
    return KIN__DIGESTS;
}

static void mark_of(const struct kin__handshake *handshake, const uint8_t nonce[NONCE],
                    uint8_t ret_mac[KIN__DIGEST_MAX])
{
    uint8_t text[LENGTH(MARK_TEXT) + NONCE];
    memcpy(text, MARK_TEXT, LENGTH(MARK_TEXT));
    memcpy(text + LENGTH(MARK_TEXT), nonce, NONCE);
    kin__hmac(KIN__DIGEST_SHA256, handshake->key, handshake->key_size, text, sizeof text, ret_mac);
}

/* Whether a challenge was made by a client that has our key: then whoever sends it to a client
 * wants an answer to give to the one who made it. */
static bool is_clients(const struct kin__handshake *handshake, const uint8_t *challenge,
                       size_t size)
{
    if (size < KIN__HANDSHAKE_RANDOM) {
        return false;
    }
    const uint8_t *nonce = challenge + size - KIN__HANDSHAKE_RANDOM;
    uint8_t mac[KIN__DIGEST_MAX];
    mark_of(handshake, nonce, mac);
    return kin__equal_secret(mac, nonce + NONCE, MARK);
}

static void make_challenge(struct kin__handshake *handshake,
                           const uint8_t random[KIN__HANDSHAKE_RANDOM])
{
    handshake->challenge_size = 0;
    put_prefix(handshake->challenge, &handshake->challenge_size, KIN__DIGEST_SHA256);
    uint8_t *payload = handshake->challenge + handshake->challenge_size;
    put(handshake->challenge, &handshake->challenge_size, random, KIN__HANDSHAKE_RANDOM);
    /* A listener sends its challenge to anybody, so it carries nothing that is made with the key;
     * a client's peer has already had an answer from it. */
    if (handshake->role == KIN__HANDSHAKE_CLIENT) {
        uint8_t mac[KIN__DIGEST_MAX];
        mark_of(handshake, payload, mac);
        memcpy(payload + NONCE, mac, MARK);
    }
}

static void put_challenge(const struct kin__handshake *handshake, uint8_t *out, size_t *size)
{
    put(out, size, CHALLENGE, LENGTH(CHALLENGE));
    put(out, size, handshake->challenge, handshake->challenge_size);
}

void kin__handshake_begin(struct kin__handshake *handshake, enum kin__handshake_role role,
                          const void *key, size_t key_size,
                          const uint8_t random[KIN__HANDSHAKE_RANDOM],
                          uint8_t ret_out[KIN__HANDSHAKE_MAX], size_t *ret_size)
{
    *handshake = (struct kin__handshake){.role = role, .key = key, .key_size = key_size};
    make_challenge(handshake, random);
    *ret_size = 0;
    if (role == KIN__HANDSHAKE_LISTENER) {
        put_challenge(handshake, ret_out, ret_size);
        handshake->step = KIN__HANDSHAKE_AWAIT_RESPONSE;
    } else {
        handshake->step = KIN__HANDSHAKE_AWAIT_CHALLENGE;
    }
}

static int take_response(struct kin__handshake *handshake, const uint8_t *message, size_t size,
                         uint8_t *out, size_t *out_size)
{
    size_t prefix = 0;
    enum kin__digest digest = split(message, size, &prefix);
    bool right = false;
    if (digest != KIN__DIGESTS) {
        uint8_t mac[KIN__DIGEST_MAX];
        size_t mac_size = kin__hmac(digest, handshake->key, handshake->key_size,
                                    handshake->challenge, handshake->challenge_size, mac);
        right = size - prefix == mac_size && kin__equal_secret(mac, message + prefix, mac_size);
        kin__wipe(mac, sizeof mac);
    }
    if (!right) {
        put(out, out_size, FAILURE, LENGTH(FAILURE));
        return KIN_EAUTH;
    }
    put(out, out_size, WELCOME, LENGTH(WELCOME));
    if (handshake->role == KIN__HANDSHAKE_CLIENT) {
        handshake->step = KIN__HANDSHAKE_OVER;
        return 0;
    }
    handshake->step = KIN__HANDSHAKE_AWAIT_CHALLENGE;
    return 1;
}

static int take_challenge(struct kin__handshake *handshake, const uint8_t *message, size_t size,
                          uint8_t *out, size_t *out_size)
{
    if (size < LENGTH(CHALLENGE) + LEGACY_CHALLENGE ||
        memcmp(message, CHALLENGE, LENGTH(CHALLENGE)) != 0) {
        return KIN_EAUTH;
    }
    message += LENGTH(CHALLENGE);
    size -= LENGTH(CHALLENGE);
    size_t prefix = 0;
    enum kin__digest digest = split(message, size, &prefix);
    if (digest == KIN__DIGESTS) {
        return KIN_EAUTH;
    }
    if (handshake->role == KIN__HANDSHAKE_CLIENT && is_clients(handshake, message, size)) {
        return KIN_EAUTH;
    }
    if (prefix > 0) {
        put_prefix(out, out_size, digest);
    }
    uint8_t mac[KIN__DIGEST_MAX];
    size_t mac_size = kin__hmac(digest, handshake->key, handshake->key_size, message, size, mac);
    put(out, out_size, mac, mac_size);
    handshake->step = KIN__HANDSHAKE_AWAIT_VERDICT;
    return 1;
}

static int take_verdict(struct kin__handshake *handshake, const uint8_t *message, size_t size,
                        uint8_t *out, size_t *out_size)
{
    if (size != LENGTH(WELCOME) || memcmp(message, WELCOME, size) != 0) {
        return KIN_EAUTH;
    }
    if (handshake->role == KIN__HANDSHAKE_LISTENER) {
        handshake->step = KIN__HANDSHAKE_OVER;
        return 0;
    }
    put_challenge(handshake, out, out_size);
    handshake->step = KIN__HANDSHAKE_AWAIT_RESPONSE;
    return 1;
}

int kin__handshake_step(struct kin__handshake *handshake, const uint8_t *message, size_t size,
                        uint8_t ret_out[KIN__HANDSHAKE_MAX], size_t *ret_size)
{
    *ret_size = 0;
    int rc = KIN_EAUTH;
    if (size > KIN__HANDSHAKE_MAX) {
        handshake->step = KIN__HANDSHAKE_OVER;
        return rc;
    }
    switch (handshake->step) {
    case KIN__HANDSHAKE_AWAIT_RESPONSE:
        rc = take_response(handshake, message, size, ret_out, ret_size);
        break;
    case KIN__HANDSHAKE_AWAIT_CHALLENGE:
        rc = take_challenge(handshake, message, size, ret_out, ret_size);
        break;
    case KIN__HANDSHAKE_AWAIT_VERDICT:
        rc = take_verdict(handshake, message, size, ret_out, ret_size);
        break;
    case KIN__HANDSHAKE_OVER:
        break;
    }
    if (rc < 0) {
        handshake->step = KIN__HANDSHAKE_OVER;
    }
    return rc;
}
