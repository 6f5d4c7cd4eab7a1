/* Packages, cores, nodes and speeds of the CPUs that may be used. Layer: cpu.
 * Design: docs/design/placement.md. */
#include "cpu/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

/* Every CPU's package and core from sysfs alone, for machines without hwloc. */
static int sysfs_read(const char *root, const struct kin_cpu_set *set,
                      struct kin__raw_cpu cpu[KIN_CPUS])
{
    char path[KIN__PATH], text[64];
    struct kin_cpu_set other;
    for (int c = kin_cpu_set_next(set, -1); c >= 0; c = kin_cpu_set_next(set, c)) {
        cpu[c] = (struct kin__raw_cpu){.present = true, .core = c};
        snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/physical_package_id",
                 root, c);
        if (kin__text_read(path, text, sizeof text) >= 0) {
            cpu[c].package = strtoll(text, NULL, 10);
        }
        /* A core is named by the first of its threads. */
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_cpus_list", c);
        if (kin__cpu_set_read(root, path, &other) < 0) {
            snprintf(path, sizeof path,
                     "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c);
            if (kin__cpu_set_read(root, path, &other) < 0) {
                continue;
            }
        }
        if (kin__cpu_set_has(&other, (unsigned)c)) {
            cpu[c].core = kin_cpu_set_next(&other, -1);
        }
    }
    struct kin_cpu_set nodes;
    if (kin__cpu_set_read(root, "/sys/devices/system/node/online", &nodes) < 0) {
        return 0;
    }
    for (int n = kin_cpu_set_next(&nodes, -1); n >= 0; n = kin_cpu_set_next(&nodes, n)) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", n);
        if (kin__cpu_set_read(root, path, &other) < 0) {
            continue;
        }
        for (int c = kin_cpu_set_next(&other, -1); c >= 0; c = kin_cpu_set_next(&other, c)) {
            cpu[c].node = n;
        }
    }
    return 0;
}

/* The number of `key` among the `*count` keys seen so far, which it joins if it is new. */
static int number_of(int64_t key, int64_t *keys, int *count)
{
    for (int i = 0; i < *count; i++) {
        if (keys[i] == key) {
            return i;
        }
    }
    keys[*count] = key;
    return (*count)++;
}

/* Speeds in any unit → 1 to 1024 of the fastest. */
static void scale(const uint64_t speed[KIN_CPUS], kin_topology *topology)
{
    uint64_t fastest = 0;
    for (int i = 0; i < topology->count; i++) {
        uint64_t s = speed[topology->cpu[i].id];
        fastest = s > fastest ? s : fastest;
    }
    for (int i = 0; i < topology->count; i++) {
        double share = fastest == 0 ? 1.0 : (double)speed[topology->cpu[i].id] / (double)fastest;
        int capacity = (int)(share * 1024 + 0.5);
        topology->cpu[i].capacity = capacity < 1 ? 1 : capacity;
    }
}

static void set_speeds(const char *root, bool xml, const struct kin__raw_cpu cpu[KIN_CPUS],
                       const struct kin_cpu_set *set, kin_topology *topology, uint64_t *speed)
{
    struct kin_cpu_set efficient;
    memset(&efficient, 0, sizeof efficient);
    bool kinds = false, told = false;
    if (!xml) {
        told = kin__capacity_read(root, set, speed);
        kin__capacity_efficient(root, &efficient);
    }
    for (int i = 0; i < topology->count; i++) {
        int id = topology->cpu[i].id;
        kinds = kinds || cpu[id].efficient;
        if (!told) {
            speed[id] = cpu[id].speed;
        }
    }
    for (int i = 0; !told && i < topology->count; i++) {
        if (speed[topology->cpu[i].id] == 0) { /* nothing is known of some: all alike */
            memset(speed, 0, KIN_CPUS * sizeof *speed);
        }
    }
    scale(speed, topology);
    bool listed = kin__cpu_set_meets(&efficient, set);
    for (int i = 0; i < topology->count; i++) {
        struct kin_cpu *c = &topology->cpu[i];
        /* Unless the machine says which they are: a quarter slower is no mere turbo bin. */
        c->efficient = listed  ? kin__cpu_set_has(&efficient, (unsigned)c->id)
                       : kinds ? cpu[c->id].efficient
                               : c->capacity <= 768;
    }
    /* Efficiency is relative: where all CPUs are alike there is none. */
    bool all = true;
    for (int i = 0; i < topology->count; i++) {
        all = all && topology->cpu[i].efficient;
    }
    for (int i = 0; all && i < topology->count; i++) {
        topology->cpu[i].efficient = 0;
    }
}

