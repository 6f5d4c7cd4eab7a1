/*
 * Description: a process is killed at every instruction of locking and unlocking, alone and among
 * others; afterwards another one gets the lock within a second and is told if its owner died, those
 * who slept get it as well, and at no time are two inside.
 */
#include "kit/step.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/lock.h"

/* How far the victim, or the owner that died before it, has come with its holding of the lock. */
enum progress {
    UNKNOWN,  /* it may hold the lock or not */
    HOLDS,
    GIVES_UP, /* the same as UNKNOWN */
    GAVE_UP,  /* it certainly does not */
};

struct state {
    kin_lock *lock;   /* one of the two */
    kin_rlock *rlock;
    kin__a32 inside;    /* guarded by the lock: not 0 while its owner is at work */
    kin__a32 recovered; /* how often somebody was told */
    kin__a32 progress;
    kin__a32 owner_died; /* 1: one died holding it, before the victim */
    uint32_t dead_slot, dead_generation;
    kin__a32 second;     /* 1: a recoverer was at work, and perhaps killed */
    struct kit_gate gate;
    kin__a32 arrived; /* pid of the bystander behind the gate */
};

/* --- either kind of lock ------------------------------------------------------------------ */

static struct kin__owner *owner_of(struct state *s)
{
    return s->rlock != NULL ? &s->rlock->owner : &s->lock->owner;
}

static bool is_locked(struct state *s)
{
    return (s->rlock != NULL ? kin_rlock_is_locked(s->rlock) : kin_lock_is_locked(s->lock)) == 1;
}

static bool is_mine(struct state *s)
{
    return (s->rlock != NULL ? kin_rlock_is_mine(s->rlock) : kin_lock_is_mine(s->lock)) == 1;
}

static int lock(struct state *s, int64_t timeout_ns)
{
    if (s->rlock != NULL) {
        return kin_rlock_lock(s->rlock, timeout_ns);
    }
    int rc;
    do {
        rc = kin_lock_lock(s->lock, timeout_ns);
        if (rc == KIN_EOWNERDEAD) {
            rc = kin_lock_recover(s->lock) == 0 ? KIN_RECOVERED : KIN_EOWNERDEAD;
        }
    } while (rc == KIN_EOWNERDEAD); /* somebody else has recovered it */
    return rc;
}

static int unlock(struct state *s)
{
    return s->rlock != NULL ? kin_rlock_unlock(s->rlock) : kin_lock_unlock(s->lock);
}

/* What every owner does first: nobody else is inside, unless it died there and we know. */
static void work(struct state *s, int rc)
{
    kit_assert_ok(rc);
    uint32_t other = kin__a32_xchg(&s->inside, 1);
    kit_require(other == 0 || rc == KIN_RECOVERED, "two are inside, or one died and is not told");
    if (rc == KIN_RECOVERED) {
        kin__a32_add(&s->recovered, 1);
    }
}

static void lock_and_unlock(struct state *s)
{
    work(s, lock(s, KIN_FOREVER));
    kin__a32_store(&s->inside, 0);
    kit_assert_int(unlock(s), 0);
}

/* --- setups ------------------------------------------------------------------------------- */

/* The first calls of a process do more than the others. */
static void warm_up(struct state *s)
{
    kit_assert_int(lock(s, 0), 0);
    kit_assert_int(unlock(s), 0);
}

static void begin(void *arg)
{
    kit_assert_int(kin_lock_create(NULL, &((struct state *)arg)->lock), 0);
    warm_up(arg);
}

static void begin_strict(void *arg)
{
    struct kin_lock_options options = KIN_LOCK_OPTIONS_INIT;
    options.strict = 1;
    kit_assert_int(kin_lock_create(&options, &((struct state *)arg)->lock), 0);
}

static void begin_recursive(void *arg)
{
    kit_assert_int(kin_rlock_create(NULL, &((struct state *)arg)->rlock), 0);
    warm_up(arg);
}

/* The survivors' process holds it. */
static void begin_held(void *arg)
{
    begin(arg);
    kit_assert_int(lock(arg, 0), 0);
}

static void begin_recursive_held(void *arg)
{
    begin_recursive(arg);
    kit_assert_int(lock(arg, 0), 0);
}

