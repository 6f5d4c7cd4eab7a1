/* A producer and two consumers over a queue: every message is taken exactly once. */
#include "example.h"

enum { CONSUMERS = 2, MESSAGES = 100000 };

struct share {
    kin_queue *queue; /* a forked child uses its parent's handles as they are */
    long *sums;       /* memory that everybody sees */
    int number;
};

static int consume(void *arg, size_t size)
{
    (void)size;
    struct share *share = arg;
    for (;;) {
        int value;
        size_t length = sizeof value;
        int rc = kin_queue_get(share->queue, &value, &length, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            return 0; /* closed, and nothing is left */
        }
        check(rc, "get");
        share->sums[share->number] += value;
    }
}

int main(void)
{
    struct share share = {NULL, check_memory(kin_calloc(CONSUMERS, sizeof(long))), 0};
    check(kin_queue_create(NULL, &share.queue), "queue");
    kin_process *consumers[CONSUMERS];
    for (share.number = 0; share.number < CONSUMERS; share.number++) {
        consumers[share.number] = start_process(consume, &share, sizeof share);
    }
    long expected = 0;
    for (int value = 1; value <= MESSAGES; value++) {
        check(kin_queue_put(share.queue, &value, sizeof value, KIN_FOREVER), "put");
        expected += value;
    }
    check(kin_queue_close(share.queue), "close");
    long sum = 0;
    for (int i = 0; i < CONSUMERS; i++) {
        end_process(consumers[i]);
        sum += share.sums[i];
    }
    printf("%d messages, sum %ld, expected %ld\n", MESSAGES, sum, expected);
    kin_queue_destroy(share.queue);
    kin_free(share.sums);
    return sum == expected ? 0 : 1;
}
