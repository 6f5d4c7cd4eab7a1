/* A list whose directory, chunks and items another process has overwritten. */
#include "dict/list.h"

#include "fuzz.h"

#define STEPS 24
#define ITEMS 520 /* three chunks, the second one full */

static kin_list *list;
static kin_ref ref;

static void setup(void)
{
    if (list != NULL) {
        return;
    }
    REQUIRE(kin_list_create(NULL, &list) == 0);
    char value[300];
    memset(value, 'v', sizeof value);
    for (unsigned i = 0; i < ITEMS; i++) {
        REQUIRE(kin_list_append(list, value, i == 5 ? sizeof value : i % 16) == 0);
    }
    REQUIRE(kin_list_ref(list, &ref) == 0);
    fuzz_arena_keep(&list->shared->object, NULL);
}

static unsigned regions_of(struct fuzz_region regions[8])
{
    unsigned count = 0;
    struct kin__directory_view view;
    struct kin__chunk_view chunk;
    regions[count++] = (struct fuzz_region){&list->shared->root, 32};
    REQUIRE(kin__directory_view(kin__a64_load(&list->shared->root), &view) == 0);
    regions[count++] =
        (struct fuzz_region){view.directory, kin__directory_bytes(view.capacity)};
    for (uint64_t i = 0; i < view.count; i++) {
        REQUIRE(kin__chunk_view(kin__a64_load(&view.directory->row[i].chunk), &chunk) == 0);
        regions[count++] = (struct fuzz_region){chunk.chunk, 64};
        if (i == 0) {
            struct kin__item_view item;
            REQUIRE(kin__item_view(kin__a64_load(&chunk.chunk->item[0]), &item) == 0);
            regions[count++] = (struct fuzz_region){(void *)(uintptr_t)item.item, 64};
        }
    }
    regions[count++] = (struct fuzz_region){kin__slot_at(FUZZ_PEER)->lease, 64};
    return count;
}

static void operate(struct fuzz_input *input)
{
    static const int64_t ends[] = {0, -1, 253, 254, ITEMS / 2, ITEMS - 1, ITEMS, -ITEMS};
    char buffer[512];
    size_t size = fuzz_byte(input) * 2;
    uint8_t which = fuzz_byte(input);
    int64_t index = which & 8 ? ends[which >> 4 & 7] : (int16_t)fuzz_number(input, 2);
    struct kin_list_item items[2] = {{buffer, 3}, {buffer, 4}};
    memset(buffer, 'n', sizeof buffer);
    switch (which % 8) {
    case 0:
        kin_list_append(list, buffer, size);
        break;
    case 1:
        kin_list_insert(list, index, buffer, size);
        break;
    case 2:
        kin_list_set(list, index, buffer, size);
        break;
    case 3:
        kin_list_get(list, index, buffer, &size);
        break;
    case 4:
        kin_list_pop(list, index, buffer, &size);
        break;
    case 5:
        kin_list_delete(list, index);
        break;
    case 6:
        kin_list_extend(list, items, 2);
        break;
    default:
        kin_list_size(list, &size);
    }
}

int fuzz_target(const uint8_t *data, size_t size)
{
    setup();
    fuzz_arena_restore();
    struct fuzz_input input = {data, size};
    struct fuzz_region regions[8];
    unsigned count = regions_of(regions);
    for (unsigned i = 0; i < STEPS && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        kin_list *other;
        if (step >= FUZZ_FAIL_STEP) {
            fuzz_fail(step - FUZZ_FAIL_STEP);
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
            fuzz_orphan(&list->shared->object.mutex);
            break;
        case 6:
            kin_list_clear(list);
            break;
        case 7:
            fuzz_sweep_peer();
            break;
        case 8:
            if (kin_list_attach(&ref, &other) == 0) {
                kin_list_destroy(other);
            }
            break;
        case 9: /* across the end of a chunk */
            for (unsigned k = 0; k < 300; k++) {
                kin_list_append(list, &k, sizeof k);
            }
            break;
        case 10: { /* and back over the start of one */
            unsigned n = step & 16 ? 300 : 20;
            for (unsigned k = 0; k < n; k++) {
                kin_list_delete(list, step & 32 ? -1 : 0);
            }
            break;
        }
        case 11:
            fuzz_last_holder_dies(&list->shared->object);
            return 0;
        default:
            operate(&input);
        }
    }
    return 0;
}
