"""Kinfolk: multiprocessing whose weight is in C.

``import kinfolk as multiprocessing``, or run an unmodified script with
``python3 -m kinfolk script.py``. This version has ``Process``, ``Pool`` (map, starmap, apply,
close, join, terminate), ``cpu_count``, ``current_process``, ``parent_process`` and
``active_children``, all under the start method ``fork``.
"""

from kinfolk._core import (
    ProcessError,
    TimeoutError,
    WorkerInitError,
    WorkerLostError,
    __version__,
    cpu_count,
)
from kinfolk.pool import Pool
from kinfolk.process import Process, active_children, current_process, parent_process

__all__ = [
    "Pool",
    "Process",
    "ProcessError",
    "TimeoutError",
    "WorkerInitError",
    "WorkerLostError",
    "active_children",
    "cpu_count",
    "current_process",
    "freeze_support",
    "parent_process",
]


def freeze_support():
    """Do nothing: forked children need no help from ``__main__``."""
