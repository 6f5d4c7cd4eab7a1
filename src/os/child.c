/* Making, watching and ending processes. Layer: os. Used by docs/design/process.md. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

KIN__FORK_PATH int32_t kin__fork(void)
{
    pid_t pid = fork();
    return pid < 0 ? -errno : (int32_t)pid;
}

KIN__FORK_PATH void kin__process_end(int code)
{
    _exit(code);
}

void kin__process_kill_self(void)
{
    for (;;) {
        kill(getpid(), SIGKILL);
    }
}

int32_t kin__parent_pid(void)
{
    return (int32_t)getppid();
}

int kin__child_reap(int pidfd, int *ret_status)
{
    siginfo_t info = {.si_pid = 0};
    int rc;
    do {
        rc = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        return -errno;
    }
    if (info.si_pid == 0) {
        return 0;
    }
    /* As wait() would have it. */
    *ret_status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8
                  : info.si_code == CLD_DUMPED ? info.si_status | 0x80
                                               : info.si_status;
    return 1;
}

void kin__process_kill(int32_t pid)
{
    if (pid > 1) {
        kill(pid, SIGKILL);
    }
}

void kin__child_kill(int32_t pid)
{
    kin__process_kill(pid);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

int kin__pidfd_signal(int pidfd, int signal_number)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0) < 0 ? -errno : 0;
}

int kin__fd_wait(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec left;
    if (deadline != KIN__NEVER) {
        int64_t ns = deadline - kin__clock_now();
        ns = ns < 0 ? 0 : ns;
        left = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    }
    int rc = ppoll(&p, 1, deadline == KIN__NEVER ? NULL : &left, NULL);
    return rc < 0 ? -errno : rc;
}

KIN__FORK_PATH void kin__fd_drop(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

int kin__fd_lift(int fd)
{
    if (fd < 0 || fd > 2) {
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int rc = moved < 0 ? -errno : moved;
    close(fd);
    return rc;
}

int kin__fd_take(int result)
{
    return result < 0 ? -errno : kin__fd_lift(result);
}

int kin__fd_lift_pair(int fds[2])
{
    fds[0] = kin__fd_lift(fds[0]);
    fds[1] = kin__fd_lift(fds[1]);
    int rc = fds[0] < 0 ? fds[0] : fds[1] < 0 ? fds[1] : 0;
    if (rc < 0) {
        kin__fd_drop(fds[0]);
        kin__fd_drop(fds[1]);
    }
    return rc;
}

int kin__fd_check(int fd)
{
    return fcntl(fd, F_GETFD) < 0 ? -errno : 0;
}

int kin__sentinel_ended(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    close(ends[1]);
    return kin__fd_lift(ends[0]);
}

int kin__lifeline_create(int ret_fds[2])
{
    return pipe2(ret_fds, O_CLOEXEC) < 0 ? -errno : kin__fd_lift_pair(ret_fds);
}

int kin__lifeline_arm(int fd)
{
    /* Owner and signal belong to the open description, which all who inherited `fd` share. */
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = kin__fd_take(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (own < 0) {
        return own;
    }
    if (fcntl(own, F_SETOWN, getpid()) < 0 || fcntl(own, F_SETSIG, SIGKILL) < 0 ||
        fcntl(own, F_SETFL, O_NONBLOCK | O_ASYNC) < 0) {
        int rc = -errno;
        close(own);
        return rc;
    }
    /* The write end may have been closed before the arming: no signal comes then. */
    struct pollfd p = {.fd = own, .events = POLLIN};
    int ready;
    do {
        ready = poll(&p, 1, 0);
    } while (ready < 0 && errno == EINTR);
    if (ready > 0) {
        kin__process_kill_self();
    }
    return own;
}

void kin__parent_death_arm(int32_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        kin__process_kill_self();
    }
}
