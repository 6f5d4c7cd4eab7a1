/*
 * Runs of units and leases under the heap lock (docs/design/arena.md): two users allocate and free
 * runs of one or two of three units, each of them may be killed behind any store, also while it
 * repairs what the other left; a sweeper frees what the leases of the dead name.
 *
 * Claims: no unit is ever in two blocks; a lease frees its own block or none; runs cover the area
 * whenever the lock's owner died; in the end the counters are true and the only blocks left are
 * those that a dead user had taken off its lease.
 *
 * The lock is robust: with a dead owner it may be taken, and whoever takes it repairs. Reading
 * under the lock is one step; each store to shared memory is a step of its own.
 */
/* mutants: LEASE_LATE SPLIT_HEAD_FIRST NO_GENERATION NO_REPAIR */
/* pan: -w24 */

#define UNITS 3
#define ROUNDS 2
#define KILLS 2

#define INSIDE 0
#define FREE 1
#define LARGE 2

/* Shared: the truth. */
byte kind[UNITS], length[UNITS];  /* an entry: always stored together */
byte word[UNITS];                 /* generation of a live block, 0: free */
byte lease_unit[4], lease_gen[4]; /* stored together; generation 0: none */
/* Shared: caches. */
byte used;
bool stale;
byte generation;
byte lock; /* 0: free; 3: the sweeper */

/* Ghosts. */
byte own[UNITS];       /* who has the unit in a block, 0: nobody */
bool dead[4], done[4]; /* 3, the sweeper, does neither */
bool bare[4];          /* it died with a block on no lease */
byte kills;

#define entry(u, k, n) d_step { kind[u] = k; length[u] = n }

inline may_die()
{
    if
    :: atomic { id != 3 && kills < KILLS -> kills++; dead[id] = true; bare[id] = taken }
       goto out
    :: skip
    fi
}

inline release()
{
    lock = 0;
    may_die()
}

/* Runs cover the area: the walk from the start meets heads only. */
inline repair()
{
    used = 0;
    may_die();
    u = 0;
    do
    :: u < UNITS ->
        assert(kind[u] != INSIDE && length[u] > 0 && u + length[u] <= UNITS);
        if
        :: kind[u] == LARGE && word[u] == 0 -> entry(u, FREE, length[u]); may_die()
        :: else
        fi;
        if
        :: kind[u] == FREE ->
            do
            :: u + length[u] < UNITS && (kind[u + length[u]] == FREE ||
                                         (kind[u + length[u]] == LARGE && word[u + length[u]] == 0)) ->
                assert(length[u + length[u]] > 0);
                entry(u, FREE, length[u] + length[u + length[u]]);
                may_die()
            :: else -> break
            od
        :: else -> used = used + length[u]; may_die()
        fi;
        n = 1;
        do
        :: n < length[u] ->
            if
            :: kind[u + n] != INSIDE -> entry(u + n, INSIDE, 0); may_die()
            :: else
            fi;
            n++
        :: else -> break
        od;
        u = u + length[u]
    :: else -> break
    od;
    stale = false;
    may_die()
}

inline acquire()
{
    atomic {
        (lock == 0 || (lock < 3 && dead[lock]));
        stale = stale || lock != 0;
        lock = id
    }
    may_die();
#ifndef MUTANT_NO_REPAIR
    if
    :: stale -> repair()
    :: else
    fi
#endif
}

/* Frees the live block at `at`; lock held. */
inline free_block()
{
    d_step {
        n = length[at];
        word[at] = 0;
        u = 0;
        do
        :: u < n -> own[at + u] = 0; u++
        :: else -> break
        od
    }
    may_die();
    used = used - n;
    may_die();
    entry(at, FREE, n);
    may_die();
    u = at + n;
    if
    :: u < UNITS && kind[u] == FREE ->
        entry(at, FREE, n + length[u]);
        may_die();
        entry(u, INSIDE, 0);
        may_die()
    :: else
    fi;
    /* The free run that ends just before, if any. */
    d_step {
        u = 0;
        do
        :: u < at && !(kind[u] == FREE && u + length[u] == at) -> u++
        :: else -> break
        od
    }
    if
    :: u < at ->
        entry(u, FREE, length[u] + length[at]);
        may_die();
        entry(at, INSIDE, 0);
        may_die()
    :: else
    fi
}

