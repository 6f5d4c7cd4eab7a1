"""Listeners and clients: messages over a socket, with a key; and waiting for many at once."""

import multiprocessing
from array import array
from multiprocessing.connection import Client, Listener, wait

KEY = b"secret"


def talk(address):
    with Client(address, authkey=KEY) as conn:
        conn.send([2.25, None, "junk", float])
        conn.send_bytes(b"hello")
        conn.send_bytes(array("i", [42, 1729]))
        print("answer:", conn.recv(), flush=True)


def count(writer, first):
    for number in range(first, first + 3):
        writer.send(number)
    writer.close()


if __name__ == "__main__":
    with Listener(("localhost", 0), authkey=KEY) as listener:
        child = multiprocessing.Process(target=talk, args=(listener.address,))
        child.start()
        with listener.accept() as conn:
            print(conn.recv())
            print(conn.recv_bytes())
            numbers = array("i", [0, 0, 0, 0])
            print(conn.recv_bytes_into(numbers), list(numbers))
            conn.send("good bye")
        child.join()

    readers, children = [], []
    for i in range(3):
        reader, writer = multiprocessing.Pipe(duplex=False)
        readers.append(reader)
        children.append(multiprocessing.Process(target=count, args=(writer, 10 * i)))
        children[-1].start()
        writer.close()
    got = []
    while readers:
        for reader in wait(readers):
            try:
                got.append(reader.recv())
            except EOFError:
                readers.remove(reader)
    print(sorted(got))
    for child in children:
        child.join()
