/* This process as one that the library started: its name, its starter. Layer: process. */
#include "process/process.h"

#include <errno.h>
#include <string.h>

#include "base/options.h"

/* Written before the child's target runs and at a fork, then constant. */
static struct kin__birth self = {.name = "MainProcess"};
static kin__a32 children; /* started so far; names the next */
/* The pidfd of the starter: its number + 1, 0: not opened yet. */
static kin__a32 parent_pidfd;

KIN__FORK_PATH static void after_fork_in_child(void)
{
    uint32_t fd = kin__a32_xchg(&parent_pidfd, 0);
    if (fd != 0) {
        kin__fd_drop((int)fd - 1);
    }
    kin__a32_store_relaxed(&children, 0);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

void kin__birth_name(kin_process *process, const char *name)
{
    uint32_t number = kin__a32_add(&children, 1) + 1;
    /* Not by snprintf: its stack would be one more page that parent and child copy. */
    char identity[KIN_NAME_MAX + 16], digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
    } while ((number /= 10) > 0);
    char *last = stpcpy(identity, self.identity);
    if (last > identity) {
        *last++ = ':';
    }
    while (count > 0) {
        *last++ = digits[--count];
    }
    *last = '\0';
    /* Deep trees lose the front of their numbers, not the end that tells siblings apart. */
    const char *prefix = process->worker ? "Worker-" : "Process-";
    size_t length = strlen(identity), room = KIN_NAME_MAX - strlen(prefix);
    const char *end = identity + (length > room ? length - room : 0);
    strcpy(process->identity, end);
    if (name != NULL) {
        strcpy(process->name, name);
    } else {
        strcpy(stpcpy(process->name, prefix), end);
    }
}

KIN__FORK_PATH void kin__birth_describe(const kin_process *process, struct kin__birth *ret_birth)
{
    memset(ret_birth, 0, sizeof *ret_birth);
    ret_birth->parent_pid = process->owner_pid;
    ret_birth->method = process->method;
    ret_birth->daemon = process->daemon;
    ret_birth->worker = process->worker;
    memcpy(ret_birth->name, process->name, sizeof ret_birth->name);
    memcpy(ret_birth->identity, process->identity, sizeof ret_birth->identity);
    memcpy(ret_birth->parent_name, self.name, sizeof ret_birth->parent_name);
}

KIN__FORK_PATH void kin__birth_adopt(const struct kin__birth *birth)
{
    self = *birth;
}

bool kin__process_is_worker(void)
{
    return self.worker;
}

/* Whether `known` is the size of a struct that this library can fill in. */
static int store_info(struct kin_process_info *ret_info, const struct kin_process_info *info)
{
    if (ret_info == NULL || ret_info->size < offsetof(struct kin_process_info, name) + 1 ||
        ret_info->size > sizeof *info) {
        return -EINVAL;
    }
    size_t size = ret_info->size;
    memcpy(ret_info, info, size);
    ret_info->size = size;
    return 0;
}

int kin_process_current(struct kin_process_info *ret_info)
{
    struct kin_process_info info = {
        .size = sizeof info,
        .pid = kin__pid(),
        .parent_pid = self.parent_pid,
        .daemon = self.daemon,
        .method = self.method,
    };
    memcpy(info.name, self.name, sizeof info.name);
    return store_info(ret_info, &info);
}

int kin_process_parent(struct kin_process_info *ret_info)
{
    if (self.parent_pid == 0) {
        return ret_info == NULL ? -EINVAL : -ESRCH;
    }
    struct kin_process_info info = {.size = sizeof info, .pid = self.parent_pid};
    memcpy(info.name, self.parent_name, sizeof info.name);
    return store_info(ret_info, &info);
}

/* Opens a pidfd of the starter and makes sure that it is not another process's with its pid. */
static int open_parent(void)
{
    if (self.parent_pid == 0) {
        return -ESRCH;
    }
    int fd = kin__pidfd_open(self.parent_pid);
    if (fd < 0) {
        return -ESRCH;
    }
    uint64_t start;
    bool same = self.method == KIN_START_FORKSERVER
                    ? kin__process_start_time(self.parent_pid, &start) == 0 &&
                          start <= self.parent_seen_at
                    : kin__parent_pid() == self.parent_pid;
    if (!same) {
        kin__fd_drop(fd);
        return -ESRCH;
    }
    return fd;
}

int kin_process_parent_sentinel(void)
{
    uint32_t known = kin__a32_load(&parent_pidfd);
    if (known != 0) {
        return (int)known - 1;
    }
    int fd = open_parent();
    if (fd < 0) {
        return fd;
    }
    if (!kin__a32_cas(&parent_pidfd, &known, (uint32_t)fd + 1)) {
        kin__fd_drop(fd); /* another thread was faster */
        return (int)known - 1;
    }
    return fd;
}
