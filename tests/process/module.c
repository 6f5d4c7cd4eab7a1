/* A shared library that a test loads by dlopen, for targets that are not in the program. */
#include <kinfolk.h>

#include <unistd.h>

static int seen;

__attribute__((visibility("default"))) int module_target(void *arg, size_t size);
int module_target(void *arg, size_t size)
{
    seen++;
    return size == sizeof(int) ? *(int *)arg + seen : 0;
}

/* Not exported: only its address names it. */
static int hidden(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return 66;
}

__attribute__((visibility("default"))) kin_target_fn *module_hidden(void);
kin_target_fn *module_hidden(void)
{
    return hidden;
}

static int named(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return 88;
}
KIN_ENTRY(module_named, named);
