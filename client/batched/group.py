"""Several clients trained as one computation: the second backend of the trainer.

A ``Seat`` is a trainer whose weights are a row of the stacked weights of a ``Table``; a table trains all its seats at
once (``torch.func``). Algorithms, objectives and networks see a trainer as any other, and know nothing of it.

Every client draws the numbers that it draws alone, in the same order, and has its own losses, moments and errors. A
batched kernel takes its sums in another order than a single one, so weights are those of the loop up to rounding, not
to the bit.

What cannot be batched is trained one client after another, to the bit as in the loop: a client by itself, clients that
ask for different things, and networks or losses that ``torch.func`` has no rule for, which is said once.
"""

import functools
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from client.batched.cuda_graph import cuda_graph
from client.batched.fit import Fit, Skeleton, Tape
from client.batched.stacked_trainer import Request, Result, Seat, caught
from client.trainer import TrainerSpec
from common.tree import Tree

log = logging.getLogger("fedgan.client")


class Table:
    """The stacked weights of some seats.

    Args:
        num_seats: Most clients at a time.
        spec: What trainers are made of.
    """

    def __init__(self, num_seats: int, spec: TrainerSpec) -> None:
        self._num_seats, self._spec = num_seats, spec
        self._weights: dict[str, Tensor] = {}
        self._skeleton = Skeleton()
        self._tape = Tape(cuda_graph if spec.device.type == "cuda" else None)
        self._proven: set[tuple[object, ...]] = set()  # numbers and kinds that have been trained together
        self._refused: set[tuple[object, ...]] = set()

    def seat(self, number: int, fit: Callable[[Seat, Request], dict[str, float]]) -> Seat:
        """Returns a new trainer for a row of the weights."""
        seat = Seat(number, fit, self._spec)
        self._tape.steps.clear()  # they know the memory of who sat there
        if not self._weights:
            self._skeleton = Skeleton(seat.networks)
            self._weights = {
                key: torch.empty((self._num_seats, *value.shape), dtype=value.dtype, device=value.device)
                for key, value in self._skeleton.state_dict().items()
            }
        seat.move_to(self._weights)
        return seat

    def fit(self, seats: Sequence[Seat], requests: Sequence[Request]) -> list[Result]:
        """Trains clients, together where that is possible; in ascending order of their seats."""
        kinds = {(*request.kind, *seat.terms()) for seat, request in zip(seats, requests, strict=True)}
        first_rows = [seat.number for seat in seats] == list(range(len(seats)))
        if len(seats) > 1 and len(kinds) == 1 and first_rows and requests[0].kind not in self._refused:
            try:
                results = self._try_together(seats, requests)
            except Exception as error:  # of what has gone well before: memory that is full, say
                return [error for _ in seats]
            if results is not None:
                return results
        return [_alone(seat, request) for seat, request in zip(seats, requests, strict=True)]

    def _try_together(self, seats: Sequence[Seat], requests: Sequence[Request]) -> list[Result] | None:
        kind = len(seats), requests[0].kind
        if kind in self._proven:
            return self._together(seats, requests)
        kept = [(seat.parameters(), seat.moments()) for seat in seats]
        try:
            try:
                results = self._together(seats, requests)
            except Exception as error:
                if self._tape.record is None:
                    raise
                _say_once("steps are not recorded", error)
                self._tape.record = None
                _take_back(seats, kept)
                results = self._together(seats, requests)
        except Exception as error:
            _say_once("clients are trained one after another, not together", error)
            self._refused.add(requests[0].kind)
            _take_back(seats, kept)
            return None
        self._proven.add(kind)
        return results

    def _together(self, seats: Sequence[Seat], requests: Sequence[Request]) -> list[Result]:
        return Fit(self._skeleton, self._weights, seats, requests, self._tape).run()


def _take_back(seats: Sequence[Seat], kept: Sequence[tuple[Tree, Tree]]) -> None:
    for seat, (weights, moments) in zip(seats, kept, strict=True):
        seat.take_back(weights, moments)


def _alone(seat: Seat, request: Request) -> Result:
    return caught(seat.fit_alone, request)


def _say_once(what: str, error: Exception) -> None:
    _say(f"{what}: {type(error).__name__}: {error}".partition("\n")[0])


@functools.cache
def _say(message: str) -> None:
    log.warning(message)
