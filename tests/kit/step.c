/* Kill sweeps: see step.h. Layer: tests. */
#include "kit/step.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kit/board.h"
#include "kit/victim.h"

#define FOREVER INT64_MAX
/* Less than a slice: a bystander that is back so soon after it was made has been woken. */
#define PROMPT_NS 90000000
#define PROMPT_TRIES 20
#define TRACES 4
/* Cost of passing an occurrence of a breakpoint, in single steps. */
#define PASS_COST 3

/* What an unkilled run did: after event n it stood at `rip`. */
struct event {
    uint64_t rip;
    bool sleep;  /* event n was falling asleep in a system call */
    bool middle; /* in the middle of a rep-prefixed instruction */
    bool forks;  /* the next step makes a child */
};

/* Shared with the watchdog, which reads the results; the trace is the sweeper's own. */
struct sweep {
    const struct kit_case *c;
    void *state;
    struct event *trace;
    int64_t events;  /* of the trace; the trace has one more entry */
    int64_t sleeps;
    bool endless;    /* it ends in a sleep that nobody ends */
    int64_t killed;  /* points at which the victim was killed inside its window */
    int64_t last;    /* events of the last unkilled run */
    int64_t again;   /* rounds that left the trace and were stepped again */
    int64_t pairs;
    int64_t only, only_second; /* a single point, or -1 */
    pid_t bystander[KIT_BYSTANDERS];
    int64_t bystanders_at; /* when the first of them was about to be made */
};

static void board_fail(const char *text)
{
    uint32_t none = 0;
    if (kin__a32_cas(&kit__board->failed, &none, 1)) {
        snprintf(kit__board->text, sizeof kit__board->text, "%s", text);
    }
}

/* A point failed: the sweep ends. */
_Noreturn static void found(const char *text)
{
    board_fail(text);
    _exit(KIT__EXIT_FOUND);
}

_Noreturn static void broken(const char *text)
{
    board_fail(text);
    _exit(KIT__EXIT_BROKEN);
}

/* --- rounds ------------------------------------------------------------------------------- */

static void begin_round(struct sweep *s)
{
    const struct kit_case *c = s->c;
    kit__phase(KIT__SETUP);
    memset(s->state, 0, c->state_size);
    if (c->setup != NULL) {
        c->setup(s->state);
    }
    s->bystanders_at = kit_now();
    for (unsigned i = 0; i < KIT_BYSTANDERS; i++) {
        s->bystander[i] = 0;
        if (c->bystanders[i].run == NULL) {
            continue;
        }
        pid_t pid = kit_fork();
        if (pid == 0) {
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            c->bystanders[i].run(s->state);
            exit(0);
        }
        s->bystander[i] = pid;
        kit_until_asleep(pid);
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            info.si_pid != 0) {
            broken("a bystander did not stay in the object");
        }
    }
}

static void judge_bystander(int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        char text[64];
        snprintf(text, sizeof text, "a bystander ended with wait status %#x", (unsigned)status);
        found(text);
    }
}

static void reap_bystander(struct sweep *s, unsigned i)
{
    int status;
    while (waitpid(s->bystander[i], &status, 0) < 0 && errno == EINTR) {
    }
    s->bystander[i] = 0;
    judge_bystander(status);
}

static void end_round(struct sweep *s, const struct kit__victim *victim)
{
    const struct kit_case *c = s->c;
    kit__phase(KIT__SURVIVING);
    if (c->survivor != NULL) {
        c->survivor(s->state);
    }
    kit__phase(KIT__AWAITING);
    for (unsigned i = 0; i < KIT_BYSTANDERS; i++) {
        if (s->bystander[i] != 0) {
            reap_bystander(s, i);
        }
    }
    kit__victim_reap_group(victim, c->await_descendants);
    kit__phase(KIT__CHECKING);
    const char *wrong = c->check != NULL ? c->check(s->state) : NULL;
    if (wrong != NULL) {
        found(wrong);
    }
    kit__phase(KIT__TEARDOWN);
    if (c->teardown != NULL) {
        c->teardown(s->state);
    }
}