/* What of the CPUs that a reader found may be used. */
static int restrict_set(const struct kin_cpu_source *source, const struct kin__raw_cpu *cpu,
                        struct kin_cpu_set *set)
{
    struct kin_cpu_set present;
    memset(&present, 0, sizeof present);
    for (int c = 0; c < KIN_CPUS; c++) {
        if (cpu[c].present) {
            (void)kin_cpu_set_add(&present, c);
        }
    }
    if (source->hwloc_xml == NULL) {
        kin__cpu_set_and(set, &present);
    } else {
        *set = present;
        if (source->affinity != NULL) {
            kin__cpu_set_and(set, source->affinity);
        }
    }
    return kin__cpu_set_empty(set) ? -EINVAL : 0;
}

int kin__topology_load(const struct kin_cpu_source *given, bool hwloc, kin_topology **ret_topology)
{
    struct kin_cpu_source source;
    struct kin_cpu_set set;
    int rc = kin__source_read(given, &source);
    if (rc < 0) {
        return rc;
    }
    const char *root = source.root != NULL ? source.root : "";
    memset(&set, 0, sizeof set);
    if (source.hwloc_xml == NULL) {
        rc = kin_cpu_usable(&source, &set);
        if (rc < 0) {
            return rc;
        }
    }
    struct kin__raw_cpu *cpu = calloc(KIN_CPUS, sizeof *cpu);
    uint64_t *scratch = calloc(KIN_CPUS * 3, sizeof *scratch);
    kin_topology *topology = NULL;
    if (cpu == NULL || scratch == NULL) {
        rc = -ENOMEM;
        goto done;
    }
    rc = hwloc ? kin__hwloc_read(source.root, source.hwloc_xml, cpu) : -ENOSYS;
    bool from_hwloc = rc == 0;
    if (rc == -ENOSYS && source.hwloc_xml == NULL) {
        rc = sysfs_read(root, &set, cpu);
    }
    if (rc == 0) {
        rc = restrict_set(&source, cpu, &set);
    }
    if (rc < 0) {
        goto done;
    }
    int count = kin_cpu_set_count(&set);
    topology = calloc(1, sizeof *topology + (size_t)count * sizeof topology->cpu[0]);
    if (topology == NULL) {
        rc = -ENOMEM;
        goto done;
    }
    topology->from_hwloc = from_hwloc;
    int64_t *cores = (int64_t *)scratch, *packages = cores + KIN_CPUS, *nodes = packages + KIN_CPUS;
    int core_count = 0, package_count = 0, node_count = 0;
    for (int c = kin_cpu_set_next(&set, -1); c >= 0; c = kin_cpu_set_next(&set, c)) {
        topology->cpu[topology->count++] = (struct kin_cpu){
            .id = c,
            .core = number_of(cpu[c].core, cores, &core_count),
            .package = number_of(cpu[c].package, packages, &package_count),
            .node = number_of(cpu[c].node, nodes, &node_count),
        };
    }
    memset(scratch, 0, KIN_CPUS * sizeof *scratch);
    set_speeds(root, source.hwloc_xml != NULL, cpu, &set, topology, scratch);
done:
    free(scratch);
    free(cpu);
    if (rc == 0) {
        *ret_topology = topology;
    }
    return rc;
}

int kin_topology_load(const struct kin_cpu_source *source, kin_topology **ret_topology)
{
    return ret_topology == NULL ? -EINVAL : kin__topology_load(source, true, ret_topology);
}

kin_topology *kin_topology_destroy(kin_topology *topology)
{
    free(topology);
    return NULL;
}

int kin_topology_info(const kin_topology *topology, struct kin_topology_info *ret_info)
{
    if (topology == NULL || ret_info == NULL || ret_info->size < sizeof ret_info->size) {
        return -EINVAL;
    }
    struct kin_topology_info info = {.size = sizeof info, .cpus = topology->count,
                                     .hwloc = topology->from_hwloc};
    for (int i = 0; i < topology->count; i++) {
        const struct kin_cpu *cpu = &topology->cpu[i];
        info.cores = cpu->core >= info.cores ? cpu->core + 1 : info.cores;
        info.packages = cpu->package >= info.packages ? cpu->package + 1 : info.packages;
        info.nodes = cpu->node >= info.nodes ? cpu->node + 1 : info.nodes;
        info.capacity += cpu->capacity;
        info.efficient += cpu->efficient;
    }
    size_t size = ret_info->size < sizeof info ? ret_info->size : sizeof info;
    memcpy((char *)ret_info + sizeof info.size, (char *)&info + sizeof info.size,
           size - sizeof info.size);
    return 0;
}

int kin_topology_cpu(const kin_topology *topology, int index, struct kin_cpu *ret_cpu)
{
    if (topology == NULL || ret_cpu == NULL || index < 0 || index >= topology->count) {
        return -EINVAL;
    }
    *ret_cpu = topology->cpu[index];
    return 0;
}

int kin_topology_cpus(const kin_topology *topology, struct kin_cpu_set *ret_set)
{
    if (topology == NULL || ret_set == NULL) {
        return -EINVAL;
    }
    memset(ret_set, 0, sizeof *ret_set);
    for (int i = 0; i < topology->count; i++) {
        (void)kin_cpu_set_add(ret_set, topology->cpu[i].id);
    }
    return 0;
}
