/*
 * Description: a process is killed at every instruction of sending and receiving along a pipe that
 * others use too; afterwards the others get whole messages or are told that the stream is torn,
 * never a part of a message, and no descriptor that was under way is left anywhere.
 */
#include "kit/step.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kinfolk/pipe.h>

#include "channel/connection.h"

#define SMALL 100
#define PAGE 4092   /* with its header a page of a pipe */
#define LARGE 70000 /* more than a pipe holds */

struct state {
    kin__a64 returned; /* the victim's call was successful */
    bool torn;
    bool victims; /* its message came */
    uint64_t sent, received, last; /* of the fillers */
};

/* Made by setup and inherited. b sends, a receives. */
static kin_connection *a, *b;
static int passed[2], descriptors;
static bool passing; /* the pipe `passed` is in use */

/* A message: its kind in every byte. Kinds: v, the victim's; s, the survivor's; r, a recoverer's;
 * f, fillers, of which the first 8 bytes are a number. */
static char message[LARGE];

static int send_kind(char kind, size_t size, int64_t timeout_ns)
{
    memset(message, kind, size);
    return kin_connection_send(b, message, size, timeout_ns);
}

static int send_filler(uint64_t number, int64_t timeout_ns)
{
    memset(message, 'f', PAGE);
    memcpy(message, &number, sizeof number);
    return kin_connection_send(b, message, PAGE, timeout_ns);
}

