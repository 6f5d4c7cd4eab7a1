/*
 * The queue's segments: a circle that grows where the tail needs room and shrinks when a burst is
 * over. Layer: channel. Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

/* A segment on the lease, its first record a stub. */
static int make(uint64_t size, kin__lease *lease, struct kin__segment **ret_segment)
{
    uint64_t offset;
    int rc = kin__block_alloc(size, lease, &offset);
    if (rc < 0) {
        return rc;
    }
    uint64_t usable = kin__block_size(offset);
    struct kin__segment *segment = kin__at(offset, usable);
    if (segment == NULL || usable < size) {
        return KIN_ECORRUPT;
    }
    segment->self = kin__a64_load_relaxed(lease);
    segment->size = usable & ~(uint64_t)(KIN__RECORD_ALIGN - 1);
    segment->unused = 0;
    kin__a64_store(&segment->next, segment->self);
    struct kin__record *stub = (void *)((char *)segment + KIN__SEGMENT_FIRST);
    *stub = (struct kin__record){.kind = KIN__RECORD_STUB, .back = KIN__SEGMENT_FIRST};
    *ret_segment = segment;
    return 0;
}

void kin__queue_discard(kin__lease *lease)
{
    if (lease != NULL) {
        kin__block_free_leased(kin__a64_load_relaxed(lease));
        kin__lease_drop(lease);
    }
}

int kin__queue_first_segment(struct kin__queue *queue)
{
    kin__lease *lease = kin__lease_take();
    struct kin__segment *segment;
    int rc = make(KIN__SEGMENT_SMALLEST, lease, &segment);
    if (rc == 0) {
        unsigned ring = 0;
        rc = kin__queue_enter(queue, &ring);
        if (rc == 0) {
            uint64_t position = kin__offset(segment) + KIN__SEGMENT_FIRST;
            /* tail decides whether there is a line at all, so head goes first. */
            kin__a64_store(&queue->head, position);
            kin__queue_note(queue, KIN__OP_GIVE, &queue->tail, position, lease, segment->self,
                            KIN__NO_SLOT, 0);
            kin__a64_store(&queue->tail, position);
            kin__a64_store(lease, 0);
            kin__queue_note_clear(queue);
            kin__queue_leave(queue, ring);
        }
    }
    kin__queue_discard(lease);
    return rc;
}

/* The tail's segment and the one behind it, and the head's: the free ones lie between. */
static int around(struct kin__queue *queue, struct kin__segment **ret_tail,
                  struct kin__segment **ret_next, struct kin__segment **ret_head)
{
    struct kin__segment *tail = kin__segment_of(kin__a64_load_relaxed(&queue->tail));
    struct kin__segment *head = kin__segment_of(kin__a64_load_relaxed(&queue->head));
    struct kin__segment *next =
        tail == NULL ? NULL : kin__segment_at(kin__a64_load_relaxed(&tail->next));
    if (head == NULL || next == NULL) {
        return KIN_ECORRUPT;
    }
    *ret_tail = tail;
    *ret_next = next;
    *ret_head = head;
    return 0;
}

int kin__queue_grow(struct kin__queue *queue)
{
    unsigned ring = 0;
    struct kin__segment *tail, *next, *head, *segment;
    int rc = kin__queue_enter(queue, &ring);
    if (rc < 0) {
        return rc;
    }
    rc = around(queue, &tail, &next, &head);
    uint64_t size = rc < 0 ? 0 : KIN__MIN(tail->size * 4, (uint64_t)KIN__SEGMENT_LARGEST);
    kin__queue_leave(queue, ring);
    if (rc < 0) {
        return rc;
    }

    kin__lease *lease = kin__lease_take();
    rc = make(size, lease, &segment);
    if (rc < 0) {
        goto out;
    }
    ring = 0;
    rc = kin__queue_enter(queue, &ring);
    if (rc < 0) {
        goto out;
    }
    rc = around(queue, &tail, &next, &head);
    if (rc == 0 && next == head) { /* nobody else has been faster */
        uint64_t self = segment->self;
        kin__a64_store(&segment->next, kin__a64_load_relaxed(&tail->next));
        kin__queue_note(queue, KIN__OP_GIVE, &tail->next, self, lease, self, KIN__NO_SLOT, 0);
        kin__a64_store(&tail->next, self);
        kin__a64_store(lease, 0);
        kin__queue_note_clear(queue);
    }
    kin__queue_leave(queue, ring);
out:
    kin__queue_discard(lease);
    return rc;
}

