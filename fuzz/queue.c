/* A queue whose line, note and counters another process has overwritten. */
#include "channel/queue.h"

#include "fuzz.h"

#define STEPS 24

static kin_queue *queues[2]; /* unlimited; joinable and limited */

static void fill(kin_queue *queue)
{
    char bytes[700];
    size_t size = sizeof bytes;
    memset(bytes, 'q', sizeof bytes);
    /* Into the second segment, with the head in the first. */
    for (unsigned i = 0; i < 22; i++) {
        REQUIRE(kin_queue_put(queue, bytes, i % 7 == 3 ? 600 : 200 + i, 0) == 0);
        if (i < 4) {
            size = sizeof bytes;
            REQUIRE(kin_queue_get(queue, bytes, &size, 0) == 0);
        }
    }
}

static void setup(void)
{
    if (queues[0] != NULL) {
        return;
    }
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    REQUIRE(kin_queue_create(&options, &queues[0]) == 0);
    options.capacity = 20;
    options.max_bytes = 6000;
    options.joinable = 1;
    REQUIRE(kin_queue_create(&options, &queues[1]) == 0);
    fill(queues[0]);
    fill(queues[1]);
    queues[1]->shared->debt[FUZZ_PEER] = kin__queue_debt_word(1, 2);
    fuzz_arena_keep(&queues[0]->shared->object, &queues[1]->shared->object);
}

static unsigned regions_of(struct kin__queue *queue, struct fuzz_region regions[6])
{
    unsigned count = 0;
    regions[count++] = (struct fuzz_region){&queue->tail, offsetof(struct kin__queue, poller) -
                                                              offsetof(struct kin__queue, tail)};
    struct kin__segment *segment = kin__segment_of(kin__a64_load(&queue->head));
    for (unsigned i = 0; i < 2; i++) {
        regions[count++] = (struct fuzz_region){segment, (size_t)segment->size};
        segment = kin__segment_at(kin__a64_load(&segment->next));
    }
    regions[count++] = (struct fuzz_region){kin__slot_at(FUZZ_PEER)->lease, 64};
    if (queue->joinable) {
        regions[count++] = (struct fuzz_region){queue->debt, 64};
    }
    return count;
}

static void use_many(kin_queue *queue, struct fuzz_input *input)
{
    char buffer[2000];
    struct kin_queue_item items[8];
    for (unsigned i = 0; i < 8; i++) {
        items[i] = (struct kin_queue_item){buffer, fuzz_byte(input)};
    }
    memset(buffer, 'm', sizeof buffer);
    if (fuzz_byte(input) & 1) {
        kin_queue_put_many(queue, items, 8, 0);
    }
    int got = kin_queue_get_many(queue, buffer, sizeof buffer, items, 8, 0);
    for (int i = 0; i < got; i++) {
        REQUIRE((const char *)items[i].data >= buffer && items[i].size <= sizeof buffer);
    }
}

static void use_views(kin_queue *queue, struct fuzz_input *input)
{
    struct kin_queue_view view;
    size_t size = 1 + fuzz_number(input, 2) % 1000;
    if (kin_queue_reserve(queue, size, &view) == 0) {
        memset(view.data, 'r', size);
        if (kin_queue_commit(queue, &view, size, 0) < 0) {
            kin_queue_cancel(queue, &view);
        }
    }
    if (kin_queue_peek(queue, &view, 0) == 0) {
        uint8_t sum = 0;
        for (size_t i = 0; i < view.size; i++) {
            sum = (uint8_t)(sum + ((const uint8_t *)view.data)[i]);
        }
        REQUIRE(kin_queue_release(queue, &view) == 0 || sum != 0);
    }
}

int fuzz_target(const uint8_t *data, size_t size)
{
    setup();
    fuzz_arena_restore();
    struct fuzz_input input = {data, size};
    kin_queue *queue = queues[fuzz_byte(&input) & 1];
    struct fuzz_region regions[6];
    unsigned count = regions_of(queue->shared, regions);
    char buffer[1024];
    memset(buffer, 'b', sizeof buffer);
    for (unsigned i = 0; i < STEPS && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        size_t room = sizeof buffer;
        struct kin_queue_stats stats = {.size = sizeof stats};
        if (step >= FUZZ_FAIL_STEP) {
            fuzz_fail(step - FUZZ_FAIL_STEP);
            continue;
        }
        switch (step % 16) {
        case 0:
        case 1:
        case 2:
        case 3:
            fuzz_spoil(&input, regions, count);
            break;
        case 4:
            fuzz_orphan(&queue->shared->object.mutex);
            break;
        case 5:
            kin_queue_put(queue, buffer, fuzz_number(&input, 2) % sizeof buffer, 0);
            break;
        case 6:
        case 7:
            kin_queue_get(queue, buffer, &room, 0);
            break;
        case 8:
            use_many(queue, &input);
            break;
        case 9:
            use_views(queue, &input);
            break;
        case 10:
            kin_queue_stats(queue, &stats);
            break;
        case 11:
            kin_queue_task_done(queue);
            kin_queue_join(queue, 0);
            break;
        case 12:
            kin__queue_shrink(queue->shared);
            break;
        case 13:
            fuzz_sweep_peer();
            break;
        case 14:
            kin_queue_close(queue);
            break;
        default:
            fuzz_last_holder_dies(&queue->shared->object);
            return 0;
        }
    }
    return 0;
}
