/* The other side of a channel test, as a thread of this process or as a forked child. */
#ifndef TESTS_CHANNEL_PEER_H
#define TESTS_CHANNEL_PEER_H

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum mode { THREADS, FORK, MODES };

/* Runs in the peer; returns 0 if all is well, or the line that is not. */
typedef int peer_fn(void *arg);

struct peer {
    enum mode mode;
    peer_fn *fn;
    void *arg;
    int result;
    pthread_t thread;
    pid_t pid;
};

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

static inline void *peer_thread(void *arg)
{
    struct peer *peer = arg;
    peer->result = peer->fn(peer->arg);
    return NULL;
}

static inline pid_t peer_fork(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(9);
        }
    }
    return pid;
}

static inline void peer_start(struct peer *peer, enum mode mode, peer_fn *fn, void *arg)
{
    *peer = (struct peer){.mode = mode, .fn = fn, .arg = arg};
    if (mode == THREADS) {
        ck_assert_int_eq(pthread_create(&peer->thread, NULL, peer_thread, peer), 0);
        return;
    }
    peer->pid = peer_fork();
    if (peer->pid == 0) {
        _exit(fn(arg) == 0 ? 0 : 1);
    }
}

static inline void peer_join(struct peer *peer)
{
    if (peer->mode == THREADS) {
        pthread_join(peer->thread, NULL);
        ck_assert_int_eq(peer->result, 0);
        return;
    }
    int status = 0;
    ck_assert_int_eq(waitpid(peer->pid, &status, 0), peer->pid);
    ck_assert_int_eq(status, 0);
}

static inline void peer_kill(struct peer *peer)
{
    int status = 0;
    kill(peer->pid, SIGKILL);
    ck_assert_int_eq(waitpid(peer->pid, &status, 0), peer->pid);
    ck_assert(WIFSIGNALED(status));
}

/* Open descriptors of this process. */
static inline int peer_fd_count(void)
{
    DIR *dir = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(dir);
    int count = -1; /* the folder's own */
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count - 2;
}

#endif
