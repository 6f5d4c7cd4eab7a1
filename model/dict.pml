/*
 * A stripe of a dictionary (docs/design/dict.md): two users set and remove keys and put a larger
 * table in place of the present one, each of them may be killed behind any store, also while it
 * repairs what the other left; a sweeper, which may die and be followed by another, frees what the
 * leases of the dead name and nothing links.
 *
 * Claims: whatever the table links is live whenever the lock is held; in the end every live item
 * is in the table, there is one table, and the count is that of its items.
 *
 * The arena is taken as given (arena.pml): a block comes to be on a lease in one step, and freeing
 * by a word that names another life of the block does nothing. The lock is robust.
 */
/* mutants: LEASE_CLEARED_EARLY OLD_LATE NO_LINK_CHECK NO_GENERATION NO_REPAIR COPY_LATE */
/* pan: -w24 */

#define KEYS 2
#define BLOCKS 3
#define KILLS 2
#define RESTARTS 1

#define word_of(b) ((b) * 16 + live[b])
#define block_of(w) ((w) / 16)
#define is_live(w) ((w) % 16 != 0 && live[block_of(w)] == (w) % 16)

/* Shared: the truth. A word is {block, generation}; 0: none. */
byte live[BLOCKS];       /* generation of a live item, 0: free */
bool table_live[2];
byte slot[4];            /* of table t and key k: t * KEYS + k */
byte table;              /* the one that is linked */
byte fresh[3], old[3];   /* leases of the users on items */
byte fresh_table[3], old_table[3]; /* and on tables: t + 1 */
/* Shared: caches and the like. */
byte items;
bool stale;
byte generation;
byte lock;               /* 0: free; 3: the sweeper */

/* Ghosts. */
bool dead[3], done[3];
byte kills;

inline may_die()
{
    if
    :: atomic { kills < KILLS -> kills++; dead[id] = true } goto out
    :: skip
    fi
}

inline check_links()
{
    d_step {
        k = 0;
        do
        :: k < KEYS ->
            assert(slot[table * KEYS + k] == 0 || is_live(slot[table * KEYS + k]));
            k++
        :: else -> break
        od;
        assert(table_live[table]);
        k = 0
    }
}

inline repair()
{
#ifndef MUTANT_NO_REPAIR
    items = (slot[table * KEYS] != 0 -> 1 : 0) + (slot[table * KEYS + 1] != 0 -> 1 : 0);
#endif
    skip
}

inline acquire()
{
    atomic {
        (lock == 0 || (lock < 3 && dead[lock]));
        stale = stale || lock != 0;
        lock = id
    }
    may_die();
    check_links();
    if
    :: stale -> repair(); may_die(); stale = false; may_die()
    :: else
    fi
}

/* Freeing by a word. */
inline free_word(w)
{
    d_step {
        if
#ifdef MUTANT_NO_GENERATION
        :: w != 0 -> live[block_of(w)] = 0
#else
        :: w != 0 && is_live(w) -> live[block_of(w)] = 0
#endif
        :: else
        fi
    }
}

inline make_item()
{
    d_step {
        b = 0;
        do
        :: b < BLOCKS && live[b] != 0 -> b++
        :: else -> break
        od;
        if
        :: b < BLOCKS ->
            generation++;
            assert(generation < 16);
            live[b] = generation;
            fresh[id] = word_of(b);
            w = fresh[id]
        :: else -> w = 0
        fi;
        b = 0
    }
    may_die()
}

inline finish()
{
    free_word(old[id]);
    may_die();
    old[id] = 0;
    may_die();
    free_word(fresh[id]);
    may_die();
    fresh[id] = 0;
    may_die()
}

inline set()
{
    make_item();
    acquire();
    if
    :: w == 0 -> skip
    :: w != 0 ->
        b = slot[table * KEYS + key];
#ifdef MUTANT_LEASE_CLEARED_EARLY
        fresh[id] = 0;
        may_die();
#endif
#ifndef MUTANT_OLD_LATE
        old[id] = b;
        may_die();
#endif
        slot[table * KEYS + key] = w; /* commit */
        may_die();
#ifdef MUTANT_OLD_LATE
        old[id] = b;
        may_die();
#endif
        fresh[id] = 0;
        may_die();
        if
        :: b == 0 -> items++; may_die()
        :: else
        fi;
        b = 0
    fi;
    lock = 0;
    may_die();
    finish()
}

