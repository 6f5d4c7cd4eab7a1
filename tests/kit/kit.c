/* Assertions, gates and children for all tests. Layer: tests. */
#include "kit/kit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kinfolk/base.h>

static kit_fail_fn *fail_fn;

void kit_on_fail(kit_fail_fn *fn)
{
    fail_fn = fn;
}

_Noreturn void kit_fail(const char *file, int line, const char *format, ...)
{
    char text[512];
    int length = snprintf(text, sizeof text, "%s:%d: ", file, line);
    if (length < 0 || (size_t)length >= sizeof text) {
        length = 0;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(text + length, sizeof text - (size_t)length, format, args);
    va_end(args);
    if (fail_fn != NULL) {
        fail_fn(text);
    } else {
        dprintf(STDERR_FILENO, "%s\n", text);
    }
    _exit(KIT_EXIT_FAILED);
}

void kit__assert_int(const char *file, int line, const char *text, long long actual,
                     long long expected)
{
    if (actual != expected) {
        kit_fail(file, line, "%s is %lld, not %lld%s%s", text, actual, expected,
                 actual < 0 ? ": " : "", actual < 0 ? kin_strerror((int)actual) : "");
    }
}

void kit__assert_ok(const char *file, int line, const char *text, long long actual)
{
    if (actual < 0) {
        kit_fail(file, line, "%s is %lld: %s", text, actual, kin_strerror((int)actual));
    }
}

void *kit_shared(size_t size)
{
    void *address =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    kit_require(address != MAP_FAILED, "mmap: %s", strerror(errno));
    return address;
}

void kit_gate_open(struct kit_gate *gate)
{
    kin__a32_xchg(&gate->word, 1);
    syscall(SYS_futex, &gate->word.value, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void kit_gate_wait(struct kit_gate *gate)
{
    while (kin__a32_load(&gate->word) == 0) {
        syscall(SYS_futex, &gate->word.value, FUTEX_WAIT, 0, NULL, NULL, 0);
    }
}

bool kit_gate_is_open(struct kit_gate *gate)
{
    return kin__a32_load(&gate->word) != 0;
}

int64_t kit_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

pid_t kit_fork(void)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    kit_require(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(KIT_EXIT_FAILED);
        }
    }
    return pid;
}

int kit_reap(pid_t pid)
{
    int status = 0;
    pid_t reaped;
    do {
        reaped = waitpid(pid, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    kit_require(reaped == pid, "waitpid: %s", strerror(errno));
    kit_require(!WIFEXITED(status) || WEXITSTATUS(status) != KIT_EXIT_FAILED,
                "an assertion failed in the child %d", (int)pid);
    return status;
}

void kit_reap_ok(pid_t pid)
{
    int status = kit_reap(pid);
    kit_require(!WIFSIGNALED(status), "signal %d killed the child", WTERMSIG(status));
    kit_assert_int(WEXITSTATUS(status), 0);
}

char kit_process_state(pid_t pid)
{
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    /* The name, in parentheses, may itself contain some. */
    const char *state = strrchr(text, ')');
    return state != NULL && state[1] == ' ' ? state[2] : 0;
}

void kit_until_asleep(pid_t pid)
{
    const struct timespec pause = {.tv_nsec = 100000};
    /* Twice in a row: a process also passes through S on its way. */
    for (int seen = 0; seen < 2;) {
        char state = kit_process_state(pid);
        if (state == 0 || state == 'Z') {
            return;
        }
        seen = state == 'S' ? seen + 1 : 0;
        nanosleep(&pause, NULL);
    }
}

void kit_kill_children(void)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0) {
            close(fd);
        }
        text[length > 0 ? length : 0] = '\0';
        char *next = text;
        for (long pid = strtol(next, &next, 10); pid > 0; pid = strtol(next, &next, 10)) {
            kill((pid_t)pid, SIGKILL);
        }
        if (waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD) {
            return;
        }
    }
}
