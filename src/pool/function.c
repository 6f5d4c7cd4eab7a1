/*
 * The user's functions as messages name them. Layer: pool. Protocol: docs/design/pool.md, "Functions".
 *
 * Threads and forked workers have them where the parent has them. Workers that execute the program
 * again have them elsewhere: for these the parent writes each function's portable name once, into a
 * block on the pool's chain, and the block's address stands for the function.
 */
#include "pool/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/worker.h"
#include "process/message.h"

/* What the block holds; written by the parent before any message names it. */
struct name {
    uint64_t size;
    unsigned char bytes[]; /* kin__function_encode */
};

/* A function and the block that names it: in a list of the parent's, under the pool's lock, and in
 * one of each worker's. */
struct kin__named_function {
    struct kin__named_function *next;
    kin_function *function;
    uint64_t word;
};

void kin__named_functions_free(struct kin__named_function **functions)
{
    struct kin__named_function *named;
    while ((named = *functions) != NULL) {
        *functions = named->next;
        free(named);
    }
}

/* --- the parent ----------------------------------------------------------------------------- */

static uint64_t find(const kin_pool *pool, kin_function *function)
{
    for (struct kin__named_function *named = pool->functions; named != NULL; named = named->next) {
        if (named->function == function) {
            return named->word;
        }
    }
    return 0;
}

static int add(kin_pool *pool, kin_function *function, const void *bytes, size_t size)
{
    struct kin__named_function *named = malloc(sizeof *named);
    struct kin__pool_block *block;
    int rc = named == NULL ? -ENOMEM : kin__chain_add(pool, sizeof(struct name) + size, &block);
    if (rc < 0) {
        free(named);
        return rc;
    }
    struct name *name = (struct name *)block->link->payload;
    name->size = size;
    memcpy(name->bytes, bytes, size);
    *named = (struct kin__named_function){pool->functions, function, (uint64_t)(uintptr_t)name};
    pool->functions = named;
    return 0;
}

int kin__pool_function(kin_pool *pool, kin_function *function, uint64_t *ret_word)
{
    if (!pool->by_name || function == NULL) {
        *ret_word = (uint64_t)(uintptr_t)function;
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    uint64_t word = find(pool, function);
    pthread_mutex_unlock(&pool->lock);
    if (word == 0) {
        /* Not under the lock: the loader has one of its own. */
        unsigned char bytes[KIN__FUNCTION_SIZE];
        kin_target_fn *target = (kin_target_fn *)function;
        const char *entry = NULL;
        int size = kin__entry_settle(&target, &entry);
        if (size < 0 || (size = kin__function_encode(function, entry, bytes, sizeof bytes)) < 0) {
            return size;
        }
        int rc = 0;
        pthread_mutex_lock(&pool->lock);
        if (find(pool, function) == 0) {
            rc = add(pool, function, bytes, (size_t)size);
        }
        word = find(pool, function);
        pthread_mutex_unlock(&pool->lock);
        if (rc < 0) {
            return rc;
        }
    }
    *ret_word = word;
    return 0;
}

/* --- the worker ----------------------------------------------------------------------------- */

int kin__worker_function_named(struct kin__worker *worker, uint64_t word,
                               kin_function **ret_function)
{
    for (struct kin__named_function *named = worker->functions; named != NULL;
         named = named->next) {
        if (named->word == word) {
            *ret_function = named->function;
            return 0;
        }
    }
    const struct name *name = (const struct name *)(uintptr_t)word;
    if (!kin__inside(name)) {
        return KIN_ECORRUPT;
    }
    uint64_t size = name->size;
    if (size > KIN__FUNCTION_SIZE || kin__at(kin__offset(name), sizeof *name + size) == NULL) {
        return KIN_ECORRUPT;
    }
    unsigned char bytes[KIN__FUNCTION_SIZE];
    memcpy(bytes, name->bytes, size);
    kin_function *function;
    int rc = kin__function_decode(bytes, size, &function);
    if (rc < 0) {
        return KIN_ENOENTRY;
    }
    struct kin__named_function *named = malloc(sizeof *named);
    if (named == NULL) {
        return -ENOMEM;
    }
    *named = (struct kin__named_function){worker->functions, function, word};
    worker->functions = named;
    *ret_function = function;
    return 0;
}
