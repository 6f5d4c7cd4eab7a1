/* How children find their targets, and what happens in programs without kin_child_main. */
#include "help.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int by_offset(void *arg, size_t size)
{
    (void)arg;
    return (int)size + 1;
}

static int by_name(void *arg, size_t size)
{
    (void)arg;
    return (int)size + 2;
}
KIN_ENTRY(test_entry, by_name);

static kin_process *start_entry(enum kin_start_method method, const char *entry,
                                kin_target_fn *target)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = target;
    options.entry = entry;
    options.method = method;
    kin_process *p = NULL;
    ok(kin_process_start(&options, &p));
    return p;
}

START_TEST(in_the_program)
{
    enum kin_start_method method = methods[_i];
    ck_assert_int_eq(finish(start(method, by_offset, "xy", 2)), 3);
    ck_assert_int_eq(finish(start(method, by_name, "xy", 2)), 4);
    ck_assert_int_eq(finish(start_entry(method, "test_entry", NULL)), 2);
    ck_assert_int_eq(finish(start_entry(method, "test_entry", by_name)), 2);
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.method = method;
    options.entry = "test_entry";
    options.target = by_offset;
    kin_process *p = NULL;
    gives(-EINVAL, kin_process_start(&options, &p));
    options.entry = "unknown";
    gives(KIN_ENOENTRY, kin_process_start(&options, &p));
}
END_TEST

START_TEST(in_a_loaded_module)
{
    enum kin_start_method method = methods[_i];
    int before = 20;
    /* The fork server is older than the module. */
    ck_assert_int_eq(finish(start(method, by_offset, NULL, 0)), 1);
    void *module = dlopen(TEST_MODULE, RTLD_NOW);
    ck_assert_msg(module != NULL, "%s", dlerror());
    kin_target_fn *target;
    kin_target_fn *(*hidden)(void);
    void *found[2] = {dlsym(module, "module_target"), dlsym(module, "module_hidden")};
    memcpy(&target, &found[0], sizeof target);
    memcpy(&hidden, &found[1], sizeof hidden);
    ck_assert_int_eq(finish(start(method, target, &before, sizeof before)), 21);
    ck_assert_int_eq(finish(start(method, hidden(), NULL, 0)), 66);
    ck_assert_int_eq(finish(start_entry(method, "module_named", NULL)), 88);
    dlclose(module);
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.method = method;
    options.entry = "module_named";
    kin_process *p = NULL;
    gives(KIN_ENOENTRY, kin_process_start(&options, &p));
}
END_TEST

/* Another program is executed, which loads the target's module. */
START_TEST(another_program)
{
    const enum kin_start_method method = _i == 0 ? KIN_START_SPAWN : KIN_START_FORKSERVER;
    void *module = dlopen(TEST_MODULE, RTLD_NOW);
    ck_assert_msg(module != NULL, "%s", dlerror());
    kin_target_fn *target;
    void *found = dlsym(module, "module_target");
    memcpy(&target, &found, sizeof target);
    const int number = 20;
    const char *host[] = {TEST_PROGRAM, "host", NULL};
    const char *none[] = {"/no such program", NULL};
    const char *deaf[] = {"/bin/true", NULL};
    const char *empty[] = {NULL};
    struct kin_context context = KIN_CONTEXT_INIT;
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = target;
    options.arg = &number;
    options.arg_size = sizeof number;
    options.method = method;
    options.context = &context;
    kin_process *p = NULL;
    context.command = empty;
    gives(-EINVAL, kin_process_start(&options, &p));
    context.command = none;
    gives(-ENOENT, kin_process_start(&options, &p));
    for (int i = 0; i < 2; i++) {
        context.command = host;
        ok(kin_process_start(&options, &p));
        ck_assert_int_eq(finish(p), 21);
    }
    if (method == KIN_START_SPAWN) {
        context.command = deaf;
        gives(KIN_ENOENTRY, kin_process_start(&options, &p));
    }
    dlclose(module);
}
END_TEST

/* Runs the program and returns what it wrote; the call takes less than three seconds. */
static const char *run(const char *kind, const char *environment)
{
    static char text[512];
    char command[1024];
    snprintf(command, sizeof command, "%s %s %s </dev/null 2>&1", environment, TEST_PROGRAM, kind);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    text[fread(text, 1, sizeof text - 1, out)] = '\0';
    ck_assert_int_eq(pclose(out), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    ck_assert_int_lt(to.tv_sec - from.tv_sec, 3);
    return text;
}

START_TEST(program_with_the_call)
{
    ck_assert_str_eq(run("proper", ""), "main\n5\n6\n");
}
END_TEST

START_TEST(program_without_the_call)
{
    ck_assert_str_eq(run("without", ""), "main\nKIN_ENOENTRY\nKIN_ENOENTRY\n");
}
END_TEST

/* Calls it in the first process only: its children run its main, and are seen through. */
START_TEST(program_with_the_call_sometimes)
{
    ck_assert_str_eq(run("sometimes", ""), "main\nmain\nKIN_ENOENTRY\nmain\nKIN_ENOENTRY\n");
}
END_TEST

/* No fork server can be had: its children are spawned. */
START_TEST(program_with_an_early_thread)
{
    ck_assert_str_eq(run("proper", "TEST_EARLY_THREAD=1"), "main\n5\n5\n");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("process entry");
    TCase *tc = tcase_create("entry");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, reset_signals, NULL);
    tcase_add_loop_test(tc, in_the_program, 0, METHODS);
    tcase_add_loop_test(tc, in_a_loaded_module, 0, METHODS);
    tcase_add_loop_test(tc, another_program, 0, 2);
    tcase_add_test(tc, program_with_the_call);
    tcase_add_test(tc, program_without_the_call);
    tcase_add_test(tc, program_with_the_call_sometimes);
    tcase_add_test(tc, program_with_an_early_thread);
    suite_add_tcase(s, tc);
    return s;
}

KIT_CHECK_MAIN(suite)
