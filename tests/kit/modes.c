/* Crews of workers in all modes, and the main of Check programs. Layer: tests. */
#include "kit/modes.h"

#include <errno.h>
#include <kinfolk/process.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct member {
    struct kit_worker worker;
    kit_body *body;
    pthread_t thread;
    pid_t pid;
    kin_process *process; /* NULL: a thread, or a fork of ours */
};

struct kit_crew {
    enum kit_mode mode;
    unsigned count;
    struct member member[];
};

static const char *const names[KIT_MODES] = {"threads", "fork", "spawn", "forkserver"};

static const enum kit_mode available[] = {KIT_THREADS, KIT_FORK, KIT_SPAWN, KIT_FORKSERVER};

static bool wanted(enum kit_mode mode)
{
    const char *list = getenv("KIN_TEST_MODES");
    if (list == NULL || *list == '\0') {
        return true;
    }
    size_t length = strlen(names[mode]);
    for (const char *at = list; (at = strstr(at, names[mode])) != NULL; at += length) {
        bool begins = at == list || at[-1] == ',';
        if (begins && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

unsigned kit_mode_count(void)
{
    unsigned count = 0;
    for (size_t i = 0; i < KIT_COUNT(available); i++) {
        count += wanted(available[i]);
    }
    return count;
}

enum kit_mode kit_mode_at(int i)
{
    for (size_t k = 0; k < KIT_COUNT(available); k++) {
        if (wanted(available[k]) && i-- == 0) {
            return available[k];
        }
    }
    kit_fail(__FILE__, __LINE__, "no such mode");
}

const char *kit_mode_name(enum kit_mode mode)
{
    return names[mode];
}

static void *run_thread(void *arg)
{
    struct member *member = arg;
    member->body(&member->worker);
    return NULL;
}

/* What a worker that executes the program again is sent. Its addresses are others than ours, but
 * the program's functions lie at the same distances. */
struct parcel {
    struct kit_worker worker;
    ptrdiff_t body; /* from run_parcel */
    max_align_t arg[];
};

static int run_parcel(void *arg, size_t size)
{
    struct parcel *parcel = arg;
    (void)size;
    parcel->worker.arg = parcel->arg;
    ((kit_body *)((uintptr_t)run_parcel + (uintptr_t)parcel->body))(&parcel->worker);
    return 0;
}

static void start_process(struct member *member)
{
    size_t arg_size = member->worker.arg_size, size = sizeof(struct parcel) + arg_size;
    struct parcel *parcel = calloc(1, size);
    kit_require(parcel != NULL, "out of memory");
    parcel->worker = member->worker;
    parcel->body = (ptrdiff_t)((uintptr_t)member->body - (uintptr_t)run_parcel);
    memcpy(parcel->arg, member->worker.arg, arg_size);
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = run_parcel;
    options.arg = parcel;
    options.arg_size = size;
    options.method =
        member->worker.mode == KIT_SPAWN ? KIN_START_SPAWN : KIN_START_FORKSERVER;
    options.die_with_parent = 1;
    kit_assert_ok(kin_process_start(&options, &member->process));
    free(parcel);
    member->pid = kin_process_pid(member->process);
}

static void join_process(struct member *member)
{
    int code;
    kit_assert_ok(kin_process_join(member->process, KIN_FOREVER, &code));
    kit_require(code == 0, "a worker ended with %d", code);
    kin_process_destroy(member->process);
}

static void start_member(struct member *member)
{
    int rc;
    switch (member->worker.mode) {
    case KIT_THREADS:
        rc = pthread_create(&member->thread, NULL, run_thread, member);
        kit_require(rc == 0, "pthread_create: %s", strerror(rc));
        member->pid = getpid();
        break;
    case KIT_FORK:
        member->pid = kit_fork();
        if (member->pid == 0) {
            member->body(&member->worker);
            exit(0);
        }
        break;
    default:
        start_process(member);
    }
}

struct kit_crew *kit_start(enum kit_mode mode, unsigned count, kit_body *body, const void *arg,
                           size_t arg_size)
{
    struct kit_crew *crew = calloc(1, sizeof *crew + count * sizeof crew->member[0]);
    kit_require(crew != NULL, "out of memory");
    crew->mode = mode;
    crew->count = count;
    for (unsigned i = 0; i < count; i++) {
        void *copy = malloc(arg_size + 1);
        kit_require(copy != NULL, "out of memory");
        if (arg_size > 0) {
            memcpy(copy, arg, arg_size);
        }
        crew->member[i] = (struct member){
            .worker = {.mode = mode, .index = i, .count = count, .arg = copy, .arg_size = arg_size},
            .body = body};
        start_member(&crew->member[i]);
    }
    return crew;
}

void kit_join(struct kit_crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        struct member *member = &crew->member[i];
        if (crew->mode == KIT_THREADS) {
            pthread_join(member->thread, NULL);
        } else if (member->process != NULL) {
            join_process(member);
        } else {
            kit_reap_ok(member->pid);
        }
        free(member->worker.arg);
    }
    free(crew);
}

pid_t kit_worker_pid(const struct kit_crew *crew, unsigned index)
{
    return crew->member[index].pid;
}

void kit_run(enum kit_mode mode, unsigned count, kit_body *body, const void *arg, size_t arg_size)
{
    kit_join(kit_start(mode, count, body, arg, arg_size));
}

/* --- Check programs ----------------------------------------------------------------------- */

/* Check's message channel is inherited by forked children, and the first message wins: so whoever
 * fails tells Check itself, and the parent fails in turn when it reaps an unhappy child. */
static void check_fail(const char *text)
{
    ck_abort_msg("%s", text);
}

int kit_check_main(int argc, char **argv, kit_suite_fn *const *suites, size_t count)
{
    kin_child_main(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    kit_on_fail(check_fail);
    /* What a test leaves behind comes to us, and is killed. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    SRunner *runner = srunner_create(NULL);
    for (size_t i = 0; i < count; i++) {
        srunner_add_suite(runner, suites[i]());
    }
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    int ran = srunner_ntests_run(runner);
    srunner_free(runner);
    kit_kill_children();
    return failed == 0 && ran > 0 ? 0 : 1;
}
