"""Where the threads of several clients wait for each other, to be trained together.

Clients run as always, each in a thread of its own: what a client's half of an algorithm does before ``fit`` and after
it is its own. ``fit`` waits until every client at the barrier has called it, or has left; whoever comes last trains
all of them (``client/batched/group.py``). Only one of them runs at a time, so that they do not take the interpreter
from each other at every operation.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from client.batched.group import StackedWeights
from client.batched.stacked_trainer import Request, Result, StackedTrainer
from client.trainer_spec import TrainerSpec


class CohortBarrier:
    """Stacked weights, and the clients that wait to be trained on them.

    Args:
        num_rows: Most clients at a time.
    """

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._changed = threading.Condition()
        self._stacked: StackedWeights | None = None
        self._spec: TrainerSpec | None = None
        self._present = 0
        self._waiting: dict[int, tuple[StackedTrainer, Request]] = {}
        self._results: dict[int, Result] = {}

    def expect(self, num: int) -> None:
        """Says how many clients, in the first rows, are about to come; each of them must ``visit``."""
        self._present = num

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Has the calling thread run a client; when it is done, trained or not, the others wait for it no longer."""
        with self._changed:
            try:
                yield
            finally:
                self._present -= 1
                self._train_if_complete()

    def member(self, number: int, spec: TrainerSpec) -> StackedTrainer:
        """Returns a new trainer for a row, from 0."""
        with self._changed:
            if self._stacked is None or self._spec != spec:
                self._stacked, self._spec = StackedWeights(self.num_rows, spec), spec
            return self._stacked.member(number, self._fit)

    def _fit(self, member: StackedTrainer, request: Request) -> dict[str, float]:
        with self._changed:
            self._waiting[member.number] = member, request
            self._train_if_complete()
            while member.number not in self._results:
                self._changed.wait()
            result = self._results.pop(member.number)
        if isinstance(result, Exception):
            raise result
        return result

    def _train_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._present:
            return
        waiting = [self._waiting[number] for number in sorted(self._waiting)]
        self._waiting = {}
        stacked = self._stacked
        assert stacked is not None
        results = stacked.fit([member for member, _ in waiting], [request for _, request in waiting])
        self._results |= {member.number: result for (member, _), result in zip(waiting, results, strict=True)}
        self._changed.notify_all()
