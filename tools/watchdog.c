/*
 * watchdog [-t SECONDS] COMMAND...: runs a command so that nothing of it stays behind.
 *
 * At the limit (or on SIGTERM, which is how meson ends a test that takes too long) it says what
 * each process of the command waits for, and kills them all. When the command has ended, processes
 * that it left running are a failure: they are named and killed. Otherwise its exit status is
 * passed on (128 + signal). The tests run under it. Linux only; needs nothing of the library.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_LEFTOVERS 120
#define EXIT_EXPIRED 124
/* How long processes may take to follow the command. */
#define GRACE_MS 2000

static void read_file(pid_t pid, const char *name, char *ret_text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, ret_text, size - 1);
    if (fd >= 0) {
        close(fd);
    }
    length = length > 0 ? length : 0;
    for (ssize_t i = 0; i < length; i++) {
        if (ret_text[i] == '\0') {
            ret_text[i] = ' ';
        }
    }
    ret_text[length] = '\0';
}

/* Calls visit for each live process below `parent`, children before their own. */
static int each_descendant(pid_t parent, void (*visit)(pid_t))
{
    char path[64], name[64], list[4096];
    snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
    DIR *tasks = opendir(path);
    int count = 0;
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        if (task->d_name[0] == '.') {
            continue;
        }
        snprintf(name, sizeof name, "task/%.20s/children", task->d_name);
        read_file(parent, name, list, sizeof list);
        char *next = list;
        for (long pid = strtol(next, &next, 10); pid > 0; pid = strtol(next, &next, 10)) {
            char stat[512];
            read_file((pid_t)pid, "stat", stat, sizeof stat);
            const char *state = strrchr(stat, ')');
            if (state != NULL && state[2] != 'Z') {
                visit((pid_t)pid);
                count++;
            }
            count += each_descendant((pid_t)pid, visit);
        }
    }
    if (tasks != NULL) {
        closedir(tasks);
    }
    return count;
}

static void say_nothing(pid_t pid)
{
    (void)pid;
}

static void kill_one(pid_t pid)
{
    kill(pid, SIGKILL);
}

static void describe(pid_t pid)
{
    char command[200], status[2000], wchan[64], call[200], stack[1500];
    read_file(pid, "cmdline", command, sizeof command);
    read_file(pid, "status", status, sizeof status);
    read_file(pid, "wchan", wchan, sizeof wchan);
    read_file(pid, "syscall", call, sizeof call);
    read_file(pid, "stack", stack, sizeof stack);
    const char *state = strstr(status, "State:\t");
    const char *parent = strstr(status, "PPid:\t");
    fprintf(stderr, "watchdog: process %d of %d, state %.1s, in %s, system call %.*s: %s\n",
            (int)pid, parent != NULL ? atoi(parent + 6) : 0, state != NULL ? state + 7 : "?", wchan,
            (int)strcspn(call, "\n"), call, command);
    for (char *line = strtok(stack, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        fprintf(stderr, "watchdog:     %s\n", line);
    }
}

/* Kills whatever is left below us and reaps it. */
static void end_all(void)
{
    while (each_descendant(getpid(), kill_one) > 0 || waitpid(-1, NULL, WNOHANG | __WALL) >= 0) {
        while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) {
        }
        const struct timespec pause = {.tv_nsec = 1000000};
        nanosleep(&pause, NULL);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Whether processes are still there after the time that they have for leaving. */
static bool leftovers(void)
{
    double until = now() + GRACE_MS / 1e3;
    do {
        while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) {
        }
        if (each_descendant(getpid(), say_nothing) == 0) {
            return false;
        }
        const struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
    } while (now() < until);
    return true;
}

int main(int argc, char **argv)
{
    double limit = 0;
    if (argc > 2 && strcmp(argv[1], "-t") == 0) {
        limit = atof(argv[2]);
        argv += 2;
        argc -= 2;
    }
    if (argc < 2) {
        fprintf(stderr, "usage: watchdog [-t SECONDS] COMMAND...\n");
        return 2;
    }
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, &before);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t self = getpid();
    pid_t command = fork();
    if (command < 0) {
        perror("watchdog: fork");
        return 2;
    }
    if (command == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != self) {
            _exit(127);
        }
        setpgid(0, 0); /* meson's SIGTERM is for us alone: the others are to be looked at first */
        sigprocmask(SIG_SETMASK, &before, NULL);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    double until = limit > 0 ? now() + limit : 0;
    int status = 0;
    bool ended = false, expired = false;
    while (!ended && !expired) {
        double left = until > 0 ? until - now() : 3600;
        left = left < 0 ? 0 : left;
        struct timespec timeout = {.tv_sec = (time_t)left,
                                   .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        int signal = sigtimedwait(&signals, NULL, &timeout);
        pid_t pid;
        int one;
        while (!ended && (pid = waitpid(-1, &one, WNOHANG | __WALL)) > 0) {
            if (pid == command) {
                status = one;
                ended = true;
            }
        }
        expired = signal == SIGTERM || signal == SIGINT || (until > 0 && now() >= until);
    }
    if (!ended) {
        fprintf(stderr, "watchdog: %s takes too long:\n", argv[1]);
        each_descendant(self, describe);
        end_all();
        return EXIT_EXPIRED;
    }
    if (leftovers()) {
        fprintf(stderr, "watchdog: %s left processes behind:\n", argv[1]);
        each_descendant(self, describe);
        end_all();
        return EXIT_LEFTOVERS;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
