/*
 * Killing a process at every instruction of an operation. Layer: tests. docs/design/checking.md.
 *
 * For n = 0, 1, 2, ...: fresh state, bystanders asleep in the object, a victim killed by SIGKILL
 * after n instructions of the operation, then a survivor that must finish within a second, then
 * the bystanders, then the invariants. The last round lets the victim live.
 */
#ifndef KIT_STEP_H
#define KIT_STEP_H

#include "kit/kit.h"

#define KIT_BYSTANDERS 4

struct kit_bystander {
    /*
     * Runs in a child that is asleep in it before the victim's window begins. After the survivor
     * it must return within a second, and its kit_asserts must hold.
     */
    void (*run)(void *state);
    /* Where the victim lives, it must return before its first slice (100 ms) is over: somebody
     * wakes it. This is what finds a lost wake-up that the slices paper over. */
    bool prompt;
};

/*
 * One sweep. All functions get `state`: `state_size` bytes shared by all processes of the case,
 * zeroed before each setup. Handles made by setup stay valid in the children, which are forked
 * from the process that runs setup, survivor, check and teardown. kit_assert may be used in all.
 */
struct kit_case {
    const char *name;
    size_t state_size;
    void (*setup)(void *state);    /* NULL: nothing */
    void (*warm)(void *state);     /* in the victim, before the window: enter the library. NULL */
    void (*victim)(void *state);   /* the operation: every instruction of it is a point */
    struct kit_bystander bystanders[KIT_BYSTANDERS]; /* those with a `run` */
    /*
     * Called (in the survivors' process) each time the victim falls asleep and is not to die there:
     * it makes the victim go on. NULL: the first sleep is the last point, and no round ends
     * unkilled.
     */
    void (*release)(void *state);
    void (*survivor)(void *state); /* within a second, or it is a hang. NULL: nothing */
    const char *(*check)(void *state); /* NULL: the invariants hold; otherwise what does not */
    void (*teardown)(void *state); /* NULL: nothing */
    /* The victim's children are waited for after the survivor; otherwise they are killed. */
    bool await_descendants;
    /*
     * Second level: for so many sampled points the recoverer is killed too, at a sampled
     * instruction, before the survivor runs. NULL recoverer: the survivor function.
     */
    unsigned pairs;
    void (*recoverer)(void *state);
};

/*
 * A test program's main: sweeps each case in processes of its own, watched from outside, and
 * prints TAP. Arguments: [--fault NAME] [CASE [POINT [SECOND]]]: with --fault the build has a
 * seeded fault, and the program succeeds only if some case fails; CASE (part of a name) selects,
 * POINT replays one point.
 */
int kit_step_main(const struct kit_case *cases, size_t count, int argc, char **argv);

/* For the harness's own test: sweeps one case quietly; whether it passed, and the text. */
bool kit_step_sweep(const struct kit_case *c, char *ret_text, size_t size);

#endif
