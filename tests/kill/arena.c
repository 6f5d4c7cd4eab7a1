/*
 * Description: a process is killed at every instruction of allocating and freeing blocks of shared
 * memory; afterwards another one allocates and frees at once, no block is left but those that the
 * victim really had, and the counters are those that the truth gives.
 */
#include "kit/step.h"

#include <errno.h>
#include <string.h>

#include <kinfolk/memory.h>

#include "shm/heap.h"
#include "shm/object.h"

struct state {
    uint64_t used, blocks; /* in the beginning */
    uint64_t lost, lost_blocks; /* of those, what the victim was to free */
    uint64_t committed;
    char *block;           /* what the victim is to free */
    char *guard[3];        /* blocks around it */
    kin__a64 had;          /* offset of the block that the victim's call returned */
};

/* Between dropping the lease and returning there are some instructions: a block lost there is the
 * family's, as if kin_alloc had returned. */
#define RETURNING 64
static unsigned returning;

#define SMALL 100
#define LARGE ((size_t)3 * KIN__UNIT)

static void must_free(char *block)
{
    kit_assert_int(kin_free(block), 0);
}

static void trim(void)
{
    struct kin__heap_view view;
    kit_assert_int(kin__heap_lock(&view), 0);
    kin__slab_trim(&view);
    kin__heap_unlock(&view);
}

static void begin(void *arg)
{
    struct state *state = arg;
    kit_assert_ok(kin__enter());
    kin__sweep(true);
    trim();
    kit_assert_int(kin__heap_usage(&state->used, &state->blocks), 0);
    state->committed = kin__a64_load(&kin__family.head->committed);
}

/* A slab with space is there. */
static void begin_with_slab(void *arg)
{
    begin(arg);
    must_free(kin_alloc(SMALL));
}

static void begin_with_block(struct state *state, size_t size)
{
    state->block = kin_alloc(size);
    kit_assert(state->block != NULL);
    memset(state->block, 'b', size);
    state->lost = kin_alloc_size(state->block);
    state->lost_blocks = 1;
}

static void begin_with_small(void *arg)
{
    begin(arg);
    begin_with_block(arg, SMALL);
}

/* The block is the only one of a slab, and another slab of its class has space. */
static void begin_with_last_of_slab(void *arg)
{
    struct state *state = arg;
    begin(arg);
    state->guard[0] = kin_alloc(30000);
    state->guard[1] = kin_alloc(30000);
    begin_with_block(state, 30000);
    must_free(state->guard[0]);
    state->guard[0] = NULL;
}

/* Both of the block's neighbours are free, and theirs are not. */
static void begin_with_large(void *arg)
{
    struct state *state = arg;
    begin(arg);
    char *left = kin_alloc(KIN__UNIT);
    begin_with_block(state, LARGE);
    char *right = kin_alloc(KIN__UNIT);
    state->guard[1] = kin_alloc(KIN__UNIT);
    must_free(left);
    must_free(right);
}

static void victim_alloc(struct state *state, size_t size)
{
    char *block = kin_alloc(size);
    if (block != NULL) {
        kin__a64_store(&state->had, kin__offset(block));
    }
}

static void alloc_small(void *arg)
{
    victim_alloc(arg, SMALL);
}

static void alloc_large(void *arg)
{
    victim_alloc(arg, LARGE);
}

/* More than there is. */
static void alloc_growing(void *arg)
{
    struct state *state = arg;
    victim_alloc(state, state->committed - kin__family.head->data_offset + 1);
}

static void alloc_leased(uint64_t size)
{
    uint64_t offset;
    kin__lease *lease = kin__lease_take();
    kin__block_alloc(size, lease, &offset);
}

static void alloc_small_leased(void *arg)
{
    (void)arg;
    alloc_leased(SMALL);
}

static void alloc_large_leased(void *arg)
{
    (void)arg;
    alloc_leased(LARGE);
}

/* As a receiver: the block is put on a lease, freed, and comes off it last. */
static void free_leased(void *arg)
{
    struct state *state = arg;
    kin__lease *lease = kin__lease_take();
    kin__lease_hold(lease, kin__offset(state->block));
    kin__block_free(kin__offset(state->block));
    kin__lease_drop(lease);
}

