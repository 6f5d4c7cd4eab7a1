/*
 * What the fuzz targets share: an input to draw from, a failure that libFuzzer reports, and an
 * arena that is put back between inputs. docs/fuzzing.md.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/object.h"

/* What the fuzzer calls (fail.c), and what a target defines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int fuzz_target(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* --- drawing from the input ---------------------------------------------------------------- */

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

/* 0 once it is used up. */
static inline uint8_t fuzz_byte(struct fuzz_input *input)
{
    if (input->left == 0) {
        return 0;
    }
    input->left--;
    return *input->at++;
}

/* Little-endian, of up to 8 bytes. */
static inline uint64_t fuzz_number(struct fuzz_input *input, unsigned bytes)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++) {
        number |= (uint64_t)fuzz_byte(input) << 8 * i;
    }
    return number;
}

/* The next bytes, up to `most`. */
static inline const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t most, size_t *ret_size)
{
    const uint8_t *bytes = input->at;
    *ret_size = input->left < most ? input->left : most;
    input->at += *ret_size;
    input->left -= *ret_size;
    return bytes;
}

/* --- arena.c: shared memory that another process spoils ------------------------------------ */

/*
 * After the objects of the target are made: remembers the arena, and this process's leases, as they
 * are. Slot FUZZ_PEER belongs to a member that holds `object` (and `more`, unless NULL) too.
 */
#define FUZZ_PEER 5
void fuzz_arena_keep(struct kin__object *object, struct kin__object *more);

/* As it was then. */
void fuzz_arena_restore(void);

/* The allocation that is the `which`-th from here fails, of the process's memory or of the arena's.
 * 0: none does. */
#define FUZZ_FAIL_STEP 0xe0 /* steps from here on call it, with what they exceed this by */
void fuzz_fail(unsigned which);

/* A piece of shared memory that the peer may have overwritten. */
struct fuzz_region {
    void *start;
    size_t size;
};

/* Draws one change to one of the regions and makes it. */
void fuzz_spoil(struct fuzz_input *input, const struct fuzz_region *regions, unsigned count);

/* The mutex looks as if its owner had died inside. */
void fuzz_orphan(pthread_mutex_t *mutex);

/* The peer died: its objects are swept. */
void fuzz_sweep_peer(void);

/* This process holds the object no longer and the peer was the last one: it is taken apart. */
void fuzz_last_holder_dies(struct kin__object *object);

#endif