inline remove()
{
    acquire();
    if
    :: slot[table * KEYS + key] != 0 ->
        old[id] = slot[table * KEYS + key];
        may_die();
        slot[table * KEYS + key] = 0; /* commit */
        may_die();
        items--;
        may_die()
    :: else
    fi;
    lock = 0;
    may_die();
    finish()
}

inline grow()
{
    acquire();
    if
    :: !table_live[1 - table] ->
        /* Made on a lease in one step; a table is zeros at first. */
        d_step {
            t = 1 - table;
            table_live[t] = true;
            fresh_table[id] = t + 1;
            slot[t * KEYS] = 0;
            slot[t * KEYS + 1] = 0
        }
        may_die();
#ifndef MUTANT_COPY_LATE
        slot[t * KEYS] = slot[table * KEYS];
        may_die();
        slot[t * KEYS + 1] = slot[table * KEYS + 1];
        may_die();
#endif
        old_table[id] = table + 1;
        may_die();
        table = t; /* commit */
        may_die();
#ifdef MUTANT_COPY_LATE
        slot[t * KEYS] = slot[(1 - t) * KEYS];
        may_die();
        slot[t * KEYS + 1] = slot[(1 - t) * KEYS + 1];
        may_die();
#endif
        fresh_table[id] = 0;
        may_die();
        lock = 0;
        may_die();
        d_step { t = old_table[id]; table_live[t - 1] = false; t = 0; old_table[id] = 0 }
        may_die()
    :: else -> lock = 0; may_die()
    fi
}

proctype user(byte id; byte rounds)
{
    byte round, key, w, b, k, t;
    do
    :: round < rounds ->
        round++;
        if
        :: key = 0
        :: key = 1
        fi;
        if
        :: set()
        :: remove()
        :: grow()
        fi;
        key = 0;
        w = 0
    :: else -> break
    od;
out:
    done[id] = true
}

#define linked(w) (slot[table * KEYS] == w || slot[table * KEYS + 1] == w)

/* The sweeper dies here, and another begins anew. */
inline may_restart()
{
    if
    :: restarts < RESTARTS -> restarts++; goto again
    :: skip
    fi
}

inline sweep_lock()
{
    atomic {
        (lock == 0 || lock == 3 || dead[lock]);
        stale = stale || lock != 0;
        lock = 3
    }
    may_restart();
    check_links();
    if
    :: stale -> repair(); may_restart(); stale = false; may_restart()
    :: else
    fi
}

inline sweep_one()
{
    sweep_lock();
#ifndef MUTANT_NO_LINK_CHECK
    if
    :: fresh[who] != 0 && linked(fresh[who]) -> fresh[who] = 0; may_restart()
    :: else
    fi;
    if
    :: old[who] != 0 && linked(old[who]) -> old[who] = 0; may_restart()
    :: else
    fi;
    if
    :: fresh_table[who] == table + 1 -> fresh_table[who] = 0; may_restart()
    :: else
    fi;
    if
    :: old_table[who] == table + 1 -> old_table[who] = 0; may_restart()
    :: else
    fi;
#endif
    lock = 0;
    may_restart();
    free_word(fresh[who]);
    may_restart();
    fresh[who] = 0;
    may_restart();
    free_word(old[who]);
    may_restart();
    old[who] = 0;
    may_restart();
    d_step {
        if
        :: fresh_table[who] != 0 -> table_live[fresh_table[who] - 1] = false; fresh_table[who] = 0
        :: else
        fi;
        if
        :: old_table[who] != 0 -> table_live[old_table[who] - 1] = false; old_table[who] = 0
        :: else
        fi
    }
    swept[who] = true
}

proctype sweeper()
{
    byte who, k, restarts, b;
    bool swept[3];
again:
    do
    :: atomic { done[1] && dead[1] && !swept[1] -> who = 1 }; sweep_one()
    :: atomic { done[2] && dead[2] && !swept[2] -> who = 2 }; sweep_one()
    :: atomic { done[1] && done[2] && (!dead[1] || swept[1]) && (!dead[2] || swept[2]) } -> break
    od;
    sweep_lock();
    d_step {
        b = 0;
        do
        :: b < BLOCKS -> assert(live[b] == 0 || linked(word_of(b))); b++
        :: else -> break
        od;
        assert(!table_live[1 - table]);
        assert(items == (slot[table * KEYS] != 0 -> 1 : 0) + (slot[table * KEYS + 1] != 0 -> 1 : 0))
    }
}

init
{
    atomic {
        table_live[0] = true;
        run user(1, 2);
        run user(2, 1);
        run sweeper()
    }
}
