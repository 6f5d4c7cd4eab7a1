"""Pipes: two ends, objects and bytes, polling, and the end of the conversation."""

import multiprocessing


def answer(conn):
    for question in iter(conn.recv, None):
        conn.send(question.upper())
    conn.close()


if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=answer, args=(theirs,))
    child.start()
    theirs.close()
    for word in ("one", "two"):
        ours.send(word)
        print(ours.recv())
    print("something to receive:", ours.poll(0.05))
    ours.send(None)
    try:
        ours.recv()
    except EOFError:
        print("the other end is closed")
    child.join()

    reading, writing = multiprocessing.Pipe(duplex=False)
    writing.send_bytes(b"0123456789", 2, 5)
    buffer = bytearray(8)
    print(reading.recv_bytes_into(buffer), bytes(buffer))
