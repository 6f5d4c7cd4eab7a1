"""Processes: who is whose child, exit codes, daemons, and a subclass with a run of its own."""

import multiprocessing
import os
import signal
import time


def tell(conn):
    conn.send((os.getpid(), multiprocessing.parent_process().pid, multiprocessing.current_process().name))


class Counter(multiprocessing.Process):
    def __init__(self, limit):
        super().__init__(name="counter")
        self.limit = limit

    def run(self):
        raise SystemExit(sum(range(self.limit)))


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=tell, args=(theirs,), name="teller")
    child.start()
    pid, parent, name = ours.recv()
    child.join()
    print(name, "ran as a child of this process:", (pid, parent) == (child.pid, os.getpid()))

    counter = Counter(10)
    counter.start()
    counter.join()
    print("exit code of", counter.name, "is", counter.exitcode)

    sleeper = multiprocessing.Process(target=time.sleep, args=(1000,), daemon=True)
    sleeper.start()
    print("alive:", sleeper.is_alive(), "among the children:", sleeper in multiprocessing.active_children())
    sleeper.terminate()
    sleeper.join()
    print("ended by", signal.Signals(-sleeper.exitcode).name)
    sleeper.close()
