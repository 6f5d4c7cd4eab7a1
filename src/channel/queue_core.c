/*
 * The queue's line: entering and leaving its lock, repairing it, appending to and taking from it.
 * Everything here runs under the lock. Layer: channel. Protocol: docs/design/queue.md.
 */
#include "channel/queue.h"

#include <string.h>

/* --- the lock ------------------------------------------------------------------------------ */

void kin__queue_note(struct kin__queue *queue, enum kin__queue_op kind, kin__a64 *word,
                     uint64_t value, kin__lease *lease, uint64_t block, uint32_t slot,
                     uint64_t debt)
{
    struct kin__queue_note *note = &queue->note;
    note->word = kin__offset(word);
    note->value = value;
    note->lease = lease == NULL ? 0 : kin__offset(lease);
    note->block = block;
    note->slot = slot;
    note->debt = debt;
    kin__a64_store(&note->kind, (uint64_t)kind); /* release: a note is whole or not there */
}

void kin__queue_note_clear(struct kin__queue *queue)
{
    kin__a64_store(&queue->note.kind, KIN__OP_NONE);
}

/* The lease that a note names; NULL if that is none. */
static kin__lease *lease_at(uint64_t offset)
{
    const struct kin__head *head = kin__family.head;
    return offset < head->slots_offset || offset >= head->units_offset || (offset & 7) != 0
               ? NULL
               : kin__in_file(offset, sizeof(kin__lease));
}

/* Finishes or undoes what the dead owner noted. Idempotent until the note is cleared. */
static int settle(struct kin__queue *queue)
{
    struct kin__queue_note *note = &queue->note;
    uint64_t kind = kin__a64_load(&note->kind);
    if (kind == KIN__OP_NONE) {
        return 0;
    }
    uint64_t slot = note->slot;
    kin__a64 *word = kin__at(note->word, sizeof *word);
    kin__lease *lease = lease_at(note->lease);
    bool leased = kind == KIN__OP_GIVE || kind == KIN__OP_TAKE;
    if (kind > KIN__OP_END || word == NULL || (note->word & 7) != 0 || (leased && lease == NULL) ||
        (slot != KIN__NO_SLOT && (slot >= KIN__SLOTS || !queue->joinable))) {
        return KIN_ECORRUPT;
    }
    if (kind == KIN__OP_END) {
        kin__block_free_leased(note->block); /* does nothing the second time */
        kin__a64_store(word, note->value);
    }
    bool committed = kin__a64_load(word) == note->value;
    if ((kind == KIN__OP_GIVE && committed) || (kind == KIN__OP_TAKE && !committed)) {
        /* The block is the queue's. A lease that says otherwise would free it in the sweep of the
         * dead process, which has not come to its leases yet: it visits us first. */
        uint64_t block = note->block;
        kin__a64_cas(lease, &block, 0);
    }
    if (committed && slot != KIN__NO_SLOT) {
        queue->debt[slot] = note->debt;
    }
    kin__queue_note_clear(queue);
    return 0;
}

static struct kin__record *record_at(uint64_t position)
{
    return (position & (KIN__RECORD_ALIGN - 1)) != 0 ? NULL
                                                     : kin__at(position, sizeof(struct kin__record));
}

static int repair(struct kin__queue *queue)
{
    int rc = settle(queue);
    if (rc < 0) {
        return rc;
    }
    uint64_t position = kin__a64_load(&queue->head);
    if (kin__a64_load(&queue->tail) == 0) {
        return 0; /* not yet begun, or already taken apart */
    }
    const struct kin__record *record = record_at(position);
    if (record == NULL) {
        return KIN_ECORRUPT;
    }
    queue->got = record->seq;
    queue->got_bytes = record->bytes;
    return 0;
}

