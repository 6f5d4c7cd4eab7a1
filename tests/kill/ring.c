/*
 * Description: a pool's worker is killed at every instruction of what it does with its two rings:
 * messages read, tasks run, replies made and published, a range of a map gone through. Afterwards
 * another worker does the rest: every task and item has come to an end, at most one of them is lost
 * (none where it may be run again), none has run twice that may not, and no block of shared memory
 * is left. Its parent is killed at every instruction of what it does with them: tasks and ranges
 * sent, results read, memory given back; and so is the sweeper of a dead one. Afterwards another
 * sweep leaves nothing of the pool.
 */
#include "kit/step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk/memory.h>

#include "pool/map.h"
#include "pool/worker.h"
#include "shm/heap.h"

enum { TASKS = 3, ITEMS = 3, LARGE = 3000 };
enum { AGAIN = 0, FAILS = 2 }; /* the task that may be retried; the task, and the item, that fails */

struct state {
    kin__a32 ran[ITEMS]; /* how often the task or item was begun */
    kin__a32 over;       /* nobody works any more */
    kin_ref pool;
    uint64_t used, blocks; /* in the beginning */
    uint32_t lost;         /* the slot of a parent that has died */
};

/* A pool of one worker that nobody has started, in the process that made it. */
static kin_pool *pool;
static kin_future *task[TASKS];
static int tasks; /* of them are used */
static struct kin__map map;
static int *items, *results, codes[ITEMS];
static struct state *shared;
static struct kin__worker_start start;

static struct kin__crew *member(void)
{
    return &pool->crew[0];
}

/* --- what the worker runs ------------------------------------------------------------------- */

static int run_task(const void *arg, size_t size, kin_reply *reply, void *worker_state)
{
    (void)worker_state;
    (void)size;
    int i = *(const int *)arg;
    kin__a32_add(&shared->ran[i], 1);
    if (i == FAILS) {
        return 7;
    }
    unsigned char *room;
    int rc = kin_reply_reserve(reply, i == 1 ? LARGE : 24, (void **)&room);
    if (rc == 0) {
        room[0] = (unsigned char)i;
        room[i == 1 ? LARGE - 1 : 23] = (unsigned char)(i + 1);
    }
    return rc;
}

static int run_item(const void *item, void *result, void *worker_state)
{
    (void)worker_state;
    int i = *(const int *)item;
    kin__a32_add(&shared->ran[i], 1);
    *(int *)result = i * 2;
    return i == FAILS ? 7 : 0;
}

/* --- a pool by hand ------------------------------------------------------------------------- */

static int event_fd = -1;

/* Where workers die there is to be a supervisor, which needs a pool. It waits for this one's lock, and
 * leaves those that are made by hand alone. A victim has none: it must have no other thread. */
static void adopt_one(void)
{
    if (event_fd < 0) {
        kin_pool *adopted = calloc(1, sizeof *adopted);
        pthread_mutex_init(&adopted->lock, NULL);
        pthread_mutex_lock(&adopted->lock);
        kin__a32_store(&adopted->references, 1);
        kit_assert_int(kin__supervisor_adopt(adopted), 0);
        event_fd = adopted->event_fd;
    }
}

static struct kin__object *object;

