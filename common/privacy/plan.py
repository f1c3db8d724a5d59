"""What a client does in a private run, worked out alike by the client and the server from what both know."""

import math
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
        sharers: Clients whose noise together is that of the mechanism; 1: each adds all of it.
    """

    mechanism: Mechanism
    uses_per_round: int
    clip: float
    delta: float
    rounds: int = 1
    sharers: int = 1

    @property
    def own_noise(self) -> float:
        """The noise multiplier of what the client adds by itself."""
        return self.mechanism.noise_multiplier / math.sqrt(self.sharers)

    def spent(self, rounds: int) -> float:
        """Returns epsilon after so many rounds."""
        return epsilon({self.mechanism: rounds * self.uses_per_round}, self.delta)
