/*
 * The queue's line: who owns a block, whoever is killed. docs/design/queue.md.
 */
/* mutants: NO_SETTLE LEASE_CLEARED_EARLY LEASE_TAKEN_LATE NO_GENERATION SWEEP_BEFORE_VISIT NOTE_CLEARED_FIRST */
/* pan: -w24 */
/*
 * Two producers put one message each, each in a block; a consumer takes; a sweeper comes after
 * the dead. Up to KILLS of these four are killed, each between any two stores; whoever comes to
 * the lock of a dead owner settles the note, and may be killed in that too. Init sweeps last.
 *
 * Claims: a block is freed only while live and by one who owns it; who uses a block has it alone;
 * at the end a block is live if and only if it is in the line.
 */
#ifndef KILLS
#define KILLS 3
#endif
#define NB 2    /* blocks: fewer than messages and corpses can pin, so that they are used again */
#define WORKERS 3
#define SWEEPER 3
#define LAST 4
#define NOBODY 9

/* A lease value names a block and its generation; 0: none. */
#define VALUE(b) (1 + (b) + NB * gen[b])
#define BLOCK(v) (((v) - 1) % NB)
#ifdef MUTANT_NO_GENERATION
#define IS(v) (live[BLOCK(v)])
#else
#define IS(v) (live[BLOCK(v)] && (v) == VALUE(BLOCK(v)))
#endif

bool live[NB];
byte gen[NB];
byte user[NB];       /* ghost: who reads or writes the block, NOBODY */
byte lease[WORKERS];

byte line[4], head, tail;

#define NONE 0
#define GIVE 1
#define TAKE 2
byte note_kind, note_value, note_lease, note_block;

byte lock = NOBODY, sweep_lock = NOBODY;
bool owner_died;

byte kills = KILLS;
bool dead[5], finished[5], swept[WORKERS];

inline die(me) {
    if
    :: atomic { kills > 0 && me != LAST -> kills--; dead[me] = true } goto gone
    :: skip
    fi
}

/* The kernel hands a dead owner's lock on. */
inline enter(me) {
    atomic {
        (lock == NOBODY || dead[lock]);
        owner_died = (lock != NOBODY);
        lock = me
    }
    if
    :: owner_died ->
        die(me);
        settle(me)
    :: else
    fi
}

inline leave(me) {
    lock = NOBODY
}

inline settle(me) {
#ifndef MUTANT_NO_SETTLE
    if
    :: note_kind != NONE ->
#ifdef MUTANT_NOTE_CLEARED_FIRST
        atomic { kind = note_kind; note_kind = NONE }
        die(me);
#else
        kind = note_kind;
#endif
        if
        :: (kind == GIVE && tail == note_value) || (kind == TAKE && head != note_value) ->
            die(me);
            atomic {
                if
                :: lease[note_lease] == note_block -> lease[note_lease] = 0
                :: else
                fi
            }
        :: else
        fi;
        die(me);
        note_kind = NONE
    :: else
    fi;
    kind = NONE;
#else
    note_kind = NONE;
#endif
    die(me)
}

/* kin__block_free_leased: one store, under the heap's lock. */
inline free_leased(v) {
    atomic {
        if
        :: IS(v) ->
            assert(user[BLOCK(v)] == NOBODY); /* nobody else was using it */
            live[BLOCK(v)] = false
        :: else
        fi
    }
}

proctype producer(byte me) {
    byte v, kind;
    /* A block is on the lease from the instruction that takes it. */
    if
    :: atomic { !live[0] -> live[0] = true; gen[0] = (gen[0] + 1) % 4; v = VALUE(0); lease[me] = v }
    :: atomic { !live[1] -> live[1] = true; gen[1] = (gen[1] + 1) % 4; v = VALUE(1); lease[me] = v }
    fi;
    die(me);
    enter(me);
    atomic { line[tail] = v; note_value = tail + 1; note_lease = me; note_block = v }
    die(me);
    note_kind = GIVE;
    die(me);
#ifdef MUTANT_LEASE_CLEARED_EARLY
    lease[me] = 0;
    die(me);
#endif
    tail = tail + 1; /* the commit */
    die(me);
    lease[me] = 0;
    die(me);
    note_kind = NONE;
    leave(me);
gone:
    finished[me] = true
}

