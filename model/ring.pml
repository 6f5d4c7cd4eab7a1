/*
 * A pool's ring and the bell of its reader: quiet and loud publishing. docs/design/ring.md.
 */
/* mutants: PUBLISHED_BEFORE_WRITTEN NO_ANNOUNCE_CHECK QUIET_AT_THE_END RING_BEFORE_PUBLISH */
/* pan: -w22 */
/*
 * The writer puts N records into a ring of ROOM, each in two stores; it publishes each by a store,
 * quietly as long as it has more to do, and with a look at the bell where it has not, or where it
 * is about to sleep for room. The reader drains, announces, looks again and sleeps; a sleep ends by
 * a ring, or, where the writer is dead, by the slice. Either may be killed at any step.
 *
 * Claims: what is read is whole and in order; no record is overwritten before it is released;
 * neither sleeps for ever while the other lives: with both alive all N records arrive without a
 * slice, and after a death the reader has all that was published.
 */
#define N 4
#define ROOM 2

byte data[ROOM];  /* 0: being written; else the number of the record, from 1 */
byte tail, head;  /* shared */
bool bell, asleep;      /* announced; in the kernel */
bool door, dozes;       /* the writer's: announced; in the kernel */
byte got;
bool writer_died, reader_died, writer_ended;
byte kills = 1;

inline step_writer() {
    if
    :: atomic { kills > 0 -> kills--; writer_died = true } goto gone
    :: skip
    fi
}

inline step_reader() {
    if
    :: atomic { kills > 0 -> kills--; reader_died = true } goto gone
    :: skip
    fi
}

/* A read-modify-write, or the kernel's: whoever is asleep wakes. */
inline ring_bell() {
    if
    :: bell ->
        step_writer();
        atomic { bell = false; asleep = false }
    :: else
    fi
}

proctype writer() {
    byte own = 0;
    bool urgent;
    do
    :: own < N ->
        /* Room: what is known of the reader's position may be old, never too new. */
        do
        :: own - head < ROOM -> break
        :: else ->
            /* All that is quiet is told before the sleep. */
            ring_bell();
            step_writer();
            door = true;
            step_writer();
            if
            :: own - head < ROOM -> break
            :: else ->
                atomic {
                    if
                    :: door -> dozes = true
                    :: else
                    fi
                }
                (!dozes || reader_died); /* or the slice, at which it sees the death */
                if
                :: reader_died -> goto gone
                :: else
                fi
            fi
        od;
#ifdef MUTANT_PUBLISHED_BEFORE_WRITTEN
        tail = own + 1;
        step_writer();
#endif
        data[own % ROOM] = 0;
        step_writer();
        data[own % ROOM] = own + 1;
        step_writer();
#ifdef MUTANT_QUIET_AT_THE_END
        urgent = false;
#else
        urgent = (own + 1 == N);
#endif
        if
        :: urgent = true /* it may always ring */
        :: skip
        fi;
#ifdef MUTANT_RING_BEFORE_PUBLISH
        if
        :: urgent -> ring_bell()
        :: else
        fi;
        step_writer();
        tail = own + 1;
#else
        tail = own + 1;
        step_writer();
        if
        :: urgent -> ring_bell()
        :: else
        fi;
#endif
        own++;
        step_writer()
    :: else -> break
    od;
    writer_ended = true;
gone:
    skip
}

proctype reader() {
    byte own = 0, seen;
    do
    :: own < N ->
        seen = tail;
        step_reader();
        if
        :: own < seen ->
            assert(data[own % ROOM] == own + 1);
            own++;
            step_reader();
            got = own;
            head = own; /* the release */
            step_reader();
            if
            :: door ->
                step_reader();
                atomic { door = false; dozes = false }
            :: else
            fi
        :: else ->
            bell = true;
            step_reader();
#ifndef MUTANT_NO_ANNOUNCE_CHECK
            seen = tail;
            if
            :: own < seen -> skip
            :: else ->
#endif
                atomic {
                    if
                    :: bell -> asleep = true
                    :: else
                    fi
                }
                (!asleep || writer_died);
                if
                :: writer_died && own == tail -> break
                :: else -> asleep = false
                fi
#ifndef MUTANT_NO_ANNOUNCE_CHECK
            fi
#endif
        fi
    :: else -> break
    od;
gone:
    skip
}

init {
    atomic { run writer(); run reader() }
    /* Whoever lives comes to an end: a deadlock is an invalid end state. */
    (_nr_pr == 1);
    assert(reader_died || got == N || (writer_died && got == tail))
}
