/* What the tests of dictionaries and lists share: memory, a small arena, threads, killed children. */
#ifndef TESTS_DICT_STORE_H
#define TESTS_DICT_STORE_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kit/modes.h"

/* Blocks in use of the family's arena. */
size_t live_blocks(void);

/* Main of a test program: its suite, or in run_with_little_room `little_room`. */
int store_main(int argc, char **argv, kit_suite_fn *suite, int (*little_room)(void));

/* Runs `little_room` in this program anew and a family of its own with room for 8 MiB; fails the
 * test unless it returns 0. */
void run_with_little_room(void);

/* A round of operations on the store of the test; aborts if a result is wrong. */
typedef void work_fn(unsigned seed);

/* Runs `work` once on each of so many threads. */
void run_on_threads(work_fn *work, unsigned count);

/* Forks a child that runs `work` once, or until it is killed. */
pid_t start_worker(work_fn *work, unsigned seed, bool for_ever);

/* Kills two children at random while they and this process work; clear() now and then. */
void run_storm(work_fn *work, void (*clear)(void));

#endif
