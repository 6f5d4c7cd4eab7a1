/*
 * The barrier (src/sync/barrier.c, docs/design/monitor.md): two parties a phase, and three processes that
 * come once or twice. The first brings an action, which may fail; the third may time out, be interrupted,
 * and end in an orderly way while it waits; who finds the barrier broken may reset it, once in all. Two
 * may be killed at any step, also while they sweep or reset.
 *
 * Claims: a phase passes only when its two parties have come, none of them a dead one that has been
 * swept, and either all of its parties pass or none; the barrier breaks for a cause; without a kill
 * nobody sleeps whose phase is over or broken, and nobody needs the slice for that; with a kill no
 * survivor does, nor beside a party that died.
 */
/* mutants: NOTE_LATE SWEEP_CLEARS_FIRST SWEEP_CURRENT_ONLY NO_HISTORY TIMEOUT_BLIND ACT_BLIND RING_ONE */
/* pan: -w24 */

#define PROCESSES 3
#define PARTIES 2
#define ROUNDS(p) ((p) == 2 -> 1 : 2)
#define KILLS 2
#define RESETS 1
#define PHASES 5
#define NOBODY 3

#define FILLING 0
#define ACTING 1
#define BROKEN 2

/* The state: one store, so one step. */
byte phase, arrived, status;
bool history[PHASES];
/* {party, phase, waiting}: of the one thread that a process has here. */
byte note[PROCESSES];
#define NOTE(phase_, waiting) (1 + 2 * (phase_) + (waiting))
#define IS_WAITING(p) (note[p] == NOTE(phase, 1))

byte mutex = NOBODY, sweep_lock = NOBODY;

/* The door: its word is what `last` has made it, and has the bit. */
byte last = NOBODY;
bool raised;
bool asleep[PROCESSES];

bool killed[PROCESSES], ended[PROCESSES], swept[PROCESSES];
byte kills, resets;

/* Ghosts. */
byte in[PROCESSES];     /* the phase that it waits for */
#define TOO_MANY 255
bool party[PROCESSES];  /* it has arrived since the last reset */
bool left_behind[PROCESSES]; /* it ended, or was interrupted, and its arrival still counts */
byte arrivals[PHASES];
bool told_broken[PHASES];

#define IS_GONE(p) (killed[p] || ended[p])
#define UNSWEPT(p) (IS_GONE(p) && !swept[p])
#define TO_SWEEP (UNSWEPT(0) || UNSWEPT(1) || UNSWEPT(2))
#define OWED(p) (killed[p] && party[p])
#define OVER(p) (phase != in[p])
#define GOES_ON(p) (in[p] == TOO_MANY -> status != ACTING : OVER(p) || status == BROKEN)

/* One step, or death instead of it. */
#define die atomic { kills < KILLS -> kills++; asleep[me] = false; killed[me] = true; goto dead }
#define step(does) if :: die :: atomic { does } fi

inline next_phase(passed)
{
	assert(!passed || (arrivals[phase] == PARTIES && !told_broken[phase]));
	assert(!passed || !((OWED(0) && swept[0]) || (OWED(1) && swept[1]) || (OWED(2) && swept[2])));
	history[phase] = passed;
	phase++;
	status = FILLING;
	arrived = 0
}

/* The kernel hands a dead owner's mutex on. The state is whole: nothing to repair. */
inline lock()
{
	step(mutex == NOBODY || IS_GONE(mutex) -> mutex = me)
}

inline unlock()
{
	step(mutex = NOBODY)
}

inline ring()
{
	step(before = raised; last = me);
	if
	:: before ->
#ifdef MUTANT_RING_ONE
		step(
			if
			:: asleep[0] -> asleep[0] = false
			:: asleep[1] -> asleep[1] = false
			:: asleep[2] -> asleep[2] = false
			:: !asleep[0] && !asleep[1] && !asleep[2]
			fi
		)
#else
		step(if :: raised -> raised = false; last = NOBODY :: else fi);
		step(asleep[0] = false; asleep[1] = false; asleep[2] = false)
#endif
	:: else
	fi;
	before = false
}

/* rc: 0, or how it ends */
#define AGAIN 1
#define EBROKEN 2
inline arrive()
{
	lock();
	if
	:: status == FILLING ->
#ifndef MUTANT_NOTE_LATE
		step(note[me] = NOTE(phase, 1));
#endif
		step(
			arrivals[phase]++;
			in[me] = phase;
			party[me] = true;
			last_one = (arrived + 1 == PARTIES);
			if
			:: !last_one -> arrived++
			:: last_one && me == 0 -> arrived++; status = ACTING
			:: last_one && me != 0 -> next_phase(true)
			fi
		);
#ifdef MUTANT_NOTE_LATE
		step(note[me] = NOTE(in[me], 1));
#endif
		rc = 0
	:: status == ACTING -> rc = AGAIN
	:: status == BROKEN -> rc = EBROKEN
	fi;
	unlock();
	if
	:: rc == 0 && last_one && me != 0 -> ring()
	:: else
	fi
}

inline break_it()
{
	step(status = BROKEN)
}

