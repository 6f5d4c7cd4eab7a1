/*
 * The queue's descriptors: a bystander asleep in poll(-1) never misses a message, whoever is
 * killed. docs/design/queue.md.
 *
 * Two producers put two messages each, a rival takes some, the poller sleeps until its bell is
 * readable and then takes one. Producers and the rival may be killed between any two stores, up to
 * KILLS of them; nobody repairs anything, because nothing needs it.
 *
 * Claim: while there is a message the bell is readable.
 */
/* mutants: COMMIT_BEFORE_RING NOTED_BEFORE_RING DRAIN_WITHOUT_LOCK DRAIN_UNSEEN */
/* pan: */
#define KILLS 3
#define NOBODY 9
#define POLLER 3

byte head, tail;
bool bell; /* its descriptor is readable */
bool rung; /* the poller's entry in the queue says so */
byte lock = NOBODY;
byte kills = KILLS;
bool dead[4], finished[4];

inline die(me) {
    if
    :: atomic { kills > 0 -> kills--; dead[me] = true } goto gone
    :: skip
    fi
}

inline enter(me) {
    atomic { (lock == NOBODY || dead[lock]); lock = me }
}

inline leave(me) {
    lock = NOBODY
}

proctype producer(byte me) {
    byte n;
    do
    :: n < 2 ->
        enter(me);
#ifdef MUTANT_COMMIT_BEFORE_RING
        tail++;
        die(me);
        if
        :: head + 1 == tail && !rung -> bell = true; die(me); rung = true
        :: else
        fi;
#else
        if
        :: head == tail && !rung ->
#ifdef MUTANT_NOTED_BEFORE_RING
            rung = true;
            die(me);
            bell = true;
#else
            bell = true; /* the datagram */
            die(me);
            rung = true;
#endif
            die(me)
        :: else
        fi;
        tail++; /* the commit */
#endif
        die(me);
        leave(me);
        n++
    :: else -> break
    od;
gone:
    finished[me] = true
}

proctype rival(byte me) {
    byte n;
    do
    :: n < 2 ->
        enter(me);
        die(me);
        if
        :: head != tail -> head++
        :: else
        fi;
        die(me);
        leave(me);
        n++
    :: else -> break
    od;
gone:
    finished[me] = true
}

proctype poller() {
end:
    do
    :: bell -> /* poll(-1) returns */
#ifdef MUTANT_DRAIN_WITHOUT_LOCK
        rung = false;
        bell = false;
#endif
        enter(POLLER);
        if
        :: head != tail -> head++
        :: else
        fi;
#ifndef MUTANT_DRAIN_WITHOUT_LOCK
        if
#ifdef MUTANT_DRAIN_UNSEEN
        :: true ->
#else
        :: head == tail ->
#endif
            rung = false;
            bell = false /* drained */
        :: else
        fi;
#endif
        leave(POLLER)
    od
}

proctype monitor() {
    assert(head == tail || bell)
}

init {
    atomic {
        run producer(0);
        run producer(1);
        run rival(2);
        run poller();
        run monitor()
    }
    (finished[0] && finished[1] && finished[2])
}
