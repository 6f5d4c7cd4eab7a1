/* A pipeline of three stages over bounded queues: make numbers, square them, add them up. */
#include "example.h"

enum { NUMBERS = 20000, ROOM = 64 };

static kin_queue *numbers, *squares; /* children have the handles by fork */

static int make(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    for (long n = 1; n <= NUMBERS; n++) {
        check(kin_queue_put(numbers, &n, sizeof n, KIN_FOREVER), "put");
    }
    return check(kin_queue_close(numbers), "close");
}

static int square(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    for (;;) {
        long n;
        size_t length = sizeof n;
        int rc = kin_queue_get(numbers, &n, &length, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            return check(kin_queue_close(squares), "close");
        }
        check(rc, "get");
        n *= n;
        check(kin_queue_put(squares, &n, sizeof n, KIN_FOREVER), "put");
    }
}

int main(void)
{
    struct kin_queue_options options = KIN_QUEUE_OPTIONS_INIT;
    options.capacity = ROOM; /* a fast stage waits for a slow one */
    check(kin_queue_create(&options, &numbers), "queue");
    check(kin_queue_create(&options, &squares), "queue");
    kin_process *first = start_process(make, NULL, 0);
    kin_process *second = start_process(square, NULL, 0);
    long sum = 0, n;
    for (;;) {
        size_t length = sizeof n;
        int rc = kin_queue_get(squares, &n, &length, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            break;
        }
        check(rc, "get");
        sum += n;
    }
    end_process(first);
    end_process(second);
    kin_queue_destroy(numbers);
    kin_queue_destroy(squares);
    long expected = (long)NUMBERS * (NUMBERS + 1) * (2L * NUMBERS + 1) / 6;
    printf("sum of the first %d squares: %ld (by formula %ld)\n", NUMBERS, sum, expected);
    return sum == expected ? 0 : 1;
}
