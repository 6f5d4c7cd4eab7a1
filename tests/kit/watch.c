/* The watchdog outside a sweep. Layer: tests. */
#include "kit/board.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct kit__board *kit__board;

/* A phase's time is counted in ticks of the watchdog, so that on a machine that is busy with other
 * things, where the watchdog too is late, a second is worth more. */
#define TICK_MS 20

static const struct {
    const char *name;
    unsigned ticks;
} phases[] = {
    [KIT__SETUP] = {"setup", 10000 / TICK_MS},
    [KIT__STEPPING] = {"stepping the victim", 30000 / TICK_MS},
    [KIT__RECOVERING] = {"stepping the recoverer", 30000 / TICK_MS},
    [KIT__SURVIVING] = {"the survivor", 1000 / TICK_MS},
    [KIT__AWAITING] = {"a bystander or a child of the victim", 1000 / TICK_MS},
    [KIT__CHECKING] = {"the check", 5000 / TICK_MS},
    [KIT__TEARDOWN] = {"teardown", 10000 / TICK_MS},
};

void kit__describe(uint64_t rip, char *ret_text, size_t size)
{
    Dl_info info;
    if (dladdr((void *)(uintptr_t)rip, &info) == 0 || info.dli_fname == NULL) {
        snprintf(ret_text, size, "%#llx", (unsigned long long)rip);
        return;
    }
    uint64_t offset = rip - (uint64_t)(uintptr_t)info.dli_fbase;
    snprintf(ret_text, size, "%s+%#llx", info.dli_sname ? info.dli_sname : info.dli_fname,
             (unsigned long long)offset);
    /* A static function has no dynamic symbol: ask addr2line, if there is one. */
    char path[512], command[700], function[200] = "", line[300] = "";
    ssize_t length = strchr(info.dli_fname, '/') != NULL && access(info.dli_fname, R_OK) == 0
                         ? (ssize_t)strlen(info.dli_fname)
                         : readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) {
        return;
    }
    if (info.dli_fname[0] == '/' || access(info.dli_fname, R_OK) == 0) {
        snprintf(path, sizeof path, "%s", info.dli_fname);
    } else {
        path[length] = '\0';
    }
    snprintf(command, sizeof command, "addr2line -f -s -e '%s' %#llx 2>/dev/null", path,
             (unsigned long long)offset);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) {
        return;
    }
    if (fgets(function, sizeof function, pipe) != NULL && fgets(line, sizeof line, pipe) != NULL &&
        function[0] != '?') {
        function[strcspn(function, "\n")] = '\0';
        line[strcspn(line, "\n")] = '\0';
        snprintf(ret_text, size, "%s (%s)", function, line);
    }
    pclose(pipe);
}

/* One line on what a process waits for. */
static void describe_wait(pid_t pid, char *ret_text, size_t size)
{
    char path[64], wchan[64] = "";
    snprintf(path, sizeof path, "/proc/%d/wchan", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length = read(fd, wchan, sizeof wchan - 1);
        wchan[length > 0 ? length : 0] = '\0';
        close(fd);
    }
    snprintf(ret_text, size, "process %d is %c in %s", (int)pid, kit_process_state(pid), wchan);
}

static void expire(pid_t pid)
{
    char wait[128];
    describe_wait(pid, wait, sizeof wait);
    const char *name = phases[kin__a32_load(&kit__board->phase)].name;
    snprintf(kit__board->text, sizeof kit__board->text, "HANG: %s did not finish in time; %s", name,
             wait);
    kin__a32_store(&kit__board->failed, 1);
    kill(pid, SIGKILL);
}

int kit__watch(void (*body)(void *arg), void *arg)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t pid = kit_fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        body(arg);
        _exit(0);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    kit_require(pidfd >= 0, "pidfd_open: %s", strerror(errno));
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    uint32_t epoch = kin__a32_load(&kit__board->epoch);
    unsigned ticks = 0;
    bool expired = false;
    while (poll(&poll_fd, 1, TICK_MS) <= 0) {
        uint32_t now = kin__a32_load(&kit__board->epoch);
        ticks = now == epoch ? ticks + 1 : 0;
        epoch = now;
        if (ticks > phases[kin__a32_load(&kit__board->phase)].ticks && !expired) {
            expire(pid);
            expired = true;
        }
    }
    close(pidfd);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    kit_kill_children();
    if (expired) {
        uint32_t phase = kin__a32_load(&kit__board->phase);
        return phase == KIT__SETUP || phase == KIT__TEARDOWN ? KIT__EXIT_BROKEN : KIT__EXIT_FOUND;
    }
    if (WIFSIGNALED(status)) {
        snprintf(kit__board->text, sizeof kit__board->text, "signal %d killed the survivor",
                 WTERMSIG(status));
        return KIT__EXIT_FOUND;
    }
    return WEXITSTATUS(status);
}
