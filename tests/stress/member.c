/* A storm's members: random operations on everything there is. Layer: tests. */
#include "storm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define KEYS 32

struct member {
    struct storm *storm;
    struct seat *seat;
    uint32_t life;
    uint64_t random;
    kin_queue *queue[PIPE];
    kin_lock *lock[LOCKS];
    kin_rlock *rlock;
    kin_semaphore *semaphore;
    kin_condition *condition;
    kin_dict *dict;
    kin_connection *receiver, *sender; /* NULL when torn */
    uint32_t pipe;
};

/* --- messages -------------------------------------------------------------------------------- */

struct stamp {
    uint32_t life, line, number, size;
};

static char filling(const struct stamp *stamp, size_t i)
{
    return (char)(stamp->life * 7 + stamp->number * 13 + i);
}

/* A new message; its put is tried from now on. False when the life has put all it may. */
static bool make_message(struct member *m, unsigned line, char *message, size_t *ret_size)
{
    struct ledger *ledger = storm_ledger(m->storm, m->life, line);
    struct stamp stamp = {m->life, line, kin__a32_load(&ledger->tried), 0};
    if (stamp.number == MESSAGES) {
        return false;
    }
    uint64_t dice = storm_random(&m->random);
    stamp.size = (uint32_t)(sizeof stamp + (dice % 4 == 0 ? (dice >> 8) % (MOST - sizeof stamp)
                                                          : (dice >> 8) % 200));
    for (size_t i = 0; i < stamp.size; i++) {
        message[i] = filling(&stamp, i);
    }
    memcpy(message, &stamp, sizeof stamp);
    kin__a32_store(&ledger->tried, stamp.number + 1);
    *ret_size = stamp.size;
    return true;
}

/* How the puts of `count` messages ended: what was not put is not to come. */
static void settle(struct member *m, unsigned line, unsigned count, int done)
{
    struct ledger *ledger = storm_ledger(m->storm, m->life, line);
    unsigned put = done > 0 ? (unsigned)done : 0;
    kin__a32_store(&ledger->tried, kin__a32_load(&ledger->tried) - (count - put));
    kin__a32_store(&ledger->confirmed, kin__a32_load(&ledger->tried));
}

void storm_seen(struct storm *storm, unsigned line, const void *message, size_t size)
{
    struct stamp stamp;
    const char *bytes = message;
    if (size < sizeof stamp || size > MOST) {
        storm_fail(storm, "line %u: a message of %zu bytes", line, size);
        return;
    }
    memcpy(&stamp, message, sizeof stamp);
    if (stamp.size != size || stamp.line != line || stamp.life >= storm->lives ||
        stamp.number >= MESSAGES) {
        storm_fail(storm, "line %u: garbage", line);
        return;
    }
    for (size_t i = sizeof stamp; i < size; i++) {
        if (bytes[i] != filling(&stamp, i)) {
            storm_fail(storm, "line %u: garbage at byte %zu of %zu", line, i, size);
            return;
        }
    }
    struct ledger *ledger = storm_ledger(storm, stamp.life, line);
    if (__atomic_fetch_add(&ledger->seen[stamp.number], 1, __ATOMIC_SEQ_CST) != 0) {
        storm_fail(storm, "line %u: message %u of life %u is doubled", line, stamp.number,
                   stamp.life);
    }
    if (stamp.number >= kin__a32_load(&ledger->tried)) {
        storm_fail(storm, "line %u: message %u of life %u was never put", line, stamp.number,
                   stamp.life);
    }
}

static uint64_t dice(struct member *m, uint64_t sides)
{
    return storm_random(&m->random) % sides;
}

/* Mostly short, now and then for ever: the judge closes the queues in the end. */
static int64_t patience(struct member *m)
{
    uint64_t side = dice(m, 16);
    return side == 0 ? KIN_FOREVER : side < 8 ? 0 : (int64_t)dice(m, 20 * MS);
}

static void check(struct member *m, const char *what, int rc, bool fine)
{
    if (!fine) {
        storm_fail(m->storm, "%s: %d, %s", what, rc, kin_strerror(rc));
    }
}

