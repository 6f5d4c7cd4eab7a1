/*
 * The family: founding, forks of every kind, holding, death and sweep.
 * Every child ends with its test (CK_FORK puts a test in a process group of its own).
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"
#include "shm/object.h"
#include "shm/slot.h"
#include "shm/wait.h"

struct probe {
    struct kin__object object;
    kin__a32 swept;
    kin__a32 last_end;
};
static kin__a32 *fini_count;

static void probe_sweep(struct kin__object *object, uint32_t slot, uint32_t generation,
                        enum kin__end end)
{
    (void)slot;
    (void)generation;
    struct probe *probe = (struct probe *)object;
    kin__a32_add(&probe->swept, 1);
    kin__a32_store(&probe->last_end, (uint32_t)end);
}
static void probe_fini(struct kin__object *object)
{
    (void)object;
    kin__a32_add(fini_count, 1);
}
static const struct kin__type probe_type = {
    .name = "probe", .sweep = probe_sweep, .fini = probe_fini};

static struct probe *make_probe(void)
{
    struct kin__object *object;
    ck_assert_int_eq(kin__object_create(KIN__TYPE_TEST, sizeof(struct probe), &object), 0);
    kin__object_ready(object);
    return (struct probe *)object;
}

static void setup(void)
{
    kin__type_register(KIN__TYPE_TEST, &probe_type);
    ck_assert_int_eq(kin__enter(), 0);
    fini_count = kin_calloc(1, sizeof *fini_count);
    ck_assert_ptr_nonnull(fini_count);
}

static uint32_t live_members(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < KIN__SLOTS; i++) {
        n += kin__slot_phase(kin__a64_load(&kin__slot_at(i)->state)) != KIN__SLOT_FREE;
    }
    return n;
}

static pid_t child(void)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

static int reap(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

START_TEST(founder_is_alone)
{
    ck_assert_uint_eq(live_members(), 1);
    struct kin__slot *slot = kin__slot_at(kin__self->slot);
    ck_assert_int_eq((int)kin__a32_load(&slot->pid), getpid());
    ck_assert(!kin__slot_is_gone(kin__self->slot, kin__self->generation));
    ck_assert(kin__slot_is_gone(kin__self->slot, kin__self->generation + 1));
}
END_TEST

START_TEST(forked_child_has_its_own_slot_and_sees_memory_of_later)
{
    int up[2], down[2];
    ck_assert_int_eq(pipe(up), 0);
    ck_assert_int_eq(pipe(down), 0);
    uint32_t mine = kin__self->slot;
    pid_t pid = child();
    if (pid == 0) {
        long *shared;
        if (kin__enter() < 0 || kin__self->slot == mine ||
            read(down[0], &shared, sizeof shared) != sizeof shared || *shared != 42) {
            _exit(1);
        }
        *shared = 43;
        _exit(0);
    }
    long *shared = kin_alloc(1 << 20);
    ck_assert_ptr_nonnull(shared);
    *shared = 42;
    ck_assert_int_eq(write(down[1], &shared, sizeof shared), sizeof shared);
    ck_assert_int_eq(reap(pid), 0);
    ck_assert_int_eq(*shared, 43);
    ck_assert_int_eq(kin_free(shared), 0);
    kin__sweep(false);
    ck_assert_uint_eq(live_members(), 1);
}
END_TEST

START_TEST(child_keeps_what_its_parent_drops)
{
    struct probe *probe = make_probe();
    kin_ref ref;
    kin__object_ref(&probe->object, &ref);
    int down[2];
    ck_assert_int_eq(pipe(down), 0);
    pid_t pid = child();
    if (pid == 0) {
        char go;
        struct kin__object *again;
        if (read(down[0], &go, 1) != 1 || kin__a32_load(fini_count) != 0 ||
            kin__object_attach(&ref, KIN__TYPE_TEST, &again) != 0) {
            _exit(1);
        }
        kin__object_drop(again);
        _exit(kin__a32_load(fini_count) == 0 ? 0 : 2);
    }
    kin__object_drop(&probe->object);
    ck_assert_uint_eq(kin__a32_load(fini_count), 0);
    ck_assert_int_eq(write(down[1], "g", 1), 1);
    ck_assert_int_eq(reap(pid), 0);
    kin__sweep(false);
    ck_assert_uint_eq(kin__a32_load(fini_count), 1);
    struct kin__object *gone;
    ck_assert_int_eq(kin__object_attach(&ref, KIN__TYPE_TEST, &gone), KIN_ESTALE);
}
END_TEST

START_TEST(sweep_tells_how_it_ended)
{
    struct probe *probe = make_probe();
    pid_t pid = child();
    if (pid == 0) {
        raise(SIGKILL);
    }
    reap(pid);
    ck_assert_int_eq(kin__sweep(false), 1);
    ck_assert_uint_eq(kin__a32_load(&probe->swept), 1);
    ck_assert_uint_eq(kin__a32_load(&probe->last_end), KIN__END_ABNORMAL);
    pid = child();
    if (pid == 0) {
        kin__family_leave();
        _exit(0);
    }
    reap(pid);
    ck_assert_int_eq(kin__sweep(false), 1);
    ck_assert_uint_eq(kin__a32_load(&probe->last_end), KIN__END_ORDERLY);
    kin__object_drop(&probe->object);
    ck_assert_uint_eq(kin__a32_load(fini_count), 1);
}
END_TEST

START_TEST(exec_is_a_death)
{
    struct probe *probe = make_probe();
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    pid_t pid = child();
    if (pid == 0) {
        dup2(out[1], 1);
        execl("/bin/sh", "sh", "-c", "echo ready; exec sleep 20", (char *)NULL);
        _exit(127);
    }
    char ready;
    ck_assert_int_eq(read(out[0], &ready, 1), 1);
    ck_assert_int_eq(kin__sweep(false), 1);
    ck_assert_uint_eq(kin__a32_load(&probe->last_end), KIN__END_ABNORMAL);
    kill(pid, SIGKILL);
    reap(pid);
}
END_TEST

START_TEST(slots_are_reused)
{
    for (int i = 0; i < 1500; i++) {
        pid_t pid = child();
        if (pid == 0) {
            _exit(kin__enter() == 0 ? 0 : 1);
        }
        ck_assert_int_eq(reap(pid), 0);
        if (i % 100 == 0) {
            kin__sweep(false);
        }
    }
    kin__sweep(false);
    ck_assert_uint_eq(live_members(), 1);
}
END_TEST

START_TEST(references_are_checked)
{
    struct probe *probe = make_probe();
    kin_ref ref, bad;
    struct kin__object *object = NULL;
    kin__object_ref(&probe->object, &ref);
    ck_assert_int_eq(kin__object_attach(&ref, KIN__TYPE_QUEUE, &object), KIN_ETYPE);
    bad = ref;
    bad.word[0] ^= 2;
    ck_assert_int_eq(kin__object_attach(&bad, KIN__TYPE_TEST, &object), KIN_ENOFAMILY);
    unsigned seed = 12345;
    for (int i = 0; i < 20000; i++) {
        bad = ref;
        bad.word[1] ^= (uint64_t)rand_r(&seed) << 32 | (uint64_t)rand_r(&seed);
        if (bad.word[1] != ref.word[1]) {
            ck_assert_int_eq(kin__object_attach(&bad, KIN__TYPE_TEST, &object), KIN_ESTALE);
        }
    }
    ck_assert_ptr_null(object);
    ck_assert_int_eq(kin__object_attach(&ref, KIN__TYPE_TEST, &object), 0);
    ck_assert_ptr_eq(object, &probe->object);
    kin__object_drop(object);
    ck_assert_uint_eq(kin__a32_load(fini_count), 0);
    kin__object_drop(object);
    ck_assert_uint_eq(kin__a32_load(fini_count), 1);
}
END_TEST

START_TEST(a_death_wakes_who_depends_on_it)
{
    kin__a32 *word = kin_calloc(1, sizeof *word);
    int up[2];
    ck_assert_int_eq(pipe(up), 0);
    pid_t pid = child();
    if (pid == 0) {
        uint32_t who[2] = {kin__self->slot, kin__self->generation};
        if (write(up[1], who, sizeof who) != sizeof who) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    uint32_t who[2];
    ck_assert_int_eq(read(up[0], who, sizeof who), sizeof who);
    kill(pid, SIGKILL);
    int64_t deadline = kin__clock_deadline(INT64_C(5000000000));
    while (!kin__slot_is_gone(who[0], who[1])) {
        ck_assert_int_eq(kin__sleep(word, 0, who[0], who[1], deadline), 0);
    }
    reap(pid);
    ck_assert_int_eq(kin_free(word), 0);
}
END_TEST

START_TEST(sleeping_honours_deadline_and_interrupt)
{
    kin__a32 word = {0};
    ck_assert_int_eq(kin__sleep(&word, 0, KIN__NO_SLOT, 0, kin__clock_now()), -ETIMEDOUT);
    int64_t start = kin__clock_now();
    int rc;
    do {
        rc = kin__sleep(&word, 0, KIN__NO_SLOT, 0, start + 250000000);
    } while (rc == 0);
    ck_assert_int_eq(rc, -ETIMEDOUT);
    ck_assert_int_ge(kin__clock_now() - start, 250000000);
}
END_TEST

static int stop(void *arg)
{
    ++*(int *)arg;
    return -EINTR;
}

START_TEST(interrupt_ends_a_wait)
{
    kin__a32 word = {0};
    int calls = 0;
    kin_thread_set_interrupt(stop, &calls);
    ck_assert_int_eq(kin__sleep(&word, 0, KIN__NO_SLOT, 0, KIN__NEVER), -EINTR);
    ck_assert_int_eq(calls, 1);
    kin_thread_set_interrupt(NULL, NULL);
}
END_TEST

START_TEST(without_waitv_a_death_is_still_seen)
{
    kin__futex_refuse_waitv(true);
    a_death_wakes_who_depends_on_it_fn(_i);
    kin__futex_refuse_waitv(false);
}
END_TEST

static Suite *family_suite(void)
{
    Suite *suite = suite_create("family");
    TCase *tc = tcase_create("family");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, founder_is_alone);
    tcase_add_test(tc, forked_child_has_its_own_slot_and_sees_memory_of_later);
    tcase_add_test(tc, child_keeps_what_its_parent_drops);
    tcase_add_test(tc, sweep_tells_how_it_ended);
    tcase_add_test(tc, exec_is_a_death);
    tcase_add_test(tc, slots_are_reused);
    tcase_add_test(tc, references_are_checked);
    tcase_add_test(tc, a_death_wakes_who_depends_on_it);
    tcase_add_test(tc, sleeping_honours_deadline_and_interrupt);
    tcase_add_test(tc, interrupt_ends_a_wait);
    tcase_add_test(tc, without_waitv_a_death_is_still_seen);
    suite_add_tcase(suite, tc);
    return suite;
}

KIT_CHECK_MAIN(family_suite)
