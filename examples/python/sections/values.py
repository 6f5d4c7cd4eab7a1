"""Values and arrays in shared memory, with and without locks, simple and structured."""

import multiprocessing
from ctypes import Structure, c_double
from multiprocessing.sharedctypes import Array, RawArray, Value, copy


class Point(Structure):
    _fields_ = [("x", c_double), ("y", c_double)]


def change(number, text, points, raw):
    with number.get_lock():
        number.value **= 2
    text.value = text.value.upper()
    for point in points:
        point.x, point.y = point.y, point.x
    for i in range(len(raw)):
        raw[i] *= 2


if __name__ == "__main__":
    number, text = Value("i", 7), Array("c", b"hello world")
    points, raw = Array(Point, [(1.5, -6.25), (2.0, 3.0)]), RawArray("h", range(5))
    before = copy(points.get_obj())
    child = multiprocessing.Process(target=change, args=(number, text, points, raw))
    child.start()
    child.join()
    print(number.value, text.value.decode())
    print([(p.x, p.y) for p in before], "->", [(p.x, p.y) for p in points])
    print(list(raw))
