/*
 * Description: a process dies inside the heap lock, in each of the states that the truth passes
 * through there, with every cache it can reach spoilt; the next one finds the heap whole. Also:
 * caches and truth that somebody overwrote.
 */
#include "test_arena.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/memory.h>

#include "shm/heap.h"

static char *kept_small, *kept_large;

/* Blocks that outlive what is done to the heap, and free runs of all sorts around them. */
static struct usage prepare(void)
{
    void *gap[12];
    ck_assert_int_eq(kin__enter(), 0);
    for (size_t i = 0; i < KIN__ARRAY_SIZE(gap); i++) {
        gap[i] = kin_alloc((1 + i % 4) * KIN__UNIT);
        ck_assert_ptr_nonnull(gap[i]);
    }
    kept_small = kin_alloc(100);
    kept_large = kin_alloc(3 * KIN__UNIT);
    ck_assert_ptr_nonnull(kept_small);
    ck_assert_ptr_nonnull(kept_large);
    memset(kept_small, 'k', 100);
    memset(kept_large, 'K', 3 * KIN__UNIT);
    for (size_t i = 0; i < KIN__ARRAY_SIZE(gap); i += 2) {
        ck_assert_int_eq(kin_free(gap[i]), 0);
    }
    return usage();
}

static void check_whole(struct usage expected)
{
    ck_assert_usage_eq(usage(), expected);
    ck_assert_usage_eq(usage_recomputed(), expected);
    static const size_t sizes[] = {64, 3000, 32000, 65536, 200000, 3000000};
    void *blocks[KIN__ARRAY_SIZE(sizes)];
    for (size_t i = 0; i < KIN__ARRAY_SIZE(sizes); i++) {
        blocks[i] = kin_alloc(sizes[i]);
        ck_assert_ptr_nonnull(blocks[i]);
        memset(blocks[i], 'x', sizes[i]);
    }
    for (size_t i = 0; i < KIN__ARRAY_SIZE(sizes); i++) {
        ck_assert_int_eq(kin_free(blocks[i]), 0);
    }
    ck_assert(filled(kept_small, 100, 'k'));
    ck_assert(filled(kept_large, 3 * KIN__UNIT, 'K'));
    ck_assert_usage_eq(usage(), expected);
    ck_assert_usage_eq(usage_recomputed(), expected);
}

static void spoil_caches(struct kin__heap_view *view)
{
    struct kin__heap *heap = view->heap;
    for (uint32_t unit = view->first; unit < view->end; unit++) {
        uint64_t entry = kin__a64_load(&view->units[unit]);
        unsigned kind = kin__entry_kind(entry);
        if (kind == KIN__UNIT_DATA || kind == KIN__UNIT_OBJECT) {
            struct kin__slab *slab =
                (struct kin__slab *)(view->base + (uint64_t)unit * KIN__UNIT);
            memset(slab->bitmap, 0xff, sizeof slab->bitmap);
            slab->next = slab->prev = 0x12345;
            slab->free = slab->hint = UINT32_MAX;
        } else if (kind == KIN__UNIT_INSIDE) {
            kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_INSIDE, 0, 2));
        }
    }
    memset(heap->data_slabs, 0xff, sizeof heap->data_slabs);
    memset(heap->object_slabs, 0x11, sizeof heap->object_slabs);
    heap->used = heap->blocks = 1;
    heap->search = UINT32_MAX;
}

static void find_free(struct kin__heap_view *view, uint32_t count, uint32_t *ret_unit,
                      uint32_t *ret_length)
{
    if (kin__run_find(view, count, ret_unit, ret_length) != 0) {
        _exit(3);
    }
}

/* What the dying process has done when it dies. */
enum stage {
    NOTHING,
    LARGE_WORD_LIVE,     /* and the entry still free */
    LARGE_REMAINDER,     /* a split whose second half is written, its first not */
    LARGE_WORD_FREE,     /* a large block on its way out */
    NOT_JOINED,          /* two free runs side by side */
    JOINED_HEAD_INSIDE,  /* joined, the second's entry not yet cleared */
    SLAB_WORD_LIVE,      /* a small block taken, the bitmap not told; its lease is freed */
    SLAB_WORD_FREE,      /* a small block freed, the bitmap not told */
    OBJECT_NOT_CHAINED,  /* an object slab that the chain does not have */
    OBJECT_HALF_CHAINED, /* ... that has it, without the mark */
    GROWN_ENTRY,         /* the entry of a new run behind the end */
    STAGES,
};