static void start(struct sweep *s, struct kit__victim *victim, void (*run)(void *))
{
    if (!kit__victim_start(victim, s->c->warm, run, s->state)) {
        broken("the victim did not reach its window");
    }
}

_Noreturn static void lost(const struct kit__victim *victim)
{
    char where[300], text[400];
    if (WIFSTOPPED(victim->status)) {
        kit__describe(victim->rip, where, sizeof where);
        snprintf(text, sizeof text, "signal %d stopped the victim at %s",
                 WSTOPSIG(victim->status), where);
    } else {
        snprintf(text, sizeof text, "the victim ended inside its window, wait status %#x",
                 (unsigned)victim->status);
    }
    found(text);
}

/* Leaves a sleep that is not to be the victim's end. */
static enum kit__progress leave_sleep(struct sweep *s, struct kit__victim *victim, bool release)
{
    if (release && s->c->release != NULL) {
        s->c->release(s->state);
    }
    enum kit__progress progress;
    do {
        progress = kit__victim_wake(victim);
    } while (progress == KIT__SLEEPS);
    return progress;
}

static void record(struct sweep *s, int64_t n, const struct kit__victim *victim, bool sleep)
{
    s->trace = realloc(s->trace, (size_t)(n + 1) * sizeof *s->trace);
    kit_require(s->trace != NULL, "out of memory");
    s->trace[n] = (struct event){.rip = victim->rip,
                                 .sleep = sleep,
                                 .middle = victim->middle,
                                 .forks = !sleep && kit__victim_forks(victim)};
    s->events = n;
    s->sleeps += sleep;
}

/* Steps to point n; returns the events that happened, fewer than n if the window ended. */
static int64_t step_to(struct sweep *s, struct kit__victim *victim, int64_t n, bool keep,
                       bool release)
{
    enum kit__progress progress = KIT__STEPPED;
    int64_t i = 0;
    if (keep) {
        s->sleeps = 0;
        record(s, 0, victim, false);
    }
    while (i < n && progress != KIT__ENDED) {
        progress = kit__victim_step(victim);
        for (;;) {
            if (progress == KIT__LOST) {
                lost(victim);
            }
            i++;
            if (keep) {
                record(s, i, victim, progress == KIT__SLEEPS);
            }
            if (progress != KIT__SLEEPS || i == n) {
                break;
            }
            if (release && s->c->release == NULL) {
                s->endless = true;
                return i;
            }
            progress = leave_sleep(s, victim, release);
        }
    }
    return i;
}

/* Whether the victim got from event `at` to event `to` as the trace has it, with no sleep and no
 * fork between. Runs to the cheapest breakpoint and steps the rest. */
static bool jump(struct sweep *s, struct kit__victim *victim, int64_t at, int64_t to)
{
    int64_t best = at, best_passes = 0, best_cost = to - at;
    for (int64_t p = to; p > at && to - p + 1 < best_cost; p--) {
        if (s->trace[p].middle) {
            continue;
        }
        int64_t passes = 0;
        for (int64_t i = at + 1; i < p; i++) {
            passes += s->trace[i].rip == s->trace[p].rip && !s->trace[i].middle;
        }
        int64_t cost = 1 + passes * PASS_COST + to - p;
        if (cost < best_cost) {
            best = p;
            best_passes = passes;
            best_cost = cost;
        }
    }
    if (best > at) {
        for (int64_t i = 0; i <= best_passes; i++) {
            int progress = kit__victim_run_to(victim, s->trace[best].rip);
            if (progress == KIT__LOST) {
                lost(victim);
            }
            if (progress < 0 || progress == KIT__SLEEPS || victim->rip != s->trace[best].rip) {
                return false;
            }
        }
    }
    for (int64_t i = best; i < to; i++) {
        enum kit__progress progress = kit__victim_step(victim);
        if (progress == KIT__LOST) {
            lost(victim);
        }
        if (progress == KIT__SLEEPS || victim->rip != s->trace[i + 1].rip) {
            return false;
        }
    }
    return true;
}

