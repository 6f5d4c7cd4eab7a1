/*
 * Events in shared memory: a flag that any number of threads and processes wait for.
 *
 * A handle works in the process that created or attached it and, as it is, in every child forked
 * from it; other processes of the family attach by a reference. All functions are thread-safe;
 * only destroy must not run at the same time as another use of the same handle. Nobody owns an
 * event, so no death changes it.
 *
 * Every function returns, besides what its own comment lists: -EINVAL, KIN_ESTALE and what entering
 * the family can say; creating may also say KIN_EQUOTA.
 */
#ifndef KINFOLK_EVENT_H
#define KINFOLK_EVENT_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_event kin_event;

struct kin_event_options {
    size_t size;
    int set; /* 1: set from the start */
};
#define KIN_EVENT_OPTIONS_INIT {sizeof(struct kin_event_options), 0}

KIN_API int kin_event_create(const struct kin_event_options *options, kin_event **ret_event);

/* Sets the flag and releases all who wait, even if it is cleared again at once. Never blocks. */
KIN_API int kin_event_set(kin_event *event);

/* Clears the flag. Never blocks. */
KIN_API int kin_event_clear(kin_event *event);

/* 1 or 0. */
KIN_API int kin_event_is_set(kin_event *event);

/*
 * Waits until the flag is set, or has been set since the call began: 0, -ETIMEDOUT, or what the
 * thread's interrupt function said. timeout_ns: KIN_FOREVER, or 0 to look only.
 */
KIN_API int kin_event_wait(kin_event *event, int64_t timeout_ns);

KIN_API int kin_event_ref(kin_event *event, kin_ref *ret_ref);
/* KIN_ESTALE, KIN_ETYPE or KIN_ENOFAMILY for a reference that names no event of this family. */
KIN_API int kin_event_attach(const kin_ref *ref, kin_event **ret_event);
/* Gives this handle up; NULL is allowed; returns NULL. */
KIN_API kin_event *kin_event_destroy(kin_event *event);

#ifdef __cplusplus
}
#endif

#endif
