/* Spinning for a moment before sleeping, where that pays. Layer: sync. */
#ifndef KIN_SYNC_SPIN_H
#define KIN_SYNC_SPIN_H

#include "base/atomic.h"

/*
 * How long to spin on one object, learned by all its users together: nanoseconds + 1; 0: not
 * learned yet. A hint: races on it cost a bad guess.
 */
struct kin__spin {
    kin__a32 budget;
};

/*
 * Spins until (*word & mask) is zero (`zero`) or not zero (!`zero`). Returns whether it came to be;
 * false at once where spinning has not paid lately or only one CPU may be used.
 */
bool kin__spin_until(struct kin__spin *spin, const kin__a32 *word, uint32_t mask, bool zero);

/* For tests: this process and the children it forks later do not spin. */
void kin__spin_refuse(bool refuse);

#endif
