/* Stepping a process by ptrace: see victim.h. Layer: tests. x86-64 only. */
#include "kit/victim.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kit/kit.h"

#if !defined(__x86_64__)
#error "single-stepping is written for x86-64"
#endif

#define RIP offsetof(struct user_regs_struct, rip)
#define INT3 0xccL
/* Milliseconds, about, after which a sleep that nobody expected is not waited for. */
#define NEW_SLEEPS 30

extern const char kit__window_begin[], kit__window_end[];

#if defined(__clang__)
#define ONCE __attribute__((noinline)) /* clang does not clone functions */
#else
#define ONCE __attribute__((noinline, noclone))
#endif

/* The int3 at either end stops the victim for its tracer; the labels tell the window's edges. Not
 * to be inlined or cloned: the labels exist once. */
ONCE static void window(void (*run)(void *), void *state)
{
    __asm__ volatile("int3\n\t.globl kit__window_begin\nkit__window_begin:" ::: "memory");
    run(state);
    __asm__ volatile(".globl kit__window_end\nkit__window_end:\n\tint3" ::: "memory");
}

static uint64_t rip_of(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, RIP, NULL);
}

/* What a wait status of the victim means. Fills in rip or status. */
static enum kit__progress judge(struct kit__victim *v, int status)
{
    v->asleep = false;
    v->status = status;
    if (!WIFSTOPPED(status)) {
        v->gone = true;
        return KIT__LOST;
    }
    v->rip = rip_of(v->pid);
    switch (WSTOPSIG(status)) {
    case SIGTRAP:
        /* Over the last int3 already, if it was run, not stepped, to the end. */
        if (v->rip == (uintptr_t)kit__window_end + 1) {
            v->rip--;
            ptrace(PTRACE_POKEUSER, v->pid, RIP, v->rip);
        }
        break;
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
        return KIT__LOST;
    default: /* delivered by the next resume */
        v->signal = WSTOPSIG(status);
        return KIT__STEPPED;
    }
    return v->rip == (uintptr_t)kit__window_end ? KIT__ENDED : KIT__STEPPED;
}

/* Waits for the victim's next stop; SLEEPS once it has been seen asleep for about a millisecond. */
static enum kit__progress wait_stop(struct kit__victim *v, bool may_sleep)
{
    int status;
    if (!may_sleep) {
        while (waitpid(v->pid, &status, __WALL) < 0) {
            kit_require(errno == EINTR, "waitpid: %s", strerror(errno));
        }
        return judge(v, status);
    }
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    const struct timespec pause = {.tv_nsec = 300000};
    int asleep = 0;
    for (;;) {
        pid_t got = waitpid(v->pid, &status, __WALL | WNOHANG);
        kit_require(got >= 0, "waitpid: %s", strerror(errno));
        if (got > 0) {
            return judge(v, status);
        }
        /* SIGCHLD is blocked: it ends the pause. */
        if (sigtimedwait(&child, NULL, &pause) < 0) {
            asleep = kit_process_state(v->pid) == 'S' ? asleep + 1 : 0;
            if (asleep == 4) {
                v->asleep = true;
                return KIT__SLEEPS;
            }
        }
    }
}

static void resume(struct kit__victim *v, int how)
{
    int signal = v->signal;
    v->signal = 0;
    kit_require(ptrace(how, v->pid, NULL, signal) == 0, "ptrace: %s", strerror(errno));
}

bool kit__victim_start(struct kit__victim *v, void (*warm)(void *), void (*run)(void *),
                       void *state)
{
    *v = (struct kit__victim){0};
    v->pid = kit_fork();
    if (v->pid == 0) {
        setpgid(0, 0);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (warm != NULL) {
            warm(state);
        }
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            kit_fail(__FILE__, __LINE__, "ptrace is refused: %s", strerror(errno));
        }
        window(run, state);
        exit(0);
    }
    setpgid(v->pid, v->pid);
    enum kit__progress progress;
    while ((progress = wait_stop(v, false)) == KIT__STEPPED && v->signal != 0) {
        /* A child of its own has ended, say, on its way to the window. */
        resume(v, PTRACE_CONT);
    }
    if (progress != KIT__STEPPED || v->rip != (uintptr_t)kit__window_begin) {
        return false;
    }
    return ptrace(PTRACE_SETOPTIONS, v->pid, NULL, PTRACE_O_EXITKILL) == 0;
}

/* The victim was forked from us: its text is at the same place in our own memory. */
static bool at_system_call(uint64_t rip)
{
    const unsigned char *code = (const unsigned char *)(uintptr_t)rip;
    return code[0] == 0x0f && code[1] == 0x05;
}

