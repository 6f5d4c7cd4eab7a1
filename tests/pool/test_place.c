/*
 * Where workers run and what for: roles, on a recorded hybrid machine whose CPUs this one need not
 * have, and binding, on this one. Also what a forked child may do, and a worker that writes nonsense.
 */
#include "pool_kit.h"

#include "cpu/tree.h"
#include "pool/engine.h"

/* Instead of this machine's topology, if one is recorded (the linker's --wrap). */
int __wrap_kin_topology_load(const struct kin_cpu_source *source, kin_topology **ret_topology);
int __real_kin_topology_load(const struct kin_cpu_source *source, kin_topology **ret_topology);
static bool use_recorded;

int __wrap_kin_topology_load(const struct kin_cpu_source *source, kin_topology **ret_topology)
{
    struct kin_cpu_source hybrid = KIN_CPU_SOURCE_INIT;
    if (!use_recorded) {
        return __real_kin_topology_load(source, ret_topology);
    }
    hybrid.root = tree_unpack("hybrid");
    int rc = __real_kin_topology_load(&hybrid, ret_topology);
    tree_remove();
    return rc;
}

static int tell_pid(const void *item, void *result, void *state)
{
    (void)item;
    (void)state;
    *(int *)result = getpid();
    return 0;
}

/* The CPU, and how many this worker may use. */
static int tell_cpu(const void *item, void *result, void *state)
{
    (void)item;
    (void)state;
    struct kin_cpu_set mine;
    int rc = kin_cpu_usable(NULL, &mine);
    *(int *)result = kin_cpu_current() | kin_cpu_set_count(&mine) << 16;
    return rc;
}

static int pull_none(void *arg, const void **ret_item, size_t *ret_size)
{
    (void)arg;
    (void)ret_item;
    (void)ret_size;
    return 0;
}

static void ignore(kin_future *future, void *arg)
{
    (void)future;
    (void)arg;
}

static kin_pool *pool_placed(const struct kin_placement *placement, bool on_recorded)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.placement = placement;
    kin_pool *pool = NULL;
    use_recorded = on_recorded;
    ok(kin_pool_create(&options, &pool));
    use_recorded = false;
    return pool;
}

/* A task says whose it is; an idle worker of another role leaves it alone. */
START_TEST(roles)
{
    struct kin_role both[2] = {KIN_ROLE_INIT("filter"), KIN_ROLE_INIT("codec")};
    both[0].processes = 2;
    both[1].processes = 1;
    struct kin_placement placement = KIN_PLACEMENT_INIT;
    placement.kind = KIN_PLACEMENT_ASYMMETRIC;
    placement.role_count = 2;
    placement.roles = both;
    kin_pool *pool = pool_placed(&placement, true);
    int pids[4];
    ck_assert_int_eq(kin_pool_size(pool), 3);
    ck_assert_int_eq(kin_pool_pids(pool, pids, 4), 3); /* the filters, then the codec */
    struct kin_task_options task = KIN_TASK_OPTIONS_INIT;
    task.role = "codec";
    struct hold *h = make_hold();
    kin_future *held, *futures[50];
    ok(kin_pool_submit(pool, hold, &h, sizeof h, &task, &held));
    kit_gate_wait(&h->begun);
    for (int i = 0; i < 50; i++) {
        ok(kin_pool_submit(pool, echo, "x", 1, &task, &futures[i]));
    }
    /* Work of the others goes on meanwhile, and none of it goes to the codec. */
    static int items[3000], ran_in[3000];
    struct kin_map_options map = KIN_MAP_OPTIONS_INIT;
    map.role = "filter";
    ok(kin_pool_map(pool, tell_pid, items, 3000, sizeof(int), ran_in, sizeof(int), &map));
    for (int i = 0; i < 3000; i++) {
        if (ran_in[i] != pids[0] && ran_in[i] != pids[1]) {
            ck_abort_msg("item %d ran in %d", i, ran_in[i]);
        }
    }
    task.role = "filter";
    int pid;
    size_t size = sizeof pid;
    struct hold *open = make_hold();
    kit_gate_open(&open->go);
    ok(kin_pool_apply(pool, hold, &open, sizeof open, &pid, &size, &task, NULL));
    ck_assert(pid == pids[0] || pid == pids[1]);
    /* The filters have been idle, and took nothing. */
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(kin_future_ready(futures[i]), 0);
    }
    kit_gate_open(&h->go);
    for (int i = 0; i < 50; i++) {
        ok(kin_future_wait(futures[i], KIN_FOREVER));
        kin_future_destroy(futures[i]);
    }
    const void *data;
    ok(kin_future_result(held, &data, &size));
    ck_assert_int_eq(*(const int *)data, pids[2]);
    kin_future_destroy(held);
    /* Without a role any of them will do. */
    ok(kin_pool_map(pool, tell_pid, items, 3000, sizeof(int), ran_in, sizeof(int), NULL));
    task.role = "cook";
    fails(kin_pool_submit(pool, echo, "x", 1, &task, &held), KIN_EROLE);
    kin_free(h);
    kin_free(open);
    finish_pool(pool);
}
END_TEST

