/* Start methods and the default context. Layer: process. */
#include "process/process.h"

#include <errno.h>
#include <string.h>

#include "base/options.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kin_context current = {sizeof current, KIN_START_FORK, 0, NULL, 0, NULL}; /* under `lock` */

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

KIN__FORK_PATH static void after_fork_in_child(void)
{
    pthread_mutex_unlock(&lock);
    current.fds = NULL;
    current.fd_count = 0;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static const char *const names[] = {
    [KIN_START_DEFAULT] = "default",
    [KIN_START_FORK] = "fork",
    [KIN_START_SPAWN] = "spawn",
    [KIN_START_FORKSERVER] = "forkserver",
};

const char *kin_start_method_name(enum kin_start_method method)
{
    return (unsigned)method < KIN__ARRAY_SIZE(names) ? names[method] : NULL;
}

int kin_start_method_parse(const char *name)
{
    for (unsigned i = 0; name != NULL && i < KIN__ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return (int)i;
        }
    }
    return -EINVAL;
}

int kin__context_read(struct kin_context *ret_context, const struct kin_context *given)
{
    pthread_mutex_lock(&lock);
    struct kin_context context = current;
    pthread_mutex_unlock(&lock);
    if (given != NULL) {
        enum kin_start_method method = context.method;
        context = (struct kin_context)KIN_CONTEXT_INIT;
        int rc = kin__options_read(&context, sizeof context, given);
        if (rc < 0) {
            return rc;
        }
        if (kin_start_method_name(context.method) == NULL ||
            (context.fds == NULL && context.fd_count != 0) ||
            (context.command != NULL && context.command[0] == NULL)) {
            return -EINVAL;
        }
        if (context.method == KIN_START_DEFAULT) {
            context.method = method;
        }
    }
    *ret_context = context;
    return 0;
}

int kin_context_set_default(const struct kin_context *context)
{
    struct kin_context settled = {sizeof settled, KIN_START_FORK, 0, NULL, 0, NULL};
    if (context != NULL) {
        int rc = kin__context_read(&settled, context);
        if (rc < 0) {
            return rc;
        }
        if (context->method == KIN_START_DEFAULT) {
            settled.method = KIN_START_FORK;
        }
    }
    pthread_mutex_lock(&lock);
    current = settled;
    pthread_mutex_unlock(&lock);
    return 0;
}

int kin_context_default(struct kin_context *ret_context)
{
    if (ret_context == NULL || ret_context->size < sizeof(size_t) ||
        ret_context->size > sizeof *ret_context) {
        return -EINVAL;
    }
    struct kin_context context;
    kin__context_read(&context, NULL);
    size_t size = ret_context->size;
    memcpy(ret_context, &context, size);
    ret_context->size = size;
    return 0;
}
