/* Members of a test as threads or forked children. */
#include "team.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *run(void *arg)
{
    struct team_member *member = arg;
    member->result = member->body(member->index, member->arg);
    return NULL;
}

void team_start(struct team *team, enum team_mode mode, team_body *body, void *arg)
{
    struct team_member *member = &team->member[team->count];
    team->mode = mode;
    *member = (struct team_member){.body = body, .arg = arg, .index = team->count++};
    if (mode == TEAM_THREADS) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run, member) != 0) {
            abort();
        }
        member->thread = (unsigned long)thread;
        return;
    }
    int parent = getpid();
    member->pid = fork();
    if (member->pid < 0) {
        abort();
    }
    if (member->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        int line = member->body(member->index, member->arg);
        /* Lines beyond 255 do not fit an exit status: tell them on stderr as well. */
        if (line != 0) {
            dprintf(2, "member %u failed at line %d\n", member->index, line);
        }
        _exit(line == 0 ? 0 : line % 255 + 1);
    }
}

int team_join(struct team *team)
{
    int first = 0;
    for (unsigned i = 0; i < team->count; i++) {
        struct team_member *member = &team->member[i];
        if (team->mode == TEAM_THREADS) {
            pthread_join((pthread_t)member->thread, NULL);
        } else {
            int status;
            if (waitpid(member->pid, &status, 0) != member->pid) {
                abort();
            }
            member->result = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
        if (first == 0) {
            first = member->result;
        }
    }
    team->count = 0;
    return first;
}

void *team_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        abort();
    }
    return memory;
}

int64_t team_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}
