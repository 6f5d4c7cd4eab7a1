/* The planner: which CPUs every worker gets, and what it refuses, on recorded trees. */
#include <check.h>
#include <errno.h>
#include <kinfolk/placement.h>
#include <string.h>

#include "kit/modes.h"
#include "tree.h"

static kin_topology *topology;
static struct kin_plan *plan;

static void load(const char *tree)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    source.root = tree_unpack(tree);
    ck_assert_int_eq(kin_topology_load(&source, &topology), 0);
}

static void finish(void)
{
    plan = kin_plan_destroy(plan);
    topology = kin_topology_destroy(topology);
    tree_remove();
}

static void check_set(const struct kin_cpu_set *set, const char *list)
{
    char text[512];
    ck_assert_int_ge(kin_cpu_set_format(set, text, sizeof text), 0);
    ck_assert_str_eq(text, list);
}

static struct kin_role role(const char *name, const char *cpus, enum kin_core_kind cores,
                            int cpu_count, int processes)
{
    struct kin_role r = KIN_ROLE_INIT(name);
    ck_assert_int_eq(kin_cpu_set_parse(cpus, &r.cpus), 0);
    r.cores = cores;
    r.cpu_count = cpu_count;
    r.processes = processes;
    return r;
}

static struct kin_placement asymmetric(int boot, const struct kin_role *roles, size_t count)
{
    struct kin_placement p = KIN_PLACEMENT_INIT;
    p.kind = KIN_PLACEMENT_ASYMMETRIC;
    p.boot_cpu = boot;
    p.roles = roles;
    p.role_count = count;
    return p;
}

/* What holds of every plan: workers inside their role, roles and boot CPU apart. */
static void check_invariants(void)
{
    struct kin_cpu_set seen = {{0}};
    int workers = 0;
    if (plan->boot_cpu >= 0) {
        kin_cpu_set_add(&seen, plan->boot_cpu);
    }
    for (int r = 0; r < plan->role_count; r++) {
        const struct kin_plan_role *pr = &plan->roles[r];
        ck_assert_int_eq(pr->first_worker, workers);
        workers += pr->processes;
        ck_assert_int_ge(kin_cpu_set_count(&pr->cpus), 1);
        for (int c = kin_cpu_set_next(&pr->cpus, -1); c >= 0; c = kin_cpu_set_next(&pr->cpus, c)) {
            ck_assert(!kin_cpu_set_has(&seen, c));
            ck_assert_int_gt(plan->capacity[c], 0);
            kin_cpu_set_add(&seen, c);
        }
        for (int w = pr->first_worker; w < workers; w++) {
            ck_assert_int_eq(plan->workers[w].role, r);
            const struct kin_cpu_set *cpus = &plan->workers[w].cpus;
            ck_assert_int_ge(kin_cpu_set_count(cpus), 1);
            for (int c = kin_cpu_set_next(cpus, -1); c >= 0; c = kin_cpu_set_next(cpus, c)) {
                ck_assert(kin_cpu_set_has(&pr->cpus, c));
            }
        }
    }
    ck_assert_int_eq(workers, plan->worker_count);
}

START_TEST(test_symmetric)
{
    load("hybrid");
    ck_assert_int_eq(kin_plan_create(NULL, topology, 0, &plan), 0);
    check_invariants();
    ck_assert_int_eq(plan->worker_count, 16);
    ck_assert_int_eq(plan->boot_cpu, -1);
    ck_assert_int_eq(plan->workers[3].bound, 0);
    check_set(&plan->workers[3].cpus, "0-15");
    ck_assert_int_eq(plan->workers[3].capacity, (1024 + 768) / 2);
    ck_assert_int_eq(plan->capacity[0], 1024);
    ck_assert_int_eq(plan->capacity[8], 768);
    ck_assert_int_eq(plan->capacity[16], 0);
}
END_TEST

