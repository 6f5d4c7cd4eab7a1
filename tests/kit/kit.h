/*
 * What every test of Kinfolk may use: assertions that work in any process, gates, children that
 * die with their test. Layer: tests.
 */
#ifndef KIT_KIT_H
#define KIT_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/atomic.h"

#define KIT_COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Whether this program is built with the thread sanitizer (which sees threads only, and slows them
 * down), or the address sanitizer (whose memory comes and goes as it likes). */
#if defined(__has_feature)
#define KIT__HAS_FEATURE(name) __has_feature(name)
#else
#define KIT__HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || KIT__HAS_FEATURE(thread_sanitizer)
#define KIT_UNDER_TSAN 1
#else
#define KIT_UNDER_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || KIT__HAS_FEATURE(address_sanitizer)
#define KIT_UNDER_ASAN 1
#else
#define KIT_UNDER_ASAN 0
#endif

/* Exit status of a process in which an assertion failed (and said so). */
#define KIT_EXIT_FAILED 99

/*
 * Fails the test, wherever it is called: in the test itself, in a thread of it, in a forked or a
 * spawned child (whose parent learns of it when it reaps the child with kit_reap).
 */
_Noreturn void kit_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define kit_assert(expression)                                                                     \
    ((expression) ? (void)0 : kit_fail(__FILE__, __LINE__, "not true: %s", #expression))

/* kit_assert with a text of one's own, printf-like. */
#define kit_require(expression, ...)                                                               \
    ((expression) ? (void)0 : kit_fail(__FILE__, __LINE__, __VA_ARGS__))

#define kit_assert_int(actual, expected)                                                           \
    kit__assert_int(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))

/* The call returned >= 0. */
#define kit_assert_ok(call) kit__assert_ok(__FILE__, __LINE__, #call, (long long)(call))

void kit__assert_int(const char *file, int line, const char *text, long long actual,
                     long long expected);
void kit__assert_ok(const char *file, int line, const char *text, long long actual);

/* What kit_fail does once the text is made; the default prints it and exits with KIT_EXIT_FAILED. */
typedef void kit_fail_fn(const char *text);
void kit_on_fail(kit_fail_fn *fn);

/* --- memory and gates between processes --------------------------------------------------- */

/* Zeroed memory shared with children forked later. */
void *kit_shared(size_t size);

/* A gate opens once; whoever waits for it sleeps. Zero: closed. Lives in shared memory. */
struct kit_gate {
    kin__a32 word;
};
void kit_gate_open(struct kit_gate *gate);
void kit_gate_wait(struct kit_gate *gate);
bool kit_gate_is_open(struct kit_gate *gate);

/* --- children ----------------------------------------------------------------------------- */

/* fork() whose child is killed when its parent dies. Fails the test rather than return -1. */
pid_t kit_fork(void);

/* Waits for a child: its wait status. Fails the test if an assertion failed in the child. */
int kit_reap(pid_t pid);

/* kit_reap, and fails unless the child exited with 0. */
void kit_reap_ok(pid_t pid);

/* Returns once the process sleeps in the kernel (or is gone). */
void kit_until_asleep(pid_t pid);

/* The letter of /proc/PID/stat: R, S, D, T, t, Z, ...; 0 if there is no such process. */
char kit_process_state(pid_t pid);

/* Kills and reaps every child of this process, also those adopted meanwhile (subreaper). */
void kit_kill_children(void);

/* Monotonic nanoseconds. */
int64_t kit_now(void);

#endif
