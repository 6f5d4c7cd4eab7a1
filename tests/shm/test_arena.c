/*
 * Description: kin_alloc and its kin in one process: sizes, alignment, what may not be freed,
 * a full arena, leases, object memory.
 */
#include "test_arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/memory.h>

#include "kit/kit.h"
#include "kit/modes.h"
#include "shm/heap.h"
#include "shm/object.h"

#define MIB ((size_t)1 << 20)

struct usage usage(void)
{
    struct usage u;
    ck_assert_int_eq(kin__heap_usage(&u.used, &u.blocks), 0);
    return u;
}

struct usage usage_recomputed(void)
{
    struct kin__heap_view view;
    ck_assert_int_eq(kin__heap_lock(&view), 0);
    ck_assert_int_eq(kin__heap_repair(&view), 0);
    kin__heap_unlock(&view);
    return usage();
}

bool filled(const char *bytes, size_t size, int value)
{
    return size == 0 || (bytes[0] == (char)value && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static void found(size_t quota)
{
    ck_assert_int_eq(kin_arena_set_quota(quota), 0);
    ck_assert_int_eq(kin__enter(), 0);
}

START_TEST(classes_fit)
{
    for (uint64_t size = 1; size <= KIN__SMALL_MAX; size++) {
        unsigned class = kin__class_of(size);
        ck_assert_uint_lt(class, KIN__CLASS_COUNT);
        uint64_t block = (uint64_t)kin__class[class].granules * KIN__GRANULE;
        ck_assert_uint_ge(block, size);
        if (class > 0) {
            ck_assert_uint_lt((uint64_t)kin__class[class - 1].granules * KIN__GRANULE, size);
        }
        /* At most a quarter is wasted, but for the rounding to 64 bytes and the last classes. */
        if (size > 4 * KIN__GRANULE && size <= kin__class[27].granules * KIN__GRANULE) {
            ck_assert_uint_le(block - kin__align_up(size, KIN__GRANULE), block / 4);
        }
    }
    for (unsigned class = 0; class < KIN__CLASS_COUNT; class++) {
        const struct kin__class *c = &kin__class[class];
        ck_assert_uint_ge(c->first * KIN__GRANULE,
                          offsetof(struct kin__slab, words) + c->count * sizeof(kin__a64));
        ck_assert_uint_le(c->first + c->count * c->granules, KIN__UNIT / KIN__GRANULE);
        for (uint32_t granule = 0; granule < 1024; granule++) {
            ck_assert_uint_eq((uint64_t)granule * c->reciprocal >> 20, granule / c->granules);
        }
    }
}
END_TEST

static const size_t sizes[] = {1, 63, 64, 65, 192, 1000, 4096, 16384, 32640, 32641, 65536, 65537,
                               300000, 3000000};

START_TEST(sizes_and_alignment)
{
    char *blocks[KIN__ARRAY_SIZE(sizes)];
    ck_assert_int_eq(kin__enter(), 0);
    struct usage before = usage();
    for (size_t i = 0; i < KIN__ARRAY_SIZE(sizes); i++) {
        char *block = kin_alloc(sizes[i]);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq((uintptr_t)block % 64, 0);
        size_t room = kin_alloc_size(block);
        ck_assert_uint_ge(room, sizes[i]);
        memset(block, 0xa5, room);
        ck_assert_int_eq(kin_is_shared(block, room), 1);
        ck_assert_int_eq(kin_is_shared(block, room + 1), 0);
        ck_assert_int_eq(kin_is_shared(block + room - 1, 1), 1);
        ck_assert_int_eq(kin_is_shared(block + room / 2, SIZE_MAX), 0);
        blocks[i] = block;
    }
    ck_assert_uint_eq(usage().blocks, before.blocks + KIN__ARRAY_SIZE(sizes));
    ck_assert_usage_eq(usage(), usage_recomputed());
    for (size_t i = 0; i < KIN__ARRAY_SIZE(sizes); i++) {
        ck_assert(filled(blocks[i], kin_alloc_size(blocks[i]), 0xa5));
        ck_assert_int_eq(kin_free(blocks[i]), 0);
        ck_assert_uint_eq(kin_alloc_size(blocks[i]), 0);
        ck_assert_int_eq(kin_is_shared(blocks[i], 1), 0);
        /* Recycled memory is dirty; calloc's is not. */
        char *zero = kin_calloc(1, sizes[i]);
        ck_assert_ptr_nonnull(zero);
        ck_assert(filled(zero, sizes[i], 0));
        ck_assert_int_eq(kin_free(zero), 0);
    }
    ck_assert_usage_eq(usage(), before);
}
END_TEST

START_TEST(refuses_nonsense)
{
    ck_assert_ptr_null(kin_alloc(0));
    ck_assert_int_eq(kin_alloc_error(), -EINVAL);
    ck_assert_ptr_null(kin_calloc(0, 8));
    ck_assert_int_eq(kin_alloc_error(), -EINVAL);
    ck_assert_ptr_null(kin_calloc(SIZE_MAX / 2, 3));
    ck_assert_int_eq(kin_alloc_error(), KIN_EQUOTA);
    ck_assert_ptr_null(kin_alloc(SIZE_MAX));
    ck_assert_int_eq(kin_alloc_error(), KIN_EQUOTA);
    ck_assert_int_eq(kin_free(NULL), 0);
    ck_assert_uint_eq(kin_alloc_size(NULL), 0);
    ck_assert_int_eq(kin_is_shared(NULL, 1), 0);
    ck_assert_int_eq(kin_arena_stats(NULL), -EINVAL);
}
END_TEST

START_TEST(refuses_to_free_what_is_no_block)
{
    int on_stack;
    char *on_heap = malloc(64);
    ck_assert_int_eq(kin_free(&on_stack), -EINVAL); /* before there is a family, too */
    char *small = kin_alloc(100), *large = kin_alloc(200000);
    ck_assert_ptr_nonnull(small);
    ck_assert_ptr_nonnull(large);
    struct usage before = usage();
    char *base = kin__family.base;
    uint64_t committed = kin__a64_load(&kin__family.head->committed);
    char *slab = base + kin__offset(small) / KIN__UNIT * KIN__UNIT;
    void *bad[] = {&on_stack, on_heap, small + 1, small + 64, large + 64, large + KIN__UNIT,
                   base, slab, slab + 64, base + kin__family.head->units_offset,
                   base + committed - 64, base + committed, base + kin__family.size - 64,
                   base - 64, (void *)UINTPTR_MAX, (void *)64};
    for (size_t i = 0; i < KIN__ARRAY_SIZE(bad); i++) {
        ck_assert_int_eq(kin_free(bad[i]), -EINVAL);
        ck_assert_uint_eq(kin_alloc_size(bad[i]), 0);
    }
    /* Every place of the data area but the two blocks. */
    for (uint64_t at = kin__family.head->data_offset; at < committed; at += 32) {
        if (base + at != small && base + at != large) {
            ck_assert_int_eq(kin_free(base + at), -EINVAL);
        }
    }
    ck_assert_usage_eq(usage(), before);
    ck_assert_int_eq(kin_free(small), 0);
    ck_assert_int_eq(kin_free(small), -EINVAL);
    ck_assert_int_eq(kin_free(large), 0);
    ck_assert_int_eq(kin_free(large), -EINVAL);
    ck_assert_usage_eq(usage(), usage_recomputed());
    free(on_heap);
}
END_TEST

START_TEST(use_after_free_harms_no_heap)
{
    ck_assert_int_eq(kin__enter(), 0);
    struct usage before = usage();
    char *blocks[64];
    for (size_t i = 0; i < KIN__ARRAY_SIZE(blocks); i++) {
        blocks[i] = kin_alloc(500);
        ck_assert_ptr_nonnull(blocks[i]);
    }
    for (size_t i = 0; i < KIN__ARRAY_SIZE(blocks); i++) {
        ck_assert_int_eq(kin_free(blocks[i]), 0);
        memset(blocks[i], 0xff, 500);
    }
    for (size_t i = 0; i < KIN__ARRAY_SIZE(blocks); i++) {
        char *block = kin_alloc(500);
        ck_assert_ptr_nonnull(block);
        ck_assert_int_eq(kin_free(block), 0);
    }
    ck_assert_usage_eq(usage(), before);
    ck_assert_usage_eq(usage_recomputed(), before);
}
END_TEST

/* Fills the arena with blocks of one size, each linked to the one before. */
static void **fill(size_t size, size_t *ret_count)
{
    void **last = NULL;
    size_t count = 0;
    for (void **block; (block = kin_alloc(size)) != NULL; count++) {
        *block = last;
        last = block;
    }
    ck_assert_int_eq(kin_alloc_error(), KIN_EQUOTA);
    *ret_count = count;
    return last;
}

static void drain(void **last)
{
    while (last != NULL) {
        void **next = *last;
        ck_assert_int_eq(kin_free(last), 0);
        last = next;
    }
}

START_TEST(full_is_an_error)
{
    found(8 * MIB);
    struct usage before = usage();
    static const size_t blocks[] = {64, 1000, 20000, 70000, MIB};
    uint64_t committed = 0;
    for (size_t i = 0; i < KIN__ARRAY_SIZE(blocks); i++) {
        size_t count;
        void **last = fill(blocks[i], &count);
        ck_assert_uint_ge(count * blocks[i], 3 * MIB);
        ck_assert_uint_le(count * blocks[i], 8 * MIB);
        ck_assert_uint_eq(usage().blocks, before.blocks + count);
        ck_assert_usage_eq(usage(), usage_recomputed());
        /* Whatever else it is asked, a full arena answers. */
        ck_assert_ptr_null(kin_alloc(7 * MIB));
        ck_assert_int_eq(kin_alloc_error(), KIN_EQUOTA);
        ck_assert_uint_ge(kin_alloc_size(last), blocks[i]);
        void **freed = *last;
        ck_assert_int_eq(kin_free(last), 0);
        last = kin_alloc(blocks[i]);
        ck_assert_ptr_nonnull(last);
        *last = freed;
        struct kin_arena_stats stats = {.size = sizeof stats};
        ck_assert_int_eq(kin_arena_stats(&stats), 0);
        ck_assert_uint_le(stats.committed, stats.quota);
        ck_assert_uint_ge(stats.committed, committed);
        committed = stats.committed;
        drain(last);
        ck_assert_usage_eq(usage(), before);
        /* Slabs kept for speed must not keep a large block out. */
        void *large = kin_alloc(6 * MIB);
        ck_assert_ptr_nonnull(large);
        memset(large, 1, 6 * MIB);
        ck_assert_int_eq(kin_free(large), 0);
    }
}
END_TEST

START_TEST(free_neighbours_join)
{
    enum { N = 64 };
    ck_assert_int_eq(kin__enter(), 0);
    char *blocks[N];
    unsigned seed = (unsigned)getpid();
    printf("free_neighbours_join: seed %u\n", seed);
    char *whole = kin_alloc((size_t)N * 3 * KIN__UNIT);
    ck_assert_ptr_nonnull(whole);
    ck_assert_int_eq(kin_free(whole), 0);
    uint64_t committed = kin__a64_load(&kin__family.head->committed);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++) {
            blocks[i] = kin_alloc((size_t)(1 + i % 3) * KIN__UNIT);
            ck_assert_ptr_nonnull(blocks[i]);
        }
        for (int left = N; left > 0; left--) {
            int i = rand_r(&seed) % left;
            ck_assert_int_eq(kin_free(blocks[i]), 0);
            blocks[i] = blocks[left - 1];
        }
        char *again = kin_alloc((size_t)N * 3 * KIN__UNIT);
        ck_assert_ptr_nonnull(again);
        ck_assert_int_eq(kin_free(again), 0);
        ck_assert_uint_eq(kin__a64_load(&kin__family.head->committed), committed);
    }
}
END_TEST

