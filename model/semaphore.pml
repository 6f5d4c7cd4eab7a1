/*
 * The semaphore (src/sync/semaphore.c, src/sync/monitor.h, docs/design/monitor.md): three processes
 * wait and post, five operations in any order; a wait may be interrupted, a process may end in an
 * orderly way with units held, and two may be killed at any step, also while they sweep.
 *
 * Claims: S1 and S2 whenever somebody has entered; no unit lost or invented but those that a post
 * makes and a death takes (S3); without a kill nobody sleeps beside a unit, and nobody needs the slice
 * for that; with a kill no survivor does, and no unit stays with the dead.
 */
/* mutants: SEALED_FIRST NO_LOG NO_REDO NO_ROOM SWEEP_LOOKS_FIRST SWEEP_FORGETS NO_RECHECK */
/* pan: -w24 */

#define PROCESSES 3
#define OPERATIONS(p) ((p) == 2 -> 1 : 2)
#define KILLS 2
#define INITIAL 1
#define BOUND 2
#define NOBODY 3        /* the account; also: no process */
#define VALUE 4

/* The words that the log can change: the accounts, NOBODY's, and the value. */
byte word[5];
bool sealed;
byte at[2], to[2];      /* the log's writes */
byte mutex = NOBODY, sweep_lock = NOBODY;

/* The door: its word is what `last` has made it, and has the bit. */
byte last = NOBODY;
bool raised;
bool asleep[PROCESSES];

bool killed[PROCESSES], ended[PROCESSES], swept[PROCESSES];
byte kills;
byte made, gone;        /* ghosts: units made by posts, and not come back from the dead */

#define IS_GONE(p) (killed[p] || ended[p])
#define UNSWEPT(p) (IS_GONE(p) && !swept[p])
#define TO_SWEEP (UNSWEPT(0) || UNSWEPT(1) || UNSWEPT(2))
#define HELD (word[0] + word[1] + word[2] + word[NOBODY])

/* One step, or death instead of it. */
#define die atomic { kills < KILLS -> kills++; asleep[me] = false; killed[me] = true; goto dead }
#define step(does) if :: die :: atomic { does } fi

/* The kernel hands a dead owner's mutex on. */
inline enter()
{
	step(mutex == NOBODY || IS_GONE(mutex) -> mutex = me);
#ifdef MUTANT_NO_REDO
	sealed = false;
#endif
	if
	:: sealed ->
		step(word[at[0]] = to[0]);
		step(word[at[1]] = to[1]);
		step(sealed = false)
	:: else
	fi;
	d_step {
		assert(word[VALUE] <= BOUND);
		assert(word[VALUE] + HELD + gone == INITIAL + made)
	}
}

inline leave()
{
	step(mutex = NOBODY)
}

/* `makes` and `loses`: what the commit does to the number of units. Nobody reads the log before it is
 * sealed, so that noting the writes is one step. */
inline commit(first, first_value, second, second_value, makes, loses)
{
#ifdef MUTANT_SEALED_FIRST
	step(sealed = true);
#endif
	step(at[0] = first; to[0] = first_value; at[1] = second; to[1] = second_value);
#ifdef MUTANT_NO_LOG
	atomic { made = made + makes; gone = gone + loses };
#else
	step(sealed = true; made = made + makes; gone = gone + loses);
#endif
	step(word[first] = to[0]);
	step(word[second] = to[1]);
	step(sealed = false)
}

/* -EAGAIN: `got` stays false. */
inline take()
{
	step(value = word[VALUE]);
	if
	:: value != 0 ->
		enter();
		if
		:: word[VALUE] != 0 -> commit(me, word[me] + 1, VALUE, word[VALUE] - 1, 0, 0); got = true
		:: else
		fi;
		leave()
	:: else
	fi;
	value = 0
}

inline ring_one()
{
	step(before = raised; last = me);
	if
	:: before ->
		step(
			if
			:: asleep[0] -> asleep[0] = false
			:: asleep[1] -> asleep[1] = false
			:: asleep[2] -> asleep[2] = false
			:: !asleep[0] && !asleep[1] && !asleep[2] -> before = false
			fi
		);
		if
		:: !before -> step(if :: last == me && raised -> raised = false; last = NOBODY :: else fi)
		:: else
		fi
	:: else
	fi;
	before = false
}

