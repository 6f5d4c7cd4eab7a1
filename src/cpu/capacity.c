/* How fast each CPU is, as sysfs tells. Layer: cpu. Design: docs/design/placement.md. */
#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

/* A positive number in root/sys/devices/system/cpu/cpuN/NAME, or 0. */
static uint64_t read_number(const char *root, int cpu, const char *name)
{
    char path[KIN__PATH], text[64];
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/%s", root, cpu, name);
    if (kin__text_read(path, text, sizeof text) < 0) {
        return 0;
    }
    return strtoull(text, NULL, 10);
}

bool kin__capacity_read(const char *root, const struct kin_cpu_set *set, uint64_t speed[KIN_CPUS])
{
    /* The scheduler's own scale first: it weighs work per clock too, where the kernel knows it. */
    static const char *const names[] = {"cpu_capacity", "cpufreq/cpuinfo_max_freq"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        bool all = true;
        memset(speed, 0, KIN_CPUS * sizeof *speed);
        for (int cpu = kin_cpu_set_next(set, -1); cpu >= 0 && all; cpu = kin_cpu_set_next(set, cpu)) {
            speed[cpu] = read_number(root, cpu, names[i]);
            all = speed[cpu] != 0;
        }
        if (all) {
            return true;
        }
    }
    memset(speed, 0, KIN_CPUS * sizeof *speed);
    return false;
}

void kin__capacity_efficient(const char *root, struct kin_cpu_set *ret_set)
{
    struct kin_cpu_set fast;
    memset(ret_set, 0, sizeof *ret_set);
    /* Hybrid x86 has a performance-counter unit of each kind of core. */
    if (kin__cpu_set_read(root, "/sys/devices/cpu_core/cpus", &fast) < 0 ||
        kin__cpu_set_read(root, "/sys/devices/cpu_atom/cpus", ret_set) < 0) {
        memset(ret_set, 0, sizeof *ret_set);
    }
}
