/*
 * The door (src/shm/wait.h, docs/design/waiting.md): two waiters want one item each, two ringers
 * bring one item each (or only one of them does), and one waiter may be killed at any step.
 *
 * Claims: without a kill nobody sleeps while an item is there, and nobody needs the slice for
 * that; with a kill no survivor sleeps while an item is there once its slice has ended.
 */
/* mutants: NO_RECHECK ANNOUNCE_KEEPS_SEQUENCE NO_SLICE NO_RING */
/* pan: */

byte items;
byte sequence;
bool raised;
bool asleep[2];
bool crashed;

/* The word's sequence is 31 bits wide: it does not wrap here. */

inline may_die()
{
	if
	:: !crashed -> crashed = true; asleep[me] = false; goto dead
	:: true
	fi
}

proctype Waiter(byte me; bool mortal)
{
	byte seen;
	bool got;
again:
	atomic { if :: items > 0 -> items--; got = true :: else fi }
	if :: got -> goto done :: else fi;
	if :: mortal -> may_die() :: else fi;
#ifdef MUTANT_ANNOUNCE_KEEPS_SEQUENCE
	atomic { raised = true; seen = sequence };
#else
	atomic { sequence++; raised = true; seen = sequence };
#endif
	if :: mortal -> may_die() :: else fi;
#ifndef MUTANT_NO_RECHECK
	atomic { if :: items > 0 -> items--; got = true :: else fi }
	if :: got -> goto done :: else fi;
#endif
	/* futex_wait: compares and sleeps in one step */
	atomic { if :: sequence == seen && raised -> asleep[me] = true :: else fi };
end_asleep:
	do
	:: atomic { !asleep[me] -> break }
#ifndef MUTANT_NO_SLICE
	:: atomic { timeout && crashed && asleep[me] && items > 0 -> asleep[me] = false }
#endif
	:: atomic { mortal && asleep[me] && !crashed -> crashed = true; asleep[me] = false; goto dead }
	od;
	if :: mortal -> may_die() :: else fi; /* woken, killed before it takes */
	goto again;
done:
dead:	skip
}

proctype Ringer()
{
	bool before;
	byte word;
	bool woke;
	atomic { items++ };
#ifndef MUTANT_NO_RING
	atomic { before = raised; sequence++; word = sequence };
	if
	:: before ->
		atomic {
			if
			:: asleep[0] -> asleep[0] = false; woke = true
			:: asleep[1] -> asleep[1] = false; woke = true
			:: !asleep[0] && !asleep[1] -> woke = false
			fi
		};
		if
		:: !woke -> atomic { if :: sequence == word && raised -> raised = false :: else fi }
		:: else
		fi
	:: else
	fi
#endif
}

/* Nothing moves any more: nobody may be asleep beside an item, but who still has a slice to end. */
proctype Watch()
{
end_watch:
#ifdef MUTANT_NO_SLICE
	timeout;
#else
	atomic { timeout && (!crashed || items == 0) };
#endif
	assert(items == 0 || !(asleep[0] || asleep[1]))
}

init {
	atomic {
		run Waiter(0, true); run Waiter(1, false); run Ringer(); run Watch();
		if
		:: run Ringer()
		:: true
		fi
	}
}
