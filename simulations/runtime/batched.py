"""Clients of a round trained together: how the in-process runtime uses ``client/batched/barrier.py``.

A round's clients are dealt to barriers by the number of their partition, and as many barriers are at work as there are
workers; on GPUs one a device. Who is trained with whom does not depend on the number of workers, nor do the results.
"""

import itertools
import logging
import queue
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import torch

from client.app import make_trainers_by
from client.batched.barrier import CohortBarrier
from client.data import load
from common.config import RunConfig
from simulations.runtime import engine_memory
from simulations.runtime.engine_trial import clients_that_fit, compare

log = logging.getLogger("fedgan.simulations")

T = TypeVar("T")
R = TypeVar("R")

_WINS = 1.03  # least ratio at which a trial is won


class CohortBarriers:
    """Several barriers, and the threads of the clients that wait at each.

    Args:
        num_barriers: CohortBarriers at work at a time; on each device.
        num_rows: Most clients at one of them.
        devices: Groups of clients that have barriers of their own, and so weights, examples and recorded steps that
            stay on one device; empty: all have the same.
    """

    def __init__(self, num_barriers: int, num_rows: int, devices: Sequence[str] = ()) -> None:
        self.num_rows = num_rows
        self._places: dict[object, _Places] = {
            device: _Places(num_barriers, num_rows) for device in dict.fromkeys(devices or [""])
        }

    def map(self, call: Callable[[T], R], items: Sequence[T], groups: Sequence[object] = ()) -> list[R]:
        """Returns ``call`` of every item, in their order; those of one barrier wait for each other in ``fit``.

        Args:
            call: Run in a thread with a member; raises nothing.
            items: One a client.
            groups: Only items of equal groups, one an item, are trained together; empty: any.
        """
        groups_of_rows = [
            group for places in _grouped(groups or [0] * len(items)) for group in _dealt(places, self.num_rows)
        ]
        names = [groups[rows[0]] if groups else "" for rows in groups_of_rows]
        entered = [
            places.hosts.submit(_host, places, call, [items[row] for row in rows])
            for places, rows in zip(map(self._places_of, names), groups_of_rows, strict=True)
        ]
        try:
            found = {
                place: result
                for group, results in zip(groups_of_rows, entered, strict=True)
                for place, result in zip(group, results.result(), strict=True)
            }
        except BaseException:
            for results in entered:
                results.cancel()
            raise
        return [found[place] for place in range(len(items))]

    def close(self) -> None:
        """Waits for clients that still run, and ends the threads."""
        for places in self._places.values():
            places.hosts.shutdown(wait=True, cancel_futures=True)
            for place in places.all:
                for thread in place.threads:
                    thread.shutdown(wait=True)

    def _places_of(self, group: object) -> "_Places":
        return self._places.get(group) or next(iter(self._places.values()))


@dataclass(frozen=True)
class _Place:
    """A barrier, and the threads of the clients that wait at it."""

    barrier: CohortBarrier
    threads: list[ThreadPoolExecutor]


class _Places:
    """Those where clients of one group train, and a thread for each that hands them its clients."""

    def __init__(self, num: int, num_rows: int) -> None:
        self.all = [_Place(CohortBarrier(num_rows), _threads(num_rows)) for _ in range(num)]
        self.free: queue.SimpleQueue[_Place] = queue.SimpleQueue()
        self.hosts = ThreadPoolExecutor(num, "fedgan-barrier")
        for place in self.all:
            for number, thread in enumerate(place.threads):
                thread.submit(_take_row, place.barrier, number).result()
            self.free.put(place)


def _host(places: _Places, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
    place = places.free.get()
    try:
        place.barrier.expect(len(items))
        futures = [
            thread.submit(_visit, place.barrier, call, item) for thread, item in zip(place.threads, items, strict=False)
        ]
        wait(futures)
        return [future.result() for future in futures]
    finally:
        places.free.put(place)


def _threads(num: int) -> list[ThreadPoolExecutor]:
    """Returns pools of one thread each: a member is a thread's for good, as its trainer is resident there."""
    return [ThreadPoolExecutor(1, "fedgan-member", torch.set_num_threads, (1,)) for _ in range(num)]


def _take_row(barrier: CohortBarrier, number: int) -> None:
    make_trainers_by(lambda spec: barrier.member(number, spec))


def _visit(barrier: CohortBarrier, call: Callable[[T], R], item: T) -> R:
    with barrier.visit():
        return call(item)


def _grouped(groups: Sequence[object]) -> list[list[int]]:
    """Returns the places of equal entries, in order."""
    found: dict[object, list[int]] = {}
    for place, group in enumerate(groups):
        found.setdefault(group, []).append(place)
    return list(found.values())


def _dealt(places: Sequence[int], num_rows: int) -> list[Sequence[int]]:
    """Returns ``places`` in as few parts as ``num_rows`` allows, none more than one longer than another."""
    num = -(-len(places) // num_rows)
    ends = [len(places) * k // num for k in range(num + 1)]
    return [places[start:end] for start, end in itertools.pairwise(ends)]


def open_barriers(
    config: RunConfig, engine: str, num_workers: int, num_rows: int | None = None, devices: Sequence[str] = ()
) -> CohortBarriers | None:
    """Returns the barriers of a run, or None where its clients train by themselves.

    Args:
        config: The run.
        engine: ``batched``; or ``auto``: whatever is faster in a trial of a few steps, of this run or an earlier one.
            Another trial may choose otherwise, and the last digits of the results are then others.
        num_workers: Clients at a time, without barriers.
        num_rows: Most clients in a barrier; None: see ``clients_that_fit``.
        devices: As for ``InProcessGrid``.
    """
    device = torch.device(devices[0] if devices else "cuda" if torch.cuda.is_available() else "cpu")
    data = load(config.data)
    cohort = config.federation.cohort_size
    with ThreadPoolExecutor(1, "fedgan-trial", torch.set_num_threads, (config.local.num_threads,)) as trial:
        if num_rows is None:
            num_rows = trial.submit(clients_that_fit, config, data, device).result()
        num_rows = max(len(group) for group in _dealt(range(cohort), num_rows))
        if engine == "auto":
            name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
            job = engine_memory.job_of(config, num_workers, f"{name}, up to {num_rows} clients together")
            known = engine_memory.recall(job)
            if known is None:
                found = trial.submit(
                    compare, config, data, num_clients=num_rows, num_rows=num_rows, device=device
                ).result()
                ratio = statistics.median(found.ratios)
                known = engine_memory.remember(job, "batched" if ratio >= _WINS else "threads", ratio)
            message = "engine: %s, as a trial of %d clients ran %.2f times as fast batched (%s)"
            log.info(message, known.engine, num_rows, known.ratio, known.date)
            if known.engine == "threads":
                return None
    if device.type == "cuda":
        return CohortBarriers(1, num_rows, devices)
    return CohortBarriers(min(num_workers, -(-cohort // num_rows)), num_rows)


def devices_here() -> tuple[str, ...]:
    """Returns the names of all GPUs, for clients to be dealt to in turn; empty where there are less than two."""
    num = torch.cuda.device_count()
    return tuple(f"cuda:{k}" for k in range(num)) if num > 1 else ()