/* At a slice's end: one of the dead, unless somebody is at it. */
inline sweep()
{
	atomic {
		if
		:: TO_SWEEP && (sweep_lock == NOBODY || IS_GONE(sweep_lock)) ->
			sweep_lock = me;
			if
			:: UNSWEPT(0) -> who = 0
			:: UNSWEPT(1) -> who = 1
			:: UNSWEPT(2) -> who = 2
			fi
		:: else
		fi
	};
	if
	:: who != NOBODY ->
		lock();
		breaks = IS_WAITING(who) || (killed[who] && note[who] != 0);
#ifdef MUTANT_SWEEP_CURRENT_ONLY
		breaks = IS_WAITING(who);
#endif
#ifdef MUTANT_SWEEP_CLEARS_FIRST
		step(note[who] = 0);
#endif
		if
		:: breaks ->
			assert(status == BROKEN || killed[who] || left_behind[who]);
			break_it()
		:: else
		fi;
		step(note[who] = 0);
		breaks = false;
		unlock();
		ring();
		step(swept[who] = true; sweep_lock = NOBODY; who = NOBODY)
	:: else
	fi
}

inline announce()
{
	step(raised = true; last = me)
}

/* futex_wait: compares and sleeps in one step */
inline sleep()
{
	step(if :: last == me && raised -> asleep[me] = true :: else fi)
}

proctype Process(byte me)
{
	byte rounds, who = NOBODY, rc;
	bool last_one, before, breaks;

next:
	atomic {
		rc = 0;
		last_one = false;
		in[me] = 0;
		if
		:: rounds < ROUNDS(me) -> rounds++
		:: ended[me] = true; goto dead
		fi
	};
	arrive();
one_too_many:
	if
	:: rc == AGAIN ->
		in[me] = TOO_MANY;
		announce();
		arrive();
		if
		:: rc == AGAIN ->
			sleep();
			if
			:: atomic { !asleep[me] -> goto one_too_many }
			:: atomic { asleep[me] && (TO_SWEEP || (kills > 0 && GOES_ON(me))) -> asleep[me] = false }
			:: die
			fi;
			sweep();
			goto one_too_many
		:: else
		fi
	:: else
	fi;
	if
	:: rc == EBROKEN -> goto broken
	:: rc == 0 && last_one && me == 0 -> goto act
	:: rc == 0 && last_one && me != 0 -> goto next
	:: else
	fi;
wait:
	announce();
	step(rc = (OVER(me) -> (history[in[me]] -> 0 : EBROKEN) : (status == BROKEN -> EBROKEN : AGAIN)));
#ifdef MUTANT_NO_HISTORY
	if :: OVER(me) -> rc = 0 :: else fi;
#endif
	if
	:: rc == AGAIN
	:: rc == EBROKEN -> atomic { told_broken[in[me]] = true; assert(!history[in[me]]) }; goto broken
	:: rc == 0 -> assert(arrivals[in[me]] == PARTIES && !told_broken[in[me]]); goto next
	fi;
	sleep();
	if
	:: atomic { !asleep[me] -> goto wait }
	/* The slice, which without a death nobody needs. */
	:: atomic { asleep[me] && (TO_SWEEP || (kills > 0 && GOES_ON(me))) -> asleep[me] = false }
	:: atomic { me == 2 && asleep[me] -> asleep[me] = false; goto time_out }
	:: atomic { me == 2 && asleep[me] -> asleep[me] = false; goto interrupted }
	:: atomic { me == 2 && asleep[me] -> asleep[me] = false; ended[me] = true; left_behind[me] = true; goto dead }
	:: die
	fi;
	sweep();
	goto wait;

time_out:
	lock();
#ifdef MUTANT_TIMEOUT_BLIND
	if
	:: true ->
#else
	if
	:: !OVER(me) && status != BROKEN ->
#endif
		step(status = BROKEN; told_broken[in[me]] = true; assert(!history[in[me]]));
		unlock();
		ring();
		goto broken
	:: else -> unlock()
	fi;
	goto next;

interrupted:
	lock();
	if
	:: !OVER(me) && status == FILLING ->
		step(arrived--; arrivals[phase]--);
		step(note[me] = NOTE(in[me], 0))
	:: !OVER(me) && status == ACTING -> left_behind[me] = true /* too late to leave: it counts, and so does its end */
	:: else
	fi;
	unlock();
	goto next;

act:
	if
	:: rc = 0
	:: rc = EBROKEN
	:: die
	fi;
	lock();
	if
#ifndef MUTANT_ACT_BLIND
	:: OVER(me) || status == BROKEN -> rc = EBROKEN
#endif
	:: else ->
		if
		:: rc == 0 -> step(next_phase(true))
		:: else -> break_it()
		fi
	fi;
	unlock();
	ring();
	if :: rc == 0 -> goto next :: else fi;

broken:
	if
	:: atomic { resets < RESETS -> resets++ }
	:: goto next
	fi;
	lock();
	step(
		next_phase(false);
		/* It makes whole what swept deaths broke. */
		party[0] = party[0] && note[0];
		party[1] = party[1] && note[1];
		party[2] = party[2] && note[2]
	);
	step(note[0] = 0; party[0] = false);
	step(note[1] = 0; party[1] = false);
	step(note[2] = 0; party[2] = false);
	unlock();
	ring();
	goto next;
dead:
	skip
}

#define STILL(p) (asleep[p] || IS_GONE(p))
#define STUCK(p) (asleep[p] && GOES_ON(p))

/* Nobody moves any more but by an interrupt, a limit or a kill. */
active proctype Watch()
{
end_watch:
	do
	:: atomic {
		STILL(0) && STILL(1) && STILL(2) && (asleep[0] || asleep[1] || asleep[2]) &&
		((kills == 0 && !left_behind[2]) || (!TO_SWEEP && !STUCK(0) && !STUCK(1) && !STUCK(2))) ->
			assert(!STUCK(0) && !STUCK(1) && !STUCK(2));
			assert(status == FILLING && arrived < PARTIES);
			assert(!OWED(0) && !OWED(1) && !OWED(2))
	}
	od
}

init {
	atomic { run Process(0); run Process(1); run Process(2) }
}
