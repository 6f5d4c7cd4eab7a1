/*
 * Two ends of a handshake. What one says reaches the other as it is, changed, or replaced by bytes
 * of the input: the first takes an input past the proofs, the others are the peer that lies.
 */
#include "connection/handshake.h"

#include <kinfolk/base.h>

#include "fuzz.h"

static const char keys[2][8] = {"key one", "key two"};

struct end {
    struct kin__handshake handshake;
    uint8_t out[KIN__HANDSHAKE_MAX];
    size_t size;
    int state;
};

static void begin(struct end *end, enum kin__handshake_role role, const char *key, uint8_t seed)
{
    uint8_t random[KIN__HANDSHAKE_RANDOM];
    memset(random, seed, sizeof random);
    end->state = 1;
    end->size = 0;
    kin__handshake_begin(&end->handshake, role, key, strlen(key), random, end->out, &end->size);
    REQUIRE(end->size <= sizeof end->out);
}

/* A reply that only the key makes, in any of the digests: what an honest peer of another language
 * may say. */
static size_t prove(const struct end *to, const char *key, uint8_t which, uint8_t *out)
{
    enum kin__digest digest = which % KIN__DIGESTS;
    size_t size = 0;
    if (!(which & 16)) {
        const char *name = kin__digest_name(digest);
        size = (size_t)sprintf((char *)out, "{%s}", name);
    } else {
        digest = KIN__DIGEST_MD5;
    }
    size_t mac = kin__hmac(digest, key, strlen(key), to->handshake.challenge,
                           to->handshake.challenge_size, out + size);
    REQUIRE(mac == kin__digest_size(digest));
    return size + mac;
}

int fuzz_target(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    uint8_t how = fuzz_byte(&input);
    struct end ends[2];
    const char *theirs = keys[how & 1];
    begin(&ends[0], how & 2 ? KIN__HANDSHAKE_CLIENT : KIN__HANDSHAKE_LISTENER, keys[0], 1);
    begin(&ends[1], how & 4 ? KIN__HANDSHAKE_CLIENT : KIN__HANDSHAKE_LISTENER, theirs, 2);
    bool honest = true;
    for (unsigned i = 0; i < 16 && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        struct end *to = &ends[step & 1];
        const struct end *from = &ends[1 - (step & 1)];
        uint8_t message[KIN__HANDSHAKE_MAX + 32];
        size_t length = from->size;
        const uint8_t *bytes;
        memcpy(message, from->out, length);
        switch (step >> 1 & 3) {
        case 0:
            break;
        case 1:
            honest = false;
            if (length > 0) {
                size_t at = fuzz_byte(&input) % length;
                message[at] ^= fuzz_byte(&input);
            }
            break;
        case 2:
            honest = false;
            bytes = fuzz_bytes(&input, fuzz_number(&input, 2) % sizeof message, &length);
            memcpy(message, bytes, length);
            break;
        default:
            honest = false;
            length = prove(to, keys[step >> 3 & 1], fuzz_byte(&input), message);
        }
        uint8_t *exact = malloc(length + 1);
        REQUIRE(exact != NULL);
        memcpy(exact, message, length);
        int before = to->state;
        to->state = kin__handshake_step(&to->handshake, exact, length, to->out, &to->size);
        free(exact);
        REQUIRE(to->size <= sizeof to->out);
        REQUIRE(to->state == 1 || to->state == 0 || to->state == KIN_EAUTH);
        /* Over is over; and nobody who lacks the key and tells the truth gets in. */
        REQUIRE(before == 1 || to->state == KIN_EAUTH);
        REQUIRE(to->state != 0 || !honest || theirs == keys[0]);
    }
    return 0;
}
