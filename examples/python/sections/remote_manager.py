"""A manager at a TCP address: another process, which knows the key, uses its queue."""

import multiprocessing
import queue
from multiprocessing.managers import BaseManager

KEY = b"the two know it"
_messages = queue.Queue()


def messages():
    return _messages


class Server(BaseManager):
    pass


class Client(BaseManager):
    pass


Server.register("messages", callable=messages)
Client.register("messages")


def write(address):
    client = Client(address=address, authkey=KEY)
    client.connect()
    client.messages().put("from afar")


if __name__ == "__main__":
    with Server(address=("127.0.0.1", 0), authkey=KEY) as server:
        child = multiprocessing.Process(target=write, args=(server.address,))
        child.start()
        print(server.messages().get())
        child.join()
        try:
            Client(address=server.address, authkey=b"wrong").connect()
        except multiprocessing.AuthenticationError as error:
            print("refused:", type(error).__name__)