START_TEST(leases_free_exactly_their_block)
{
    ck_assert_int_eq(kin__enter(), 0);
    static const uint64_t each[] = {100, 100000};
    for (size_t i = 0; i < KIN__ARRAY_SIZE(each); i++) {
        struct usage before = usage();
        kin__lease *lease = kin__lease_take();
        uint64_t offset, again;
        ck_assert_int_eq(kin__block_alloc(each[i], lease, &offset), 0);
        uint64_t value = kin__a64_load(lease);
        ck_assert_uint_eq(value, kin__lease_value(offset, kin__block_generation(offset)));
        kin__lease_drop(lease);

        /* Another generation, another place: nothing happens. */
        kin__block_free_leased(0);
        kin__block_free_leased(value + 1);
        kin__block_free_leased(kin__lease_value(offset + 64, kin__lease_generation(value)));
        ck_assert_uint_eq(usage().blocks, before.blocks + 1);
        kin__block_free_leased(value);
        ck_assert_usage_eq(usage(), before);

        /* The same place again: the old lease does not name it. */
        lease = kin__lease_take();
        ck_assert_int_eq(kin__block_alloc(each[i], NULL, &again), 0);
        ck_assert_uint_eq(again, offset);
        kin__block_free_leased(value);
        ck_assert_uint_eq(usage().blocks, before.blocks + 1);
        ck_assert_int_eq(kin__lease_hold(lease, again), 0);
        ck_assert_uint_ne(kin__a64_load(lease), value);
        ck_assert_int_eq(kin__lease_hold(lease, again + 64), -EINVAL);
        kin__block_free_leased(kin__a64_load(lease));
        kin__lease_drop(lease);
        ck_assert_usage_eq(usage(), before);
    }
}
END_TEST

