/*
 * What this layer's files tell each other. Layer: cpu. Design: docs/design/placement.md.
 *
 * Every reader takes a root ("" is this machine), so that recorded trees are tests.
 */
#ifndef KIN_CPU_CPU_H
#define KIN_CPU_CPU_H

#include <stdbool.h>

#include <kinfolk/cpu.h>
#include <kinfolk/placement.h>

#define KIN__CPU_WORDS (KIN_CPUS / 64)
#define KIN__PATH 4096

/* --- set.c -------------------------------------------------------------------------------- */

static inline bool kin__cpu_set_has(const struct kin_cpu_set *set, unsigned cpu)
{
    return cpu < KIN_CPUS && (set->word[cpu / 64] >> (cpu % 64) & 1) != 0;
}
bool kin__cpu_set_empty(const struct kin_cpu_set *set);
bool kin__cpu_set_meets(const struct kin_cpu_set *a, const struct kin_cpu_set *b);
bool kin__cpu_set_within(const struct kin_cpu_set *part, const struct kin_cpu_set *whole);
void kin__cpu_set_and(struct kin_cpu_set *set, const struct kin_cpu_set *with);
void kin__cpu_set_or(struct kin_cpu_set *set, const struct kin_cpu_set *with);
void kin__cpu_set_minus(struct kin_cpu_set *set, const struct kin_cpu_set *without);

/* Reads the CPU list in root/path. */
int kin__cpu_set_read(const char *root, const char *path, struct kin_cpu_set *ret_set);

/* --- cgroup.c ----------------------------------------------------------------------------- */

/* No quota. */
#define KIN__QUOTA_NONE INT64_MAX

/*
 * What the control groups of root/proc/self leave to the process: thousandths of a CPU over all
 * enclosing groups of both versions (KIN__QUOTA_NONE: no limit), and in *set, which the caller
 * has filled, only the CPUs that the cpusets allow. Whatever cannot be read limits nothing.
 */
int64_t kin__cgroup_limits(const char *root, struct kin_cpu_set *set);

/* --- capacity.c --------------------------------------------------------------------------- */

/*
 * Speeds of the CPUs of `set` as root/sys tells them, in any one unit, 0 where it tells nothing;
 * returns whether it tells something about all of them.
 */
bool kin__capacity_read(const char *root, const struct kin_cpu_set *set, uint64_t speed[KIN_CPUS]);

/* The CPUs that root/sys calls efficiency cores; empty where it does not know any. */
void kin__capacity_efficient(const char *root, struct kin_cpu_set *ret_set);

/* --- topology.c --------------------------------------------------------------------------- */

/* One CPU as a reader found it, before the numbers are made dense. */
struct kin__raw_cpu {
    int64_t package;
    int64_t core;
    int64_t node;
    uint64_t speed; /* from hwloc's CPU kinds; 0: unknown */
    bool present;
    bool efficient; /* of the least of several CPU kinds */
};

struct kin_topology {
    int count;
    bool from_hwloc;
    struct kin_cpu cpu[]; /* by ascending id */
};

/* As kin_topology_load; `hwloc` false: from sysfs alone, as if hwloc could not be loaded. */
int kin__topology_load(const struct kin_cpu_source *source, bool hwloc,
                       kin_topology **ret_topology);

/* --- hwloc.c ------------------------------------------------------------------------------ */

/*
 * Fills in the CPUs that hwloc sees in an XML file, below a root, or (both NULL) on this machine.
 * -ENOSYS if libhwloc cannot be loaded, -EINVAL for a file that it cannot read.
 */
int kin__hwloc_read(const char *root, const char *xml, struct kin__raw_cpu cpu[KIN_CPUS]);

/* --- count.c ------------------------------------------------------------------------------ */

/* The source with all defaults filled in; -EINVAL. */
int kin__source_read(const struct kin_cpu_source *given, struct kin_cpu_source *ret_source);

#endif
