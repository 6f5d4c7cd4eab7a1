/*
 * Memory that is not there. The targets are linked so that the library's allocations come here
 * (--wrap), and an input can make one of them fail.
 */
#include <stdbool.h>

#include "fuzz.h"

#include "shm/heap.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_kin__block_alloc(uint64_t size, kin__lease *lease, uint64_t *ret_offset);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_kin__block_alloc(uint64_t size, kin__lease *lease, uint64_t *ret_offset);

static unsigned left; /* allocations until one fails; 0: none does */

void fuzz_fail(unsigned which)
{
    left = which;
}

static bool fails(void)
{
    return left != 0 && --left == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

/* The arena is full. */
int __wrap_kin__block_alloc(uint64_t size, kin__lease *lease, uint64_t *ret_offset)
{
    return fails() ? KIN_EQUOTA : __real_kin__block_alloc(size, lease, ret_offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int rc = fuzz_target(data, size);
    fuzz_fail(0); /* the fuzzer's own allocations come here too */
    return rc;
}
