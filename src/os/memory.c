/* Anonymous files, mappings and how much memory there is. Layer: os. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"

int kin__memfd_create(const char *name, uint64_t size)
{
    int fd = kin__fd_take(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0) {
        return fd;
    }
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

int kin__file_grow(int fd, uint64_t offset, uint64_t length)
{
    int rc;
    do {
        rc = fallocate(fd, 0, (off_t)offset, (off_t)length);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int kin__file_read_at(int fd, uint64_t offset, void *buffer, size_t size)
{
    ssize_t length = pread(fd, buffer, size, (off_t)offset);
    if (length < 0) {
        return -errno;
    }
    return (size_t)length == size ? 0 : -EIO;
}

int64_t kin__file_size(int fd)
{
    struct stat st;
    return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

uint64_t kin__file_inode(int fd)
{
    struct stat st;
    return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

int kin__map_shared(int fd, uint64_t size, void *hint, bool exact, void **ret_address)
{
    int flags = MAP_SHARED | (exact ? MAP_FIXED_NOREPLACE : 0);
    void *p = mmap(hint, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (p == MAP_FAILED) {
        return errno == EEXIST ? -EADDRINUSE : -errno;
    }
    if (exact && p != hint) {
        munmap(p, size);
        return -EADDRINUSE;
    }
    madvise(p, size, MADV_DONTDUMP);
    *ret_address = p;
    return 0;
}

void kin__unmap(void *address, uint64_t size)
{
    munmap(address, size);
}

int kin__map_wipe_on_fork(size_t size, void **ret_address)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    if (madvise(p, size, MADV_WIPEONFORK) < 0) {
        int rc = -errno;
        munmap(p, size);
        return rc;
    }
    *ret_address = p;
    return 0;
}

static int read_text(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, buffer, size - 1);
    int rc = n < 0 ? -errno : 0;
    close(fd);
    buffer[n < 0 ? 0 : n] = '\0';
    return rc;
}

static uint64_t read_number(const char *path)
{
    char text[64];
    if (read_text(path, text, sizeof text) < 0 || strncmp(text, "max", 3) == 0) {
        return UINT64_MAX;
    }
    return strtoull(text, NULL, 10);
}

static uint64_t mem_available(void)
{
    char text[2048];
    if (read_text("/proc/meminfo", text, sizeof text) < 0) {
        return UINT64_MAX;
    }
    const char *line = strstr(text, "MemAvailable:");
    return line == NULL ? UINT64_MAX : strtoull(line + 13, NULL, 10) * 1024;
}

/* Number behind a key of a memory.stat, in bytes; 0 if it has none. */
static uint64_t stat_of(const char *stat, const char *key)
{
    const char *line = strstr(stat, key);
    return line == NULL ? 0 : strtoull(line + strlen(key), NULL, 10);
}

/* Bytes of a cgroup's page cache of files, which the kernel gives up before it refuses memory: a
 * group that has read much is not for that reason full. Memory of memfds is not among them. */
static uint64_t file_cache(const char *path)
{
    char text[8192];
    if (read_text(path, text, sizeof text) < 0) {
        return 0;
    }
    bool v1 = strstr(text, "\ntotal_inactive_file ") != NULL;
    return v1 ? stat_of(text, "\ntotal_inactive_file ") + stat_of(text, "\ntotal_active_file ")
              : stat_of(text, "\ninactive_file ") + stat_of(text, "\nactive_file ");
}

/* The tightest limit of the caller's memory cgroup and its ancestors, and what is used there. */
static void cgroup_memory(uint64_t *ret_limit, uint64_t *ret_used)
{
    *ret_limit = UINT64_MAX;
    *ret_used = 0;
    char text[4096];
    if (read_text("/proc/self/cgroup", text, sizeof text) < 0) {
        return;
    }
    const char *root = "/sys/fs/cgroup";
    const char *limit_file = "memory.max", *used_file = "memory.current";
    char *group = strstr(text, "0::");
    char *v1 = strstr(text, ":memory:");
    if (v1 != NULL) {
        root = "/sys/fs/cgroup/memory";
        limit_file = "memory.limit_in_bytes";
        used_file = "memory.usage_in_bytes";
        group = v1 + 8;
    } else if (group != NULL) {
        group += 3;
    } else {
        return;
    }
    group[strcspn(group, "\n")] = '\0';
    for (;;) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s%s/%s", root, group, limit_file);
        uint64_t limit = read_number(path);
        /* Version 1 says no limit by a very large one. */
        if (limit < KIN__MIN(*ret_limit, UINT64_C(1) << 62)) {
            snprintf(path, sizeof path, "%s%s/%s", root, group, used_file);
            uint64_t used = read_number(path);
            snprintf(path, sizeof path, "%s%s/memory.stat", root, group);
            uint64_t cache = file_cache(path);
            *ret_limit = limit;
            *ret_used = used == UINT64_MAX ? 0 : used - KIN__MIN(used, cache);
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            break;
        }
        *slash = '\0';
    }
}

uint64_t kin__memory_available(void)
{
    uint64_t limit, used;
    cgroup_memory(&limit, &used);
    uint64_t left = limit == UINT64_MAX ? UINT64_MAX : limit > used ? limit - used : 0;
    uint64_t machine = mem_available();
    return KIN__MIN(left, machine);
}

uint64_t kin__memory_default_quota(void)
{
    uint64_t limit, used;
    cgroup_memory(&limit, &used);
    uint64_t machine = mem_available();
    uint64_t quota = machine == UINT64_MAX ? (uint64_t)1 << 30 : machine / 4;
    if (limit != UINT64_MAX) {
        quota = KIN__MIN(quota, limit / 2);
    }
    struct rlimit address_space;
    if (getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY) {
        quota = KIN__MIN(quota, address_space.rlim_cur / 4);
    }
    return quota;
}

int kin__random(void *buffer, size_t size)
{
    unsigned char *at = buffer;
    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);
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