struct seen {
    uint64_t offset[200];
    uint32_t slot[200];
    size_t count;
};

static void see(uint64_t offset, uint32_t slot, void *arg)
{
    struct seen *seen = arg;
    ck_assert_uint_lt(seen->count, KIN__ARRAY_SIZE(seen->offset));
    seen->offset[seen->count] = offset;
    seen->slot[seen->count++] = slot;
}

static bool has_seen(const struct seen *seen, uint64_t offset, uint32_t slot)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (seen->offset[i] == offset && seen->slot[i] == slot) {
            return true;
        }
    }
    return false;
}

/* A new slab's holders are none, whatever its memory has been before. */
START_TEST(objects_where_data_was)
{
    enum { BLOCKS = 64, SIZE = 30000, OBJECTS = 2000 };
    static void *block[BLOCKS];
    static uint64_t offset[OBJECTS];
    ck_assert_int_eq(kin__enter(), 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = kin_alloc(SIZE);
        ck_assert_ptr_nonnull(block[i]);
        memset(block[i], 0xff, SIZE);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        ck_assert_int_eq(kin_free(block[i]), 0);
    }
    for (size_t i = 0; i < OBJECTS; i++) {
        ck_assert_int_eq(kin__object_block_alloc(i % 2 ? 300 : 2000, &offset[i]), 0);
        struct kin__object *object = kin__at(offset[i], sizeof *object);
        ck_assert_uint_eq(kin__a64_load(&object->tag), 0);
        for (size_t k = 0; k < KIN__ARRAY_SIZE(object->holders); k++) {
            ck_assert_uint_eq(kin__a64_load(&object->holders[k]), 0);
        }
    }
    for (size_t i = 0; i < OBJECTS; i++) {
        kin__object_block_free(offset[i]);
    }
}
END_TEST