static bool usual(int rc)
{
    return rc >= 0 || rc == -ETIMEDOUT || rc == KIN_ECLOSED;
}

/* --- lines ------------------------------------------------------------------------------------ */

static void put(struct member *m, unsigned line)
{
    char message[BATCH][MOST];
    size_t size[BATCH] = {0};
    unsigned count = 0, most = dice(m, 4) == 0 ? BATCH : 1;
    while (count < most && make_message(m, line, message[count], &size[count])) {
        count++;
    }
    if (count == 0) {
        return;
    }
    int rc;
    if (count > 1) {
        struct kin_queue_item items[BATCH];
        for (unsigned i = 0; i < count; i++) {
            items[i] = (struct kin_queue_item){.data = message[i], .size = size[i]};
        }
        rc = kin_queue_put_many(m->queue[line], items, count, patience(m));
        settle(m, line, count, rc);
    } else if (dice(m, 4) == 0) {
        struct kin_queue_view view;
        rc = kin_queue_reserve(m->queue[line], size[0], &view);
        if (rc == 0) {
            memcpy(view.data, message[0], size[0]);
            rc = kin_queue_commit(m->queue[line], &view, size[0], patience(m));
            if (rc < 0) {
                kin_queue_cancel(m->queue[line], &view);
            }
        }
        settle(m, line, 1, rc == 0);
    } else {
        rc = kin_queue_put(m->queue[line], message[0], size[0], patience(m));
        settle(m, line, 1, rc == 0);
    }
    check(m, "put", rc, usual(rc));
}

static void declare(struct member *m, unsigned line, unsigned count)
{
    for (unsigned i = 0; i < count && line == JOINABLE; i++) {
        int rc = kin_queue_task_done(m->queue[line]);
        check(m, "task_done", rc, rc == 0);
    }
}

static void get(struct member *m, unsigned line)
{
    char buffer[BATCH * MOST];
    unsigned got = 1;
    int rc;
    uint64_t way = dice(m, 4);
    kin__a32_store(&m->seat->taking, line << 8 | (way == 0 ? BATCH : 1));
    if (way == 0) {
        struct kin_queue_item items[BATCH];
        rc = kin_queue_get_many(m->queue[line], buffer, sizeof buffer, items, BATCH, patience(m));
        got = rc > 0 ? (unsigned)rc : 0;
        for (unsigned i = 0; i < got; i++) {
            storm_seen(m->storm, line, items[i].data, items[i].size);
        }
    } else if (way == 1) {
        struct kin_queue_view view;
        rc = kin_queue_peek(m->queue[line], &view, patience(m));
        if (rc == 0) {
            storm_seen(m->storm, line, view.data, view.size);
            kin_queue_release(m->queue[line], &view);
        }
    } else {
        if (way == 2) {
            struct kin_wait_item item =
                kin_wait_on_fd(kin_queue_fd(m->queue[line]), KIN_WAIT_READ);
            rc = kin_wait(&item, 1, patience(m));
            check(m, "wait", rc, usual(rc));
        }
        size_t size = sizeof buffer;
        rc = kin_queue_get(m->queue[line], buffer, &size, way == 2 ? 0 : patience(m));
        if (rc == 0) {
            storm_seen(m->storm, line, buffer, size);
        }
    }
    kin__a32_store(&m->seat->taking, 0);
    check(m, "get", rc, usual(rc));
    declare(m, line, rc < 0 ? 0 : got);
}

/* Whether the pipe went on: a receiver that is killed in the middle of a message tears it. */
static bool whole(struct member *m, int rc)
{
    if (rc != KIN_ETORN && rc != KIN_EPEERDIED) {
        return true;
    }
    kin__a32_store(&m->storm->torn, m->pipe);
    m->receiver = kin_connection_destroy(m->receiver);
    m->sender = kin_connection_destroy(m->sender);
    return false;
}

