/* Packages, cores, nodes and capacities from recorded trees, by hwloc and without it. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "kit/modes.h"
#include "tree.h"

static const struct {
    const char *tree;
    int cpus, cores, packages, nodes, capacity, efficient;
} cases[] = {
    {"hybrid", 16, 12, 1, 1, 8 * 1024 + 8 * 768, 8},
    {"biglittle", 8, 8, 1, 1, 4 * 325 + 3 * 828 + 1024, 4},
    {"numa", 8, 4, 2, 2, 8 * 1024, 0},
    {"v2-nested", 12, 12, 1, 1, 12 * 1024, 0},
    {"v1-nested", 3, 3, 1, 1, 3 * 1024, 0},
};

static void check_info(const kin_topology *topology, int i, int hwloc)
{
    struct kin_topology_info info = {.size = sizeof info};
    ck_assert_int_eq(kin_topology_info(topology, &info), 0);
    ck_assert_int_eq(info.cpus, cases[i].cpus);
    ck_assert_int_eq(info.cores, cases[i].cores);
    ck_assert_int_eq(info.packages, cases[i].packages);
    ck_assert_int_eq(info.nodes, cases[i].nodes);
    ck_assert_int_eq(info.capacity, cases[i].capacity);
    ck_assert_int_eq(info.efficient, cases[i].efficient);
    ck_assert_int_eq(info.hwloc, hwloc);
}

START_TEST(test_recorded)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    kin_topology *by_hwloc = NULL, *by_sysfs = NULL;
    source.root = tree_unpack(cases[_i].tree);
    ck_assert_int_eq(kin_topology_load(&source, &by_hwloc), 0);
    check_info(by_hwloc, _i, 1);
    ck_assert_int_eq(kin__topology_load(&source, false, &by_sysfs), 0);
    check_info(by_sysfs, _i, 0);
    for (int i = 0; i < cases[_i].cpus; i++) {
        struct kin_cpu a, b;
        ck_assert_int_eq(kin_topology_cpu(by_hwloc, i, &a), 0);
        ck_assert_int_eq(kin_topology_cpu(by_sysfs, i, &b), 0);
        ck_assert_mem_eq(&a, &b, sizeof a);
    }
    ck_assert_ptr_null(kin_topology_destroy(by_hwloc));
    ck_assert_ptr_null(kin_topology_destroy(by_sysfs));
}
END_TEST

START_TEST(test_numa_cpus)
{
    /* Usable: 2-5,10-13 of two packages of four cores whose threads are c and c + 8. */
    static const struct kin_cpu expect[] = {
        {2, 0, 0, 0, 1024, 0},  {3, 0, 1, 0, 1024, 0},  {4, 1, 2, 1, 1024, 0},
        {5, 1, 3, 1, 1024, 0},  {10, 0, 0, 0, 1024, 0}, {11, 0, 1, 0, 1024, 0},
        {12, 1, 2, 1, 1024, 0}, {13, 1, 3, 1, 1024, 0},
    };
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    kin_topology *topology = NULL;
    struct kin_cpu cpu;
    source.root = tree_unpack("numa");
    ck_assert_int_eq(kin_topology_load(&source, &topology), 0);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(kin_topology_cpu(topology, i, &cpu), 0);
        ck_assert_mem_eq(&cpu, &expect[i], sizeof cpu);
    }
    ck_assert_int_eq(kin_topology_cpu(topology, 8, &cpu), -EINVAL);
    ck_assert_int_eq(kin_topology_cpu(topology, -1, &cpu), -EINVAL);
    kin_topology_destroy(topology);
}
END_TEST

