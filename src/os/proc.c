/* Processes as the kernel shows them. Layer: os. */
#include "os/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

void kin__yield(void)
{
    sched_yield();
}

KIN__FORK_PATH int32_t kin__pid(void)
{
    return (int32_t)getpid();
}

int32_t kin__tid(void)
{
    return (int32_t)gettid();
}

int kin__pidfd_open(int32_t pid)
{
    return kin__fd_take((int)syscall(SYS_pidfd_open, pid, 0));
}

int kin__process_start_time(int32_t pid, uint64_t *ret_ticks)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    int rc = n < 0 ? -errno : 0;
    close(fd);
    if (rc < 0) {
        return rc;
    }
    text[n] = '\0';
    /* The command in field 2 may hold anything, brackets too: count from its last bracket. */
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return -EPROTO;
    }
    *ret_ticks = strtoull(at + 1, NULL, 10);
    return 0;
}

uint64_t kin__pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

/* 1 if the process maps the inode, 0 if not, -errno if that cannot be read. */
static int maps_inode(int32_t pid, uint64_t inode)
{
    char path[64], chunk[4096 + 1];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    /* Fields: address perms offset dev inode path. A line may straddle two reads: keep its start. */
    size_t kept = 0;
    int found = 0;
    while (found == 0) {
        ssize_t n = read(fd, chunk + kept, sizeof chunk - 1 - kept);
        if (n <= 0) {
            found = n < 0 ? -errno : 0;
            break;
        }
        size_t length = kept + (size_t)n;
        chunk[length] = '\0';
        char *line = chunk, *end;
        while ((end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            unsigned long long ino;
            if (sscanf(line, "%*s %*s %*s %*s %llu", &ino) == 1 && ino == inode) {
                found = 1;
            }
            line = end + 1;
        }
        kept = (size_t)(chunk + length - line);
        if (kept == sizeof chunk - 1) {
            kept = 0; /* a path longer than any real one: skip it */
        }
        memmove(chunk, line, kept);
    }
    close(fd);
    return found;
}

enum kin__life kin__process_life(int32_t pid, uint64_t seen_at, uint64_t inode)
{
    int fd = kin__pidfd_open(pid);
    if (fd < 0) {
        return fd == -ESRCH || fd == -EINVAL ? KIN__LIFE_GONE : KIN__LIFE_UNSURE;
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&p, 1, 0);
    } while (ready < 0 && errno == EINTR);
    enum kin__life life = KIN__LIFE_RUNNING;
    uint64_t start;
    if (ready > 0) {
        life = KIN__LIFE_GONE;
    } else if (seen_at != 0 && kin__process_start_time(pid, &start) == 0 && start > seen_at) {
        life = KIN__LIFE_GONE;
    } else if (inode != 0) {
        int mapped = maps_inode(pid, inode);
        life = mapped > 0 ? KIN__LIFE_RUNNING : mapped == 0 ? KIN__LIFE_OTHER_IMAGE
                                                            : KIN__LIFE_UNSURE;
    }
    close(fd);
    return life;
}

int kin__process_find_mapping(uint64_t inode, uint64_t since,
                              bool (*known)(int32_t pid, void *arg), void *arg)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return -errno;
    }
    int found = 0;
    struct dirent *entry;
    while (found == 0 && (entry = readdir(proc)) != NULL) {
        int32_t pid = (int32_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || known(pid, arg)) {
            continue;
        }
        struct stat st;
        char path[64];
        uint64_t start;
        if (kin__process_start_time(pid, &start) < 0 || start < since) {
            continue; /* gone, or older */
        }
        snprintf(path, sizeof path, "/proc/%d", (int)pid);
        if (stat(path, &st) < 0 || st.st_uid != geteuid()) {
            continue; /* gone, or another user's, who cannot be of the family */
        }
        found = maps_inode(pid, inode);
        if (found == -ENOENT || found == -ESRCH) {
            found = 0;
        }
    }
    closedir(proc);
    return found;
}
