/* The program again, in a new process. Layer: os. Used by docs/design/process.md, "Spawn". */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define RANGE_CLOEXEC 4 /* CLOSE_RANGE_CLOEXEC */

#define STACK_SIZE 32768
#define SIGNALS 64

/* What the parent and the child that borrows its memory share. */
struct request {
    const char *path;
    char *const *argv;
    const int *fds;
    unsigned fd_count;
    kin__a32 *pid_word;
    sigset_t mask;
    volatile int error; /* of the child, before its exec; 0 if it got that far */
};

int kin__fd_set_inherited(int fd, bool inherited)
{
    return fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC) < 0 ? -errno : 0;
}

int kin__fd_move_above(int fd, int minimum)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, minimum);
    return moved < 0 ? -errno : moved;
}

int kin__fd_put(int fd, int to)
{
    if (fd == to) {
        return 0;
    }
    return dup3(fd, to, to > 2 ? O_CLOEXEC : 0) < 0 ? -errno : 0;
}

/* [first, last] */
static void keep_range(unsigned first, unsigned last, bool close_them)
{
    if (first > last || syscall(SYS_close_range, first, last, close_them ? 0 : RANGE_CLOEXEC) == 0) {
        return;
    }
    struct rlimit limit;
    unsigned end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536
                       ? (unsigned)limit.rlim_cur
                       : 65536;
    for (unsigned fd = first; fd <= last && fd < end; fd++) {
        if (close_them) {
            close((int)fd);
        } else {
            fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        }
    }
}

void kin__fds_keep(const int *fds, unsigned count, bool close_them)
{
    unsigned next = 3;
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] < (int)next) {
            continue; /* 0, 1, 2 or a duplicate */
        }
        keep_range(next, (unsigned)fds[i] - 1, close_them);
        next = (unsigned)fds[i] + 1;
    }
    keep_range(next, UINT_MAX, close_them);
    for (unsigned i = 0; i < count && !close_them; i++) {
        kin__fd_set_inherited(fds[i], true);
    }
}

/* The child's memory is the parent's until it executes: nothing is copied. ThreadSanitizer cannot follow
 * two processes in one memory; with a copy an execve that fails is only seen by the exit status. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CLONE_FLAGS CLONE_VFORK
#endif
#endif
#ifndef CLONE_FLAGS
#define CLONE_FLAGS (CLONE_VM | CLONE_VFORK)
#endif

/* In the child, on a stack of its own but in the parent's memory; all signals are blocked. */
static int execute(void *arg)
{
    struct request *request = arg;
    if (request->pid_word != NULL) {
        kin__a32_store(request->pid_word, (uint32_t)getpid());
    }
    /* A handler of the parent's must not run in its memory. The exec would reset it anyway. */
    for (int i = 1; i <= SIGNALS; i++) {
        struct sigaction action;
        if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
            action.sa_handler != SIG_IGN) {
            signal(i, SIG_DFL);
        }
    }
    kin__fds_keep(request->fds, request->fd_count, false);
    sigprocmask(SIG_SETMASK, &request->mask, NULL);
    execve(request->path, request->argv, environ);
    request->error = errno;
    _exit(127);
}

int kin__execute(const char *path, char *const *argv, const int *fds, unsigned fd_count,
                 kin__a32 *pid_word, int32_t *ret_pid, int *ret_pidfd)
{
    char *stack = malloc(STACK_SIZE);
    if (stack == NULL) {
        return -ENOMEM;
    }
    struct request request = {
        .path = path, .argv = argv, .fds = fds, .fd_count = fd_count, .pid_word = pid_word};
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &request.mask);
    int pidfd = -1;
    char *top = (char *)((uintptr_t)(stack + STACK_SIZE) & ~(uintptr_t)63);
    int pid = clone(execute, top, CLONE_FLAGS | CLONE_PIDFD | SIGCHLD, &request, &pidfd);
    int rc = pid < 0 ? -errno : -request.error;
    if (pid > 0 && rc < 0) {
        siginfo_t info;
        while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR) {
        }
        close(pidfd);
    }
    pthread_sigmask(SIG_SETMASK, &request.mask, NULL);
    free(stack);
    if (rc < 0) {
        return rc;
    }
    pidfd = kin__fd_lift(pidfd);
    if (pidfd < 0) {
        kin__child_kill((int32_t)pid);
        return pidfd;
    }
    *ret_pid = (int32_t)pid;
    *ret_pidfd = pidfd;
    return 0;
}

int kin__thread_count(void)
{
    struct stat st;
    /* The folder's links: one per thread, and itself and its parent. */
    return stat("/proc/self/task", &st) < 0 ? -errno : (int)st.st_nlink - 2;
}

static const int server_signals[] = {SIGCHLD, SIGINT, SIGQUIT};
static struct sigaction before_server[3];

void kin__server_signals_take(void)
{
    for (int i = 0; i < 3; i++) {
        struct sigaction action = {.sa_handler = i == 0 ? SIG_DFL : SIG_IGN};
        sigaction(server_signals[i], &action, &before_server[i]);
    }
}

void kin__server_signals_restore(void)
{
    for (int i = 0; i < 3; i++) {
        sigaction(server_signals[i], &before_server[i], NULL);
    }
}

int kin__file_read_all(int fd, uint64_t limit, void **ret_data, size_t *ret_size)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    /* A file, not a pipe that may never end; one byte more, so that none is 0. */
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > limit) {
        return -EPROTO;
    }
    size_t size = (size_t)st.st_size, have = 0;
    char *data = malloc(size + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    while (have < size) {
        ssize_t n = pread(fd, data + have, size - have, (off_t)have);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            int rc = n < 0 ? -errno : -EPROTO;
            free(data);
            return rc;
        }
        have += n > 0 ? (size_t)n : 0;
    }
    *ret_data = data;
    *ret_size = size;
    return 0;
}

int kin__file_write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}