/* Whether the victim got to point n along the trace. */
static bool follow(struct sweep *s, struct kit__victim *victim, int64_t n)
{
    int64_t at = 0;
    while (at < n) {
        int64_t to = at;
        while (to < n && !s->trace[to].forks && !s->trace[to + 1].sleep) {
            to++;
        }
        if (!jump(s, victim, at, to)) {
            return false;
        }
        at = to;
        if (at == n) {
            break;
        }
        bool sleep = s->trace[at + 1].sleep;
        enum kit__progress progress = kit__victim_step(victim);
        if (progress == KIT__LOST) {
            lost(victim);
        }
        if ((progress == KIT__SLEEPS) != sleep) {
            return false;
        }
        at++;
        if (sleep && at < n) {
            if (leave_sleep(s, victim, true) == KIT__LOST) {
                lost(victim);
            }
            at++;
        }
        if (!(sleep && at == n) && victim->rip != s->trace[at].rip) {
            return false;
        }
    }
    return true;
}

static void kill_recoverer(struct sweep *s, int64_t second)
{
    const struct kit_case *c = s->c;
    kit__phase(KIT__RECOVERING);
    struct kit__victim recoverer;
    if (!kit__victim_start(&recoverer, NULL, c->recoverer != NULL ? c->recoverer : c->survivor,
                           s->state)) {
        broken("the recoverer did not reach its window");
    }
    kin__a64_store(&kit__board->second, (uint64_t)second);
    step_to(s, &recoverer, second, false, false);
    kit__victim_kill(&recoverer);
    kit__victim_reap_group(&recoverer, false);
}

/*
 * A whole round with a kill at point n (FOREVER: none), which is gone to along the trace or, where
 * there is no trace yet, by single steps; a run of those that nothing kills makes the trace.
 * Returns the events that happened: n, or fewer if the window ended before.
 */
static int64_t run_round(struct sweep *s, int64_t n, int64_t second, bool traced)
{
    kin__a64_store(&kit__board->point, (uint64_t)n);
    kin__a64_store(&kit__board->second, UINT64_MAX);
    kin__a64_store(&kit__board->rip, 0);
    struct kit__victim victim;
    int64_t events;
    for (;;) {
        begin_round(s);
        kit__phase(KIT__STEPPING);
        start(s, &victim, s->c->victim);
        if (!traced || n == FOREVER) {
            events = step_to(s, &victim, n, n == FOREVER && !traced, true);
            break;
        }
        events = n;
        if (follow(s, &victim, n)) {
            break;
        }
        /* It took another way this time. What it did is no point of ours; begin again. */
        kit__victim_kill(&victim);
        end_round(s, &victim);
        s->again++;
        traced = false;
    }
    kin__a64_store(&kit__board->rip, victim.rip);
    if (n == FOREVER && !s->endless) {
        kit__phase(KIT__AWAITING);
        int status = kit__victim_finish(&victim);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            lost(&victim);
        }
    } else {
        kit__victim_kill(&victim);
    }
    if (second >= 0) {
        kill_recoverer(s, second);
    }
    end_round(s, &victim);
    return events;
}

/* --- the sweep ---------------------------------------------------------------------------- */

/* Nanoseconds from the making of the bystanders to the return of the last prompt one, with a victim
 * that nobody kills or steps. */
