/*
 * Description: a process is killed at every instruction of an operation on a dictionary; afterwards
 * another one stores and removes at once, every key has its old value or its new one, the counts
 * are those of the entries, and no block is left but those that the entries need.
 */
#include "kit/step.h"

#include <string.h>

#include <kinfolk/dict.h>

#include "dict/dict.h"
#include "shm/heap.h"

#define KEYS 8 /* a table of eight slots grows for the seventh */
#define ABSENT (-1)

struct state {
    uint64_t used, blocks; /* without the dictionary */
    uint64_t empty_blocks; /* with it, empty */
    kin_dict *dict;
    kin_ref ref;
    int64_t before[KEYS], after[KEYS]; /* a key's value, or ABSENT */
    int key;         /* to be removed */
    bool may_litter; /* it may leave a table to whoever clears next */
    kin__a32 done;   /* the victim's call returned */
};

/* Long enough for a value to be half there. */
struct value {
    int64_t number;
    char tail[192];
};

static struct value value_of(int64_t number)
{
    struct value value = {.number = number};
    memset(value.tail, (int)('a' + number % 26), sizeof value.tail);
    return value;
}

static int put(struct state *state, int key, int64_t number)
{
    struct value value = value_of(number);
    return kin_dict_set(state->dict, &key, sizeof key, &value, sizeof value);
}

static void usage(uint64_t *ret_used, uint64_t *ret_blocks)
{
    kit_assert_int(kin__heap_usage(ret_used, ret_blocks), 0);
}

static void trim(void)
{
    struct kin__heap_view view;
    kit_assert_int(kin__heap_lock(&view), 0);
    kin__slab_trim(&view);
    kin__heap_unlock(&view);
}

static uint64_t count_by_cursor(kin_dict *dict)
{
    kin_dict_cursor *cursor;
    uint64_t count = 0;
    int rc, key;
    size_t key_size = sizeof key;
    kit_assert_ok(kin_dict_cursor_create(dict, &cursor));
    while ((rc = kin_dict_cursor_next(cursor, &key, &key_size, NULL, NULL)) == 1) {
        count++;
    }
    kit_assert_int(rc, 0);
    kin_dict_cursor_destroy(cursor);
    return count;
}

static void create(struct state *state)
{
    static const struct kin_dict_options options = {sizeof options, 1, 0};
    kit_assert_ok(kin_dict_create(&options, &state->dict));
}

/* Object slabs, units and the C library's heap as every later round finds them: rounds that take
 * the same way can be replayed, others must be stepped. */
static void rehearse(struct state *state)
{
    static bool rehearsed;
    if (!rehearsed) {
        rehearsed = true;
        create(state);
        for (int key = 0; key < KEYS; key++) {
            kit_assert_int(put(state, key, key), 0);
        }
        count_by_cursor(state->dict);
        kin_dict_destroy(state->dict);
    }
}

static void begin(struct state *state, int keys)
{
    uint64_t used;
    kit_assert_ok(kin__enter());
    rehearse(state);
    kin__sweep(true);
    trim();
    usage(&state->used, &state->blocks);
    create(state);
    usage(&used, &state->empty_blocks);
    kit_assert_ok(kin_dict_ref(state->dict, &state->ref));
    /* The same hashes in every round. */
    state->dict->seed[0] = state->dict->shared->seed[0] = 1;
    state->dict->seed[1] = state->dict->shared->seed[1] = 2;
    for (int key = 0; key < KEYS; key++) {
        state->before[key] = state->after[key] = ABSENT;
    }
    for (int key = 0; key < keys; key++) {
        kit_assert_int(put(state, key, key), 0);
        state->before[key] = state->after[key] = key;
    }
}

static void begin_empty(void *arg)
{
    begin(arg, 0);
}

static void begin_reading(void *arg)
{
    begin(arg, 3);
}

static void begin_insert(void *arg)
{
    struct state *state = arg;
    begin(state, 2);
    state->after[2] = 102;
}

static void begin_first(void *arg)
{
    struct state *state = arg;
    begin(state, 0);
    state->after[0] = 100;
}

static void begin_replace(void *arg)
{
    struct state *state = arg;
    begin(state, 3);
    state->after[1] = 101;
}

static void begin_growing(void *arg)
{
    struct state *state = arg;
    begin(state, 6);
    state->after[6] = 106;
}

