/*
 * Description: a process is killed at every instruction of an operation on a list; afterwards
 * another one reads and stores at once, the list is as before the operation or as after it, the
 * count is that of the elements, and no block is left but those that the elements need.
 */
#include "kit/step.h"

#include <string.h>

#include <kinfolk/list.h>

#include "dict/list.h"
#include "shm/heap.h"

#define MOST (KIN__CHUNK_ITEMS + 4)

struct model {
    int count;
    int number[MOST];
};

struct state {
    uint64_t used, blocks; /* without the list */
    uint64_t empty_blocks; /* with it, empty */
    kin_list *list;
    struct model before, after;
    int at;          /* where the victim works */
    bool may_litter; /* it may leave a directory to whoever clears next */
    kin__a32 done;   /* the victim's call returned */
};

/* Long enough for an element to be half there. */
struct element {
    int number;
    char tail[100];
};

static struct element element_of(int number)
{
    struct element element = {.number = number};
    memset(element.tail, 'a' + number % 26, sizeof element.tail);
    return element;
}

static void usage(uint64_t *ret_used, uint64_t *ret_blocks)
{
    kit_assert_int(kin__heap_usage(ret_used, ret_blocks), 0);
}

static void append_numbers(struct state *state, int count)
{
    for (int number = 0; number < count; number++) {
        struct element element = element_of(number);
        kit_assert_int(kin_list_append(state->list, &element, sizeof element), 0);
        state->before.number[state->before.count++] = number;
    }
}

static void begin_with(struct state *state, int count, int at)
{
    struct kin__heap_view view;
    uint64_t used;
    kit_assert_ok(kin__enter());
    kin__sweep(true);
    kit_assert_int(kin__heap_lock(&view), 0);
    kin__slab_trim(&view);
    kin__heap_unlock(&view);
    usage(&state->used, &state->blocks);
    kit_assert_ok(kin_list_create(NULL, &state->list));
    usage(&used, &state->empty_blocks);
    append_numbers(state, count);
    state->after = state->before;
    state->at = at;
}

/* Object slabs and units as every later round finds them. */
static void begin(struct state *state, int count, int at)
{
    static bool rehearsed;
    if (!rehearsed) {
        rehearsed = true;
        begin_with(state, count, at);
        kin_list_destroy(state->list);
        memset(state, 0, sizeof *state);
    }
    begin_with(state, count, at);
}

static void begin_insert(struct state *state, int count, int at)
{
    begin(state, count, at);
    struct model *after = &state->after;
    memmove(&after->number[at + 1], &after->number[at], (size_t)(count - at) * sizeof(int));
    after->number[at] = 1000;
    after->count++;
}

static void begin_remove(struct state *state, int count, int at)
{
    begin(state, count, at);
    struct model *after = &state->after;
    memmove(&after->number[at], &after->number[at + 1], (size_t)(count - at - 1) * sizeof(int));
    after->count--;
}

static void first(void *arg) { begin_insert(arg, 0, 0); }
static void at_end(void *arg) { begin_insert(arg, 3, 3); }
static void in_middle(void *arg) { begin_insert(arg, 3, 1); }
static void full_chunk(void *arg) { begin_insert(arg, KIN__CHUNK_ITEMS, KIN__CHUNK_ITEMS); }
static void full_middle(void *arg) { begin_insert(arg, KIN__CHUNK_ITEMS, 2); }
static void remove_last(void *arg) { begin_remove(arg, 3, 2); }
static void remove_middle(void *arg) { begin_remove(arg, 3, 1); }
static void remove_only(void *arg) { begin_remove(arg, 1, 0); }
static void reading(void *arg) { begin(arg, 3, 1); }

/* Two chunks of one element each: with its element goes the first of them. */
static void remove_row(void *arg)
{
    struct state *state = arg;
    begin(state, KIN__CHUNK_ITEMS + 1, 0);
    for (int i = KIN__CHUNK_ITEMS - 1; i > 0; i--) {
        kit_assert_int(kin_list_delete(state->list, i), 0);
    }
    state->before = (struct model){2, {0, KIN__CHUNK_ITEMS}};
    state->after = (struct model){1, {KIN__CHUNK_ITEMS}};
}

static void replacing(void *arg)
{
    struct state *state = arg;
    begin(state, 3, 1);
    state->after.number[1] = 1000;
}

static void clearing(void *arg)
{
    struct state *state = arg;
    begin(state, 3, 0);
    state->after.count = 0;
    state->may_litter = true;
}

static void done(struct state *state)
{
    kin__a32_store(&state->done, 1);
}

static void append(void *arg)
{
    struct state *state = arg;
    struct element element = element_of(1000);
    kin_list_append(state->list, &element, sizeof element);
    done(state);
}

static void insert(void *arg)
{
    struct state *state = arg;
    struct element element = element_of(1000);
    kin_list_insert(state->list, state->at, &element, sizeof element);
    done(state);
}

