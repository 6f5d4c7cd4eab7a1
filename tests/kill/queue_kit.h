/*
 * What the kill sweeps of queues share: messages that can be told from garbage, a table of what
 * was put and what came out, and the invariants. Layer: tests. docs/design/queue.md.
 */
#ifndef TESTS_KILL_QUEUE_KIT_H
#define TESTS_KILL_QUEUE_KIT_H

#include "kit/step.h"

#include <kinfolk/queue.h>

/* Who put a message: numbers from here on, growing. */
enum {
    FROM_SETUP = 0,
    FROM_VICTIM = 64,
    FROM_RELEASE = 96, /* whoever lets a sleeping victim go on */
    FROM_SURVIVOR = 128,
    FROM_BYSTANDER = 192,
    NUMBERS = 256,
    SHARE = 32, /* the least that a producer has to itself: order is the producer's */
};

#define TINY 16   /* kept in the line */
#define LARGE 272 /* a block of its own */
#define MOST 512
#define BATCH 4

struct queue_state {
    kin_queue *queue;
    uint64_t used, blocks;     /* of the arena, in the beginning */
    unsigned takes;            /* messages that the victim may take to its grave: so many or none */
    unsigned filled;           /* messages that setup has put */
    unsigned wadding;          /* messages without a number that setup has put and taken again */
    kin__a32 bystanders;       /* that have put */
    kin__a32 put[NUMBERS];     /* 1: the put of that number has returned */
    kin__a32 got[NUMBERS];     /* how often it came out */
    /* What the victim does is kept short: every instruction of it costs a round. */
    struct kin_queue_item item[BATCH]; /* what it puts or has got */
    char bytes[BATCH][MOST];
    kin__a32 taken;            /* messages that its get has returned with */
    kin__a32 declared;         /* 1: its task_done has returned */
};

/* --- messages -------------------------------------------------------------------------------- */

void make_message(char *message, unsigned number, size_t size);

/* What came out is a message, whole, in order; noted in the table. Returns its number. */
unsigned take_message(struct queue_state *state, const void *message, size_t size);

/* The victim's message item[number]. */
void give_victim(struct queue_state *state, unsigned number, size_t size);

/* Puts one and says so in the table. The result of the put. */
int put_message(struct queue_state *state, unsigned number, size_t size, int64_t timeout_ns);

/* Gets one and notes it. The result of the get. */
int get_message(struct queue_state *state, int64_t timeout_ns);

/* --- parts of cases --------------------------------------------------------------------------- */

/* For the `setup` of cases: a queue with `count` messages in it. */
void begin_queue(struct queue_state *state, size_t capacity, uint64_t max_bytes, int joinable);
void fill(struct queue_state *state, unsigned count, size_t size);

#define WADDING 224
/* Whether a put of that size has to leave the segment that the line ends in. */
bool at_end_of_segment(struct queue_state *state, size_t size);
/* Puts unnumbered messages until the line is so many segments long and at the end of the last. */
void wad(struct queue_state *state, unsigned segments);
void take_wadding(struct queue_state *state);

/* For `warm`. */
void enter(void *state);
void enter_and_poll(void *state); /* the victim has the queue's descriptor */

/* For bystanders; they return at the queue's end, too. */
void bystander_gets(void *state);
void bystander_polls(void *state);
void bystander_puts(void *state);
void bystander_puts_more(void *state); /* than the queue has room for */
void bystander_joins(void *state);

/* For `survivor`: takes what is there, puts and gets, closes, takes the rest. */
void survive(void *state);
void recover(void *state);

/* For `check`. */
const char *check_queue(void *state);

#define QUEUE_CASE                                                                                 \
    .state_size = sizeof(struct queue_state), .survivor = survive, .recoverer = recover,           \
    .check = check_queue

#endif
