/* Addresses as text. Layer: connection. */
#ifndef KIN_CONNECTION_ADDRESS_H
#define KIN_CONNECTION_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

#define KIN__ADDRESS_HOST_MAX 253
#define KIN__ADDRESS_TEXT (KIN__ADDRESS_HOST_MAX + 8)

/* What a text names. */
struct kin__address_text {
    bool inet;
    bool abstract;                        /* AF_UNIX: `name` is in the abstract namespace */
    const char *name;                     /* AF_UNIX: path or name, in the text; else unused */
    char host[KIN__ADDRESS_HOST_MAX + 1]; /* "" for all interfaces */
    uint16_t port;
};

/* Parses the text; `family` is an enum kin_address_family. 0, -EINVAL or -ENAMETOOLONG. */
int kin__address_parse(const char *text, int family, struct kin__address_text *ret_parsed);

/* The socket address that it is; resolves a host name, which may block. */
int kin__address_resolve(const struct kin__address_text *parsed, struct kin__address *ret_address);

#endif