/* Length of a rep-prefixed string instruction at rip, or 0. */
static unsigned rep_length(uint64_t rip)
{
    const unsigned char *code = (const unsigned char *)(uintptr_t)rip;
    unsigned n = 0;
    if (code[n] == 0x66) {
        n++;
    }
    if (code[n] != 0xf2 && code[n] != 0xf3) {
        return 0;
    }
    n++;
    if ((code[n] & 0xf0) == 0x40) {
        n++;
    }
    bool string = (code[n] >= 0xa4 && code[n] <= 0xa7) || (code[n] >= 0xaa && code[n] <= 0xaf);
    return string ? n + 1 : 0;
}

bool kit__victim_forks(const struct kit__victim *v)
{
    if (!at_system_call(v->rip)) {
        return false;
    }
    long number =
        ptrace(PTRACE_PEEKUSER, v->pid, offsetof(struct user_regs_struct, rax), NULL);
    return number == SYS_clone || number == SYS_fork || number == SYS_vfork ||
           number == SYS_clone3;
}

/* Replaces the instruction at rip by int3; false if that cannot be (the vdso). */
static bool arm(struct kit__victim *v, uint64_t rip, long *ret_word)
{
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, v->pid, rip, NULL);
    *ret_word = word;
    return errno == 0 && ptrace(PTRACE_POKETEXT, v->pid, rip, (word & ~0xffL) | INT3) == 0;
}

int kit__victim_run_to(struct kit__victim *v, uint64_t rip)
{
    while (v->rip == rip || v->middle) {
        bool middle = v->middle;
        enum kit__progress progress = kit__victim_step(v);
        if (progress != KIT__STEPPED || (v->rip == rip && !middle && !v->middle)) {
            return progress;
        }
    }
    long word;
    if (!arm(v, rip, &word)) {
        return -1;
    }
    enum kit__progress progress;
    do {
        resume(v, PTRACE_CONT);
        unsigned sleeps = 0;
        do {
            /* The caller steps into the sleeps that it knows of, so one here is new: it passes by
             * itself (a contended lock), or the victim has taken another way. */
            progress = wait_stop(v, true);
        } while (progress == KIT__SLEEPS && ++sleeps < NEW_SLEEPS);
        if (progress == KIT__SLEEPS) {
            return progress;
        }
    } while (progress == KIT__STEPPED && v->signal != 0);
    if (progress == KIT__LOST) {
        return progress;
    }
    ptrace(PTRACE_POKETEXT, v->pid, rip, word);
    if (v->rip == rip + 1 && progress == KIT__STEPPED) {
        v->rip = rip;
        ptrace(PTRACE_POKEUSER, v->pid, RIP, rip);
    }
    return progress;
}

enum kit__progress kit__victim_step(struct kit__victim *v)
{
    unsigned rep = rep_length(v->rip);
    if (v->middle) {
        v->middle = false;
        int progress = kit__victim_run_to(v, v->rip + rep);
        kit_require(progress >= 0, "no breakpoint after a rep-prefixed instruction");
        return (enum kit__progress)progress;
    }
    uint64_t before = v->rip;
    bool call = at_system_call(v->rip);
    enum kit__progress progress;
    do {
        resume(v, PTRACE_SINGLESTEP);
        progress = wait_stop(v, call);
    } while (progress == KIT__STEPPED && v->signal != 0);
    v->middle = rep != 0 && progress == KIT__STEPPED && v->rip == before;
    return progress;
}

enum kit__progress kit__victim_wake(struct kit__victim *v)
{
    return wait_stop(v, true);
}

void kit__victim_kill(struct kit__victim *v)
{
    if (v->gone || v->pid <= 0) {
        return;
    }
    kill(v->pid, SIGKILL);
    do {
        if (waitpid(v->pid, &v->status, __WALL) < 0 && errno != EINTR) {
            break;
        }
    } while (WIFSTOPPED(v->status));
    v->gone = true;
}

int kit__victim_finish(struct kit__victim *v)
{
    if (!v->gone) {
        uint64_t behind = (uintptr_t)kit__window_end + 1;
        ptrace(PTRACE_POKEUSER, v->pid, RIP, behind);
        ptrace(PTRACE_DETACH, v->pid, NULL, 0);
        while (waitpid(v->pid, &v->status, __WALL) < 0 && errno == EINTR) {
        }
        v->gone = true;
    }
    return v->status;
}

void kit__victim_reap_group(const struct kit__victim *v, bool await)
{
    if (v->pid <= 0) {
        return;
    }
    if (!await) {
        kill(-v->pid, SIGKILL);
    }
    while (waitpid(-v->pid, NULL, __WALL) > 0 || errno == EINTR) {
    }
}
