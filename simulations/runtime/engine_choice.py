"""``--engine auto``: threads or processes, whichever is faster, found by rounds of the run itself.

Both engines give the same bits, so a run may have one round in threads and the next in processes: weights, random
numbers, journal and checkpoints are those of a run without a trial, and no step of it is wasted. What it costs is to
begin the processes, so it is left out where the run would be over too soon.
"""

import logging
import re
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import Context, Message

from client.app import app as client_app
from common.config import RunConfig
from common.datasets.archives import free_memory
from common.errors import CheckpointError
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.runtime import engine_memory
from simulations.runtime.process_pool import Processes, WorkerDiedError

log = logging.getLogger("fedgan.simulations")

WINS = 1.03
"""Least ratio at which processes are taken: they need more memory, so a tie is the threads'."""

_ORDER = (True, False, False, True) * 2  # in processes or not: pairs of opposite order, so that drift cancels
_LEAST_ROUNDS = 2 * len(_ORDER)  # that are to come, else the trial would be the run
_LEAST_SECONDS = 150.0  # of a run that is tried: to begin processes in vain (4 s of all cores) is then less than 3 %
_LEAST_SECONDS_KNOWN = 60.0  # of a run whose processes are known to be faster
_PROCESS_BYTES = 500_000_000  # memory of each

ALONE = "each client is trained by itself again"
_TOGETHER = "batched: up to {} clients are trained together"

Plan = Generator[bool, float, bool]
"""Says of one round after another whether it is in processes, and is sent its seconds a client; returns the choice."""


class FasterOfTwo:
    """In place of a ClientApp, and called as one: trains clients in the calling threads or in processes.

    Args:
        config: The run's.
        num_workers: Clients at a time.
        begin: Begins so many processes.
        clock: Tells seconds.
    """

    def __init__(
        self,
        config: RunConfig,
        num_workers: int,
        begin: Callable[[int], Processes] = Processes,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._num = min(num_workers, config.federation.cohort_size)
        self._num_rounds = config.federation.num_rounds
        self._job = engine_memory.job_of(config, num_workers, "cpu")
        self._begin, self._clock = begin, clock
        self._left, self._cohort = 0, 1
        self._processes: Processes | None = None
        self._in_processes, self._is_settled = False, False
        self._plan: Plan = self._choose()
        self._seconds: float | None = None  # a client of the last round

    def __call__(self, message: Message, context: Context) -> Message:
        """Runs a client on a message; see ``Processes``. One whose process dies is run again in the calling thread."""
        if self._in_processes and self._processes is not None:
            try:
                return self._processes(message, context)
            except WorkerDiedError as error:
                log.warning("engine: threads from here on, as %s", error)
                self._in_processes, self._is_settled = False, True
        return client_app(message, context)

    @contextmanager
    def round(self, number: str, num_clients: int) -> Iterator[None]:
        """While the block runs, clients of a round are trained.

        Args:
            number: The round, from 1, as messages have it.
            num_clients: That are trained in it.
        """
        if not self._is_settled:
            self._left, self._cohort = self._num_rounds - int(number) + 1, num_clients
            try:
                self._in_processes = next(self._plan) if self._seconds is None else self._plan.send(self._seconds)
            except StopIteration as end:
                self._in_processes, self._is_settled = end.value, True
        if self._is_settled and not self._in_processes:
            self.close()
        start = self._clock()
        yield
        self._seconds = (self._clock() - start) / num_clients

    def close(self) -> None:
        """Ends the processes."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def _choose(self) -> Plan:
        """Returns how to choose; logs what is chosen, and why."""
        if self._num < 2:  # one process has no more to itself than one thread has
            return False
        if known := engine_memory.recall(self._job):
            return self._known(known)
        if self._left < _LEAST_ROUNDS:
            log.info("engine: threads, as %d rounds are too few to try processes", self._left)
            return False
        yield False  # builds networks
        each = yield False
        if why_not := self._reason_against(each):
            log.info("engine: threads, as %s", why_not)
            return False
        if not self._begun():
            return False
        yield True  # they import what they need, and build networks
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for in_processes in _ORDER:
            seconds[in_processes].append((yield in_processes))
        ratios = [slow / fast for slow, fast in zip(seconds[False], seconds[True], strict=True)]
        ratio = statistics.median(ratios)
        engine = "processes" if ratio >= WINS else "threads"
        log.info(
            "engine: %s, as rounds in processes were %.2f times as fast as in threads (%.2f to %.2f in %d pairs)",
            *(engine, ratio, min(ratios), max(ratios), len(ratios)),
        )
        engine_memory.remember(self._job, engine, ratio, statistics.median(seconds[False]))
        return engine == "processes"

    def _known(self, known: engine_memory.Choice) -> bool:
        """Returns whether processes are taken where they were tried before."""
        words = f"in a trial on {known.date} processes were {known.ratio:.2f} times as fast"
        if known.engine != "processes":
            log.info("engine: threads, as %s", words)
            return False
        expected = known.seconds * self._cohort * self._left
        if expected < _LEAST_SECONDS_KNOWN or self._lacks_memory():
            log.info("engine: threads, as the run takes some %.0f s, or memory is short, though %s", expected, words)
            return False
        if not self._begun():
            return False
        log.info("engine: processes, as %s as threads", words)
        return True

    def _reason_against(self, each: float) -> str:
        """Returns why processes are not tried, where a client takes so many seconds of a round; empty: they are."""
        expected = each * self._cohort * self._left
        if expected < _LEAST_SECONDS:
            return f"the run takes some {expected:.0f} s, too few to try processes"
        return f"memory is short for {self._num} processes" if self._lacks_memory() else ""

    def _begun(self) -> bool:
        """Begins the processes, and returns whether they could be."""
        try:
            self._processes = self._begin(self._num)
        except OSError as error:
            log.info("engine: threads, as processes cannot begin: %s", error)
            return False
        return True

    def _lacks_memory(self) -> bool:
        free = free_memory()
        return free is not None and self._num * _PROCESS_BYTES > free / 2


def together(num_rows: int) -> str:
    """Returns how the journal says that clients are trained together, so many at most; ``rows_before`` reads it."""
    return _TOGETHER.format(num_rows)


def rows_before(config: RunConfig) -> int | None:
    """Returns how many clients at most were trained together in the last rounds of a run that is to go on.

    0 where each was trained by itself; None of a run that has no rounds yet.
    """
    path = RunDirectory(Path(config.output.dir)).journal
    if not config.output.resume or not path.exists():
        return None
    try:
        if not journal.read(path):
            return None
        reasons = [event["reason"] for event in journal.events(path) if event["event"] == "engine"]
    except CheckpointError:  # whoever goes on with it will say so
        return None
    found = re.fullmatch(_TOGETHER.format(r"(\d+)"), reasons[-1]) if reasons else None
    return int(found[1]) if found else 0
