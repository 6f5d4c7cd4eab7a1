/*
 * The tracker: a process outside the family that removes names once the family is gone. Layer: shm.
 * Protocol: docs/design/segment.md.
 */
#ifndef KIN_SHM_TRACKER_H
#define KIN_SHM_TRACKER_H

#include "os/os.h"

/*
 * From now on the name is removed when no process is left that can reach the tracker, if it still
 * means that file. Starts the tracker if there is none. Blocks while it starts; no lock is held.
 * -EAGAIN if it is stopped and its pipe full; what a process and a pipe can fail with.
 */
int kin__tracker_add(const struct kin__named *named, const char *name);

/* Takes one back whose name is gone. Only saves the tracker memory, so failure does not matter. */
void kin__tracker_remove(const struct kin__named *named, const char *name);

/* What a new process's slot says of the descriptor that it has from the one it was forked from. */
uint32_t kin__tracker_inherited(void);

#endif
