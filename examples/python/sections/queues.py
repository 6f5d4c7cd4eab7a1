"""Queues: workers that take numbers and give squares; a JoinableQueue that knows when all is done."""

import multiprocessing


def work(tasks, results):
    for number in iter(tasks.get, None):
        results.put((number, number * number))
        tasks.task_done()
    tasks.task_done()


if __name__ == "__main__":
    tasks, results = multiprocessing.JoinableQueue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(tasks, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for number in range(10):
        tasks.put(number)
    for _ in workers:
        tasks.put(None)
    tasks.join()
    print(sorted(results.get() for _ in range(10)))
    for worker in workers:
        worker.join()
