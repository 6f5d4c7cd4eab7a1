/*
 * The start message: what a child that executes the program again is told, and where its functions
 * are. Layer: process. Protocol: docs/design/process.md, "Start message".
 */
#ifndef KIN_PROCESS_MESSAGE_H
#define KIN_PROCESS_MESSAGE_H

#include "process/process.h"

enum kin__message_kind {
    KIN__MESSAGE_CHILD = 1,
    KIN__MESSAGE_ZYGOTE = 2,
};

/* Pointers lead into the bytes that were parsed, or, before storing, to the sender's. */
struct kin__message {
    enum kin__message_kind kind;
    struct kin__birth birth;
    uint32_t slot, generation;
    bool die_with_parent;
    bool parent_main; /* the parent's main thread starts the child */
    /* Descriptors in the child, -1: none. FORKSERVER: their packet tells. */
    int arena, report, lifeline, control;
    int fds[KIN_FDS_MAX]; /* the user's: sorted, distinct, above 2 */
    unsigned fd_count;
    const void *function; /* as kin__function_encode made it */
    size_t function_size;
    void *arg; /* in a parsed message aligned to 16, relative to the bytes parsed */
    size_t arg_size;
};

/* Stores the message in an anonymous file: its descriptor, at offset 0, or -errno. */
int kin__message_store(const struct kin__message *message);

/*
 * Reads `size` bytes that another process wrote: 0, or -EPROTO for anything that
 * kin__message_store does not write. No descriptor is touched, nothing is allocated. The function's
 * bytes are checked by kin__function_decode.
 */
int kin__message_parse(void *bytes, size_t size, struct kin__message *ret_message);

/* Longest form of a function's name; a path may be in it. */
#define KIN__FUNCTION_SIZE 4608

/*
 * Names a function of this process by bytes from which another image of the same program finds it:
 * its entry's name (may be NULL), and its module's path and build-id and its offset in it. Returns
 * their length, KIN_ENOENTRY if it cannot be named, or -ENOSPC.
 */
int kin__function_encode(kin_function *function, const char *entry, void *bytes, size_t room);

/*
 * Finds the function, loading its module if need be: 0, KIN_ENOENTRY, or -EPROTO for malformed
 * bytes. The bytes are another process's.
 */
int kin__function_decode(const void *bytes, size_t size, kin_function **ret_function);

/* The parts of an encoded function: 0 or -EPROTO. */
struct kin__function_name {
    char entry[256];
    char module[4096]; /* "": the program itself */
    unsigned char build_id[64];
    size_t build_id_size;
    uint64_t offset;
};
int kin__function_parse(const void *bytes, size_t size, struct kin__function_name *ret_name);

/* --- what comes back on the report socket --------------------------------------------------- */

enum kin__report_kind {
    KIN__REPORT_READY = 1,  /* from the child, with its pidfd: code 0, or why it gives up */
    KIN__REPORT_FAILED = 2, /* from the zygote: there is no child; code says why */
    KIN__REPORT_STATUS = 3, /* from the zygote: code is the child's wait status */
};

struct kin__report {
    uint32_t kind;
    int32_t code;
    int32_t pid;
};

/* The child's argument vector: argv[0], this, and the number of the message's descriptor. */

/* Whether main began with kin_child_main in this process's image. */
bool kin__child_main_called(void);

/* --- child.c -------------------------------------------------------------------------------- */

/* Becomes the child that the message describes: its descriptors are in place. */
_Noreturn void kin__child_run(struct kin__message *message);

/* --- zygote.c ------------------------------------------------------------------------------- */

/* What the parent asks of the zygote: a packet with the descriptors {report, message, arena,
 * lifeline if any, those of 0, 1, 2 that are open, the user's in the message's order}. */
struct kin__request {
    uint32_t magic;
    uint32_t streams; /* bit n: descriptor n is among them */
    uint32_t lifeline;
    uint32_t fd_count;
};
#define KIN__REQUEST_MAGIC 0x6b7a7972u

/* How many of its descriptors are the library's own: they come first. */
static inline unsigned kin__request_own_fds(const struct kin__request *request)
{
    return request->lifeline ? 4 : 3;
}

/* message.c: whether `size` bytes that came with so many descriptors are a request; and whether it
 * and its message, which was parsed, speak of the same child and descriptors. */
bool kin__request_is_sound(const struct kin__request *request, size_t size, unsigned fd_count);
bool kin__request_fits(const struct kin__request *request, unsigned fd_count,
                       const struct kin__message *message);

/* Serves until its parent is gone. Returns only in a child, with its message and descriptors. */
void kin__zygote_serve(int control, struct kin__message *ret_message);

/* --- spawn.c -------------------------------------------------------------------------------- */

/* Fills in what both methods tell a child. `function` has KIN__FUNCTION_SIZE bytes. */
int kin__message_fill(struct kin__message *message, const kin_process *process,
                      const struct kin__start *start, void *function);

/* Executes the command (NULL: this program) with the message; see kin__execute. Closes nothing.
 * -E2BIG for a command of too many words. */
int kin__message_execute(const struct kin__message *message, const char *const *command,
                         kin__a32 *pid_word, int32_t *ret_pid, int *ret_pidfd);

/*
 * Waits until a report comes, for a minute at most: 1, 0 at the end of the stream or once `pidfd`
 * (-1: not to be looked at) tells of an end and there is no report, -ETIMEDOUT, or what the
 * interrupt function said. *ret_fd is the descriptor that came with it, or -1.
 */
int kin__report_wait(int socket, int pidfd, struct kin__report *ret_report, int *ret_fd);

/* Guards the moments in which a child's end of a report socket is open in this process: no fork
 * copies it then. */
void kin__start_lock(void);
bool kin__start_trylock(void);
void kin__start_unlock(void);

#endif
