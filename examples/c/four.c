/* Four processes, started in a loop and then joined; each number is a line of its own. */
#include <kinfolk.h>
#include <stdio.h>

static int show(void *arg, size_t size)
{
    (void)size;
    printf("%d\n", *(int *)arg);
    return 0;
}

int main(void)
{
    kin_process *processes[4];
    for (int i = 0; i < 4; i++) {
        int number = i + 1;
        struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
        options.target = show;
        options.arg = &number;
        options.arg_size = sizeof number;
        int rc = kin_process_start(&options, &processes[i]);
        if (rc < 0) {
            fprintf(stderr, "start: %s\n", kin_strerror(rc));
            return 1;
        }
    }
    for (int i = 0; i < 4; i++) {
        kin_process_join(processes[i], KIN_FOREVER, NULL);
        kin_process_destroy(processes[i]);
    }
    return 0;
}
