/* Framing of messages, without input or output. Layer: channel. Protocol: docs/design/connection.md. */
#include "channel/frame.h"

#include <kinfolk/base.h>

static void put_be(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    }
}

static uint64_t get_be(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

size_t kin__frame_encode(uint64_t size, uint8_t ret_header[KIN__FRAME_LONG])
{
    if (size <= KIN__FRAME_SHORT_MAX) {
        put_be(ret_header, size, 4);
        return KIN__FRAME_SHORT;
    }
    put_be(ret_header, UINT32_MAX, 4);
    put_be(ret_header + 4, size, 8);
    return KIN__FRAME_LONG;
}

int kin__frame_decode(const uint8_t *header, size_t have, uint64_t *ret_size)
{
    if (have < KIN__FRAME_SHORT) {
        return KIN__FRAME_SHORT;
    }
    uint64_t size = get_be(header, 4);
    if (size <= KIN__FRAME_SHORT_MAX) {
        *ret_size = size;
        return 0;
    }
    if (size != UINT32_MAX) {
        return KIN_ECORRUPT; /* a negative length other than the mark */
    }
    if (have < KIN__FRAME_LONG) {
        return KIN__FRAME_LONG;
    }
    size = get_be(header + 4, 8);
    if (size > KIN__FRAME_MAX) {
        return KIN_ECORRUPT;
    }
    *ret_size = size;
    return 0;
}
