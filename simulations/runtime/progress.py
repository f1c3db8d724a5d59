"""What a person sees while a simulation runs: a live display on a terminal, plain lines elsewhere."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from common.config import RunConfig
from common.journal_lines import RoundLine
from common.objectives import Loss
from server.records import journal
from simulations.runtime.streams import Patient


class _Lines(logging.Handler):
    """Shows log records of the run: each as a line, or on a terminal moving the display on.

    On a terminal a round moves a bar, and is a line of its own where it has scores; so does each step of the final
    scores, and what is still to come stands beside the bar.
    """

    def __init__(self, console: Console, progress: Progress | None) -> None:
        super().__init__(logging.INFO)
        self._console, self._progress = console, progress
        self._bars: dict[str, TaskID] = {}
        self._steps: list[str] = []
        self.losses: tuple[Loss, ...] = ()

    def open(self, name: str, total: int) -> None:
        """Shows a bar."""
        if self._progress is not None:
            self._bars[name] = self._progress.add_task(name, total=total, info="")

    def advance(self, name: str) -> None:
        """Moves a bar on by one."""
        if self._progress is not None:
            self._progress.advance(self._bars[name])

    def emit(self, record: logging.LogRecord) -> None:
        line, steps = getattr(record, "line", None), getattr(record, "steps", None)
        if self._progress is None:
            self._print(record)
        elif line is not None:
            self._show_round(self._progress, record, line)
        elif steps is not None:
            self._steps = list(steps)
            self.open("scores", len(steps))
            self._progress.update(self._bars["scores"], info=", ".join(self._steps))
        elif (step := getattr(record, "step", None)) in self._steps and step is not None:
            self._steps.remove(step)
            self._progress.update(self._bars["scores"], advance=1, info=", ".join(self._steps))
        elif not hasattr(record, "meanwhile"):  # the bar shows that itself
            self._print(record)

    def _show_round(self, progress: Progress, record: logging.LogRecord, line: RoundLine) -> None:
        means = {loss.label: journal.mean_of(line, loss.name) for loss in self.losses}
        shown = "  ".join(f"{label} {value:.2f}" for label, value in means.items() if value is not None)
        if any(isinstance(value, float) for value in line["scores"].values()):
            self._print(record)
        progress.update(self._bars["rounds"], completed=line["round"], info=shown)
        progress.update(self._bars["clients"], completed=0)

    def _print(self, record: logging.LogRecord) -> None:
        console = self._progress.console if self._progress else self._console
        console.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def watching(config: RunConfig, stream: TextIO) -> Iterator[Callable[[int], None]]:
    """Shows the run on ``stream`` while the block runs; yields what to call after each client's turn."""
    with _shown(stream) as lines:
        lines.losses = config.objective_component.losses()
        lines.open("rounds", config.federation.num_rounds)
        lines.open("clients", config.federation.cohort_size)
        yield lambda partition: lines.advance("clients")


@contextmanager
def scoring(stream: TextIO) -> Iterator[None]:
    """Shows on ``stream`` how far scoring a generator is, while the block does it."""
    with _shown(stream):
        yield


@contextmanager
def _shown(stream: TextIO) -> Iterator[_Lines]:
    notebook = (
        Console().is_jupyter
    )  # its stderr says that it is a terminal, and cannot move up; lines are readable there
    # A run goes on where nobody reads any more; rich would end the process.
    patient = cast(TextIO, Patient(stream, spare=True))  # but without a ``buffer``
    console = Console(file=patient, force_jupyter=False, force_terminal=False if notebook else None)
    progress = None
    if console.is_terminal:
        progress = Progress(
            TextColumn("{task.description:>7}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[info]}"),
            console=console,
            transient=True,
        )
    lines = _Lines(console, progress)
    with hearing(lines), progress or nullcontext():
        yield lines


@contextmanager
def hearing(handler: logging.Handler) -> Iterator[None]:
    """Sends the run's log to ``handler``, and nowhere else, while the block runs."""
    logger = logging.getLogger("fedgan")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
