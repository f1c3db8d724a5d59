"""The steps of scoring: what each takes, and that one that fails costs no more than its own score."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from common.errors import DivergenceError, in_words, is_out_of_memory

log = logging.getLogger("fedgan.server")

T = TypeVar("T")

_SAY_EVERY = 5.0  # seconds

SAMPLE = "sampling"
"""The step that generates the images to be scored."""


class Steps:
    """Does the work of one set of scores, step by step; this one says nothing, and whatever fails is raised."""

    def run(self, name: str, task: Callable[[], T], otherwise: T, affected: Sequence[str] = ()) -> T:
        """Returns what ``task`` returns, or ``otherwise`` if it fails and that is no reason to stop.

        Args:
            name: Of the step: a metric, or what several need.
            task: What to do.
            otherwise: What there is instead.
            affected: The metrics that need it; none: the step is a metric of its own.
        """
        return task()


class Forgiving(Steps):
    """Goes on without what fails, but where there is no memory, the disk is at fault, or the images are not finite.

    Attributes:
        failed: Why metrics could not be computed, by their names.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def run(self, name: str, task: Callable[[], T], otherwise: T, affected: Sequence[str] = ()) -> T:
        """See ``Steps.run``."""
        try:
            return task()
        except Exception as error:  # whatever a metric raises is no reason to lose a training
            if isinstance(error, OSError) or is_out_of_memory(error) or self._must_raise(error):
                raise
            self.failed |= dict.fromkeys(affected or (name,), f"it failed: {in_words(error)}")
            log.debug("%s failed", name, exc_info=True)
            return otherwise

    def _must_raise(self, error: Exception) -> bool:
        return isinstance(error, DivergenceError)  # the run may go back


class Final(Forgiving):
    """Says how long each step took, and while it takes long, that it is under way.

    At the end of a run images that are not finite are just not scored.
    """

    def run(self, name: str, task: Callable[[], T], otherwise: T, affected: Sequence[str] = ()) -> T:
        """See ``Steps.run``."""
        start = time.perf_counter()
        try:
            with _said_meanwhile(name):
                return super().run(name, task, otherwise, affected)
        finally:
            log.info("%s: %.1f s", name, time.perf_counter() - start, extra={"step": name})

    def _must_raise(self, error: Exception) -> bool:
        return False


@contextmanager
def _said_meanwhile(name: str) -> Iterator[None]:
    """Says from time to time that a step is under way, while the block takes it."""
    start, over = time.perf_counter(), threading.Event()

    def say() -> None:
        while not over.wait(_SAY_EVERY):
            log.info("%s: %.0f s so far", name, time.perf_counter() - start, extra={"meanwhile": name})

    thread = threading.Thread(target=say, name="fedgan-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def announce(num_samples: int, names: Sequence[str]) -> None:
    """Says which steps of scoring are about to be taken; each says when it is done."""
    if names:
        log.info(
            "final scores on %s samples: %s ...", f"{num_samples:,}", ", ".join(names), extra={"steps": list(names)}
        )


def sentences(reasons: Mapping[str, str]) -> list[str]:
    """Returns why metrics are not computed, a sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{listed(names)} {'is' if len(names) == 1 else 'are'} not computed: {r}" for r, names in by_reason.items()]


def listed(names: Sequence[str]) -> str:
    """Returns names as people list them: ``fid, kid and prdc``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