/* The kind of a message of that size, which must be one kind throughout. */
static char kind_of(const char *data, size_t size)
{
    kit_assert(size > 8);
    for (size_t i = 9; i < size; i++) {
        kit_require(data[i] == data[8], "byte %zu of %zu differs", i, size);
    }
    return data[8];
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    kit_assert(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static void make(int duplex, size_t capacity)
{
    struct kin_pipe_options options = KIN_PIPE_OPTIONS_INIT;
    options.duplex = duplex;
    options.capacity = capacity;
    kit_assert_ok(kin_pipe_create(&options, &a, &b));
    kit_assert_ok(kin__enter());
    descriptors = count_descriptors();
}

static void make_pipe(void *arg)
{
    (void)arg;
    make(0, 0);
}

static void make_sockets(void *arg)
{
    (void)arg;
    make(1, 0);
}

static void enter(void *arg)
{
    (void)arg;
    kit_assert_ok(kin__enter());
}

static void returned(struct state *state, int rc)
{
    if (rc == 0) {
        kin__a64_store(&state->returned, 1);
    }
}

/* --- sending ------------------------------------------------------------------------------ */

static void send_small(void *arg)
{
    returned(arg, send_kind('v', SMALL, KIN_FOREVER));
}

static void send_large(void *arg)
{
    returned(arg, send_kind('v', LARGE, KIN_FOREVER));
}

/* Little, but more than the sockets have room for. */
static void send_page(void *arg)
{
    returned(arg, send_kind('v', PAGE, KIN_FOREVER));
}

static void make_small_sockets(void *arg)
{
    (void)arg;
    make(1, 1);
    kit_assert_int(send_kind('r', PAGE / 2, 0), 0);
}

/* Takes what has come of a message, and keeps it. */
static void receive_a_part(void *arg)
{
    void *data;
    size_t size;
    (void)arg;
    int rc;
    while ((rc = kin_connection_recv_new(a, LARGE, &data, &size, 0)) == 0) {
        kit_assert_int(kind_of(data, size), 'r');
        free(data);
    }
    kit_require(rc == -ETIMEDOUT, "recv: %d", rc);
}

/* Receives one: its kind, or 0 at the end that was made. */
static char receive_one(struct state *state)
{
    void *data;
    size_t size;
    int rc = kin_connection_recv_new(a, 0, &data, &size, KIN_FOREVER);
    if (rc == KIN_EPEERDIED) {
        kit_assert(state->torn);
        return 0;
    }
    kit_assert_int(rc, 0);
    char kind = kind_of(data, size);
    free(data);
    kit_require(kind == 's' || kind == 'v' || kind == 'r', "a message of kind %d", kind);
    if (kind == 'v') {
        kit_assert(!state->victims);
        state->victims = true;
    }
    return kind;
}

/* Until the survivor's message. */
static void receive_all(struct state *state)
{
    char kind;
    while ((kind = receive_one(state)) != 's' && kind != 0) {
    }
    kit_assert(kind == 0 || !state->torn);
}

static void survive_send(void *arg)
{
    struct state *state = arg;
    int rc;
    while ((rc = send_kind('s', SMALL, 0)) == -ETIMEDOUT) {
        receive_one(state);
    }
    kit_require(rc == 0 || rc == KIN_ETORN, "send: %d", rc);
    state->torn = rc < 0;
    receive_all(state);
    /* Left there, for those who poll. */
    kit_assert_int(send_kind('s', SMALL, KIN_FOREVER), rc);
}

static void recover_send(void *arg)
{
    (void)arg;
    send_kind('r', SMALL, KIN_FOREVER);
}

static void poll_readable(void *arg)
{
    (void)arg;
    kit_assert_int(kin_connection_poll(a, KIN_FOREVER), 0);
}

static const char *check_send(void *arg)
{
    struct state *state = arg;
    bool was = kin__a64_load(&state->returned) != 0;
    return was && state->torn    ? "the end is torn although the message was sent"
           : was && !state->victims ? "the message is lost although it was sent"
                                    : NULL;
}

static const char *check_small(void *arg)
{
    return ((struct state *)arg)->torn ? "a small message tears the stream" : check_send(arg);
}

/* --- receiving ---------------------------------------------------------------------------- */

/* The pipe, a small one, is full of fillers. */
static void fill(struct state *state, int duplex)
{
    make(duplex, 8192);
    while (send_filler(state->sent, 0) == 0) {
        state->sent++;
    }
}

static void fill_pipe(void *arg)
{
    struct state *state = arg;
    fill(state, 0);
    state->last = state->sent; /* the bystander's */
}

static void fill_sockets(void *arg)
{
    struct state *state = arg;
    fill(state, 1);
    state->last = state->sent - 1;
}

/* For want of room: until somebody receives, or nobody ever will. */
static void send_one_more(void *arg)
{
    struct state *state = arg;
    int rc = send_filler(state->sent, KIN_FOREVER);
    kit_require(rc == 0 || rc == KIN_EPEERDIED, "send: %d", rc);
}

static void receive(void *arg)
{
    size_t size = sizeof message;
    returned(arg, kin_connection_recv(a, message, &size, KIN_FOREVER));
}

/* The fillers in their order, of which the first may be gone. */
static void survive_recv(void *arg)
{
    struct state *state = arg;
    for (;;) {
        size_t size = sizeof message;
        int rc = kin_connection_recv(a, message, &size, KIN_FOREVER);
        if (rc == KIN_ETORN) {
            state->torn = true;
            /* Whoever sends is told; there may be room for some before. */
            while ((rc = send_filler(0, KIN_FOREVER)) == 0) {
            }
            kit_assert_int(rc, KIN_EPEERDIED);
            return;
        }
        uint64_t number;
        kit_assert_int(rc, 0);
        kit_assert(size == PAGE && kind_of(message, size) == 'f');
        memcpy(&number, message, sizeof number);
        if (state->received == 0 && number == 1) {
            state->victims = true;
            state->received = 1;
        }
        kit_assert_int(number, state->received);
        state->received++;
        if (number == state->last) {
            return;
        }
    }
}

static const char *check_recv(void *arg)
{
    struct state *state = arg;
    bool was = kin__a64_load(&state->returned) != 0;
    return was && state->torn        ? "the end is torn although the message was received"
           : was && !state->victims ? "a message is given twice"
                                    : NULL;
}

/* A message of which the first half is there. */
static void make_half(void *arg)
{
    (void)arg;
    make(0, 0);
    memset(message, 'v', SMALL);
    uint8_t wire[KIN__FRAME_LONG + SMALL];
    size_t header = kin__frame_encode(SMALL, wire);
    memset(wire + header, 'v', SMALL / 2);
    kit_assert_int(write(kin_connection_fd(b), wire, header + SMALL / 2), header + SMALL / 2);
}

static void bring_the_rest(void *arg)
{
    (void)arg;
    memset(message, 'v', SMALL);
    kit_assert_int(write(kin_connection_fd(b), message, SMALL / 2), SMALL / 2);
}

/* What the victim had half of is finished by nobody, so nobody waits for it. */
static void survive_half(void *arg)
{
    struct state *state = arg;
    size_t size = sizeof message;
    if (kin__a64_load(&state->returned) != 0) {
        kit_assert_int(kin_connection_recv(a, message, &size, 0), -ETIMEDOUT);
        return;
    }
    int rc = kin_connection_recv(a, message, &size, 0);
    kit_require(rc == -ETIMEDOUT || rc == 0 || rc == KIN_ETORN, "recv: %d", rc);
    if (rc == -ETIMEDOUT && kin__a64_load(&kin__connection_recv_turn(a)->progress) != 0) {
        /* It is ours now: either the victim had nothing of it, or none but the header. */
        bring_the_rest(arg);
        size = sizeof message;
        rc = kin_connection_recv(a, message, &size, KIN_FOREVER);
        kit_assert_int(rc, 0);
    }
    if (rc == 0) {
        kit_assert(size == SMALL && kind_of(message, size) == 'v');
    }
}

/* The victim receives in part, and closes its handle in the middle. */
static void receive_half_and_close(void *arg)
{
    size_t size = sizeof message;
    (void)arg;
    kit_assert_int(kin_connection_recv(a, message, &size, 0), -ETIMEDOUT);
    a = kin_connection_destroy(a);
}

/* --- waiting for the turn ----------------------------------------------------------------- */

static void receive_another(void *arg)
{
    (void)arg;
    size_t size = SMALL;
    char own[SMALL];
    int rc = kin_connection_recv(a, own, &size, KIN_FOREVER);
    kit_require(rc == 0 || rc == KIN_ETORN, "recv: %d", rc);
    kit_assert(rc < 0 || (size == SMALL && kind_of(own, size) == 's'));
}

/* For the one who has the turn, and for the victim. */
static void send_two(void *arg)
{
    (void)arg;
    kit_assert_int(send_kind('s', SMALL, KIN_FOREVER), 0);
    kit_assert_int(send_kind('s', SMALL, KIN_FOREVER), 0);
}

/* Enough for everybody that still waits; what is over stays. */
static void send_enough(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        int rc = send_kind('s', SMALL, KIN_FOREVER);
        kit_require(rc == 0 || rc == KIN_EPEERDIED, "send: %d", rc);
    }
}

/* --- descriptors -------------------------------------------------------------------------- */

static void make_passing(void *arg)
{
    kit_assert_int(pipe2(passed, O_CLOEXEC), 0);
    passing = true;
    make_sockets(arg);
}

static void make_passed(void *arg)
{
    make_passing(arg);
    kit_assert_int(kin_connection_send_fds(b, passed, 2, 0), 0);
}

static void send_descriptors(void *arg)
{
    returned(arg, kin_connection_send_fds(b, passed, 2, KIN_FOREVER));
}

static void receive_descriptors(void *arg)
{
    int fds[2];
    size_t count = 2;
    returned(arg, kin_connection_recv_fds(a, fds, &count, KIN_FOREVER));
}

/* Those that came are the ones that were sent, and it goes on. */
static void survive_descriptors(void *arg)
{
    struct state *state = arg;
    int fds[2];
    size_t count = 2;
    int rc = kin_connection_recv_fds(a, fds, &count, 0);
    kit_require(rc == 0 || rc == -ETIMEDOUT, "recv_fds: %d", rc);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        close(fds[i]);
    }
    state->victims = rc == 0;
    kit_assert_int(kin_connection_send_fds(b, passed, 2, 0), 0);
    kit_assert_int(send_kind('s', SMALL, 0), 0);
    kit_assert_int(kin_connection_recv_fds(a, fds, &count, 0), 0);
    kit_assert_int(count, 2);
    kit_assert_int(write(fds[1], "x", 1), 1);
    char byte;
    kit_assert_int(read(passed[0], &byte, 1), 1);
    close(fds[0]);
    close(fds[1]);
    receive_all(state);
    kit_assert_int(count_descriptors(), descriptors);
    /* Left there, for those who poll. */
    kit_assert_int(send_kind('s', SMALL, 0), 0);
}

