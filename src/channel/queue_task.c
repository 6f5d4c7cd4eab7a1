/*
 * Joinable queues: counting the messages that are not yet dealt with, also when those who should
 * have died. Layer: channel. Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

/*
 * Under the lock: `messages` more are done, and the debt of a process becomes `debt`. One store
 * commits both: the note lets the next owner of the lock finish.
 */
static void count(struct kin__queue *queue, uint64_t done, uint32_t slot, uint64_t debt)
{
    kin__queue_note(queue, KIN__OP_COUNT, &queue->done, done, NULL, 0, slot, debt);
    kin__a64_store(&queue->done, done);
    queue->debt[slot] = debt;
    kin__queue_note_clear(queue);
}

void kin__queue_task_settle(struct kin__queue *queue, uint32_t slot, uint32_t generation,
                            enum kin__end end)
{
    struct kin__queue_tail tail;
    uint32_t owed = kin__queue_debt(queue, slot, generation);
    if (owed == 0 || kin__queue_tail(queue, &tail) < 0) {
        return;
    }
    uint64_t done = kin__a64_load_relaxed(&queue->done);
    uint64_t left = tail.stub->seq - done;
    uint64_t lost = KIN__MIN(left, owed);
    if (end == KIN__END_ABNORMAL && lost != 0) {
        queue->lost += lost;
        count(queue, done + lost, slot, 0);
    } else {
        /* It has left in good order: somebody else was told to declare them done. */
        queue->debt[slot] = 0;
    }
}

int kin_queue_task_done(kin_queue *handle)
{
    if (handle == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__queue *queue = handle->shared;
    if (!queue->joinable) {
        return KIN_ESTATE;
    }
    unsigned ring = 0;
    struct kin__queue_tail tail;
    rc = kin__queue_enter(queue, &ring);
    if (rc < 0) {
        return rc;
    }
    rc = kin__queue_tail(queue, &tail);
    uint64_t done = kin__a64_load_relaxed(&queue->done);
    if (rc == 0 && done >= tail.stub->seq) {
        rc = KIN_EOVERFLOW;
    }
    if (rc == 0) {
        uint32_t slot = kin__self->slot, generation = kin__self->generation;
        uint32_t owed = kin__queue_debt(queue, slot, generation);
        count(queue, done + 1, slot, kin__queue_debt_word(generation, owed == 0 ? 0 : owed - 1));
        if (done + 1 == tail.stub->seq) {
            ring |= KIN__RING_IDLE;
        }
    }
    kin__queue_leave(queue, ring);
    return rc;
}

int kin_queue_join(kin_queue *handle, int64_t timeout_ns)
{
    if (handle == NULL || timeout_ns < KIN_FOREVER) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__queue *queue = handle->shared;
    if (!queue->joinable) {
        return KIN_ESTATE;
    }
    struct kin__queue_wait wait = {.timeout_ns = timeout_ns};
    for (;;) {
        unsigned ring = 0;
        struct kin__queue_tail tail;
        rc = kin__queue_enter(queue, &ring);
        if (rc < 0) {
            return rc;
        }
        rc = kin__queue_tail(queue, &tail);
        if (rc < 0 || kin__a64_load_relaxed(&queue->done) >= tail.stub->seq) {
            kin__queue_leave(queue, ring);
            return rc;
        }
        rc = kin__queue_wait_idle(handle, &wait, ring);
        if (rc < 0) {
            return rc;
        }
    }
}