int kin__queue_enter(struct kin__queue *queue, unsigned *ring)
{
    int rc = kin__mutex_lock(&queue->object.mutex);
    if (KIN__LIKELY(rc == 0)) {
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    rc = repair(queue);
    if (rc < 0) {
        kin__mutex_unlock(&queue->object.mutex);
        return rc;
    }
    /* The dead owner may have committed and not rung. */
    *ring |= KIN__RING_EVERYTHING;
    return 0;
}

void kin__queue_leave(struct kin__queue *queue, unsigned ring)
{
    kin__mutex_unlock(&queue->object.mutex);
    if (KIN__LIKELY(ring == 0)) {
        return;
    }
    if (ring & KIN__RING_EMPTY_ALL) {
        kin__door_ring_all(&queue->not_empty);
    } else if (ring & KIN__RING_EMPTY_ONE) {
        kin__door_ring_one(&queue->not_empty);
    }
    if (ring & KIN__RING_FULL_ALL) {
        kin__door_ring_all(&queue->not_full);
    } else if (ring & KIN__RING_FULL_ONE) {
        kin__door_ring_one(&queue->not_full);
    }
    if (ring & KIN__RING_IDLE) {
        kin__door_ring_all(&queue->idle);
    }
}

/* Whether somebody has announced at the door. Waiters announce under the lock, so a plain look
 * under the lock suffices here; no read-modify-write is needed to order the two (P1). */
static bool awaited(const struct kin__door *door)
{
    return (kin__a32_load_relaxed(&door->word) & 1) != 0;
}

uint32_t kin__queue_debt(const struct kin__queue *queue, uint32_t slot, uint32_t generation)
{
    uint64_t word = queue->debt[slot];
    return word >> 32 == generation ? (uint32_t)word : 0;
}

/* --- finding one's way ---------------------------------------------------------------------- */

struct kin__segment *kin__segment_at(uint64_t value)
{
    uint64_t offset = kin__lease_offset(value);
    struct kin__segment *segment = kin__at(offset, KIN__SEGMENT_FIRST);
    if (segment == NULL) {
        return NULL;
    }
    uint64_t size = segment->size;
    return size < KIN__SEGMENT_FIRST + 2 * sizeof(struct kin__record) ||
                   kin__at(offset, size) == NULL
               ? NULL
               : segment;
}

struct kin__segment *kin__segment_of(uint64_t position)
{
    const struct kin__record *record = record_at(position);
    if (record == NULL) {
        return NULL;
    }
    uint64_t back = record->back;
    if (back < KIN__SEGMENT_FIRST || back > position || ((position - back) & 63) != 0) {
        return NULL;
    }
    return kin__segment_at(kin__lease_value(position - back, 0));
}

int kin__queue_tail(struct kin__queue *queue, struct kin__queue_tail *ret_tail)
{
    ret_tail->position = kin__a64_load_relaxed(&queue->tail);
    ret_tail->stub = record_at(ret_tail->position);
    return ret_tail->position == 0 || ret_tail->stub == NULL ? KIN_ECORRUPT : 0;
}

/* --- putting -------------------------------------------------------------------------------- */

int kin__queue_room(const struct kin__queue *queue, const struct kin__queue_tail *tail,
                    uint64_t length)
{
    if (KIN__UNLIKELY(kin__a32_load_relaxed(&queue->closed) != 0)) {
        return KIN_ECLOSED;
    }
    if (queue->capacity != 0 && tail->stub->seq - queue->got >= queue->capacity) {
        return KIN__NEED_ROOM;
    }
    if (queue->max_bytes != 0) {
        uint64_t held = tail->stub->bytes - queue->got_bytes;
        if (held > queue->max_bytes || length > queue->max_bytes - held) {
            return KIN__NEED_ROOM;
        }
    }
    return 0;
}

/* Moves the stub to the next segment of the circle, if that one is free. */
static int jump(struct kin__queue *queue, struct kin__queue_tail *tail,
                struct kin__segment *segment)
{
    struct kin__segment *next = kin__segment_at(kin__a64_load_relaxed(&segment->next));
    struct kin__segment *first = kin__segment_of(kin__a64_load_relaxed(&queue->head));
    if (next == NULL || first == NULL) {
        return KIN_ECORRUPT;
    }
    if (next == first) {
        return KIN__NEED_SEGMENT;
    }
    struct kin__record *stub = (void *)((char *)next + KIN__SEGMENT_FIRST);
    *stub = (struct kin__record){.kind = KIN__RECORD_STUB,
                                 .back = KIN__SEGMENT_FIRST,
                                 .seq = tail->stub->seq,
                                 .bytes = tail->stub->bytes};
    /* Nobody looks at the kind of a stub; if we die before the commit, the next put makes of it
     * what it needs. */
    tail->stub->kind = KIN__RECORD_JUMP;
    tail->stub = stub;
    tail->position = kin__offset(stub);
    return 0;
}

int kin__queue_append(struct kin__queue *queue, struct kin__queue_tail *tail,
                      enum kin__record_kind kind, const void *data, uint64_t length)
{
    int rc = kin__queue_room(queue, tail, length);
    if (KIN__UNLIKELY(rc != 0)) {
        return rc;
    }
    uint64_t stored = kind == KIN__RECORD_LARGE ? sizeof(uint64_t) : length;
    uint64_t stride = kin__record_stride(stored);
    struct kin__segment *segment = kin__segment_of(tail->position);
    if (KIN__UNLIKELY(segment == NULL)) {
        return KIN_ECORRUPT;
    }
    if (KIN__UNLIKELY(tail->stub->back + stride + sizeof(struct kin__record) > segment->size)) {
        rc = jump(queue, tail, segment);
        if (rc != 0) {
            return rc;
        }
    }
    struct kin__record *record = tail->stub;
    struct kin__record *stub = (void *)((char *)record + stride);
    if (KIN__FAULT(COMMIT_BEFORE_WRITE)) {
        kin__a64_store(&queue->tail, tail->position + stride);
    }
    stub->kind = KIN__RECORD_STUB;
    stub->back = record->back + (uint32_t)stride;
    stub->length = 0;
    stub->seq = record->seq + 1;
    stub->bytes = record->bytes + length;
    record->kind = kind;
    record->length = length;
    if (stored != 0) {
        memcpy(record + 1, data, stored);
    }
    tail->stub = stub;
    tail->position += stride;
    return 0;
}

int kin__queue_commit_put(struct kin__queue *queue, const struct kin__queue_tail *tail,
                          kin__lease *lease, uint32_t messages, unsigned *ring)
{
    if (KIN__UNLIKELY(kin__a32_load_relaxed(&queue->pollers) != 0) &&
        kin__a64_load_relaxed(&queue->head) == kin__a64_load_relaxed(&queue->tail)) {
        /* Before the commit: a descriptor may be readable without a message, never the other way
         * round. Not empty: they are readable already. */
        int rc = kin__queue_poll_ring(queue);
        if (rc != 0) {
            return rc;
        }
    }
    if (lease != NULL) {
        kin__queue_note(queue, KIN__OP_GIVE, &queue->tail, tail->position, lease,
                        kin__a64_load_relaxed(lease), KIN__NO_SLOT, 0);
        if (KIN__FAULT(LEASE_CLEARED_EARLY)) {
            kin__a64_store(lease, 0);
        }
    }
    kin__a64_store(&queue->tail, tail->position);
    if (lease != NULL) {
        kin__a64_store(lease, 0);
        kin__queue_note_clear(queue);
    }
    if (awaited(&queue->not_empty) && !KIN__FAULT(WAKE_LOST)) {
        *ring |= messages == 1 ? KIN__RING_EMPTY_ONE : KIN__RING_EMPTY_ALL;
    }
    return 0;
}

/* --- taking --------------------------------------------------------------------------------- */

void kin__queue_head_begin(struct kin__queue *queue, struct kin__queue_head *ret_head)
{
    *ret_head = (struct kin__queue_head){.position = kin__a64_load_relaxed(&queue->head)};
}

int kin__queue_head_next(struct kin__queue *queue, struct kin__queue_head *head)
{
    if (head->position == kin__a64_load_relaxed(&queue->tail)) {
        return 0;
    }
    struct kin__record *record = record_at(head->position);
    if (record != NULL && record->kind == KIN__RECORD_JUMP) {
        struct kin__segment *segment = kin__segment_of(head->position);
        struct kin__segment *next =
            segment == NULL ? NULL : kin__segment_at(kin__a64_load_relaxed(&segment->next));
        if (next == NULL) {
            return KIN_ECORRUPT;
        }
        head->position = kin__offset(next) + KIN__SEGMENT_FIRST;
        head->jumped = true;
        record = record_at(head->position);
    }
    if (record == NULL) {
        return KIN_ECORRUPT;
    }
    uint32_t kind = record->kind;
    head->record = record;
    head->length = record->length;
    head->seq = record->seq;
    head->bytes = record->bytes;
    head->large = kind == KIN__RECORD_LARGE;
    uint64_t stored = head->large ? sizeof(uint64_t) : head->length;
    if ((kind != KIN__RECORD_SMALL && kind != KIN__RECORD_LARGE) || stored > KIN_QUEUE_SMALL ||
        kin__at(head->position, sizeof *record + stored) == NULL) {
        return KIN_ECORRUPT;
    }
    if (head->large) {
        memcpy(&head->block, record + 1, sizeof head->block);
        if (kin__at(kin__lease_offset(head->block), head->length) == NULL) {
            return KIN_ECORRUPT;
        }
    }
    return 1;
}

void kin__queue_head_pass(struct kin__queue_head *head)
{
    head->position += kin__record_stride(head->large ? sizeof(uint64_t) : head->length);
}

unsigned kin__queue_commit_get(struct kin__queue *queue, const struct kin__queue_head *head,
                               uint32_t messages, kin__lease *lease)
{
    bool noted = lease != NULL || queue->joinable;
    uint32_t slot = KIN__NO_SLOT;
    uint64_t debt = 0;
    if (noted) {
        if (queue->joinable) {
            slot = kin__self->slot;
            uint32_t generation = kin__self->generation;
            debt = kin__queue_debt_word(generation,
                                        kin__queue_debt(queue, slot, generation) + messages);
        }
        kin__queue_note(queue, lease != NULL ? KIN__OP_TAKE : KIN__OP_COUNT, &queue->head,
                        head->position, lease, head->block, slot, debt);
        if (lease != NULL) {
            kin__a64_store(lease, head->block);
        }
    }
    kin__a64_store(&queue->head, head->position);
    queue->got = head->seq + 1;
    queue->got_bytes = head->bytes + head->length;
    if (noted) {
        if (slot != KIN__NO_SLOT) {
            queue->debt[slot] = debt;
        }
        kin__queue_note_clear(queue);
    }
    if ((queue->capacity | queue->max_bytes) == 0 || !awaited(&queue->not_full)) {
        return 0;
    }
    /* Where bytes are limited, the one we would wake may be waiting for more of them than the
     * next. */
    return messages == 1 && queue->max_bytes == 0 ? KIN__RING_FULL_ONE : KIN__RING_FULL_ALL;
}
