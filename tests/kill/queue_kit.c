/* Kill sweeps of queues: see queue_kit.h. Layer: tests. */
#include "queue_kit.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "channel/queue.h"
#include "shm/heap.h"

#define SECOND INT64_C(1000000000)

/* --- messages -------------------------------------------------------------------------------- */

void make_message(char *message, unsigned number, size_t size)
{
    uint32_t head[2] = {number, (uint32_t)size};
    for (size_t i = 0; i < size; i++) {
        message[i] = (char)(number * 37 + i);
    }
    memcpy(message, head, sizeof head);
}

/* By producer: the last number that this process has got. */
static unsigned last[NUMBERS / SHARE];

unsigned take_message(struct queue_state *state, const void *message, size_t size)
{
    uint32_t head[2];
    char whole[MOST];
    kit_require(size >= sizeof head && size <= MOST, "a message of %zu bytes", size);
    memcpy(head, message, sizeof head);
    kit_require(head[0] < NUMBERS && head[1] == size, "garbage: message %u of %u bytes in %zu",
                head[0], head[1], size);
    make_message(whole, head[0], size);
    kit_require(memcmp(whole, message, size) == 0, "garbage in message %u", head[0]);
    unsigned *before = &last[head[0] / SHARE];
    kit_require(*before == 0 || *before <= head[0], "message %u came after %u", head[0],
                *before - 1);
    *before = head[0] + 1;
    kit_require(kin__a32_add(&state->got[head[0]], 1) == 0, "message %u is doubled", head[0]);
    return head[0];
}

int put_message(struct queue_state *state, unsigned number, size_t size, int64_t timeout_ns)
{
    char message[MOST];
    make_message(message, number, size);
    int rc = kin_queue_put(state->queue, message, size, timeout_ns);
    if (rc == 0) {
        kin__a32_store(&state->put[number], 1);
    }
    return rc;
}

int get_message(struct queue_state *state, int64_t timeout_ns)
{
    char message[MOST];
    size_t size = sizeof message;
    int rc = kin_queue_get(state->queue, message, &size, timeout_ns);
    if (rc == 0) {
        take_message(state, message, size);
    }
    return rc;
}

/* --- setup ------------------------------------------------------------------------------------ */

static kin_queue *create(size_t capacity, uint64_t max_bytes, int joinable)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = capacity;
    options.max_bytes = max_bytes;
    options.joinable = joinable;
    kin_queue *queue;
    kit_assert_int(kin_queue_create(&options, &queue), 0);
    return queue;
}

void begin_queue(struct queue_state *state, size_t capacity, uint64_t max_bytes, int joinable)
{
    /* All rounds begin with the same slabs: those of objects are for ever, the others are kept for
     * a while. */
    struct kin__heap_view view;
    kit_assert_ok(kin__enter());
    kit_assert_int(kin__bell_prepare(), 0); /* children inherit what rings */
    kin__sweep(true);
    kit_assert_int(kin__heap_lock(&view), 0);
    kin__slab_trim(&view);
    kin__heap_unlock(&view);
    memset(last, 0, sizeof last);
    state->queue = create(0, 0, joinable);
    kit_assert_int(put_message(state, 0, LARGE, 0), 0);
    kit_assert_int(get_message(state, 0), 0);
    kin_queue_destroy(state->queue);
    memset(state, 0, sizeof *state);
    kit_assert_int(kin__heap_usage(&state->used, &state->blocks), 0);
    state->queue = create(capacity, max_bytes, joinable);
    /* How long one spins depends on the clock, and with it the number of instructions. */
    kin__a32_store(&state->queue->spin_empty, 0);
    kin__a32_store(&state->queue->spin_full, 0);
    memset(last, 0, sizeof last);
}

void fill(struct queue_state *state, unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++) {
        kit_assert_int(put_message(state, FROM_SETUP + state->filled++, size, 0), 0);
    }
}

