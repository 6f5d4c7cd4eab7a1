/*
 * What a sweep tells its watchdog, in memory shared by the two. Layer: tests. Only step.c and
 * watch.c use it.
 */
#ifndef KIT_BOARD_H
#define KIT_BOARD_H

#include "kit/kit.h"

enum kit__phase {
    KIT__SETUP,
    KIT__STEPPING,
    KIT__RECOVERING,
    KIT__SURVIVING,
    KIT__AWAITING, /* the bystanders and the victim's children */
    KIT__CHECKING,
    KIT__TEARDOWN,
};

/* Written by the sweep, read by the watchdog. */
struct kit__board {
    kin__a32 epoch;  /* counts changes of phase */
    kin__a32 phase;
    kin__a64 point;  /* events before the kill */
    kin__a64 second; /* events of the recoverer before its kill; UINT64_MAX: not killed */
    kin__a64 rip;    /* where the victim was killed */
    kin__a32 failed; /* 1: text says which assertion, of whichever process of the case */
    char text[600];
};

extern struct kit__board *kit__board;

/* Exit statuses of the process that sweeps. */
#define KIT__EXIT_FOUND 10  /* a point failed: the library's fault */
#define KIT__EXIT_BROKEN 11 /* the harness or the case's setup failed */

static inline void kit__phase(enum kit__phase phase)
{
    kin__a32_store(&kit__board->phase, phase);
    kin__a32_add(&kit__board->epoch, 1);
}

/*
 * Runs body(arg) in a child and watches it. Returns its exit status; KIT__EXIT_FOUND for a phase
 * that did not end in time, with the text on the board. All its processes are gone then.
 */
int kit__watch(void (*body)(void *arg), void *arg);

/* The function that contains the address and the source line, as far as they can be found. */
void kit__describe(uint64_t rip, char *ret_text, size_t size);

#endif
