/* Where a thread may run, and small text files of /proc and /sys. Layer: os. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

/* The kernel refuses a mask smaller than its own: 8,192 CPUs is the most that x86 configures. */
#define KERNEL_WORDS 128

int kin__affinity_get(uint64_t *words, unsigned count)
{
    uint64_t mask[KERNEL_WORDS];
    memset(mask, 0, sizeof mask);
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)mask) < 0) {
        return -errno;
    }
    memset(words, 0, count * sizeof *words);
    memcpy(words, mask, KIN__MIN(count, (unsigned)KERNEL_WORDS) * sizeof *words);
    return 0;
}

int kin__affinity_set(const uint64_t *words, unsigned count)
{
    size_t size = count * sizeof *words;
    return sched_setaffinity(0, size, (const cpu_set_t *)(const void *)words) < 0 ? -errno : 0;
}

int kin__cpu_now(void)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? -errno : cpu;
}

int kin__text_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t length = 0;
    int rc = 0;
    while (length < size) {
        ssize_t n = read(fd, text + length, size - length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n < 0 ? -errno : 0;
            break;
        }
        length += (size_t)n;
    }
    close(fd);
    if (rc < 0) {
        return rc;
    }
    if (length == size) {
        return -EFBIG;
    }
    text[length] = '\0';
    return (int)length;
}
