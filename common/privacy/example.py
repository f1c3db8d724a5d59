"""Differential privacy of each example, kept by each client against the server and all others."""

from typing import ClassVar

from pydantic import Field

from common.privacy.accounting import Mechanism, noise_multiplier
from common.privacy.base import SPARE_ROUNDS, Privacy, PrivateMechanism, Unit
from common.privacy.plan import PrivacyPlan


class ExamplePrivacy(Privacy):
    """All that a client sends in a run is (epsilon, delta) differentially private of each of its examples.

    Neighbouring shards differ in one example that is added or removed; how many examples a client holds is public. Each
    client adds its own noise, so the server need not be trusted, and as no example is held by two clients, the
    federation's epsilon is the largest of theirs (parallel composition).

    With ``sharers`` = h the noise is shared, of sums that ``aggregate="secure-mean"`` reveals of at least ``threshold``
    clients together: each adds 1/h of its variance. The promise then stands on h others who add theirs and keep it to
    themselves: it holds while at most threshold - h clients of a sum collude with the server.
    """

    source: ClassVar[str] = "Abadi et al. 2016 (arXiv 1607.00133), algorithm 1, at each client"
    unit: ClassVar[Unit] = "example"

    epsilon: float = Field(10.0, gt=0, description="what the whole run may spend of each client's examples")
    delta: float = Field(1e-5, gt=0, lt=1, description="probability with which epsilon need not hold")
    clip: float = Field(1.0, gt=0, description="longest gradient of an example, over all weights that a phase steps")
    batch_size: int = Field(0, ge=0, description="examples of a step on average, drawn by chance; 0: local.batch-size")
    sharers: int = Field(
        0, ge=0, description="clients whose noise together keeps the promise, under secure-mean; 0: each keeps it alone"
    )
    spare_rounds: int = Field(0, ge=0, description=SPARE_ROUNDS)

    def plan(
        self, mechanism: PrivateMechanism, num_examples: int, batch_size: int, uses_per_round: int, num_rounds: int
    ) -> PrivacyPlan:
        """Returns what a client with so many examples does, as if it took part in every round, and in the spare ones.

        Args:
            mechanism: What noise is added to.
            num_examples: That the client holds.
            batch_size: Of ``local``; of steps.
            uses_per_round: Of steps, that take real examples.
            num_rounds: Of the run.

        Raises:
            ConfigError: See ``noise_multiplier``.
        """
        if mechanism == "sums":
            rounds = 1 + self.spare_rounds
            noise = noise_multiplier(self.epsilon, self.delta, 1.0, rounds)
            return PrivacyPlan(Mechanism(noise), 1, self.clip, self.delta, rounds, self.sharers or 1)
        rounds = num_rounds + self.spare_rounds
        rate = min(1.0, (self.batch_size or batch_size) / num_examples)
        noise = noise_multiplier(self.epsilon, self.delta, rate, uses_per_round * rounds)
        return PrivacyPlan(Mechanism(noise, rate), uses_per_round, self.clip, self.delta, rounds)