START_TEST(test_symmetric_bound)
{
    /* P cores' first threads, then E cores, then P cores' second threads, and around. */
    static const int expect[] = {0, 2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 1, 3, 5, 7, 0, 2};
    struct kin_placement placement = KIN_PLACEMENT_INIT;
    placement.bind = KIN_BIND_CPU;
    load("hybrid");
    ck_assert_int_eq(kin_plan_create(&placement, topology, 18, &plan), 0);
    check_invariants();
    for (int i = 0; i < 18; i++) {
        ck_assert_int_eq(plan->workers[i].bound, 1);
        ck_assert_int_eq(kin_cpu_set_count(&plan->workers[i].cpus), 1);
        ck_assert_int_eq(kin_cpu_set_next(&plan->workers[i].cpus, -1), expect[i]);
        ck_assert_int_eq(plan->workers[i].capacity, expect[i] < 8 ? 1024 : 768);
    }
}
END_TEST

START_TEST(test_listed_roles)
{
    struct kin_role roles[] = {
        role("compute", "0-5", KIN_CORES_ANY, 0, 0),
        role("io", "9,12", KIN_CORES_ANY, 0, 5),
    };
    struct kin_placement placement = asymmetric(8, roles, 2);
    load("hybrid");
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), 0);
    check_invariants();
    ck_assert_int_eq(plan->boot_cpu, 8);
    ck_assert_int_eq(plan->worker_count, 11);
    ck_assert_int_eq(kin_plan_role(plan, "io"), 1);
    ck_assert_int_eq(kin_plan_role(plan, "iou"), KIN_EROLE);
    check_set(&plan->workers[5].cpus, "0-5");
    check_set(&plan->workers[6].cpus, "9,12");
    ck_assert_int_eq(plan->workers[6].bound, 1);
    ck_assert_int_eq(plan->workers[0].capacity, 1024);
    ck_assert_int_eq(plan->workers[6].capacity, 768);
    ck_assert_str_eq(plan->roles[0].name, "compute");
}
END_TEST

START_TEST(test_picked_roles)
{
    struct kin_role roles[] = {
        role("fast", "", KIN_CORES_PERFORMANCE, 0, 0),
        role("slow", "", KIN_CORES_EFFICIENT, 3, 0),
        role("any", "", KIN_CORES_ANY, 2, 1),
    };
    struct kin_placement placement = asymmetric(KIN_BOOT_CPU_AUTO, roles, 3);
    load("hybrid");
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), 0);
    check_invariants();
    ck_assert_int_eq(plan->boot_cpu, 8); /* an efficiency core */
    check_set(&plan->roles[1].cpus, "9-11");
    check_set(&plan->roles[2].cpus, "0,2"); /* fast ones first, a core each */
    check_set(&plan->roles[0].cpus, "1,3-7");
}
END_TEST

START_TEST(test_boot_leaves_roles_their_cores)
{
    /* All efficiency cores are spoken for: the boot CPU is a fast one. */
    struct kin_role roles[] = {
        role("slow", "", KIN_CORES_EFFICIENT, 8, 0),
        role("rest", "", KIN_CORES_ANY, 0, 0),
    };
    struct kin_placement placement = asymmetric(KIN_BOOT_CPU_AUTO, roles, 2);
    load("hybrid");
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), 0);
    check_invariants();
    ck_assert_int_eq(plan->boot_cpu, 0);
    check_set(&plan->roles[0].cpus, "8-15");
    check_set(&plan->roles[1].cpus, "1-7");
}
END_TEST

START_TEST(test_shares_by_core)
{
    /* Six CPUs in three whole cores are left: the two roles never meet inside a core. */
    struct kin_role roles[] = {role("a", "", KIN_CORES_ANY, 0, 0), role("b", "", KIN_CORES_ANY, 0, 0)};
    struct kin_placement placement = asymmetric(KIN_BOOT_CPU_AUTO, roles, 2);
    load("numa");
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), 0);
    check_invariants();
    ck_assert_int_eq(plan->boot_cpu, 2);
    check_set(&plan->roles[0].cpus, "3,5,11,13");
    check_set(&plan->roles[1].cpus, "4,10,12");
    plan = kin_plan_destroy(plan);
    /* One core is left for two roles: a thread each. */
    struct kin_role three[] = {role("a", "", KIN_CORES_ANY, 0, 0), role("b", "", KIN_CORES_ANY, 0, 0),
                               role("c", "3-5,11-13", KIN_CORES_ANY, 0, 2)};
    placement = asymmetric(KIN_BOOT_CPU_AUTO, three, 3);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_ENOCPU);
    kin_cpu_set_parse("4-5,12-13", &three[2].cpus);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), 0);
    check_invariants();
}
END_TEST

