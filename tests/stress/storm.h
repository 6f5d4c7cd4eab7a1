/*
 * A storm over a whole family: what the judge and the members share. Layer: tests.
 */
#ifndef TESTS_STRESS_STORM_H
#define TESTS_STRESS_STORM_H

#include <kinfolk.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

#define MEMBERS 8  /* at once */
#define LINES 5    /* queues, and the pipe as the last */
#define PIPE (LINES - 1)
#define JOINABLE 2 /* of the queues */
#define LOCKS 2
#define UNITS 3    /* of the semaphore */
#define BATCH 6
#define BLOCKS 8   /* of a member */
#define WORKERS 2
#define MESSAGES 1024 /* of a life, in each line */
#define MOST 2048     /* bytes of one */

/* What a life has put into a line and what has come out of it; a byte a message. */
struct ledger {
    kin__a32 tried;     /* puts that were begun */
    kin__a32 confirmed; /* puts that have returned */
    uint8_t seen[MESSAGES];
};

/* A member, over all its lives. */
struct seat {
    kin__a32 life;      /* number of the one that sits here */
    kin__a32 condemned; /* 1: is being killed, or is dead */
    kin__a32 taking;    /* {line, messages : 8} that a death would take along */
    kin__a32 unit;      /* 1: inside the semaphore */
    kin__a32 steps;     /* operations done, by all lives */
    kin__a32 unsure;    /* 1: between the arena and block[] */
    kin__a64 block[BLOCKS];
    kin__a32 worker[WORKERS];
    char doing[32];
};

struct region { /* guarded by a lock */
    kin__a64 owner; /* a life */
    kin__a64 left, right; /* equal while nobody is inside */
};

struct storm {
    uint64_t seed;
    uint32_t lives; /* at most */
    kin__a32 stop;
    kin__a32 failed;
    char text[300];
    kin_ref queue[PIPE], lock[LOCKS], rlock, semaphore, condition, dict;
    kin__a32 pipe, torn; /* number of the pipe in use, and of the last that was torn */
    struct region region[LOCKS + 2];
    kin__a64 tokens;
    kin__a64 added, adding; /* to the dictionary's counter: surely, perhaps */
    struct seat seat[MEMBERS];
    struct ledger ledger[]; /* LINES of each life */
};

struct invitation { /* a member's argument */
    struct storm *storm;
    uint32_t seat, life, pipe;
    struct kin_connection_ref receiver, sender;
    int receiver_fd, sender_fd;
};

/* Says what is wrong, once; the judge ends the storm. */
void storm_fail(struct storm *storm, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

uint64_t storm_random(uint64_t *state);

static inline struct ledger *storm_ledger(struct storm *storm, uint32_t life, unsigned line)
{
    return &storm->ledger[(size_t)life * LINES + line];
}

/* A message has come out; notes it and checks it. */
void storm_seen(struct storm *storm, unsigned line, const void *message, size_t size);

/* A member's life (kin_target_fn). */
int storm_member(void *arg, size_t size);

#endif
