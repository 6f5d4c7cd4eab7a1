/*
 * storm SECONDS SEED: processes do random operations on everything a family has, while they are
 * killed, stopped and continued at random. In the end, whatever the deaths: no message came twice
 * and none is lost but those that a dead reader had taken, locks were exclusive, no call failed or
 * hung, and no block, descriptor or process is left.
 */
#include "storm.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/slot.h"

#define MS INT64_C(1000000)
#define HANG (INT64_C(30000) * MS)
#define LIVES_PER_SECOND 60

struct judge {
    struct storm *storm;
    uint64_t random;
    kin_process *process[MEMBERS];
    unsigned allowed[LINES]; /* messages that the dead may have taken along */
    unsigned unsure;         /* blocks that the dead may have lost */
    uint32_t lives;
    unsigned kills, stops, workers, tears;
    kin_queue *queue[PIPE];
    kin_lock *lock[LOCKS];
    kin_rlock *rlock;
    kin_semaphore *semaphore;
    kin_condition *condition;
    kin_dict *dict;
    kin_connection *receiver, *sender;
};

uint64_t storm_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void storm_fail(struct storm *storm, const char *format, ...)
{
    uint32_t none = 0;
    if (kin__a32_cas(&storm->failed, &none, 1)) {
        va_list args;
        va_start(args, format);
        vsnprintf(storm->text, sizeof storm->text, format, args);
        va_end(args);
        kin__a32_store(&storm->failed, 2);
    }
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 * MS + time.tv_nsec;
}

_Noreturn static void give_up(const char *what, int rc)
{
    fprintf(stderr, "storm: %s: %s\n", what, kin_strerror(rc));
    exit(1);
}

static void must(const char *what, int rc)
{
    if (rc < 0) {
        give_up(what, rc);
    }
}

static unsigned count_files(const char *directory)
{
    DIR *dir = opendir(directory);
    unsigned count = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        count += strncmp(entry->d_name, directory[1] == 'd' ? "kin" : "", 3) == 0 ||
                 directory[1] == 'p';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

/* --- members ---------------------------------------------------------------------------------- */

static void start(struct judge *j, uint32_t seat)
{
    static const enum kin_start_method methods[] = {KIN_START_FORK, KIN_START_FORK,
                                                    KIN_START_SPAWN, KIN_START_FORKSERVER};
    struct storm *storm = j->storm;
    struct invitation invitation = {storm, seat, j->lives++, kin__a32_load(&storm->pipe)};
    must("ref", kin_connection_ref(j->receiver, &invitation.receiver));
    must("ref", kin_connection_ref(j->sender, &invitation.sender));
    invitation.receiver_fd = kin_connection_fd(j->receiver);
    invitation.sender_fd = kin_connection_fd(j->sender);
    int fds[2] = {invitation.receiver_fd, invitation.sender_fd};
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = storm_member;
    options.arg = &invitation;
    options.arg_size = sizeof invitation;
    options.method = methods[storm_random(&j->random) % 4];
    options.die_with_parent = 1;
    options.fds = fds;
    options.fd_count = 2;
    kin__a32_store(&storm->seat[seat].life, invitation.life);
    kin__a32_store(&storm->seat[seat].condemned, 0);
    must("start", kin_process_start(&options, &j->process[seat]));
}

static void tell(struct judge *j, uint32_t seat)
{
    char path[64], line[200] = "";
    struct seat *s = &j->storm->seat[seat];
    int pid = kin_process_pid(j->process[seat]);
    snprintf(path, sizeof path, "/proc/%d/wchan", pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL) {
            line[0] = '\0';
        }
        fclose(file);
    }
    fprintf(stderr, "storm: seat %u, life %u, pid %d: in %s, sleeps in %s\n", seat,
            kin__a32_load(&s->life), pid, s->doing, line);
}

/* Has ended, or must within the time of a hang. */
static void join(struct judge *j, uint32_t seat, bool killed)
{
    int code, rc = kin_process_join(j->process[seat], HANG, &code);
    if (rc == -ETIMEDOUT) {
        fprintf(stderr, "storm: HANG, seed %" PRIu64 "\n", j->storm->seed);
        for (uint32_t i = 0; i < MEMBERS; i++) {
            if (j->process[i] != NULL) {
                tell(j, i);
            }
        }
        /* The watchdog shows what all the others wait for. */
        kill(getppid(), SIGTERM);
        pause();
    }
    must("join", rc);
    if (code != 0 && !(killed && code == -SIGKILL)) {
        storm_fail(j->storm, "seat %u ended with %d in %s", seat, code, j->storm->seat[seat].doing);
    }
    j->process[seat] = kin_process_destroy(j->process[seat]);
}

