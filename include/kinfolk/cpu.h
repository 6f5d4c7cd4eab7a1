/*
 * How much of the machine this process may use: CPU count, CPU sets, topology, capacity.
 *
 * CPUs are named by the kernel's numbers. Nothing here needs or founds a family; everything is
 * thread-safe and may be used in a forked child. Design: docs/design/placement.md.
 */
#ifndef KINFOLK_CPU_H
#define KINFOLK_CPU_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* CPUs that a set can hold; CPUs with higher numbers are not used. */
#define KIN_CPUS 1024

/* A set of CPUs, a plain value: bit c % 64 of word c / 64 is CPU c. All zero is the empty set. */
struct kin_cpu_set {
    uint64_t word[KIN_CPUS / 64];
};

/* 1 if the CPU is in the set, else 0 (also for numbers out of range). */
KIN_API int kin_cpu_set_has(const struct kin_cpu_set *set, int cpu);

/* Adds or removes a CPU; numbers out of range are -EINVAL, else 0. */
KIN_API int kin_cpu_set_add(struct kin_cpu_set *set, int cpu);
KIN_API int kin_cpu_set_remove(struct kin_cpu_set *set, int cpu);

/* How many CPUs the set holds. */
KIN_API int kin_cpu_set_count(const struct kin_cpu_set *set);

/* The first CPU of the set that is > `after` (-1: the very first), or -1 if there is none. */
KIN_API int kin_cpu_set_next(const struct kin_cpu_set *set, int after);

/* Reads a list as the kernel writes them, such as "0-3,8"; "" is the empty set. -EINVAL. */
KIN_API int kin_cpu_set_parse(const char *text, struct kin_cpu_set *ret_set);

/*
 * Writes the set as such a list, with a final NUL, into `size` bytes. Returns its length without
 * the NUL, or -ENOSPC if it does not fit (nothing useful is written then).
 */
KIN_API int kin_cpu_set_format(const struct kin_cpu_set *set, char *text, size_t size);

/*
 * Where to look. NULL for the whole struct means this process on this machine. A root other than
 * NULL is a recorded tree: the folder that holds its /proc/self and /sys.
 */
struct kin_cpu_source {
    size_t size;
    const char *root;                   /* NULL: this machine */
    const struct kin_cpu_set *affinity; /* NULL: this thread's own, or with a root all its CPUs */
    const char *hwloc_xml;              /* an hwloc XML file to take the topology from, or NULL */
    const char *count;                  /* instead of KINFOLK_CPU_COUNT in the environment, or NULL
                                           (with a root, the environment is not asked) */
};
#define KIN_CPU_SOURCE_INIT {sizeof(struct kin_cpu_source), NULL, NULL, NULL, NULL}

/*
 * CPUs that this process can keep busy, at least 1: the least of its affinity mask, its effective
 * cpuset (control groups v1 and v2) and its CPU quota (v1 and v2, over all enclosing groups,
 * rounded up). KINFOLK_CPU_COUNT in the environment, a number from 1 on, overrides all of it. Reads
 * files of /proc and /sys anew at each call (tens of microseconds); never fails.
 */
KIN_API int kin_cpu_count(void);

/* The same of another source. -EINVAL for a malformed source. */
KIN_API int kin_cpu_count_from(const struct kin_cpu_source *source);

/* The CPUs that may be used: affinity and cpusets, without the quota. Never empty. -EINVAL. */
KIN_API int kin_cpu_usable(const struct kin_cpu_source *source, struct kin_cpu_set *ret_set);

/* The CPU on which the calling thread runs now, or -errno. */
KIN_API int kin_cpu_current(void);

/*
 * Confines the calling thread, and the threads and processes that it starts from now on, to the
 * CPUs of the set. -EINVAL if none of them may be used. With the set from kin_cpu_usable this
 * takes a confinement back only as far as that set had been read before it.
 */
KIN_API int kin_cpu_bind(const struct kin_cpu_set *set);

/* --- topology ----------------------------------------------------------------------------- */

/* The machine as far as it may be used, ordered by CPU number. An immutable private value. */
typedef struct kin_topology kin_topology;

struct kin_cpu {
    int id;       /* the kernel's number */
    int package;  /* numbered from 0 in this topology, as are the next two */
    int core;     /* over all packages: equal numbers are hardware threads of one core */
    int node;     /* NUMA node */
    int capacity; /* speed of the CPU, 1 to 1024 = the fastest CPU of this topology */
    int efficient; /* 1: an efficiency core (capacity clearly below the fastest), else 0 */
};

struct kin_topology_info {
    size_t size;   /* of this struct, set by the caller */
    int cpus;      /* CPUs (hardware threads) that may be used */
    int cores;
    int packages;
    int nodes;
    int capacity;  /* sum over the CPUs */
    int efficient; /* how many CPUs are efficiency cores */
    int hwloc;     /* 1: read through hwloc; 0: hwloc cannot be loaded, read from sysfs directly */
};

/*
 * Reads the topology through hwloc, which is loaded into the process at the first call
 * (milliseconds). -EINVAL for a malformed source, -ENOENT or the like for one that cannot be read,
 * -ENOMEM. Not to be called with a root from several threads at once with getenv/setenv elsewhere:
 * hwloc takes a root from the environment.
 */
KIN_API int kin_topology_load(const struct kin_cpu_source *source, kin_topology **ret_topology);

/* Accepts NULL; returns NULL. */
KIN_API kin_topology *kin_topology_destroy(kin_topology *topology);

KIN_API int kin_topology_info(const kin_topology *topology, struct kin_topology_info *ret_info);

/* The CPU at an index from 0 to cpus - 1, ordered by number. -EINVAL. */
KIN_API int kin_topology_cpu(const kin_topology *topology, int index, struct kin_cpu *ret_cpu);

/* The set of all CPUs of the topology. */
KIN_API int kin_topology_cpus(const kin_topology *topology, struct kin_cpu_set *ret_set);

#ifdef __cplusplus
}
#endif

#endif
