"""What a client's turn costs outside of training, and where that goes."""

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from client.state import ContextMemories
from client.trainer import Trainer
from common import wire
from server import recovery
from server.clients import admission
from server.records import journal
from server.strategy import FederatedStrategy
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan
from simulations.performance.loops import PLAIN

TRAINING, REST = "training", "messages"

PARTS: dict[str, tuple[tuple[object, str], ...]] = {
    TRAINING: ((Trainer, "fit"),),
    "records": (
        *((wire, name) for name in ("encode_tree", "decode_tree", "message_bytes")),
        *((wire, name) for name in ("encode_task", "decode_task", "encode_reply", "decode_reply")),
    ),
    "load": ((Trainer, "assign"), (Trainer, "load"), (Trainer, "parameters")),
    "state": ((ContextMemories, "load"), (ContextMemories, "save")),
    "admission": ((admission, "check"), (admission, "outliers")),
    "aggregate": ((FederatedStrategy, "aggregate_train"),),
    "journal": ((journal, "append"), (recovery.Recovery, "save")),
}
"""Which calls belong to which part of a round. What is in none is the way of the messages: Flower's and ours."""


class Clock:
    """Seconds by part, each without those of other parts that it calls. With one worker they add up to wall time."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._here = threading.local()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Returns ``call``, whose seconds are counted as the part's."""

        @functools.wraps(call)
        def measured(*arguments: Any, **named: Any) -> Any:
            outer, self._here.inner = getattr(self._here, "inner", 0.0), 0.0
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                seconds = time.perf_counter() - start
                self.seconds[part] += seconds - self._here.inner
                self._here.inner = outer + seconds

        return measured

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs, the calls of ``PARTS`` are counted."""
        with ExitStack() as stack:
            for part, calls in PARTS.items():
                for owner, name in calls:
                    stack.enter_context(mock.patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield


def overhead(plan: Plan) -> Measured:
    """What a client's turn costs outside of training steps, with one worker, networks of 0.3 M parameters.

    With the journal; checkpoints are written beside the rounds, every few seconds. Parts add up to the whole.
    """
    totals: dict[int, list[float]] = {}
    for clients in (10,) if plan.quick else (10, 100, 1000):
        parts, totals[clients] = _costs(plan, clients)
        what = f"a client-round outside of training, {clients} clients in the round"
        yield Figure(key=f"ms-{clients}", what=what, values=tuple(totals[clients]), unit="ms")
        for part, values in parts.items():
            name = f"of that, {part}"
            yield Figure(key=f"us-{clients}-{part}", what=name, values=tuple(v * 1e3 for v in values), unit="us")
    if not plan.quick:
        pairs = zip(totals[10], totals[1000], strict=True)
        what = "a client-round with 1000 clients over one with 10"
        yield Figure(key="growth-1000", what=what, values=tuple(many / few for few, many in pairs))


def _costs(plan: Plan, clients: int) -> tuple[dict[str, list[float]], list[float]]:
    """Returns the milliseconds a client-round of each part, and of all but training; one value a repeat."""
    rounds = 1 if plan.quick else max(1, 50 // clients)
    config = PLAIN.replaced(
        {
            "partition": "iid",
            "federation.num-clients": clients,
            "local.steps": 1,
            "local.batch-size": 4,
            "admission.max-norm-ratio": 100.0,
        }
    )
    parts: dict[str, list[float]] = {}
    totals = []
    with Federation(config, 1) as federation:
        for _ in range(plan.times):
            clock = Clock()
            with clock.watching():
                wall = federation.round(rounds)
            each = {part: clock.seconds[part] / rounds / clients * 1e3 for part in PARTS}
            each[REST] = wall / rounds / clients * 1e3 - sum(each.values())
            del each[TRAINING]
            totals.append(sum(each.values()))
            for part, value in each.items():
                parts.setdefault(part, []).append(value)
    return parts, totals
