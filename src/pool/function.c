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

/* --- the parent ----------------------------------------------------------------------------- */

/* Under the pool's lock. */
struct kin__pool_function {
    struct kin__pool_function *next;
    uint64_t address;
    uint64_t word;
};

static uint64_t find(const kin_pool *pool, uint64_t address)
{
    for (struct kin__pool_function *f = pool->functions; f != NULL; f = f->next) {
        if (f->address == address) {
            return f->word;
        }
    }
    return 0;
}

static int add(kin_pool *pool, uint64_t address, const void *bytes, size_t size)
{
    struct kin__pool_function *f = malloc(sizeof *f);
    struct kin__pool_block *block;
    int rc = f == NULL ? -ENOMEM : kin__chain_add(pool, sizeof(struct name) + size, &block);
    if (rc < 0) {
        free(f);
        return rc;
    }
    struct name *name = (struct name *)block->link->payload;
    name->size = size;
    memcpy(name->bytes, bytes, size);
    *f = (struct kin__pool_function){pool->functions, address, (uint64_t)(uintptr_t)name};
    pool->functions = f;
    return 0;
}

int kin__pool_function(kin_pool *pool, kin_function *function, uint64_t *ret_word)
{
    uint64_t address = (uint64_t)(uintptr_t)function;
    if (!pool->by_name || function == NULL) {
        *ret_word = address;
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    uint64_t word = find(pool, address);
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
        if (find(pool, address) == 0) {
            rc = add(pool, address, bytes, (size_t)size);
        }
        word = find(pool, address);
        pthread_mutex_unlock(&pool->lock);
        if (rc < 0) {
            return rc;
        }
    }
    *ret_word = word;
    return 0;
}

void kin__pool_functions_free(kin_pool *pool)
{
    struct kin__pool_function *f;
    while ((f = pool->functions) != NULL) {
        pool->functions = f->next;
        free(f);
    }
}

/* --- the worker ----------------------------------------------------------------------------- */

struct kin__known_function {
    struct kin__known_function *next;
    uint64_t word;
    kin_function *function;
};

int kin__worker_function_named(struct kin__worker *worker, uint64_t word,
                               kin_function **ret_function)
{
    for (struct kin__known_function *known = worker->functions; known != NULL;
         known = known->next) {
        if (known->word == word) {
            *ret_function = known->function;
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
    struct kin__known_function *known = malloc(sizeof *known);
    if (known == NULL) {
        return -ENOMEM;
    }
    *known = (struct kin__known_function){worker->functions, word, function};
    worker->functions = known;
    *ret_function = function;
    return 0;
}

void kin__worker_functions_free(struct kin__worker *worker)
{
    struct kin__known_function *known;
    while ((known = worker->functions) != NULL) {
        worker->functions = known->next;
        free(known);
    }
}
