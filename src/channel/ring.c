/* The single-producer single-consumer byte ring. Layer: channel. Protocol: docs/design/ring.md. */
#include "channel/ring.h"

#include <errno.h>
#include <kinfolk/base.h>

#include "base/fault.h"

/* The length of a record that only fills the ring's end, so that the next one is contiguous. */
#define PADDING UINT32_MAX

/* First in each record. Written by the producer before the publish that covers it. */
struct record {
    uint32_t size; /* of the payload, or PADDING */
    uint32_t granules;
};

void kin__ring_init(struct kin__ring *ring)
{
    kin__a64_store(&ring->tail, 0);
    kin__a64_store(&ring->head, 0);
}

void kin__ring_attach(struct kin__ring_end *end, struct kin__ring *ring, uint64_t capacity)
{
    *end = (struct kin__ring_end){.ring = ring, .capacity = capacity};
}

static struct record *record_at(const struct kin__ring_end *end, uint64_t position)
{
    return (struct record *)(end->ring->data + (position & (end->capacity - 1)));
}

static void write_record(struct kin__ring_end *end, uint32_t size, uint64_t bytes)
{
    *record_at(end, end->own) =
        (struct record){.size = size, .granules = (uint32_t)(bytes / KIN__GRANULE)};
    end->own += bytes;
    if (KIN__FAULT(COMMIT_BEFORE_WRITE)) {
        kin__ring_publish(end);
    }
}

int kin__ring_reserve(struct kin__ring_end *end, uint64_t size, void **ret_payload)
{
    if (size > kin__ring_most(end->capacity)) {
        return -EMSGSIZE;
    }
    uint64_t bytes = kin__align_up(KIN__RING_HEAD + size, KIN__GRANULE);
    uint64_t to_end = end->capacity - (end->own & (end->capacity - 1));
    uint64_t padding = bytes > to_end ? to_end : 0;
    if (end->own + padding + bytes - end->peer > end->capacity) {
        /* seq_cst: pairs with the consumer's release, P3. */
        end->peer = kin__a64_load_seq(&end->ring->head);
        if (end->own - end->peer > end->capacity || end->peer % KIN__GRANULE != 0) {
            return KIN_ECORRUPT;
        }
        if (end->own + padding + bytes - end->peer > end->capacity) {
            return -EAGAIN;
        }
    }
    if (padding != 0) {
        write_record(end, PADDING, padding);
    }
    *ret_payload = (unsigned char *)record_at(end, end->own) + KIN__RING_HEAD;
    write_record(end, (uint32_t)size, bytes);
    return 0;
}

uint64_t kin__ring_pending(struct kin__ring_end *end)
{
    if (end->own == end->peer) {
        /* seq_cst: pairs with the producer's publish, P1 (contents) and P2 (sleeping). */
        end->peer = kin__a64_load_seq(&end->ring->tail);
    }
    return end->peer - end->own;
}

int kin__ring_read(struct kin__ring_end *end, void **ret_payload, uint64_t *ret_size)
{
    for (;;) {
        uint64_t pending = kin__ring_pending(end);
        if (pending == 0) {
            return 0;
        }
        if (pending > end->capacity || pending % KIN__GRANULE != 0) {
            return KIN_ECORRUPT;
        }
        struct record *at = record_at(end, end->own);
        struct record record = *at;
        uint64_t bytes = (uint64_t)record.granules * KIN__GRANULE;
        uint64_t to_end = end->capacity - (end->own & (end->capacity - 1));
        if (bytes == 0 || bytes > pending || bytes > to_end) {
            return KIN_ECORRUPT;
        }
        end->own += bytes;
        if (record.size == PADDING) {
            continue;
        }
        if (record.size > bytes - KIN__RING_HEAD) {
            return KIN_ECORRUPT;
        }
        *ret_payload = (unsigned char *)at + KIN__RING_HEAD;
        *ret_size = record.size;
        return 1;
    }
}