/* Nobody has a copy of what was passed. */
static const char *check_descriptors(void *arg)
{
    (void)arg;
    char byte;
    close(passed[1]);
    passed[1] = -1;
    kit_assert_int(fcntl(passed[0], F_SETFL, O_NONBLOCK), 0);
    return read(passed[0], &byte, 1) == 0 ? NULL : "a descriptor that was passed leaks";
}

static const char *check_sent(void *arg)
{
    struct state *state = arg;
    return kin__a64_load(&state->returned) != 0 && !state->victims ? "descriptors are lost"
                                                                   : check_descriptors(arg);
}

static const char *check_received(void *arg)
{
    struct state *state = arg;
    return kin__a64_load(&state->returned) != 0 && state->victims ? "descriptors are given twice"
                                                                  : check_descriptors(arg);
}

/* ------------------------------------------------------------------------------------------ */

static void unmake(void *arg)
{
    (void)arg;
    kin__sweep(true);
    struct kin__object *object = &b->channel->head;
    kin_ref ref;
    kin__object_ref(object, &ref);
    a = kin_connection_destroy(a);
    b = kin_connection_destroy(b);
    if (passing) {
        close(passed[0]);
        passing = false;
    }
    kit_assert_int(kin__object_attach(&ref, KIN__TYPE_CONNECTION, &object), KIN_ESTALE);
}

