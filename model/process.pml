/*
 * Becoming and ending a member of the family (src/shm/{slot,sweep}.c, src/process/fork.c;
 * docs/design/process.md).
 *
 * P reserves a slot and forks. Its child C adopts the slot, runs and ends; P reaps it and sweeps its
 * slot. Q, born without a slot, claims that same slot for itself whenever it is free. Two sweepers go
 * round. P, C and Q may be killed at any step, two of them, and one sweeper. Claims: nobody loses the
 * slot that he lives in or is about to adopt, and in the end the slot is nobody's.
 */
/* mutants: RESERVER_LATER ORPHANS_FORGOTTEN UNSEEN_GIVEN_UP NOT_LOOKED_AGAIN PID_TOLD */
/* pan: */

mtype = { FREE, EMBRYO, LIVE, SWEEPING };

#define NONE 0
#define P 1
#define C 2
#define Q 3
#define OLD 4        /* lives for ever: who reserved the slot in former times */

/* The state word: one store. */
mtype phase = FREE;
byte generation;
byte reserver = OLD;

byte slot_pid;
byte forked;         /* generation whose fork has returned in P */
bool p_swept;        /* P's own slot */
bool alive[5];
bool zombie;         /* C has ended and P has not reaped it */
bool p_over, c_over, q_over;
byte kills;
bool sweeper_died;
bool lock;           /* head.sweep */

#define over (p_over && c_over && q_over)
#define embryo(g) (phase == EMBRYO && generation == g)

/* Between two stores. */
inline step()
{
	if
	:: kills < 2 -> kills++; goto gone
	:: true
	fi
}

/* FREE to EMBRYO, if it is free, with the number of the claim. */
inline claim(who)
{
	atomic {
		if
		:: phase == FREE -> phase = EMBRYO; generation++; mine = generation;
#ifndef MUTANT_RESERVER_LATER
			reserver = who
#endif
		:: else -> goto gone
		fi
	};
	step();
#ifdef MUTANT_RESERVER_LATER
	reserver = who;
	step()
#endif
}

/* EMBRYO to LIVE by whoever is to have the slot. */
inline adopt()
{
	assert(embryo(mine));
	step();
	slot_pid = me;
	step();
	atomic { assert(embryo(mine)); phase = LIVE };
	step();
	assert(phase == LIVE && generation == mine && slot_pid == me);
	step()
}

proctype Child(byte mine)
{
	byte me = C;
	step();
	adopt();
gone:	atomic { alive[C] = false; c_over = true; zombie = true }
}

proctype Parent()
{
	byte mine;
	bool has_forked;
	claim(P);
	atomic { alive[C] = true; c_over = false; has_forked = true; run Child(mine) };
	step();
	forked = mine;
	step();
#ifdef MUTANT_PID_TOLD
	if
	:: generation == mine -> step(); slot_pid = C
	:: else
	fi;
	step();
#endif
	zombie; /* join */
	step();
	/* kin__sweep_slot: it knows that the child is gone. */
	atomic { !lock -> lock = true };
	if
	:: generation == mine && phase != FREE ->
		phase = SWEEPING; slot_pid = NONE; phase = FREE
	:: else
	fi;
	lock = false;
gone:	atomic { alive[P] = false; p_over = true }
}

proctype Claimer()
{
	byte me = Q, mine;
	claim(NONE);
	adopt();
gone:	atomic { alive[Q] = false; q_over = true }
}

inline sweeper_step()
{
	if
	:: first && !sweeper_died -> sweeper_died = true; goto gone
	:: true
	fi
}

/* One round over both slots. */
inline round()
{
	/* P's own. */
	if
	:: !alive[P] && !p_swept ->
		atomic { !lock -> lock = true; has = true };
		sweeper_step();
#ifndef MUTANT_ORPHANS_FORGOTTEN
		atomic {
			if
			:: phase == EMBRYO && reserver == P -> reserver = NONE
			:: else
			fi
		};
		sweeper_step();
#endif
		p_swept = true;
		lock = false; has = false
	:: else
	fi;
	sweeper_step();
	/* The other one: is_dead ... */
	atomic { seen = generation; dead = false; look = false;
		if
		:: phase == SWEEPING -> dead = true
		:: phase == LIVE || (phase == EMBRYO && slot_pid != NONE) -> dead = (slot_pid != NONE && !alive[slot_pid])
		:: phase == EMBRYO && slot_pid == NONE -> look = (reserver == NONE || forked == generation)
		:: phase == FREE
		fi
	};
	sweeper_step();
	if
	:: look ->
#ifdef MUTANT_UNSEEN_GIVEN_UP
		dead = true
#else
		/* Each process in turn; one that the table names is known. */
		atomic { dead = !(alive[C] && slot_pid != C) };
		sweeper_step();
		atomic { dead = dead && !(alive[Q] && slot_pid != Q) };
		sweeper_step();
#ifndef MUTANT_NOT_LOOKED_AGAIN
		dead = dead && slot_pid == NONE
#endif
#endif
	:: else
	fi;
	sweeper_step();
	/* ... begin and finish. */
	if
	:: dead ->
		atomic { !lock -> lock = true; has = true };
		sweeper_step();
		if
		:: atomic { generation == seen && phase != FREE -> phase = SWEEPING };
			sweeper_step();
			slot_pid = NONE;
			sweeper_step();
			phase = FREE
		:: else
		fi;
		lock = false; has = false
	:: else
	fi
}

proctype Sweeper(bool first)
{
	byte seen, rounds;
	bool dead, look, has;
	do
	:: rounds < 1 -> round(); rounds++
	:: over -> break
	od;
	if
	:: first -> goto gone
	:: else
	fi;
	round();
	round();
	assert(phase == FREE);
gone:	if :: has -> lock = false :: else fi
}

init
{
	atomic {
		alive[P] = true; alive[Q] = true; alive[OLD] = true; c_over = true;
		run Parent(); run Claimer(); run Sweeper(true); run Sweeper(false)
	}
}
