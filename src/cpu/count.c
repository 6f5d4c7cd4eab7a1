/* How many CPUs, and which: affinity, cpusets, quota, override. Layer: cpu.
 * Design: docs/design/placement.md. */
#include "cpu/cpu.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "os/os.h"

int kin__source_read(const struct kin_cpu_source *given, struct kin_cpu_source *ret_source)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    int rc = kin__options_read(&source, sizeof source, given);
    if (rc < 0) {
        return rc;
    }
    if (source.root != NULL && strlen(source.root) >= KIN__PATH / 2) {
        return -ENAMETOOLONG;
    }
    if (source.root == NULL && source.count == NULL) {
        source.count = getenv("KINFOLK_CPU_COUNT");
    }
    *ret_source = source;
    return 0;
}

/* The CPUs before control groups have their say. */
static int start_set(const struct kin_cpu_source *source, struct kin_cpu_set *ret_set)
{
    int rc = 0;
    struct kin_cpu_set set;
    if (source->affinity != NULL) {
        set = *source->affinity;
    } else if (source->root == NULL) {
        rc = kin__affinity_get(set.word, KIN__CPU_WORDS);
    } else {
        rc = kin__cpu_set_read(source->root, "/sys/devices/system/cpu/online", &set);
    }
    if (rc < 0) {
        return rc;
    }
    if (kin__cpu_set_empty(&set)) {
        return -EINVAL;
    }
    *ret_set = set;
    return 0;
}

/* An override: a whole number from 1 on; 0 for anything else, which is no override. */
static int parse_count(const char *text)
{
    char *end;
    if (text == NULL || *text < '0' || *text > '9') {
        return 0;
    }
    long n = strtol(text, &end, 10);
    return *end != '\0' || n < 1 || n > INT_MAX ? 0 : (int)n;
}

int kin_cpu_usable(const struct kin_cpu_source *given, struct kin_cpu_set *ret_set)
{
    struct kin_cpu_source source;
    struct kin_cpu_set set;
    if (ret_set == NULL) {
        return -EINVAL;
    }
    int rc = kin__source_read(given, &source);
    if (rc == 0) {
        rc = start_set(&source, &set);
    }
    if (rc < 0) {
        return rc;
    }
    (void)kin__cgroup_limits(source.root != NULL ? source.root : "", &set);
    *ret_set = set;
    return 0;
}

int kin_cpu_count_from(const struct kin_cpu_source *given)
{
    struct kin_cpu_source source;
    struct kin_cpu_set set;
    int rc = kin__source_read(given, &source);
    if (rc < 0) {
        return rc;
    }
    int fixed = parse_count(source.count);
    if (fixed > 0) {
        return fixed;
    }
    rc = start_set(&source, &set);
    if (rc < 0) {
        return rc;
    }
    int64_t quota = kin__cgroup_limits(source.root != NULL ? source.root : "", &set);
    int count = kin_cpu_set_count(&set);
    if (quota < (int64_t)count * 1000) {
        count = (int)((quota + 999) / 1000);
    }
    return count < 1 ? 1 : count;
}

int kin_cpu_count(void)
{
    int count = kin_cpu_count_from(NULL);
    return count < 1 ? 1 : count;
}

int kin_cpu_current(void)
{
    return kin__cpu_now();
}

int kin_cpu_bind(const struct kin_cpu_set *set)
{
    if (set == NULL || kin__cpu_set_empty(set)) {
        return -EINVAL;
    }
    return kin__affinity_set(set->word, KIN__CPU_WORDS);
}
