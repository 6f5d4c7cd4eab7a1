/*
 * The owner word (src/sync/owner.c, docs/design/lock.md): three lock and unlock; the first does so once
 * or twice and may be killed at any step, the third may go away without the lock once it has slept.
 *
 * Claims: never two inside, unless one died there and the other is told; exactly one is told of a
 * death with the lock; without a kill everybody ends and nobody needs a slice for that; with a kill
 * all others end within a few slices.
 */
/* mutants: NO_PASS_ON TAKEN_WITHOUT_BIT NO_COMPARE BURIED_AS_FREE TAKEN_BY_STORE NO_WAKE */
/* pan: */

#define FREE 0          /* holders: 1, 2, 3, or ... */
#define RECOVERABLE 4
#ifdef MUTANT_BURIED_AS_FREE
#define BURIED FREE
#else
#define BURIED RECOVERABLE
#endif
#define SLICES 2        /* that a survivor may need */

byte holder = FREE;
bool waiters;           /* somebody sleeps */
bool asleep[4];
bool dead;              /* the first one */
bool died_with_it;
bool inside;
byte told, ended;

inline may_die()
{
	if
	:: me == 1 && !dead ->
		atomic { dead = true; asleep[1] = false; died_with_it = (holder == 1) };
		goto gone
	:: true
	fi
}

/* futex_wake: any one of the sleepers */
inline wake_one()
{
	atomic {
		if
		:: asleep[1] -> asleep[1] = false
		:: asleep[2] -> asleep[2] = false
		:: asleep[3] -> asleep[3] = false
		:: !asleep[1] && !asleep[2] && !asleep[3]
		fi
	}
}

inline look()
{
	atomic { seen = holder; raised = waiters }
}

proctype Locker(byte me)
{
	byte seen, slices;
	bool raised, slept, recovered, once;

begin:
	atomic { if :: holder == FREE && !waiters -> holder = me; goto got :: else fi };
again:
	may_die();
	look();
	if
	:: seen == FREE || seen == RECOVERABLE ->
		may_die();
#ifdef MUTANT_TAKEN_BY_STORE
		atomic { holder = me; waiters = slept || raised; recovered = (seen == RECOVERABLE); goto got }
#else
		atomic {
			if
			:: holder == seen && waiters == raised ->
				holder = me;
#ifndef MUTANT_TAKEN_WITHOUT_BIT
				waiters = slept || raised;
#endif
				recovered = (seen == RECOVERABLE);
				goto got
			:: else -> goto again
			fi
		}
#endif
	:: else
	fi;
	if
	:: me == 3 && slept -> goto leave
	:: true
	fi;
	if
	:: slept && seen == 1 && dead ->
		/* the sweep: one compare-and-swap that keeps the bit, then all are woken */
		atomic { if :: holder == 1 -> holder = BURIED :: else fi };
		atomic { asleep[1] = false; asleep[2] = false; asleep[3] = false };
		goto again
	:: else
	fi;
	slept = true;
	atomic { if :: holder == seen && waiters == raised -> waiters = true :: else -> goto again fi };
	may_die();
	/* futex_waitv: compares the word, and the life word of who is in it, and sleeps in one step */
#ifdef MUTANT_NO_COMPARE
	asleep[me] = true;
#else
	atomic { if :: holder == seen && waiters && !(seen == 1 && dead) -> asleep[me] = true :: else fi };
#endif
	do
	:: atomic { !asleep[me] -> break }
	:: atomic { asleep[me] && seen == 1 && dead -> asleep[me] = false }
	:: atomic { timeout && dead && asleep[me] && slices < SLICES -> slices++; asleep[me] = false }
	:: atomic { me == 1 && asleep[1] && !dead -> dead = true; asleep[1] = false; goto gone }
	od;
	may_die(); /* woken, killed before it takes */
	goto again;
got:
	may_die();
	atomic {
		assert(!inside || recovered);
		inside = true;
		told = told + (recovered -> 1 : 0);
	};
	may_die();
	inside = false;
	may_die();
	atomic { raised = waiters; holder = FREE; waiters = false };
	may_die();
#ifndef MUTANT_NO_WAKE
	if :: raised -> wake_one() :: else fi;
#endif
	if
	:: me == 1 && !once -> once = true; slept = false; recovered = false; goto begin
	:: true
	fi;
	goto gone;
leave:
#ifndef MUTANT_NO_PASS_ON
	look();
	if
	:: seen == FREE || seen == RECOVERABLE -> wake_one()
	:: else -> atomic { if :: holder == seen && waiters == raised -> waiters = true :: else -> goto leave fi }
	fi;
#endif
gone:
	ended++
}

active proctype Watch()
{
end_watch:
	ended == 3;
	assert(holder == FREE || (dead && (holder == 1 || holder == RECOVERABLE)));
	assert(told == ((died_with_it && holder == FREE) -> 1 : 0))
}

init { atomic { run Locker(1); run Locker(2); run Locker(3) } }