static void begin_remove(void *arg)
{
    struct state *state = arg;
    begin(state, 3);
    state->key = 1;
    state->after[1] = ABSENT;
}

/* The slot behind is in use, so that a tomb stays. */
static void begin_remove_crowded(void *arg)
{
    struct state *state = arg;
    struct kin__table_view view;
    struct kin__item_view item;
    begin(state, 6);
    kit_assert_int(kin__table_view(kin__a64_load(&state->dict->stripe[0]->table), &view), 0);
    uint64_t at = 0;
    while (!kin__slot_is_item(kin__a64_load(&view.slot[at].item)) ||
           !kin__slot_is_item(kin__a64_load(&view.slot[at + 1].item))) {
        kit_assert(++at < view.mask);
    }
    kit_assert_int(kin__item_view(kin__a64_load(&view.slot[at].item), &item), 0);
    memcpy(&state->key, item.key, sizeof state->key);
    state->after[state->key] = ABSENT;
}

static void begin_clear(void *arg)
{
    struct state *state = arg;
    begin(state, 3);
    for (int key = 0; key < 3; key++) {
        state->after[key] = ABSENT;
    }
    state->may_litter = true;
}

static void begin_counter(void *arg)
{
    struct state *state = arg;
    int key = KEYS;
    begin(state, 1);
    kit_assert_int(kin_dict_add(state->dict, &key, sizeof key, 5, NULL), 0);
}

static void done(struct state *state)
{
    kin__a32_store(&state->done, 1);
}

/* Stores what is to be different. */
static void store(void *arg)
{
    struct state *state = arg;
    for (int key = 0; key < KEYS; key++) {
        if (state->after[key] != state->before[key]) {
            put(state, key, state->after[key]);
        }
    }
    done(state);
}

static void get(void *arg)
{
    struct state *state = arg;
    struct value value;
    size_t size = sizeof value;
    int key = 1;
    kin_dict_get(state->dict, &key, sizeof key, &value, &size);
    done(state);
}

static void delete(void *arg)
{
    struct state *state = arg;
    kin_dict_delete(state->dict, &state->key, sizeof state->key);
    done(state);
}

static void pop(void *arg)
{
    struct state *state = arg;
    struct value value;
    size_t size = sizeof value;
    int key = 1;
    kin_dict_pop(state->dict, &key, sizeof key, &value, &size);
    done(state);
}

static void compare_set(void *arg)
{
    struct state *state = arg;
    struct value expected = value_of(state->before[1]), desired = value_of(state->after[1]);
    int key = 1;
    kin_dict_compare_set(state->dict, &key, sizeof key, &expected, sizeof expected, &desired,
                         sizeof desired);
    done(state);
}

static void add(void *arg)
{
    struct state *state = arg;
    int key = KEYS;
    kin_dict_add(state->dict, &key, sizeof key, 1, NULL);
    done(state);
}

static void walk(void *arg)
{
    struct state *state = arg;
    kin_dict_cursor *cursor;
    if (kin_dict_cursor_create(state->dict, &cursor) == 0) {
        struct value value;
        int key;
        size_t key_size = sizeof key, size = sizeof value;
        while (kin_dict_cursor_next(cursor, &key, &key_size, &value, &size) == 1) {
        }
        kin_dict_cursor_destroy(cursor);
    }
    done(state);
}

static void clear(void *arg)
{
    struct state *state = arg;
    kin_dict_clear(state->dict);
    done(state);
}

static void create_and_destroy(void *arg)
{
    static const struct kin_dict_options options = {sizeof options, 1, 1};
    kin_dict *dict;
    if (kin_dict_create(&options, &dict) == 0) {
        kin_dict_destroy(dict);
    }
    done(arg);
}

static void attach_and_destroy(void *arg)
{
    struct state *state = arg;
    kin_dict *dict;
    if (kin_dict_attach(&state->ref, &dict) == 0) {
        kin_dict_destroy(dict);
    }
    done(state);
}

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

/* Leaves things as they are, wherever it is killed, but for a key that the survivor removes. */
static void recover(void *arg)
{
    struct state *state = arg;
    int key = -1;
    put(state, key, 1);
    kin__sweep(true);
    kin_dict_delete(state->dict, &key, sizeof key);
}

