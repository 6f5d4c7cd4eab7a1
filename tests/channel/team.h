/*
 * One test body, several modes: the members of a team run it as threads of this process or as
 * forked children, which die with the test.
 */
#ifndef TESTS_CHANNEL_TEAM_H
#define TESTS_CHANNEL_TEAM_H

#include <stddef.h>
#include <stdint.h>

enum team_mode {
    TEAM_THREADS,
    TEAM_FORK,
    TEAM_MODES,
};

#define TEAM_MOST 16

/* Returns 0, or the line that failed. */
typedef int team_body(unsigned index, void *arg);

struct team {
    enum team_mode mode;
    unsigned count;
    struct team_member {
        team_body *body;
        void *arg;
        unsigned index;
        int result;
        unsigned long thread;
        int pid;
    } member[TEAM_MOST];
};

/* Adds a member that runs the body. */
void team_start(struct team *team, enum team_mode mode, team_body *body, void *arg);

/* Waits for all of them; returns the first result that is not 0 (a signal counts as -1). */
int team_join(struct team *team);

/* Memory that all members see. */
void *team_memory(size_t size);

int64_t team_now(void);

/* In a body: fails it with the line unless the condition holds. */
#define TEAM_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

#endif
