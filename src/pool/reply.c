/* Replies of tasks, made in a worker. Layer: pool. Protocol: docs/design/pool.md, "Replies". */
#include "pool/worker.h"

#include <errno.h>
#include <string.h>

void kin__reply_begin(struct kin_reply *reply)
{
    reply->room = NULL;
    reply->size = reply->block = 0;
    reply->lease = NULL;
}

void kin__reply_drop(struct kin_reply *reply)
{
    if (reply->block != 0) {
        kin__block_free(reply->block);
        kin__lease_drop(reply->lease);
    }
    kin__reply_begin(reply);
}

int kin_reply_reserve(kin_reply *reply, size_t size, void **ret_room)
{
    if (reply == NULL || ret_room == NULL) {
        return -EINVAL;
    }
    kin__reply_drop(reply);
    if (size <= KIN__POOL_INLINE) {
        reply->room = reply->buffer;
    } else {
        kin__lease *lease = kin__lease_take();
        uint64_t offset;
        int rc = kin__block_alloc(size, lease, &offset);
        if (rc < 0) {
            kin__lease_drop(lease);
            return rc;
        }
        reply->block = offset;
        reply->lease = lease;
        reply->room = kin__at(offset, size);
    }
    reply->size = size;
    *ret_room = reply->room;
    return 0;
}

int kin_reply_set(kin_reply *reply, const void *data, size_t size)
{
    if (data == NULL && size != 0) {
        return -EINVAL;
    }
    void *room;
    int rc = kin_reply_reserve(reply, size, &room);
    if (rc == 0 && size != 0) {
        memcpy(room, data, size);
    }
    return rc;
}

int kin_reply_trim(kin_reply *reply, size_t size)
{
    if (reply == NULL || reply->room == NULL || size > reply->size) {
        return -EINVAL;
    }
    reply->size = size;
    return 0;
}
