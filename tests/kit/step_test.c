/*
 * The kill sweeps' own test: a small ring that survives every kill passes; each way of breaking it
 * is found. Layer: tests.
 */
#include "kit/step.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM 64

struct toy {
    pthread_mutex_t mutex;
    kin__a64 tail;
    uint64_t ring[ROOM];
    struct kit_gate gate;
    kin__a64 children;
    kin__a64 returned; /* puts that did */
    char from[256], to[256];
};

static void init(struct toy *toy, int robust)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, robust);
    pthread_mutex_init(&toy->mutex, &attributes);
    memset(toy->from, 'x', sizeof toy->from);
}

static void setup_robust(void *state)
{
    init(state, PTHREAD_MUTEX_ROBUST);
}

static void setup_plain(void *state)
{
    init(state, PTHREAD_MUTEX_STALLED);
}

static void lock(struct toy *toy)
{
    int rc = pthread_mutex_lock(&toy->mutex);
    if (rc == EOWNERDEAD) {
        pthread_mutex_consistent(&toy->mutex);
    }
}

static void put(struct toy *toy, bool commit_first)
{
    lock(toy);
    uint64_t tail = kin__a64_load(&toy->tail);
    if (commit_first) {
        kin__a64_store(&toy->tail, tail + 1);
        toy->ring[tail % ROOM] = 42;
    } else {
        toy->ring[tail % ROOM] = 42;
        kin__a64_store(&toy->tail, tail + 1);
    }
    pthread_mutex_unlock(&toy->mutex);
    kin__a64_add(&toy->returned, 1);
}

static void put_right(void *state)
{
    put(state, false);
}

static void put_commit_first(void *state)
{
    put(state, true);
}

static void put_crash(void *state)
{
    put(state, false);
    raise(SIGSEGV);
}

static const char *check(void *state)
{
    struct toy *toy = state;
    uint64_t tail = kin__a64_load(&toy->tail);
    for (uint64_t i = 0; i < tail; i++) {
        if (toy->ring[i] != 42) {
            return "an item was committed before it was written";
        }
    }
    return tail < kin__a64_load(&toy->returned) ? "an item was lost" : NULL;
}

/* The victim's copy is by rep movsb, which a kill must be able to interrupt. */
static void copy(void *state)
{
    struct toy *toy = state;
    void *to = toy->to;
    const void *from = toy->from;
    size_t count = sizeof toy->to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
    kin__a64_store(&toy->tail, 1);
}

static const char *check_copy(void *state)
{
    struct toy *toy = state;
    if (kin__a64_load(&toy->tail) == 0 && toy->to[0] == 'x' && toy->to[255] == 0) {
        kin__a64_add(&toy->children, 1);
    }
    return kin__a64_load(&toy->tail) == 1 && toy->to[255] != 'x' ? "half a copy" : NULL;
}

static void open_gate(void *state)
{
    kit_gate_open(&((struct toy *)state)->gate);
}

static void wait_gate(void *state)
{
    kit_gate_wait(&((struct toy *)state)->gate);
}

/* Sets the gate's word, and wakes nobody. */
static void open_silently(void *state)
{
    kin__a32_store(&((struct toy *)state)->gate.word, 1);
}

/* The waiter looks again every 100 ms by itself, as all of the library's do. */
static void wait_in_slices(void *state)
{
    struct toy *toy = state;
    const struct timespec slice = {.tv_nsec = 100000000};
    while (!kit_gate_is_open(&toy->gate)) {
        sigset_t none;
        sigemptyset(&none);
        sigtimedwait(&none, NULL, &slice);
    }
}

static void make_child(void *state)
{
    struct toy *toy = state;
    pid_t pid = fork();
    if (pid == 0) {
        kin__a64_add(&toy->children, 1);
        _exit(0);
    }
    kin__a64_add(&toy->tail, 1);
}

static const char *check_child(void *state)
{
    struct toy *toy = state;
    return kin__a64_load(&toy->tail) > kin__a64_load(&toy->children) ? "a child was lost" : NULL;
}

static void loop(void *state)
{
    struct toy *toy = state;
    for (int i = 0; i < 100; i++) {
        toy->ring[i % ROOM] = (uint64_t)i;
    }
}

/* Differs from run to run. */
static void loop_randomly(void *state)
{
    struct toy *toy = state;
    unsigned count = 10 + (unsigned)getpid() % 7;
    for (unsigned i = 0; i < count; i++) {
        toy->ring[i % ROOM] = 42;
    }
}

static void nothing(void *state)
{
    (void)state;
}

#define TOY .state_size = sizeof(struct toy)

static const struct {
    struct kit_case c;
    const char *text; /* what the result must contain; "points" in a pass */
    bool passes;
} cases[] = {
    {{"robust put", TOY, .setup = setup_robust, .warm = put_right, .victim = put_right,
      .survivor = put_right, .check = check, .pairs = 30},
     "30 pairs", true},
    {{"plain put", TOY, .setup = setup_plain, .victim = put_right, .survivor = put_right,
      .check = check},
     "HANG: the survivor", false},
    {{"commit first", TOY, .setup = setup_robust, .victim = put_commit_first,
      .survivor = nothing, .check = check},
     "committed before it was written", false},
    {{"crash", TOY, .setup = setup_robust, .victim = put_crash, .survivor = put_right},
     "signal 11", false},
    {{"rep", TOY, .setup = setup_robust, .victim = copy, .check = check_copy}, "points", true},
    {{"loop", TOY, .victim = loop}, "points", true},
    {{"random loop", TOY, .victim = loop_randomly}, "points", true},
    {{"sleep, released", TOY, .victim = wait_gate, .release = open_gate}, "1 sleeps", true},
    {{"sleep for ever", TOY, .victim = wait_gate}, "1 sleeps", true},
    {{"bystander", TOY, .victim = open_gate, .survivor = open_gate,
      .bystanders = {{wait_gate, true}, {wait_gate, false}}},
     "points", true},
    {{"bystander forgotten", TOY, .victim = open_gate, .survivor = nothing,
      .bystanders = {{wait_gate, false}}},
     "HANG: a bystander", false},
    {{"wake lost", TOY, .victim = open_silently, .survivor = open_gate,
      .bystanders = {{wait_in_slices, true}}},
     "nobody wakes", false},
    {{"fork", TOY, .victim = make_child, .check = check_child, .await_descendants = true},
     "points", true},
};

/* Each pass or failure is as it must be. */
int main(void)
{
    unsigned failures = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < KIT_COUNT(cases); i++) {
        char text[1200];
        bool passed = kit_step_sweep(&cases[i].c, text, sizeof text);
        bool right = passed == cases[i].passes && strstr(text, cases[i].text) != NULL;
        printf("%s %zu - %s # %s\n", right ? "ok" : "not ok", i + 1, cases[i].c.name, text);
        failures += !right;
    }
    printf("1..%zu\n", KIT_COUNT(cases));
    return failures != 0;
}