static int64_t live_round(struct sweep *s)
{
    kin__a64_store(&kit__board->point, UINT64_MAX);
    begin_round(s);
    kit__phase(KIT__STEPPING);
    struct kit__victim victim = {.pid = kit_fork()};
    if (victim.pid == 0) {
        setpgid(0, 0);
        if (s->c->warm != NULL) {
            s->c->warm(s->state);
        }
        s->c->victim(s->state);
        exit(0);
    }
    setpgid(victim.pid, victim.pid);
    int status;
    while (waitpid(victim.pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        victim.status = status;
        lost(&victim);
    }
    kit__phase(KIT__AWAITING);
    for (unsigned i = 0; i < KIT_BYSTANDERS; i++) {
        if (s->bystander[i] != 0 && s->c->bystanders[i].prompt) {
            reap_bystander(s, i);
        }
    }
    int64_t took = kit_now() - s->bystanders_at;
    end_round(s, &victim);
    return took;
}

static void check_prompt(struct sweep *s)
{
    bool any = false;
    for (unsigned i = 0; i < KIT_BYSTANDERS; i++) {
        any |= s->c->bystanders[i].run != NULL && s->c->bystanders[i].prompt;
    }
    int64_t least = INT64_MAX;
    for (int i = 0; any && i < PROMPT_TRIES; i++) {
        int64_t took = live_round(s);
        if (took < PROMPT_NS) {
            return;
        }
        least = took < least ? took : least;
    }
    if (any) {
        char text[100];
        snprintf(text, sizeof text, "nobody wakes the bystander: it is back after %" PRId64 " ms",
                 least / 1000000);
        found(text);
    }
}

/* Deterministic: the same pairs in every run. */
static uint64_t scramble(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void sweep_pairs(struct sweep *s)
{
    /* How long a recoverer is: told by one that lives, after a kill in the middle. */
    for (unsigned i = 0; i < s->c->pairs; i++) {
        int64_t n = (int64_t)(((uint64_t)i * (uint64_t)s->events) / s->c->pairs);
        int64_t second = (int64_t)(scramble(i) % (uint64_t)(2 * s->events + 200));
        run_round(s, n, second, true);
        s->pairs++;
    }
}

/*
 * Makes the trace. Where the machine is busy a sleep may last to the end of its slice, behind which
 * the victim looks for the dead: what is wanted is the run without that.
 */
static void make_trace(struct sweep *s)
{
    run_round(s, FOREVER, -1, false);
    for (int i = 1; i < TRACES && s->sleeps > 0 && !s->endless; i++) {
        struct event *trace = s->trace;
        int64_t events = s->events, sleeps = s->sleeps;
        s->trace = NULL;
        run_round(s, FOREVER, -1, false);
        if (s->events < events) {
            free(trace);
            continue;
        }
        bool same = s->events == events;
        free(s->trace);
        s->trace = trace;
        s->events = events;
        s->sleeps = sleeps;
        if (same) {
            return;
        }
    }
}

/* Events of an unkilled run: n, if one of some runs does not have more. */
static int64_t count_again(struct sweep *s, int64_t n)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < TRACES && least > n; i++) {
        int64_t events = run_round(s, FOREVER, -1, true);
        least = events < least ? events : least;
    }
    return least;
}

static void sweep_body(void *arg)
{
    struct sweep *s = arg;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    kit_on_fail(board_fail);

    make_trace(s);
    if (s->only >= 0) {
        run_round(s, s->only, s->only_second, s->only <= s->events);
        return;
    }
    check_prompt(s);
    int64_t n = 0;
    for (; n < s->events; n++) {
        run_round(s, n, -1, true);
    }
    s->killed = s->last = n;
    if (!s->endless) {
        /* Where the count differs from run to run, on until a run ends unkilled within it. */
        int64_t bound = 4 * s->events + 1000;
        while ((s->last = count_again(s, n)) > n) {
            for (; n < s->last; n++) {
                s->killed += run_round(s, n, -1, false) == n;
            }
            if (n > bound) {
                broken("the operation never gets to its end");
            }
        }
        run_round(s, n, -1, n == s->events); /* after the last instruction */
    }
    sweep_pairs(s);
}

