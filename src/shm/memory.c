/* The public face of the arena: <kinfolk/memory.h>. Layer: shm. */
#include <kinfolk/memory.h>

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "shm/arena.h"
#include "shm/object.h"

static _Thread_local int last_error;

static void *fail(int rc)
{
    last_error = rc;
    return NULL;
}

void *kin_alloc(size_t size)
{
    if (size == 0) {
        return fail(-EINVAL);
    }
    int rc = kin__enter();
    if (KIN__UNLIKELY(rc < 0)) {
        return fail(rc);
    }
    uint64_t offset;
    kin__lease *lease = kin__lease_take();
    rc = kin__block_alloc(size, KIN__FAULT(LEASE_CLEARED_EARLY) ? NULL : lease, &offset);
    kin__lease_drop(lease);
    if (KIN__UNLIKELY(rc < 0)) {
        return fail(rc);
    }
    return kin__family.base + offset;
}

void *kin_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return fail(KIN_EQUOTA);
    }
    void *block = kin_alloc(bytes);
    if (block != NULL) {
        memset(block, 0, bytes);
    }
    return block;
}

int kin_alloc_error(void)
{
    return last_error;
}

int kin_free(void *block)
{
    if (block == NULL) {
        return 0;
    }
    if (!kin__inside(block)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    return rc < 0 ? rc : kin__block_free(kin__offset(block));
}

size_t kin_alloc_size(const void *block)
{
    if (!kin__inside(block) || kin__enter() < 0) {
        return 0;
    }
    return kin__block_size(kin__offset(block));
}

int kin_is_shared(const void *pointer, size_t size)
{
    uint64_t start, room;
    if (!kin__inside(pointer) || kin__enter() < 0 ||
        !kin__block_find(kin__offset(pointer), &start, &room)) {
        return 0;
    }
    return size <= room - (kin__offset(pointer) - start);
}

static size_t live_processes(void)
{
    size_t count = 0;
    for (uint32_t i = 0; i < KIN__SLOTS; i++) {
        struct kin__slot *slot = kin__slot_at(i);
        count += slot != NULL && kin__slot_phase(kin__a64_load(&slot->state)) == KIN__SLOT_LIVE;
    }
    return count;
}

int kin_arena_stats(struct kin_arena_stats *ret_stats)
{
    if (ret_stats == NULL || ret_stats->size < sizeof ret_stats->size) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    uint64_t used, blocks;
    rc = kin__heap_usage(&used, &blocks);
    if (rc < 0) {
        return rc;
    }
    struct kin_arena_stats stats = {
        .size = ret_stats->size,
        .quota = kin__family.head->size,
        .committed = kin__a64_load(&kin__family.head->committed),
        .used = used,
        .blocks = blocks,
        .objects = kin__object_count(),
        .processes = live_processes(),
    };
    /* A caller of an older or a newer header gets what it has room for; the rest is zero. */
    size_t room = stats.size;
    memset(ret_stats, 0, room);
    memcpy(ret_stats, &stats, KIN__MIN(room, sizeof stats));
    return 0;
}
