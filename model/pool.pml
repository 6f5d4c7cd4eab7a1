/*
 * A pool's tasks: sent, claimed, answered, taken back, lost with a worker. docs/design/pool.md.
 */
/* mutants: NO_CLAIM ANSWERED_BEFORE_RUN NO_LAST_LOOK ORPHANS_NOT_QUEUED BLIND_RETRY */
/* pan: -w22 */
/*
 * A parent with TASKS tasks and two workers, each with a list of what it was sent. A worker claims a
 * task (PENDING to STARTED), runs it, and publishes the answer. The parent gives out what is queued,
 * takes back what has not begun (PENDING to REVOKED), reads answers, and, when a worker is dead,
 * first reads its last answers and then settles what is left on its list: what had not begun is
 * queued again, what had is lost or, where it may be retried, queued again. A dead worker is
 * replaced. Up to KILLS workers are killed, each between any two stores.
 *
 * Claims: every task ends; it is answered only after it ran; without retries it never runs twice; it is
 * lost only if it had begun; task 0, which may be retried, is run again only after a death.
 */
#define TASKS 2
#define WORKERS 2
#ifndef KILLS
#define KILLS 1
#endif

#define PENDING 0
#define STARTED 1
#define REVOKED 2

#define QUEUED 0
#define SENT 1
#define DONE 2
#define LOST 3

/* The parent's. */
byte state[TASKS];
byte at[TASKS];        /* SENT: the worker */
byte number[TASKS];    /* the message that it is in */
byte deaths[TASKS];

/* Shared: a message a sending, of which each death causes TASKS more, and taking back one. */
#define MESSAGES 8
byte word[MESSAGES];
byte names[MESSAGES];
byte to[MESSAGES];
bool answered[MESSAGES];   /* published */
byte sent;                 /* messages published so far */

byte runs[TASKS];
byte kills = KILLS;
bool dead[WORKERS], gone[WORKERS];
byte read_to[WORKERS];

#define RETRIES(t) (t == 0)
#define ENDED(t) (state[t] == DONE || state[t] == LOST)
#define ALL_ENDED (ENDED(0) && ENDED(1))

inline step(me) {
    if
    :: atomic { kills > 0 -> kills--; dead[me] = true } goto died
    :: skip
    fi
}

proctype worker(byte me; byte from) {
    byte m = from;
    do
    :: m < sent && to[m] == me ->
        step(me);
#ifdef MUTANT_NO_CLAIM
        if
        :: word[m] == PENDING -> step(me); word[m] = STARTED
        :: else -> goto next
        fi;
#else
        if
        :: atomic { word[m] == PENDING -> word[m] = STARTED }
        :: word[m] == REVOKED -> goto next
        fi;
#endif
        step(me);
#ifdef MUTANT_ANSWERED_BEFORE_RUN
        answered[m] = true;
        step(me);
#endif
        atomic { runs[names[m]]++ }
        step(me);
        answered[m] = true; /* the result ring's tail */
        step(me);
next:
        m++
    :: m < sent && to[m] != me -> m++
    :: m == sent && ALL_ENDED -> break
    od;
died:
    gone[me] = true
}

inline send(t, w) {
    atomic {
        assert(sent < MESSAGES);
        word[sent] = PENDING;
        names[sent] = t;
        to[sent] = w;
        at[t] = w;
        number[t] = sent;
        state[t] = SENT;
        sent++
    }
}

inline read_answer(t) {
    atomic {
        assert(runs[t] > 0);
        assert(word[number[t]] == STARTED);
        state[t] = DONE
    }
}

inline settle(t) {
    if
    :: word[number[t]] == PENDING ->
#ifdef MUTANT_ORPHANS_NOT_QUEUED
        state[t] = LOST
#else
        state[t] = QUEUED
#endif
    :: word[number[t]] == STARTED ->
        assert(!answered[number[t]]); /* what was answered is neither lost nor run again */
        deaths[t]++;
        if
#ifdef MUTANT_BLIND_RETRY
        :: true -> state[t] = QUEUED
#else
        :: RETRIES(t) && deaths[t] <= 1 -> state[t] = QUEUED
        :: else -> state[t] = LOST
#endif
        fi
    :: else
    fi
}

/* Each of the parent's steps is taken under the pool's lock. */
proctype parent() {
    byte t, w, back = 1;
    do
    :: ALL_ENDED -> break
    :: else ->
        if
        :: atomic { state[0] == QUEUED -> t = 0 } goto give
        :: atomic { state[1] == QUEUED -> t = 1 } goto give
        :: atomic { state[0] == SENT && answered[number[0]] -> t = 0 } read_answer(t)
        :: atomic { state[1] == SENT && answered[number[1]] -> t = 1 } read_answer(t)
        :: atomic { back > 0 && state[1] == SENT -> back--; t = 1 }
            /* Taken back for a worker that is idle. */
            if
            :: atomic { word[number[t]] == PENDING -> word[number[t]] = REVOKED; state[t] = QUEUED }
            :: word[number[t]] != PENDING
            fi
        :: atomic { gone[0] && dead[0] -> w = 0 } goto bury
        :: atomic { gone[1] && dead[1] -> w = 1 } goto bury
        fi;
        goto again;
give:
        if
        :: !dead[0] -> send(t, 0)
        :: !dead[1] -> send(t, 1)
        :: dead[0] && gone[0] -> w = 0; goto bury
        :: dead[1] && gone[1] -> w = 1; goto bury
        fi;
        goto again;
bury:
        /* One step for the others: the dead one does nothing any more. */
        atomic {
            t = 0;
#ifndef MUTANT_NO_LAST_LOOK
            do
            :: t < TASKS ->
                if
                :: state[t] == SENT && at[t] == w && answered[number[t]] -> read_answer(t)
                :: else
                fi;
                t++
            :: else -> break
            od;
            t = 0;
#endif
            do
            :: t < TASKS ->
                if
                :: state[t] == SENT && at[t] == w -> settle(t)
                :: else
                fi;
                t++
            :: else -> break
            od;
            dead[w] = false;
            gone[w] = false;
            run worker(w, sent);
            t = 0;
            w = 0
        };
again:
        t = 0
    od
}

init {
    atomic { run worker(0, 0); run worker(1, 0); run parent() }
    (ALL_ENDED);
    assert(state[0] == DONE || deaths[0] == 2); /* with one kill: it is never lost */
    assert(state[1] == DONE || deaths[1] == 1);
    assert(runs[0] <= 1 + deaths[0]);
    assert(runs[1] <= 1);
    assert(state[1] == LOST || runs[1] == 1)
}
