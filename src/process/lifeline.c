/*
 * Children that die with their parent, even while they compute. Layer: process.
 * Protocol: docs/design/process.md, "Lifeline".
 *
 * A process holds the only write end of one pipe for all its children; each child has its own
 * description of the read end, on which the kernel sends it SIGKILL when the write end closes.
 */
#include "process/process.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* This process's own lifeline, -1: none; under `lock`, but for the fork handlers. */
static int ends[2] = {-1, -1};
/* The description by which this process follows its parent. */
static int followed = -1;
/* The fork of this thread that follows makes a child that keeps the read end, in `kept`. */
static _Thread_local bool keep;
static int kept = -1;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* The lifeline is the parent's: while a child holds its write end, it does not break. */
KIN__FORK_PATH static void after_fork_in_child(void)
{
    if (ends[0] >= 0) {
        kin__fd_drop(ends[1]);
        if (keep) {
            kept = ends[0];
        } else {
            kin__fd_drop(ends[0]);
        }
        ends[0] = ends[1] = -1;
    }
    if (followed >= 0) {
        kin__fd_drop(followed);
        followed = -1;
    }
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int kin__lifeline_open(void)
{
    pthread_mutex_lock(&lock);
    int rc = ends[0] >= 0 ? 0 : kin__lifeline_create(ends);
    int fd = ends[0];
    pthread_mutex_unlock(&lock);
    return rc < 0 ? rc : fd;
}

void kin__lifeline_keep(bool keep_it)
{
    keep = keep_it;
}

void kin__lifeline_follow_forked(int32_t parent)
{
    keep = false;
    int fd = kept;
    kept = -1;
    kin__lifeline_follow(fd, parent);
}

void kin__lifeline_follow(int fd, int32_t parent)
{
    if (fd >= 0) {
        followed = kin__lifeline_arm(fd);
        kin__fd_drop(fd);
    }
    if (parent > 0) {
        kin__parent_death_arm(parent);
    }
}