START_TEST(object_memory)
{
    ck_assert_int_eq(kin__enter(), 0);
    static struct seen seen;
    kin__object_block_each(see, &seen);
    size_t others = seen.count;
    struct usage before = usage();
    uint64_t offset[100];
    for (size_t i = 0; i < KIN__ARRAY_SIZE(offset); i++) {
        ck_assert_int_eq(kin__object_block_alloc(i % 2 ? 300 : 16384, &offset[i]), 0);
        ck_assert(kin__object_block_exists(offset[i]));
        ck_assert_int_eq(kin_free(kin__family.base + offset[i]), -EINVAL);
        ck_assert_int_eq(kin_is_shared(kin__family.base + offset[i], 1), 0);
        pthread_mutex_t *mutex = kin__at(offset[i], 300);
        ck_assert_int_eq(kin__mutex_lock(mutex), 0);
        memset(mutex + 1, 0xff, 300 - sizeof *mutex);
        kin__mutex_unlock(mutex);
    }
    kin__object_block_own(offset[7], 77);
    seen.count = 0;
    kin__object_block_each(see, &seen);
    ck_assert_uint_eq(seen.count, others + KIN__ARRAY_SIZE(offset));
    for (size_t i = 0; i < KIN__ARRAY_SIZE(offset); i++) {
        ck_assert(has_seen(&seen, offset[i], i == 7 ? 77 : kin__self->slot));
    }
    ck_assert_usage_eq(usage(), usage_recomputed());
    seen.count = 0;
    kin__object_block_each(see, &seen);
    ck_assert_uint_eq(seen.count, others + KIN__ARRAY_SIZE(offset));

    for (size_t i = 0; i < KIN__ARRAY_SIZE(offset); i++) {
        kin__object_block_free(offset[i]);
        kin__object_block_free(offset[i]); /* idempotent, as its callers' repairs are */
        ck_assert(kin__object_block_exists(offset[i]));
    }
    ck_assert_usage_eq(usage(), before);
    ck_assert(!kin__object_block_exists(offset[0] + 64));
    ck_assert(!kin__object_block_exists(0));
    ck_assert(!kin__object_block_exists(UINT64_MAX));
    /* The memory is the same for ever: what was a mutex is one. */
    for (size_t i = 0; i < KIN__ARRAY_SIZE(offset); i++) {
        ck_assert_int_eq(kin__mutex_lock(kin__at(offset[i], 300)), 0);
        kin__mutex_unlock(kin__at(offset[i], 300));
    }
    uint64_t committed = kin__a64_load(&kin__family.head->committed);
    for (int i = 0; i < 200000; i++) {
        uint64_t one;
        ck_assert_int_eq(kin__object_block_alloc(300, &one), 0);
        kin__object_block_free(one);
    }
    ck_assert_uint_eq(kin__a64_load(&kin__family.head->committed), committed);
    ck_assert_int_eq(kin__object_block_alloc(0, &offset[0]), -EINVAL);
    ck_assert_int_eq(kin__object_block_alloc(KIN__SMALL_MAX + 1, &offset[0]), -EINVAL);
}
END_TEST

