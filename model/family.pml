/*
 * Holding and taking apart a shared object (src/shm/object.c, docs/design/family.md).
 *
 * A makes an object, hands out a reference and drops it; B attaches by the reference and drops it.
 * Either may be killed at any step. Two sweepers in turn take over what the dead left; the first
 * of them may be killed as well. Claims: the block is freed exactly once, after fini has run to its
 * end if the object was ever live, and never while a live process uses it; in the end nothing is
 * left. Every step that is atomic here is one store, or reads under the `objects` lock.
 */
/* mutants: BIT_CLEARED_BEFORE_FINI NO_OWN FREE_WITH_BIT ATTACH_TO_ENDING */
/* pan: */

mtype = { FREE, MAKING, LIVE, ENDING };

#define A 0
#define B 1
#define SWEEPER 2      /* the first one; the second is 3 and not killed */

mtype tag = FREE;
bool typed;          /* the tag names a type: its fini is called */
bool holder[2];
bool block;          /* the block's word is LIVE ... */
byte owner;          /* ... and names this process */
byte finis, frees;   /* ended calls of fini; frees of the block */
bool was_live;
bool dead[2];
bool using[2];       /* a live process relies on the object */
bool published;      /* A has given its reference to B */
bool left[2];        /* has come to its end, or was killed */
byte kills;          /* of A and B together: one */
bool sweeper_died;
byte sweeps;         /* slots whose sweep is done */

/* Between two stores: one of A and B may be killed, and the first sweeper. */
inline step()
{
	if
	:: me < 2 && kills == 0 -> kills = 1; dead[me] = true; using[me] = false; left[me] = true; goto gone
	:: me == SWEEPER && !sweeper_died -> sweeper_died = true; goto gone
	:: true
	fi
}

inline others_hold(me, result)
{
	result = holder[1 - me]
}

/* let_go and take_apart for `slot`. */
inline let_go(slot)
{
	atomic { /* under the objects lock: one store */
		last = false;
		if
		:: tag != FREE && holder[slot] ->
			others_hold(slot, other);
			if
			:: other -> holder[slot] = false
			:: else ->
				typed = (tag == MAKING -> false : typed);
				tag = ENDING; last = true;
#ifdef MUTANT_BIT_CLEARED_BEFORE_FINI
				holder[slot] = false
#endif
			fi
		:: else
		fi
	};
	step();
	if
	:: last ->
		if
		:: typed -> step(); finis++ /* idempotent: may be run more than once to its end */
		:: else
		fi;
		step();
#ifndef MUTANT_NO_OWN
		owner = slot;
#endif
		step();
#ifdef MUTANT_FREE_WITH_BIT
		atomic { assert(block); block = false; frees++ };
		step();
#endif
		atomic { tag = FREE; typed = false };
		step();
		holder[slot] = false;
		step();
#ifndef MUTANT_FREE_WITH_BIT
		atomic {
			assert(block && !using[A] && !using[B]);
			assert(!was_live || finis > 0);
			block = false; frees++
		}
#endif
	:: else
	fi
}

proctype Maker()
{
	byte me = A;
	bool last, other;
	atomic { block = true; owner = me }; /* one store of the block's word */
	step();
	holder[me] = true;
	step();
	atomic { tag = MAKING; typed = true };
	step();
	atomic { tag = LIVE; was_live = true; using[me] = true };
	step();
	published = true;
	step();
	using[me] = false; /* destroy: the last use is over */
	let_go(me);
	left[me] = true;
gone:	skip
}

proctype Taker()
{
	byte me = B;
	bool last, other, mine;
	if
	:: published
	:: left[A] -> goto out
	fi;
	step();
	atomic { /* attach, under the lock: checks, then one store */
		if
		:: tag == LIVE -> holder[me] = true; using[me] = true; mine = true
#ifdef MUTANT_ATTACH_TO_ENDING
		:: tag == ENDING -> holder[me] = true; using[me] = true; mine = true
#endif
		:: else
		fi
	};
	if :: !mine -> goto out :: else fi;
	step();
	assert(block);
	using[me] = false;
	let_go(me);
out:
	left[me] = true;
gone:	skip
}

/* Sweeps the slots of the dead; the second one runs when the first is done or killed. */
proctype Sweeper(byte me)
{
	bool last, other;
	byte slot;
	if
	:: me == SWEEPER
	:: me != SWEEPER && (sweeper_died || sweeps > 0)
	fi;
	left[A] && left[B]; /* the sweep of a slot that dies later is another sweep */
	slot = A;
	do
	:: slot > B -> break
	:: slot <= B && !dead[slot] -> slot++
	:: slot <= B && dead[slot] ->
		if
		:: tag != FREE -> let_go(slot)
		:: else ->
			holder[slot] = false;
			step();
			if
			:: block && owner == slot -> atomic { block = false; frees++ }
			:: else
			fi
		fi;
		step();
		slot++
	od;
	sweeps++;
	assert(!block && frees == 1 && tag == FREE && !holder[A] && !holder[B]);
gone:	skip
}

init { atomic { run Maker(); run Taker(); run Sweeper(SWEEPER); run Sweeper(SWEEPER + 1) } }
