/*
 * Symmetric and asymmetric multiprocessing: in the one any worker runs on any CPU; in the other a
 * boot CPU dispatches and runs no tasks, and each role has CPUs of its own.
 */
#include "example.h"

#include <string.h>

static int where(const void *item, void *result, void *state)
{
    (void)state;
    volatile double x = *(const int *)item;
    for (int i = 0; i < 2000000; i++) {
        x = x * 1.0000001 + 1.0;
    }
    *(int *)result = kin_cpu_current();
    return 0;
}

static void show(kin_pool *pool, const char *role, const char *title)
{
    enum { ITEMS = 64 };
    int items[ITEMS], cpus[ITEMS];
    memset(items, 0, sizeof items);
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.role = role;
    options.chunk = 1;
    check(kin_pool_map(pool, where, items, ITEMS, sizeof items[0], cpus, sizeof cpus[0], &options),
          "map");
    struct kin_cpu_set set = {{0}};
    for (int i = 0; i < ITEMS; i++) {
        kin_cpu_set_add(&set, cpus[i]);
    }
    char text[256];
    kin_cpu_set_format(&set, text, sizeof text);
    printf("%s: %d tasks ran on CPU %s\n", title, ITEMS, text);
}

int main(void)
{
    struct kin_cpu_set usable;
    check(kin_cpu_usable(NULL, &usable), "usable");
    int cpus = kin_cpu_set_count(&usable);
    printf("%d CPUs may be used\n", cpus);

    kin_pool *symmetric = start_pool(cpus);
    show(symmetric, NULL, "symmetric, any worker anywhere");
    end_pool(symmetric);

    if (cpus < 2) {
        printf("asymmetric: needs a boot CPU and another one\n");
        return 0;
    }
    struct kin_role roles[2] = {KIN_ROLE_INIT("compute"), KIN_ROLE_INIT("io")};
    roles[0].cpu_count = cpus > 2 ? cpus - 2 : 1;
    roles[1].cpu_count = 1;
    struct kin_placement placement = KIN_PLACEMENT_INIT;
    placement.kind = KIN_PLACEMENT_ASYMMETRIC;
    placement.role_count = cpus > 2 ? 2 : 1; /* with two CPUs: the boot CPU and one role */
    placement.roles = roles;
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.placement = &placement;
    kin_pool *asymmetric = NULL;
    check(kin_pool_create(&options, &asymmetric), "asymmetric pool");
    show(asymmetric, "compute", "asymmetric, role compute");
    if (cpus > 2) {
        show(asymmetric, "io", "asymmetric, role io");
    }
    end_pool(asymmetric);
    return 0;
}
