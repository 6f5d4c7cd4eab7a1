/*
 * How a message is framed on a byte stream: Python's wire format. Layer: channel.
 * Protocol: docs/design/connection.md.
 *
 * Pure functions on bytes that another process may have chosen: no descriptor, no allocation.
 */
#ifndef KIN_CHANNEL_FRAME_H
#define KIN_CHANNEL_FRAME_H

#include <stddef.h>
#include <stdint.h>

/*
 * A frame is its length, then the message: 4 bytes, big-endian and signed, or -1 and then 8 bytes,
 * big-endian, for a message of more than 0x7fffffff bytes.
 */
#define KIN__FRAME_SHORT 4
#define KIN__FRAME_LONG 12
#define KIN__FRAME_SHORT_MAX UINT64_C(0x7fffffff)
#define KIN__FRAME_MAX (UINT64_C(1) << 62) /* no message is larger */

/* Writes the header of a message of `size` <= KIN__FRAME_MAX bytes; returns its length. */
size_t kin__frame_encode(uint64_t size, uint8_t ret_header[KIN__FRAME_LONG]);

/*
 * What the first `have` bytes of a header mean: 0 when they are a whole header (its message has
 * *ret_size bytes), else how many bytes of header there must be before it is worth asking again
 * (more than `have`), or KIN_ECORRUPT for a length that no peer of the protocol sends.
 */
int kin__frame_decode(const uint8_t *header, size_t have, uint64_t *ret_size);

#endif
