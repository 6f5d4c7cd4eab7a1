/*
 * Responsiveness: an epoll loop that ticks every 10 ms stays awake while a pool computes for three
 * seconds; the results come to the loop by a future's callback and a descriptor.
 */
#include "example.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int done_fd;

static int compute(const void *arg, size_t size, kin_reply *reply, void *state)
{
    (void)arg;
    (void)size;
    (void)state;
    double end = seconds() + 3.0;
    unsigned long rounds = 0;
    while (seconds() < end) {
        rounds++;
    }
    return kin_reply_set(reply, &rounds, sizeof rounds);
}

static void tell(kin_future *future, void *arg)
{
    (void)future;
    (void)arg;
    uint64_t one = 1;
    if (write(done_fd, &one, sizeof one) != sizeof one) {
        abort();
    }
}

static void watch(int loop, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

int main(void)
{
    int workers = kin_cpu_count();
    kin_pool *pool = start_pool(workers);
    int loop = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    done_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    struct itimerspec every = {{0, 10000000}, {0, 10000000}};
    timerfd_settime(timer, 0, &every, NULL);
    watch(loop, timer);
    watch(loop, done_fd);

    kin_future **futures = malloc((size_t)workers * sizeof *futures);
    for (int i = 0; i < workers; i++) {
        check(kin_pool_submit(pool, compute, NULL, 0, NULL, &futures[i]), "submit");
        check(kin_future_on_ready(futures[i], tell, NULL), "callback");
    }
    int finished = 0;
    long ticks = 0;
    double last = seconds(), longest = 0.0;
    while (finished < workers) {
        struct epoll_event event;
        if (epoll_wait(loop, &event, 1, -1) != 1) {
            continue;
        }
        uint64_t count;
        if (read(event.data.fd, &count, sizeof count) != sizeof count) {
            continue;
        }
        if (event.data.fd == done_fd) {
            finished++;
            continue;
        }
        double now = seconds();
        longest = now - last > longest ? now - last : longest;
        last = now;
        ticks++;
    }
    for (int i = 0; i < workers; i++) {
        kin_future_destroy(futures[i]);
    }
    free(futures);
    end_pool(pool);
    printf("%d workers computed for 3 s; the loop ticked %ld times, its longest pause was %.1f ms\n",
           workers, ticks, longest * 1e3);
    return ticks > 0 ? 0 : 1;
}
