/* Crews of workers in all modes, and the main of Check programs. Layer: tests. */
#include "kit/modes.h"

#include <errno.h>
#include <pthread.h>
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
};

struct kit_crew {
    enum kit_mode mode;
    unsigned count;
    struct member member[];
};

static const char *const names[KIT_MODES] = {"threads", "fork", "spawn", "forkserver"};

/* The modes that this build can run: spawn and forkserver come with kin_process_start. */
static const enum kit_mode available[] = {KIT_THREADS, KIT_FORK};

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
        kit_fail(__FILE__, __LINE__, "mode %d is not available", (int)member->worker.mode);
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
    (void)argc;
    (void)argv;
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
