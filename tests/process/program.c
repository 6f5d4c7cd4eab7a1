/*
 * Programs that a test executes; argv[1] says which. Each prints what it saw, one word a line, and
 * a line "main" whenever its main runs.
 */
#include <kinfolk.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int target(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    struct kin_process_info info = KIN_PROCESS_INFO_INIT;
    kin_process_current(&info);
    return info.parent_pid == getppid() ? 5 : 6;
}

static void try_method(enum kin_start_method method)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = target;
    options.method = method;
    options.die_with_parent = 1;
    kin_process *process = NULL;
    int rc = kin_process_start(&options, &process), exitcode = 0;
    if (rc == 0) {
        rc = kin_process_join(process, KIN_FOREVER, &exitcode);
        kin_process_destroy(process);
    }
    if (rc == 0) {
        printf("%d\n", exitcode);
    } else {
        printf("%s\n", kin_err_name(rc));
    }
}

static void *wait_for_ever(void *arg)
{
    (void)arg;
    for (;;) {
        pause();
    }
    return NULL;
}

/* As a library would that starts a thread when it is loaded. */
__attribute__((constructor)) static void start_thread(void)
{
    if (getenv("TEST_EARLY_THREAD") != NULL) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    }
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    if (strcmp(kind, "proper") == 0 || strncmp(kind, "--", 2) == 0) {
        /* In a child whose main is "sometimes" this is where the lie would come out. */
        if (getenv("TEST_SOMETIMES") == NULL) {
            kin_child_main(argc, argv);
        }
    } else if (strcmp(kind, "host") == 0) {
        kin_child_main(argc, argv);
        return 3;
    } else if (strcmp(kind, "sometimes") == 0) {
        setenv("TEST_SOMETIMES", "1", 1);
        kin_child_main(argc, argv);
    }
    printf("main\n");
    if (strncmp(kind, "--", 2) != 0) {
        try_method(KIN_START_SPAWN);
        try_method(KIN_START_FORKSERVER);
    }
    fflush(stdout);
    return 0;
}
