/* A worker process that is joined before the main process goes on. */
#include <kinfolk.h>
#include <stdio.h>

static int worker(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    printf("Worker process\n");
    return 0;
}

int main(void)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = worker;
    kin_process *process = NULL;
    int rc = kin_process_start(&options, &process);
    if (rc < 0) {
        fprintf(stderr, "start: %s\n", kin_strerror(rc));
        return 1;
    }
    kin_process_join(process, KIN_FOREVER, NULL);
    kin_process_destroy(process);
    printf("Main process\n");
    return 0;
}
