"""Clients of a round trained together: how the in-process runtime fills the rooms of ``client/batched/barrier.py``.

A round's clients are dealt to rooms by the number of their partition, and as many rooms are at work as there are
workers. Who sits with whom does not depend on the number of workers, nor do the results.
"""

import itertools
import logging
import queue
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from client.app import make_trainers_by
from client.batched.barrier import Room
from client.data import load
from common.config import RunConfig
from simulations.runtime.engine_trial import compare, seats_that_fit

log = logging.getLogger("fedgan.simulations")

T = TypeVar("T")
R = TypeVar("R")

_WINS = 1.03  # least ratio at which a trial is won


class Rooms:
    """Some rooms, and the threads of those who sit in them.

    Args:
        num_rooms: Rooms at work at a time.
        num_seats: Most clients in one of them.
    """

    def __init__(self, num_rooms: int, num_seats: int) -> None:
        self.num_seats = num_seats
        self._free: queue.SimpleQueue[tuple[Room, list[ThreadPoolExecutor]]] = queue.SimpleQueue()
        self._rooms = [(Room(num_seats), _threads(num_seats)) for _ in range(num_rooms)]
        for room, threads in self._rooms:
            for number, thread in enumerate(threads):
                thread.submit(_sit, room, number).result()
            self._free.put((room, threads))
        self._doors = ThreadPoolExecutor(num_rooms, "fedgan-room")

    def map(self, call: Callable[[T], R], items: Sequence[T], groups: Sequence[object] = ()) -> list[R]:
        """Returns ``call`` of every item, in their order; those that sit together wait for each other in ``fit``.

        Args:
            call: Run in a thread with a seat; raises nothing.
            items: One a client.
            groups: Only items of equal groups, one an item, sit together; empty: any.
        """
        parties = [party for places in _grouped(groups or [0] * len(items)) for party in _dealt(places, self.num_seats)]
        entered = [self._doors.submit(self._host, call, [items[place] for place in party]) for party in parties]
        try:
            found = {
                place: result
                for party, results in zip(parties, entered, strict=True)
                for place, result in zip(party, results.result(), strict=True)
            }
        except BaseException:
            for results in entered:
                results.cancel()
            raise
        return [found[place] for place in range(len(items))]

    def close(self) -> None:
        """Waits for clients that still run, and ends the threads."""
        self._doors.shutdown(wait=True, cancel_futures=True)
        for _, threads in self._rooms:
            for thread in threads:
                thread.shutdown(wait=True)

    def _host(self, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
        room, threads = place = self._free.get()
        try:
            room.expect(len(items))
            futures = [thread.submit(_visit, room, call, item) for thread, item in zip(threads, items, strict=False)]
            wait(futures)
            return [future.result() for future in futures]
        finally:
            self._free.put(place)


def _threads(num: int) -> list[ThreadPoolExecutor]:
    """Returns pools of one thread each: a seat is a thread's for good, as its trainer is resident there."""
    return [ThreadPoolExecutor(1, "fedgan-seat", torch.set_num_threads, (1,)) for _ in range(num)]


def _sit(room: Room, number: int) -> None:
    make_trainers_by(lambda spec: room.seat(number, spec))


def _visit(room: Room, call: Callable[[T], R], item: T) -> R:
    try:
        return call(item)
    finally:
        room.leave()


def _grouped(groups: Sequence[object]) -> list[list[int]]:
    """Returns the places of equal entries, in order."""
    found: dict[object, list[int]] = {}
    for place, group in enumerate(groups):
        found.setdefault(group, []).append(place)
    return list(found.values())


def _dealt(places: Sequence[int], num_seats: int) -> list[Sequence[int]]:
    """Returns ``places`` in as few parts as ``num_seats`` allows, none more than one longer than another."""
    num = -(-len(places) // num_seats)
    ends = [len(places) * k // num for k in range(num + 1)]
    return [places[start:end] for start, end in itertools.pairwise(ends)]


def open_rooms(
    config: RunConfig, engine: str, num_workers: int, num_seats: int | None = None, devices: Sequence[str] = ()
) -> Rooms | None:
    """Returns the rooms of a run, or None where its clients train by themselves.

    Args:
        config: The run.
        engine: ``batched``; or ``auto``: whatever is faster in a trial of a few steps. The choice may be another one on
            another day, and with it the last digits of the results.
        num_workers: Clients at a time, without rooms.
        num_seats: Most clients in a room; None: see ``seats_that_fit``.
        devices: As for ``InProcessGrid``.
    """
    device = torch.device(devices[0] if devices else "cuda" if torch.cuda.is_available() else "cpu")
    shape = load(config.data).shape
    cohort = config.federation.cohort_size
    with ThreadPoolExecutor(1, "fedgan-trial", torch.set_num_threads, (config.local.num_threads,)) as trial:
        if num_seats is None:
            num_seats = trial.submit(seats_that_fit, config, shape, device).result()
        num_seats = max(len(party) for party in _dealt(range(cohort), num_seats))
        if engine == "auto":
            found = trial.submit(
                compare, config, shape, num_clients=num_seats, num_seats=num_seats, device=device
            ).result()
            ratio = statistics.median(found.ratios)
            chosen = "batched" if ratio >= _WINS else "threads"
            log.info("engine: %s, as a trial of %d clients ran %.2f times as fast batched", chosen, num_seats, ratio)
            if chosen == "threads":
                return None
    num_rooms = max(1, len(set(devices))) if device.type == "cuda" else num_workers
    return Rooms(min(num_rooms, -(-cohort // num_seats)), num_seats)