static void reach(struct kin__heap_view *view, enum stage stage, uint64_t victim_small,
                  uint64_t victim_large, kin__a64 *lease)
{
    uint32_t unit, length;
    struct kin__place place;
    switch (stage) {
    case LARGE_WORD_LIVE:
        find_free(view, 2, &unit, &length);
        kin__a64_store(&view->words[unit], kin__word(7, 0, KIN__BLOCK_LIVE));
        break;
    case LARGE_REMAINDER:
        find_free(view, 2, &unit, &length);
        kin__a64_store(&view->units[unit + 1], kin__entry(KIN__UNIT_FREE, 0, length - 1));
        break;
    case LARGE_WORD_FREE:
        kin__a64_store(&view->words[victim_large / KIN__UNIT],
                       kin__word(7, 0, KIN__BLOCK_FREE));
        break;
    case NOT_JOINED:
        find_free(view, 2, &unit, &length);
        kin__a64_store(&view->units[unit + 1], kin__entry(KIN__UNIT_FREE, 0, length - 1));
        kin__a64_store(&view->units[unit], kin__entry(KIN__UNIT_FREE, 0, 1));
        break;
    case JOINED_HEAD_INSIDE:
        find_free(view, 3, &unit, &length);
        kin__a64_store(&view->units[unit + 2], kin__entry(KIN__UNIT_FREE, 0, length - 2));
        break;
    case SLAB_WORD_LIVE:
        if (kin__slab_alloc(view, KIN__UNIT_DATA, 0, lease, &victim_small) != 0) {
            _exit(3);
        }
        break;
    case SLAB_WORD_FREE:
        if (!kin__place_at(view, victim_small, &place)) {
            _exit(3);
        }
        kin__a64_store(place.word, kin__word(7, 0, KIN__BLOCK_FREE));
        break;
    case OBJECT_NOT_CHAINED:
    case OBJECT_HALF_CHAINED: {
        uint64_t offset;
        if (kin__slab_alloc(view, KIN__UNIT_OBJECT, 29, NULL, &offset) != 0 ||
            !kin__place_at(view, offset, &place)) {
            _exit(3);
        }
        kin__a64_store(place.word, 0);
        struct kin__slab *slab =
            (struct kin__slab *)(view->base + (uint64_t)place.unit * KIN__UNIT);
        slab->chained = 0;
        if (stage == OBJECT_NOT_CHAINED) {
            kin__a32_store(&view->heap->all_objects, kin__a32_load(&slab->older));
        }
        break;
    }
    case GROWN_ENTRY:
        kin__a64_store(&view->units[view->end], kin__entry(KIN__UNIT_FREE, 0, 9999));
        break;
    default:
        break;
    }
}

static void count_block(uint64_t offset, uint32_t slot, void *arg)
{
    (void)offset;
    (void)slot;
    ++*(unsigned *)arg;
}

START_TEST(owner_dies)
{
    enum stage stage = (enum stage)_i;
    struct usage expected = prepare();
    char *small = kin_alloc(1000), *large = kin_alloc(5 * KIN__UNIT);
    kin__a64 *lease = kin_calloc(1, sizeof *lease);
    uint64_t lease_offset = kin__offset(lease);
    ck_assert(small != NULL && large != NULL && lease != NULL);
    unsigned objects = 0, objects_after = 0;
    kin__object_block_each(count_block, &objects);

    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct kin__heap_view view;
        if (kin__enter() < 0 || kin__heap_lock(&view) < 0) {
            _exit(2);
        }
        reach(&view, stage, kin__offset(small), kin__offset(large), lease);
        spoil_caches(&view);
        kill(getpid(), SIGKILL);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    if (stage == SLAB_WORD_LIVE) {
        kin__block_free_leased(kin__a64_load(lease));
    }
    ck_assert_int_eq(kin_free(small), stage == SLAB_WORD_FREE ? -EINVAL : 0);
    ck_assert_int_eq(kin_free(large), stage == LARGE_WORD_FREE ? -EINVAL : 0);
    ck_assert_int_eq(kin__block_free(lease_offset), 0);
    check_whole(expected);
    kin__object_block_each(count_block, &objects_after);
    ck_assert_uint_eq(objects_after, objects);
    if (stage == OBJECT_NOT_CHAINED || stage == OBJECT_HALF_CHAINED) {
        /* The slab is in the chain, once: a block of it is seen once. */
        uint64_t offset;
        ck_assert_int_eq(kin__object_block_alloc(KIN__SMALL_MAX, &offset), 0);
        objects_after = 0;
        kin__object_block_each(count_block, &objects_after);
        ck_assert_uint_eq(objects_after, objects + 1);
        kin__object_block_free(offset);
    }
}
END_TEST

