/*
 * The arena's fixed layout: head, process slots, unit tables, then the data. Layer: shm.
 * Protocols: docs/design/family.md (head, slots, sweep), docs/design/arena.md (units, blocks).
 *
 * Everything here is shared by all members of a family and holds offsets, never pointers. What a
 * member reads here is input: copied to a local, then checked.
 */
#ifndef KIN_SHM_LAYOUT_H
#define KIN_SHM_LAYOUT_H

#include <pthread.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"

#define KIN__MAGIC UINT64_C(0x6b6c6f666e696b01) /* "\1kinfolk" */
#define KIN__ABI 1

#define KIN__SLOTS 1024       /* processes alive at once in a family */
#define KIN__NO_SLOT UINT32_MAX
#define KIN__LEASES 128       /* block leases that one process can hold at once */
#define KIN__UNIT 65536       /* bytes; the arena grows and is cut in these */
#define KIN__CLASSES 40       /* block sizes below a unit; see arena.c */

/*
 * A block's lease: "if I die, this block is to be freed". {offset / 64 : 40, generation : 24}; 0:
 * none. Single writer: the process that owns the slot; the sweeper, once it is dead.
 */
typedef kin__a64 kin__lease;

enum kin__slot_phase {
    KIN__SLOT_FREE,
    KIN__SLOT_EMBRYO,   /* reserved by a parent for a child that has not begun to run */
    KIN__SLOT_LIVE,     /* its process runs and has locked `life` */
    KIN__SLOT_SWEEPING, /* its process is gone; a sweeper puts right what it left */
};

/*
 * One process. Invariants: `life` is locked by the process from before LIVE until its end, and by
 * nobody else but a sweeper; a generation names one process for good.
 */
struct kin__slot {
    pthread_mutex_t life;      /* robust; its first word is the life word */
    kin__a64 state;            /* {generation : 32, slot of an embryo's live reserver + 1 : 24,
                                  phase : 8}; CAS by whoever moves it */
    kin__a32 pid;              /* 0 in an embryo whose pid nobody has written yet */
    kin__a32 reserves;         /* 1: it may have reserved embryos; written by the process itself */
    kin__a32 forked;           /* generation whose fork has returned in the parent */
    kin__a64 reserved_at;      /* ticks since boot at which it became an embryo, or earlier */
    kin__a32 life_ready;       /* 1 once `life` is initialised, which happens once for the memory */
    kin__a32 tracker;          /* 1 + the descriptor on which it reaches the tracker, or 0 */
    kin__a32 leaving;          /* 1: it ends in an orderly way; written by the process itself */
    kin__a64 seen_at;          /* ticks since boot; who has the pid but started later is another */
    /* For the process layer (docs/design/process.md). */
    kin__a32 exit_known;       /* 1 once exit_status holds a wait status written by its reaper */
    kin__a32 exit_status;
    kin__a64 process_word[4];
    kin__lease lease[KIN__LEASES] __attribute__((aligned(64)));
} __attribute__((aligned(4096)));

/*
 * A unit's entry {kind : 8, class : 8, reserved : 16, length in units : 32}. The entries of the
 * first units of runs cover the whole data area, data_offset to committed, without gap or overlap
 * at every instruction.
 */
enum kin__unit_kind {
    KIN__UNIT_INSIDE, /* not the first of a run */
    KIN__UNIT_FREE,
    KIN__UNIT_LARGE,  /* one block of `length` units */
    KIN__UNIT_DATA,   /* a slab of data blocks of one class */
    KIN__UNIT_OBJECT, /* a slab of objects of one class: type-stable, never freed */
};

/*
 * A block's word {generation : 48, slot : 12, state : 4}: the truth about the block; free lists and
 * bitmaps are caches of it. Of large blocks in the word table, of small ones in their slab.
 */
enum kin__block_state {
    KIN__BLOCK_FREE,
    KIN__BLOCK_LIVE,
};

/*
 * Caches and counters of the heap, guarded by `lock`, rebuilt from the truth when its owner died.
 * A unit number of 0 means none: unit 0 holds the head.
 */
struct kin__heap {
    pthread_mutex_t lock; /* robust; rank: heap */
    uint32_t stale;       /* 1: a cache was found wrong; whoever locks next rebuilds them */
    uint32_t search;      /* unit where the next search for a free run begins (cache) */
    uint64_t generation;  /* of the youngest block; stored before the block's word */
    uint64_t used;        /* bytes in live blocks (cache) */
    uint64_t blocks;      /* live blocks (cache) */
    kin__a32 all_objects; /* the newest object slab; the slabs are linked, append-only, and read
                             without the lock */
    uint32_t data_slabs[KIN__CLASSES];   /* the first slab with a free block */
    uint32_t object_slabs[KIN__CLASSES]; /* the same for objects */
};

struct kin__head {
    uint64_t magic;
    uint32_t abi;
    uint32_t slots;
    uint64_t family;      /* random, never 0 */
    uint64_t pid_namespace;
    uint64_t size;        /* bytes reserved = the quota */
    uint64_t address;     /* where every member maps the arena */
    uint64_t slots_offset;
    uint64_t units_offset; /* entries, one uint64 a unit of the whole file */
    uint64_t words_offset; /* block words, the same */
    uint64_t data_offset;  /* first byte of the first data unit; a multiple of KIN__UNIT */
    kin__a64 committed;    /* bytes of the file that exist and that runs cover; only grows, by one
                              store under the heap lock */
    kin__a64 generation;   /* source of object generations */
    kin__a32 slots_high;   /* slots below this have been used at some time; only grows */
    pthread_mutex_t sweep __attribute__((aligned(64)));   /* robust; rank: sweep (outermost) */
    pthread_mutex_t objects __attribute__((aligned(64))); /* robust; rank: objects; guards holders */
    kin__a32 deaths __attribute__((aligned(64)));         /* bumped and rung after each sweep */
    kin__a64 tracker_starter;  /* {generation : 32, slot + 1 : 32} of who is starting the tracker */
    kin__a32 tracker_turn;     /* bumped and rung when that is over */
    struct kin__heap heap __attribute__((aligned(64)));
};

/*
 * Lock ranks. A thread may take a lock only if it holds none of an inner rank:
 * sweep < object (the mutex of one queue, semaphore, ...) < objects < heap.
 * Nothing sleeps, calls the system or touches user memory while it holds one of the last three.
 */

#endif
