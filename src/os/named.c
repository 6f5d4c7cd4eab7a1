/* Files of the POSIX shared memory namespace, and the process that removes them. Layer: os.
 * Used by docs/design/segment.md. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where shm_open has them. */
#define FOLDER "/dev/shm"

static void path_of(const char *name, char path[KIN__NAMED_PATH])
{
    snprintf(path, KIN__NAMED_PATH, FOLDER "/%s", name);
}

static int identify(int fd, struct kin__named *named)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EINVAL;
    }
    named->fd = fd;
    named->size = (uint64_t)st.st_size;
    named->device = (uint64_t)st.st_dev;
    named->inode = (uint64_t)st.st_ino;
    return 0;
}

int kin__named_create(uint64_t size, unsigned mode, struct kin__named *ret_named)
{
    if (size > INT64_MAX) {
        return -EFBIG;
    }
    int fd = kin__fd_take(open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode));
    if (fd < 0) {
        return fd;
    }
    int rc;
    do {
        rc = -posix_fallocate(fd, 0, (off_t)size);
    } while (rc == -EINTR);
    if (rc == 0) {
        rc = identify(fd, ret_named);
    }
    if (rc < 0) {
        close(fd);
    }
    return rc;
}

int kin__named_link(const struct kin__named *named, const char *name)
{
    char from[64], to[KIN__NAMED_PATH];
    snprintf(from, sizeof from, "/proc/self/fd/%d", named->fd);
    path_of(name, to);
    return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int kin__named_open(const char *name, bool read_only, struct kin__named *ret_named)
{
    char path[KIN__NAMED_PATH];
    path_of(name, path);
    int fd = kin__fd_take(
        open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd < 0) {
        return fd == -ELOOP ? -EINVAL : fd;
    }
    int rc = identify(fd, ret_named);
    if (rc < 0) {
        close(fd);
    }
    return rc;
}

int kin__named_map(const struct kin__named *named, bool read_only, void **ret_address)
{
    void *address = mmap(NULL, named->size, read_only ? PROT_READ : PROT_READ | PROT_WRITE,
                         MAP_SHARED, named->fd, 0);
    if (address == MAP_FAILED) {
        return -errno;
    }
    *ret_address = address;
    return 0;
}

int kin__named_unlink(const char *name)
{
    char path[KIN__NAMED_PATH];
    path_of(name, path);
    return unlink(path) < 0 ? -errno : 0;
}

/*
 * Reads lines "+DEVICE:INODE NAME" and "-DEVICE:INODE NAME" until nobody is left who could write
 * one; then removes what has been added and not taken off, where the name still means that file. A
 * shell, because it must outlive everybody else and cost nothing meanwhile: a fork of this process
 * would keep all its memory. In the background of its parent, which ends at once, so that it is
 * nobody's child and no wait() of the program's meets it.
 */
static char script[] =
    "trap '' HUP INT QUIT TERM\n"
    "exec 3<&0\n"
    "(\n"
    "while IFS= read -r line; do\n"
    "  entry=${line#?}\n"
    "  case $line in\n"
    "  +*) set -- \"$@\" \"$entry\" ;;\n"
    "  -*) for held; do shift; [ \"$held\" = \"$entry\" ] || set -- \"$@\" \"$held\"; done ;;\n"
    "  esac\n"
    "done\n"
    "for held; do\n"
    "  file=" FOLDER "/${held#* }\n"
    "  [ \"$(stat -c %d:%i -- \"$file\")\" = \"${held%% *}\" ] && rm -f -- \"$file\"\n"
    "done\n"
    ") <&3 3<&- &\n";

int kin__tracker_start(int *ret_fd)
{
    static char shell[] = "sh", option[] = "-c", path[] = "PATH=/usr/bin:/bin";
    char *argv[] = {shell, option, script, NULL}, *env[] = {path, NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    int rc = kin__fd_lift_pair(ends);
    if (rc < 0) {
        return rc;
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    pid_t pid;
    rc = posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attributes, &none);
    rc = rc != 0 ? rc : posix_spawnattr_setflags(&attributes,
                                                 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    rc = rc != 0 ? rc : posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[0]);
    if (rc != 0) {
        close(ends[1]);
        return -rc;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *ret_fd = ends[1];
    return 0;
}

int kin__tracker_open(int32_t pid, int fd)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    int own = kin__fd_take(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (own < 0) {
        return own;
    }
    if (fstat(own, &st) < 0 || !S_ISFIFO(st.st_mode)) {
        close(own);
        return -EBADF;
    }
    return own;
}
