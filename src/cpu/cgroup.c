/*
 * What control groups, versions 1 and 2, leave of the CPUs. Layer: cpu.
 * Design: docs/design/placement.md.
 *
 * /proc/self/cgroup names the process's group in each hierarchy, /proc/self/mountinfo where the
 * hierarchies are mounted and which group of theirs the mount shows. A limit holds for all groups
 * below, and a group's file does not show its ancestors' limits: read them all.
 */
#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "os/os.h"

/* Large enough for a host with thousands of mounts; private heap, not the stack. */
#define MOUNTS_SIZE (1 << 20)
#define GROUPS_SIZE 65536

/* Whether `word` is an element of a list separated by commas and ended by a blank or ':'. */
static bool list_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    while (true) {
        size_t length = strcspn(list, ",: \n");
        if (length == n && memcmp(list, word, n) == 0) {
            return true;
        }
        if (list[length] != ',') {
            return false;
        }
        list += length + 1;
    }
}

/* The process's group in the hierarchy of the controller (NULL: version 2), from lines such as
 * "4:cpu,cpuacct:/docker/x". */
static bool find_group(const char *groups, const char *controller, char *path, size_t size)
{
    for (const char *line = groups; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        const char *list = memchr(line, ':', length);
        const char *group = list ? memchr(list + 1, ':', length - (size_t)(list + 1 - line)) : NULL;
        if (group != NULL) {
            list++;
            group++;
            size_t n = length - (size_t)(group - line);
            bool match = controller != NULL ? list_has(list, controller) : *list == ':';
            if (match && n < size) {
                memcpy(path, group, n);
                path[n] = '\0';
                return true;
            }
        }
        line += length + (line[length] == '\n');
    }
    return false;
}

/* Undoes mountinfo's \040 and the like. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != '\0' &&
            from[3] != '\0') {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/*
 * Where the hierarchy is mounted, and the group that the mount shows. Fields of a line:
 * id parent dev root mountpoint options [tags] - type source superoptions.
 */
static bool find_mount(const char *mounts, const char *controller, char *point, char *root)
{
    for (const char *line = mounts; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        char copy[KIN__PATH * 2];
        if (length < sizeof copy) {
            memcpy(copy, line, length);
            copy[length] = '\0';
            char type[32], super[1024];
            const char *tail = strstr(copy, " - ");
            if (tail != NULL && sscanf(tail + 3, "%31s %*s %1023s", type, super) == 2 &&
                (controller == NULL ? strcmp(type, "cgroup2") == 0
                                    : strcmp(type, "cgroup") == 0 && list_has(super, controller)) &&
                sscanf(copy, "%*s %*s %*s %4095s %4095s", root, point) == 2) {
                unescape(root);
                unescape(point);
                return true;
            }
        }
        line += length + (line[length] == '\n');
    }
    return false;
}

/*
 * The folder of the process's group in the hierarchy; *ret_top is the length of the part that is
 * the mount point, which the walk to the ancestors must not pass.
 */
static bool find_folder(const char *fsroot, const char *groups, const char *mounts,
                        const char *controller, char *folder, size_t *ret_top)
{
    char group[KIN__PATH], root[KIN__PATH], point[KIN__PATH];
    if (!find_group(groups, controller, group, sizeof group) ||
        !find_mount(mounts, controller, point, root)) {
        return false;
    }
    /* A container sees a mount of its own group: what lies below it is the rest of the path. A
     * group outside of the mount ("/../x", or a host's path in a container) cannot be seen: the
     * mount's own group is the nearest that can. */
    const char *below = group;
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(group, root, n) == 0 && (group[n] == '/' || group[n] == '\0')) {
        below = group + n;
    } else {
        below = "";
    }
    if (strstr(below, "..") != NULL || strcmp(below, "/") == 0) {
        below = "";
    }
    int top = snprintf(folder, KIN__PATH, "%s%s", fsroot, point);
    int whole = snprintf(folder, KIN__PATH, "%s%s%s", fsroot, point, below);
    if (whole < 0 || whole >= KIN__PATH - 64) {
        return false;
    }
    *ret_top = (size_t)top;
    return true;
}

