/*
 * Description: a process is killed at every instruction of taking messages from a queue; what it
 * had taken is lost and nothing else, everybody who waits goes on, and no memory is lost.
 */
#include "queue_kit.h"

#include <string.h>

#include "channel/queue.h"

/* --- states ----------------------------------------------------------------------------------- */

/* The victim is to take so many of so many. */
static void begin(struct queue_state *state, size_t capacity, int joinable, unsigned takes,
                  unsigned count, size_t size)
{
    begin_queue(state, capacity, 0, joinable);
    fill(state, count, size);
    state->takes = takes;
}

static void begin_small(void *arg)
{
    begin(arg, 0, 0, 1, 2, TINY);
}

static void begin_large(void *arg)
{
    begin(arg, 0, 0, 1, 2, LARGE);
}

/* The victim has its lease before it knows what comes. */
static void begin_expected_large(void *arg)
{
    struct queue_state *state = arg;
    begin(arg, 0, 0, 1, 2, LARGE);
    kin__a32_store(&state->queue->expect_large, 1);
}

static void begin_empty(void *arg)
{
    begin(arg, 0, 0, 1, 0, TINY);
}

static void begin_last(void *arg)
{
    begin(arg, 0, 0, 1, 1, TINY);
}

static void begin_full(void *arg)
{
    begin(arg, 2, 0, 1, 2, TINY);
}

static void begin_joinable(void *arg)
{
    begin(arg, 0, 1, 1, 1, TINY);
}

static void begin_joinable_large(void *arg)
{
    begin(arg, 0, 1, 1, 1, LARGE);
}

static void begin_three(void *arg)
{
    begin(arg, 0, 0, 3, 3, TINY);
}

static void begin_three_full(void *arg)
{
    begin(arg, 3, 0, 3, 3, TINY);
}

static void begin_three_joinable(void *arg)
{
    begin(arg, 0, 1, 3, 3, TINY);
}

/* The next get leaves the second of three segments, and two are free then. */
static void begin_shrinking(void *arg)
{
    begin(arg, 0, 0, 1, 0, TINY);
    wad(arg, 2);
    fill(arg, 1, WADDING);
    take_wadding(arg);
}

/* --- operations ------------------------------------------------------------------------------- */

static void note_taken(struct queue_state *state, unsigned count)
{
    kin__a32_store(&state->taken, count);
}

static void get(void *arg)
{
    struct queue_state *state = arg;
    state->item[0].size = MOST;
    state->item[0].data = state->bytes[0];
    if (kin_queue_get(state->queue, state->bytes[0], &state->item[0].size, KIN_FOREVER) == 0) {
        note_taken(state, 1);
    }
}

static void get_three(void *arg)
{
    struct queue_state *state = arg;
    int count = kin_queue_get_many(state->queue, state->bytes, sizeof state->bytes, state->item, 3,
                                   KIN_FOREVER);
    if (count > 0) {
        note_taken(state, (unsigned)count);
    }
}

static void declare(struct queue_state *state)
{
    if (kin_queue_task_done(state->queue) == 0) {
        kin__a32_store(&state->declared, 1);
    }
}

static void get_and_declare(void *arg)
{
    get(arg);
    declare(arg);
}

static void get_and_declare_three(void *arg)
{
    struct queue_state *state = arg;
    get_three(arg);
    for (int i = 0; i < 2; i++) {
        kin_queue_task_done(state->queue);
    }
    declare(state);
}

static void peek_and_release(void *arg)
{
    struct queue_state *state = arg;
    struct kin_queue_view view;
    if (kin_queue_peek(state->queue, &view, KIN_FOREVER) == 0) {
        memcpy(state->bytes[0], view.data, view.size);
        state->item[0] = (struct kin_queue_item){.data = state->bytes[0], .size = view.size};
        note_taken(state, 1);
        kin_queue_release(state->queue, &view);
    }
}

/* One for the victim and one for the bystander. */
static void put_two(void *arg)
{
    struct queue_state *state = arg;
    char bytes[2][TINY];
    struct kin_queue_item items[2];
    for (unsigned i = 0; i < 2; i++) {
        make_message(bytes[i], FROM_RELEASE + i, TINY);
        items[i] = (struct kin_queue_item){.data = bytes[i], .size = TINY};
        kin__a32_store(&state->put[FROM_RELEASE + i], 1);
    }
    kit_assert_int(kin_queue_put_many(state->queue, items, 2, 0), 2);
}

#define GET QUEUE_CASE, .warm = enter

static const struct kit_case cases[] = {
    {.name = "get, small", GET, .setup = begin_small, .victim = get, .pairs = 40},
    {.name = "get, large", GET, .setup = begin_large, .victim = get, .pairs = 40},
    {.name = "get, large, expected", GET, .setup = begin_expected_large, .victim = get,
     .pairs = 20},
    {.name = "get, empty", GET, .setup = begin_empty, .victim = get, .release = put_two,
     .pairs = 20},
    {.name = "get, empty, another gets", GET, .setup = begin_empty, .victim = get,
     .release = put_two, .bystanders = {{bystander_gets}}},
    {.name = "get, empty, another polls", GET, .setup = begin_empty, .victim = get,
     .release = put_two, .bystanders = {{bystander_polls}}},
    {.name = "get, by one who polls", QUEUE_CASE, .warm = enter_and_poll, .setup = begin_last,
     .victim = get, .pairs = 20},
    {.name = "get, full, somebody puts", GET, .setup = begin_full, .victim = get,
     .bystanders = {{bystander_puts, .prompt = true}}},
    {.name = "get, shrinking", GET, .setup = begin_shrinking, .victim = get, .pairs = 40},
    {.name = "get, joinable, somebody joins", GET, .setup = begin_joinable,
     .victim = get_and_declare, .bystanders = {{bystander_joins, .prompt = true}}},
    {.name = "get, large, joinable", GET, .setup = begin_joinable_large,
     .victim = get_and_declare, .pairs = 40},
    {.name = "batch, full, two put", GET, .setup = begin_three_full, .victim = get_three,
     .bystanders = {{bystander_puts, .prompt = true}, {bystander_puts, .prompt = true}}},
    {.name = "batch", GET, .setup = begin_three, .victim = get_three, .pairs = 20},
    {.name = "batch, joinable", GET, .setup = begin_three_joinable,
     .victim = get_and_declare_three, .pairs = 20},
    {.name = "peek and release, small", GET, .setup = begin_small, .victim = peek_and_release,
     .pairs = 20},
    {.name = "peek and release, large", GET, .setup = begin_large, .victim = peek_and_release,
     .pairs = 40},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
