/* Parsing of addresses. Layer: connection. */
#include "connection/address.h"

#include <errno.h>
#include <kinfolk/listener.h>
#include <string.h>

/* The port that the text ends in: its colon is stored; or false. */
static bool parse_port(const char *text, const char **ret_colon, uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0' || strlen(colon + 1) > 5) {
        return false;
    }
    uint32_t port = 0;
    for (const char *c = colon + 1; *c != '\0'; c++) {
        if (*c < '0' || *c > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(*c - '0');
    }
    if (port > UINT16_MAX) {
        return false;
    }
    *ret_colon = colon;
    *ret_port = (uint16_t)port;
    return true;
}

int kin__address_parse(const char *text, int family, struct kin__address_text *ret_parsed)
{
    struct kin__address_text parsed = {.name = text};
    const char *colon = NULL;
    bool has_port = parse_port(text, &colon, &parsed.port);
    if (family == KIN_ADDRESS_ANY) {
        parsed.inet = has_port && text[0] != '@' && strchr(text, '/') == NULL;
    } else {
        parsed.inet = family == KIN_ADDRESS_INET;
    }
    if (!parsed.inet) {
        parsed.abstract = text[0] == '@';
        parsed.name = text + parsed.abstract;
        if (parsed.name[0] == '\0') {
            return -EINVAL;
        }
    } else {
        if (!has_port || colon == text) {
            return -EINVAL;
        }
        size_t length = (size_t)(colon - text);
        if (length > KIN__ADDRESS_HOST_MAX) {
            return -ENAMETOOLONG;
        }
        if (length != 1 || text[0] != '*') {
            memcpy(parsed.host, text, length);
        }
    }
    *ret_parsed = parsed;
    return 0;
}

int kin__address_resolve(const struct kin__address_text *parsed, struct kin__address *ret_address)
{
    return parsed->inet ? kin__address_inet(parsed->host, parsed->port, ret_address)
                        : kin__address_unix(parsed->name, parsed->abstract, ret_address);
}