static void set(void *arg)
{
    struct state *state = arg;
    struct element element = element_of(1000);
    kin_list_set(state->list, state->at, &element, sizeof element);
    done(state);
}

static void get(void *arg)
{
    struct state *state = arg;
    struct element element;
    size_t size = sizeof element;
    kin_list_get(state->list, state->at, &element, &size);
    done(state);
}

static void pop(void *arg)
{
    struct state *state = arg;
    struct element element;
    size_t size = sizeof element;
    kin_list_pop(state->list, state->at, &element, &size);
    done(state);
}

static void delete(void *arg)
{
    struct state *state = arg;
    kin_list_delete(state->list, state->at);
    done(state);
}

static void clear(void *arg)
{
    struct state *state = arg;
    kin_list_clear(state->list);
    done(state);
}

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static int read_at(struct state *state, int64_t index, struct element *ret_element)
{
    size_t size = sizeof *ret_element;
    int rc = kin_list_get(state->list, index, ret_element, &size);
    kit_assert(rc < 0 || size == sizeof *ret_element);
    return rc;
}

/* Puts the last element in its own place. */
static void recover(void *arg)
{
    struct state *state = arg;
    struct element element;
    if (read_at(state, -1, &element) == 0) {
        kin_list_set(state->list, -1, &element, sizeof element);
    }
    kin__sweep(true);
}

static void survive(void *arg)
{
    struct state *state = arg;
    struct element element = element_of(7), found;
    size_t size = sizeof found;
    kit_assert_int(kin_list_append(state->list, &element, sizeof element), 0);
    kit_assert_int(kin_list_pop(state->list, -1, &found, &size), 0);
    kit_assert(size == sizeof found && memcmp(&found, &element, size) == 0);
    kin__sweep(true);
}

static bool is(const struct model *model, const struct model *found)
{
    return model->count == found->count &&
           memcmp(model->number, found->number, (size_t)found->count * sizeof(int)) == 0;
}

/* Directory, chunks and elements. */
static uint64_t blocks_needed(const struct state *state)
{
    struct kin__directory_view view;
    uint64_t root = kin__a64_load(&state->list->shared->root), blocks = 0;
    kit_assert_int(kin__directory_view(root, &view), 0);
    for (uint64_t row = 0; row < view.count; row++) {
        struct kin__chunk_view chunk;
        uint64_t word = kin__a64_load(&view.directory->row[row].chunk);
        kit_assert_int(kin__chunk_view(word, &chunk), 0);
        blocks += 1 + chunk.count;
    }
    return blocks + (root != 0);
}

static const char *check(void *arg)
{
    struct state *state = arg;
    struct model found = {0};
    struct element element;
    size_t size;
    uint64_t used, blocks;
    kit_assert_int(kin_list_size(state->list, &size), 0);
    while (found.count < MOST && read_at(state, found.count, &element) == 0) {
        struct element expected = element_of(element.number);
        if (memcmp(&element, &expected, sizeof element) != 0) {
            return "an element is torn";
        }
        found.number[found.count++] = element.number;
    }
    if (!is(&state->after, &found) &&
        (kin__a32_load(&state->done) != 0 || !is(&state->before, &found))) {
        return "the elements are neither as before nor as after";
    }
    if (size != (size_t)found.count) {
        return "the count is not that of the elements";
    }
    usage(&used, &blocks);
    uint64_t needed = state->empty_blocks + blocks_needed(state);
    if (!state->may_litter && blocks != needed) {
        return blocks > needed ? "a block leaks" : "a block is missing";
    }
    state->list = kin_list_destroy(state->list);
    usage(&used, &blocks);
    return used == state->used && blocks == state->blocks ? NULL : "a block outlives the list";
}

#define CASE(title, begins, operation)                                                             \
    .name = title, .state_size = sizeof(struct state), .setup = begins, .warm = enter,             \
    .victim = operation, .recoverer = recover, .survivor = survive, .check = check

static const struct kit_case cases[] = {
    {CASE("append, the first", first, append), .pairs = 20},
    {CASE("append", at_end, append), .pairs = 20},
    {CASE("append, to a full chunk", full_chunk, append), .pairs = 10},
    {CASE("insert", in_middle, insert), .pairs = 20},
    {CASE("insert, splitting a chunk", full_middle, insert), .pairs = 10},
    {CASE("set", replacing, set), .pairs = 20},
    {CASE("get", reading, get)},
    {CASE("pop, the last", remove_last, pop), .pairs = 20},
    {CASE("pop, in the middle", remove_middle, pop), .pairs = 20},
    {CASE("pop, the only one", remove_only, pop)},
    {CASE("delete, with its chunk", remove_row, delete), .pairs = 10},
    {CASE("clear", clearing, clear), .pairs = 20},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
