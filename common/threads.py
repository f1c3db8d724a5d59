"""Threads: independent work side by side on the cores that are there, and a number of them that results depend on."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Returns what the tasks return, in their order, computed by the calling thread and others.

    Each task runs in one thread with as many intra-op threads as the caller has, so it computes the same bits as if the
    caller ran them one after another. There are as many threads as leave each a core of its own. The caller takes the
    first task, so it should be the longest. When a task fails, or the caller is interrupted, those that have not begun
    are dropped, those that have are waited for, and it is raised.
    """
    others = min(available_cores() // torch.get_num_threads(), len(tasks)) - 1
    if others < 1:
        return [task() for task in tasks]
    pool = ThreadPoolExecutor(others, "fedgan-beside", torch.set_num_threads, (torch.get_num_threads(),))
    try:
        futures: list[Future[T]] = [pool.submit(task) for task in tasks[1:]]
        found = {0: tasks[0]()}
        for number in range(len(tasks) - 1, 0, -1):  # those that nobody has begun are the caller's, from the end
            if futures[number - 1].cancel():
                found[number] = tasks[number]()
        return [found[k] if k in found else futures[k - 1].result() for k in range(len(tasks))]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def limited_to(num: int) -> Iterator[None]:
    """Holds the calling thread to ``num`` intra-op threads, where results of networks depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)