#define SUPPLY_ENDED (finished[0] && finished[1])

proctype consumer(byte me) {
    byte v, kind;
    do
    :: enter(me);
        if
        :: head != tail ->
            v = line[head];
            atomic { note_value = head + 1; note_lease = me; note_block = v }
            die(me);
            note_kind = TAKE;
            die(me);
#ifndef MUTANT_LEASE_TAKEN_LATE
            lease[me] = v;
            die(me);
#endif
            head = head + 1; /* the commit */
            die(me);
#ifdef MUTANT_LEASE_TAKEN_LATE
            note_kind = NONE;
            die(me);
            lease[me] = v;
            die(me);
#endif
            note_kind = NONE;
            leave(me);
            atomic {
                assert(live[BLOCK(v)] && v == VALUE(BLOCK(v)) && user[BLOCK(v)] == NOBODY);
                user[BLOCK(v)] = me
            }
            user[BLOCK(v)] = NOBODY; /* read */
            die(me);
            free_leased(v);
            die(me);
            lease[me] = 0;
            v = 0
        :: else ->
            leave(me);
            (head != tail || SUPPLY_ENDED);
            if
            :: head == tail && SUPPLY_ENDED -> break
            :: else
            fi
        fi
    od;
gone:
    finished[me] = true
}

/* One dead process after another, as sweep.c does: visit its objects, then free by its leases. */
inline sweep_one(me, d) {
#ifndef MUTANT_SWEEP_BEFORE_VISIT
    enter(me);
    die(me);
    leave(me);
    die(me);
#endif
    if
    :: lease[d] != 0 ->
        v = lease[d];
        free_leased(v);
        die(me);
        lease[d] = 0;
        v = 0;
        die(me)
    :: else
    fi;
#ifdef MUTANT_SWEEP_BEFORE_VISIT
    enter(me);
    die(me);
    leave(me);
    die(me);
#endif
    swept[d] = true
}

#define TO_SWEEP(d) (dead[d] && finished[d] && !swept[d])
#define MUST_SWEEP (TO_SWEEP(0) || TO_SWEEP(1) || TO_SWEEP(2))
#define ALL_ENDED (finished[0] && finished[1] && finished[2])

proctype sweeper(byte me) {
    byte v, kind, d;
    do
    :: MUST_SWEEP && (sweep_lock == NOBODY || dead[sweep_lock]) ->
        atomic {
            if
            :: sweep_lock == NOBODY || dead[sweep_lock] -> sweep_lock = me
            :: else -> goto again
            fi
        }
        d = 0;
        do
        :: d < WORKERS ->
            if
            :: TO_SWEEP(d) ->
                die(me);
                sweep_one(me, d)
            :: else
            fi;
            d++
        :: else -> break
        od;
        d = 0;
        die(me);
        sweep_lock = NOBODY;
again:
        skip
    :: ALL_ENDED && !MUST_SWEEP -> break
    :: me == SWEEPER && ALL_ENDED -> break /* Init does the rest */
    od;
gone:
    finished[me] = true
}

#define IN_LINE(b)                                                                                 \
    ((head < tail && BLOCK(line[head]) == b) || (head + 1 < tail && BLOCK(line[head + 1]) == b))

init {
    atomic {
        user[0] = NOBODY;
        user[1] = NOBODY;
        run producer(0);
        run producer(1);
        run consumer(2);
        run sweeper(SWEEPER)
    }
    (ALL_ENDED && finished[SWEEPER]);
    run sweeper(LAST);
    finished[LAST];
    assert(live[0] == IN_LINE(0));
    assert(live[1] == IN_LINE(1));
    assert(note_kind == NONE);
    /* A consumer that lives has left nothing. */
    assert(dead[2] || head == tail)
}
