/*
 * Turns: who may use one end of a byte stream in one direction, and how far the message under way
 * has come. Layer: channel. Protocol: docs/design/connection.md.
 *
 * A turn spans system calls that sleep, so it is no mutex: it is a word that names its owner, in
 * shared memory, and an owner that dies is noticed by whoever waits and by the sweeper.
 */
#ifndef KIN_CHANNEL_TURN_H
#define KIN_CHANNEL_TURN_H

#include "shm/wait.h"

/*
 * owner     {generation : 32, (slot + 1) << 1 : 31, busy : 1} or 0. Taken by CAS from 0, from a
 *           dead owner, or from {this process, not busy}; given by store of the owner. Not busy:
 *           the process keeps the turn between calls, for a message that it has received in part.
 * progress  written by the owner alone:
 *             0            at a boundary between messages
 *             n + 1        the header of a message of n bytes has been consumed, its bytes not
 *             MID          in the middle: only the owner knows where
 *             BROKEN(code) the direction is unusable and every use returns `code`
 * door      rung when the turn is given.
 * I1: progress is 0 or n + 1 unless somebody owns the turn or the direction is broken; so an owner
 *     that dies leaves either a whole number of messages or MID, which becomes BROKEN(KIN_ETORN).
 */
struct kin__turn {
    kin__a64 owner;
    kin__a64 progress;
    struct kin__door door;
} __attribute__((aligned(64)));

#define KIN__TURN_MID (UINT64_C(1) << 63)
static inline uint64_t kin__turn_broken(int code)
{
    return UINT64_C(1) << 63 | (uint32_t)code;
}

/* The code of a broken direction, or 0. */
static inline int kin__turn_code(uint64_t progress)
{
    return progress > KIN__TURN_MID ? (int)(uint32_t)progress : 0;
}

/*
 * Takes the turn. Returns 0, or 1 if this process had kept it; -ETIMEDOUT; what the interrupt
 * function said; KIN_ESTATE once *closed is set.
 */
int kin__turn_take(struct kin__turn *turn, int64_t deadline, const kin__a64 *closed,
                   uint64_t closed_bit);

/* Ends the turn. */
void kin__turn_give(struct kin__turn *turn);

/* Ends this thread's use of the turn; the process keeps it. */
void kin__turn_keep(struct kin__turn *turn);

/* Why nothing more will pass here, as far as a cheap look tells: the code of a broken direction,
 * KIN_ETORN where the owner died in the middle, or 0. */
int kin__turn_verdict(const struct kin__turn *turn);

/* For the sweeper: the process is dead. Idempotent. */
void kin__turn_sweep(struct kin__turn *turn, uint32_t slot, uint32_t generation);

#endif