static bool sweep_case(const struct kit_case *c, int64_t only, int64_t second, char *ret_text,
                       size_t size, bool *ret_broken)
{
    kit__board = kit_shared(sizeof *kit__board);
    struct sweep *s = kit_shared(sizeof *s);
    *s = (struct sweep){.c = c, .only = only, .only_second = second,
                        .state = kit_shared(c->state_size + 1)};
    int64_t began = kit_now();
    int rc = kit__watch(sweep_body, s);
    double seconds = (double)(kit_now() - began) / 1e9;
    uint32_t phase = kin__a32_load(&kit__board->phase);
    *ret_broken = rc == KIT__EXIT_BROKEN ||
                  (rc == KIT_EXIT_FAILED && (phase == KIT__SETUP || phase == KIT__STEPPING ||
                                             phase == KIT__RECOVERING || phase == KIT__TEARDOWN));
    if (rc == 0 && only >= 0) {
        snprintf(ret_text, size, "point %" PRId64 " of %" PRId64, only, s->events);
        return true;
    }
    if (rc == 0) {
        int used = snprintf(ret_text, size,
                            "%" PRId64 " points = %" PRId64 " instructions + %" PRId64
                            " sleeps, %" PRId64 " pairs; %.1f s, %.0f kills/s",
                            s->killed, s->last - s->sleeps, s->sleeps, s->pairs, seconds,
                            (double)(s->killed + s->pairs) / seconds);
        if (s->last != s->events || s->killed > s->events || s->again > 0) {
            snprintf(ret_text + used, size - (size_t)used,
                     " (the count varies: %" PRId64 " the first time; %" PRId64
                     " rounds took another way and were stepped again)",
                     s->events, s->again);
        } else if (s->killed != s->last || s->killed == 0) {
            snprintf(ret_text, size, "%" PRId64 " points, but %" PRId64 " events in the unkilled run",
                     s->killed, s->last);
            *ret_broken = true;
            return false;
        }
        return true;
    }
    char where[300] = "not reached", second_text[40] = "";
    uint64_t point = kin__a64_load(&kit__board->point);
    uint64_t rip = kin__a64_load(&kit__board->rip);
    if (rip != 0) {
        kit__describe(rip, where, sizeof where);
    }
    if (kin__a64_load(&kit__board->second) != UINT64_MAX) {
        snprintf(second_text, sizeof second_text, " and %" PRIu64,
                 kin__a64_load(&kit__board->second));
    }
    if (point == (uint64_t)FOREVER || point == UINT64_MAX) {
        snprintf(ret_text, size, "victim not killed: %s", kit__board->text);
    } else {
        snprintf(ret_text, size, "killed at point %" PRIu64 "%s, before %s: %s", point, second_text,
                 where, kit__board->text);
    }
    return false;
}

bool kit_step_sweep(const struct kit_case *c, char *ret_text, size_t size)
{
    bool is_broken;
    return sweep_case(c, -1, -1, ret_text, size, &is_broken);
}

int kit_step_main(const struct kit_case *cases, size_t count, int argc, char **argv)
{
    const char *fault = NULL;
    if (argc > 2 && strcmp(argv[1], "--fault") == 0) {
        fault = argv[2];
        argv += 2;
        argc -= 2;
    }
    const char *only_case = argc > 1 ? argv[1] : "";
    int64_t only = argc > 2 ? strtoll(argv[2], NULL, 10) : -1;
    int64_t second = argc > 3 ? strtoll(argv[3], NULL, 10) : -1;
    unsigned failures = 0, number = 0;
    bool caught = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count && !caught; i++) {
        if (strstr(cases[i].name, only_case) == NULL) {
            continue;
        }
        char text[1200];
        bool is_broken = false;
        bool passed = sweep_case(&cases[i], only, second, text, sizeof text, &is_broken);
        if (fault == NULL) {
            printf("%s %u - %s # %s\n", passed ? "ok" : "not ok", ++number, cases[i].name, text);
            failures += !passed;
        } else if (!passed && !is_broken) {
            printf("ok 1 - %s is found by %s # %s\n", fault, cases[i].name, text);
            number = 1;
            caught = true;
        } else {
            printf("# %s: %s\n", cases[i].name, text);
        }
    }
    if (fault != NULL && !caught) {
        printf("not ok 1 - %s is found by no case\n", fault);
        number = 1;
        failures = 1;
    }
    printf("1..%u\n", number);
    return failures == 0 && number > 0 ? 0 : 1;
}
