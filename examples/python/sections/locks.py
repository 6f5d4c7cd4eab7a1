"""Locks and their kin: a counter that is right, a semaphore, a condition, an event, a barrier."""

import multiprocessing


def count(lock, counter):
    for _ in range(1000):
        with lock:
            counter.value += 1


def meet(barrier, event, semaphore, places, condition):
    event.wait()
    with semaphore:
        pass
    places.append(barrier.wait())
    with condition:
        condition.notify_all()


if __name__ == "__main__":
    lock, counter = multiprocessing.Lock(), multiprocessing.Value("i", 0, lock=False)
    children = [multiprocessing.Process(target=count, args=(lock, counter)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print("counted to", counter.value)

    with multiprocessing.Manager() as manager:
        places = manager.list()
        barrier, event = multiprocessing.Barrier(3), multiprocessing.Event()
        semaphore, condition = multiprocessing.Semaphore(2), multiprocessing.Condition()
        args = barrier, event, semaphore, places, condition
        children = [multiprocessing.Process(target=meet, args=args) for _ in range(3)]
        for child in children:
            child.start()
        event.set()
        with condition:
            met = condition.wait_for(lambda: len(places) == 3, timeout=30)
        print("met:", met, sorted(places), "each place once")
        for child in children:
            child.join()
