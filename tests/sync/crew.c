#include "crew.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kinfolk.h>

#include "os/os.h"
#include "shm/family.h"

static void *run(void *arg)
{
    struct crew_member *member = arg;
    member->result = member->fn(member->index, member->shared);
    return NULL;
}

static pid_t start_child(crew_fn *fn, unsigned index, void *shared, bool crash)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            raise(SIGKILL);
        }
        int rc = fn(index, shared);
        if (crash) {
            raise(SIGKILL);
        }
        if (rc < 0 || rc > 127) {
            fprintf(stderr, "member %u: %d %s\n", index, rc, kin_strerror(rc));
            rc = 127;
        }
        kin__family_leave();
        _exit(rc);
    }
    return pid;
}

pid_t crew_fork(crew_fn *fn, unsigned index, void *shared)
{
    return start_child(fn, index, shared, false);
}

pid_t crew_fork_crash(crew_fn *fn, unsigned index, void *shared)
{
    return start_child(fn, index, shared, true);
}

int crew_reap(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void crew_kill(pid_t pid)
{
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(crew_reap(pid), -SIGKILL);
}

void crew_start(struct crew *crew, enum crew_mode mode, unsigned count, crew_fn *fn, void *shared)
{
    ck_assert_uint_le(count, CREW_MAX);
    *crew = (struct crew){.mode = mode, .count = count};
    for (unsigned i = 0; i < count; i++) {
        struct crew_member *member = &crew->member[i];
        *member = (struct crew_member){.fn = fn, .index = i, .shared = shared};
        if (mode == CREW_THREADS) {
            ck_assert_int_eq(pthread_create(&member->thread, NULL, run, member), 0);
        } else {
            member->pid = crew_fork(fn, i, shared);
        }
    }
}

void crew_join(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        struct crew_member *member = &crew->member[i];
        if (crew->mode == CREW_THREADS) {
            ck_assert_int_eq(pthread_join(member->thread, NULL), 0);
        } else {
            member->result = crew_reap(member->pid);
        }
        ck_assert_msg(member->result == 0, "member %u: %d %s", i, member->result,
                      kin_strerror(member->result));
    }
}

void crew_await(kin__a32 *word, uint32_t value)
{
    int64_t until = kin__clock_now() + 10 * SECOND;
    for (;;) {
        uint32_t seen = kin__a32_load(word);
        if (seen >= value) {
            return;
        }
        ck_assert_msg(kin__clock_now() < until, "word stays at %u, not %u", seen, value);
        kin__futex_wait(word, seen, until);
    }
}

void crew_post(kin__a32 *word)
{
    kin__a32_add(word, 1);
    kin__futex_wake(word, 1000);
}

int64_t crew_now(void)
{
    return kin__clock_now();
}

void crew_yield(void)
{
    sched_yield();
}

void *crew_shared(size_t size)
{
    void *block = kin_calloc(1, size);
    ck_assert_msg(block != NULL, "%s", kin_strerror(kin_alloc_error()));
    return block;
}

uint32_t crew_seed(void)
{
    const char *given = getenv("CREW_SEED");
    uint32_t seed = given != NULL ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)crew_now();
    printf("CREW_SEED=%u\n", seed);
    fflush(stdout);
    return seed | 1;
}

uint32_t crew_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

Suite *crew_suite(const char *name, const struct crew_test *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *one = tcase_create("one process"), *more = tcase_create("more processes");
    tcase_set_timeout(one, 30);
    tcase_set_timeout(more, 30);
    for (size_t i = 0; i < count; i++) {
        if (tests[i].modes) {
            tcase_add_loop_test(one, tests[i].test, CREW_THREADS, CREW_THREADS + 1);
            tcase_add_loop_test(more, tests[i].test, CREW_FORKS, CREW_MODES);
        } else {
            tcase_add_test(more, tests[i].test);
        }
    }
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, more);
    return suite;
}