#define STATE .state_size = sizeof(struct state), .warm = enter, .teardown = unmake
#define SENDING STATE, .survivor = survive_send, .recoverer = recover_send
#define WAITING STATE, .survivor = send_enough

static const struct kit_case cases[] = {
    {.name = "send, small, pipe", SENDING, .setup = make_pipe, .victim = send_small,
     .bystanders = {{poll_readable, true}}, .check = check_small, .pairs = 30},
    {.name = "send, small, sockets", SENDING, .setup = make_sockets, .victim = send_small,
     .bystanders = {{poll_readable, true}, {poll_readable, true}}, .check = check_small,
     .pairs = 30},
    {.name = "send, large, pipe", SENDING, .setup = make_pipe, .victim = send_large,
     .bystanders = {{poll_readable, false}}, .release = receive_a_part, .check = check_send,
     .pairs = 30},
    {.name = "send, large, sockets", SENDING, .setup = make_sockets, .victim = send_large,
     .bystanders = {{poll_readable, false}}, .check = check_send, .pairs = 30},
    {.name = "send, small sockets", SENDING, .setup = make_small_sockets, .victim = send_page,
     .release = receive_a_part, .check = check_send},
    {.name = "recv, pipe", STATE, .setup = fill_pipe, .victim = receive,
     .bystanders = {{send_one_more, true}}, .survivor = survive_recv, .check = check_recv},
    {.name = "recv, sockets", STATE, .setup = fill_sockets, .victim = receive,
     .survivor = survive_recv, .check = check_recv},
    {.name = "recv in two parts", STATE, .setup = make_half, .victim = receive,
     .release = bring_the_rest, .survivor = survive_half},
    {.name = "recv of a half, and close", STATE, .setup = make_half,
     .victim = receive_half_and_close, .survivor = survive_half},
    {.name = "recv, waiting for its turn", WAITING, .setup = make_pipe, .victim = receive_another,
     .bystanders = {{receive_another, false}}, .release = send_two},
    {.name = "descriptors sent", STATE, .setup = make_passing, .victim = send_descriptors,
     .bystanders = {{poll_readable, true}}, .survivor = survive_descriptors, .check = check_sent},
    {.name = "descriptors received", STATE, .setup = make_passed, .victim = receive_descriptors,
     .survivor = survive_descriptors, .check = check_received},
};

int main(int argc, char **argv)
{
    return kit_step_main(cases, KIT_COUNT(cases), argc, argv);
}
