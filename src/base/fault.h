/*
 * Seeded faults: deliberate bugs that a build may contain (meson -Dseeded_fault=...), so that the
 * kill sweeps can show that they would find them. An ordinary build contains none. Layer: base.
 */
#ifndef KIN_BASE_FAULT_H
#define KIN_BASE_FAULT_H

enum kin__fault {
    KIN_FAULT_NONE,
    KIN_FAULT_COMMIT_BEFORE_WRITE, /* an index is published before the data it names */
    KIN_FAULT_LEASE_CLEARED_EARLY, /* a lease is dropped before what it guards is settled */
    KIN_FAULT_WAKE_LOST,           /* a commit does not ring its door */
};

#ifndef KIN_SEEDED_FAULT
#define KIN_SEEDED_FAULT KIN_FAULT_NONE
#endif

/* Whether this build contains the fault; a constant. */
#define KIN__FAULT(name) (KIN_SEEDED_FAULT == KIN_FAULT_##name)

#endif