static void free_block(void *arg)
{
    struct state *state = arg;
    kin_free(state->block);
}

static void make_object(void *arg)
{
    struct kin__object *object;
    (void)arg;
    kin__object_create(KIN__TYPE_TEST, 600, &object);
}

static void make_and_drop_object(void *arg)
{
    struct kin__object *object;
    (void)arg;
    if (kin__object_create(KIN__TYPE_TEST, 600, &object) == 0) {
        kin__object_ready(object);
        kin__object_drop(object);
    }
}

/* Slabs of objects are for ever: the first round must not differ from the others. */
static void begin_with_object_slab(void *arg)
{
    kit_assert_ok(kin__enter());
    make_and_drop_object(arg);
    begin(arg);
}

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static void survive(void *arg)
{
    struct state *state = arg;
    static const size_t sizes[] = {SMALL, 5000, LARGE};
    char *blocks[KIT_COUNT(sizes)];
    for (size_t i = 0; i < KIT_COUNT(sizes); i++) {
        blocks[i] = kin_alloc(sizes[i]);
        kit_require(blocks[i] != NULL, "alloc: %d", kin_alloc_error());
        memset(blocks[i], 's', sizes[i]);
    }
    kin__sweep(true);
    for (size_t i = 0; i < KIT_COUNT(sizes); i++) {
        kit_assert(blocks[i][0] == 's' && blocks[i][sizes[i] - 1] == 's');
        must_free(blocks[i]);
    }
    if (state->block != NULL) {
        /* Freed or not, never half. */
        int rc = kin_free(state->block);
        kit_require(rc == 0 || rc == -EINVAL, "free: %d", rc);
        kit_assert_int(kin_free(state->block), -EINVAL);
    }
}

/* Does what a survivor does, with all that it has on a lease, so that it may be killed as well. */
static void recover(void *arg)
{
    (void)arg;
    kin__sweep(true);
    kin__lease *lease = kin__lease_take();
    uint64_t offset;
    if (kin__block_alloc(SMALL, lease, &offset) == 0) {
        kin__block_free(offset);
    }
    if (kin__block_alloc(LARGE, lease, &offset) == 0) {
        kin__block_free(offset);
    }
    kin__lease_drop(lease);
}

static const char *whole(struct state *state, uint64_t extra_used, uint64_t extra_blocks)
{
    uint64_t used = state->used + extra_used, blocks = state->blocks + extra_blocks;
    for (size_t i = 0; i < KIT_COUNT(state->guard); i++) {
        if (state->guard[i] != NULL) {
            used += kin_alloc_size(state->guard[i]);
            blocks++;
        }
    }
    uint64_t used_now, blocks_now;
    struct kin__heap_view view;
    kit_assert_int(kin__heap_usage(&used_now, &blocks_now), 0);
    if (used_now != used || blocks_now != blocks) {
        return blocks_now > blocks ? "a block leaks" : "a block is missing";
    }
    kit_assert_int(kin__heap_lock(&view), 0);
    int rc = kin__heap_repair(&view);
    kin__heap_unlock(&view);
    kit_assert_int(rc, 0);
    kit_assert_int(kin__heap_usage(&used_now, &blocks_now), 0);
    return used_now != used || blocks_now != blocks ? "the counters are not the truth" : NULL;
}

/* Nothing is left of what the victim did. */
static const char *check_nothing(void *arg)
{
    return whole(arg, 0, 0);
}

/* The victim's block is there if its call returned; it may be if it was about to. */
static const char *check_alloc(void *arg)
{
    struct state *state = arg;
    uint64_t had = kin__a64_load(&state->had), used, blocks;
    kit_assert_int(kin__heap_usage(&used, &blocks), 0);
    if (had == 0 && blocks == state->blocks + 1) {
        if (++returning > RETURNING) {
            return "a block leaks before its allocation is about to return";
        }
        return whole(state, used - state->used, 1);
    }
    if (had == 0) {
        return whole(state, 0, 0);
    }
    uint64_t size = kin__block_size(had);
    return size == 0 ? "the victim's block is gone" : whole(state, size, 1);
}

