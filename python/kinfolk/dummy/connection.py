"""Connections between threads: two queues."""

from queue import Queue

__all__ = ["Client", "Listener", "Pipe"]

families = [None]


class Listener:
    """Waits for clients; its address is the object that they connect to."""

    def __init__(self, address=None, family=None, backlog=1):
        self._backlog_queue = Queue(backlog)

    def accept(self):
        """The connection to the next client."""
        return Connection(*self._backlog_queue.get())

    def close(self):
        """Stop listening."""
        self._backlog_queue = None

    @property
    def address(self):
        """What clients connect to."""
        return self._backlog_queue

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def Client(address):
    """A connection to the listener that has that address."""
    there, back = Queue(), Queue()
    address.put((there, back))
    return Connection(back, there)


def Pipe(duplex=True):
    """Two connections that are joined."""
    a, b = Queue(), Queue()
    return Connection(a, b), Connection(b, a)


class Connection:
    """Sends objects into one queue and receives from another."""

    def __init__(self, _in, _out):
        self._out = _out
        self._in = _in
        self.send = self.send_bytes = _out.put
        self.recv = self.recv_bytes = _in.get

    def poll(self, timeout=0.0):
        """Whether an object is there, waiting so many seconds."""
        if self._in.qsize() > 0:
            return True
        if timeout <= 0.0:
            return False
        with self._in.not_empty:
            self._in.not_empty.wait(timeout)
        return self._in.qsize() > 0

    def close(self):
        """Do nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