inline ring_all()
{
	step(before = raised; last = me);
	if
	:: before ->
		step(if :: raised -> raised = false; last = NOBODY :: else fi);
		step(asleep[0] = false; asleep[1] = false; asleep[2] = false)
	:: else
	fi;
	before = false
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
#ifdef MUTANT_SWEEP_LOOKS_FIRST
		if
		:: word[who] != 0 ->
#endif
		enter();
#ifndef MUTANT_SWEEP_FORGETS
		if
		:: word[who] != 0 && killed[who] ->
			value = (INITIAL > word[VALUE] -> INITIAL - word[VALUE] : 0);
#ifdef MUTANT_NO_ROOM
			value = word[who];
#endif
			value = (value < word[who] -> value : word[who]);
			commit(who, 0, VALUE, word[VALUE] + value, 0, word[who] - value);
			assert(value == 0 || word[VALUE] <= INITIAL);
			value = 0
		:: word[who] != 0 && !killed[who] ->
			commit(who, 0, NOBODY, word[NOBODY] + word[who], 0, 0)
		:: else
		fi;
#endif
		leave();
#ifdef MUTANT_SWEEP_LOOKS_FIRST
		:: else
		fi;
#endif
		ring_all();
		step(swept[who] = true; sweep_lock = NOBODY; who = NOBODY)
	:: else
	fi
}

proctype Process(byte me)
{
	byte done, who = NOBODY, value;
	bool got, before;

next:
	atomic {
		got = false;
		if
		:: done < OPERATIONS(me) -> done++; goto wait
		:: done < OPERATIONS(me) -> done++; goto post
		:: ended[me] = true; goto dead
		fi
	};
wait:
	take();
	if :: got -> goto next :: else fi;
again:
	step(raised = true; last = me);
#ifndef MUTANT_NO_RECHECK
	take();
	if :: got -> goto next :: else fi;
#endif
	/* futex_wait: compares and sleeps in one step */
	step(if :: last == me && raised -> asleep[me] = true :: else fi);
	if
	:: atomic { !asleep[me] -> goto again }
	/* The slice, which without a death nobody needs. */
	:: atomic { asleep[me] && (TO_SWEEP || (kills > 0 && word[VALUE] > 0)) -> asleep[me] = false }
	:: atomic { asleep[me] -> asleep[me] = false; goto interrupted }
	:: die
	fi;
	sweep();
	goto again;
interrupted:
	step(value = word[VALUE]);
	if :: value != 0 -> ring_one() :: else fi;
	goto next;
post:
	enter();
	if
	:: word[VALUE] >= BOUND -> leave(); goto next
	:: else
	fi;
	d_step {
		who = me;
		if
		:: word[me] != 0
		:: word[me] == 0 && word[NOBODY] != 0 -> who = NOBODY
		:: else ->
			if :: word[0] > word[who] -> who = 0 :: else fi;
			if :: word[1] > word[who] -> who = 1 :: else fi;
			if :: word[2] > word[who] -> who = 2 :: else fi
		fi
	};
	if
	:: word[who] == 0 -> commit(who, 0, VALUE, word[VALUE] + 1, 1, 0)
	:: else -> commit(who, word[who] - 1, VALUE, word[VALUE] + 1, 0, 0)
	fi;
	who = NOBODY;
	leave();
	ring_one();
	goto next;
dead:
	skip
}

#define STILL(p) (asleep[p] || IS_GONE(p))

/* Nobody moves any more but by an interrupt or a kill. */
active proctype Watch()
{
end_watch:
	do
	:: atomic {
		STILL(0) && STILL(1) && STILL(2) && (asleep[0] || asleep[1] || asleep[2]) &&
		(kills == 0 || (!TO_SWEEP && word[VALUE] == 0)) ->
			assert(word[VALUE] == 0 && !sealed);
			assert(HELD + gone == INITIAL + made);
			assert(!(killed[0] && word[0]) && !(killed[1] && word[1]) && !(killed[2] && word[2]))
	}
	od
}

init {
	atomic { word[VALUE] = INITIAL; run Process(0); run Process(1); run Process(2) }
}
