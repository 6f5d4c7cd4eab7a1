/* Workers that die: only the item that ran is lost, everything else arrives, the pool lives on. */
#include "pool_kit.h"

enum { N = 1000 };

/* Maps N items of which the i-th is what[i]; checks that all but the deadly ones arrive. */
static void map_through(kin_pool *pool, const int *what, int expected, bool shared)
{
    int *items = shared ? kin_alloc(N * sizeof(int)) : malloc(N * sizeof(int));
    int *results = shared ? kin_alloc(N * sizeof(int)) : malloc(N * sizeof(int));
    int codes[N];
    for (int i = 0; i < N; i++) {
        items[i] = what[i];
        results[i] = -1;
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    fails(kin_pool_map(pool, act, items, N, sizeof(int), results, sizeof(int), &options),
          expected);
    for (int i = 0; i < N; i++) {
        int code = what[i] < 0 ? what[i] : what[i] >= KILL_SELF ? KIN_EWORKERLOST : 0;
        ck_assert_msg(codes[i] == code, "item %d: %s", i, kin_err_name(codes[i]));
        ck_assert_int_eq(results[i], code == 0 ? what[i] * 2 : -1);
    }
    if (shared) {
        kin_free(items);
        kin_free(results);
    } else {
        free(items);
        free(results);
    }
}

/* Killed, segfault, exit and _exit in the middle of a map. */
START_TEST(in_map)
{
    kin_pool *pool = pool_of(PROCESSES, 2);
    int what[N];
    for (int i = 0; i < N; i++) {
        what[i] = i;
    }
    map_through(pool, what, 0, _i);
    what[500] = KILL_SELF;
    map_through(pool, what, KIN_EWORKERLOST, _i);
    what[3] = SEGFAULT;
    what[501] = EXIT_3;
    what[999] = FAST_EXIT;
    what[0] = KILL_SELF;
    map_through(pool, what, KIN_EWORKERLOST, _i);
    what[700] = -4;
    map_through(pool, what, KIN_ETASK, _i);
    struct kin_pool_stats stats = {.size = sizeof stats};
    ok(kin_pool_stats(pool, &stats));
    ck_assert_uint_eq(stats.workers_lost, 1 + 5 + 5);
    ck_assert_uint_eq(stats.failed, 1 + 5 + 6);
    ck_assert_uint_eq(stats.completed, 4 * N - 12);
    finish_pool(pool);
}
END_TEST

/* Every item is deadly. */
START_TEST(all_deadly)
{
    kin_pool *pool = pool_of(PROCESSES, 3);
    int items[20], results[20], codes[20];
    for (int i = 0; i < 20; i++) {
        items[i] = KILL_SELF;
        results[i] = -1;
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    fails(kin_pool_map(pool, act, items, 20, sizeof(int), results, sizeof(int), &options),
          KIN_EWORKERLOST);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(codes[i], KIN_EWORKERLOST);
        ck_assert_int_eq(results[i], -1);
    }
    finish_pool(pool);
}
END_TEST

/* Item i dies until it has been tried `i` times; the counters are shared. */
static int die_often(const void *item, void *result, void *state)
{
    int i = *(const int *)item;
    int *tries = *(int **)state;
    if (__atomic_add_fetch(&tries[i], 1, __ATOMIC_SEQ_CST) <= i) {
        kill(getpid(), SIGKILL);
    }
    *(int *)result = i;
    return 0;
}

START_TEST(retries)
{
    kin_pool *pool = pool_of(PROCESSES, 2);
    int items[6] = {0, 1, 2, 3, 4, 5}, results[6] = {-1, -1, -1, -1, -1, -1}, codes[6];
    int *tries = kin_calloc(6, sizeof(int));
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    options.arg = &tries;
    options.arg_size = sizeof tries;
    options.retries = 3;
    fails(kin_pool_map(pool, die_often, items, 6, sizeof(int), results, sizeof(int), &options),
          KIN_EWORKERLOST);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(codes[i], i <= 3 ? 0 : KIN_EWORKERLOST);
        ck_assert_int_eq(results[i], i <= 3 ? i : -1);
        ck_assert_int_eq(tries[i], i <= 3 ? i + 1 : 4);
    }
    kin_free(tries);
    finish_pool(pool);
}
END_TEST

static void one_retry(struct kin_pool_options *options)
{
    options->retries = 1;
}

static int die_once(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)state;
    (void)size;
    int *tries = *(int *const *)arg;
    if (__atomic_fetch_add(tries, 1, __ATOMIC_SEQ_CST) == 0) {
        kill(getpid(), SIGKILL);
    }
    return kin_reply_set(reply, "lived", 5);
}

/* Tasks, with the pool's retries and without. */
START_TEST(in_task)
{
    kin_pool *pool = pool_with(PROCESSES, 2, one_retry);
    int *tries = kin_calloc(1, sizeof(int));
    char reply[16];
    size_t size = sizeof reply;
    ok(kin_pool_apply(pool, die_once, &tries, sizeof tries, reply, &size, NULL, NULL));
    ck_assert_uint_eq(size, 5);
    *tries = 0;
    struct kin_task_options options = KIN_TASK_OPTIONS_INIT;
    options.retries = 0;
    int code = 1;
    fails(kin_pool_apply(pool, die_once, &tries, sizeof tries, NULL, NULL, &options, &code),
          KIN_EWORKERLOST);
    ck_assert_int_eq(code, KIN_EWORKERLOST);
    /* Among many: the others are answered. */
    kin_future *futures[200];
    for (int i = 0; i < 200; i++) {
        char text[16];
        snprintf(text, sizeof text, "%s%d", i % 50 == 13 ? "k" : "x", i);
        ok(kin_pool_submit(pool, echo, text, strlen(text), &options, &futures[i]));
    }
    for (int i = 0; i < 200; i++) {
        fails(kin_future_wait(futures[i], KIN_FOREVER), i % 50 == 13 ? KIN_EWORKERLOST : 0);
        kin_future_destroy(futures[i]);
    }
    kin_free(tries);
    finish_pool(pool);
}
END_TEST

