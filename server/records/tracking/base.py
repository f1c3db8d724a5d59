"""What a tracker is: where a run's figures and pictures go besides its own directory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.config import Scalar


@dataclass(frozen=True)
class Tracked:
    """The run that is tracked.

    Attributes:
        name: Of the run directory.
        config: Its configuration, by dotted keys.
        place: A folder of this tracker's own in the run directory, which is there.
        identity: What the tracker called this run before; empty: it did not know it.
        round: The last round that it has and that has not changed since; 0: none.
    """

    name: str
    config: Mapping[str, Scalar]
    place: Path
    identity: str
    round: int


class Tracker(ABC):
    """An open run of a tracker. All calls come from one thread, and any of them may raise: that ends the tracking.

    Args:
        run: The run.

    Attributes:
        identity: What to be opened with again when the run is resumed; empty: nothing.
        where: Where a person finds the run: a folder or an address.
    """

    def __init__(self, run: Tracked) -> None:
        self.identity = run.identity
        self.where = str(run.place)

    @abstractmethod
    def figures(self, round: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a round, by names such as ``losses/generator``; rounds ascend but after ``rewind``."""

    @abstractmethod
    def picture(self, round: int, path: Path) -> None:
        """Takes the samples of a round, a PNG."""

    @abstractmethod
    def page(self, round: int, path: Path) -> None:
        """Takes the samples of a round of a run that makes text, UTF-8 (``common.examples.pages``)."""

    def rewind(self, round: int) -> None:  # noqa: B027  most trackers keep whatever they have
        """Called when the run has gone back: rounds after this one are done again."""

    @abstractmethod
    def finish(self, scores: Mapping[str, float], ended: bool) -> None:
        """Takes the final scores, and closes.

        Args:
            scores: Empty where the run did not get so far.
            ended: Whether the run came to its end.
        """
