/* Children that execute the program again: what they do not have of their parent, and what they
 * are given. */
#include "help.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int global = 1;

struct sight {
    struct board *board;
    void *heap; /* a mapping of the parent's */
    int fds[4]; /* the descriptors that the child is to have, besides the usual */
    int fd_count;
    bool tied; /* to its parent's life */
    enum kin_start_method method;
};

static bool is_mapped(void *address)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool found = false;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx", &from, &to) == 2) {
            found |= (unsigned long)address >= from && (unsigned long)address < to;
        }
    }
    fclose(maps);
    return found;
}

static int count_threads(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : -1;
}

/* Descriptors other than 0, 1, 2, the listed ones, the arena and the lifeline. */
static int count_strays(const struct sight *sight)
{
    DIR *dir = opendir("/proc/self/fd");
    int strays = 0, pipes = 0;
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);
        bool known = entry->d_name[0] == '.' || fd <= 2 || fd == dirfd(dir);
        for (int i = 0; i < sight->fd_count; i++) {
            known |= fd == sight->fds[i];
        }
        char link[256] = "";
        if (readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1) < 0 || known) {
            continue;
        }
        if (strncmp(link, "/memfd:kinfolk ", 15) == 0) {
            continue;
        }
        if (strncmp(link, "pipe:", 5) == 0 && sight->tied && pipes++ == 0) {
            continue;
        }
        fprintf(stderr, "stray descriptor %d: %s\n", fd, link);
        strays++;
    }
    closedir(dir);
    return strays;
}

static int look_around(void *arg, size_t size)
{
    struct sight *sight = arg;
    if (size != sizeof *sight) {
        return 1;
    }
    if (global != 1) {
        return 2;
    }
    if (is_mapped(sight->heap)) {
        return 3;
    }
    if (count_threads() != 1) {
        return 4;
    }
    if (count_strays(sight) != 0) {
        return 5;
    }
    for (int i = 0; i < sight->fd_count; i++) {
        char text[2] = {(char)('a' + i), 0};
        if ((fcntl(sight->fds[i], F_GETFD) & FD_CLOEXEC) == 0 ||
            write(sight->fds[i], text, 1) != 1) {
            return 6;
        }
    }
    if (!is_mapped(sight->board) || atomic_load(&sight->board->word[0]) != 77) {
        return 7;
    }
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    if (sigismember(&blocked, SIGUSR1)) {
        return 8;
    }
    struct sigaction action;
    sigaction(SIGUSR2, NULL, &action);
    if (action.sa_handler != SIG_DFL) {
        return 9;
    }
    atomic_store(&sight->board->word[0], 78);
    return 0;
}

static void *idle(void *arg)
{
    await((_Atomic int *)arg, 1);
    return NULL;
}

static void handler(int signal_number)
{
    (void)signal_number;
}

static const enum kin_start_method fresh[] = {KIN_START_SPAWN, KIN_START_FORKSERVER};

START_TEST(nothing_of_the_parent)
{
    global = 2;
    static _Atomic int go;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, idle, &go);
    }
    signal(SIGUSR2, handler);
    size_t size = 8 << 20;
    char *heap = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(heap, 0x5a, size);
    for (int i = 0; i < 20; i++) { /* inheritable, and left open */
        ck_assert_int_ge(open("/dev/null", O_RDWR), 0);
    }
    struct sight sight = {.board = make_board(), .heap = heap + size / 2, .method = fresh[_i]};
    for (int round = 0; round < 3; round++) {
        atomic_store(&sight.board->word[0], 77);
        sight.tied = round % 2 == 0;
        struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
        options.target = look_around;
        options.arg = &sight;
        options.arg_size = sizeof sight;
        options.method = fresh[_i];
        options.die_with_parent = sight.tied;
        kin_process *p = NULL;
        ok(kin_process_start(&options, &p));
        ck_assert_int_eq(finish(p), 0);
        await(&sight.board->word[0], 78);
    }
    atomic_store(&go, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
}
END_TEST

