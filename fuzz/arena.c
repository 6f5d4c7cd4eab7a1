/* Keeping, spoiling and restoring the arena. */
#include "fuzz.h"

#include "shm/heap.h"
#include "shm/slot.h"

#define UNITS 64 /* more than any target uses */
#define LAST_SLOT 8

static struct {
    uint64_t committed;
    char *head;  /* all before the slots */
    char *slots; /* the first LAST_SLOT ones */
    char *tables; /* entries, then words, of the committed units */
    char *units[UNITS]; /* NULL: free */
    struct kin__self self;
} kept;

static char *copy(const void *from, size_t size)
{
    char *to = malloc(size);
    REQUIRE(to != NULL);
    memcpy(to, from, size);
    return to;
}

static size_t table_size(void)
{
    return kept.committed / KIN__UNIT * sizeof(kin__a64);
}

void fuzz_arena_keep(struct kin__object *object, struct kin__object *more)
{
    struct kin__head *head = kin__family.head;
    struct kin__heap_view view;
    /* A peer: a slot in use whose process is not looked for, as only fuzz_sweep_peer sweeps. */
    struct kin__slot *peer = kin__slot_at(FUZZ_PEER);
    REQUIRE(peer != NULL && kin__self->slot != FUZZ_PEER);
    object->holders[0].value |= UINT64_C(1) << FUZZ_PEER;
    if (more != NULL) {
        more->holders[0].value |= UINT64_C(1) << FUZZ_PEER;
    }
    REQUIRE(kin__heap_look(&view) == 0);
    kept.committed = kin__a64_load(&head->committed);
    kept.head = copy(head, head->slots_offset);
    kept.slots = copy(kin__family.base + head->slots_offset, LAST_SLOT * sizeof(struct kin__slot));
    kept.tables = malloc(2 * table_size());
    REQUIRE(kept.tables != NULL);
    memcpy(kept.tables, view.units, table_size());
    memcpy(kept.tables + table_size(), view.words, table_size());
    for (uint32_t unit = view.first; unit < view.end; unit++) {
        if (kin__entry_kind(kin__a64_load(&view.units[unit])) == KIN__UNIT_FREE) {
            unit += kin__entry_length(kin__a64_load(&view.units[unit])) - 1;
            continue;
        }
        REQUIRE(unit < UNITS + view.first);
        kept.units[unit - view.first] = copy(view.base + (uint64_t)unit * KIN__UNIT, KIN__UNIT);
    }
    memcpy(&kept.self, kin__self, sizeof kept.self);
}

void fuzz_arena_restore(void)
{
    struct kin__head *head = kin__family.head;
    struct kin__heap_view view;
    memcpy(head, kept.head, head->slots_offset);
    memcpy(kin__family.base + head->slots_offset, kept.slots,
           LAST_SLOT * sizeof(struct kin__slot));
    REQUIRE(kin__heap_look(&view) == 0);
    memcpy(view.units, kept.tables, table_size());
    memcpy(view.words, kept.tables + table_size(), table_size());
    for (uint32_t i = 0; i < UNITS; i++) {
        if (kept.units[i] != NULL) {
            memcpy(view.base + (uint64_t)(view.first + i) * KIN__UNIT, kept.units[i], KIN__UNIT);
        }
    }
    memcpy(kin__self, &kept.self, sizeof kept.self);
}

void fuzz_spoil(struct fuzz_input *input, const struct fuzz_region *regions, unsigned count)
{
    uint8_t how = fuzz_byte(input);
    const struct fuzz_region *region = &regions[(how >> 3) % count];
    size_t at = fuzz_number(input, 2) * 4 % (region->size - 7);
    char *to = (char *)region->start + at;
    uint64_t word;
    memcpy(&word, to, sizeof word);
    switch (how & 7) {
    case 0: /* a byte */
        *to = (char)fuzz_byte(input);
        return;
    case 1: /* four */
        word = (word & ~UINT64_C(0xffffffff)) | fuzz_number(input, 4);
        break;
    case 2:
        word = fuzz_number(input, 8);
        break;
    case 3: /* a little more or less */
        word += (uint64_t)(int8_t)fuzz_byte(input);
        break;
    case 4:
        word += (uint64_t)(int16_t)fuzz_number(input, 2);
        break;
    case 5: { /* what stands elsewhere, so that it leads somewhere */
        const struct fuzz_region *from = &regions[fuzz_byte(input) % count];
        memcpy(&word, (char *)from->start + fuzz_number(input, 2) * 4 % (from->size - 7),
               sizeof word);
        break;
    }
    case 6: { /* the offset of a place in a region */
        const struct fuzz_region *from = &regions[fuzz_byte(input) % count];
        word = kin__offset(from->start) + fuzz_number(input, 2) * 4 % (from->size - 7);
        break;
    }
    default: { /* the same as a link to a block */
        const struct fuzz_region *from = &regions[fuzz_byte(input) % count];
        uint64_t offset = kin__offset(from->start) & ~(uint64_t)63;
        word = kin__lease_value(offset, kin__block_generation(offset));
        break;
    }
    }
    memcpy(to, &word, sizeof word);
}

void fuzz_orphan(pthread_mutex_t *mutex)
{
    mutex->__data.__lock = 0x40000000; /* FUTEX_OWNER_DIED: what the kernel leaves there */
    mutex->__data.__nusers = 1;
}

void fuzz_sweep_peer(void)
{
    kin__object_sweep(FUZZ_PEER, 1, KIN__END_ABNORMAL);
}

void fuzz_last_holder_dies(struct kin__object *object)
{
    memset(object->holders, 0, sizeof object->holders);
    object->holders[0].value = UINT64_C(1) << FUZZ_PEER;
    kin__object_forget(FUZZ_PEER);
}