bool at_end_of_segment(struct queue_state *state, size_t size)
{
    uint64_t tail = kin__a64_load(&state->queue->shared->tail);
    const struct kin__record *stub = kin__at(tail, sizeof *stub);
    return stub->back + kin__record_stride(size) + sizeof *stub > kin__segment_of(tail)->size;
}

void wad(struct queue_state *state, unsigned segments)
{
    char wadding[WADDING] = {0};
    while (kin__queue_segments(state->queue->shared) < segments ||
           !at_end_of_segment(state, WADDING)) {
        kit_assert_int(kin_queue_put(state->queue, wadding, sizeof wadding, 0), 0);
        state->wadding++;
    }
}

void take_wadding(struct queue_state *state)
{
    char wadding[WADDING];
    for (unsigned i = 0; i < state->wadding; i++) {
        size_t size = sizeof wadding;
        kit_assert_int(kin_queue_get(state->queue, wadding, &size, 0), 0);
    }
}

void give_victim(struct queue_state *state, unsigned number, size_t size)
{
    make_message(state->bytes[number], FROM_VICTIM + number, size);
    state->item[number] = (struct kin_queue_item){.data = state->bytes[number], .size = size};
}

void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

void enter_and_poll(void *arg)
{
    struct queue_state *state = arg;
    kit_assert_ok(kin_queue_fd(state->queue));
}

/* --- bystanders ------------------------------------------------------------------------------- */

static void is_done(int rc)
{
    kit_require(rc == 0 || rc == KIN_ECLOSED, "a bystander's call: %d", rc);
}

/* Of a joinable queue. */
static void declare(struct queue_state *state)
{
    if (state->queue->shared->joinable) {
        kit_assert_int(kin_queue_task_done(state->queue), 0);
    }
}

void bystander_gets(void *arg)
{
    struct queue_state *state = arg;
    int rc = get_message(state, KIN_FOREVER);
    is_done(rc);
    if (rc == 0) {
        declare(state);
    }
}

void bystander_polls(void *arg)
{
    struct queue_state *state = arg;
    struct pollfd poll_fd = {.fd = kin_queue_fd(state->queue), .events = POLLIN};
    int rc;
    do {
        kit_assert_int(poll(&poll_fd, 1, -1), 1);
        rc = get_message(state, 0);
    } while (rc == -ETIMEDOUT);
    is_done(rc);
    if (rc == 0) {
        declare(state);
    }
}

void bystander_puts(void *arg)
{
    struct queue_state *state = arg;
    unsigned number = FROM_BYSTANDER + SHARE * kin__a32_add(&state->bystanders, 1);
    is_done(put_message(state, number, TINY, KIN_FOREVER));
}

void bystander_puts_more(void *arg)
{
    is_done(put_message(arg, FROM_BYSTANDER, LARGE, KIN_FOREVER));
}

void bystander_joins(void *arg)
{
    struct queue_state *state = arg;
    kit_assert_int(kin_queue_join(state->queue, KIN_FOREVER), 0);
}

/* --- afterwards ------------------------------------------------------------------------------- */

static void drain(struct queue_state *state, int at_end)
{
    int rc;
    while ((rc = get_message(state, 0)) == 0) {
        declare(state);
    }
    kit_assert_int(rc, at_end);
}

void survive(void *arg)
{
    struct queue_state *state = arg;
    bool closed = kin__a32_load(&state->queue->shared->closed) != 0;
    drain(state, closed ? KIN_ECLOSED : -ETIMEDOUT);
    for (unsigned i = 0; i < 4 && !closed; i++) {
        size_t size = i % 2 == 0 ? TINY : LARGE;
        int rc = put_message(state, FROM_SURVIVOR + i, size, SECOND / 4);
        if (rc == -ETIMEDOUT && get_message(state, 0) == 0) {
            /* A bystander's message had come in between, and there is no room for both. */
            declare(state);
            rc = put_message(state, FROM_SURVIVOR + i, size, SECOND / 2);
        }
        kit_assert_int(rc, 0);
        rc = get_message(state, 0);
        kit_require(rc == 0 || rc == -ETIMEDOUT, "a survivor's get: %d", rc);
        if (rc == 0) {
            declare(state);
        }
    }
    kit_assert_int(kin_queue_close(state->queue), 0);
    drain(state, KIN_ECLOSED);
    kit_assert_int(put_message(state, FROM_SURVIVOR + 9, TINY, 0), KIN_ECLOSED);
    if (state->queue->shared->joinable) {
        kin__sweep(true); /* which join would do after a slice, in each round */
        kit_assert_int(kin_queue_join(state->queue, SECOND), 0);
    }
}

