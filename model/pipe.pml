/*
 * One direction of a stream with shared ends (src/channel/turn.h, docs/design/connection.md): three
 * senders of messages of two parts and two receivers of them, of whom CRASHES may be killed between
 * any two steps. The stream holds the parts; a part is its message's number.
 *
 * Claims: what a receiver joins is one message, and a message that was sent is not cut by another.
 */
/* mutants: LATE_MID NO_SETTLING TAKE_OVER_BLINDLY */
/* pan: */
#define CRASHES 2
#define NOBODY 9
#define MID 1
#define BROKEN 2

chan stream = [8] of { byte };
byte owner[2] = NOBODY; /* of the sending and of the receiving turn */
byte progress[2];
bool dead[5];
byte crashes = CRASHES;

inline die() {
    if
    :: atomic { crashes > 0 -> crashes--; dead[me] = true; goto gone }
    :: skip
    fi
}

/* Leaves `taken` false where the direction is broken. */
inline take(turn) {
    before = NOBODY;
    do
    :: atomic { owner[turn] == NOBODY -> owner[turn] = me; break }
    :: atomic { owner[turn] != NOBODY && dead[owner[turn]] -> before = owner[turn] }
#ifdef MUTANT_TAKE_OVER_BLINDLY
        owner[turn] = me;
#else
        atomic {
            if
            :: owner[turn] == before -> owner[turn] = me
            :: else -> before = NOBODY
            fi
        }
        if
        :: before == NOBODY -> goto again
        :: else
        fi;
#endif
        die();
#ifndef MUTANT_NO_SETTLING
        atomic { if :: progress[turn] == MID -> progress[turn] = BROKEN :: else fi };
#endif
        break
    od;
    die()
}

proctype sender(byte me) {
    byte before;
again:
    take(0);
    if
    :: progress[0] == BROKEN -> goto give
    :: else
    fi;
#ifndef MUTANT_LATE_MID
    progress[0] = MID;
    die();
#endif
    stream ! me;
    die();
#ifdef MUTANT_LATE_MID
    progress[0] = MID;
    die();
#endif
    stream ! me;
    die();
    progress[0] = 0;
    die();
give:
    owner[0] = NOBODY;
gone:
    skip
}

proctype receiver(byte me) {
    byte before, first, second, n;
    do
    :: n < 2 ->
again:
        take(1);
        if
        :: progress[1] == BROKEN -> goto give
        :: else
        fi;
        progress[1] = MID;
        die();
        if
        :: stream ? first
        :: empty(stream) && timeout -> progress[1] = 0; goto give
        fi;
        die();
        if
        :: stream ? second -> assert(first == second)
        :: empty(stream) && timeout -> progress[1] = BROKEN; goto give
        fi;
        die();
        progress[1] = 0;
        die();
        owner[1] = NOBODY;
        n++
    :: else -> break
    od;
    goto gone;
give:
    owner[1] = NOBODY;
gone:
    skip
}

init {
    atomic {
        run sender(0);
        run sender(1);
        run sender(2);
        run receiver(3);
        run receiver(4)
    }
}
