/*
 * Description: a process that holds a message, a reservation, a lock or a block forks, and it or its
 * child is killed at every instruction of the fork or of giving back what it holds; afterwards that
 * is given back once, and everybody goes on.
 */
#include "kit/step.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <kinfolk/lock.h>
#include <kinfolk/memory.h>
#include <kinfolk/queue.h>

#include "shm/slot.h"

#define SIZE 1000

struct state {
    unsigned slots; /* taken in the beginning */
    size_t blocks;
    kin_queue *queue;
    kin_lock *lock;
    kin_rlock *rlock;
    char *block;
    struct kit_gate gate; /* the victim's child goes on */
    kin__a32 frees;       /* that succeeded */
};

/* Private: a fork copies it, as it copies any handle or view of the user's. */
static struct kin_queue_view view;

static size_t count_blocks(void)
{
    struct kin_arena_stats now = {.size = sizeof now};
    kit_assert_ok(kin_arena_stats(&now));
    return now.blocks;
}

static unsigned count_slots(void)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < KIN__SLOTS; i++) {
        count += kin__slot_phase(kin__a64_load(&kin__slot_at(i)->state)) != KIN__SLOT_FREE;
    }
    return count;
}

static void put(struct state *state, char letter)
{
    char text[SIZE];
    memset(text, letter, sizeof text);
    kit_assert_int(kin_queue_put(state->queue, text, sizeof text, KIN_FOREVER), 0);
}

static void must_get(struct state *state, char letter)
{
    char text[SIZE];
    size_t size = sizeof text;
    kit_assert_int(kin_queue_get(state->queue, text, &size, KIN_FOREVER), 0);
    kit_assert(size == SIZE && text[0] == letter && text[SIZE - 1] == letter);
}

static void must_be_empty(struct state *state)
{
    char text[SIZE];
    size_t size = sizeof text;
    kit_assert_int(kin_queue_get(state->queue, text, &size, 0), -ETIMEDOUT);
}

/* A first round through the line, so that its segment is there. */
static void begin(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_queue_create(NULL, &state->queue), 0);
    kit_assert_int(kin_lock_create(NULL, &state->lock), 0);
    kit_assert_int(kin_rlock_create(NULL, &state->rlock), 0);
    put(state, 'w');
    must_get(state, 'w');
    state->slots = count_slots();
    state->blocks = count_blocks();
}

static void end(void *arg)
{
    struct state *state = arg;
    kin_queue_destroy(state->queue);
    kin_lock_destroy(state->lock);
    kin_rlock_destroy(state->rlock);
}

static const char *check(void *arg)
{
    struct state *state = arg;
    kin__sweep(true);
    if (count_slots() != state->slots) {
        return "a slot is lost";
    }
    size_t blocks = count_blocks();
    if (blocks != state->blocks) {
        return blocks > state->blocks ? "a block leaks" : "a block is missing";
    }
    return kin__a32_load(&state->frees) > 1 ? "a block was freed twice" : NULL;
}

/* A child of the victim, which has a copy of all that the victim holds. */
static void fork_child(struct state *state, void (*live)(struct state *state))
{
    if (fork() == 0) {
        kit_gate_wait(&state->gate);
        live(state);
        _exit(0);
    }
}

/* --- a message that was received --------------------------------------------------------- */

static void must_not_release(struct state *state)
{
    kit_assert_int(kin_queue_release(state->queue, &view), KIN_ESTATE);
    put(state, 'c');
}

static void begin_with_messages(void *arg)
{
    begin(arg);
    put(arg, 'a');
    put(arg, 'b');
}

static void peek(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_queue_peek(state->queue, &view, KIN_FOREVER), 0);
}

static void peek_and_fork(void *arg)
{
    peek(arg);
    fork_child(arg, must_not_release);
}

static void release(void *arg)
{
    struct state *state = arg;
    kin_queue_release(state->queue, &view);
}

static void fork_in_window(void *arg)
{
    fork_child(arg, must_not_release);
}

/* The one behind it is there; the child, if there is one, has put another. */
static void get_the_others(void *arg)
{
    struct state *state = arg;
    must_get(state, 'b');
    kit_gate_open(&state->gate);
}

static const char *check_emptied(void *arg)
{
    struct state *state = arg;
    char text[SIZE];
    size_t size = sizeof text;
    if (kin_queue_get(state->queue, text, &size, 0) == 0 && text[0] != 'c') {
        return "a message was received twice";
    }
    must_be_empty(state);
    return check(arg);
}

static const char *check_child_has_put(void *arg)
{
    must_get(arg, 'c');
    must_be_empty(arg);
    return check(arg);
}

static void begin_with_peeked(void *arg)
{
    begin_with_messages(arg);
    peek(arg);
}

/* The child's killing does nothing to its parent's view. */
static void release_the_own(void *arg)
{
    struct state *state = arg;
    const char *data = view.data;
    kit_assert(view.size == SIZE && data[0] == 'a' && data[SIZE - 1] == 'a');
    kit_assert_int(kin_queue_release(state->queue, &view), 0);
    kit_assert_int(kin_queue_release(state->queue, &view), KIN_ESTATE);
    must_get(state, 'b');
    must_be_empty(state);
}

/* --- room that was reserved ---------------------------------------------------------------- */

static void must_not_commit(struct state *state)
{
    kit_assert_int(kin_queue_commit(state->queue, &view, SIZE, KIN_FOREVER), KIN_ESTATE);
    kit_assert_int(kin_queue_cancel(state->queue, &view), KIN_ESTATE);
}

static void reserve(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_queue_reserve(state->queue, SIZE, &view), 0);
    memset(view.data, 'a', SIZE);
}

