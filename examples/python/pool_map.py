"""A pool of three workers that doubles five numbers."""

import multiprocessing


def twice(x):
    return x * 2


if __name__ == "__main__":
    pool = multiprocessing.Pool(processes=3)
    results = pool.map(twice, [1, 2, 3, 4, 5])
    pool.close()
    pool.join()
    print("Results:", results)
