/*
 * Reading a caller's option struct whatever version of the header it was compiled with: a struct
 * begins with its own size, and what lies beyond it takes the defaults. Layer: base.
 */
#ifndef KIN_BASE_OPTIONS_H
#define KIN_BASE_OPTIONS_H

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Overwrites `options` (`size` bytes, holding the defaults) with what the caller gave. Returns 0,
 * or -EINVAL where the caller's size is 0 or larger than this library knows with a non-zero tail.
 */
static inline int kin__options_read(void *options, size_t size, const void *given)
{
    if (given == NULL) {
        return 0;
    }
    size_t given_size;
    memcpy(&given_size, given, sizeof given_size);
    if (given_size < sizeof given_size) {
        return -EINVAL;
    }
    for (size_t i = size; i < given_size; i++) {
        if (((const unsigned char *)given)[i] != 0) {
            return -EINVAL;
        }
    }
    memcpy(options, given, given_size < size ? given_size : size);
    memcpy(options, &size, sizeof size);
    return 0;
}

#endif