static void reserve_and_fork(void *arg)
{
    reserve(arg);
    fork_child(arg, must_not_commit);
}

static void begin_with_reserved(void *arg)
{
    begin(arg);
    reserve(arg);
}

static void commit(void *arg)
{
    struct state *state = arg;
    kin_queue_commit(state->queue, &view, SIZE, KIN_FOREVER);
}

static void cancel(void *arg)
{
    struct state *state = arg;
    kin_queue_cancel(state->queue, &view);
}

/* Put whole, once, or not at all. */
static void get_what_is_there(void *arg)
{
    struct state *state = arg;
    kit_gate_open(&state->gate);
    put(state, 'z');
    char text[SIZE];
    size_t size = sizeof text;
    kit_assert_int(kin_queue_get(state->queue, text, &size, KIN_FOREVER), 0);
    if (text[0] == 'a') {
        kit_assert(size == SIZE && text[SIZE - 1] == 'a');
        must_get(state, 'z');
    }
    must_be_empty(state);
}

static void commit_the_own(void *arg)
{
    commit(arg);
    must_get(arg, 'a');
    must_be_empty(arg);
}

/* --- locks --------------------------------------------------------------------------------- */

static void lock_again(struct state *state)
{
    int rc = kin_lock_lock(state->lock, KIN_FOREVER);
    kit_assert(rc == 0 || rc == KIN_RECOVERED);
    kit_assert_int(kin_lock_unlock(state->lock), 0);
}

static void lock(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_lock_lock(state->lock, KIN_FOREVER), 0);
}

static void lock_and_fork(void *arg)
{
    lock(arg);
    fork_child(arg, lock_again);
}

static void begin_with_locked(void *arg)
{
    begin(arg);
    lock(arg);
}

static void unlock(void *arg)
{
    struct state *state = arg;
    kin_lock_unlock(state->lock);
}

static void contend(void *arg)
{
    struct state *state = arg;
    kit_gate_open(&state->gate);
    lock_again(state);
}

/* It is anybody's to unlock: the child has, or the parent does. */
static void unlock_once(void *arg)
{
    struct state *state = arg;
    int locked = kin_lock_is_locked(state->lock);
    kit_assert_int(kin_lock_unlock(state->lock), locked ? 0 : KIN_EOVERFLOW);
    lock_again(state);
}

static void begin_with_rlocked(void *arg)
{
    struct state *state = arg;
    begin(arg);
    kit_assert_int(kin_rlock_lock(state->rlock, KIN_FOREVER), 0);
}

static void unlock_recursive(void *arg)
{
    struct state *state = arg;
    kin_rlock_unlock(state->rlock);
}

static void unlock_the_own(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_rlock_count(state->rlock), 1);
    kit_assert_int(kin_rlock_unlock(state->rlock), 0);
    kit_assert_int(kin_rlock_unlock(state->rlock), KIN_ENOTOWNER);
}

/* --- blocks -------------------------------------------------------------------------------- */

static void free_it(struct state *state)
{
    int rc = kin_free(state->block);
    kit_assert(rc == 0 || rc == -EINVAL);
    kin__a32_add(&state->frees, rc == 0);
}

static void take_block_and_fork(void *arg)
{
    struct state *state = arg;
    state->block = kin_alloc(SIZE);
    kit_assert(state->block != NULL);
    fork_child(state, free_it);
}

static void free_counted(void *arg)
{
    free_it(arg);
}

static void open_gate(void *arg)
{
    struct state *state = arg;
    kit_gate_open(&state->gate);
}

/* The count of a victim that was killed right after its call is missing, no more. */
static const char *check_freed(void *arg)
{
    struct state *state = arg;
    kit_assert_int(kin_free(state->block), -EINVAL);
    return check(arg);
}

#define STATE .state_size = sizeof(struct state), .teardown = end

static const struct kit_case cases[] = {
    {.name = "fork with a message", STATE, .setup = begin_with_messages, .warm = peek,
     .victim = fork_in_window, .survivor = get_the_others, .check = check_emptied,
     .await_descendants = true},
    {.name = "release by the parent", STATE, .setup = begin_with_messages, .warm = peek_and_fork,
     .victim = release, .survivor = get_the_others, .check = check_child_has_put,
     .await_descendants = true},
    {.name = "release by the child", STATE, .setup = begin_with_peeked, .victim = release,
     .survivor = release_the_own, .check = check},
    {.name = "commit by the parent", STATE, .setup = begin, .warm = reserve_and_fork,
     .victim = commit, .survivor = get_what_is_there, .check = check, .await_descendants = true},
    {.name = "cancel by the parent", STATE, .setup = begin, .warm = reserve_and_fork,
     .victim = cancel, .survivor = get_what_is_there, .check = check, .await_descendants = true},
    {.name = "commit by the child", STATE, .setup = begin_with_reserved, .victim = commit,
     .survivor = commit_the_own, .check = check},
    {.name = "unlock by the parent", STATE, .setup = begin, .warm = lock_and_fork,
     .victim = unlock, .survivor = contend, .check = check, .await_descendants = true},
    {.name = "unlock by the child", STATE, .setup = begin_with_locked, .victim = unlock,
     .survivor = unlock_once, .check = check},
    {.name = "recursive unlock by the child", STATE, .setup = begin_with_rlocked,
     .victim = unlock_recursive, .survivor = unlock_the_own, .check = check},
    {.name = "free by the parent", STATE, .setup = begin, .warm = take_block_and_fork,
     .victim = free_counted, .survivor = open_gate, .check = check_freed,
     .await_descendants = true},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
