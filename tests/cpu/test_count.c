/* How many CPUs there are to use: sets, affinity, cpusets and quotas from recorded trees. */
#include <check.h>
#include <errno.h>
#include <kinfolk/cpu.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit/modes.h"
#include "tree.h"

static struct kin_cpu_set set_of(const char *list)
{
    struct kin_cpu_set set;
    ck_assert_int_eq(kin_cpu_set_parse(list, &set), 0);
    return set;
}

static void check_set(const struct kin_cpu_set *set, const char *list)
{
    char text[512];
    ck_assert_int_ge(kin_cpu_set_format(set, text, sizeof text), 0);
    ck_assert_str_eq(text, list);
}

START_TEST(test_set_lists)
{
    static const char *const good[][2] = {
        {"", ""}, {"0", "0"}, {"0-3,8", "0-3,8"}, {"3,1,2", "1-3"}, {" 5-6\n", "5-6"},
        {"63-64,1023", "63-64,1023"}, {"7,1022-5000", "7,1022-1023"}, {"2000", ""}, {"\n", ""},
    };
    static const char *const bad[] = {"x", "1,", ",1", "1-", "3-1", "1 2", "-1", "1--2", "99999999999"};
    struct kin_cpu_set set;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        set = set_of(good[i][0]);
        check_set(&set, good[i][1]);
    }
    set = set_of("4");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(kin_cpu_set_parse(bad[i], &set) == -EINVAL, "%s", bad[i]);
        check_set(&set, "4");
    }
    char small[4];
    set = set_of("0-3,8");
    ck_assert_int_eq(kin_cpu_set_format(&set, small, sizeof small), -ENOSPC);
    ck_assert_int_eq(kin_cpu_set_parse(NULL, &set), -EINVAL);
}
END_TEST

START_TEST(test_set_members)
{
    struct kin_cpu_set set = set_of("");
    ck_assert_int_eq(kin_cpu_set_next(&set, -1), -1);
    ck_assert_int_eq(kin_cpu_set_add(&set, 64), 0);
    ck_assert_int_eq(kin_cpu_set_add(&set, 1023), 0);
    ck_assert_int_eq(kin_cpu_set_add(&set, 1024), -EINVAL);
    ck_assert_int_eq(kin_cpu_set_add(&set, -1), -EINVAL);
    ck_assert_int_eq(kin_cpu_set_count(&set), 2);
    ck_assert_int_eq(kin_cpu_set_next(&set, -1), 64);
    ck_assert_int_eq(kin_cpu_set_next(&set, 64), 1023);
    ck_assert_int_eq(kin_cpu_set_next(&set, 1023), -1);
    ck_assert_int_eq(kin_cpu_set_has(&set, 64), 1);
    ck_assert_int_eq(kin_cpu_set_has(&set, 63), 0);
    ck_assert_int_eq(kin_cpu_set_has(&set, 4000), 0);
    ck_assert_int_eq(kin_cpu_set_remove(&set, 64), 0);
    check_set(&set, "1023");
}
END_TEST

static const struct {
    const char *tree;
    const char *affinity;
    int count;
    const char *usable;
} cases[] = {
    {"hybrid", NULL, 16, "0-15"},
    {"hybrid", "2-4,9", 4, "2-4,9"},
    {"numa", NULL, 8, "2-5,10-13"},       /* cpuset */
    {"numa", "0-3", 2, "2-3"},            /* cpuset and affinity */
    {"v2-nested", NULL, 3, "0-11"},       /* 2.5 CPUs of the middle group */
    {"v2-nested", "0-1", 2, "0-1"},       /* affinity binds */
    {"v2-container", NULL, 1, "0-7"},     /* 0.1 CPU is one */
    {"v2-outside", NULL, 4, "0-7"},       /* 3.2 of the mount's own group */
    {"v1-nested", NULL, 2, "3-5"},        /* 1.5 of the outer group */
    {"v1-container", NULL, 4, "0-5"},     /* 3.50001 */
    {"both", NULL, 2, "0-7"},
    {"bare", NULL, 4, "0-3"},
};

