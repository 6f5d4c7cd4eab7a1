"""A pool of five workers whose results are printed before it is closed."""

from multiprocessing import Pool


def twice(x):
    return x * 2


if __name__ == "__main__":
    pool = Pool(5)
    print(pool.map(twice, [1, 2, 3, 4, 5]))
    pool.close()
    pool.join()
