/*
 * From a placement request and a topology to the CPUs of every worker. Pure. Layer: cpu.
 * Design: docs/design/placement.md.
 */
#include "cpu/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

/* The work in progress. Invariant: `free` and the roles' sets and the boot CPU are disjoint. */
struct planner {
    const kin_topology *topology;
    int order[KIN_CPUS]; /* indices into the topology, the CPU to take first first */
    const struct kin_role *roles;
    int role_count;
    struct kin_cpu_set cpus[KIN_ROLES];
    struct kin_cpu_set free;
    int boot_cpu;
};

/* How many threads of the same core come before this one. */
static int thread_rank(const kin_topology *topology, int index)
{
    int rank = 0;
    for (int i = 0; i < index; i++) {
        rank += topology->cpu[i].core == topology->cpu[index].core;
    }
    return rank;
}

/* One thread of every core before the second of any, the fast before the efficient. */
static void sort_cpus(struct planner *p)
{
    const kin_topology *t = p->topology;
    int64_t key[KIN_CPUS];
    for (int i = 0; i < t->count; i++) {
        const struct kin_cpu *c = &t->cpu[i];
        int64_t k = ((int64_t)thread_rank(t, i) << 32) | ((int64_t)c->efficient << 31) |
                    ((int64_t)(1024 - c->capacity) << 16) | c->id;
        int at = i; /* insertion: the ids are in order already, so most stay where they are */
        while (at > 0 && key[at - 1] > k) {
            key[at] = key[at - 1];
            p->order[at] = p->order[at - 1];
            at--;
        }
        key[at] = k;
        p->order[at] = i;
    }
}

static bool is_kind(const struct kin_cpu *cpu, enum kin_core_kind kind)
{
    return kind == KIN_CORES_ANY || (kind == KIN_CORES_EFFICIENT) == (cpu->efficient != 0);
}

/* The best free CPU of the kind, or NULL. */
static const struct kin_cpu *best_free(const struct planner *p, enum kin_core_kind kind)
{
    for (int i = 0; i < p->topology->count; i++) {
        const struct kin_cpu *cpu = &p->topology->cpu[p->order[i]];
        if (kin__cpu_set_has(&p->free, (unsigned)cpu->id) && is_kind(cpu, kind)) {
            return cpu;
        }
    }
    return NULL;
}

static void give(struct planner *p, int role, int cpu)
{
    (void)kin_cpu_set_remove(&p->free, cpu);
    (void)kin_cpu_set_add(&p->cpus[role], cpu);
}

static bool lists_cpus(const struct kin_role *role)
{
    return !kin__cpu_set_empty(&role->cpus);
}

/* The CPUs that the roles list, and a boot CPU that the request names. */
static int take_listed(struct planner *p, const struct kin_placement *placement)
{
    struct kin_cpu_set usable = p->free, taken;
    memset(&taken, 0, sizeof taken);
    for (int i = 0; i < p->role_count; i++) {
        const struct kin_cpu_set *set = &p->roles[i].cpus;
        if (!kin__cpu_set_within(set, &usable)) {
            return KIN_ENOCPU;
        }
        if (kin__cpu_set_meets(set, &taken)) {
            return KIN_EROLESHARED;
        }
        kin__cpu_set_or(&taken, set);
        p->cpus[i] = *set;
    }
    kin__cpu_set_minus(&p->free, &taken);
    p->boot_cpu = placement->boot_cpu;
    if (p->boot_cpu != KIN_BOOT_CPU_AUTO) {
        if (!kin_cpu_set_has(&p->free, p->boot_cpu)) {
            return KIN_EBOOTCPU;
        }
        (void)kin_cpu_set_remove(&p->free, p->boot_cpu);
    }
    return 0;
}

/* The roles that want so and so many. */
static int take_counted(struct planner *p)
{
    for (int i = 0; i < p->role_count; i++) {
        const struct kin_role *role = &p->roles[i];
        for (int n = 0; !lists_cpus(role) && n < role->cpu_count; n++) {
            const struct kin_cpu *cpu = best_free(p, role->cores);
            if (cpu == NULL) {
                return KIN_ENOCPU;
            }
            give(p, i, cpu->id);
        }
    }
    return 0;
}

/*
 * The roles that share what is left, a CPU each in turn. By whole cores if there are enough, so
 * that no two roles slow each other down inside one core.
 */
