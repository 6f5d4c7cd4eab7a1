/* A process with an argument: the target gets its own writable copy. */
#include <kinfolk.h>
#include <stdio.h>

static int greet(void *arg, size_t size)
{
    (void)size;
    printf("Hello, %s!\n", (char *)arg);
    return 0;
}

int main(void)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = greet;
    options.arg = "Alice";
    options.arg_size = 6;
    kin_process *process = NULL;
    int rc = kin_process_start(&options, &process);
    if (rc < 0) {
        fprintf(stderr, "start: %s\n", kin_strerror(rc));
        return 1;
    }
    int exitcode;
    kin_process_join(process, KIN_FOREVER, &exitcode);
    kin_process_destroy(process);
    return exitcode;
}