static void use_pipe(struct member *m)
{
    char message[MOST];
    size_t size;
    int rc;
    if (m->receiver == NULL) {
        return;
    }
    if (dice(m, 2) == 0 && make_message(m, PIPE, message, &size)) {
        rc = kin_connection_send(m->sender, message, size, (int64_t)dice(m, 20 * MS));
        settle(m, PIPE, 1, rc == 0);
        check(m, "send", rc, rc == 0 || rc == -ETIMEDOUT || !whole(m, rc));
        return;
    }
    size = sizeof message;
    kin__a32_store(&m->seat->taking, PIPE << 8 | 1);
    rc = kin_connection_recv(m->receiver, message, &size, (int64_t)dice(m, 20 * MS));
    if (rc == 0) {
        storm_seen(m->storm, PIPE, message, size);
    }
    kin__a32_store(&m->seat->taking, 0);
    check(m, "recv", rc, rc == 0 || rc == -ETIMEDOUT || !whole(m, rc));
}

/* --- locks ------------------------------------------------------------------------------------ */

/* Under a lock: nobody else is here, and unless one was killed here, all is in order. */
static void inside(struct member *m, struct region *region, bool recovered)
{
    uint64_t owner = kin__a64_load(&region->owner);
    uint64_t left = kin__a64_load(&region->left), right = kin__a64_load(&region->right);
    if (!recovered && (owner != 0 || left != right)) {
        storm_fail(m->storm, "a lock is not exclusive: life %u finds life %llu inside", m->life,
                   (unsigned long long)owner - 1);
    }
    kin__a64_store(&region->owner, m->life + 1);
    kin__a64_store(&region->left, left + 1);
    if (dice(m, 8) == 0) {
        usleep((unsigned)dice(m, 300));
    }
    kin__a64_store(&region->right, left + 1);
    if (kin__a64_load(&region->owner) != m->life + 1) {
        storm_fail(m->storm, "a lock is not exclusive: life %u is disturbed", m->life);
    }
    kin__a64_store(&region->owner, 0);
}

static void use_lock(struct member *m)
{
    unsigned which = (unsigned)dice(m, LOCKS);
    int rc = kin_lock_lock(m->lock[which], dice(m, 2) == 0 ? KIN_FOREVER : (int64_t)dice(m, 9 * MS));
    check(m, "lock", rc, rc >= 0 || rc == -ETIMEDOUT);
    if (rc >= 0) {
        inside(m, &m->storm->region[which], rc == KIN_RECOVERED);
        rc = kin_lock_unlock(m->lock[which]);
        check(m, "unlock", rc, rc == 0);
    }
}

static void use_rlock(struct member *m)
{
    int rc = kin_rlock_lock(m->rlock, dice(m, 2) == 0 ? KIN_FOREVER : (int64_t)dice(m, 9 * MS));
    check(m, "rlock", rc, rc >= 0 || rc == -ETIMEDOUT);
    if (rc >= 0) {
        int again = kin_rlock_lock(m->rlock, 0);
        check(m, "rlock again", again, again == 0);
        inside(m, &m->storm->region[LOCKS], rc == KIN_RECOVERED);
        again = kin_rlock_unlock(m->rlock);
        check(m, "runlock", again, again == 0);
        again = kin_rlock_unlock(m->rlock);
        check(m, "runlock at last", again, again == 0);
    }
}

static void use_condition(struct member *m)
{
    struct storm *storm = m->storm;
    struct region *region = &storm->region[LOCKS + 1];
    int rc = kin_condition_lock(m->condition, KIN_FOREVER);
    check(m, "condition lock", rc, rc >= 0);
    if (rc < 0) {
        return;
    }
    inside(m, region, rc == KIN_RECOVERED);
    if (dice(m, 2) == 0) {
        kin__a64_store(&storm->tokens, kin__a64_load(&storm->tokens) + 1);
        rc = dice(m, 4) == 0 ? kin_condition_notify_all(m->condition)
                             : kin_condition_notify(m->condition, 1);
        check(m, "notify", rc, rc >= 0);
    } else {
        if (kin__a64_load(&storm->tokens) == 0) {
            rc = kin_condition_wait(m->condition, (int64_t)dice(m, 20 * MS));
            check(m, "condition wait", rc, rc >= 0 || rc == -ETIMEDOUT);
            /* After a timeout it is not told whether the lock was a dead one's. */
            inside(m, region, rc == KIN_RECOVERED || rc == -ETIMEDOUT);
        }
        if (kin__a64_load(&storm->tokens) != 0) {
            kin__a64_store(&storm->tokens, kin__a64_load(&storm->tokens) - 1);
        }
    }
    rc = kin_condition_unlock(m->condition);
    check(m, "condition unlock", rc, rc == 0);
}

