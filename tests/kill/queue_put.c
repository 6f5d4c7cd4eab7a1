/*
 * Description: a process is killed at every instruction of putting messages into a queue; they are
 * there wholly or not at all, everybody who waits goes on, and no memory is lost.
 */
#include "queue_kit.h"

#include <string.h>

/* --- states ----------------------------------------------------------------------------------- */

static void begin_empty(void *arg)
{
    begin_queue(arg, 0, 0, 0);
    give_victim(arg, 0, TINY);
}

static void begin_empty_large(void *arg)
{
    begin_queue(arg, 0, 0, 0);
    give_victim(arg, 0, LARGE);
}

static void begin_full(void *arg)
{
    begin_queue(arg, 2, 0, 0);
    fill(arg, 2, TINY);
    give_victim(arg, 0, TINY);
}

static void begin_joinable(void *arg)
{
    begin_queue(arg, 0, 0, 1);
    fill(arg, 1, TINY);
    give_victim(arg, 0, TINY);
}

/* The next put needs a new segment. */
static void begin_growing(void *arg)
{
    begin_queue(arg, 0, 0, 0);
    do {
        fill(arg, 1, 224);
    } while (!at_end_of_segment(arg, 240));
    give_victim(arg, 0, 240);
}

/* The next put moves on to a segment that is free. */
static void begin_jumping(void *arg)
{
    begin_queue(arg, 0, 0, 0);
    wad(arg, 2);
    take_wadding(arg);
    give_victim(arg, 0, WADDING);
}

/* There is room for the victim's, not for the bystander's. */
static void begin_bytes_limited(void *arg)
{
    begin_queue(arg, 0, LARGE + TINY, 0);
    fill(arg, 2, TINY);
    give_victim(arg, 0, TINY);
}

static void begin_batch(void *arg)
{
    begin_queue(arg, 0, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        give_victim(arg, i, TINY);
    }
}

/* There is room for the first. */
static void begin_batch_limited(void *arg)
{
    begin_queue(arg, 2, 0, 0);
    fill(arg, 1, TINY);
    give_victim(arg, 0, TINY);
    give_victim(arg, 1, TINY);
}

/* --- operations ------------------------------------------------------------------------------- */

static void put(void *arg)
{
    struct queue_state *state = arg;
    if (kin_queue_put(state->queue, state->item[0].data, state->item[0].size, KIN_FOREVER) == 0) {
        kin__a32_store(&state->put[FROM_VICTIM], 1);
    }
}

static void put_batch(void *arg)
{
    struct queue_state *state = arg;
    unsigned count = state->item[2].size == 0 ? 2 : 3;
    int done = kin_queue_put_many(state->queue, state->item, count, KIN_FOREVER);
    for (int i = 0; i < done; i++) {
        kin__a32_store(&state->put[FROM_VICTIM + i], 1);
    }
}

static void reserve_and_commit(void *arg)
{
    struct queue_state *state = arg;
    struct kin_queue_view view;
    size_t size = state->item[0].size;
    if (kin_queue_reserve(state->queue, size + 8, &view) == 0) {
        memcpy(view.data, state->item[0].data, size);
        if (kin_queue_commit(state->queue, &view, size, KIN_FOREVER) == 0) {
            kin__a32_store(&state->put[FROM_VICTIM], 1);
        }
    }
}

static void reserve_and_cancel(void *arg)
{
    struct queue_state *state = arg;
    struct kin_queue_view view;
    if (kin_queue_reserve(state->queue, TINY, &view) == 0) {
        kin_queue_cancel(state->queue, &view);
    }
}

static void make_room(void *arg)
{
    kit_assert_int(get_message(arg, 0), 0);
}

#define PUT QUEUE_CASE, .warm = enter

static const struct kit_case cases[] = {
    {.name = "put, small", PUT, .setup = begin_empty, .victim = put, .pairs = 40},
    {.name = "put, large", PUT, .setup = begin_empty_large, .victim = put, .pairs = 40},
    {.name = "put, joinable, somebody joins", PUT, .setup = begin_joinable, .victim = put,
     .bystanders = {{bystander_joins}}},
    {.name = "put, somebody gets", PUT, .setup = begin_empty, .victim = put,
     .bystanders = {{bystander_gets, .prompt = true}}},
    {.name = "put, somebody polls", PUT, .setup = begin_empty, .victim = put,
     .bystanders = {{bystander_polls, .prompt = true}}},
    {.name = "put, one gets and one polls", PUT, .setup = begin_empty, .victim = put,
     .bystanders = {{bystander_gets}, {bystander_polls}}},
    {.name = "put, another waits for more room", PUT, .setup = begin_bytes_limited, .victim = put,
     .bystanders = {{bystander_puts_more}}},
    {.name = "put, full", PUT, .setup = begin_full, .victim = put, .release = make_room,
     .pairs = 20},
    {.name = "put, growing", PUT, .setup = begin_growing, .victim = put, .pairs = 40},
    {.name = "put, into the next segment", PUT, .setup = begin_jumping, .victim = put,
     .pairs = 20},
    {.name = "batch, two get", PUT, .setup = begin_batch, .victim = put_batch,
     .bystanders = {{bystander_gets, .prompt = true}, {bystander_gets, .prompt = true}}},
    {.name = "batch, full", PUT, .setup = begin_batch_limited, .victim = put_batch,
     .release = make_room, .pairs = 20},
    {.name = "reserve and commit", PUT, .setup = begin_empty, .victim = reserve_and_commit,
     .pairs = 40},
    {.name = "reserve and commit, full", PUT, .setup = begin_full, .victim = reserve_and_commit,
     .release = make_room},
    {.name = "reserve and cancel", PUT, .setup = begin_empty, .victim = reserve_and_cancel,
     .pairs = 20},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
