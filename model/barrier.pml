/*
 * The barrier's state word and notes (src/sync/barrier.c, docs/design/monitor.md): three parties go through
 * two phases. The first may be killed at any step from its arrival on, the first sweeper too; the third
 * may reset the barrier once. The state is one word: it changes by one store, under the mutex. The
 * door is door.pml's.
 *
 * Claims: a wait succeeds only if all three arrived in its phase; nobody sleeps for ever, and none
 * needs a slice; once a party has died in a phase that is not over, no wait of it succeeds.
 */
/* mutants: NOTE_BEHIND_STATE NO_HISTORY NO_LOOK SWEEP_WITHOUT_RING SWEEP_WITHOUT_BREAK */
/* pan: */

#define PARTIES 3
#define PHASES 2
#define SWEEPER 3
#define NONE 9

/* state */
byte phase, arrived;
bool broken;
bool passed[4];  /* the history: how a phase ended */

bool noted[3];   /* note: {party, phase} */
byte noted_phase[3];

byte owner = NONE;
bool dead[10];
bool known;      /* the first one has begun to arrive, since the last reset */
byte bell;
bool asleep[3];
byte came[4];    /* by phase: parties that arrived and did not die before it was over */
byte ended;

inline may_die()
{
	if
	:: atomic { ((me == 0 && known) || me == SWEEPER) && !dead[me] ->
			dead[me] = true; if :: me == 0 -> asleep[0] = false :: else fi };
		goto gone
	:: true
	fi
}

inline enter()
{
	atomic { (owner == NONE || dead[owner]) -> owner = me };
	may_die()
}

inline leave()
{
	owner = NONE;
	may_die()
}

inline ring_all()
{
	atomic { bell++; asleep[0] = false; asleep[1] = false; asleep[2] = false }
}

inline note()
{
	atomic { noted[me] = true; noted_phase[me] = phase; if :: me == 0 -> known = true :: else fi };
	may_die()
}

/* How a wait in `mine` ends. */
inline judge()
{
	atomic {
		if
		:: phase != mine ->
#ifdef MUTANT_NO_HISTORY
			over = true; good = true
#else
			over = true; good = passed[mine]
#endif
		:: phase == mine && broken -> over = true; good = false
		:: else
		fi
	}
}

proctype Party(byte me)
{
	byte seen, mine;
	bool over, good, last;

	do
	:: phase < PHASES ->
		enter();
		if
		:: broken -> leave(); goto gone
		:: phase >= PHASES -> leave(); goto gone
		:: else
		fi;
		over = false;
		good = false;
		mine = phase;
#ifndef MUTANT_NOTE_BEHIND_STATE
		note();
#endif
		atomic {
			came[mine]++;
			last = (arrived + 1 == PARTIES);
			if :: me == 0 -> known = true :: else fi;
			if
			:: last -> passed[phase] = true; phase++; arrived = 0
			:: else -> arrived++
			fi
		};
		may_die();
#ifdef MUTANT_NOTE_BEHIND_STATE
		note();
#endif
		leave();
		if
		:: last -> ring_all(); over = true; good = true
		:: else
		fi;
		may_die();
		do
		:: over -> break
		:: else ->
			seen = bell;
			may_die();
#ifndef MUTANT_NO_LOOK
			judge();
			if :: over -> break :: else fi;
			may_die();
#endif
			atomic { if :: bell == seen -> asleep[me] = true :: else fi };
			if
			:: atomic { !asleep[me] }
			:: atomic { me == 0 && known && asleep[0] -> dead[0] = true; asleep[0] = false }; goto gone
			fi;
			judge()
		od;
		atomic { assert(!good || came[mine] == PARTIES); over = false };
		if
		:: broken -> goto gone
		:: !broken /* next phase, or once more after a reset */
		fi
	:: else -> break
	od;
gone:
	ended++
}

/* By the third, or by somebody else: not after a death, which it would hide. */
proctype Resetter(byte me)
{
	if
	:: atomic { !dead[0] && (owner == NONE) -> owner = me };
		if
		:: atomic { !dead[0] && phase < PHASES ->
			passed[phase] = false; phase++; arrived = 0; broken = false; known = false };
			noted[0] = false;
			noted[1] = false;
			noted[2] = false;
		:: atomic { dead[0] || phase >= PHASES }
		fi;
		owner = NONE;
		ring_all()
	:: true
	fi
}

proctype Sweeper(byte me)
{
end_nobody_dies:
	dead[0] && (me == SWEEPER || dead[SWEEPER]);
	enter();
#ifndef MUTANT_SWEEP_WITHOUT_BREAK
	if
	:: noted[0] -> broken = true; may_die()
	:: else
	fi;
#endif
	noted[0] = false;
	may_die();
	leave();
#ifndef MUTANT_SWEEP_WITHOUT_RING
	ring_all();
#endif
gone:
	skip
}

init {
	atomic {
		run Party(0); run Party(1); run Party(2);
		run Sweeper(SWEEPER); run Sweeper(SWEEPER + 1);
		run Resetter(6)
	}
}
