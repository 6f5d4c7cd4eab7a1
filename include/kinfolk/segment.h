/*
 * Named shared memory: segments of the POSIX shared memory namespace (files of /dev/shm, as shm_open
 * has them), for sharing with processes that are not of the family, of whatever language.
 *
 * A name belongs to the whole machine. A *tracked* one (the default) is removed when it is not
 * needed any more: once no process is left, of those that have created or opened a tracked segment,
 * of those that descend from them by fork and of those that these have passed descriptors to, even
 * if all are killed by SIGKILL at once. An untracked one persists, as POSIX has it, until somebody
 * unlinks it or the machine is restarted. The memory itself lives until the last mapping is gone.
 *
 * A handle belongs to its process; in a child forked from it, it and its mapping are there as well.
 * All functions are thread-safe; only destroy must not run at the same time as another use of the
 * same handle. None blocks, but the first tracked segment of a family waits until a small process
 * (a shell in a session of its own, nobody's child) has started that will remove the names.
 */
#ifndef KINFOLK_SEGMENT_H
#define KINFOLK_SEGMENT_H

#include <kinfolk/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kin_segment kin_segment;

/* The longest name, in bytes, without the leading slash. */
#define KIN_SEGMENT_NAME_MAX 254

struct kin_segment_options {
    size_t size;
    int untracked;     /* 1: nobody but kin_segment_unlink removes the name */
    int read_only;     /* 1: mapped for reading; open only */
    unsigned mode;     /* create only: permission bits, as of open(2), less the umask */
};
#define KIN_SEGMENT_OPTIONS_INIT {sizeof(struct kin_segment_options), 0, 0, 0600}

/*
 * Makes a segment of `bytes` zero bytes under a name that nobody has: 1 to 254 bytes with or without
 * one leading slash, no other slash, no newline, not "." or "..". NULL: a new name, which
 * kin_segment_name tells. Whoever opens it finds it whole: the name appears when everything else is
 * done, and its memory is allocated, so that using it does not fail later.
 *
 * -EEXIST: the name is taken. -EINVAL: the name, no bytes, or read_only. -ENAMETOOLONG. -ENOSPC,
 * -ENOMEM or -EFBIG: not so much memory. -EACCES. -EAGAIN: whoever removes names is stopped. For a
 * tracked one also what entering the family can say, and why no process could be started.
 */
KIN_API int kin_segment_create(const char *name, size_t bytes,
                               const struct kin_segment_options *options,
                               kin_segment **ret_segment);

/*
 * Maps all of an existing one, whoever made it. -ENOENT: there is none. -EAGAIN: it has no size yet
 * (its maker is between shm_open and ftruncate), or as above. -EACCES, -EINVAL, -ENAMETOOLONG as
 * above. Whoever shortens the file while it is mapped makes others fail by SIGBUS: segments made
 * here are never resized.
 */
KIN_API int kin_segment_open(const char *name, const struct kin_segment_options *options,
                             kin_segment **ret_segment);

/* The mapping, of kin_segment_size bytes; the same until destroy. NULL and 0 for NULL. */
KIN_API void *kin_segment_data(const kin_segment *segment);
KIN_API size_t kin_segment_size(const kin_segment *segment);

/* Its name without a leading slash; the handle's memory. NULL for NULL. */
KIN_API const char *kin_segment_name(const kin_segment *segment);

/* Removes a name; the memory lives on in those that have it mapped. -ENOENT, -EACCES, -EINVAL,
 * -ENAMETOOLONG. */
KIN_API int kin_segment_unlink(const char *name);

/* Unmaps it here; the name stays. NULL is allowed; returns NULL. */
KIN_API kin_segment *kin_segment_destroy(kin_segment *segment);

#ifdef __cplusplus
}
#endif

#endif