static void use_semaphore(struct member *m)
{
    int rc = kin_semaphore_wait(m->semaphore, dice(m, 2) == 0 ? KIN_FOREVER
                                                              : (int64_t)dice(m, 9 * MS));
    check(m, "semaphore", rc, rc == 0 || rc == -ETIMEDOUT);
    if (rc < 0) {
        return;
    }
    kin__a32_store(&m->seat->unit, 1);
    unsigned units = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct seat *seat = &m->storm->seat[i];
        /* A unit may come back before we hear of its holder's death. */
        units += kin__a32_load(&seat->unit) != 0 && kin__a32_load(&seat->condemned) == 0;
    }
    if (units > UNITS) {
        storm_fail(m->storm, "%u are inside the semaphore", units);
    }
    if (dice(m, 8) == 0) {
        usleep((unsigned)dice(m, 300));
    }
    kin__a32_store(&m->seat->unit, 0);
    rc = kin_semaphore_post(m->semaphore);
    check(m, "post", rc, rc == 0);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void use_dict(struct member *m)
{
    uint32_t key = (uint32_t)dice(m, KEYS);
    unsigned char value[600], want = (unsigned char)(key * 5 + 1);
    size_t size = sizeof value;
    int rc;
    switch (dice(m, 4)) {
    case 0:
        kin__a64_add(&m->storm->adding, 1);
        rc = kin_dict_add(m->dict, "count", 5, 1, NULL);
        check(m, "dict add", rc, rc == 0);
        kin__a64_add(&m->storm->added, 1);
        return;
    case 1:
        memset(value, want, sizeof value);
        rc = kin_dict_set(m->dict, &key, sizeof key, value, dice(m, sizeof value));
        check(m, "dict set", rc, rc == 0);
        return;
    case 2:
        rc = kin_dict_pop(m->dict, &key, sizeof key, value, &size);
        break;
    default:
        rc = kin_dict_get(m->dict, &key, sizeof key, value, &size);
    }
    check(m, "dict get", rc, rc == 0 || rc == KIN_ENOTFOUND);
    for (size_t i = 0; rc == 0 && i < size; i++) {
        if (value[i] != want) {
            storm_fail(m->storm, "dict: garbage under key %u", key);
            return;
        }
    }
}

/* What lies in the seat's blocks is handed on from life to life; a block that is in no seat for a
 * moment is lost with a life that ends in it, and the judge is told by `unsure`. */
static void use_memory(struct member *m)
{
    unsigned which = (unsigned)dice(m, BLOCKS);
    kin__a64 *slot = &m->seat->block[which];
    unsigned char *block = (unsigned char *)(uintptr_t)kin__a64_load(slot);
    if (block == NULL) {
        size_t size = 1 + dice(m, dice(m, 8) == 0 ? 300000 : 3000);
        kin__a32_store(&m->seat->unsure, 1);
        block = kin_alloc(size);
        if (block != NULL) {
            memset(block, (int)(which + 1), kin_alloc_size(block));
        }
        kin__a64_store(slot, (uintptr_t)block);
        kin__a32_store(&m->seat->unsure, 0);
        check(m, "alloc", kin_alloc_error(), block != NULL);
        return;
    }
    size_t size = kin_alloc_size(block);
    if (size == 0) {
        storm_fail(m->storm, "a block is gone");
    }
    for (size_t i = 0; i < size; i++) {
        if (block[i] != which + 1) {
            storm_fail(m->storm, "a block of %zu bytes has garbage at %zu", size, i);
            break;
        }
    }
    kin__a32_store(&m->seat->unsure, 1);
    kin__a64_store(slot, 0);
    int rc = kin_free(block);
    kin__a32_store(&m->seat->unsure, 0);
    check(m, "free", rc, rc == 0);
}

static int square(const void *item, void *result, void *state)
{
    int64_t number;
    (void)state;
    memcpy(&number, item, sizeof number);
    number *= number;
    memcpy(result, &number, sizeof number);
    return 0;
}

