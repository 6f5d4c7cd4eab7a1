/*
 * Founding and joining a family, and what a fork does to it. Layer: shm.
 * Protocol: docs/design/family.md.
 */
#include "shm/family.h"

#include <errno.h>
#include <kinfolk/memory.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"
#include "shm/arena.h"
#include "shm/object.h"
#include "shm/slot.h"

#define QUOTA_MIN ((uint64_t)4 << 20)
#define QUOTA_MAX ((uint64_t)1 << 45) /* offsets / 64 fit the 40 bits of a lease */

/* Where a founder asks for its mapping: far from where programs, heaps, stacks and libraries are
 * put, so that a spawned child finds the same place free. */
#define ADDRESS_BASE UINT64_C(0x200000000000)
#define ADDRESS_BITS 28

struct kin__family kin__family;
struct kin__self *kin__self;

/* Guards founding, joining and adopting in this process; held across fork. */
static pthread_mutex_t enter_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t wanted_quota;
static bool handlers_installed;

/* What the fork handlers of the forking thread share. */
static struct {
    uint32_t slot;
    uint32_t generation;
} embryo = {.slot = KIN__NO_SLOT};
static _Thread_local struct {
    uint32_t *slot;
    uint32_t *generation;
} watched;

KIN__FORK_PATH void kin__mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

KIN__FORK_PATH int kin__mutex_lock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_lock(mutex);
    if (KIN__LIKELY(rc == 0)) {
        return 0;
    }
    if (rc == EOWNERDEAD) {
        pthread_mutex_consistent(mutex);
        return 1;
    }
    return -rc;
}

void kin__mutex_unlock(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
}

/* --- fork --------------------------------------------------------------------------------- */

static void before_fork(void)
{
    pthread_mutex_lock(&enter_lock);
    kin__object_fork_lock();
    embryo.slot = KIN__NO_SLOT;
    if (kin__self != NULL && kin__a32_load(&kin__self->ready) != 0) {
        uint32_t slot, generation;
        if (kin__family_reserve(&slot, &generation) == 0) {
            embryo.slot = slot;
            embryo.generation = generation;
        }
    }
    if (watched.slot != NULL) {
        *watched.slot = embryo.slot;
        *watched.generation = embryo.generation;
        watched.slot = NULL;
    }
}

static void after_fork_in_parent(void)
{
    if (embryo.slot != KIN__NO_SLOT) {
        /* From here on the child exists, or nobody will ever adopt the slot: see is_stillborn. */
        kin__a32_store(&kin__slot_at(embryo.slot)->forked, embryo.generation);
    }
    kin__object_fork_unlock();
    pthread_mutex_unlock(&enter_lock);
}

KIN__FORK_PATH static void after_fork_in_child(void)
{
    kin__object_fork_unlock();
    if (embryo.slot != KIN__NO_SLOT) {
        /* On failure kin__family_enter_slowly sees what can be done. */
        kin__slot_adopt(embryo.slot, embryo.generation);
    }
    pthread_mutex_unlock(&enter_lock);
}

void kin__family_watch_fork(uint32_t *ret_slot, uint32_t *ret_generation)
{
    *ret_slot = KIN__NO_SLOT;
    watched.slot = ret_slot;
    watched.generation = ret_generation;
}

int kin__family_reserve(uint32_t *ret_slot, uint32_t *ret_generation)
{
    int rc = kin__slot_reserve(ret_slot, ret_generation);
    if (rc == 0) {
        kin__object_inherit(kin__self->slot, *ret_slot);
    }
    return rc;
}

/* --- founding and joining ----------------------------------------------------------------- */

static int parse_quota(const char *text, uint64_t *ret_bytes)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = 0;
    switch (*end) {
    case 'G':
    case 'g':
        shift = 30;
        break;
    case 'M':
    case 'm':
        shift = 20;
        break;
    case 'K':
    case 'k':
        shift = 10;
        break;
    }
    if (end == text || errno != 0 || end[shift != 0] != '\0' || value > QUOTA_MAX >> shift) {
        return -EINVAL;
    }
    *ret_bytes = (uint64_t)value << shift;
    return 0;
}

static uint64_t choose_quota(void)
{
    uint64_t quota = wanted_quota;
    const char *env = getenv("KINFOLK_ARENA_QUOTA");
    if (quota == 0 && (env == NULL || parse_quota(env, &quota) < 0)) {
        quota = kin__memory_default_quota();
    }
    quota = KIN__MIN(KIN__MAX(quota, QUOTA_MIN), QUOTA_MAX);
    return kin__align_up(quota, KIN__UNIT);
}

int kin_arena_set_quota(size_t bytes)
{
    if (bytes == 0 || bytes > QUOTA_MAX) {
        return -EINVAL;
    }
    pthread_mutex_lock(&enter_lock);
    int rc = -EBUSY;
    if (kin__family.base == NULL) {
        wanted_quota = bytes;
        rc = 0;
    }
    pthread_mutex_unlock(&enter_lock);
    return rc;
}

static int prepare_self(void)
{
    if (kin__self == NULL) {
        void *page;
        int rc = kin__map_wipe_on_fork(sizeof *kin__self, &page);
        if (rc < 0) {
            return rc;
        }
        kin__pointer_store(&kin__self, page);
    }
    if (!handlers_installed) {
        int rc = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        if (rc != 0) {
            return -rc;
        }
        handlers_installed = true;
    }
    return 0;
}

static int claim_slot(void)
{
    uint32_t slot, generation;
    int rc = kin__slot_reserve(&slot, &generation);
    if (rc < 0) {
        return rc;
    }
    return kin__slot_adopt(slot, generation);
}

