"""What looks at each finished round of a run, and may send the run back or end it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from common.algorithms import ServerState
from common.components import Component
from common.errors import FedGANError
from common.journal_lines import RoundLine, ScoredRound


@dataclass(frozen=True)
class Keep:
    """The round is kept, and the run goes on."""


@dataclass(frozen=True)
class GoBack:
    """The round is not kept: the run goes back to its last good round, and on from there with other random numbers.

    It does so at most ``guard.rollbacks`` times. After that the round is kept with a warning.

    Attributes:
        why: In words, for the log and the journal.
        error: What the run ends with instead of keeping the round; None: the round can be kept.
    """

    why: str
    error: FedGANError | None = None


@dataclass(frozen=True)
class Stop:
    """The round is kept, and is the run's last.

    Attributes:
        why: In words, for the log and the journal.
        final_scores: Whether the last generator is scored in full, as after a run's last round.
    """

    why: str
    final_scores: bool = True


Answer = Keep | GoBack | Stop


@dataclass(kw_only=True)
class FinishedRound:
    """A round that is trained and aggregated.

    Attributes:
        state: The server's, after the round. Its trees are not to be written to.
        line: What the journal will say of the round. What a hook adds to it is kept there.
        earlier: ``round`` and ``scores`` of the rounds before it, in order.
        num_rounds: Rounds of the whole run.
        rollbacks: How often the run has gone back to an earlier round.
        quality: What rounds are compared by, lower is better: ``fid``, or ``federated-fid`` where the server has no
            data; None: the round is not scored so.
    """

    state: ServerState
    line: RoundLine
    earlier: Sequence[ScoredRound]
    num_rounds: int
    rollbacks: int = 0
    quality: float | None = None

    @property
    def number(self) -> int:
        """The rounds that are done, this one included."""
        return self.state.round

    @property
    def last(self) -> bool:
        """Whether it is the last of the run's rounds."""
        return self.number == self.num_rounds


class RoundHook(Component, ABC):
    """Looks at each finished round once it is scored, before it is written to the journal.

    It keeps nothing of its own: the same round has the same answer, also after the run was killed and goes on.
    """

    may_go_back: ClassVar[bool] = False
    """Whether it may answer ``GoBack``: then a run is resumed with the same hook only, as weights depend on it."""

    may_stop: ClassVar[bool] = True
    """Whether it may answer ``Stop``: then it does not go with an algorithm whose last rounds matter."""

    needs_scores: ClassVar[bool] = False
    """Whether it looks at scores between rounds (``evaluation.every``)."""

    @abstractmethod
    def after(self, round: FinishedRound) -> Answer:
        """Returns what is to become of the round, and of the run."""
