/* The fork server is killed: what becomes of its children, and of starts and joins under way. */
#include "help.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct order {
    struct board *board;
    int index;
};

/* Tells who is the parent, and waits for leave to end. */
static int tell_parent(void *arg, size_t size)
{
    const struct order *order = arg;
    (void)size;
    order->board->word[order->index] = getppid();
    return reaches(&order->board->word[15], 1) ? 7 : 1;
}

static kin_process *start_teller(struct board *board, int index)
{
    struct order order = {board, index};
    kin_process *p = start(KIN_START_FORKSERVER, tell_parent, &order, sizeof order);
    for (int i = 0; i < 10000 && board->word[index] == 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
    }
    ck_assert_int_gt(board->word[index], 1);
    return p;
}

START_TEST(its_children_live_on)
{
    struct board *board = make_board();
    int fds = -1;
    for (int round = 0; round < 3; round++) {
        memset(board, 0, sizeof *board);
        kin_process *before = start_teller(board, 0), *ended = start_teller(board, 1);
        ok(kin_process_kill(ended));
        int exitcode = 99;
        ok(kin_process_join(ended, 10 * SECOND, &exitcode));
        ck_assert_int_eq(exitcode, -SIGKILL);
        ck_assert_int_eq(board->word[0], board->word[1]);
        ck_assert_int_eq(kill(board->word[0], SIGKILL), 0);
        kin_process *after = start_teller(board, 2);
        ck_assert_int_ne(board->word[2], board->word[0]);
        ck_assert_int_eq(kin_process_is_alive(before), 1);
        gives(-ETIMEDOUT, kin_process_join(before, 10 * MS, &exitcode));
        board->word[15] = 1;
        ck_assert_int_eq(finish(after), 7);
        /* It ends well, but nobody was there to take its status. */
        gives(KIN_ESTATUSLOST, kin_process_join(before, 10 * SECOND, &exitcode));
        ck_assert_int_eq(exitcode, -SIGKILL);
        ck_assert_int_eq(kin_process_is_alive(before), 0);
        kin_process_destroy(before);
        kin_process_destroy(ended);
        if (round == 0) {
            fds = count_fds();
        }
        ck_assert_int_eq(count_fds(), fds);
    }
    kin_free(board);
}
END_TEST

/* --- at any moment -------------------------------------------------------------------------- */

enum { STARTS = 200 };

struct record {
    _Atomic int server;   /* the last one seen */
    _Atomic int over;
    _Atomic int ran[STARTS];
};

struct entry {
    struct record *record;
    int index;
};

static int take_note(void *arg, size_t size)
{
    const struct entry *entry = arg;
    (void)size;
    entry->record->server = getppid();
    entry->record->ran[entry->index]++;
    return 3;
}

static void *keep_killing(void *arg)
{
    struct record *record = arg;
    int reaper = getppid(); /* the test program, whose child an orphan becomes */
    unsigned seed = (unsigned)time(NULL);
    printf("seed %u\n", seed);
    while (!record->over) {
        int pid = atomic_exchange(&record->server, 0);
        nanosleep(&(struct timespec){.tv_nsec = rand_r(&seed) % 1500000}, NULL);
        if (pid > 1 && pid != reaper && rand_r(&seed) % 2 == 0) {
            kill(pid, SIGKILL);
        }
    }
    return NULL;
}

START_TEST(killed_at_any_moment)
{
    struct record *record = kin_alloc(sizeof *record);
    ck_assert_ptr_nonnull(record);
    memset(record, 0, sizeof *record);
    pthread_t killer;
    ck_assert_int_eq(pthread_create(&killer, NULL, keep_killing, record), 0);
    int lost = 0;
    for (int i = 0; i < STARTS; i++) {
        struct entry entry = {record, i};
        kin_process *p = start(KIN_START_FORKSERVER, take_note, &entry, sizeof entry);
        int exitcode = 99, rc = kin_process_join(p, 10 * SECOND, &exitcode);
        if (rc == 0 && exitcode == 3) {
            ck_assert_int_eq(record->ran[i], 1);
        } else {
            /* Its status is lost, or it was about to begin and saw its server's end. */
            ck_assert_msg(rc == KIN_ESTATUSLOST || exitcode == -SIGKILL, "%s, exit code %d",
                          kin_err_name(rc), exitcode);
            ck_assert_int_le(record->ran[i], 1);
            lost++;
        }
        kin_process_destroy(p);
    }
    record->over = 1;
    pthread_join(killer, NULL);
    printf("%d of %d statuses lost\n", lost, STARTS);
    ck_assert_int_lt(lost, STARTS);
    kin_free(record);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("fork server");
    TCase *tc = tcase_create("killed");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, reset_signals, NULL);
    tcase_add_test(tc, its_children_live_on);
    tcase_add_test(tc, killed_at_any_moment);
    suite_add_tcase(s, tc);
    return s;
}

KIT_CHECK_MAIN(suite)