/* folder/name → text. */
static int read_in(const char *folder, const char *name, char *text, size_t size)
{
    char path[KIN__PATH];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n < 0 || (size_t)n >= sizeof path ? -1 : kin__text_read(path, text, size);
}

/* Thousandths of a CPU that one group grants by itself. */
static int64_t quota_of(const char *folder, bool v2)
{
    char text[64], period_text[64];
    long long quota = 0, period = 0;
    if (v2) {
        /* "max 100000" or "150000 100000" */
        if (read_in(folder, "cpu.max", text, sizeof text) < 0 ||
            sscanf(text, "%lld %lld", &quota, &period) != 2) {
            return KIN__QUOTA_NONE;
        }
    } else if (read_in(folder, "cpu.cfs_quota_us", text, sizeof text) < 0 ||
               read_in(folder, "cpu.cfs_period_us", period_text, sizeof period_text) < 0 ||
               sscanf(text, "%lld", &quota) != 1 || sscanf(period_text, "%lld", &period) != 1) {
        return KIN__QUOTA_NONE;
    }
    if (quota <= 0 || period <= 0 || quota > INT64_MAX / 1000) {
        return KIN__QUOTA_NONE;
    }
    /* Rounded up here already: 1.0001 CPUs must not become 1.000. */
    return quota * 1000 / period + (quota * 1000 % period != 0);
}

static int64_t quota_over(char *folder, size_t top, bool v2)
{
    int64_t least = KIN__QUOTA_NONE;
    while (true) {
        int64_t quota = quota_of(folder, v2);
        least = KIN__MIN(least, quota);
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= top || slash == NULL || (size_t)(slash - folder) < top) {
            return least;
        }
        *slash = '\0';
    }
}

/* The nearest group, going up, that tells its CPUs; a cpuset without CPUs of its own has them all
 * from its parent (version 2), or is not usable at all (version 1). */
static void restrict_to(char *folder, size_t top, const char *const *names,
                        struct kin_cpu_set *set)
{
    while (true) {
        for (const char *const *name = names; *name != NULL; name++) {
            char text[KIN__PATH];
            struct kin_cpu_set allowed;
            if (read_in(folder, *name, text, sizeof text) >= 0 &&
                kin_cpu_set_parse(text, &allowed) == 0 && kin__cpu_set_meets(set, &allowed)) {
                kin__cpu_set_and(set, &allowed);
                return;
            }
        }
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= top || slash == NULL || (size_t)(slash - folder) < top) {
            return;
        }
        *slash = '\0';
    }
}

int64_t kin__cgroup_limits(const char *fsroot, struct kin_cpu_set *set)
{
    static const char *const v1_names[] = {"cpuset.effective_cpus", "cpuset.cpus", NULL};
    static const char *const v2_names[] = {"cpuset.cpus.effective", NULL};
    int64_t quota = KIN__QUOTA_NONE;
    char path[KIN__PATH], folder[KIN__PATH];
    size_t top;
    char *mounts = malloc(MOUNTS_SIZE), *groups = malloc(GROUPS_SIZE);
    if (mounts == NULL || groups == NULL) {
        goto done;
    }
    snprintf(path, sizeof path, "%s/proc/self/cgroup", fsroot);
    if (kin__text_read(path, groups, GROUPS_SIZE) < 0) {
        goto done;
    }
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", fsroot);
    if (kin__text_read(path, mounts, MOUNTS_SIZE) < 0) {
        goto done;
    }
    if (find_folder(fsroot, groups, mounts, NULL, folder, &top)) {
        quota = quota_over(folder, top, true);
    }
    if (find_folder(fsroot, groups, mounts, NULL, folder, &top)) {
        restrict_to(folder, top, v2_names, set);
    }
    if (find_folder(fsroot, groups, mounts, "cpu", folder, &top)) {
        int64_t v1 = quota_over(folder, top, false);
        quota = KIN__MIN(quota, v1);
    }
    if (find_folder(fsroot, groups, mounts, "cpuset", folder, &top)) {
        restrict_to(folder, top, v1_names, set);
    }
done:
    free(mounts);
    free(groups);
    return quota;
}
