/*
 * The door to hwloc, opened at the first topology that is read. Layer: cpu.
 * Design: docs/design/placement.md.
 *
 * Linking libhwloc (and with it libudev and libm) costs every program 0.5 ms at its start, more
 * than a worker; opening it costs 0.7 ms once, in the few programs that ask for a topology.
 */
#include "cpu/cpu.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hwloc.h>

#if HWLOC_API_VERSION < 0x00020100
#error "hwloc 2.1 or newer is needed"
#endif

/* The soname of hwloc 2, any release. */
#define LIBRARY "libhwloc.so.15"

#define FUNCTIONS(X)                                                                               \
    X(hwloc_get_api_version)                                                                       \
    X(hwloc_topology_init)                                                                         \
    X(hwloc_topology_set_flags)                                                                    \
    X(hwloc_topology_set_components)                                                               \
    X(hwloc_topology_set_xml)                                                                      \
    X(hwloc_topology_load)                                                                         \
    X(hwloc_topology_destroy)                                                                      \
    X(hwloc_get_type_depth)                                                                        \
    X(hwloc_get_nbobjs_by_depth)                                                                   \
    X(hwloc_get_obj_by_depth)                                                                      \
    X(hwloc_bitmap_first)                                                                          \
    X(hwloc_bitmap_isset)                                                                          \
    X(hwloc_bitmap_alloc)                                                                          \
    X(hwloc_bitmap_free)

static struct {
#define X(name) __typeof__(&name) name;
    FUNCTIONS(X)
#undef X
    /* Newer than 2.1: may be missing. */
    int (*cpukinds_nr)(hwloc_topology_t, unsigned long);
    int (*cpukinds_info)(hwloc_topology_t, unsigned, hwloc_bitmap_t, int *, unsigned *,
                         struct hwloc_info_s **, unsigned long);
} api;
static int opened; /* 0: not tried, 1: yes, -1: cannot be */
/* Also keeps two topologies with roots apart: hwloc takes the root from the environment. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A data pointer from dlsym, stored as the function pointer it stands for, as POSIX allows. */
static bool find(void *library, const char *name, void *ret_function)
{
    void *symbol = dlsym(library, name);
    memcpy(ret_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static int open_library(void)
{
    if (opened != 0) {
        return opened > 0 ? 0 : -ENOSYS;
    }
    opened = -1;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return -ENOSYS;
    }
    bool all = true;
#define X(name) all = find(library, #name, &api.name) && all;
    FUNCTIONS(X)
#undef X
    if (!all || api.hwloc_get_api_version() >> 16 != HWLOC_API_VERSION >> 16) {
        dlclose(library);
        return -ENOSYS;
    }
    if (!find(library, "hwloc_cpukinds_get_nr", &api.cpukinds_nr) ||
        !find(library, "hwloc_cpukinds_get_info", &api.cpukinds_info)) {
        api.cpukinds_nr = NULL;
    }
    opened = 1;
    return 0;
}

static hwloc_obj_t ancestor(hwloc_obj_t object, hwloc_obj_type_t type)
{
    while (object != NULL && object->type != type) {
        object = object->parent;
    }
    return object;
}

static uint64_t info_number(const struct hwloc_info_s *infos, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(infos[i].name, name) == 0) {
            return strtoull(infos[i].value, NULL, 10);
        }
    }
    return 0;
}