static void forget(void)
{
    kin__unmap(kin__family.base, kin__family.size);
    kin__fd_close(kin__family.fd);
    kin__family = (struct kin__family){0};
}

/* Places of the tables in an arena of `size` bytes in all. */
static void plan(struct kin__head *head, uint64_t quota)
{
    uint64_t at = kin__align_up(sizeof *head, 4096);
    head->slots_offset = at;
    at += (uint64_t)KIN__SLOTS * sizeof(struct kin__slot);
    /* The tables cover the whole file, themselves too, so that a unit's number is offset / UNIT:
     * an upper bound of the file's size is enough to place them. */
    uint64_t units = (quota + at) / KIN__UNIT + 2;
    units += units * 16 / KIN__UNIT + 2;
    head->units_offset = at;
    at += units * sizeof(uint64_t);
    head->words_offset = at;
    at += units * sizeof(uint64_t);
    head->data_offset = kin__align_up(at, KIN__UNIT);
    head->size = head->data_offset + quota;
}

static int found(void)
{
    struct kin__head draft = {.magic = KIN__MAGIC, .abi = KIN__ABI, .slots = KIN__SLOTS};
    plan(&draft, choose_quota());
    uint64_t place = 0;
    int rc = kin__random(&draft.family, sizeof draft.family);
    if (rc == 0) {
        rc = kin__random(&place, sizeof place);
    }
    if (rc < 0) {
        return rc;
    }
    draft.family |= 1;
    draft.pid_namespace = kin__pid_namespace();
    place = ADDRESS_BASE + (place & ((UINT64_C(1) << ADDRESS_BITS) - 1)) * KIN__UNIT;

    int fd = kin__memfd_create("kinfolk", draft.data_offset);
    if (fd < 0) {
        return fd;
    }
    void *base;
    rc = kin__map_shared(fd, draft.size, (void *)(uintptr_t)place, false, &base);
    if (rc < 0) {
        kin__fd_close(fd);
        return rc;
    }
    draft.address = (uint64_t)(uintptr_t)base;
    kin__family = (struct kin__family){
        .base = base, .size = draft.size, .fd = fd, .inode = kin__file_inode(fd), .head = base};
    struct kin__head *head = kin__family.head;
    memcpy(head, &draft, sizeof draft);
    kin__a64_store(&head->committed, draft.data_offset);
    kin__mutex_init(&head->sweep);
    kin__mutex_init(&head->objects);
    rc = kin__arena_init();
    if (rc == 0) {
        rc = claim_slot();
    }
    if (rc < 0) {
        forget();
    }
    return rc;
}

int kin__family_enter_slowly(void)
{
    pthread_mutex_lock(&enter_lock);
    int rc = prepare_self();
    if (rc == 0 && kin__a32_load(&kin__self->ready) == 0) {
        if (kin__family.base == NULL) {
            rc = found();
        } else {
            /* A child that could not be given a slot at its fork holds nothing, so the handles
             * that it inherited are dangling; without any, it can become a member by itself. */
            rc = kin__object_has_handles() ? KIN_EFORKED : claim_slot();
        }
    }
    pthread_mutex_unlock(&enter_lock);
    return rc;
}

static int check_head(const struct kin__head *head, int64_t file_size)
{
    if (head->magic != KIN__MAGIC) {
        return KIN_ENOFAMILY;
    }
    if (head->abi != KIN__ABI || head->slots != KIN__SLOTS) {
        return KIN_EABI;
    }
    if (head->size > QUOTA_MAX * 2 || head->data_offset % KIN__UNIT != 0 ||
        head->data_offset > (uint64_t)file_size || head->size < head->data_offset ||
        head->slots_offset + (uint64_t)KIN__SLOTS * sizeof(struct kin__slot) >
            head->data_offset) {
        return KIN_ECORRUPT;
    }
    /* Robust mutexes record thread ids, which mean nothing across PID namespaces. */
    return head->pid_namespace == kin__pid_namespace() ? 0 : KIN_ENOFAMILY;
}

static int join(int fd, uint32_t slot, uint32_t generation)
{
    struct kin__head head;
    int64_t file_size = kin__file_size(fd);
    if (file_size < (int64_t)sizeof head) {
        return KIN_ENOFAMILY;
    }
    if (kin__file_read_at(fd, 0, &head, sizeof head) < 0) {
        return KIN_ENOFAMILY;
    }
    int rc = check_head(&head, file_size);
    if (rc < 0) {
        return rc;
    }
    void *base;
    rc = kin__map_shared(fd, head.size, (void *)(uintptr_t)head.address, true, &base);
    if (rc < 0) {
        return rc == -EADDRINUSE ? KIN_EADDRESS : rc;
    }
    kin__family = (struct kin__family){
        .base = base, .size = head.size, .fd = fd, .inode = kin__file_inode(fd), .head = base};
    rc = slot == KIN__NO_SLOT ? claim_slot() : kin__slot_adopt(slot, generation);
    if (rc < 0) {
        kin__unmap(base, head.size);
        kin__family = (struct kin__family){0};
    }
    return rc;
}

int kin__family_join(int fd, uint32_t slot, uint32_t generation)
{
    pthread_mutex_lock(&enter_lock);
    int rc = prepare_self();
    if (rc == 0) {
        rc = kin__family.base != NULL ? -EBUSY : join(fd, slot, generation);
    }
    pthread_mutex_unlock(&enter_lock);
    return rc;
}

KIN__FORK_PATH void kin__family_leave(void)
{
    if (kin__self != NULL && kin__a32_load(&kin__self->ready) != 0) {
        kin__a32_store(&kin__slot_at(kin__self->slot)->leaving, 1);
    }
}

/* exit() and a return from main are orderly ends. */
__attribute__((destructor)) static void leave_at_exit(void)
{
    kin__family_leave();
}