static void use_pool(struct member *m)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = WORKERS;
    kin_pool *pool;
    int rc = kin_pool_create(&options, &pool);
    check(m, "pool", rc, rc == 0);
    if (rc < 0) {
        return;
    }
    int pids[WORKERS] = {0};
    kin_pool_pids(pool, pids, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        kin__a32_store(&m->seat->worker[i], (uint32_t)pids[i]);
    }
    int64_t items[40], results[40];
    for (int i = 0; i < 40; i++) {
        items[i] = i;
        results[i] = -1;
    }
    rc = kin_pool_map(pool, square, items, 40, sizeof items[0], results, sizeof results[0], NULL);
    check(m, "map", rc, rc == 0 || rc == KIN_EWORKERLOST || rc == KIN_ETASK);
    for (int i = 0; i < 40; i++) {
        if (results[i] != items[i] * items[i] && (rc == 0 || results[i] != -1)) {
            storm_fail(m->storm, "map: item %d has %lld", i, (long long)results[i]);
        }
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        kin__a32_store(&m->seat->worker[i], 0);
    }
    kin_pool_destroy(pool);
}

/* --- a life ----------------------------------------------------------------------------------- */

static bool attach(struct member *m, const struct invitation *invitation)
{
    struct storm *s = m->storm;
    int rc = 0;
    for (unsigned i = 0; i < PIPE; i++) {
        rc |= kin_queue_attach(&s->queue[i], &m->queue[i]);
    }
    for (unsigned i = 0; i < LOCKS; i++) {
        rc |= kin_lock_attach(&s->lock[i], &m->lock[i]);
    }
    rc |= kin_rlock_attach(&s->rlock, &m->rlock);
    rc |= kin_semaphore_attach(&s->semaphore, &m->semaphore);
    rc |= kin_condition_attach(&s->condition, &m->condition);
    rc |= kin_dict_attach(&s->dict, &m->dict);
    if (kin_connection_attach(&invitation->receiver, invitation->receiver_fd, &m->receiver) < 0 ||
        kin_connection_attach(&invitation->sender, invitation->sender_fd, &m->sender) < 0) {
        m->receiver = kin_connection_destroy(m->receiver);
        return rc == 0 && kin__a32_load(&s->pipe) != m->pipe;
    }
    return rc == 0;
}

static void step(struct member *m)
{
    static const struct {
        const char *name;
        void (*run)(struct member *m);
        unsigned weight;
    } ways[] = {
        {"pipe", use_pipe, 15},           {"lock", use_lock, 15},
        {"rlock", use_rlock, 8},          {"semaphore", use_semaphore, 10},
        {"condition", use_condition, 12}, {"dict", use_dict, 20},
        {"memory", use_memory, 20},       {"pool", use_pool, 1},
    };
    unsigned line = (unsigned)dice(m, PIPE), side = (unsigned)dice(m, 200);
    if (side < 45) {
        strcpy(m->seat->doing, "put");
        put(m, line);
        return;
    }
    if (side < 95) {
        strcpy(m->seat->doing, "get");
        get(m, line);
        return;
    }
    side -= 95;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (side < ways[i].weight) {
            strcpy(m->seat->doing, ways[i].name);
            ways[i].run(m);
            return;
        }
        side -= ways[i].weight;
    }
}

int storm_member(void *arg, size_t size)
{
    const struct invitation *invitation = arg;
    struct storm *storm = invitation->storm;
    static struct member m;
    (void)size;
    m = (struct member){.storm = storm,
                        .seat = &storm->seat[invitation->seat],
                        .life = invitation->life,
                        .pipe = invitation->pipe,
                        .random = storm->seed ^ (invitation->life + 1) * 0x9e3779b97f4a7c15u};
    strcpy(m.seat->doing, "attach");
    if (!attach(&m, invitation)) {
        storm_fail(storm, "life %u cannot attach", m.life);
        return 1;
    }
    while (kin__a32_load(&storm->stop) == 0) {
        step(&m);
        kin__a32_add(&m.seat->steps, 1);
    }
    strcpy(m.seat->doing, "end");
    return 0;
}
