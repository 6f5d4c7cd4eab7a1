/* A dictionary whose table and items another process has overwritten. */
#include "dict/dict.h"

#include <errno.h>

#include "fuzz.h"

#define STEPS 24
#define KEYS 12

static kin_dict *dict;
static kin_ref ref;

static void key_of(char key[8], unsigned i)
{
    snprintf(key, 8, "key %u", i % 100);
}

static void setup(void)
{
    if (dict != NULL) {
        return;
    }
    struct kin_dict_options options = KIN_DICT_OPTIONS_INIT;
    options.stripes = 1;
    options.expected = 20;
    REQUIRE(kin_dict_create(&options, &dict) == 0);
    /* The same table for every run. */
    dict->seed[0] = dict->shared->seed[0] = 1;
    dict->seed[1] = dict->shared->seed[1] = 2;
    char key[8], value[400];
    memset(value, 'v', sizeof value);
    for (unsigned i = 0; i < KEYS; i++) {
        key_of(key, i);
        REQUIRE(kin_dict_set(dict, key, strlen(key), value, i == 3 ? sizeof value : i * 8) == 0);
    }
    for (unsigned i = 0; i < KEYS; i += 4) {
        key_of(key, i);
        REQUIRE(kin_dict_delete(dict, key, strlen(key)) == 0);
    }
    REQUIRE(kin_dict_ref(dict, &ref) == 0);
    fuzz_arena_keep(&dict->shared->object, &dict->stripe[0]->object);
}

static unsigned regions_of(struct fuzz_region regions[KEYS])
{
    unsigned count = 0;
    struct kin__stripe *stripe = dict->stripe[0];
    regions[count++] = (struct fuzz_region){&stripe->table, 40};
    struct kin__table_view view;
    REQUIRE(kin__table_view(kin__a64_load(&stripe->table), &view) == 0);
    regions[count++] = (struct fuzz_region){(char *)view.slot - sizeof(struct kin__table),
                                            kin__table_bytes(view.mask + 1)};
    for (uint64_t i = 0; i <= view.mask && count < 4; i++) {
        struct kin__item_view item;
        uint64_t word = kin__a64_load(&view.slot[i].item);
        if (kin__slot_is_item(word) && kin__item_view(word, &item) == 0) {
            regions[count++] = (struct fuzz_region){(void *)(uintptr_t)item.item, 64};
        }
    }
    regions[count++] = (struct fuzz_region){&dict->shared->order, 40};
    regions[count++] = (struct fuzz_region){kin__slot_at(FUZZ_PEER)->lease, 64};
    return count;
}

static int update(const void *value, size_t size, struct kin_dict_value *ret_value, void *arg)
{
    *ret_value = (struct kin_dict_value){arg, 3};
    return value == NULL || size < 30 ? (int)(size % 3) : KIN_DICT_KEEP;
}

static void walk(void)
{
    kin_dict_cursor *cursor;
    char key[64], value[64];
    if (kin_dict_cursor_create(dict, &cursor) < 0) {
        return;
    }
    for (unsigned i = 0; i < 2 * KEYS; i++) {
        size_t key_size = sizeof key, value_size = sizeof value;
        if (kin_dict_cursor_next(cursor, key, &key_size, value, &value_size) <= 0) {
            break;
        }
        uint64_t order;
        REQUIRE(key_size <= sizeof key && value_size <= sizeof value);
        REQUIRE(kin_dict_cursor_order(cursor, &order) == 0);
    }
    kin_dict_cursor_destroy(cursor);
}

/* What the caller got wrong changes nothing. */
static void misuse(void)
{
    char text[8] = "text";
    size_t size = sizeof text;
    uint64_t order;
    kin_dict_cursor *cursor = NULL;
    REQUIRE(kin_dict_set(NULL, text, 4, text, 4) == -EINVAL);
    REQUIRE(kin_dict_set(dict, NULL, 4, text, 4) == -EINVAL);
    REQUIRE(kin_dict_set(dict, text, 4, NULL, 4) == -EINVAL);
    REQUIRE(kin_dict_set(dict, text, 4, text, SIZE_MAX) < 0);
    REQUIRE(kin_dict_cursor_create(NULL, &cursor) == -EINVAL && cursor == NULL);
    REQUIRE(kin_dict_cursor_next(NULL, text, &size, NULL, NULL) == -EINVAL);
    REQUIRE(kin_dict_cursor_order(NULL, &order) == -EINVAL);
}

/* One public operation on one key. */
static void operate(struct fuzz_input *input)
{
    char key[32], buffer[512];
    size_t size = fuzz_byte(input) * 2;
    int64_t sum;
    uint8_t which = fuzz_byte(input);
    key_of(key, fuzz_byte(input) % (KEYS + 8));
    if (which & 32) {
        strcat(key, " of more than eight");
    }
    memset(buffer, 'n', sizeof buffer);
    switch (which % 8) {
    case 0:
        kin_dict_set(dict, key, strlen(key), buffer, size);
        break;
    case 1:
        kin_dict_insert(dict, key, strlen(key), buffer, size);
        break;
    case 2:
        kin_dict_get(dict, key, strlen(key), buffer, &size);
        break;
    case 3:
        kin_dict_pop(dict, key, strlen(key), buffer, &size);
        break;
    case 4:
        kin_dict_delete(dict, key, strlen(key));
        break;
    case 5:
        kin_dict_contains(dict, key, strlen(key));
        kin_dict_add(dict, key, strlen(key), 1, &sum);
        break;
    case 6:
        kin_dict_compare_set(dict, key, strlen(key), which & 8 ? buffer : NULL, size % 8,
                             which & 16 ? buffer : NULL, size % 40);
        break;
    default:
        kin_dict_update(dict, key, strlen(key), update, buffer);
    }
}

int fuzz_target(const uint8_t *data, size_t size)
{
    setup();
    fuzz_arena_restore();
    struct fuzz_input input = {data, size};
    struct fuzz_region regions[KEYS];
    unsigned count = regions_of(regions);
    for (unsigned i = 0; i < STEPS && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        kin_dict *other;
        size_t entries;
        if (step >= FUZZ_FAIL_STEP) {
            fuzz_fail(step - FUZZ_FAIL_STEP);
            continue;
        }
        if (step == FUZZ_FAIL_STEP - 1) {
            misuse();
            continue;
        }
        switch (step % 16) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
            fuzz_spoil(&input, regions, count);
            break;
        case 5:
            fuzz_orphan(&dict->stripe[0]->object.mutex);
            break;
        case 6:
            walk();
            break;
        case 7:
            kin_dict_clear(dict);
            break;
        case 8:
            fuzz_sweep_peer();
            break;
        case 9:
            if (kin_dict_attach(&ref, &other) == 0) {
                kin_dict_size(other, &entries);
                kin_dict_destroy(other);
            }
            break;
        case 10: /* so many that the table grows */
            for (unsigned k = 0; k < 40; k++) {
                char key[8];
                key_of(key, k);
                kin_dict_set(dict, key, strlen(key), &k, sizeof k);
            }
            break;
        case 11:
            fuzz_last_holder_dies(&dict->stripe[0]->object);
            return 0;
        default:
            operate(&input);
        }
    }
    return 0;
}
