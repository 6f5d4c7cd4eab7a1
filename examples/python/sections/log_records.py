"""Logging: what the package itself does, and records of all processes through one queue."""

import logging
import logging.handlers
import multiprocessing
import sys


def work(queue, number):
    logger = logging.getLogger()
    logger.handlers = [logging.handlers.QueueHandler(queue)]
    logger.setLevel(logging.INFO)
    logger.info("step %d", number)


if __name__ == "__main__":
    queue = multiprocessing.Queue()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(processName)s: %(message)s"))
    listener = logging.handlers.QueueListener(queue, handler)
    listener.start()
    for number in range(3):
        child = multiprocessing.Process(target=work, args=(queue, number), name=f"worker-{number}")
        child.start()
        child.join()
    listener.stop()

    logger = multiprocessing.log_to_stderr(logging.INFO)
    logger.handlers[0].setStream(sys.stdout)
    logger.info("doomed")
    print(multiprocessing.get_logger() is logger)
    logger.setLevel(logging.WARNING)
