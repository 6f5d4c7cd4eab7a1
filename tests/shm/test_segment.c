/* Named segments: names, contents, and who removes what at whose end. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kinfolk.h>

#include "kit/modes.h"

/* A name of this test's own; the process's id makes it so. */
static const char *own_name(const char *what)
{
    static char name[64];
    snprintf(name, sizeof name, "kin_test_%s_%d", what, (int)getpid());
    return name;
}

static bool exists(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    return access(path, F_OK) == 0;
}

/* The suite's time limit bounds it. */
static void await_gone(const char *name)
{
    struct timespec pause = {.tv_nsec = 2000000};
    while (exists(name)) {
        nanosleep(&pause, NULL);
    }
}

static kin_segment *make(const char *name, size_t bytes, int untracked)
{
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    options.untracked = untracked;
    kin_segment *segment = NULL;
    ck_assert_int_eq(kin_segment_create(name, bytes, &options, &segment), 0);
    return segment;
}

START_TEST(test_contents)
{
    const char *name = own_name("contents");
    kin_segment *segment = make(name, 10000, _i), *other = NULL;
    ck_assert_str_eq(kin_segment_name(segment), name);
    ck_assert_uint_eq(kin_segment_size(segment), 10000);
    char *data = kin_segment_data(segment);
    for (int i = 0; i < 10000; i++) {
        ck_assert_int_eq(data[i], 0);
    }
    strcpy(data + 5000, "hello");
    /* By another handle, with the slash, and as any program sees it. */
    char slashed[80];
    snprintf(slashed, sizeof slashed, "/%s", name);
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    options.untracked = _i;
    ck_assert_int_eq(kin_segment_open(slashed, &options, &other), 0);
    ck_assert_ptr_ne(kin_segment_data(other), data);
    ck_assert_str_eq((char *)kin_segment_data(other) + 5000, "hello");
    int fd = shm_open(slashed, O_RDONLY, 0);
    struct stat st;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(st.st_size, 10000);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    close(fd);
    ck_assert_int_eq(kin_segment_create(name, 1, &options, &other), -EEXIST);
    /* The memory outlives the name. */
    ck_assert_int_eq(kin_segment_unlink(slashed), 0);
    ck_assert(!exists(name));
    ck_assert_int_eq(kin_segment_unlink(name), -ENOENT);
    ck_assert_int_eq(kin_segment_open(name, NULL, &segment), -ENOENT);
    strcpy(data, "still there");
    ck_assert_str_eq(kin_segment_data(other), "still there");
    ck_assert_ptr_null(kin_segment_destroy(segment));
    ck_assert_ptr_null(kin_segment_destroy(other));
}
END_TEST

START_TEST(test_bad_input)
{
    kin_segment *segment = NULL;
    static const char *const bad[] = {"", "/", "a/b", "//a", ".", "..", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(kin_segment_create(bad[i], 1, NULL, &segment), -EINVAL);
        ck_assert_int_eq(kin_segment_open(bad[i], NULL, &segment), -EINVAL);
        ck_assert_int_eq(kin_segment_unlink(bad[i]), -EINVAL);
    }
    char longest[KIN_SEGMENT_NAME_MAX + 2];
    memset(longest, 'k', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    ck_assert_int_eq(kin_segment_create(longest, 1, NULL, &segment), -ENAMETOOLONG);
    longest[sizeof longest - 2] = '\0';
    ck_assert_int_eq(kin_segment_open(longest, NULL, &segment), -ENOENT);
    ck_assert_int_eq(kin_segment_create("kin_test_none", 0, NULL, &segment), -EINVAL);
    ck_assert_int_eq(kin_segment_create("kin_test_none", 1, NULL, NULL), -EINVAL);
    ck_assert_int_eq(kin_segment_open(NULL, NULL, &segment), -EINVAL);
    ck_assert_int_eq(kin_segment_unlink(NULL), -EINVAL);
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    options.read_only = 1;
    ck_assert_int_eq(kin_segment_create("kin_test_none", 1, &options, &segment), -EINVAL);
    options = (struct kin_segment_options)KIN_SEGMENT_OPTIONS_INIT;
    options.mode = 01000;
    ck_assert_int_eq(kin_segment_create("kin_test_none", 1, &options, &segment), -EINVAL);
    ck_assert_ptr_null(segment);
    ck_assert_ptr_null(kin_segment_data(NULL));
    ck_assert_uint_eq(kin_segment_size(NULL), 0);
    ck_assert_ptr_null(kin_segment_name(NULL));
    ck_assert_ptr_null(kin_segment_destroy(NULL));
}
END_TEST

/* More than the machine has is an error at once, not a SIGBUS later. */
START_TEST(test_no_room)
{
    const char *name = own_name("room");
    kin_segment *segment = NULL;
    int rc = kin_segment_create(name, (size_t)1 << 60, NULL, &segment);
    ck_assert_msg(rc == -ENOSPC || rc == -ENOMEM || rc == -EFBIG, "%d", rc);
    ck_assert_int_eq(kin_segment_create(name, SIZE_MAX, NULL, &segment), -EFBIG);
    ck_assert(!exists(name));
    ck_assert_ptr_null(segment);
}
END_TEST

START_TEST(test_unsized)
{
    const char *name = own_name("unsized");
    kin_segment *segment = NULL;
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kin_segment_open(name, NULL, &segment), -EAGAIN);
    ck_assert_int_eq(ftruncate(fd, 100), 0);
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    options.untracked = 1;
    ck_assert_int_eq(kin_segment_open(name, &options, &segment), 0);
    ck_assert_uint_eq(kin_segment_size(segment), 100);
    kin_segment_destroy(segment);
    close(fd);
    kin_segment_unlink(name);
}
END_TEST

