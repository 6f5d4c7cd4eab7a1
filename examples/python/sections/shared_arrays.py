"""Shared memory with NumPy: one array that all processes see, and a list of mixed items."""

import multiprocessing
from multiprocessing import shared_memory
from multiprocessing.managers import SharedMemoryManager

import numpy as np


def double(name, shape, dtype, part):
    segment = shared_memory.SharedMemory(name)
    array = np.ndarray(shape, dtype, buffer=segment.buf)
    array[part] *= 2
    del array
    segment.close()


if __name__ == "__main__":
    with SharedMemoryManager() as manager:
        source = np.arange(1000, dtype=np.float64)
        segment = manager.SharedMemory(source.nbytes)
        array = np.ndarray(source.shape, source.dtype, buffer=segment.buf)
        array[:] = source
        parts = [slice(0, 500), slice(500, 1000)]
        children = [
            multiprocessing.Process(
                target=double, args=(segment.name, array.shape, array.dtype, part)
            )
            for part in parts
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print("doubled in place:", bool((array == 2 * source).all()))
        del array
        segment.close()

        items = manager.ShareableList(["howdy", b"bytes", -273.154, 100, None, True])
        items[2] = -78.5
        items[0] = "dry ice"
        print(list(items), items.index(100))
        items.shm.close()
