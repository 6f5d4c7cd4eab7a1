"""Pools: every way to hand out work, with timeouts, callbacks and errors."""

import multiprocessing
import time


def calculate(function, args):
    return f"{function.__name__}{args} = {function(*args)}"


def multiply(a, b):
    return a * b


def invert(x):
    return 1 / x


if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool:
        print(pool.apply(calculate, (multiply, (6, 7))))
        print(pool.map(invert, [1, 2, 4], chunksize=2))
        print(pool.starmap(multiply, [(1, 2), (3, 4)]))
        print(list(pool.imap(invert, [1, 2, 4])))
        print(sorted(pool.imap_unordered(invert, (x for x in (1, 2, 4)))))

        heard = []
        results = [pool.apply_async(multiply, (i, i), callback=heard.append) for i in range(5)]
        print([result.get(timeout=30) for result in results], sorted(heard))
        print(pool.map_async(invert, [2]).get(), pool.starmap_async(multiply, [(2, 2)]).get())

        try:
            pool.apply(invert, (0,))
        except ZeroDivisionError as error:
            print("raised:", error, "| caused by", type(error.__cause__).__name__)
        try:
            pool.apply_async(time.sleep, (10,)).get(timeout=0.05)
        except multiprocessing.TimeoutError:
            print("not yet")
        iterator = pool.imap(invert, [1, 0, 4])
        print(next(iterator), end=" ")
        try:
            next(iterator)
        except ZeroDivisionError:
            print("then an error", end=" ")
        print(iterator.next(timeout=30))
