/* Functions that children find by name. Layer: process. */
#include "process/process.h"

#include <errno.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kin_entry *entries; /* newest first; under `lock` */

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
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void kin_entry_register(struct kin_entry *entry)
{
    if (entry == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    entry->next = entries;
    entries = entry;
    pthread_mutex_unlock(&lock);
}

void kin_entry_unregister(struct kin_entry *entry)
{
    pthread_mutex_lock(&lock);
    for (struct kin_entry **at = &entries; *at != NULL; at = &(*at)->next) {
        if (*at == entry) {
            *at = entry->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

kin_function *kin__entry_find(const char *name)
{
    kin_function *found = NULL;
    pthread_mutex_lock(&lock);
    for (const struct kin_entry *e = entries; e != NULL; e = e->next) {
        if (strcmp(e->name, name) == 0) {
            found = e->function; /* the last one seen was the first registered */
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* A name of the function under which it is also found, or NULL. */
static const char *name_of(kin_function *function)
{
    const char *name = NULL;
    pthread_mutex_lock(&lock);
    for (const struct kin_entry *e = entries; e != NULL; e = e->next) {
        if (e->function == function) {
            name = e->name;
        }
    }
    pthread_mutex_unlock(&lock);
    return name != NULL && kin__entry_find(name) == function ? name : NULL;
}

int kin__entry_settle(kin_target_fn **target, const char **name)
{
    if (*name == NULL) {
        *name = *target != NULL ? name_of((kin_function *)*target) : NULL;
        return *target != NULL ? 0 : -EINVAL;
    }
    kin_function *function = kin__entry_find(*name);
    if (function == NULL) {
        return KIN_ENOENTRY;
    }
    if (*target != NULL && (kin_function *)*target != function) {
        return -EINVAL;
    }
    *target = (kin_target_fn *)function;
    return 0;
}