static int take_shared(struct planner *p, bool by_core)
{
    bool more = true;
    while (more) {
        more = false;
        for (int i = 0; i < p->role_count; i++) {
            const struct kin_role *role = &p->roles[i];
            if (lists_cpus(role) || role->cpu_count > 0) {
                continue;
            }
            const struct kin_cpu *cpu = best_free(p, role->cores);
            if (cpu == NULL) {
                continue;
            }
            more = true;
            give(p, i, cpu->id);
            for (int k = 0; by_core && k < p->topology->count; k++) {
                const struct kin_cpu *other = &p->topology->cpu[k];
                if (other->core == cpu->core && kin__cpu_set_has(&p->free, (unsigned)other->id)) {
                    give(p, i, other->id);
                }
            }
        }
    }
    for (int i = 0; i < p->role_count; i++) {
        if (kin__cpu_set_empty(&p->cpus[i])) {
            return KIN_ENOCPU;
        }
    }
    return 0;
}

static int take_rest(struct planner *p)
{
    int rc = take_counted(p);
    if (rc < 0) {
        return rc;
    }
    struct planner before = *p;
    rc = take_shared(p, true);
    if (rc < 0) {
        *p = before;
        rc = take_shared(p, false);
    }
    return rc;
}

/* Roles' CPUs and the boot CPU. */
static int divide(struct planner *p, const struct kin_placement *placement)
{
    int rc = take_listed(p, placement);
    if (rc < 0) {
        return rc;
    }
    if (p->boot_cpu != KIN_BOOT_CPU_AUTO) {
        return take_rest(p);
    }
    /* The dispatcher mostly sleeps: an efficiency core does, unless the roles then lack one. */
    rc = KIN_EBOOTCPU;
    for (int efficient = 1; efficient >= 0; efficient--) {
        for (int i = 0; i < p->topology->count; i++) {
            const struct kin_cpu *cpu = &p->topology->cpu[i];
            if (cpu->efficient != efficient || !kin__cpu_set_has(&p->free, (unsigned)cpu->id)) {
                continue;
            }
            struct planner attempt = *p;
            attempt.boot_cpu = cpu->id;
            (void)kin_cpu_set_remove(&attempt.free, cpu->id);
            rc = take_rest(&attempt);
            if (rc == 0) {
                *p = attempt;
                return 0;
            }
            break;
        }
    }
    return rc;
}

static int check_roles(const struct kin_placement *placement)
{
    for (size_t i = 0; i < placement->role_count; i++) {
        const struct kin_role *role = &placement->roles[i];
        if (role->name == NULL || role->name[0] == '\0' ||
            strlen(role->name) >= KIN_ROLE_NAME || role->cpu_count < 0 ||
            role->cpu_count > KIN_CPUS || role->processes < 0 ||
            (int)role->cores < KIN_CORES_ANY || role->cores > KIN_CORES_EFFICIENT) {
            return -EINVAL;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(role->name, placement->roles[k].name) == 0) {
                return -EINVAL;
            }
        }
    }
    return 0;
}

static int check(const struct kin_placement *placement, int processes)
{
    if (processes < 0 || placement->role_count > KIN_ROLES ||
        (placement->role_count > 0 && placement->roles == NULL)) {
        return -EINVAL;
    }
    switch (placement->bind) {
    case KIN_BIND_DEFAULT:
    case KIN_BIND_NONE:
    case KIN_BIND_ROLE:
    case KIN_BIND_CPU:
        break;
    default:
        return -EINVAL;
    }
    switch (placement->kind) {
    case KIN_PLACEMENT_SYMMETRIC:
        return placement->role_count == 0 ? 0 : -EINVAL;
    case KIN_PLACEMENT_ASYMMETRIC:
        return placement->bind == KIN_BIND_NONE ? -EINVAL : check_roles(placement);
    default:
        return -EINVAL;
    }
}

static int mean_capacity(const struct kin_plan *plan, const struct kin_cpu_set *set)
{
    int sum = 0;
    for (int cpu = kin_cpu_set_next(set, -1); cpu >= 0; cpu = kin_cpu_set_next(set, cpu)) {
        sum += plan->capacity[cpu];
    }
    int count = kin_cpu_set_count(set);
    return (sum + count / 2) / count;
}

/* The workers of one role. */
static void place_workers(const struct planner *p, struct kin_plan *plan, int index,
                          enum kin_placement_bind bind)
{
    const struct kin_plan_role *role = &plan->roles[index];
    int at = -1;
    for (int i = 0; i < role->processes; i++) {
        struct kin_plan_worker *worker = &plan->workers[role->first_worker + i];
        worker->role = index;
        worker->bound = bind != KIN_BIND_NONE;
        worker->cpus = role->cpus;
        if (bind == KIN_BIND_CPU) {
            const struct kin_cpu *cpu;
            do { /* the next one of the role in order, and around */
                at = at + 1 == p->topology->count ? 0 : at + 1;
                cpu = &p->topology->cpu[p->order[at]];
            } while (!kin__cpu_set_has(&role->cpus, (unsigned)cpu->id));
            memset(&worker->cpus, 0, sizeof worker->cpus);
            (void)kin_cpu_set_add(&worker->cpus, cpu->id);
        }
        worker->capacity = mean_capacity(plan, &worker->cpus);
    }
}