START_TEST(spoilt_caches_heal)
{
    struct usage expected = prepare();
    struct kin__heap_view view;
    ck_assert_int_eq(kin__heap_lock(&view), 0);
    uint64_t used = view.heap->used, blocks = view.heap->blocks;
    spoil_caches(&view);
    view.heap->used = used; /* counters alone have nothing to be checked against */
    view.heap->blocks = blocks;
    kin__heap_unlock(&view);
    void *small = kin_alloc(100), *large = kin_alloc(9 * KIN__UNIT);
    ck_assert_ptr_nonnull(small);
    ck_assert_ptr_nonnull(large);
    ck_assert_int_eq(kin_free(small), 0);
    ck_assert_int_eq(kin_free(large), 0);
    check_whole(expected);
}
END_TEST

static void overwrite_entry(struct kin__heap_view *view, uint64_t entry)
{
    kin__a64_store(&view->units[kin__offset(kept_large) / KIN__UNIT], entry);
    view->heap->stale = 1;
}

START_TEST(broken_truth_is_an_error)
{
    static const uint64_t nonsense[] = {
        0, UINT64_MAX, UINT64_C(1) << 56, UINT64_C(9) << 56 | 1, UINT64_C(2) << 56 | 999999,
        UINT64_C(3) << 56 | UINT64_C(200) << 48 | 1, UINT64_C(3) << 56 | 2,
    };
    prepare();
    struct kin__heap_view view;
    ck_assert_int_eq(kin__heap_lock(&view), 0);
    uint64_t good = kin__a64_load(&view.units[kin__offset(kept_large) / KIN__UNIT]);
    overwrite_entry(&view, nonsense[_i]);
    kin__heap_unlock(&view);
    ck_assert_ptr_null(kin_alloc(100));
    ck_assert_int_eq(kin_alloc_error(), KIN_ECORRUPT);
    ck_assert_int_eq(kin_free(kept_small), KIN_ECORRUPT);
    ck_assert_int_eq(kin_is_shared(kept_small, 1), 0);
    overwrite_entry(&view, good);
    ck_assert_int_eq(kin_free(kept_small), 0);
}
END_TEST

START_TEST(broken_head_is_an_error)
{
    prepare();
    struct kin__head *head = kin__family.head;
    uint64_t *fields[] = {&head->data_offset, &head->units_offset, &head->words_offset};
    static const uint64_t nonsense[] = {UINT64_MAX, UINT64_MAX - 7, 12345,
                                        UINT64_C(1) << 62};
    for (size_t i = 0; i < KIN__ARRAY_SIZE(fields); i++) {
        for (size_t k = 0; k < KIN__ARRAY_SIZE(nonsense); k++) {
            uint64_t good = *fields[i];
            *fields[i] = nonsense[k];
            ck_assert_ptr_null(kin_alloc(100));
            ck_assert_int_eq(kin_alloc_error(), KIN_ECORRUPT);
            ck_assert_int_eq(kin_free(kept_small), KIN_ECORRUPT);
            ck_assert_uint_eq(kin_alloc_size(kept_small), 0);
            *fields[i] = good;
        }
    }
    ck_assert_int_eq(kin_free(kept_small), 0);
}
END_TEST

TCase *arena_repair_case(void)
{
    TCase *repair = tcase_create("repair");
    tcase_set_timeout(repair, 20);
    tcase_add_loop_test(repair, owner_dies, 0, STAGES);
    tcase_add_test(repair, spoilt_caches_heal);
    tcase_add_loop_test(repair, broken_truth_is_an_error, 0, 7);
    tcase_add_test(repair, broken_head_is_an_error);
    return repair;
}
