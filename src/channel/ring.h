/*
 * A byte ring for one producer and one consumer in shared memory, in granules of 64 bytes.
 * Layer: channel. Protocol: docs/design/ring.md.
 *
 * Records are contiguous; each begins at a granule with its length. Nothing is locked, so a process
 * that dies leaves the ring as it was at its last publish or release. Each end keeps its own
 * position privately and treats what it reads of the other's as untrusted.
 */
#ifndef KIN_CHANNEL_RING_H
#define KIN_CHANNEL_RING_H

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"

#define KIN__GRANULE 64
#define KIN__RING_HEAD 8 /* bytes of a record before its payload, which is thus 8 mod 64 */

/*
 * The shared part; `capacity` bytes of data follow it. I1: head <= tail <= head + capacity. I2: both
 * only grow, by whole granules. I3: the bytes in [head, tail) are whole records.
 */
struct kin__ring {
    kin__a64 tail __attribute__((aligned(64))); /* end of what is published; the producer's */
    kin__a64 head __attribute__((aligned(64))); /* end of what is released; the consumer's */
    unsigned char data[] __attribute__((aligned(64)));
};

/* One end, private to its process and to whatever lock makes it one thread's at a time. */
struct kin__ring_end {
    struct kin__ring *ring;
    uint64_t capacity; /* of data; a power of two */
    uint64_t own;      /* producer: end of what is reserved; consumer: end of what is read */
    uint64_t peer;     /* what the other end was last seen at */
};

/* Bytes of memory for a ring of that capacity, which is a power of two and at least 256. */
static inline uint64_t kin__ring_bytes(uint64_t capacity)
{
    return sizeof(struct kin__ring) + capacity;
}

/* The longest payload that always fits into an empty ring. */
static inline uint64_t kin__ring_most(uint64_t capacity)
{
    return capacity / 2 - KIN__RING_HEAD;
}

/* Makes the ring empty. Nobody else may be at it. */
void kin__ring_init(struct kin__ring *ring);

/* A private end of an empty ring (or of one whose other end is untouched). */
void kin__ring_attach(struct kin__ring_end *end, struct kin__ring *ring, uint64_t capacity);

/*
 * Producer: room for a record of `size` bytes, not seen by the consumer before the next publish.
 * -EAGAIN if there is none now, -EMSGSIZE if there never is, KIN_ECORRUPT.
 */
int kin__ring_reserve(struct kin__ring_end *end, uint64_t size, void **ret_payload);

/*
 * Producer: publishes all that is reserved, in one store, which is the commit. It is a seq_cst
 * exchange: a producer that looks for a sleeping consumer afterwards (kin__a32_load_seq), and a
 * consumer that announces and then reads again, cannot miss each other (P2).
 */
static inline void kin__ring_publish(struct kin__ring_end *end)
{
    kin__a64_xchg(&end->ring->tail, end->own);
}

/* The same without a look at the consumer to follow: it sees the records soon, but it may fall asleep
 * at the same time. Whoever uses it publishes, and looks, before it sleeps itself. */
static inline void kin__ring_publish_quietly(struct kin__ring_end *end)
{
    kin__a64_store(&end->ring->tail, end->own); /* P1 */
}

/*
 * Consumer: the next record, 1, or 0 if there is none, or KIN_ECORRUPT. The payload stays valid
 * until the release.
 */
int kin__ring_read(struct kin__ring_end *end, void **ret_payload, uint64_t *ret_size);

/* Consumer: gives back the room of all that was read. */
static inline void kin__ring_release(struct kin__ring_end *end)
{
    kin__a64_xchg(&end->ring->head, end->own); /* P3, as in publish */
}

/* The same for a producer that does not sleep for room. */
static inline void kin__ring_release_quietly(struct kin__ring_end *end)
{
    kin__a64_store(&end->ring->head, end->own); /* P3 */
}

/* Consumer: bytes that are published and not yet read, as last seen. */
uint64_t kin__ring_pending(struct kin__ring_end *end);

#endif
