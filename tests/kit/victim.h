/*
 * A process stepped through a window of its life by ptrace. Layer: tests. Only step.c uses it.
 *
 * The window's events are its instructions, and its sleeps: an event is a completed single step,
 * or the discovery that the system call under way sleeps. A rep-prefixed instruction is two
 * events, its first iteration and the rest. A point is a count of events: being killed at point n
 * means that n events have happened and no more.
 */
#ifndef KIT_VICTIM_H
#define KIT_VICTIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum kit__progress {
    KIT__STEPPED, /* stopped inside the window */
    KIT__SLEEPS,  /* runs: its system call sleeps; kit__victim_wake waits for its end */
    KIT__ENDED,   /* stopped at the end of the window */
    KIT__LOST,    /* it exited, or crashed, inside the window */
};

struct kit__victim {
    pid_t pid;
    uint64_t rip;     /* of the next instruction, when stopped */
    int signal;       /* to be delivered when it goes on */
    int status;       /* its wait status, once LOST or gone */
    bool gone;        /* reaped */
    bool middle;      /* stopped in the middle of a rep-prefixed instruction */
    bool asleep;
};

/* Forks a victim that calls warm(state) and then, in its window, run(state), and stops it at the
 * window's beginning. False if it did not get there. It leads a process group of its own. */
bool kit__victim_start(struct kit__victim *victim, void (*warm)(void *), void (*run)(void *),
                       void *state);

/* One event. */
enum kit__progress kit__victim_step(struct kit__victim *victim);

/* Waits for the end of the system call that sleeps; SLEEPS again if that takes over 1 ms more of
 * sleep. */
enum kit__progress kit__victim_wake(struct kit__victim *victim);

/* Runs until it is about to execute the instruction at `rip`, or until it sleeps, ends or is lost.
 * Returns STEPPED there. If it is there already, it goes round once. -1 if no breakpoint can be
 * set there. Not over a system call that sleeps for ever, nor over one that makes a child. */
int kit__victim_run_to(struct kit__victim *victim, uint64_t rip);

/* Whether the next step enters a system call that makes a child. */
bool kit__victim_forks(const struct kit__victim *victim);

/* SIGKILL, and reaps it. */
void kit__victim_kill(struct kit__victim *victim);

/* Lets it go on from the window's end and reaps it: its wait status. */
int kit__victim_finish(struct kit__victim *victim);

/* Ends the rest of its process group: kills them, or (`await`) waits for them first. */
void kit__victim_reap_group(const struct kit__victim *victim, bool await);

#endif
