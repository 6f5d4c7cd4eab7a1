/*
 * The pool's shared memory: its object, the chain of its blocks, what is freed when its parent died.
 * Layer: pool. Protocol: docs/design/pool.md, "Blocks".
 */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>

/* More than any pool has, fewer than would take long: a broken chain must not hold up the sweep. */
#define CHAIN_MOST 10000000

int kin__chain_add(kin_pool *pool, uint64_t size, struct kin__pool_block **ret_block)
{
    struct kin__pool_block *block = malloc(sizeof *block);
    if (block == NULL) {
        return -ENOMEM;
    }
    kin__lease *lease = kin__lease_take();
    uint64_t offset;
    int rc = kin__block_alloc(sizeof(struct kin__pool_link) + size, lease, &offset);
    if (rc == 0) {
        struct kin__pool_link *link = kin__at(offset, sizeof(struct kin__pool_link) + size);
        *block = (struct kin__pool_block){
            .link = link,
            .value = kin__lease_value(offset, kin__block_generation(offset)),
            .size = size,
            .next = pool->blocks,
        };
        if (block->next != NULL) {
            block->next->previous = block;
        }
        pool->blocks = block;
        kin__a64_store(&link->next, block->next != NULL ? block->next->value : 0);
        /* Never on the chain and on a lease: leases are swept first, and with it went its link. */
        kin__a64_store(&pool->object->limbo, block->value);
        kin__lease_drop(lease);
        kin__a64_store(&pool->object->chain, block->value); /* the commit */
        kin__a64_store(&pool->object->limbo, 0);
        *ret_block = block;
    } else {
        kin__lease_drop(lease);
        free(block);
    }
    return rc;
}

void kin__chain_remove(kin_pool *pool, struct kin__pool_block *block)
{
    kin__a64_store(&pool->object->limbo, block->value);
    kin__a64_store(block->previous != NULL ? &block->previous->link->next : &pool->object->chain,
                   block->next != NULL ? block->next->value : 0);
    *(block->previous != NULL ? &block->previous->next : &pool->blocks) = block->next;
    if (block->next != NULL) {
        block->next->previous = block->previous;
    }
    kin__block_free(kin__offset(block->link));
    kin__a64_store(&pool->object->limbo, 0);
    free(block);
}

int kin__chain_worker_block(kin_pool *pool, struct kin__crew *crew)
{
    if (crew->block == NULL) {
        kin__lease *lease = kin__lease_take();
        uint64_t offset;
        int rc = kin__block_alloc(KIN__POOL_BLOCK_BYTES, lease, &offset);
        if (rc == 0) {
            crew->block = kin__at(offset, KIN__POOL_BLOCK_BYTES);
            crew->block_value = kin__lease_value(offset, kin__block_generation(offset));
            kin__ring_init(kin__worker_tasks(crew->block));
            kin__ring_init(kin__worker_results(crew->block));
            kin__a64_store(&crew->block->pending, 0);
            kin__a64_store(&pool->object->worker[crew->index], crew->block_value);
        }
        kin__lease_drop(lease);
        if (rc < 0) {
            return rc;
        }
    }
    struct kin__worker_block *block = crew->block;
    kin__a32_store(&block->door.word, 0);
    kin__a32_store(&block->control, 0);
    kin__a64_store(&block->progress, 0);
    kin__a64_store(&block->began, 0);
    kin__a64_store(&block->pending, 0);
    kin__a64_store(&block->range, 0);
    kin__ring_init(kin__worker_tasks(block));
    kin__ring_init(kin__worker_results(block));
    kin__ring_attach(&crew->tasks, kin__worker_tasks(block), KIN__POOL_TASK_RING);
    kin__ring_attach(&crew->results, kin__worker_results(block), KIN__POOL_RESULT_RING);
    return 0;
}

static struct kin__pool_link *link_of(uint64_t value)
{
    return kin__lease_is_live(value)
               ? kin__at(kin__lease_offset(value), sizeof(struct kin__pool_link))
               : NULL;
}

/* Frees what the word names, unless that has happened, and clears the word. */
static void free_named(kin__a64 *word)
{
    uint64_t value = kin__a64_load(word);
    if (value != 0) {
        kin__block_free_leased(value);
        kin__a64_store(word, 0);
    }
}

/* A sweeper that dies in here leaves the chain to the next one: a link is alive while it is on it. */
static void free_chain(struct kin__pool_object *object)
{
    if (kin__a64_load(&object->freeing) != kin__a64_load(&object->chain)) {
        free_named(&object->freeing);
    }
    for (int i = 0; i < CHAIN_MOST; i++) {
        uint64_t value = kin__a64_load(&object->chain);
        struct kin__pool_link *link = value == 0 ? NULL : link_of(value);
        if (link == NULL) {
            break;
        }
        uint64_t next = kin__a64_load(&link->next);
        kin__a64_store(&object->freeing, value);
        kin__a64_store(&object->chain, next);
        free_named(&object->freeing);
    }
    kin__a64_store(&object->chain, 0);
    free_named(&object->limbo); /* only now: it may be on the chain */
}

/* The replies that a worker has sent and nobody has read. */
static void free_replies(struct kin__worker_block *block)
{
    struct kin__ring_end results;
    kin__ring_attach(&results, kin__worker_results(block), KIN__POOL_RESULT_RING);
    results.own = results.peer = kin__a64_load(&results.ring->head);
    void *payload;
    uint64_t size;
    while (results.own % KIN__GRANULE == 0 && kin__ring_read(&results, &payload, &size) == 1) {
        struct kin__result_message *message = payload;
        if (size >= sizeof *message && message->kind == KIN__RESULT_CALL && message->block != 0) {
            kin__block_free_leased(message->block);
        }
    }
    uint64_t pending = kin__a64_load(&block->pending);
    if (pending != 0) {
        kin__block_free_leased(pending);
    }
}

static void free_blocks(struct kin__pool_object *object)
{
    for (uint32_t i = 0; i < KIN__MIN(object->workers, KIN__POOL_WORKERS); i++) {
        uint64_t value = kin__a64_load(&object->worker[i]);
        if (value == 0) {
            continue;
        }
        struct kin__worker_block *block =
            kin__at(kin__lease_offset(value), KIN__POOL_BLOCK_BYTES);
        if (block != NULL && kin__lease_is_live(value)) {
            free_replies(block);
        }
        kin__block_free_leased(value);
        kin__a64_store(&object->worker[i], 0);
    }
    free_chain(object);
}

void kin__chain_clear(kin_pool *pool)
{
    /* By our own account: what the object says, a worker may have spoilt. */
    while (pool->blocks != NULL) {
        kin__chain_remove(pool, pool->blocks);
    }
    free_blocks(pool->object);
}

/* The parent died, or has freed all but the object. Each step may be repeated: blocks are freed by
 * the generation that they had. */
static void fini(struct kin__object *object)
{
    free_blocks((struct kin__pool_object *)object);
}

__attribute__((constructor)) static void register_type(void)
{
    static const struct kin__type type = {.name = "pool", .fini = fini};
    kin__type_register(KIN__TYPE_POOL, &type);
}
