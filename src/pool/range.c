/*
 * A worker's run through a range of a map's items. Layer: pool.
 * Protocol: docs/design/pool.md, "Ranges".
 *
 * The item that runs is told in `progress` before the function is called; the store that tells the
 * next one commits this one's result. So a death loses exactly the item that runs.
 */
#include "pool/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP_NS 50000 /* work to claim at once, where the chunk is not given */
#define STEP_MOST 1024

struct run {
    struct kin__worker *worker;
    kin__a64 *progress;
    kin__a32 *control;
    kin_map_fn *fn;
    const unsigned char *items;
    unsigned char *results;
    uint64_t item_size, result_size;
    unsigned char *scratch;
    void *state;
    uint64_t id;
    bool whole; /* an explicit chunk is not given back for others' sake */
    int error;
};

static void report(struct run *run, uint32_t index, int code)
{
    int rc = kin__worker_tell(run->worker, KIN__RESULT_FAILED, run->id, index, code, true);
    if (rc < 0) {
        run->error = rc;
    }
}

/*
 * Items [i, stop); returns the first one that was not run. `result_size` is a constant in each of
 * its uses below, so that storing a small result is one move.
 */
static inline __attribute__((always_inline)) uint32_t loop(struct run *run, uint32_t i,
                                                           uint32_t stop, size_t result_size)
{
    kin_map_fn *fn = run->fn;
    kin__a64 *progress = run->progress;
    kin__a32 *control = run->control;
    unsigned char *scratch = run->scratch;
    void *state = run->state;
    const size_t item_size = run->item_size;
    const unsigned char *item = run->items + i * item_size;
    unsigned char *result = run->results + i * result_size;
    while (i < stop) {
        kin__a64_store(progress, (uint64_t)i << 1 | 1);
        int code = fn(item, scratch, state);
        if (KIN__UNLIKELY(code != 0)) {
            report(run, i, code);
        } else if (result_size != 0) {
            memcpy(result, scratch, result_size);
        }
        i++;
        item += item_size;
        result += result_size;
        if (KIN__UNLIKELY(kin__a32_load_relaxed(control) != 0) || KIN__UNLIKELY(run->error < 0)) {
            if (run->error < 0 || !run->whole ||
                (kin__a32_load_relaxed(control) & KIN__CONTROL_CANCEL)) {
                break;
            }
        }
    }
    kin__a64_store(progress, (uint64_t)i << 1);
    return i;
}

static uint32_t run_items(struct run *run, uint32_t i, uint32_t stop)
{
    switch (run->result_size) {
    case 0:
        return loop(run, i, stop, 0);
    case 1:
        return loop(run, i, stop, 1);
    case 4:
        return loop(run, i, stop, 4);
    case 8:
        return loop(run, i, stop, 8);
    case 16:
        return loop(run, i, stop, 16);
    default:
        return loop(run, i, stop, run->result_size);
    }
}

/* Takes the call's argument and scratch as our own, if it is another call than the last. */
static int adopt_job(struct kin__worker *worker, const struct kin__range_message *message)
{
    if (worker->scratch_size < message->result_size || worker->scratch == NULL) {
        uint64_t size = kin__align_up(message->result_size, 64) + 64;
        unsigned char *scratch = aligned_alloc(64, size);
        if (scratch == NULL) {
            return -ENOMEM;
        }
        free(worker->scratch);
        worker->scratch = scratch;
        worker->scratch_size = size;
    }
    if (worker->job == message->job) {
        return 0;
    }
    free(worker->job_arg);
    worker->job_arg = NULL;
    worker->job = 0;
    worker->step = 1;
    if (message->arg != 0) {
        if (!kin__inside((void *)(uintptr_t)message->arg)) {
            return KIN_ECORRUPT;
        }
        worker->job_arg = malloc(message->arg_size == 0 ? 1 : message->arg_size);
        if (worker->job_arg == NULL) {
            return -ENOMEM;
        }
        memcpy(worker->job_arg, (void *)(uintptr_t)message->arg, message->arg_size);
    }
    worker->job = message->job;
    return 0;
}

/* Puts what was claimed and not run back: `stop` is the end of the claim, `i` the first not run. */
static void give_back(kin__a64 *range, uint32_t i, uint32_t stop)
{
    uint64_t word = kin__a64_load(range);
    while (kin__range_next(word) == stop &&
           !kin__a64_cas(range, &word, kin__range(i, kin__range_end(word)))) {
    }
}

int kin__worker_run_range(struct kin__worker *worker, const struct kin__range_message *message)
{
    struct kin__worker_block *block = worker->block;
    kin__a32_store(&block->control, 0);
    struct run run = {
        .worker = worker,
        .progress = &block->progress,
        .control = &block->control,
        .items = (const unsigned char *)(uintptr_t)message->items,
        .results = (unsigned char *)(uintptr_t)message->results,
        .item_size = message->item_size,
        .result_size = message->result_size,
        .id = message->id,
        .whole = message->chunk != 0,
    };
    int64_t began = kin__clock_now();
    uint64_t given = kin__a64_load(&block->range);
    /* Where all has been taken back already, the map and its argument may be gone. */
    bool empty = kin__range_next(given) >= kin__range_end(given);
    int code = empty ? 0 : adopt_job(worker, message);
    if (!empty && code == 0) {
        kin_function *fn;
        code = kin__worker_function(worker, message->fn, &fn);
        run.fn = (kin_map_fn *)fn;
    }
    if (!empty && run.items == NULL) {
        run.items = worker->scratch; /* items of no size need some address */
        run.item_size = 0;
    }
    if (!empty && run.results == NULL) {
        run.results = worker->scratch;
    }
    run.scratch = worker->scratch;
    run.state = message->arg != 0 ? worker->job_arg : worker->state;
    while (!empty && code == 0 && run.error == 0) {
        uint64_t word = kin__a64_load(&block->range);
        uint32_t next = kin__range_next(word), end = kin__range_end(word);
        if (next >= end || (kin__a32_load_relaxed(&block->control) & KIN__CONTROL_CANCEL)) {
            break;
        }
        uint64_t step = run.whole ? message->chunk : worker->step;
        uint32_t stop = (uint32_t)KIN__MIN((uint64_t)end, next + step);
        if (!kin__a64_cas(&block->range, &word, kin__range(stop, end))) {
            continue;
        }
        int64_t before = kin__clock_now();
        uint32_t reached = run_items(&run, next, stop);
        if (reached < stop) {
            give_back(&block->range, reached, stop);
        }
        if (kin__a32_load_relaxed(&block->control) & KIN__CONTROL_HURRY) {
            kin__a32_and(&block->control, ~(uint32_t)KIN__CONTROL_HURRY);
            worker->step = 1;
            kin__doorbell_ring(&worker->object->bell, worker->event_fd);
            continue;
        }
        int64_t each = (kin__clock_now() - before) / (reached - next) + 1;
        int64_t most = KIN__MIN(STEP_NS / each, (int64_t)worker->step * 4);
        worker->step = (uint32_t)KIN__MAX(1, KIN__MIN(most, STEP_MOST));
    }
    if (run.error < 0) {
        return run.error;
    }
    struct kin__result_message *done;
    int rc = kin__worker_reserve(worker, sizeof *done, &done);
    if (rc < 0) {
        return rc;
    }
    *done = (struct kin__result_message){.kind = KIN__RESULT_RANGE,
                                         .code = code,
                                         .id = message->id,
                                         .ns = (uint64_t)(kin__clock_now() - began)};
    kin__worker_publish(worker, true);
    return 0;
}