bool kin__queue_has_spare(struct kin__queue *queue)
{
    struct kin__segment *tail, *next, *head;
    if (around(queue, &tail, &next, &head) < 0 || next == head) {
        return false;
    }
    struct kin__segment *after = kin__segment_at(kin__a64_load_relaxed(&next->next));
    return after != NULL && after != head;
}

/* Under the lock: moves the segment behind the tail's, which is free, to the lease. */
static void unlink_next(struct kin__queue *queue, struct kin__segment *tail,
                        struct kin__segment *next, kin__lease *lease)
{
    uint64_t after = kin__a64_load_relaxed(&next->next);
    uint64_t self = kin__a64_load_relaxed(&tail->next);
    kin__queue_note(queue, KIN__OP_TAKE, &tail->next, after, lease, self, KIN__NO_SLOT, 0);
    kin__a64_store(lease, self);
    kin__a64_store(&tail->next, after);
    kin__queue_note_clear(queue);
}

void kin__queue_shrink(struct kin__queue *queue)
{
    kin__lease *lease = kin__lease_take();
    for (;;) {
        unsigned ring = 0;
        if (kin__queue_enter(queue, &ring) < 0) {
            break;
        }
        struct kin__segment *tail, *next, *head;
        /* Live: where somebody has spoilt the circle, this must not go round it for ever. */
        if (!kin__queue_has_spare(queue) || around(queue, &tail, &next, &head) < 0 ||
            !kin__lease_is_live(kin__a64_load_relaxed(&tail->next))) {
            kin__queue_leave(queue, ring);
            break;
        }
        unlink_next(queue, tail, next, lease);
        kin__queue_leave(queue, ring);
        kin__block_free_leased(kin__a64_load_relaxed(lease));
        kin__a64_store(lease, 0);
    }
    kin__lease_drop(lease);
}

uint64_t kin__queue_segments(struct kin__queue *queue)
{
    struct kin__segment *tail = kin__segment_of(kin__a64_load_relaxed(&queue->tail));
    struct kin__segment *segment = tail;
    uint64_t count = 0;
    uint64_t most = kin__a64_load(&kin__family.head->committed) / KIN__SEGMENT_SMALLEST;
    while (segment != NULL && count <= most) {
        count++;
        segment = kin__segment_at(kin__a64_load_relaxed(&segment->next));
        if (segment == tail) {
            break;
        }
    }
    return count;
}

/*
 * Frees a block of the queue's and stores what that makes of the line, one after the other: a
 * finisher who dies between is followed by one who repeats both from the note. No lease is used
 * here, because a finisher need not hold the object, so that the sweep of its death would come to
 * its leases without having visited us.
 */
static void end(struct kin__queue *queue, kin__a64 *word, uint64_t value, uint64_t block)
{
    kin__queue_note(queue, KIN__OP_END, word, value, NULL, block, KIN__NO_SLOT, 0);
    kin__block_free_leased(block);
    kin__a64_store(word, value);
    kin__queue_note_clear(queue);
}

/* One step of taking apart. 1, or 0 when nothing is left, or an error. */
static int dismantle(struct kin__queue *queue)
{
    if (kin__a64_load_relaxed(&queue->tail) == 0) {
        return 0;
    }
    struct kin__queue_head head;
    int rc;
    bool any = false;
    uint64_t last = 0;
    kin__queue_head_begin(queue, &head);
    while ((rc = kin__queue_head_next(queue, &head)) == 1) {
        if (any && head.seq <= last) {
            return KIN_ECORRUPT; /* or it might go round for ever */
        }
        any = true;
        last = head.seq;
        kin__queue_head_pass(&head);
        if (head.large) {
            end(queue, &queue->head, head.position, head.block);
        }
    }
    if (rc < 0) {
        return rc;
    }
    kin__a64_store(&queue->head, head.position); /* now equal to tail */

    struct kin__segment *tail, *next, *first;
    rc = around(queue, &tail, &next, &first);
    if (rc < 0) {
        return rc;
    }
    uint64_t self = kin__a64_load_relaxed(&tail->next);
    if (!kin__lease_is_live(self)) {
        return KIN_ECORRUPT;
    }
    if (next != tail) {
        end(queue, &tail->next, kin__a64_load_relaxed(&next->next), self);
    } else {
        end(queue, &queue->tail, 0, self);
    }
    return 1;
}

void kin__queue_fini(struct kin__object *object)
{
    struct kin__queue *queue = (struct kin__queue *)object;
    unsigned ring = 0;
    if (kin__queue_enter(queue, &ring) < 0) {
        return;
    }
    while (dismantle(queue) > 0) {
    }
    kin__mutex_unlock(&object->mutex); /* nobody is there to hear a ring */
}
