/*
 * The condition's tickets (src/sync/condition.c, docs/design/monitor.md): two wait for work under the lock, one
 * makes it and notifies one, another takes the lock and gives it back. One waiter or the notifier may
 * be killed at any step; then so may the first of two sweepers. The lock under it is lock.pml's: its
 * sweep, which counts a death, comes before the condition's or behind it.
 *
 * Claim: when nothing moves any more, no living waiter sleeps while there is work; one whose next
 * slice shows it a death may, if somebody had the dead one's lock before the sweep came.
 */
/* mutants: NO_PASS_ON PASS_ON_IN_STEPS NO_DEATHS NOBODY_NOTIFIED TICKET_BEHIND_UNLOCK */
/* pan: */

#define NOTIFIER 2
#define VISITOR 3
#define SWEEPER 4
#define NONE 9

mtype = { FREE, WAITING, NOTIFIED, NOTIFIED_ALL };

mtype ticket[2] = FREE; /* each waiter has its own */
byte number[2], next = 1, all_before;
bool sealed;            /* log: the heir is NOTIFIED, the other FREE */
byte heir_noted;

byte owner = NONE;      /* of the monitor's mutex */
byte holder = NONE;     /* of the lock */
bool recoverable;
byte deaths;
bool work;
bool succeeded;         /* somebody had a dead one's lock */
bool dead[6], asleep[2];
byte victim;
byte seen_deaths[2];

inline may_die()
{
	if
	:: atomic { (me == victim || (me == SWEEPER && dead[victim])) && !dead[me] ->
			dead[me] = true; if :: me < 2 -> asleep[me] = false :: else fi };
		goto gone
	:: true
	fi
}

inline lock()
{
	atomic { holder == NONE -> holder = me; succeeded = succeeded || recoverable; recoverable = false };
	may_die()
}

inline unlock()
{
	holder = NONE;
	may_die()
}

/* Tickets before the limit: what follows from its store. */
inline notify_all_before()
{
	if :: ticket[0] == WAITING && number[0] < all_before -> ticket[0] = NOTIFIED_ALL; may_die() :: else fi;
	if :: ticket[1] == WAITING && number[1] < all_before -> ticket[1] = NOTIFIED_ALL; may_die() :: else fi
}

inline enter()
{
	atomic { (owner == NONE || dead[owner]) -> after_death = (owner != NONE); owner = me };
	may_die();
	if
	:: sealed ->
		ticket[heir_noted] = NOTIFIED;
		may_die();
		ticket[1 - heir_noted] = FREE;
		may_die();
		sealed = false;
		may_die()
	:: else
	fi;
	if
	:: after_death -> notify_all_before()
	:: else
	fi
}

inline leave()
{
	owner = NONE;
	may_die()
}

inline take_ticket()
{
	enter();
	number[me] = next;
	next++;
	may_die();
	ticket[me] = WAITING;
	may_die();
	leave()
}

proctype Waiter(byte me)
{
	bool after_death;

	may_die();
	lock();
	do
	:: work -> break
	:: else ->
		seen_deaths[me] = deaths;
#ifdef MUTANT_TICKET_BEHIND_UNLOCK
		unlock();
		take_ticket();
#else
		take_ticket();
		unlock();
#endif
		do
#ifdef MUTANT_NO_DEATHS
		:: ticket[me] != WAITING -> break
		:: ticket[me] == WAITING ->
#else
		:: ticket[me] != WAITING || deaths != seen_deaths[me] -> break
		:: ticket[me] == WAITING && deaths == seen_deaths[me] ->
#endif
			may_die();
			atomic { if :: ticket[me] == WAITING -> asleep[me] = true :: else fi };
end_asleep:
			if
			:: atomic { !asleep[me] }
			:: atomic { me == victim && asleep[me] && !dead[me] -> dead[me] = true; asleep[me] = false };
				goto gone
			fi
		od;
		may_die();
		lock();
		enter();
		ticket[me] = FREE;
		may_die();
		leave()
	od;
	work = false;
	may_die();
	unlock();
gone:
	skip
}

proctype Notifier(byte me)
{
	bool after_death;
	byte chosen = NONE;

	lock();
	work = true;
	may_die();
	enter();
	atomic {
		if
		:: ticket[0] == WAITING && !(ticket[1] == WAITING && number[1] < number[0]) -> chosen = 0
		:: ticket[1] == WAITING && !(ticket[0] == WAITING && number[0] < number[1]) -> chosen = 1
		:: else
		fi;
		if :: chosen != NONE -> ticket[chosen] = NOTIFIED :: else fi
	};
	may_die();
	leave();
	if :: chosen != NONE -> asleep[chosen] = false :: else fi;
	may_die();
	unlock();
gone:
	skip
}

active proctype Visitor()
{
	atomic { holder == NONE -> holder = VISITOR; succeeded = succeeded || recoverable; recoverable = false };
	holder = NONE
}

inline sweep_lock()
{
	if
	:: holder == victim ->
		deaths++;
		may_die();
		atomic { if :: holder == victim -> holder = NONE; recoverable = true :: else fi };
		may_die()
	:: else
	fi
}

inline sweep_tickets()
{
	broken = (recoverable || holder == victim);
	may_die();
	enter();
#ifndef MUTANT_NOBODY_NOTIFIED
	if
	:: broken -> all_before = next; may_die(); notify_all_before()
	:: else
	fi;
#endif
	if
	:: victim < 2 && ticket[victim] == NOTIFIED && ticket[1 - victim] == WAITING ->
#ifdef MUTANT_NO_PASS_ON
		ticket[victim] = FREE;
#else
#ifdef MUTANT_PASS_ON_IN_STEPS
		ticket[victim] = FREE;
		may_die();
		ticket[1 - victim] = NOTIFIED;
		may_die()
#else
		heir_noted = 1 - victim;
		may_die();
		sealed = true;
		may_die();
		ticket[1 - victim] = NOTIFIED;
		may_die();
		ticket[victim] = FREE;
		may_die();
		sealed = false;
		may_die()
#endif
#endif
	:: victim < 2 && ticket[victim] != FREE && !(ticket[victim] == NOTIFIED && ticket[1 - victim] == WAITING) ->
		ticket[victim] = FREE;
		may_die()
	:: else
	fi;
	leave();
	asleep[0] = false;
	asleep[1] = false;
	may_die()
}

proctype Sweeper(byte me)
{
	bool after_death, broken;

end_nobody_dies:
	dead[victim] && (me == SWEEPER || dead[SWEEPER]);
	if
	:: sweep_lock(); sweep_tickets()
	:: sweep_tickets(); sweep_lock()
	fi;
gone:
	skip
}

active proctype Watch()
{
end_watch:
	timeout;
#ifdef MUTANT_NO_DEATHS
	assert(!work || (!asleep[0] && !asleep[1]))
#else
	assert(!work || (!asleep[0] && !asleep[1]) ||
		(succeeded && (!asleep[0] || deaths != seen_deaths[0]) && (!asleep[1] || deaths != seen_deaths[1])))
#endif
}

init {
	atomic {
		if :: victim = 0 :: victim = NOTIFIER fi;
		run Waiter(0); run Waiter(1); run Notifier(NOTIFIER);
		run Sweeper(SWEEPER); run Sweeper(SWEEPER + 1)
	}
}