inline take_lease()
{
    d_step { lease_unit[id] = at; lease_gen[id] = gen }
    may_die()
}

inline drop_lease()
{
    d_step { lease_unit[id] = 0; lease_gen[id] = 0 }
    may_die()
}

/* The block comes to be: one store. */
inline commit()
{
    d_step {
        kind[at] = LARGE;
        length[at] = want;
        n = 0;
        do
        :: n < want -> assert(own[at + n] == 0); own[at + n] = id; n++
        :: else -> break
        od
    }
    may_die()
}

proctype user(byte id)
{
    byte round, want, at, gen, u, n, rest;
    bool taken; /* ghost: it has a block and took it off the lease */
    do
    :: round < ROUNDS ->
        round++;
        if
        :: want = 1
        :: want = 2
        fi;
        acquire();
        d_step {
            at = 0;
            do
            :: at < UNITS && !(kind[at] == FREE && length[at] >= want) -> at++
            :: else -> break
            od
        }
        if
        :: at == UNITS -> release()
        :: else ->
            generation = generation + 1;
            gen = generation;
            may_die();
#ifndef MUTANT_LEASE_LATE
            take_lease();
#endif
            word[at] = gen;
            may_die();
            rest = length[at] - want;
#ifdef MUTANT_SPLIT_HEAD_FIRST
            commit();
#endif
            if
            :: rest > 0 -> entry(at + want, FREE, rest); may_die()
            :: else
            fi;
#ifndef MUTANT_SPLIT_HEAD_FIRST
            commit();
#endif
#ifdef MUTANT_LEASE_LATE
            take_lease();
#endif
            used = used + want;
            may_die();
            release();
            d_step { taken = true; lease_unit[id] = 0; lease_gen[id] = 0 }
            may_die();

            /* The block is the user's. To free it, it goes on a lease and comes off last. */
            d_step { taken = false; lease_unit[id] = at; lease_gen[id] = gen }
            may_die();
            acquire();
            assert(kind[at] == LARGE && word[at] == gen && own[at] == id);
            free_block();
            release();
            drop_lease()
        fi
    :: else -> break
    od;
out:
    done[id] = true
}

inline sweep_one()
{
    acquire();
    at = lease_unit[who];
    if
#ifdef MUTANT_NO_GENERATION
    :: lease_gen[who] != 0 && kind[at] == LARGE && word[at] != 0 ->
#else
    :: lease_gen[who] != 0 && kind[at] == LARGE && word[at] == lease_gen[who] ->
#endif
        assert(own[at] == who);
        free_block()
    :: else
    fi;
    release();
    d_step { lease_gen[who] = 0; lease_unit[who] = 0 }
    swept[who] = true
}

proctype sweeper()
{
    byte id = 3, who, at, u, n, sum;
    bool taken, swept[3];
    do
    :: atomic { done[1] && dead[1] && !swept[1] -> who = 1 }; sweep_one()
    :: atomic { done[2] && dead[2] && !swept[2] -> who = 2 }; sweep_one()
    :: atomic { done[1] && done[2] && (!dead[1] || swept[1]) && (!dead[2] || swept[2]) } -> break
    od;
    /* The end: all that is left is what the dead had taken for good. */
    acquire();
    u = 0;
    do
    :: u < UNITS ->
        assert(kind[u] == FREE || kind[u] == LARGE);
        n = 0;
        do
        :: n < length[u] ->
            assert(n == 0 || kind[u + n] == INSIDE);
            assert((kind[u] == LARGE) == (own[u + n] != 0));
            assert(own[u + n] == 0 || (dead[own[u + n]] && bare[own[u + n]]));
            n++
        :: else -> break
        od;
        sum = sum + (kind[u] == LARGE -> length[u] : 0);
        at = u + length[u];
        assert(at == UNITS || kind[u] == LARGE || kind[at] == LARGE);
        u = at
    :: else -> break
    od;
    assert(sum == used);
out:
    skip
}

init
{
    atomic {
        kind[0] = FREE;
        length[0] = UNITS;
        run user(1);
        run user(2);
        run sweeper()
    }
}
