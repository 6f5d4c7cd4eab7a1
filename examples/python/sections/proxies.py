"""Proxies: what they compare and print, what they return, and proxies in what proxies stand for."""

import multiprocessing

if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        numbers = manager.list([i * i for i in range(5)])
        print(numbers, type(numbers).__name__, numbers[2:4])
        print("a copy of the object:", numbers._getvalue() == [0, 1, 4, 9, 16])
        outer = manager.list([numbers])
        numbers.append("seen through the other")
        print(outer[0][-1])
        pool = manager.Pool(2)
        result = pool.apply_async(pow, (3, 4))
        print(result.get(timeout=30), list(pool.imap(abs, [-1, -2])))