/* A worker that is bound runs on its CPU, and its replacement too. */
START_TEST(bound)
{
    struct kin_placement placement = KIN_PLACEMENT_INIT;
    placement.bind = KIN_BIND_CPU;
    kin_pool *pool = pool_placed(&placement, false);
    struct kin_cpu_set usable;
    ok(kin_cpu_usable(NULL, &usable));
    int pids[64], count = kin_pool_pids(pool, pids, 64);
    for (int round = 0; round < 2; round++) {
        static int items[2000], cpus[2000];
        ok(kin_pool_map(pool, tell_cpu, items, 2000, sizeof(int), cpus, sizeof(int), NULL));
        for (int i = 0; i < 2000; i++) {
            if (cpus[i] < 0 || !kin_cpu_set_has(&usable, cpus[i] & 0xffff) || cpus[i] >> 16 != 1) {
                ck_abort_msg("item %d ran on CPU %d of %d", i, cpus[i] & 0xffff, cpus[i] >> 16);
            }
        }
        for (int i = 0; round == 0 && i < count; i++) {
            kill(pids[i], SIGKILL);
        }
        while (round == 0 && stats_of(pool).workers_lost < (uint64_t)count) {
            sched_yield();
        }
    }
    finish_pool(pool);
}
END_TEST

/* In a forked child: every call says so, and the parent's pool is none the worse. */
START_TEST(forked)
{
    kin_pool *pool = pool_of(_i, 1);
    kin_future *future, *done;
    struct hold *h = make_hold();
    future = submit_held(pool, h);
    kin_imap *imap;
    ok(kin_pool_imap(pool, echo, pull_none, NULL, NULL, &imap));
    pid_t child = kit_fork();
    if (child == 0) {
        int x = 1, code = 0;
        struct kin_bytes item = {"x", 1};
        struct kin_pool_stats stats = {.size = sizeof stats};
        struct kin_imap_item next;
        const void *data;
        size_t size;
        kit_assert_int(kin_pool_size(pool), KIN_EFORKED);
        kit_assert_int(kin_pool_close(pool), KIN_EFORKED);
        kit_assert_int(kin_pool_terminate(pool), KIN_EFORKED);
        kit_assert_int(kin_pool_join(pool, 0), KIN_EFORKED);
        kit_assert_int(kin_pool_stats(pool, &stats), KIN_EFORKED);
        kit_assert_int(kin_pool_pids(pool, &x, 1), KIN_EFORKED);
        kit_assert_int(kin_pool_map(pool, twice, &x, 1, 4, &x, 4, NULL), KIN_EFORKED);
        kit_assert_int(kin_pool_map_var(pool, echo, &item, 1, NULL, NULL), KIN_EFORKED);
        kit_assert_int(kin_pool_submit(pool, echo, "x", 1, NULL, &done), KIN_EFORKED);
        kit_assert_int(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL), KIN_EFORKED);
        kit_assert_int(kin_pool_imap(pool, echo, pull_none, NULL, NULL, &imap), KIN_EFORKED);
        kit_assert_int(kin_imap_next(imap, &next, 0), KIN_EFORKED);
        kit_assert_int(kin_future_wait(future, 0), KIN_EFORKED);
        kit_assert_int(kin_future_ready(future), KIN_EFORKED);
        kit_assert_int(kin_future_result(future, &data, &size), KIN_EFORKED);
        kit_assert_int(kin_future_code(future, &code), KIN_EFORKED);
        kit_assert_int(kin_future_cancel(future), KIN_EFORKED);
        kit_assert_int(kin_future_on_ready(future, ignore, NULL), KIN_EFORKED);
        kit_assert(kin_future_destroy(future) == NULL && kin_imap_destroy(imap) == NULL &&
                   kin_pool_destroy(pool) == NULL);
        /* A pool of its own it may have. */
        pool = NULL;
        kit_assert_int(kin_pool_create(NULL, &pool), 0);
        kit_assert_int(kin_pool_map(pool, twice, &x, 1, 4, &x, 4, NULL), 0);
        kin_pool_destroy(pool);
        _exit(0);
    }
    kit_reap_ok(child);
    kit_gate_open(&h->go);
    ok(kin_future_wait(future, KIN_FOREVER));
    kin_future_destroy(future);
    kin_imap_destroy(imap);
    finish_pool(pool);
    kin_free(h);
}
END_TEST

static struct kin__worker_block *block_of_worker;

static int scribble(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)size;
    (void)reply;
    (void)state;
    /* What is in the ring from now on is not what it was. */
    struct kin__ring *ring = kin__worker_results(block_of_worker);
    unsigned how = *(const unsigned *)arg;
    uint64_t tail = kin__a64_load(&ring->tail);
    memset(ring->data, how == 0 ? 0 : 0xff, KIN__POOL_RESULT_RING);
    kin__a64_store(&ring->tail, how == 2 ? tail + 1 : tail + 128);
    for (;;) {
        pause();
    }
    return 0;
}

/* A worker whose ring holds nonsense is killed and replaced; others do not notice. */
START_TEST(nonsense)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = 1;
    for (unsigned how = 0; how < 3; how++) {
        kin_pool *pool;
        /* The block's address is known before the worker is forked: it is its replacement. */
        ok(kin_pool_create(&options, &pool));
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
        block_of_worker = pool->crew[0].block;
        fails(kin_pool_apply(pool, echo, "k", 1, NULL, NULL, NULL, NULL), KIN_EWORKERLOST);
        fails(kin_pool_apply(pool, scribble, &how, sizeof how, NULL, NULL, NULL, NULL),
              KIN_EWORKERLOST);
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
        ck_assert_uint_eq(stats_of(pool).workers_lost, 2);
        finish_pool(pool);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-place");
    TCase *t = add_case(s, "place");
    tcase_add_test(t, roles);
    tcase_add_test(t, bound);
    tcase_add_loop_test(t, forked, 0, KINDS);
    tcase_add_test(t, nonsense);
    return s;
}

KIT_CHECK_MAIN(suite)