/* Held, and nothing that the victim does makes it an owner. */
static void begin_held_throughout(void *arg)
{
    begin_held(arg);
    kin__a32_store(&((struct state *)arg)->progress, GAVE_UP);
}

/* Its owner is dead and nobody has swept. */
static void die_inside(struct state *s)
{
    pid_t pid = kit_fork();
    if (pid == 0) {
        work(s, lock(s, 0));
        s->dead_slot = kin__self->slot;
        s->dead_generation = kin__self->generation;
        raise(SIGKILL);
    }
    int status = kit_reap(pid);
    kit_assert(WIFSIGNALED(status));
    kin__a32_store(&s->owner_died, 1);
}

static void begin_dead(void *arg)
{
    begin(arg);
    die_inside(arg);
}

static void begin_strict_dead(void *arg)
{
    begin_strict(arg);
    die_inside(arg);
    kin__sweep(true);
}

/* --- victims ------------------------------------------------------------------------------ */

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static void use(void *arg)
{
    struct state *s = arg;
    work(s, lock(s, KIN_FOREVER));
    kin__a32_store(&s->progress, HOLDS);
    kin__a32_store(&s->progress, GIVES_UP);
    kin__a32_store(&s->inside, 0);
    kit_assert_int(unlock(s), 0);
    kin__a32_store(&s->progress, GAVE_UP);
}

/* As a sweeper comes by the lock. The sweep around it is the family's. */
static void sweep_and_use(void *arg)
{
    struct state *s = arg;
    kin__owner_sweep(owner_of(s), s->dead_slot, s->dead_generation, KIN__OWNER_RECOVERABLE);
    use(s);
}

static void use_twice(void *arg)
{
    struct state *s = arg;
    work(s, lock(s, KIN_FOREVER));
    kin__a32_store(&s->progress, HOLDS);
    kit_assert_int(lock(s, KIN_FOREVER), 0);
    kit_assert_int(unlock(s), 0);
    kin__a32_store(&s->progress, GIVES_UP);
    kin__a32_store(&s->inside, 0);
    kit_assert_int(unlock(s), 0);
    kin__a32_store(&s->progress, GAVE_UP);
}

static void use_strict_dead(void *arg)
{
    struct state *s = arg;
    kit_assert_int(kin_lock_lock(s->lock, KIN_FOREVER), KIN_EOWNERDEAD);
    kit_assert_int(kin_lock_recover(s->lock), 0);
    work(s, KIN_RECOVERED);
    kin__a32_store(&s->progress, HOLDS);
    kin__a32_store(&s->progress, GIVES_UP);
    kin__a32_store(&s->inside, 0);
    kit_assert_int(unlock(s), 0);
    kin__a32_store(&s->progress, GAVE_UP);
}

/* Unlocks what the survivors' process has locked. */
static void unlock_for_another(void *arg)
{
    kit_assert_int(unlock(arg), 0);
}

static void time_out(void *arg)
{
    kit_assert_int(lock(arg, 1), -ETIMEDOUT);
}

static void try(void *arg)
{
    kit_assert_int(lock(arg, 0), -ETIMEDOUT);
}

/* The victim becomes the owner, and whoever waits behind the gate sleeps on the lock, before the
 * victim's window, which is the unlock. */
static void own(void *arg)
{
    struct state *s = arg;
    work(s, lock(s, 0));
    kin__a32_store(&s->progress, HOLDS);
    kit_gate_open(&s->gate);
    while ((kin__a32_load(&owner_of(s)->word) & KIN__OWNER_WAITERS) == 0) {
        sched_yield();
    }
}

static void unlock_own(void *arg)
{
    struct state *s = arg;
    kin__a32_store(&s->progress, GIVES_UP);
    kin__a32_store(&s->inside, 0);
    kit_assert_int(unlock(s), 0);
    kin__a32_store(&s->progress, GAVE_UP);
}

/* --- the others --------------------------------------------------------------------------- */

static void wait_and_use(void *arg)
{
    lock_and_unlock(arg);
}

static void wait_behind_gate(void *arg)
{
    struct state *s = arg;
    kit_gate_wait(&s->gate);
    kin__a32_store(&s->arrived, (uint32_t)getpid());
    lock_and_unlock(s);
}

static void release(void *arg)
{
    if (is_mine(arg)) {
        kit_assert_int(unlock(arg), 0);
    }
}

