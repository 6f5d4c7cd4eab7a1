/*
 * Which worker runs on which CPUs: a request as a value, and the plan that is made of it.
 *
 * Symmetric multiprocessing (the default): any worker runs on any CPU that may be used, and work is
 * weighted by the CPUs' capacity. Asymmetric multiprocessing: a boot CPU runs the dispatcher and no
 * tasks; every worker has a role, every role CPUs of its own, and no CPU has two roles.
 *
 * Nothing here needs or founds a family. Design: docs/design/placement.md.
 */
#ifndef KINFOLK_PLACEMENT_H
#define KINFOLK_PLACEMENT_H

#include <kinfolk/cpu.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kin_placement_kind {
    KIN_PLACEMENT_SYMMETRIC,
    KIN_PLACEMENT_ASYMMETRIC,
};

/* How tightly workers are tied to the CPUs of their role (symmetric: to the usable CPUs). */
enum kin_placement_bind {
    KIN_BIND_DEFAULT, /* symmetric: NONE; asymmetric: ROLE */
    KIN_BIND_NONE,    /* symmetric only: the kernel places workers as it likes */
    KIN_BIND_ROLE,    /* a worker may run on every CPU of its role */
    KIN_BIND_CPU,     /* one CPU a worker: whole cores first, fast ones before efficient ones */
};

/* Which CPUs the planner picks for a role that does not list its own. */
enum kin_core_kind {
    KIN_CORES_ANY,         /* fast ones first */
    KIN_CORES_PERFORMANCE, /* no efficiency cores */
    KIN_CORES_EFFICIENT,   /* only efficiency cores */
};

#define KIN_ROLES 64           /* most roles of a placement */
#define KIN_ROLE_NAME 32       /* most bytes of a role's name, the NUL included */

struct kin_role {
    const char *name;        /* what a task says; unique, not empty */
    struct kin_cpu_set cpus; /* its CPUs; empty: the planner picks free ones, as follows */
    enum kin_core_kind cores;
    int cpu_count;           /* how many; 0: an even share of all that are left of this kind */
    int processes;           /* workers; 0: one for each CPU of the role */
};
/* The name, then the planner's choice of everything else. */
#define KIN_ROLE_INIT(name) {(name), {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},           \
                             KIN_CORES_ANY, 0, 0}

/* The planner picks the boot CPU: a free efficiency core if there is one, else the first free CPU. */
#define KIN_BOOT_CPU_AUTO (-1)

/* The request. What it points to need live only during the call that it is passed to. */
struct kin_placement {
    size_t size;
    enum kin_placement_kind kind;
    enum kin_placement_bind bind;
    int boot_cpu;                 /* asymmetric: a CPU number or KIN_BOOT_CPU_AUTO */
    size_t role_count;            /* asymmetric; 0: one role called "worker" with all other CPUs */
    const struct kin_role *roles;
};
#define KIN_PLACEMENT_INIT                                                                         \
    {sizeof(struct kin_placement), KIN_PLACEMENT_SYMMETRIC, KIN_BIND_DEFAULT, KIN_BOOT_CPU_AUTO, 0, \
     NULL}

/* --- the plan ----------------------------------------------------------------------------- */

struct kin_plan_worker {
    int role;                /* index into the plan's roles */
    int bound;               /* 1: bind the worker to `cpus`; 0: leave it where the kernel wants */
    int capacity;            /* of one CPU of `cpus` on average, 1 to 1024 */
    struct kin_cpu_set cpus; /* where it runs */
};

struct kin_plan_role {
    char name[KIN_ROLE_NAME];
    struct kin_cpu_set cpus;
    int first_worker;        /* its workers are first_worker .. first_worker + processes - 1 */
    int processes;
};

/*
 * An immutable private value. A symmetric plan has one role, with an empty name. To weigh work by
 * where a worker that is not bound runs at the moment, look up capacity[kin_cpu_current()].
 */
struct kin_plan {
    enum kin_placement_kind kind;
    int boot_cpu;                    /* the dispatcher's CPU, or -1 in a symmetric plan */
    int role_count;
    int worker_count;
    struct kin_plan_role *roles;
    struct kin_plan_worker *workers;
    unsigned short capacity[KIN_CPUS]; /* by CPU number; 0: may not be used */
};

/*
 * Makes the plan: a pure function of its arguments. `processes` is the number of workers wanted:
 * symmetric, 0 means one for each CPU; asymmetric, each role says its own, and `processes` must
 * be 0 or their sum. `placement` NULL: symmetric, not bound.
 *
 * KIN_ENOCPU: a listed CPU may not be used, or too few are left for a role. KIN_EROLESHARED: two
 * roles list the same CPU. KIN_EBOOTCPU: the boot CPU is also in a role, may not be used, or none
 * is left for it. -EINVAL: anything else that makes no sense, such as a name given twice. -ENOMEM.
 */
KIN_API int kin_plan_create(const struct kin_placement *placement, const kin_topology *topology,
                            int processes, struct kin_plan **ret_plan);

/* Accepts NULL; returns NULL. */
KIN_API struct kin_plan *kin_plan_destroy(struct kin_plan *plan);

/* The role's index in the plan, or KIN_EROLE if there is none of that name. */
KIN_API int kin_plan_role(const struct kin_plan *plan, const char *name);

#ifdef __cplusplus
}
#endif

#endif
