/* Message authentication codes, on libnettle. Layer: connection. */
#include "connection/digest.h"

#include <nettle/hmac.h>
#include <nettle/md5.h>
#include <nettle/memops.h>
#include <nettle/nettle-meta.h>
#include <nettle/sha2.h>
#include <nettle/sha3.h>
#include <string.h>

static const struct {
    const char *name;
    const struct nettle_hash *hash;
} digests[KIN__DIGESTS] = {
    [KIN__DIGEST_MD5] = {"md5", &nettle_md5},
    [KIN__DIGEST_SHA256] = {"sha256", &nettle_sha256},
    [KIN__DIGEST_SHA384] = {"sha384", &nettle_sha384},
    [KIN__DIGEST_SHA3_256] = {"sha3_256", &nettle_sha3_256},
    [KIN__DIGEST_SHA3_384] = {"sha3_384", &nettle_sha3_384},
};

/* The state of any of these digests. */
union state {
    struct md5_ctx md5;
    struct sha256_ctx sha256;
    struct sha512_ctx sha384;
    struct sha3_256_ctx sha3_256;
    struct sha3_384_ctx sha3_384;
};

const char *kin__digest_name(enum kin__digest digest)
{
    return digests[digest].name;
}

size_t kin__digest_size(enum kin__digest digest)
{
    return digests[digest].hash->digest_size;
}

enum kin__digest kin__digest_find(const uint8_t *name, size_t length)
{
    for (unsigned i = 0; i < KIN__DIGESTS; i++) {
        if (strlen(digests[i].name) == length && memcmp(digests[i].name, name, length) == 0) {
            return (enum kin__digest)i;
        }
    }
    return KIN__DIGESTS;
}

size_t kin__hmac(enum kin__digest digest, const void *key, size_t key_size, const void *message,
                 size_t size, uint8_t ret_mac[KIN__DIGEST_MAX])
{
    const struct nettle_hash *hash = digests[digest].hash;
    union state outer, inner, state;
    hmac_set_key(&outer, &inner, &state, hash, key_size, key);
    hmac_update(&state, hash, size, message);
    hmac_digest(&outer, &inner, &state, hash, hash->digest_size, ret_mac);
    kin__wipe(&outer, sizeof outer);
    kin__wipe(&inner, sizeof inner);
    kin__wipe(&state, sizeof state);
    return hash->digest_size;
}

bool kin__equal_secret(const void *a, const void *b, size_t size)
{
    return memeql_sec(a, b, size) != 0;
}

void kin__wipe(void *secret, size_t size)
{
    explicit_bzero(secret, size);
}