/* The victim sleeps: the bystander comes to lie behind it, so that the victim is woken first. */
static void release_before_another(void *arg)
{
    struct state *s = arg;
    kit_gate_open(&s->gate);
    uint32_t pid;
    while ((pid = kin__a32_load(&s->arrived)) == 0) {
        sched_yield();
    }
    kit_until_asleep((pid_t)pid);
    release(s);
}

static void survive(void *arg)
{
    struct state *s = arg;
    kit_gate_open(&s->gate);
    release(s);
    lock_and_unlock(s);
}

static void recover(void *arg)
{
    struct state *s = arg;
    kin__a32_store(&s->second, 1);
    lock_and_unlock(s);
}

static const char *check(void *arg)
{
    struct state *s = arg;
    if (is_locked(s) || kin__a32_load(&s->inside) != 0) {
        return "it is still locked";
    }
    uint32_t progress = kin__a32_load(&s->progress);
    uint32_t told = kin__a32_load(&s->recovered);
    uint32_t least = kin__a32_load(&s->owner_died) + (progress == HOLDS);
    uint32_t most = least + (progress == UNKNOWN || progress == GIVES_UP);
    if (told < least) {
        return "an owner died and nobody was told";
    }
    return told > most && kin__a32_load(&s->second) == 0 ? "told of a death that was not" : NULL;
}

static void end(void *arg)
{
    struct state *s = arg;
    kin__sweep(true);
    if (s->rlock != NULL) {
        kin_rlock_destroy(s->rlock);
        kit_assert_int(kin_rlock_lock(s->rlock, 0), KIN_ESTALE);
    } else {
        kin_lock_destroy(s->lock);
        kit_assert_int(kin_lock_lock(s->lock, 0), KIN_ESTALE);
    }
}

#define STATE .state_size = sizeof(struct state), .survivor = survive, .check = check,             \
    .teardown = end, .recoverer = recover
#define PLAIN .warm = enter

static const struct kit_case cases[] = {
    {.name = "unlock, others asleep", STATE, .setup = begin, .warm = own, .victim = unlock_own,
     .bystanders = {{wait_behind_gate, true}, {wait_behind_gate, true}}, .pairs = 20},
    {.name = "unlock for another, others asleep", STATE, PLAIN, .setup = begin_held_throughout,
     .victim = unlock_for_another, .bystanders = {{wait_and_use, true}, {wait_and_use, true}}},
    {.name = "recursive unlock, others asleep", STATE, .setup = begin_recursive, .warm = own,
     .victim = unlock_own, .bystanders = {{wait_behind_gate, true}, {wait_behind_gate, true}}},
    {.name = "lock and unlock", STATE, PLAIN, .setup = begin, .victim = use, .pairs = 40},
    {.name = "lock and unlock, strict", STATE, PLAIN, .setup = begin_strict, .victim = use,
     .pairs = 40},
    {.name = "lock and unlock, recursive", STATE, PLAIN, .setup = begin_recursive,
     .victim = use_twice, .pairs = 40},
    {.name = "lock after a sleep", STATE, PLAIN, .setup = begin_held, .victim = use,
     .release = release, .pairs = 20},
    {.name = "lock after a sleep, another asleep behind", STATE, PLAIN, .setup = begin_held,
     .victim = use, .release = release_before_another, .bystanders = {{wait_behind_gate, false}}},
    {.name = "recursive lock after a sleep, another asleep before", STATE, PLAIN,
     .setup = begin_recursive_held, .victim = use_twice, .release = release,
     .bystanders = {{wait_and_use, false}}},
    {.name = "timed lock, another asleep", STATE, PLAIN, .setup = begin_held_throughout,
     .victim = time_out, .bystanders = {{wait_and_use, false}}},
    {.name = "lock tried", STATE, PLAIN, .setup = begin_held_throughout, .victim = try},
    {.name = "lock of a dead owner", STATE, PLAIN, .setup = begin_dead, .victim = sweep_and_use,
     .pairs = 40},
    {.name = "strict lock of a dead owner", STATE, PLAIN, .setup = begin_strict_dead,
     .victim = use_strict_dead, .pairs = 20},
};

int main(int argc, char **argv)
{
    kin__spin_refuse(true); /* so that every run takes the same way */
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
