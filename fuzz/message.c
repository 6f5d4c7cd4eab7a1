/*
 * What a process that is being started, and the fork server, are told: the start message, the
 * function's name in it, and the request that a message comes with.
 */
#include "process/message.h"

#include <dlfcn.h>
#include <errno.h>

#include "fuzz.h"

/* A path in a message must not make the fuzzer run the constructors of what it names. */
void *dlopen(const char *path, int mode)
{
    (void)mode;
    REQUIRE(memchr(path, '\0', 4096) != NULL);
    return NULL;
}

static int target(void *arg, size_t size)
{
    (void)arg;
    return size != 0;
}

static struct kin_entry entry = {.name = "fuzzed", .function = (kin_function *)target};

static void draw_name(struct fuzz_input *input, char name[KIN_NAME_MAX + 1])
{
    size_t size;
    const uint8_t *bytes = fuzz_bytes(input, fuzz_byte(input) % (KIN_NAME_MAX + 1), &size);
    memcpy(name, bytes, size);
}

/* A message as a starter makes one. */
static uint8_t *make(struct fuzz_input *input, uint8_t how, size_t *ret_size)
{
    static uint8_t function[KIN__FUNCTION_SIZE];
    static const char arg[] = "the argument";
    int size = kin__function_encode((kin_function *)target, how & 1 ? "fuzzed" : NULL, function,
                                    sizeof function);
    REQUIRE(size > 0);
    struct kin__message message = {
        .kind = how & 2 ? KIN__MESSAGE_ZYGOTE : KIN__MESSAGE_CHILD,
        .birth = {.parent_pid = 1 + fuzz_byte(input),
                  .method = how & 4 ? KIN_START_SPAWN : KIN_START_FORKSERVER,
                  .daemon = (how & 8) != 0,
                  .worker = (how & 16) != 0},
        .slot = how & 32 ? 7 : KIN__NO_SLOT,
        .arena = 3,
        .report = 4,
        .lifeline = -1,
        .control = -1,
        .fd_count = fuzz_byte(input) % 4,
        .fds = {5, 9, 1000},
        .function = function,
        .function_size = (size_t)size,
        .arg = (void *)(uintptr_t)arg,
        .arg_size = fuzz_byte(input) % sizeof arg,
    };
    draw_name(input, message.birth.name);
    draw_name(input, message.birth.identity);
    int file = kin__message_store(&message);
    REQUIRE(file >= 0);
    void *bytes;
    REQUIRE(kin__file_read_all(file, 1 << 20, &bytes, ret_size) == 0);
    kin__fd_drop(file);
    /* Unspoilt it says what it was made to say. */
    struct kin__message again;
    REQUIRE(kin__message_parse(bytes, *ret_size, &again) == 0 && again.kind == message.kind &&
            again.arg_size == message.arg_size && again.fd_count == message.fd_count &&
            memcmp(again.fds, message.fds, message.fd_count * sizeof message.fds[0]) == 0 &&
            strcmp(again.birth.name, message.birth.name) == 0 &&
            memcmp(again.function, function, (size_t)size) == 0);
    kin_function *found = NULL;
    REQUIRE(kin__function_decode(again.function, again.function_size, &found) == 0 &&
            found == (kin_function *)target);
    /* In a block of exactly its size, so that a read beyond it is seen. */
    uint8_t *exact = malloc(*ret_size);
    REQUIRE(exact != NULL);
    memcpy(exact, bytes, *ret_size);
    free(bytes);
    return exact;
}

static void read_message(uint8_t *bytes, size_t size, struct fuzz_input *input)
{
    struct kin__message m;
    if (kin__message_parse(bytes, size, &m) < 0) {
        return;
    }
    REQUIRE(m.fd_count <= KIN_FDS_MAX && m.birth.parent_pid > 0);
    REQUIRE(memchr(m.birth.name, '\0', sizeof m.birth.name) != NULL);
    REQUIRE(m.arg == NULL || (uint8_t *)m.arg + m.arg_size == bytes + size);
    uint8_t sum = 0;
    for (size_t i = 0; i < m.arg_size; i++) {
        sum = (uint8_t)(sum + ((uint8_t *)m.arg)[i]);
    }
    kin_function *function = NULL;
    if (kin__function_decode(m.function, m.function_size, &function) == 0) {
        REQUIRE(function != NULL);
    }
    struct kin__request request = {KIN__REQUEST_MAGIC, fuzz_byte(input), fuzz_byte(input),
                                   fuzz_byte(input)};
    unsigned fd_count = fuzz_byte(input);
    if (kin__request_is_sound(&request, sizeof request, fd_count) &&
        kin__request_fits(&request, fd_count, &m)) {
        REQUIRE(3 + request.lifeline + (unsigned)__builtin_popcount(request.streams) +
                    m.fd_count == fd_count);
    }
    (void)sum;
}

/* What can be named, and what cannot. */
static void name_others(void)
{
    static char long_name[300];
    uint8_t bytes[KIN__FUNCTION_SIZE];
    kin_function *library = (kin_function *)strtol, *none = (kin_function *)0x1000, *found;
    memset(long_name, 'x', sizeof long_name - 1);
    int size = kin__function_encode(library, NULL, bytes, sizeof bytes);
    REQUIRE(size > 0 && kin__function_decode(bytes, (size_t)size, &found) == 0);
    REQUIRE(kin__function_encode(library, NULL, bytes, 40) == -ENOSPC);
    REQUIRE(kin__function_encode(library, long_name, bytes, sizeof bytes) == KIN_ENOENTRY);
    REQUIRE(kin__function_encode(none, NULL, bytes, sizeof bytes) == KIN_ENOENTRY);
}

int fuzz_target(const uint8_t *data, size_t size)
{
    static bool registered;
    if (!registered) {
        kin_entry_register(&entry);
        name_others();
        registered = true;
    }
    struct fuzz_input input = {data, size};
    uint8_t how = fuzz_byte(&input);
    uint8_t *bytes;
    size_t length;
    if (how & 128) {
        bytes = make(&input, how, &length);
        for (unsigned i = 0; i < 8 && input.left > 0; i++) {
            size_t at = fuzz_number(&input, 2) % length;
            bytes[at] = fuzz_byte(&input);
        }
        if (how & 64) {
            length = fuzz_number(&input, 2) % (length + 1);
        }
    } else {
        const uint8_t *raw = fuzz_bytes(&input, 8192, &length);
        bytes = malloc(length + 1);
        REQUIRE(bytes != NULL);
        memcpy(bytes, raw, length);
        struct kin__function_name name;
        if (kin__function_parse(bytes, length, &name) == 0) {
            kin_function *function;
            kin__function_decode(bytes, length, &function);
        }
    }
    read_message(bytes, length, &input);
    free(bytes);
    return 0;
}