START_TEST(test_read_only)
{
    const char *name = own_name("read");
    kin_segment *segment = make(name, 100, 1), *view = NULL;
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    options.untracked = options.read_only = 1;
    ck_assert_int_eq(kin_segment_open(name, &options, &view), 0);
    *(char *)kin_segment_data(segment) = 'k';
    ck_assert_int_eq(*(char *)kin_segment_data(view), 'k');
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* also under a sanitizer */
        *(volatile char *)kin_segment_data(view) = 'x';
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    kin_segment_unlink(name);
    kin_segment_destroy(view);
    kin_segment_destroy(segment);
}
END_TEST

START_TEST(test_made_up_names)
{
    kin_segment *one = make(NULL, 1, _i), *two = make(NULL, 1, _i);
    ck_assert_str_ne(kin_segment_name(one), kin_segment_name(two));
    ck_assert(exists(kin_segment_name(one)));
    ck_assert_int_eq(kin_segment_unlink(kin_segment_name(one)), 0);
    ck_assert_int_eq(kin_segment_unlink(kin_segment_name(two)), 0);
    /* Nobody's child: the program's own wait() must not meet the tracker. */
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    kin_segment_destroy(one);
    kin_segment_destroy(two);
}
END_TEST

/* --- who removes what ----------------------------------------------------------------------- */

struct story {
    char tracked[64], untracked[64], reused[64];
    pid_t pid, child;
};

static void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(p, MAP_FAILED);
    return p;
}