static void kill_member(struct judge *j, uint32_t seat)
{
    struct seat *s = &j->storm->seat[seat];
    kin__a32_store(&s->condemned, 1);
    kin_process_kill(j->process[seat]);
    join(j, seat, true);
    uint32_t taking = kin__a32_load(&s->taking);
    if (taking != 0) {
        j->allowed[taking >> 8] += taking & 0xff;
    }
    j->unsure += kin__a32_load(&s->unsure);
    kin__a32_store(&s->taking, 0);
    kin__a32_store(&s->unsure, 0);
    kin__a32_store(&s->unit, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        kin__a32_store(&s->worker[i], 0);
    }
    j->kills++;
}

/* A worker of a member's pool. */
static void kill_worker(struct judge *j, uint32_t seat)
{
    char path[64], name[32] = "";
    int pid = (int)kin__a32_load(&j->storm->seat[seat].worker[storm_random(&j->random) % WORKERS]);
    if (pid <= 0) {
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *file = fopen(path, "r");
    if (file != NULL && fgets(name, sizeof name, file) != NULL && strncmp(name, "storm", 5) == 0) {
        kill(pid, SIGKILL);
        j->workers++;
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void pause_for(struct judge *j, int64_t most)
{
    usleep((useconds_t)(storm_random(&j->random) % (uint64_t)most / 1000));
}

/* What lay in a pipe that was torn is lost. */
static void renew_pipe(struct judge *j)
{
    if (j->receiver != NULL) {
        if (j->kills == 0) {
            storm_fail(j->storm, "the pipe is torn though nobody was killed");
        }
        j->allowed[PIPE] = UINT_MAX / 2;
        j->tears++;
    }
    kin__a32_add(&j->storm->pipe, 1);
    kin_connection_destroy(j->receiver);
    kin_connection_destroy(j->sender);
    must("pipe", kin_pipe_create(NULL, &j->receiver, &j->sender));
}

static void rage(struct judge *j, int64_t until)
{
    while (now() < until && kin__a32_load(&j->storm->failed) == 0 &&
           j->lives < j->storm->lives) {
        pause_for(j, 60 * MS);
        if (kin__a32_load(&j->storm->torn) == kin__a32_load(&j->storm->pipe)) {
            renew_pipe(j);
        }
        uint32_t seat = (uint32_t)(storm_random(&j->random) % MEMBERS);
        uint64_t dice = storm_random(&j->random) % 10;
        if (dice < 5) {
            kill_member(j, seat);
            start(j, seat);
        } else if (dice < 8) {
            kin_process_signal(j->process[seat], SIGSTOP);
            pause_for(j, 60 * MS);
            if (dice == 5) {
                kill_member(j, seat); /* while it is stopped */
                start(j, seat);
            } else {
                kin_process_signal(j->process[seat], SIGCONT);
            }
            j->stops++;
        } else {
            for (uint32_t i = 0; i < MEMBERS; i++) {
                kill_worker(j, i);
            }
        }
    }
}

/* --- the family ------------------------------------------------------------------------------- */

static void create(struct judge *j)
{
    struct storm *s = j->storm;
    struct kin_queue_options options[PIPE];
    for (unsigned i = 0; i < PIPE; i++) {
        options[i] = (struct kin_queue_options)KIN_QUEUE_OPTIONS_INIT;
    }
    options[1].capacity = 5;
    options[JOINABLE].joinable = 1;
    options[3].max_bytes = 4 * MOST;
    for (unsigned i = 0; i < PIPE; i++) {
        must("queue", kin_queue_create(&options[i], &j->queue[i]));
        must("ref", kin_queue_ref(j->queue[i], &s->queue[i]));
    }
    for (unsigned i = 0; i < LOCKS; i++) {
        must("lock", kin_lock_create(NULL, &j->lock[i]));
        must("ref", kin_lock_ref(j->lock[i], &s->lock[i]));
    }
    must("rlock", kin_rlock_create(NULL, &j->rlock));
    must("ref", kin_rlock_ref(j->rlock, &s->rlock));
    struct kin_semaphore_options units = KIN_SEMAPHORE_OPTIONS_INIT;
    units.value = units.bound = UNITS;
    must("semaphore", kin_semaphore_create(&units, &j->semaphore));
    must("ref", kin_semaphore_ref(j->semaphore, &s->semaphore));
    must("condition", kin_condition_create(NULL, &j->condition));
    must("ref", kin_condition_ref(j->condition, &s->condition));
    must("dict", kin_dict_create(NULL, &j->dict));
    must("ref", kin_dict_ref(j->dict, &s->dict));
    renew_pipe(j);
}

static void destroy(struct judge *j)
{
    for (unsigned i = 0; i < PIPE; i++) {
        kin_queue_destroy(j->queue[i]);
    }
    for (unsigned i = 0; i < LOCKS; i++) {
        kin_lock_destroy(j->lock[i]);
    }
    kin_rlock_destroy(j->rlock);
    kin_semaphore_destroy(j->semaphore);
    kin_condition_destroy(j->condition);
    kin_dict_destroy(j->dict);
    j->receiver = kin_connection_destroy(j->receiver);
    j->sender = kin_connection_destroy(j->sender);
    for (unsigned i = 0; i < MEMBERS; i++) {
        for (unsigned k = 0; k < BLOCKS; k++) {
            void *block = (void *)(uintptr_t)kin__a64_load(&j->storm->seat[i].block[k]);
            if (block != NULL) {
                must("free", kin_free(block));
            }
        }
    }
}

static void drain(struct judge *j)
{
    char buffer[MOST];
    int rc;
    for (unsigned i = 0; i < PIPE; i++) {
        size_t size = sizeof buffer;
        while ((rc = kin_queue_get(j->queue[i], buffer, &size, 0)) == 0) {
            storm_seen(j->storm, i, buffer, size);
            if (i == JOINABLE) {
                kin_queue_task_done(j->queue[i]);
            }
            size = sizeof buffer;
        }
        if (rc != KIN_ECLOSED) {
            storm_fail(j->storm, "the end of queue %u: %s", i, kin_strerror(rc));
        }
    }
    rc = kin_queue_join(j->queue[JOINABLE], HANG);
    if (rc != 0) {
        storm_fail(j->storm, "tasks are left: %s", kin_strerror(rc));
    }
    size_t size = sizeof buffer;
    while ((rc = kin_connection_recv(j->receiver, buffer, &size, 200 * MS)) == 0) {
        storm_seen(j->storm, PIPE, buffer, size);
        size = sizeof buffer;
    }
    if (rc == KIN_ETORN || rc == KIN_EPEERDIED) {
        j->allowed[PIPE] = UINT_MAX / 2;
    } else if (rc != -ETIMEDOUT) {
        storm_fail(j->storm, "the end of the pipe: %s", kin_strerror(rc));
    }
}

static uint64_t check_ledgers(struct judge *j)
{
    uint64_t messages = 0;
    for (unsigned line = 0; line < LINES; line++) {
        unsigned lost = 0;
        for (uint32_t life = 0; life < j->lives; life++) {
            const struct ledger *ledger = storm_ledger(j->storm, life, line);
            uint32_t confirmed = kin__a32_load(&ledger->confirmed);
            for (uint32_t i = 0; i < MESSAGES; i++) {
                lost += i < confirmed && ledger->seen[i] == 0;
                messages += ledger->seen[i];
            }
        }
        if (lost > j->allowed[line]) {
            storm_fail(j->storm, "line %u: %u messages are lost; the dead had at most %u", line,
                       lost, j->allowed[line]);
        }
    }
    return messages;
}

static void check_values(struct judge *j)
{
    int64_t count = 0;
    size_t size = sizeof count;
    struct storm *s = j->storm;
    if (kin_dict_get(j->dict, "count", 5, &count, &size) == 0 || kin__a64_load(&s->added) > 0) {
        if ((uint64_t)count < kin__a64_load(&s->added) ||
            (uint64_t)count > kin__a64_load(&s->adding)) {
            storm_fail(s, "the dictionary counts %" PRId64, count);
        }
    }
    if (kin_semaphore_value(j->semaphore) != UNITS) {
        storm_fail(s, "the semaphore ends with %d", kin_semaphore_value(j->semaphore));
    }
    for (unsigned i = 0; i < LOCKS; i++) {
        if (kin_lock_lock(j->lock[i], HANG) < 0) {
            storm_fail(s, "lock %u is not to be had", i);
        }
    }
}

/* Waits, within reason, until only so many processes and objects are left: orphans of killed
 * members, such as a pool's workers, end a moment later, and some were killed as embryos. */
static void look(struct kin_arena_stats *stats, size_t processes, size_t objects)
{
    int64_t until = now() + HANG;
    do {
        kin__sweep(true);
        *stats = (struct kin_arena_stats){.size = sizeof *stats};
        must("stats", kin_arena_stats(stats));
    } while ((stats->processes > processes || stats->objects > objects) && now() < until &&
             usleep(10000) == 0);
}

static int nothing(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return 0;
}

/* What stays once it is there: the fork server, the pipe that tells children of our end, slabs of
 * objects, the bell's socket. */
static void warm_up(struct judge *j)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    kin_process *process;
    options.target = nothing;
    options.method = KIN_START_FORKSERVER;
    options.die_with_parent = 1;
    must("start", kin_process_start(&options, &process));
    must("join", kin_process_join(process, HANG, NULL));
    kin_process_destroy(process);
    create(j);
    must("fd", kin_queue_fd(j->queue[0]));
    must("put", kin_queue_put(j->queue[0], "x", 1, 0));
    destroy(j);
}

int main(int argc, char **argv)
{
    kin_child_main(argc, argv);
    double seconds = argc > 1 ? atof(argv[1]) : 10;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)now() % 1000000;
    uint32_t lives = MEMBERS + (uint32_t)(seconds * LIVES_PER_SECOND);
    printf("storm: %.0f s, seed %" PRIu64 "\n", seconds, seed);
    fflush(stdout);

    size_t size = sizeof(struct storm) + (size_t)lives * LINES * sizeof(struct ledger);
    struct judge j = {.random = seed, .storm = kin_calloc(1, size)};
    if (j.storm == NULL) {
        give_up("memory", kin_alloc_error());
    }
    j.storm->seed = seed;
    j.storm->lives = lives;
    warm_up(&j);
    struct kin_arena_stats before, after;
    look(&before, 1, 0);
    unsigned fds = count_files("/proc/self/fd"), files = count_files("/dev/shm");

    create(&j);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        start(&j, i);
    }
    rage(&j, now() + (int64_t)(seconds * 1e9));

    kin__a32_store(&j.storm->stop, 1);
    for (unsigned i = 0; i < PIPE; i++) {
        must("close", kin_queue_close(j.queue[i]));
    }
    uint64_t steps = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        join(&j, i, false);
        steps += kin__a32_load(&j.storm->seat[i].steps);
    }
    look(&after, before.processes, SIZE_MAX);
    drain(&j);
    uint64_t messages = check_ledgers(&j);
    check_values(&j);
    destroy(&j);

    look(&after, before.processes, before.objects);
    if (after.processes != before.processes || after.objects != before.objects) {
        storm_fail(j.storm, "%zu processes and %zu objects are left, not %zu and %zu",
                   after.processes, after.objects, before.processes, before.objects);
    }
    if (after.blocks < before.blocks || after.blocks > before.blocks + j.unsure) {
        storm_fail(j.storm, "%zu blocks are left, not %zu; the dead may have lost %u", after.blocks,
                   before.blocks, j.unsure);
    }
    if (count_files("/proc/self/fd") != fds || count_files("/dev/shm") != files) {
        storm_fail(j.storm, "%u descriptors and %u files are left, not %u and %u",
                   count_files("/proc/self/fd"), count_files("/dev/shm"), fds, files);
    }
    printf("storm: %u kills, %u stops, %u workers killed, %u pipes torn, %" PRIu64 " operations, %" PRIu64
           " messages\n", j.kills, j.stops, j.workers, j.tears, steps, messages);
    int failed = kin__a32_load(&j.storm->failed) != 0;
    if (failed) {
        printf("storm: FAILED, seed %" PRIu64 ": %s\n", seed, j.storm->text);
    }
    return failed;
}