static void make_pool(struct state *state)
{
    shared = state;
    kit_assert_ok(kin__enter());
    kin__sweep(true);
    kit_assert_int(kin__heap_usage(&state->used, &state->blocks), 0);
    pool = calloc(1, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    kin__a32_store(&pool->references, 1);
    pool->owner_slot = kin__self->slot;
    pool->owner_generation = kin__self->generation;
    pool->options = (struct kin_pool_options)KIN_POOL_OPTIONS_INIT;
    pool->kill_at = pool->look_at = KIN__NEVER;
    pool->size = pool->roles = 1;
    pool->crew = calloc(1, sizeof *pool->crew);
    pool->backlog = calloc(2, sizeof *pool->backlog);
    kit_assert_int(kin__object_create(KIN__TYPE_POOL, sizeof(struct kin__pool_object), &object), 0);
    pool->object = (struct kin__pool_object *)object;
    pool->object->workers = 1;
    kin__object_ready(object);
    pool->event_fd = event_fd;
    pthread_mutex_lock(&pool->lock);
    member()->pidfd = -1;
    member()->capacity = 1024;
    kin__object_ref(object, &state->pool);
    start = (struct kin__worker_start){
        .pool = state->pool,
        .owner_slot = KIN__NO_SLOT,
        .event_fd = pool->event_fd,
        .signals = kin__signals_blocked(),
    };
}

/* Gives all that waits to a fresh worker, which then is to end. */
static void send_all(void)
{
    struct kin__crew *crew = member();
    kit_assert_int(kin__chain_worker_block(pool, crew), 0);
    crew->state = KIN__CREW_READY;
    crew->full = crew->ended = crew->trailing = false;
    crew->last_block = 0;
    crew->mean = 1;
    if (map.waiting > 0) {
        kit_assert(kin__map_assign(pool, crew, kin__clock_now()));
    }
    while (pool->backlog[1].first != NULL) {
        kit_assert_int(kin__task_send(pool, crew, pool->backlog[1].first), 0);
    }
    void *payload;
    kit_assert_int(kin__ring_reserve(&crew->tasks, sizeof(struct kin__stop_message), &payload), 0);
    ((struct kin__stop_message *)payload)->kind = KIN__TASK_STOP;
    kin__ring_publish(&crew->tasks);
    crew->dirty = false;
}

static void work(void *arg)
{
    (void)arg;
    kin__worker_thread(&start, (struct kin__pool_object *)object);
}

static void make_tasks(int count)
{
    tasks = count;
    for (int i = 0; i < count; i++) {
        static char arg[LARGE]; /* the last one is too long for the ring */
        memcpy(arg, &i, sizeof i);
        struct kin__task_request request = {
            .fn = (uint64_t)(uintptr_t)run_task,
            .arg = arg,
            .size = i == TASKS - 1 ? LARGE : sizeof i,
            .role = KIN__ANY_ROLE,
            .retries = i == AGAIN,
            .timeout_ns = -1,
        };
        task[i] = kin__task_create(pool, &request);
        kin__task_queue(pool, task[i]);
    }
}

static void make_all(void *arg)
{
    make_pool(arg);
    make_tasks(TASKS);
    send_all();
}

static void make_range(int *from, int *to)
{
    items = from;
    results = to;
    for (int i = 0; i < ITEMS; i++) {
        items[i] = i;
        results[i] = -1;
        codes[i] = 0;
    }
    map = (struct kin__map){
        .pool = pool,
        .fn = (uint64_t)(uintptr_t)run_item,
        .items = (unsigned char *)items,
        .results = (unsigned char *)results,
        .count = ITEMS,
        .item_size = sizeof(int),
        .result_size = sizeof(int),
        .chunk = 2,
        .role = KIN__ANY_ROLE,
        .codes = codes,
        .job = ++pool->last_id,
        .windows[0] = {.in_use = true,
                       .items = (unsigned char *)items,
                       .results = (unsigned char *)results,
                       .count = ITEMS},
    };
    pool->maps = &map;
    pool->outstanding = 1;
    kin__map_offer(&map, 0, 0, ITEMS);
}

static void make_map(void *arg)
{
    make_pool(arg);
    make_range(kin_alloc(ITEMS * sizeof(int)), kin_alloc(ITEMS * sizeof(int)));
    send_all();
}

/* --- the survivors -------------------------------------------------------------------------- */

static void warm(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
    kit_assert_int(kin__object_attach(&shared->pool, KIN__TYPE_POOL, &object), 0);
}

static bool all_done(void)
{
    bool done = pool->maps == NULL || map.windows[0].settled == ITEMS;
    for (int i = 0; i < tasks; i++) {
        done = done && kin__a32_load(&task[i]->state) == KIN__TASK_DONE;
    }
    return done;
}

/* What the parent does when its worker has ended, and the work of the next one. */
static void survive(void *arg)
{
    struct state *state = arg;
    kin__sweep(true); /* as the reaping of a process does */
    for (int workers = 0;; workers++) {
        kin__pool_drain_one(pool, member());
        kit_assert(!member()->corrupt);
        kin__crew_gone(pool, member(), member()->ended);
        if (all_done()) {
            break;
        }
        kit_assert(workers < 2);
        send_all();
        work(state);
    }
    kin__a32_store(&state->over, 1);
    kin__pool_changed(pool);
}

static const char *check_left(struct state *state)
{
    kin__chain_clear(pool);
    kin__object_drop(object);
    pthread_mutex_unlock(&pool->lock);
    kin__pool_release(pool);
    kin_free(items);
    kin_free(results);
    items = results = NULL;
    tasks = 0;
    memset(&map, 0, sizeof map);
    kin__sweep(true); /* the bystander held the pool, too */
    uint64_t used, blocks;
    kit_assert_int(kin__heap_usage(&used, &blocks), 0);
    return blocks == state->blocks ? NULL : "a block of shared memory is left, or one too many freed";
}

static const char *check_tasks(void *arg)
{
    struct state *state = arg;
    int lost = 0;
    const char *wrong = NULL;
    for (int i = 0; i < tasks; i++) {
        uint32_t ran = kin__a32_load(&state->ran[i]);
        const unsigned char *data = task[i]->data;
        size_t size = i == 1 ? LARGE : 24;
        if (task[i]->status == KIN_EWORKERLOST && i != AGAIN) {
            lost++;
        } else if (ran == 0) {
            wrong = "a task was answered that never ran";
        } else if (i == FAILS ? task[i]->status != KIN_ETASK || task[i]->code != 7
                              : task[i]->status != 0 || task[i]->size != size || data[0] != i ||
                                    data[size - 1] != i + 1) {
            wrong = "a task's answer is another one's, or half a one";
        }
        if (ran > (i == AGAIN ? 2 : 1)) {
            wrong = "a task has run too often";
        }
        kin__task_release(task[i]);
    }
    const char *left = check_left(state);
    return wrong != NULL ? wrong : lost > 1 ? "more is lost than what ran" : left;
}

static const char *check_items(void *arg)
{
    struct state *state = arg;
    int lost = 0;
    const char *wrong = NULL;
    for (int i = 0; i < ITEMS; i++) {
        uint32_t ran = kin__a32_load(&state->ran[i]);
        lost += codes[i] == KIN_EWORKERLOST;
        if (codes[i] != 0 && codes[i] != KIN_EWORKERLOST && (codes[i] != 7 || i != FAILS)) {
            wrong = "an item has another one's code";
        } else if (codes[i] == 0 && (ran == 0 || results[i] != 2 * i || i == FAILS)) {
            wrong = "an item has no result, and no code";
        } else if (ran > 1) {
            wrong = "an item has run too often";
        }
    }
    uint64_t failed = map.failed, told = pool->stats.failed, completed = pool->stats.completed;
    const char *left = check_left(state);
    return wrong != NULL ? wrong
           : lost > 1    ? "more is lost than what ran"
           : failed != told || failed + completed != ITEMS ? "the statistics are wrong"
                                                           : left;
}

/* The allocator's state in the first round must be that of the others. */
static void begin(struct state *state, void (*make)(void *), const char *(*check)(void *))
{
    static bool rehearsed;
    adopt_one();
    for (; !rehearsed; rehearsed = true) {
        for (int i = 0; i < 3; i++) {
            make(state);
            work(state);
            survive(state);
            kit_assert(check(state) == NULL);
            memset(state, 0, sizeof *state);
        }
    }
    make(state);
}

static void begin_tasks(void *arg)
{
    begin(arg, make_all, check_tasks);
}

static void begin_map(void *arg)
{
    begin(arg, make_map, check_items);
}

static void begin_to_tell(void *arg)
{
    adopt_one();
    make_pool(arg);
    kit_assert_int(kin__chain_worker_block(pool, member()), 0);
    member()->state = KIN__CREW_READY;
}

static struct kin__worker teller;

static void warm_to_tell(void *arg)
{
    warm(arg);
    teller = (struct kin__worker){.object = (struct kin__pool_object *)object,
                                  .block = member()->block,
                                  .event_fd = start.event_fd};
    kin__ring_attach(&teller.results, kin__worker_results(teller.block), KIN__POOL_RESULT_RING);
}

static struct kin__range_message *range;

/* With the message of the range in its hands. */
static void warm_to_run(void *arg)
{
    warm_to_tell(arg);
    kin__ring_attach(&teller.tasks, kin__worker_tasks(teller.block), KIN__POOL_TASK_RING);
    uint64_t size;
    kit_assert_int(kin__ring_read(&teller.tasks, (void **)&range, &size), 1);
}

static void run_range(void *arg)
{
    (void)arg;
    kin__worker_run_range(&teller, range);
}

static void tell(void *arg)
{
    (void)arg;
    kin__worker_tell(&teller, KIN__RESULT_READY, 0, 0, 0, true);
}

/* Plays the parent that sleeps on its bell until it has been told. */
static void listen(void *arg)
{
    struct state *state = arg;
    while (kin__a32_load(&state->over) == 0) {
        uint32_t seen = kin__doorbell_announce(&pool->object->bell);
        void *payload;
        uint64_t size;
        int rc = kin__ring_read(&member()->results, &payload, &size);
        if (rc != 0) {
            kit_assert_int(rc, 1);
            kit_assert_int(((struct kin__result_message *)payload)->kind, KIN__RESULT_READY);
            return;
        }
        kin__sleep(&pool->object->bell.word, seen, KIN__NO_SLOT, 0, KIN__NEVER);
    }
}

/* --- the parent dies ------------------------------------------------------------------------ */


static void warm_to_send(void *arg)
{
    make_pool(arg);
    make_tasks(TASKS);
    struct kin__pool_block *older; /* a chain to add to */
    kit_assert_int(kin__chain_add(pool, 100, &older), 0);
}

static void warm_to_send_range(void *arg)
{
    static int from[ITEMS], to[ITEMS];
    make_pool(arg);
    make_range(from, to);
}

static void send(void *arg)
{
    (void)arg;
    send_all();
}

static void warm_to_read(void *arg)
{
    warm_to_send(arg);
    send_all();
    work(arg);
}

static void read_all(void *arg)
{
    (void)arg;
    kin__pool_drain_one(pool, member());
}

static void warm_to_clear(void *arg)
{
    warm_to_read(arg);
    make_tasks(TASKS); /* these are still in the ring at the end */
    kit_assert_int(kin__task_send(pool, member(), pool->backlog[1].last), 0);
}

static void clear(void *arg)
{
    (void)arg;
    kin__chain_clear(pool);
    kin__object_drop(object);
}

/* A parent dies with a chain of blocks, and replies that it has not read. */
static void lose_parent(void *arg)
{
    pid_t parent = kit_fork();
    if (parent == 0) {
        warm_to_read(arg);
        shared->lost = kin__self->slot;
        kill(getpid(), SIGKILL);
    }
    kit_assert_int(waitpid(parent, NULL, 0), parent);
}

/* The pool is the victim's, which is its only holder. */
static void begin_parent(void *arg)
{
    static bool rehearsed;
    struct state *state = arg;
    kit_assert_ok(kin__enter());
    for (; !rehearsed; rehearsed = true) {
        for (int i = 0; i < 3; i++) {
            lose_parent(arg);
            kin__sweep(true);
        }
    }
    kin__sweep(true);
    kit_assert_int(kin__heap_usage(&state->used, &state->blocks), 0);
}

static void begin_sweep(void *arg)
{
    begin_parent(arg);
    lose_parent(arg);
}

/* The step of a sweep that takes its objects apart; the others are long. */
static void forget(void *arg)
{
    struct state *state = arg;
    kin__object_forget(state->lost);
}

static void sweep(void *arg)
{
    (void)arg;
    kin__sweep(true);
}

static const char *check_nothing_left(void *arg)
{
    struct state *state = arg;
    uint64_t used, blocks;
    kin__sweep(true);
    kit_assert_int(kin__heap_usage(&used, &blocks), 0);
    return blocks == state->blocks ? NULL : "the dead parent's pool is left";
}

#define STATE .state_size = sizeof(struct state)
#define WORKER STATE, .survivor = survive
#define PARENT STATE, .setup = begin_parent, .survivor = sweep, .check = check_nothing_left

static const struct kit_case cases[] = {
    {.name = "worker tells", WORKER, .setup = begin_to_tell, .warm = warm_to_tell, .victim = tell,
     .check = check_tasks, .bystanders = {{.run = listen, .prompt = true}}},
    {.name = "worker, tasks", WORKER, .setup = begin_tasks, .warm = warm, .victim = work,
     .check = check_tasks},
    {.name = "worker, chunks of a map", WORKER, .setup = begin_map, .warm = warm_to_run,
     .victim = run_range, .check = check_items},
    {.name = "parent sends tasks", PARENT, .warm = warm_to_send, .victim = send},
    {.name = "parent sends a range", PARENT, .warm = warm_to_send_range, .victim = send},
    {.name = "parent reads", PARENT, .warm = warm_to_read, .victim = read_all},
    {.name = "parent clears", PARENT, .warm = warm_to_clear, .victim = clear},
    {.name = "sweeper of a dead parent", STATE, .setup = begin_sweep, .victim = forget,
     .survivor = sweep, .check = check_nothing_left},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
