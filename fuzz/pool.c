/* A pool's blocks and the results in its workers' rings, which a worker has overwritten. */
#include "pool/engine.h"

#include "fuzz.h"

#define STEPS 24

static kin_pool pool;
static struct kin__crew crew;
static struct kin__pool_block blocks[3]; /* as setup left them */
static struct kin__ring_end fresh_results;

static void setup(void)
{
    struct kin__object *object;
    if (pool.object != NULL) {
        return;
    }
    REQUIRE(kin__enter() == 0);
    REQUIRE(kin__object_create(KIN__TYPE_POOL, sizeof(struct kin__pool_object), &object) == 0);
    kin__object_ready(object);
    pool.object = (struct kin__pool_object *)object;
    pool.crew = &crew;
    pool.size = 1;
    crew.pidfd = -1;
    crew.state = KIN__CREW_READY;
    REQUIRE(kin__chain_worker_block(&pool, &crew) == 0);
    for (unsigned i = 0; i < 3; i++) {
        struct kin__pool_block *block;
        REQUIRE(kin__chain_add(&pool, 100 * i, &block) == 0);
        blocks[i] = *block;
    }
    /* A reply that has been sent, and one that has not. */
    struct kin__ring_end end;
    kin__ring_attach(&end, kin__worker_results(crew.block), KIN__POOL_RESULT_RING);
    kin__lease *lease = kin__lease_take();
    for (unsigned i = 0; i < 2; i++) {
        uint64_t offset;
        void *payload;
        REQUIRE(kin__block_alloc(500, lease, &offset) == 0);
        uint64_t value = kin__a64_load(lease);
        kin__a64_store(lease, 0);
        kin__a64_store(&crew.block->pending, value);
        if (i == 1) {
            break;
        }
        REQUIRE(kin__ring_reserve(&end, sizeof(struct kin__result_message), &payload) == 0);
        *(struct kin__result_message *)payload = (struct kin__result_message){
            .kind = KIN__RESULT_CALL, .id = 1, .block = value, .size = 500};
        REQUIRE(kin__ring_reserve(&end, sizeof(struct kin__result_message), &payload) == 0);
        *(struct kin__result_message *)payload =
            (struct kin__result_message){.kind = KIN__RESULT_READY};
    }
    kin__ring_publish(&end);
    kin__lease_drop(lease);
    fresh_results = crew.results;
    fuzz_arena_keep(object, NULL);
}

static void restore_blocks(void)
{
    while (pool.blocks != NULL) {
        struct kin__pool_block *next = pool.blocks->next;
        free(pool.blocks);
        pool.blocks = next;
    }
    for (unsigned i = 0; i < 3; i++) {
        struct kin__pool_block *block = malloc(sizeof *block);
        REQUIRE(block != NULL);
        *block = blocks[i];
        block->previous = NULL;
        block->next = pool.blocks;
        if (block->next != NULL) {
            block->next->previous = block;
        }
        pool.blocks = block;
    }
}

int fuzz_target(const uint8_t *data, size_t size)
{
    setup();
    fuzz_arena_restore();
    restore_blocks();
    crew.results = fresh_results;
    struct fuzz_input input = {data, size};
    struct kin__ring *results = kin__worker_results(crew.block);
    const struct fuzz_region regions[] = {
        {&pool.object->chain, 64},          {results->data, 256},
        {&results->tail, 128},              {&crew.block->pending, 8},
        {blocks[0].link, sizeof *blocks[0].link}, {blocks[2].link, sizeof *blocks[2].link},
        {kin__slot_at(FUZZ_PEER)->lease, 64},
    };
    struct kin__pool_block *block;
    for (unsigned i = 0; i < STEPS && input.left > 0; i++) {
        uint8_t step = fuzz_byte(&input);
        switch (step % 8) {
        default:
            fuzz_spoil(&input, regions, sizeof regions / sizeof *regions);
            break;
        case 4:
            if (kin__chain_add(&pool, fuzz_byte(&input), &block) == 0 && step & 8) {
                kin__chain_remove(&pool, block);
            }
            break;
        case 5:
            fuzz_sweep_peer();
            break;
        case 6:
            kin__chain_clear(&pool);
            break;
        case 7:
            fuzz_last_holder_dies(&pool.object->object);
            return 0;
        }
    }
    return 0;
}
