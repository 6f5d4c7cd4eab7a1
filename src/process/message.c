/* Writing and reading start messages. Layer: process. Protocol: docs/design/process.md. */
#include "process/message.h"

#include <errno.h>
#include <string.h>

#define MAGIC UINT64_C(0x7472617473626b01)
#define VERSION 1

enum {
    FLAG_DAEMON = 1,
    FLAG_WORKER = 2,
    FLAG_DIE_WITH_PARENT = 4,
    FLAG_PARENT_MAIN = 8,
    FLAGS = 15,
};

/* Followed by the descriptors' numbers, the function, padding to 16 and the argument. */
struct head {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;
    uint64_t total; /* bytes of all */
    uint64_t parent_seen_at;
    int32_t parent_pid;
    uint32_t method;
    uint32_t flags;
    uint32_t slot;
    uint32_t generation;
    int32_t arena;
    int32_t report;
    int32_t lifeline;
    int32_t control;
    uint32_t fd_count;
    uint64_t function_size;
    uint64_t arg_size;
    char name[KIN_NAME_MAX + 1];
    char identity[KIN_NAME_MAX + 1];
    char parent_name[KIN_NAME_MAX + 1];
};

static size_t fixed_size(unsigned fd_count, size_t function_size)
{
    return kin__align_up(sizeof(struct head) + fd_count * sizeof(int32_t) + function_size, 16);
}

int kin__message_store(const struct kin__message *m)
{
    size_t fixed = fixed_size(m->fd_count, m->function_size);
    struct head head = {
        .magic = MAGIC,
        .version = VERSION,
        .kind = m->kind,
        .total = fixed + m->arg_size,
        .parent_seen_at = m->birth.parent_seen_at,
        .parent_pid = m->birth.parent_pid,
        .method = m->birth.method,
        .flags = (m->birth.daemon ? FLAG_DAEMON : 0u) | (m->birth.worker ? FLAG_WORKER : 0u) |
                 (m->die_with_parent ? FLAG_DIE_WITH_PARENT : 0u) |
                 (m->parent_main ? FLAG_PARENT_MAIN : 0u),
        .slot = m->slot,
        .generation = m->generation,
        .arena = m->arena,
        .report = m->report,
        .lifeline = m->lifeline,
        .control = m->control,
        .fd_count = m->fd_count,
        .function_size = m->function_size,
        .arg_size = m->arg_size,
    };
    memcpy(head.name, m->birth.name, sizeof head.name);
    memcpy(head.identity, m->birth.identity, sizeof head.identity);
    memcpy(head.parent_name, m->birth.parent_name, sizeof head.parent_name);
    int32_t fds[KIN_FDS_MAX];
    for (unsigned i = 0; i < m->fd_count; i++) {
        fds[i] = m->fds[i];
    }
    static const char zeros[16];
    size_t used = sizeof head + m->fd_count * sizeof fds[0] + m->function_size;

    int file = kin__memfd_create("kinfolk-start", 0);
    if (file < 0) {
        return file;
    }
    int rc;
    if ((rc = kin__file_write_all(file, &head, sizeof head)) < 0 ||
        (rc = kin__file_write_all(file, fds, m->fd_count * sizeof fds[0])) < 0 ||
        (rc = kin__file_write_all(file, m->function, m->function_size)) < 0 ||
        (rc = kin__file_write_all(file, zeros, fixed - used)) < 0 ||
        (rc = kin__file_write_all(file, m->arg, m->arg_size)) < 0) {
        kin__fd_drop(file);
        return rc;
    }
    return file;
}

static bool is_text(const char text[KIN_NAME_MAX + 1])
{
    return memchr(text, '\0', KIN_NAME_MAX + 1) != NULL;
}

static bool is_sound(const struct head *head, size_t size)
{
    if (head->magic != MAGIC || head->version != VERSION || head->total != size ||
        (head->kind != KIN__MESSAGE_CHILD && head->kind != KIN__MESSAGE_ZYGOTE) ||
        head->parent_pid <= 0 || (head->flags & ~(uint32_t)FLAGS) != 0) {
        return false;
    }
    if (head->method != KIN_START_SPAWN && head->method != KIN_START_FORKSERVER) {
        return false;
    }
    if (head->slot != KIN__NO_SLOT && head->slot >= KIN__SLOTS) {
        return false;
    }
    if (!is_text(head->name) || !is_text(head->identity) || !is_text(head->parent_name)) {
        return false;
    }
    if (head->fd_count > KIN_FDS_MAX || head->function_size > KIN__FUNCTION_SIZE) {
        return false;
    }
    size_t fixed = fixed_size(head->fd_count, head->function_size);
    return fixed <= size && head->arg_size == size - fixed;
}

int kin__message_parse(void *bytes, size_t size, struct kin__message *ret_message)
{
    struct head head;
    if (size < sizeof head) {
        return -EPROTO;
    }
    memcpy(&head, bytes, sizeof head);
    if (!is_sound(&head, size)) {
        return -EPROTO;
    }
    struct kin__message m = {
        .kind = (enum kin__message_kind)head.kind,
        .birth = {.parent_seen_at = head.parent_seen_at,
                  .parent_pid = head.parent_pid,
                  .method = (enum kin_start_method)head.method,
                  .daemon = (head.flags & FLAG_DAEMON) != 0,
                  .worker = (head.flags & FLAG_WORKER) != 0},
        .slot = head.slot,
        .generation = head.generation,
        .die_with_parent = (head.flags & FLAG_DIE_WITH_PARENT) != 0,
        .parent_main = (head.flags & FLAG_PARENT_MAIN) != 0,
        .arena = head.arena,
        .report = head.report,
        .lifeline = head.lifeline,
        .control = head.control,
        .fd_count = head.fd_count,
        .function_size = head.function_size,
        .arg_size = head.arg_size,
    };
    memcpy(m.birth.name, head.name, sizeof head.name);
    memcpy(m.birth.identity, head.identity, sizeof head.identity);
    memcpy(m.birth.parent_name, head.parent_name, sizeof head.parent_name);
    char *at = (char *)bytes + sizeof head;
    int previous = 2;
    for (unsigned i = 0; i < m.fd_count; i++) {
        int32_t fd;
        memcpy(&fd, at + i * sizeof fd, sizeof fd);
        if (fd <= previous) {
            return -EPROTO;
        }
        m.fds[i] = previous = fd;
    }
    m.function = at + m.fd_count * sizeof(int32_t);
    m.arg = m.arg_size > 0 ? (char *)bytes + (size - m.arg_size) : NULL;
    *ret_message = m;
    return 0;
}

bool kin__request_is_sound(const struct kin__request *request, size_t size, unsigned fd_count)
{
    return size == sizeof *request && request->magic == KIN__REQUEST_MAGIC && fd_count >= 3 &&
           request->lifeline <= 1 && request->streams <= 7;
}

bool kin__request_fits(const struct kin__request *request, unsigned fd_count,
                       const struct kin__message *message)
{
    unsigned streams = (unsigned)__builtin_popcount(request->streams);
    return message->kind == KIN__MESSAGE_CHILD && message->fd_count == request->fd_count &&
           kin__request_own_fds(request) + streams + message->fd_count == fd_count;
}