static void survive(void *arg)
{
    struct state *state = arg;
    struct value value, expected = value_of(7);
    size_t size = sizeof value;
    int key = -1;
    kit_assert_int(put(state, key, 7), 0);
    kit_assert_int(kin_dict_get(state->dict, &key, sizeof key, &value, &size), 0);
    kit_assert(size == sizeof value && memcmp(&value, &expected, size) == 0);
    kit_assert_int(kin_dict_delete(state->dict, &key, sizeof key), 0);
    kin__sweep(true);
}

/* The number that a key's value has, whole. */
static const char *read_key(struct state *state, int key, int64_t *ret_number)
{
    struct value value, expected;
    size_t size = sizeof value;
    int rc = kin_dict_get(state->dict, &key, sizeof key, &value, &size);
    if (rc == KIN_ENOTFOUND) {
        *ret_number = ABSENT;
        return NULL;
    }
    kit_assert_int(rc, 0);
    expected = value_of(value.number);
    *ret_number = value.number;
    return size == sizeof value && memcmp(&value, &expected, size) == 0 ? NULL
                                                                        : "a value is torn";
}

static const char *check_entries(struct state *state, uint64_t counters)
{
    bool old = kin__a32_load(&state->done) == 0, new = true;
    uint64_t entries = counters;
    for (int key = 0; key < KEYS; key++) {
        int64_t number;
        const char *wrong = read_key(state, key, &number);
        if (wrong != NULL) {
            return wrong;
        }
        old = old && number == state->before[key];
        new = new && number == state->after[key];
        entries += number != ABSENT;
    }
    if (!old && !new) {
        return "the entries are neither as before nor as after";
    }
    size_t size;
    kit_assert_int(kin_dict_size(state->dict, &size), 0);
    if (size != entries || count_by_cursor(state->dict) != entries) {
        return "the count is not that of the entries";
    }
    uint64_t used, blocks;
    usage(&used, &blocks);
    if (!state->may_litter && blocks != state->empty_blocks + 1 + entries) {
        return blocks > state->empty_blocks + 1 + entries ? "a block leaks" : "a block is missing";
    }
    return NULL;
}

/* With the dictionary goes all that belonged to it. */
static const char *check_end(struct state *state)
{
    uint64_t used, blocks;
    state->dict = kin_dict_destroy(state->dict);
    usage(&used, &blocks);
    return used == state->used && blocks == state->blocks ? NULL
                                                          : "a block outlives the dictionary";
}

static const char *check(void *arg)
{
    struct state *state = arg;
    const char *wrong = check_entries(state, 0);
    return wrong != NULL ? wrong : check_end(state);
}

static const char *check_counter(void *arg)
{
    struct state *state = arg;
    int key = KEYS;
    int64_t sum;
    size_t size = sizeof sum;
    kit_assert_int(kin_dict_get(state->dict, &key, sizeof key, &sum, &size), 0);
    if (sum != 6 && (sum != 5 || kin__a32_load(&state->done) != 0)) {
        return "the counter is neither as before nor as after";
    }
    const char *wrong = check_entries(state, 1);
    return wrong != NULL ? wrong : check_end(state);
}

#define CASE(title, begins, operation)                                                             \
    .name = title, .state_size = sizeof(struct state), .setup = begins, .warm = enter,             \
    .victim = operation, .recoverer = recover, .survivor = survive

static const struct kit_case cases[] = {
    {CASE("set, the first", begin_first, store), .check = check},
    {CASE("set, inserting", begin_insert, store), .check = check, .pairs = 20},
    {CASE("set, replacing", begin_replace, store), .check = check, .pairs = 20},
    {CASE("set, growing", begin_growing, store), .check = check, .pairs = 20},
    {CASE("compare and set", begin_replace, compare_set), .check = check},
    {CASE("get", begin_reading, get), .check = check},
    {CASE("delete", begin_remove, delete), .check = check, .pairs = 20},
    {CASE("delete, leaving a tomb", begin_remove_crowded, delete), .check = check},
    {CASE("pop", begin_remove, pop), .check = check},
    {CASE("add", begin_counter, add), .check = check_counter},
    {CASE("walk", begin_reading, walk), .check = check},
    {CASE("clear", begin_clear, clear), .check = check, .pairs = 20},
    {CASE("create and destroy", begin_empty, create_and_destroy), .check = check, .pairs = 20},
    {CASE("attach and destroy", begin_reading, attach_and_destroy), .check = check},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