/* Runs in a process that is about to be killed; returns when all is made. */
static void make_three(struct story *story)
{
    snprintf(story->tracked, sizeof story->tracked, "kin_test_t_%d", (int)getpid());
    snprintf(story->untracked, sizeof story->untracked, "kin_test_u_%d", (int)getpid());
    snprintf(story->reused, sizeof story->reused, "kin_test_r_%d", (int)getpid());
    make(story->tracked, 4096, 0);
    make(story->untracked, 4096, 1);
    /* A name that was tracked, and is now somebody else's. Not through the library, which would
     * tell the tracker: somebody else does not. */
    make(story->reused, 4096, 0);
    shm_unlink(story->reused);
    int fd = shm_open(story->reused, O_RDWR | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void check_three(struct story *story)
{
    await_gone(story->tracked);
    ck_assert(exists(story->untracked));
    ck_assert(exists(story->reused));
    shm_unlink(story->untracked);
    shm_unlink(story->reused);
}

static pid_t start(void (*fn)(struct story *), struct story *story)
{
    int ready[2];
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(ready[0]);
        story->pid = getpid();
        fn(story);
        if (write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    char byte;
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

START_TEST(test_all_killed)
{
    struct story *story = shared(sizeof *story);
    pid_t pid = start(make_three, story);
    ck_assert(exists(story->tracked));
    end(pid);
    check_three(story);
}
END_TEST

static void make_and_fork(struct story *story)
{
    make_three(story);
    pid_t pid = fork();
    while (pid == 0) {
        pause();
    }
    story->child = pid;
}

/* As long as one of them lives, however the others ended, the name stays. */
START_TEST(test_forked_child_keeps_it)
{
    struct story *story = shared(sizeof *story);
    pid_t pid = start(make_and_fork, story);
    end(pid);
    char path[128];
    for (int i = 0; i < 50; i++) {
        ck_assert(exists(story->tracked));
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    snprintf(path, sizeof path, "/dev/shm/%s", story->tracked);
    ck_assert_int_eq(access(path, R_OK), 0);
    kill(story->child, SIGKILL);
    check_three(story);
}
END_TEST

static int make_in_child(void *arg, size_t size)
{
    (void)size;
    make_three(*(struct story **)arg);
    return 0;
}

/* The tracker was started by a child: its parent finds it through the family. */
static void open_what_a_child_made(struct story *story)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = make_in_child;
    options.arg = &story;
    options.arg_size = sizeof story;
    kin_process *process = NULL;
    kin_segment *ours = NULL, *segment = NULL;
    int exitcode = 1;
    /* Ours first: the child has the way to the tracker from us. */
    if (story->child != 0) {
        ours = make(NULL, 1, 0);
    }
    ck_assert_int_eq(kin_process_start(&options, &process), 0);
    ck_assert_int_eq(kin_process_join(process, KIN_FOREVER, &exitcode), 0);
    ck_assert_int_eq(exitcode, 0);
    if (ours != NULL) {
        ck_assert_int_eq(kin_segment_open(story->tracked, NULL, &segment), 0);
        kin_segment_unlink(kin_segment_name(ours));
    }
}

START_TEST(test_orderly_end_of_the_maker)
{
    struct story *story = shared(sizeof *story);
    story->child = _i;
    pid_t pid = start(open_what_a_child_made, story);
    if (_i != 0) {
        ck_assert(exists(story->tracked));
    }
    end(pid);
    check_three(story);
}
END_TEST

static int open_and_tell(void *arg, size_t size)
{
    (void)size;
    struct story *story = *(struct story **)arg;
    kin_segment *segment = NULL;
    while (story->tracked[0] == '\0') {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (kin_segment_open(story->tracked, NULL, &segment) < 0) {
        return 1;
    }
    story->child = getpid();
    for (;;) {
        pause();
    }
}

/* A sibling, started before there was a tracker, reaches it through the maker's descriptor. */
static void make_with_elder_child(struct story *story)
{
    struct kin_process_options options = KIN_PROCESS_OPTIONS_INIT;
    options.target = open_and_tell;
    options.arg = &story;
    options.arg_size = sizeof story;
    kin_process *process = NULL;
    char name[64];
    ck_assert_int_eq(kin_process_start(&options, &process), 0);
    snprintf(name, sizeof name, "kin_test_t_%d", (int)getpid());
    make(name, 4096, 0);
    strcpy(story->tracked, name);
    while (*(volatile pid_t *)&story->child == 0) {
        ck_assert_int_eq(kin_process_is_alive(process), 1);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

START_TEST(test_elder_child_keeps_it)
{
    struct story *story = shared(sizeof *story);
    pid_t pid = start(make_with_elder_child, story);
    end(pid);
    for (int i = 0; i < 50; i++) {
        ck_assert(exists(story->tracked));
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    kill(story->child, SIGKILL);
    await_gone(story->tracked);
}
END_TEST

static Suite *segment_suite(void)
{
    Suite *suite = suite_create("segment");
    TCase *tests = tcase_create("segment");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, test_contents, 0, 2);
    tcase_add_test(tests, test_bad_input);
    tcase_add_test(tests, test_no_room);
    tcase_add_test(tests, test_unsized);
    tcase_add_test(tests, test_read_only);
    tcase_add_loop_test(tests, test_made_up_names, 0, 2);
    tcase_add_test(tests, test_all_killed);
    tcase_add_test(tests, test_forked_child_keeps_it);
    tcase_add_loop_test(tests, test_orderly_end_of_the_maker, 0, 2);
    tcase_add_test(tests, test_elder_child_keeps_it);
    suite_add_tcase(suite, tests);
    return suite;
}

KIT_CHECK_MAIN(segment_suite)
