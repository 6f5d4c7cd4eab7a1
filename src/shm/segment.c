/* Named segments: <kinfolk/segment.h>. Layer: shm. Protocol: docs/design/segment.md. */
#include <kinfolk/segment.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "shm/tracker.h"

/* Constant once it is made. */
struct kin_segment {
    void *data;
    size_t size;
    char name[KIN_SEGMENT_NAME_MAX + 1];
};

_Static_assert(KIN_SEGMENT_NAME_MAX == KIN__NAMED_MAX, "one limit");

/* Tries of a name made up here: with 64 random bits the first is new. */
#define TRIES 8

static int read_name(const char *name, char ret_name[KIN_SEGMENT_NAME_MAX + 1])
{
    if (name == NULL) {
        return -EINVAL;
    }
    name += name[0] == '/';
    size_t length = strnlen(name, KIN_SEGMENT_NAME_MAX + 1);
    if (length > KIN_SEGMENT_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (length == 0 || strpbrk(name, "/\n") != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    memcpy(ret_name, name, length + 1);
    return 0;
}

static int make_up_name(char ret_name[KIN_SEGMENT_NAME_MAX + 1])
{
    uint64_t number;
    int rc = kin__random(&number, sizeof number);
    if (rc == 0) {
        snprintf(ret_name, KIN_SEGMENT_NAME_MAX + 1, "kin_%016llx", (unsigned long long)number);
    }
    return rc;
}

static int map(kin_segment *segment, const struct kin__named *named, bool read_only)
{
    segment->size = named->size;
    return kin__named_map(named, read_only, &segment->data);
}

/* The tracker hears of the name before there is one (T1). */
static int publish(kin_segment *segment, const struct kin__named *named, bool tracked)
{
    int rc = tracked ? kin__tracker_add(named, segment->name) : 0;
    if (rc == 0) {
        rc = kin__named_link(named, segment->name);
        if (rc < 0 && tracked) {
            kin__tracker_remove(named, segment->name);
        }
    }
    return rc;
}

int kin_segment_create(const char *name, size_t bytes, const struct kin_segment_options *given,
                       kin_segment **ret_segment)
{
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    int rc = ret_segment == NULL || bytes == 0 ? -EINVAL
                                               : kin__options_read(&options, sizeof options, given);
    if (rc == 0 && (options.read_only != 0 || (options.mode & ~0777u) != 0)) {
        rc = -EINVAL;
    }
    if (rc < 0) {
        return rc;
    }
    kin_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL) {
        return -ENOMEM;
    }
    struct kin__named named = {.fd = -1};
    rc = name == NULL ? make_up_name(segment->name) : read_name(name, segment->name);
    rc = rc < 0 ? rc : kin__named_create(bytes, options.mode, &named);
    rc = rc < 0 ? rc : map(segment, &named, false);
    rc = rc < 0 ? rc : publish(segment, &named, options.untracked == 0);
    for (int i = 0; name == NULL && rc == -EEXIST && i < TRIES; i++) {
        rc = make_up_name(segment->name);
        rc = rc < 0 ? rc : publish(segment, &named, options.untracked == 0);
    }
    kin__fd_drop(named.fd);
    if (rc < 0) {
        kin_segment_destroy(segment);
        return rc;
    }
    *ret_segment = segment;
    return 0;
}

int kin_segment_open(const char *name, const struct kin_segment_options *given,
                     kin_segment **ret_segment)
{
    struct kin_segment_options options = KIN_SEGMENT_OPTIONS_INIT;
    int rc = ret_segment == NULL ? -EINVAL : kin__options_read(&options, sizeof options, given);
    if (rc < 0) {
        return rc;
    }
    kin_segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL) {
        return -ENOMEM;
    }
    struct kin__named named = {.fd = -1};
    rc = read_name(name, segment->name);
    rc = rc < 0 ? rc : kin__named_open(segment->name, options.read_only != 0, &named);
    rc = rc == 0 && named.size == 0 ? -EAGAIN : rc;
    rc = rc < 0 ? rc : map(segment, &named, options.read_only != 0);
    rc = rc < 0 || options.untracked != 0 ? rc : kin__tracker_add(&named, segment->name);
    kin__fd_drop(named.fd);
    if (rc < 0) {
        kin_segment_destroy(segment);
        return rc;
    }
    *ret_segment = segment;
    return 0;
}

void *kin_segment_data(const kin_segment *segment)
{
    return segment != NULL ? segment->data : NULL;
}

size_t kin_segment_size(const kin_segment *segment)
{
    return segment != NULL ? segment->size : 0;
}

const char *kin_segment_name(const kin_segment *segment)
{
    return segment != NULL ? segment->name : NULL;
}

int kin_segment_unlink(const char *name)
{
    char plain[KIN_SEGMENT_NAME_MAX + 1];
    int rc = read_name(name, plain);
    if (rc < 0) {
        return rc;
    }
    /* Which file it is, for the tracker; a name that cannot be opened is removed all the same. */
    struct kin__named named = {.fd = -1};
    bool known = kin__named_open(plain, true, &named) == 0;
    rc = kin__named_unlink(plain);
    if (known) {
        if (rc == 0) {
            kin__tracker_remove(&named, plain);
        }
        kin__fd_drop(named.fd);
    }
    return rc;
}

kin_segment *kin_segment_destroy(kin_segment *segment)
{
    if (segment != NULL) {
        if (segment->data != NULL) {
            kin__unmap(segment->data, segment->size);
        }
        free(segment);
    }
    return NULL;
}