/* What is left is freed, and the arena is as small as before. */
static void end(void *arg)
{
    struct state *state = arg;
    uint64_t had = kin__a64_load(&state->had), used, blocks;
    if (had != 0) {
        must_free(kin__family.base + had);
    }
    for (size_t i = 0; i < KIT_COUNT(state->guard); i++) {
        kin_free(state->guard[i]);
    }
    kit_assert_int(kin__heap_usage(&used, &blocks), 0);
    struct kin__heap_view view;
    kit_assert_int(kin__heap_lock(&view), 0);
    if (blocks > state->blocks) {
        /* Lost by one who was about to return: it is the youngest. */
        for (uint32_t unit = view.first; unit < view.end; unit++) {
            uint64_t entry = kin__a64_load(&view.units[unit]);
            uint64_t word = kin__a64_load(&view.words[unit]);
            if (kin__entry_kind(entry) == KIN__UNIT_LARGE && kin__word_live(word)) {
                had = (uint64_t)unit * KIN__UNIT;
                break;
            }
            if (kin__entry_kind(entry) == KIN__UNIT_DATA &&
                kin__entry_class(entry) == kin__class_of(SMALL)) {
                const struct kin__class *c = &kin__class[kin__class_of(SMALL)];
                had = (uint64_t)unit * KIN__UNIT + c->first * KIN__GRANULE;
                break;
            }
        }
    }
    kin__heap_unlock(&view);
    if (blocks > state->blocks) {
        must_free(kin__family.base + had);
    }
    trim();
    kit_assert_int(kin__heap_lock(&view), 0);
    if (view.end > state->committed / KIN__UNIT) {
        /* The last run is free from before the old end on. */
        uint32_t unit = view.end;
        while (kin__entry_kind(kin__a64_load(&view.units[--unit])) == KIN__UNIT_INSIDE) {
        }
        uint32_t old = (uint32_t)(state->committed / KIN__UNIT);
        kit_assert(kin__entry_kind(kin__a64_load(&view.units[unit])) == KIN__UNIT_FREE);
        kit_assert(unit < old);
        memset(&view.units[unit], 0, (view.end - unit) * sizeof *view.units);
        kin__a64_store(&view.units[unit], kin__entry(KIN__UNIT_FREE, 0, old - unit));
        kin__a64_store(&kin__family.head->committed, state->committed);
        view.heap->stale = 1;
    }
    kin__heap_unlock(&view);
}

#define STATE .state_size = sizeof(struct state), .warm = enter, .recoverer = recover, .survivor = survive,   \
    .teardown = end

static const struct kit_case cases[] = {
    {.name = "alloc, small", STATE, .setup = begin_with_slab, .victim = alloc_small,
     .check = check_alloc, .pairs = 40},
    {.name = "alloc, small, making a slab", STATE, .setup = begin, .victim = alloc_small,
     .check = check_alloc, .pairs = 40},
    {.name = "alloc, large", STATE, .setup = begin, .victim = alloc_large, .check = check_alloc,
     .pairs = 40},
    {.name = "alloc, growing", STATE, .setup = begin, .victim = alloc_growing,
     .check = check_alloc},
    {.name = "block on a lease, small", STATE, .setup = begin_with_slab,
     .victim = alloc_small_leased, .check = check_nothing, .pairs = 40},
    {.name = "block on a lease, large", STATE, .setup = begin, .victim = alloc_large_leased,
     .check = check_nothing, .pairs = 40},
    {.name = "free, small", STATE, .setup = begin_with_small, .victim = free_block,
     .check = check_nothing, .pairs = 40},
    {.name = "free, the last of a slab", STATE, .setup = begin_with_last_of_slab,
     .victim = free_block, .check = check_nothing, .pairs = 40},
    {.name = "free, large, between free runs", STATE, .setup = begin_with_large,
     .victim = free_block, .check = check_nothing, .pairs = 40},
    {.name = "free of a leased block", STATE, .setup = begin_with_small, .victim = free_leased,
     .check = check_nothing, .pairs = 40},
    {.name = "object made", STATE, .setup = begin_with_object_slab, .victim = make_object,
     .check = check_nothing, .pairs = 20},
    {.name = "object made and dropped", STATE, .setup = begin_with_object_slab,
     .victim = make_and_drop_object, .check = check_nothing, .pairs = 20},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