START_TEST(a_million_objects)
{
    ck_assert_int_eq(kin__enter(), 0);
    struct kin__object *object = NULL;
    struct usage before = usage();
    ck_assert_int_eq(kin__object_create(KIN__TYPE_TEST, 1000, &object), 0);
    kin__object_drop(object);
    uint64_t committed = kin__a64_load(&kin__family.head->committed);
    int rounds = KIT_UNDER_TSAN ? 100000 : 1000000;
    for (int i = 0; i < rounds; i++) {
        if (kin__object_create(KIN__TYPE_TEST, 1000, &object) != 0 ||
            kin__mutex_lock(&object->mutex) != 0) {
            ck_abort_msg("object %d", i);
        }
        kin__mutex_unlock(&object->mutex);
        kin__object_ready(object);
        kin__object_drop(object);
    }
    ck_assert_uint_eq(kin__a64_load(&kin__family.head->committed), committed);
    ck_assert_usage_eq(usage(), before);
}
END_TEST

START_TEST(statistics)
{
    found(32 * MIB);
    struct kin_arena_stats stats = {.size = sizeof stats}, after = stats;
    ck_assert_int_eq(kin_arena_stats(&stats), 0);
    ck_assert_uint_eq(stats.size, sizeof stats);
    ck_assert_uint_ge(stats.processes, 1);
    void *block = kin_alloc(KIN__UNIT);
    ck_assert_int_eq(kin_arena_stats(&after), 0);
    ck_assert_uint_eq(after.blocks, stats.blocks + 1);
    ck_assert_uint_eq(after.used, stats.used + KIN__UNIT);
    ck_assert_uint_eq(after.quota, stats.quota);
    ck_assert_int_eq(kin_free(block), 0);
    /* A caller of an older header. */
    memset(&after, 0xee, sizeof after);
    after.size = offsetof(struct kin_arena_stats, used);
    ck_assert_int_eq(kin_arena_stats(&after), 0);
    ck_assert_uint_eq(after.quota, stats.quota);
    ck_assert_uint_eq(after.used, (size_t)0xeeeeeeeeeeeeeeee);
    after.size = 0;
    ck_assert_int_eq(kin_arena_stats(&after), -EINVAL);
    ck_assert_int_eq(kin_arena_set_quota(MIB), -EBUSY);
}
END_TEST

START_TEST(under_an_address_space_limit)
{
    struct rlimit limit = {(rlim_t)1 << 30, (rlim_t)1 << 30};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_assert_int_eq(kin__enter(), 0);
    size_t count;
    void **last = fill(MIB, &count);
    ck_assert_uint_ge(count, 8);
    void *ordinary = malloc(64 * MIB); /* the reservation left the program its share */
    ck_assert_ptr_nonnull(ordinary);
    free(ordinary);
    drain(last);
}
END_TEST

static Suite *arena_suite(void)
{
    Suite *suite = suite_create("arena");
    TCase *basic = tcase_create("one process");
    tcase_set_timeout(basic, 30);
    tcase_add_test(basic, classes_fit);
    tcase_add_test(basic, sizes_and_alignment);
    tcase_add_test(basic, refuses_nonsense);
    tcase_add_test(basic, refuses_to_free_what_is_no_block);
    tcase_add_test(basic, use_after_free_harms_no_heap);
    tcase_add_test(basic, full_is_an_error);
    tcase_add_test(basic, free_neighbours_join);
    tcase_add_test(basic, leases_free_exactly_their_block);
    tcase_add_test(basic, objects_where_data_was);
    tcase_add_test(basic, object_memory);
    tcase_add_test(basic, statistics);
    tcase_add_test(basic, a_million_objects);
    if (!KIT_UNDER_ASAN && !KIT_UNDER_TSAN) { /* which reserve address space by the terabyte */
        tcase_add_test(basic, under_an_address_space_limit);
    }
    suite_add_tcase(suite, basic);
    suite_add_tcase(suite, arena_repair_case());
    suite_add_tcase(suite, arena_storm_case());
    return suite;
}

KIT_CHECK_MAIN(arena_suite)