START_TEST(test_default_role)
{
    struct kin_placement placement = asymmetric(KIN_BOOT_CPU_AUTO, NULL, 0);
    load("v1-nested");
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), 0);
    check_invariants();
    ck_assert_int_eq(plan->boot_cpu, 3);
    ck_assert_int_eq(plan->worker_count, 2);
    check_set(&plan->roles[kin_plan_role(plan, "worker")].cpus, "4-5");
}
END_TEST

START_TEST(test_refusals)
{
    struct kin_role roles[2];
    struct kin_placement placement = asymmetric(KIN_BOOT_CPU_AUTO, roles, 2);
    load("v1-nested"); /* usable: 3-5 */

    roles[0] = role("a", "3-4", KIN_CORES_ANY, 0, 0);
    roles[1] = role("b", "4", KIN_CORES_ANY, 0, 0);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_EROLESHARED);
    roles[1] = role("b", "6", KIN_CORES_ANY, 0, 0);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_ENOCPU);
    roles[1] = role("b", "5", KIN_CORES_ANY, 0, 0);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_EBOOTCPU); /* none left */
    roles[1] = role("b", "", KIN_CORES_EFFICIENT, 1, 0);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_ENOCPU);
    roles[0] = role("a", "3", KIN_CORES_ANY, 0, 0);
    roles[1] = role("b", "", KIN_CORES_ANY, 2, 0);
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_ENOCPU);
    roles[1] = role("b", "4", KIN_CORES_ANY, 0, 0);
    static const int boots[] = {3, 4, 6, 0, 2000, -2};
    for (size_t i = 0; i < sizeof boots / sizeof *boots; i++) {
        placement.boot_cpu = boots[i];
        ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), KIN_EBOOTCPU);
    }
    placement.boot_cpu = 5;
    ck_assert_int_eq(kin_plan_create(&placement, topology, 3, &plan), -EINVAL);
    roles[1].name = "a";
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), -EINVAL);
    roles[1].name = "";
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), -EINVAL);
    roles[1].name = "a name of more than thirty-one bytes";
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), -EINVAL);
    roles[1].name = "b";
    roles[1].processes = -1;
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), -EINVAL);
    roles[1].processes = 0;
    placement.bind = KIN_BIND_NONE;
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), -EINVAL);
    placement.bind = KIN_BIND_DEFAULT;
    placement.kind = KIN_PLACEMENT_SYMMETRIC;
    ck_assert_int_eq(kin_plan_create(&placement, topology, 0, &plan), -EINVAL);
    ck_assert_int_eq(kin_plan_create(NULL, topology, -1, &plan), -EINVAL);
    ck_assert_int_eq(kin_plan_create(NULL, NULL, 0, &plan), -EINVAL);
    ck_assert_ptr_null(plan);
    placement.kind = KIN_PLACEMENT_ASYMMETRIC;
    ck_assert_int_eq(kin_plan_create(&placement, topology, 2, &plan), 0);
    check_invariants();
}
END_TEST

static Suite *plan_suite(void)
{
    Suite *suite = suite_create("cpu plan");
    TCase *tcase = tcase_create("one process");
    tcase_set_timeout(tcase, 20);
    tcase_add_checked_fixture(tcase, NULL, finish);
    tcase_add_test(tcase, test_symmetric);
    tcase_add_test(tcase, test_symmetric_bound);
    tcase_add_test(tcase, test_listed_roles);
    tcase_add_test(tcase, test_picked_roles);
    tcase_add_test(tcase, test_boot_leaves_roles_their_cores);
    tcase_add_test(tcase, test_shares_by_core);
    tcase_add_test(tcase, test_default_role);
    tcase_add_test(tcase, test_refusals);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(plan_suite)