static int sleepy(const void *item, void *result, void *state)
{
    (void)state;
    usleep(2000);
    *(int *)result = *(const int *)item;
    return 0;
}

/* Workers killed from outside, at random, while a map with retries runs. */
START_TEST(storm)
{
    kin_pool *pool = pool_of(PROCESSES, 3);
    enum { ITEMS = 300 };
    int items[ITEMS], results[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        items[i] = i;
        results[i] = -1;
    }
    unsigned seed = 20261126;
    pid_t killer = fork();
    if (killer == 0) {
        for (int n = 0; n < 30; n++) {
            /* Its parent's other children are the workers. */
            char path[64], text[4096] = "";
            snprintf(path, sizeof path, "/proc/%d/task/%d/children", getppid(), getppid());
            FILE *file = fopen(path, "r");
            if (file == NULL || fgets(text, sizeof text, file) == NULL) {
                _exit(0);
            }
            fclose(file);
            int pids[16], count = 0;
            for (char *p = strtok(text, " \n"); p != NULL && count < 16; p = strtok(NULL, " \n")) {
                if (atoi(p) != getpid()) {
                    pids[count++] = atoi(p);
                }
            }
            if (count > 0) {
                kill(pids[rand_r(&seed) % (unsigned)count], SIGKILL);
            }
            usleep(rand_r(&seed) % 20000);
        }
        _exit(0);
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.retries = 1000;
    ok(kin_pool_map(pool, sleepy, items, ITEMS, sizeof(int), results, sizeof(int), &options));
    for (int i = 0; i < ITEMS; i++) {
        ck_assert_int_eq(results[i], i);
    }
    kill(killer, SIGKILL);
    finish_pool(pool);
}
END_TEST

static int refuse(void *arg, size_t size, void **ret_state)
{
    (void)arg;
    (void)size;
    (void)ret_state;
    return 5;
}

static int die(void *arg, size_t size, void **ret_state)
{
    (void)arg;
    (void)size;
    (void)ret_state;
    kill(getpid(), SIGKILL);
    return 0;
}

static void with_refusal(struct kin_pool_options *options)
{
    options->initializer = refuse;
}

static void with_death(struct kin_pool_options *options)
{
    options->initializer = die;
}

/* An initializer that fails, or kills its worker, fails the pool's calls, after a few attempts. */
START_TEST(initializer)
{
    kin_pool *pool = pool_with(_i == 2 ? PROCESSES : _i, 2, _i == 2 ? with_death : with_refusal);
    int items[4] = {1, 2, 3, 4}, results[4] = {-1, -1, -1, -1}, codes[4];
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    fails(kin_pool_map(pool, twice, items, 4, sizeof(int), results, sizeof(int), &options),
          KIN_EWORKERINIT);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(results[i], -1);
        ck_assert_int_eq(codes[i], KIN_ECANCELLED);
    }
    fails(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL), KIN_EWORKERINIT);
    finish_pool(pool);
}
END_TEST

static void few_tasks(struct kin_pool_options *options)
{
    options->max_tasks_per_child = 10;
}

static int my_pid(const void *item, void *result, void *state)
{
    (void)item;
    (void)state;
    *(int *)result = getpid();
    return 0;
}

/* A worker is replaced after so many items; none runs more. */
START_TEST(replaced_in_time)
{
    kin_pool *pool = pool_with(PROCESSES, 2, few_tasks);
    enum { ITEMS = 95 };
    int items[ITEMS] = {0}, pids[ITEMS];
    ok(kin_pool_map(pool, my_pid, items, ITEMS, sizeof(int), pids, sizeof(int), NULL));
    for (int i = 0; i < ITEMS; i++) {
        int same = 0;
        for (int j = 0; j < ITEMS; j++) {
            same += pids[i] == pids[j];
        }
        ck_assert_int_le(same, 10);
    }
    for (int i = 0; i < 35; i++) {
        ok(kin_pool_apply(pool, echo, "x", 1, NULL, NULL, NULL, NULL));
    }
    struct kin_pool_stats stats = {.size = sizeof stats};
    ok(kin_pool_stats(pool, &stats));
    ck_assert_uint_eq(stats.workers_lost, 0);
    ck_assert_uint_ge(stats.workers_started, 12);
    finish_pool(pool);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pool-death");
    TCase *t = add_case(s, "death");
    tcase_add_loop_test(t, in_map, 0, 2);
    tcase_add_test(t, all_deadly);
    tcase_add_test(t, retries);
    tcase_add_test(t, in_task);
    tcase_add_test(t, storm);
    tcase_add_loop_test(t, initializer, 0, 3);
    tcase_add_test(t, replaced_in_time);
    return s;
}

KIT_CHECK_MAIN(suite)