/* Counts the workers of each role; returns their sum, or -EINVAL where it is not what was asked. */
static int count_workers(const struct planner *p, enum kin_placement_kind kind, int processes,
                         int counts[KIN_ROLES])
{
    int64_t sum = 0;
    for (int i = 0; i < p->role_count; i++) {
        int wanted = kind == KIN_PLACEMENT_SYMMETRIC ? processes : p->roles[i].processes;
        counts[i] = wanted > 0 ? wanted : kin_cpu_set_count(&p->cpus[i]);
        sum += counts[i];
    }
    bool fits = kind == KIN_PLACEMENT_SYMMETRIC || processes == 0 || sum == processes;
    return !fits || sum > 1 << 20 ? -EINVAL : (int)sum;
}

static int build(const struct planner *p, const struct kin_placement *placement, int processes,
                 struct kin_plan **ret_plan)
{
    int counts[KIN_ROLES];
    int workers = count_workers(p, placement->kind, processes, counts);
    if (workers < 0) {
        return workers;
    }
    struct kin_plan *plan =
        calloc(1, sizeof *plan + (size_t)workers * sizeof(struct kin_plan_worker) +
                      (size_t)p->role_count * sizeof(struct kin_plan_role));
    if (plan == NULL) {
        return -ENOMEM;
    }
    plan->workers = (struct kin_plan_worker *)(plan + 1);
    plan->roles = (struct kin_plan_role *)(plan->workers + workers);
    plan->kind = placement->kind;
    plan->boot_cpu = p->boot_cpu;
    plan->role_count = p->role_count;
    plan->worker_count = workers;
    for (int i = 0; i < p->topology->count; i++) {
        plan->capacity[p->topology->cpu[i].id] = (unsigned short)p->topology->cpu[i].capacity;
    }
    enum kin_placement_bind bind = placement->bind;
    if (bind == KIN_BIND_DEFAULT) {
        bind = placement->kind == KIN_PLACEMENT_SYMMETRIC ? KIN_BIND_NONE : KIN_BIND_ROLE;
    }
    for (int i = 0, first = 0; i < p->role_count; first += counts[i], i++) {
        struct kin_plan_role *role = &plan->roles[i];
        strcpy(role->name, p->roles[i].name); /* its length was checked */
        role->cpus = p->cpus[i];
        role->first_worker = first;
        role->processes = counts[i];
        place_workers(p, plan, i, bind);
    }
    *ret_plan = plan;
    return 0;
}

int kin_plan_create(const struct kin_placement *given, const kin_topology *topology, int processes,
                    struct kin_plan **ret_plan)
{
    static const struct kin_role everything = KIN_ROLE_INIT("");
    static const struct kin_role worker = KIN_ROLE_INIT("worker");
    struct kin_placement placement = KIN_PLACEMENT_INIT;
    if (topology == NULL || ret_plan == NULL) {
        return -EINVAL;
    }
    int rc = kin__options_read(&placement, sizeof placement, given);
    if (rc == 0) {
        rc = check(&placement, processes);
    }
    if (rc < 0) {
        return rc;
    }
    struct planner *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return -ENOMEM;
    }
    p->topology = topology;
    p->boot_cpu = -1;
    sort_cpus(p);
    (void)kin_topology_cpus(topology, &p->free);
    if (placement.kind == KIN_PLACEMENT_SYMMETRIC) {
        p->roles = &everything;
        p->role_count = 1;
        p->cpus[0] = p->free;
    } else {
        p->roles = placement.role_count > 0 ? placement.roles : &worker;
        p->role_count = placement.role_count > 0 ? (int)placement.role_count : 1;
        rc = divide(p, &placement);
    }
    if (rc == 0) {
        rc = build(p, &placement, processes, ret_plan);
    }
    free(p);
    return rc;
}

struct kin_plan *kin_plan_destroy(struct kin_plan *plan)
{
    free(plan);
    return NULL;
}

int kin_plan_role(const struct kin_plan *plan, const char *name)
{
    if (plan == NULL || name == NULL) {
        return -EINVAL;
    }
    for (int i = 0; i < plan->role_count; i++) {
        if (strcmp(plan->roles[i].name, name) == 0) {
            return i;
        }
    }
    return KIN_EROLE;
}
