/* Both ends of a ring whose other end writes what it likes. */
#include "channel/ring.h"

#include "fuzz.h"

#define CAPACITY 1024

int fuzz_target(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {data, size};
    struct kin__ring *ring = aligned_alloc(64, kin__ring_bytes(CAPACITY));
    REQUIRE(ring != NULL);
    memset(ring->data, 0, CAPACITY);
    kin__ring_init(ring);
    struct kin__ring_end producer, consumer;
    kin__ring_attach(&producer, ring, CAPACITY);
    kin__ring_attach(&consumer, ring, CAPACITY);
    for (unsigned i = 0; i < 64 && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        void *payload;
        uint64_t length;
        switch (step % 8) {
        case 0:
        case 1:
            length = fuzz_number(&input, 2) % 600;
            if (kin__ring_reserve(&producer, length, &payload) == 0) {
                memset(payload, step, length);
            }
            break;
        case 2:
            kin__ring_publish(&producer);
            break;
        case 3:
        case 4:
            if (kin__ring_read(&consumer, &payload, &length) == 1) {
                REQUIRE((unsigned char *)payload >= ring->data && length <= CAPACITY &&
                        (unsigned char *)payload + length <= ring->data + CAPACITY);
                uint8_t sum = 0;
                for (uint64_t k = 0; k < length; k++) {
                    sum = (uint8_t)(sum + ((uint8_t *)payload)[k]);
                }
                memset(payload, sum, length);
            }
            break;
        case 5:
            kin__ring_release(&consumer);
            break;
        case 6: /* a record's head, and now and then the bytes of one */
            length = fuzz_byte(&input) % (CAPACITY / 64) * 64;
            for (unsigned k = 0; k < 8; k++) {
                ring->data[length + k] = fuzz_byte(&input);
            }
            break;
        default:
            kin__a64_store(step & 8 ? &ring->tail : &ring->head,
                           step & 16 ? fuzz_number(&input, 8) : fuzz_number(&input, 1) * 64);
        }
    }
    free(ring);
    return 0;
}