START_TEST(test_recorded)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    struct kin_cpu_set affinity, usable;
    source.root = tree_unpack(cases[_i].tree);
    if (cases[_i].affinity) {
        affinity = set_of(cases[_i].affinity);
        source.affinity = &affinity;
    }
    setenv("KINFOLK_CPU_COUNT", "77", 1); /* is for this machine, not for a tree */
    ck_assert_int_eq(kin_cpu_count_from(&source), cases[_i].count);
    ck_assert_int_eq(kin_cpu_usable(&source, &usable), 0);
    check_set(&usable, cases[_i].usable);
    source.count = "5";
    ck_assert_int_eq(kin_cpu_count_from(&source), 5);
}
END_TEST

START_TEST(test_malformed)
{
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    struct kin_cpu_set usable = set_of("9"), none = set_of("");
    source.root = "/nonexistent";
    ck_assert_int_eq(kin_cpu_count_from(&source), -ENOENT);
    ck_assert_int_eq(kin_cpu_usable(&source, &usable), -ENOENT);
    source.root = tree_unpack("bare");
    source.affinity = &none;
    ck_assert_int_eq(kin_cpu_usable(&source, &usable), -EINVAL);
    ck_assert_int_eq(kin_cpu_usable(&source, NULL), -EINVAL);
    check_set(&usable, "9");
    source.size = 0;
    ck_assert_int_eq(kin_cpu_count_from(&source), -EINVAL);
}
END_TEST

START_TEST(test_override)
{
    static const char *const bad[] = {"", "0", "-1", "x", "3x", "99999999999999999999"};
    unsetenv("KINFOLK_CPU_COUNT");
    int count = kin_cpu_count();
    ck_assert_int_ge(count, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("KINFOLK_CPU_COUNT", bad[i], 1);
        ck_assert_int_eq(kin_cpu_count(), count);
    }
    setenv("KINFOLK_CPU_COUNT", "12", 1);
    ck_assert_int_eq(kin_cpu_count(), 12);
    unsetenv("KINFOLK_CPU_COUNT");
}
END_TEST

START_TEST(test_bind)
{
    struct kin_cpu_set usable, one, now, none = set_of("");
    ck_assert_int_eq(kin_cpu_usable(NULL, &usable), 0);
    for (int cpu = kin_cpu_set_next(&usable, -1); cpu >= 0; cpu = kin_cpu_set_next(&usable, cpu)) {
        one = none;
        kin_cpu_set_add(&one, cpu);
        ck_assert_int_eq(kin_cpu_bind(&one), 0);
        ck_assert_int_eq(kin_cpu_current(), cpu);
        ck_assert_int_eq(kin_cpu_count(), 1);
        ck_assert_int_eq(kin_cpu_usable(NULL, &now), 0);
        ck_assert_mem_eq(&now, &one, sizeof now);
    }
    ck_assert_int_eq(kin_cpu_bind(&usable), 0);
    ck_assert_int_eq(kin_cpu_usable(NULL, &now), 0);
    ck_assert_mem_eq(&now, &usable, sizeof now);
    ck_assert_int_eq(kin_cpu_bind(&none), -EINVAL);
    ck_assert_int_eq(kin_cpu_bind(NULL), -EINVAL);
    one = set_of("1023"); /* no machine that runs these tests has it */
    ck_assert_int_eq(kin_cpu_bind(&one), -EINVAL);
}
END_TEST

static Suite *count_suite(void)
{
    Suite *suite = suite_create("cpu count");
    TCase *tcase = tcase_create("one process");
    tcase_set_timeout(tcase, 10);
    tcase_add_checked_fixture(tcase, NULL, tree_remove);
    tcase_add_test(tcase, test_set_lists);
    tcase_add_test(tcase, test_set_members);
    tcase_add_loop_test(tcase, test_recorded, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, test_malformed);
    tcase_add_test(tcase, test_override);
    tcase_add_test(tcase, test_bind);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(count_suite)
