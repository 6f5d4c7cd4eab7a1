/* What the process tests share. */
#include "help.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

const enum kin_start_method methods[] = {KIN_START_FORK, KIN_START_SPAWN, KIN_START_FORKSERVER};

static int start_by(enum kin_start_method method, kin_target_fn *target, const void *arg,
                    size_t size, kin_process **ret_process)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = target;
    options.arg = arg;
    options.arg_size = size;
    options.method = method;
    options.die_with_parent = 1; /* nothing outlives a test */
    return kin_process_start(&options, ret_process);
}

kin_process *start(enum kin_start_method method, kin_target_fn *target, const void *arg,
                   size_t size)
{
    kin_process *process = NULL;
    ok(start_by(method, target, arg, size, &process));
    return process;
}

kin_process *try_start(enum kin_start_method method, kin_target_fn *target, const void *arg,
                       size_t size)
{
    kin_process *process = NULL;
    return start_by(method, target, arg, size, &process) < 0 ? NULL : process;
}

int finish(kin_process *process)
{
    int exitcode = 12345;
    ok(kin_process_join(process, 10 * SECOND, &exitcode));
    ck_assert_ptr_null(kin_process_destroy(process));
    return exitcode;
}

int try_finish(kin_process *process)
{
    int exitcode;
    int rc = process == NULL ? -1 : kin_process_join(process, 10 * SECOND, &exitcode);
    kin_process_destroy(process);
    return rc < 0 ? -1 : exitcode;
}

int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = -1; /* the folder's own */
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

/* State letter and parent of a process, or false. */
static bool look(int pid, char *state, int *parent)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *bracket = strrchr(text, ')');
    return bracket != NULL && sscanf(bracket + 1, " %c %d", state, parent) == 2;
}

int count_children(char states[64])
{
    DIR *dir = opendir("/proc");
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        int pid = atoi(entry->d_name), parent;
        char state;
        if (pid > 0 && look(pid, &state, &parent) && parent == getpid()) {
            if (states != NULL && count < 63) {
                states[count] = state;
            }
            count++;
        }
    }
    closedir(dir);
    if (states != NULL) {
        states[count < 63 ? count : 63] = '\0';
    }
    return count;
}

bool is_running(int pid)
{
    char state;
    int parent;
    return look(pid, &state, &parent) && state != 'Z' && state != 'X';
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* Lets others run between two looks. */
static void breathe(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

bool wait_gone(int pid)
{
    for (int64_t until = now() + 10 * SECOND; now() < until; breathe()) {
        if (!is_running(pid)) {
            return true;
        }
    }
    return false;
}

struct board *make_board(void)
{
    struct board *board = kin_calloc(1, sizeof *board);
    ck_assert_ptr_nonnull(board);
    return board;
}

bool reaches(_Atomic int *word, int value)
{
    for (int64_t until = now() + 10 * SECOND; atomic_load(word) != value; breathe()) {
        if (now() > until) {
            return false;
        }
    }
    return true;
}

void reset_signals(void)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
}
