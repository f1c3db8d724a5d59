"""What a client does in a private run, worked out alike by the client and the server from what both know."""

from dataclasses import dataclass

from common.privacy.accounting import Mechanism, epsilon


@dataclass(frozen=True)
class PrivacyPlan:
    """The noise of one client, and what it spends.

    Attributes:
        mechanism: What each use adds noise to.
        uses_per_round: Uses of it in a round that the client takes part in.
        clip: The longest vector that an example adds to a sum.
        delta: Of the promise.
        rounds: For how many rounds the noise is enough.
    """

    mechanism: Mechanism
    uses_per_round: int
    clip: float
    delta: float
    rounds: int = 1

    def spent(self, rounds: int) -> float:
        """Returns epsilon after so many rounds."""
        return epsilon({self.mechanism: rounds * self.uses_per_round}, self.delta)