START_TEST(test_xml)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    struct kin_cpu_set affinity;
    kin_topology *topology = NULL;
    struct kin_topology_info info = {.size = sizeof info};
    struct kin_cpu cpu;
    source.hwloc_xml = TREES "/hybrid.xml";
    ck_assert_int_eq(kin_topology_load(&source, &topology), 0);
    check_info(topology, 0, 1);
    kin_topology_destroy(topology);

    kin_cpu_set_parse("0,1,12", &affinity);
    source.affinity = &affinity;
    ck_assert_int_eq(kin_topology_load(&source, &topology), 0);
    ck_assert_int_eq(kin_topology_info(topology, &info), 0);
    ck_assert_int_eq(info.cores, 2);
    ck_assert_int_eq(info.efficient, 1);
    ck_assert_int_eq(kin_topology_cpu(topology, 2, &cpu), 0);
    ck_assert_int_eq(cpu.id, 12);
    ck_assert_int_eq(cpu.capacity, 768);
    kin_topology_destroy(topology);
}
END_TEST

START_TEST(test_malformed)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    kin_topology *topology = NULL;
    source.hwloc_xml = TREES "/nonexistent.xml";
    ck_assert_int_eq(kin_topology_load(&source, &topology), -EINVAL);
    source.hwloc_xml = TREES "/bare.tree"; /* not XML */
    ck_assert_int_eq(kin_topology_load(&source, &topology), -EINVAL);
    ck_assert_int_eq(kin__topology_load(&source, false, &topology), -ENOSYS);
    source.hwloc_xml = NULL;
    source.root = "/nonexistent";
    ck_assert_int_eq(kin_topology_load(&source, &topology), -ENOENT);
    ck_assert_int_eq(kin_topology_load(NULL, NULL), -EINVAL);
    ck_assert_ptr_null(topology);
    struct kin_topology_info info = {0};
    ck_assert_int_eq(kin_topology_info(NULL, &info), -EINVAL);
    ck_assert_ptr_null(kin_topology_destroy(NULL));
}
END_TEST

START_TEST(test_bare)
{
    /* No topology files at all: every CPU is a core. */
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    kin_topology *topology = NULL;
    struct kin_topology_info info = {.size = sizeof info};
    source.root = tree_unpack("bare");
    ck_assert_int_eq(kin__topology_load(&source, false, &topology), 0);
    ck_assert_int_eq(kin_topology_info(topology, &info), 0);
    ck_assert_int_eq(info.cores, 4);
    ck_assert_int_eq(info.capacity, 4096);
    kin_topology_destroy(topology);
}
END_TEST

START_TEST(test_this_machine)
{
    kin_topology *topology = NULL;
    struct kin_topology_info info = {.size = sizeof info};
    struct kin_cpu_set usable, cpus;
    ck_assert_int_eq(kin_topology_load(NULL, &topology), 0);
    ck_assert_int_eq(kin_topology_info(topology, &info), 0);
    ck_assert_int_eq(kin_cpu_usable(NULL, &usable), 0);
    ck_assert_int_eq(kin_topology_cpus(topology, &cpus), 0);
    ck_assert_mem_eq(&cpus, &usable, sizeof cpus);
    ck_assert_int_eq(info.cpus, kin_cpu_set_count(&usable));
    ck_assert_int_ge(info.cores, 1);
    ck_assert_int_eq(info.hwloc, 1);
    ck_assert_ptr_null(getenv("HWLOC_FSROOT"));
    kin_topology_destroy(topology);
}
END_TEST

/* A program that only counts CPUs has not loaded hwloc. */
START_TEST(test_lazy)
{
    char line[4096];
    bool found = false;
    ck_assert_int_ge(kin_cpu_count(), 1);
    FILE *maps = fopen("/proc/self/maps", "r");
    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof line, maps)) {
        found = found || strstr(line, "libhwloc") || strstr(line, "libudev");
    }
    fclose(maps);
    ck_assert(!found);
}
END_TEST

static Suite *topology_suite(void)
{
    Suite *suite = suite_create("cpu topology");
    TCase *tcase = tcase_create("one process");
    tcase_set_timeout(tcase, 20);
    tcase_add_checked_fixture(tcase, NULL, tree_remove);
    tcase_add_test(tcase, test_lazy);
    tcase_add_loop_test(tcase, test_recorded, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, test_numa_cpus);
    tcase_add_test(tcase, test_xml);
    tcase_add_test(tcase, test_malformed);
    tcase_add_test(tcase, test_bare);
    tcase_add_test(tcase, test_this_machine);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(topology_suite)
