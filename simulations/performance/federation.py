"""``fedgan simulate`` round by round: a run in a thread of its own that stops before each round until it is told to go.

So a round is measured with all that belongs to it (messages, training, aggregation, journal, checkpoint), and rounds of
several runs can take turns.
"""

import functools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.config import RunConfig, Scalar
from common.journal_lines import RoundLine
from server.records import journal
from server.records.run_directory import RunDirectory
from server.strategy import FederatedStrategy
from simulations.runtime.in_process import simulate

_MOST_ROUNDS = 1_000_000
_RUN = threading.local()  # the gate of the run whose server lives in this thread

QUIET: dict[str, Scalar] = {
    "federation.num-rounds": _MOST_ROUNDS,
    "local.schedule": "constant",
    "evaluation.every": 0,
    "evaluation.federated": False,
    "evaluation.final-num-samples": 100,
    "evaluation.utility-num-samples": 0,
    "output.sample-every": _MOST_ROUNDS,
}
"""No scores and no pictures after the first round: a round is training and what training needs."""


class _EndedError(Exception):
    """Nobody wants another round."""


class _Gate:
    def __init__(self) -> None:
        self._permit, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self.ended = False
        self.failure: BaseException | None = None

    def stop(self) -> None:
        """Says that a round is done, and waits until there is to be another; called by the run."""
        self._arrived.release()
        self._permit.acquire()
        if self.ended:
            raise _EndedError

    def done(self) -> None:
        """Waits until the run stops, or raises what it has failed of."""
        self._arrived.acquire()
        if self.failure is not None:
            raise RuntimeError("the run has failed") from self.failure

    def go(self) -> None:
        self._permit.release()

    def fail(self, failure: BaseException) -> None:
        self.failure = failure
        self._arrived.release()


def _stopping(configure: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(configure)
    def configure_train(*arguments: Any, **named: Any) -> Any:
        gate: _Gate | None = getattr(_RUN, "gate", None)
        if gate is not None:
            gate.stop()
        return configure(*arguments, **named)

    return configure_train


FederatedStrategy.configure_train = _stopping(FederatedStrategy.configure_train)  # type: ignore[method-assign]


class Federation:
    """A federation in this process, before its first round.

    Args:
        config: What runs; ``QUIET`` is set in it, and the run directory is a temporary one.
        num_workers: Clients at a time.
        engine: As ``fedgan simulate --engine``.
        warm: Run the first round, which builds networks and draws a picture, at once.
    """

    def __init__(self, config: RunConfig, num_workers: int, engine: str = "threads", warm: bool = True) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fedgan-benchmark-"))
        self.config = config.replaced({**QUIET, "output.dir": str(self._folder)})
        self._num_workers, self._engine = num_workers, engine
        self._gate = _Gate()
        self._thread = threading.Thread(target=self._run, name="fedgan-benchmark", daemon=True)
        start = time.perf_counter()
        self._thread.start()
        self._gate.done()
        self.start_seconds = time.perf_counter() - start
        if warm:
            self.round()

    def round(self, num_rounds: int = 1) -> float:
        """Runs rounds and returns their wall seconds."""
        start = time.perf_counter()
        for _ in range(num_rounds):
            self._gate.go()
            self._gate.done()
        return time.perf_counter() - start

    def lines(self) -> list[RoundLine]:
        """Returns the journal's lines."""
        return journal.read(RunDirectory(self._folder).journal)

    def fit_seconds(self, num_rounds: int) -> float:
        """Returns the seconds that clients of the last rounds spent in training steps, summed over clients."""
        return sum(client["seconds"] for line in self.lines()[-num_rounds:] for client in line["clients"])

    def close(self) -> None:
        """Ends the run and removes what it has written."""
        self._gate.ended = True
        self._gate.go()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "Federation":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        _RUN.gate = self._gate
        try:
            simulate(self.config, num_workers=self._num_workers, engine=self._engine)
        except _EndedError:
            return
        except BaseException as error:
            self._gate.fail(error)
