/* Message authentication codes by name. Layer: connection. Protocol: docs/design/connection.md. */
#ifndef KIN_CONNECTION_DIGEST_H
#define KIN_CONNECTION_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kin__digest {
    KIN__DIGEST_MD5,
    KIN__DIGEST_SHA256,
    KIN__DIGEST_SHA384,
    KIN__DIGEST_SHA3_256,
    KIN__DIGEST_SHA3_384,
    KIN__DIGESTS,
};
#define KIN__DIGEST_MAX 64     /* bytes of the longest MAC, with room */
#define KIN__DIGEST_NAME_MAX 8 /* characters of the longest name */

const char *kin__digest_name(enum kin__digest digest);
size_t kin__digest_size(enum kin__digest digest);

/* The digest of that name, or KIN__DIGESTS. */
enum kin__digest kin__digest_find(const uint8_t *name, size_t length);

/* The HMAC of the message; returns its size. */
size_t kin__hmac(enum kin__digest digest, const void *key, size_t key_size, const void *message,
                 size_t size, uint8_t ret_mac[KIN__DIGEST_MAX]);

/* Compares in a time that does not depend on the contents. */
bool kin__equal_secret(const void *a, const void *b, size_t size);

/* Overwrites a secret; the compiler may not leave it out. */
void kin__wipe(void *secret, size_t size);

#endif
