/* Finding or starting the tracker, and telling it names. Layer: shm. docs/design/segment.md. */
#include "shm/tracker.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/uio.h>

#include "shm/slot.h"
#include "shm/wait.h"

/* One thread at a time deals with the tracker; held over system calls, so not in a fork. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* 1 + the descriptor, or 0. A forked child has it too: with its copy it keeps the names alive. */
static kin__a32 reach;

KIN__FORK_PATH static void after_fork_in_child(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

KIN__FORK_PATH uint32_t kin__tracker_inherited(void)
{
    return kin__a32_load(&reach);
}

static void set_reach(uint32_t value)
{
    kin__a32_store(&reach, value);
    kin__a32_store(&kin__slot_at(kin__self->slot)->tracker, value);
}

/* Through a member that reaches it: whether there is one. */
static bool borrow(void)
{
    uint32_t high = KIN__MIN(kin__a32_load(&kin__family.head->slots_high), KIN__SLOTS);
    for (uint32_t i = 0; i < high; i++) {
        struct kin__slot *slot = kin__slot_at(i);
        uint32_t there = kin__a32_load(&slot->tracker);
        if (there == 0 || i == kin__self->slot ||
            kin__slot_phase(kin__a64_load(&slot->state)) != KIN__SLOT_LIVE) {
            continue;
        }
        int fd = kin__tracker_open((int32_t)kin__a32_load(&slot->pid), (int)there - 1);
        if (fd >= 0) {
            set_reach((uint32_t)fd + 1);
            return true;
        }
    }
    return false;
}

/* The turn to start it: 1 if it is ours, 0 to look again, or why not. */
static int take_turn(void)
{
    struct kin__head *head = kin__family.head;
    uint32_t turn = kin__a32_load(&head->tracker_turn);
    uint64_t starter = kin__a64_load(&head->tracker_starter);
    uint32_t slot = (uint32_t)starter - 1, generation = (uint32_t)(starter >> 32);
    if (starter == 0 || kin__slot_is_gone(slot, generation)) {
        uint64_t me = (uint64_t)kin__self->generation << 32 | (kin__self->slot + 1);
        return kin__a64_cas(&head->tracker_starter, &starter, me);
    }
    return kin__sleep(&head->tracker_turn, turn, slot, generation, KIN__NEVER);
}

static void end_turn(void)
{
    struct kin__head *head = kin__family.head;
    kin__a64_store(&head->tracker_starter, 0);
    kin__a32_add(&head->tracker_turn, 1);
    kin__futex_wake(&head->tracker_turn, INT_MAX);
}

/* The process lock is held. */
static int find(void)
{
    int rc = 0;
    while (rc == 0 && kin__a32_load(&reach) == 0 && !borrow()) {
        rc = take_turn();
        if (rc <= 0) {
            continue;
        }
        int fd;
        rc = borrow() ? 0 : kin__tracker_start(&fd); /* the last starter may have done it */
        if (rc == 0 && kin__a32_load(&reach) == 0) {
            set_reach((uint32_t)fd + 1);
        }
        end_turn();
    }
    return rc;
}

/* One write of less than PIPE_BUF bytes, which arrives whole or not at all. */
static int tell(char sign, const struct kin__named *named, const char *name)
{
    char line[KIN__NAMED_MAX + 64];
    int size = snprintf(line, sizeof line, "%c%llu:%llu %s\n", sign,
                        (unsigned long long)named->device, (unsigned long long)named->inode, name);
    struct iovec part = {.iov_base = line, .iov_len = (size_t)size};
    ssize_t n = kin__fd_write((int)kin__a32_load(&reach) - 1, KIN__FD_PIPE, &part, 1);
    return n < 0 ? (int)n : 0;
}

int kin__tracker_add(const struct kin__named *named, const char *name)
{
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    pthread_mutex_lock(&lock);
    rc = find();
    if (rc == 0 && (rc = tell('+', named, name)) == -EPIPE) {
        /* Somebody has killed it: what it was told is forgotten, what comes now is not. */
        kin__fd_drop((int)kin__a32_load(&reach) - 1);
        set_reach(0);
        rc = find();
        rc = rc < 0 ? rc : tell('+', named, name);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

void kin__tracker_remove(const struct kin__named *named, const char *name)
{
    pthread_mutex_lock(&lock);
    if (kin__a32_load(&reach) != 0) {
        tell('-', named, name);
    }
    pthread_mutex_unlock(&lock);
}
