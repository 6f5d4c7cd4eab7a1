/*
 * What every Kinfolk header stands on: visibility, error codes, timeouts, references.
 *
 * Conventions of the whole library
 *   - Functions return an int: >= 0 is success, a negative value is an error: -errno for what the
 *     system said, or one of the KIN_E... codes below. `errno` itself is neither read nor set.
 *   - Outputs come last and are untouched on failure. Destroy functions accept NULL and return NULL.
 *   - Every handle may be used by several threads at once, except by its destroy.
 *   - Times are nanoseconds in int64_t: KIN_FOREVER (-1) waits without limit, 0 only tries.
 *   - Option structs begin with their own size; pass NULL for the defaults or start from the
 *     KIN_..._INIT macro, which is silent in C11 and C++.
 *   - The library never prints, never exits and installs no signal handler.
 */
#ifndef KINFOLK_BASE_H
#define KINFOLK_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KIN_API __attribute__((visibility("default")))
#else
#define KIN_API
#endif

#define KIN_VERSION "0.1.0"

/* Waits without limit, for every parameter called timeout_ns. */
#define KIN_FOREVER ((int64_t)-1)

/*
 * The library's own error codes: X(name, value, text). Everything else that is negative is -errno.
 */
#define KIN_ERRORS(X)                                                                              \
    X(KIN_ECLOSED, -10000, "closed: no more items can be put, and none is left to get")            \
    X(KIN_EPEERDIED, -10001, "the process at the other end died")                                  \
    X(KIN_EOWNERDEAD, -10002, "the lock's owner died: recover what it guards, then recover it")    \
    X(KIN_ECORRUPT, -10003, "shared memory holds something that the library never writes")         \
    X(KIN_EFORKED, -10004, "the handle belongs to another process and may not be used in this one") \
    X(KIN_ESTALE, -10005, "the object that the reference names is gone")                           \
    X(KIN_ETYPE, -10006, "the reference names an object of another type")                          \
    X(KIN_EQUOTA, -10007, "the arena is full: its quota, or the memory that may be used, is spent")   \
    X(KIN_EFAMILYFULL, -10008, "the family already has as many processes as it can hold")          \
    X(KIN_ENOFAMILY, -10009, "the process belongs to no family, and none can be joined")           \
    X(KIN_ENOENTRY, -10010,                                                                        \
      "the child cannot find its target: begin main with kin_child_main and name the target with " \
      "KIN_ENTRY")                                                                                 \
    X(KIN_EWORKERLOST, -10011, "a worker died while it ran the task")                              \
    X(KIN_ETASK, -10012, "the task's function failed: its own code says how")                      \
    X(KIN_ECANCELLED, -10013, "the task was cancelled")                                            \
    X(KIN_EWORKERINIT, -10014, "the worker's initializer failed or killed its worker, repeatedly") \
    X(KIN_EBROKEN, -10015, "the barrier is broken: a party left, died or timed out, or it was aborted") \
    X(KIN_ENOTOWNER, -10016, "the caller does not hold the lock")                                  \
    X(KIN_EOVERFLOW, -10017, "released more often than acquired")                                  \
    X(KIN_ETOOBIG, -10018, "the message is larger than the room given or the limit set")           \
    X(KIN_EAUTH, -10019, "authentication failed: the keys of the two ends differ")                 \
    X(KIN_ESTATUSLOST, -10020, "the child is gone, and its exit status was taken by someone else") \
    X(KIN_EABI, -10021, "the other process runs an incompatible version of the library")           \
    X(KIN_EADDRESS, -10022, "the arena's address range is taken in this process")                  \
    X(KIN_ENOTFOUND, -10023, "no such key, name or element")                                       \
    X(KIN_EROLE, -10024, "no worker of the pool has the role that the task names")                 \
    X(KIN_ESTATE, -10025, "the object is in a state that does not allow the call")                 \
    X(KIN_ENOCPU, -10026, "a role lists a CPU that may not be used, or too few CPUs are left for it") \
    X(KIN_EROLESHARED, -10027, "two roles list the same CPU")                                      \
    X(KIN_EBOOTCPU, -10028,                                                                        \
      "the boot CPU has a role, may not be used, or none is left for it")                           \
    X(KIN_ETORN, -10040,                                                                           \
      "a message was cut off in the middle: this direction of the connection can carry no more")

enum kin_error {
#define KIN__X(name, value, text) name = value,
    KIN_ERRORS(KIN__X)
#undef KIN__X
    KIN_ERROR_LAST = -10100
};

/* A positive result of lock calls: the lock is held, and its last owner died while holding it. */
#define KIN_RECOVERED 1

/*
 * Text for any code that the library returns, one's own or -errno; never NULL. The string is
 * constant or thread-local and stays valid until the thread's next call. Thread- and fork-safe.
 */
KIN_API const char *kin_strerror(int code);

/* The code's name, such as "KIN_ECLOSED" or "ETIMEDOUT"; "UNKNOWN" if there is none. Never NULL. */
KIN_API const char *kin_err_name(int code);

/* The library's version, such as "0.1.0". */
KIN_API const char *kin_version(void);

/*
 * A reference to a shared object, as plain bytes that may be sent to any process of the family
 * (in a process's argument, a message, a task). It keeps nothing alive: whoever sends it keeps a
 * handle until the receiver has attached. A stale reference gives KIN_ESTALE, never a crash.
 */
typedef struct kin_ref {
    uint64_t word[2];
} kin_ref;

/*
 * Called in this thread when a signal interrupts one of its waits, and at least every 100 ms while
 * it waits. Returning 0 waits on; a negative value ends the wait, which returns that value with
 * nothing done. NULL (the default) waits on. The setting is the calling thread's own. Meant for
 * language bindings, which run their signal handlers here.
 */
typedef int kin_interrupt_fn(void *arg);
KIN_API void kin_thread_set_interrupt(kin_interrupt_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif

#endif