/* What a survivor does to recover, without taking any message with it when it is killed as well. */
void recover(void *arg)
{
    struct queue_state *state = arg;
    struct kin_queue_stats stats = {.size = sizeof stats};
    kin_queue_stats(state->queue, &stats);
    kin__sweep(true);
}

static const char *check_table(struct queue_state *state, unsigned *ret_committed,
                               unsigned *ret_lost)
{
    unsigned committed = 0, lost = 0;
    bool missing = false;
    for (unsigned i = 0; i < NUMBERS; i++) {
        unsigned put = kin__a32_load(&state->put[i]), got = kin__a32_load(&state->got[i]);
        if (got > 1) {
            return "a message is doubled";
        }
        if (i < FROM_VICTIM || i >= FROM_RELEASE) {
            if (put == 0 && got != 0) {
                return "a message came that nobody has put";
            }
        } else {
            if (missing && got != 0) {
                return "a batch has a hole";
            }
            missing = got == 0;
        }
        committed += put != 0 || got != 0;
        lost += put != 0 && got == 0;
    }
    /* What a dead reader had taken is gone, and nothing else; a batch is taken at once. */
    if (lost != 0 && lost != state->takes) {
        return "a message is lost";
    }
    *ret_committed = committed;
    *ret_lost = lost;
    return NULL;
}

static const char *check_counts(struct queue_state *state, unsigned committed, unsigned lost)
{
    struct kin__queue *queue = state->queue->shared;
    struct kin_queue_stats stats = {.size = sizeof stats};
    kit_assert_int(kin_queue_stats(state->queue, &stats), 0);
    if (stats.messages != 0 || stats.bytes != 0 || stats.unfinished != 0) {
        return "the counts of an empty queue are not 0";
    }
    if (stats.put != committed + state->wadding) {
        return "the count of messages put is wrong";
    }
    if (queue->joinable && (stats.lost < lost || stats.lost > state->takes ||
                            (kin__a32_load(&state->declared) != 0 && stats.lost != 0))) {
        return "the count of lost tasks is wrong";
    }
    if (kin__a64_load(&queue->note.kind) != KIN__OP_NONE) {
        return "a note is left";
    }
    for (unsigned i = 0; i < KIN__POLLERS; i++) {
        if (kin__a64_load(&queue->poller[i].owner) != 0) {
            return "a dead poller is left";
        }
    }
    return NULL;
}

const char *check_queue(void *arg)
{
    struct queue_state *state = arg;
    uint64_t used, blocks;
    unsigned committed, lost;
    kin__sweep(true);
    for (unsigned i = 0; i < kin__a32_load(&state->taken); i++) {
        last[0] = last[FROM_RELEASE / SHARE] = 0; /* by another reader than us */
        take_message(state, state->item[i].data, state->item[i].size);
    }
    const char *wrong = check_table(state, &committed, &lost);
    if (wrong == NULL) {
        wrong = check_counts(state, committed, lost);
    }
    kin_queue_destroy(state->queue);
    kit_assert_int(kin__heap_usage(&used, &blocks), 0);
    if (wrong == NULL && (used != state->used || blocks != state->blocks)) {
        wrong = blocks > state->blocks ? "a block leaks" : "a block is missing";
    }
    return wrong;
}
