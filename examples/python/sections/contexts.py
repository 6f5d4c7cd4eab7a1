"""Contexts: the same program under each start method, side by side."""

import multiprocessing


def say(queue, method):
    queue.put(f"{method}: {multiprocessing.get_start_method()}")


if __name__ == "__main__":
    print(sorted(multiprocessing.get_all_start_methods()))
    for method in ("fork", "spawn", "forkserver"):
        ctx = multiprocessing.get_context(method)
        queue = ctx.Queue()
        child = ctx.Process(target=say, args=(queue, method))
        child.start()
        print(queue.get(), type(child).__name__)
        child.join()
    multiprocessing.set_start_method("spawn", force=True)
    print("now", multiprocessing.get_start_method())