/* Speeds from the kinds of CPUs: what all kinds tell of themselves, else their rank. */
static void read_kinds(hwloc_topology_t topology, struct kin__raw_cpu cpu[KIN_CPUS])
{
    static const char *const names[] = {"LinuxCapacity", "FrequencyMaxMHz", "FrequencyBaseMHz"};
    enum { NAMES = sizeof names / sizeof *names };
    int kinds = api.cpukinds_nr != NULL ? api.cpukinds_nr(topology, 0) : 0;
    hwloc_bitmap_t set = kinds > 1 ? api.hwloc_bitmap_alloc() : NULL;
    if (set == NULL) {
        return;
    }
    bool all[NAMES] = {true, true, true};
    bool ranked = true;
    for (int pass = 0; pass < 2; pass++) {
        for (int kind = 0; kind < kinds; kind++) {
            int rank = -1;
            unsigned count = 0;
            struct hwloc_info_s *infos = NULL;
            if (api.cpukinds_info(topology, (unsigned)kind, set, &rank, &count, &infos, 0) < 0) {
                ranked = false;
                continue;
            }
            ranked = ranked && rank >= 0;
            uint64_t speed = 0;
            for (int i = 0; i < NAMES; i++) {
                uint64_t number = info_number(infos, count, names[i]);
                all[i] = all[i] && number != 0;
                if (pass == 1 && speed == 0 && all[i]) {
                    speed = number;
                }
            }
            if (pass == 1 && speed == 0 && ranked) {
                speed = (uint64_t)rank + 1;
            }
            for (unsigned c = 0; pass == 1 && c < KIN_CPUS; c++) {
                if (api.hwloc_bitmap_isset(set, c)) {
                    cpu[c].speed = speed;
                    cpu[c].efficient = ranked && rank == 0;
                }
            }
        }
    }
    api.hwloc_bitmap_free(set);
}

static int read_topology(hwloc_topology_t topology, struct kin__raw_cpu cpu[KIN_CPUS])
{
    int depth = api.hwloc_get_type_depth(topology, HWLOC_OBJ_PU);
    unsigned count = depth < 0 ? 0 : api.hwloc_get_nbobjs_by_depth(topology, depth);
    unsigned found = 0;
    for (unsigned i = 0; i < count; i++) {
        hwloc_obj_t pu = api.hwloc_get_obj_by_depth(topology, depth, i);
        if (pu == NULL || pu->os_index >= KIN_CPUS) {
            continue;
        }
        hwloc_obj_t core = ancestor(pu, HWLOC_OBJ_CORE);
        hwloc_obj_t package = ancestor(pu, HWLOC_OBJ_PACKAGE);
        int node = pu->nodeset != NULL ? api.hwloc_bitmap_first(pu->nodeset) : 0;
        cpu[pu->os_index] = (struct kin__raw_cpu){
            .present = true,
            /* Where the machine does not tell cores, every hardware thread counts as one. */
            .core = core != NULL ? (int64_t)core->logical_index : -1 - (int64_t)pu->os_index,
            .package = package != NULL ? (int64_t)package->logical_index : 0,
            .node = node < 0 ? 0 : node,
        };
        found++;
    }
    if (found == 0) {
        return -EINVAL;
    }
    read_kinds(topology, cpu);
    return 0;
}

static int load(const char *root, const char *xml, struct kin__raw_cpu cpu[KIN_CPUS])
{
    hwloc_topology_t topology;
    if (api.hwloc_topology_init(&topology) < 0) {
        return -ENOMEM;
    }
    int rc = 0;
    if (xml != NULL) {
        rc = api.hwloc_topology_set_xml(topology, xml) < 0 ? -EINVAL : 0;
    } else {
        /* The x86 component would move the calling thread from CPU to CPU. */
        api.hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
    }
    if (rc == 0) {
        /* What may be used we know ourselves, below a root too. */
        api.hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
        if (root != NULL) {
            setenv("HWLOC_FSROOT", root, 1);
        }
        rc = api.hwloc_topology_load(topology) < 0 ? -EINVAL : 0;
        if (root != NULL) {
            unsetenv("HWLOC_FSROOT");
        }
    }
    if (rc == 0) {
        rc = read_topology(topology, cpu);
    }
    api.hwloc_topology_destroy(topology);
    return rc;
}

int kin__hwloc_read(const char *root, const char *xml, struct kin__raw_cpu cpu[KIN_CPUS])
{
    pthread_mutex_lock(&lock);
    int rc = open_library();
    if (rc == 0) {
        rc = load(root, xml, cpu);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
