"""Where the threads of several clients meet to be trained together.

Clients run as always, each in a thread of its own: what a client's half of an algorithm does before ``fit`` and after
it is its own. ``fit`` waits until every client in the room has called it, or has left; whoever comes last trains all of
them (``client/batched/group.py``).
"""

import threading

from client.batched.group import Table
from client.batched.stacked_trainer import Request, Result, Seat
from client.trainer import TrainerSpec


class Room:
    """A table, and those who wait at it.

    Args:
        num_seats: Most clients at a time.
    """

    def __init__(self, num_seats: int) -> None:
        self.num_seats = num_seats
        self._changed = threading.Condition()
        self._table: Table | None = None
        self._spec: TrainerSpec | None = None
        self._present = 0
        self._waiting: dict[int, tuple[Seat, Request]] = {}
        self._results: dict[int, Result] = {}

    def expect(self, num: int) -> None:
        """Says how many clients, on the first seats, are about to come; each of them must ``leave``."""
        self._present = num

    def leave(self) -> None:
        """Says that a client is done, trained or not: the others do not wait for it any longer."""
        with self._changed:
            self._present -= 1
            self._train_if_complete()

    def seat(self, number: int, spec: TrainerSpec) -> Seat:
        """Returns a new trainer for a seat, from 0."""
        with self._changed:
            if self._table is None or self._spec != spec:
                self._table, self._spec = Table(self.num_seats, spec), spec
            return self._table.seat(number, self._fit)

    def _fit(self, seat: Seat, request: Request) -> dict[str, float]:
        with self._changed:
            self._waiting[seat.number] = seat, request
            self._train_if_complete()
            while seat.number not in self._results:
                self._changed.wait()
            result = self._results.pop(seat.number)
        if isinstance(result, Exception):
            raise result
        return result

    def _train_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._present:
            return
        waiting = [self._waiting[number] for number in sorted(self._waiting)]
        self._waiting = {}
        table = self._table
        assert table is not None
        results = table.fit([seat for seat, _ in waiting], [request for _, request in waiting])
        self._results |= {seat.number: result for (seat, _), result in zip(waiting, results, strict=True)}
        self._changed.notify_all()