/* Numbers that collide with whatever the library has open on either side. */
START_TEST(listed_descriptors)
{
    struct sight sight = {.board = make_board(), .fd_count = 4, .method = fresh[_i]};
    int base[2];
    ck_assert_int_eq(pipe2(base, O_CLOEXEC), 0);
    const int sets[][4] = {{50, 51, 52, 53}, {9, 10, 11, 12}, {200, 8, 13, 100}, {7, 9, 8, 10}};
    for (unsigned round = 0; round < sizeof sets / sizeof *sets; round++) {
        int fds[6] = {1, 2}; /* these too: they change nothing */
        for (int i = 0; i < 4; i++) {
            /* The numbers that are free here, from the wished one on. */
            sight.fds[i] = fds[i + 2] = fcntl(base[1], F_DUPFD_CLOEXEC, sets[round][i]);
            ck_assert_int_ge(sight.fds[i], 0);
        }
        atomic_store(&sight.board->word[0], 77);
        struct kin_context context = KIN_CONTEXT_INIT;
        context.fds = fds;
        context.fd_count = 4;
        struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
        options.target = look_around;
        options.arg = &sight;
        options.arg_size = sizeof sight;
        options.method = fresh[_i];
        options.context = &context;
        options.fds = fds + 3; /* one is in both lists */
        options.fd_count = 3;
        kin_process *p = NULL;
        ok(kin_process_start(&options, &p));
        ck_assert_int_eq(finish(p), 0);
        char text[5] = "";
        ck_assert_int_eq(read(base[0], text, 4), 4);
        ck_assert_str_eq(text, "abcd");
        for (int i = 0; i < 4; i++) {
            close(sight.fds[i]);
        }
    }
}
END_TEST

static int say(void *arg, size_t size)
{
    printf("%.*s", (int)size, (char *)arg);
    return 0;
}

/* Output goes where the parent's goes now, each text once, also what is still in a buffer. */
START_TEST(output_once)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    fflush(stdout);
    int saved = dup(1);
    dup2(ends[1], 1);
    close(ends[1]);
    printf("[parent]");
    kin_process *a = start(methods[_i], say, "[child a]", 9);
    ck_assert_int_eq(finish(a), 0);
    printf("[between]");
    kin_process *b = start(methods[_i], say, "[child b]", 9);
    ck_assert_int_eq(finish(b), 0);
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    char text[256];
    size_t length = 0;
    ssize_t n;
    while ((n = read(ends[0], text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)n;
        text[length] = '\0';
        if (strstr(text, "[child b]") != NULL) {
            break; /* a fork server still holds its copy: no end of file comes */
        }
    }
    ck_assert_str_eq(text, "[parent][child a][between][child b]");
}
END_TEST

static int tell_streams(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return (fcntl(0, F_GETFD) >= 0) | (fcntl(1, F_GETFD) >= 0) << 1 |
           (fcntl(2, F_GETFD) >= 0) << 2;
}

START_TEST(closed_streams)
{
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 60);
    close(0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(finish(start(methods[_i], tell_streams, NULL, 0)), 6);
    }
    ck_assert_int_lt(fcntl(0, F_GETFD), 0);
    dup2(saved, 0);
    ck_assert_int_eq(finish(start(methods[_i], tell_streams, NULL, 0)), 7);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("process fresh");
    TCase *tc = tcase_create("fresh");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, reset_signals, NULL);
    tcase_add_loop_test(tc, nothing_of_the_parent, 0, 2);
    tcase_add_loop_test(tc, listed_descriptors, 0, 2);
    tcase_add_loop_test(tc, output_once, 0, METHODS);
    tcase_add_loop_test(tc, closed_streams, 0, METHODS);
    suite_add_tcase(s, tc);
    return s;
}

KIT_CHECK_MAIN(suite)
