/*
 * The semaphore over a monitor (src/sync/semaphore.c, docs/design/monitor.md): of one unit, three take
 * and post. The first may be killed at any step, the third may be interrupted while it sleeps. The
 * first of two sweepers may be killed, too. The door is door.pml's:
 * an announcement, a ring that moves the bell and wakes one, a sleep that compares.
 *
 * Claims: never two have the unit; it is neither lost nor doubled, whoever dies where; no survivor
 * sleeps for ever, and none needs a slice.
 */
/* mutants: SEALED_EARLY NO_REDO NO_LOOK NO_PASS_ON SWEEP_WITHOUT_RING UNITS_KEPT */
/* pan: */

#define INITIAL 1
#define SWEEPER 3
#define NONE 9

byte value = INITIAL;
byte held[3];
bool sealed;
byte log_slot, log_held, log_value;

byte owner = NONE; /* of the robust mutex */
bool dead[5];
byte bell;
bool asleep[3];
byte inside, ended;

/* The first party, and the first sweeper. */
inline may_die()
{
	if
	:: (me == 0 || me == SWEEPER) && !dead[me] ->
		atomic {
			dead[me] = true;
			if :: me == 0 -> asleep[0] = false; inside = inside - mine :: else fi
		};
		goto gone
	:: true
	fi
}

inline enter()
{
	atomic { (owner == NONE || dead[owner]) -> owner = me };
	may_die();
	if
	:: sealed ->
#ifndef MUTANT_NO_REDO
		held[log_slot] = log_held;
		may_die();
		value = log_value;
		may_die();
#endif
		sealed = false;
		may_die()
	:: else
	fi
}

inline leave()
{
	owner = NONE;
	may_die()
}

inline commit(slot, new_held, new_value)
{
#ifdef MUTANT_SEALED_EARLY
	sealed = true;
	may_die();
#endif
	log_slot = slot;
	may_die();
	log_held = new_held;
	may_die();
	log_value = new_value;
	may_die();
	sealed = true;
	may_die();
	held[slot] = new_held;
	may_die();
	value = new_value;
	may_die();
	sealed = false;
	may_die()
}

/* One sleeper, any of them; it is awake when it looks next. */
inline ring_one()
{
	atomic {
		bell++;
		if
		:: asleep[0] -> asleep[0] = false
		:: asleep[1] -> asleep[1] = false
		:: asleep[2] -> asleep[2] = false
		:: !asleep[0] && !asleep[1] && !asleep[2]
		fi
	}
}

inline take()
{
	got = false;
	if
	:: value == 0
	:: value != 0 ->
		enter();
		if
		:: value != 0 ->
			commit(me, held[me] + 1, value - 1);
			got = true
		:: else
		fi;
		leave()
	fi
}

proctype Party(byte me)
{
	byte seen, mine;
	bool got;

	may_die();
	take();
	do
	:: got -> break
	:: else ->
		seen = bell;
		may_die();
#ifndef MUTANT_NO_LOOK
		take();
		if :: got -> break :: else fi;
		may_die();
#endif
		atomic { if :: bell == seen -> asleep[me] = true :: else fi };
		if
		:: atomic { !asleep[me] }
		:: atomic { me == 0 && asleep[0] -> dead[0] = true; asleep[0] = false }; goto gone
		:: atomic { me == 2 && asleep[2] -> asleep[2] = false }; goto interrupted
		fi;
		if
		:: me == 2 -> goto interrupted /* after all */
		:: true
		fi
	od;
	atomic { mine = 1; inside++; assert(inside == 1) };
	may_die();
	atomic { inside--; mine = 0 };
	enter();
	commit(me, held[me] - 1, value + 1);
	leave();
	ring_one();
	goto gone;
interrupted:
#ifndef MUTANT_NO_PASS_ON
	if :: value != 0 -> ring_one() :: else fi;
#endif
gone:
	ended++
}

proctype Sweeper(byte me)
{
	byte units, mine;

end_nobody_dies:
	dead[0] && (me == SWEEPER || dead[SWEEPER]);
	enter();
	units = held[0];
	if
	:: units > INITIAL - value -> units = INITIAL - value
	:: else
	fi;
#ifndef MUTANT_UNITS_KEPT
	if
	:: held[0] != 0 -> commit(0, 0, value + units)
	:: else
	fi;
#endif
	leave();
#ifndef MUTANT_SWEEP_WITHOUT_RING
	atomic { bell++; asleep[0] = false; asleep[1] = false; asleep[2] = false };
#endif
gone:
	skip
}

/* Once the living have ended and nothing is left to sweep. */
active proctype Watch()
{
end_watch:
	atomic {
		ended == 3 && owner == NONE && !sealed && (!dead[0] || held[0] == 0) ->
		assert(value == INITIAL && held[1] == 0 && held[2] == 0)
	}
}

init { atomic { run Party(0); run Party(1); run Party(2); run Sweeper(SWEEPER); run Sweeper(SWEEPER + 1) } }
