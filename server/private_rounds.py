"""Rounds of a run that promises privacy of each client: who takes part, and the noise on the mean."""

from collections.abc import Mapping, Sequence

from common import wire
from common.config import RunConfig
from common.privacy import ClientPrivacy
from common.privacy.client import drawn
from common.privacy.noise_source import NoiseSource, SeededNoise, SystemNoise
from common.privacy.noisy_mean import NoisyMean
from common.seeding import torch_generator
from common.tree import Tree, digest
from server.records.privacy_accounts import noise_source_of


class PrivateRounds:
    """Draws cohorts and noise: from the run's seed in a simulation, else from the operating system, anew each time.

    Args:
        config: With such a promise.
        clients: The federation's, by partition.
    """

    def __init__(self, config: RunConfig, clients: Mapping[int, wire.RollCall]) -> None:
        self._plan = config.plan_of_clients()
        self._clients = list(clients)
        self._is_simulated = noise_source_of(clients) == wire.SEED

    @classmethod
    def of(cls, config: RunConfig, clients: Mapping[int, wire.RollCall]) -> "PrivateRounds | None":
        """Returns those of a run; None where it does not promise privacy of each client."""
        return cls(config, clients) if isinstance(config.privacy_component, ClientPrivacy) else None

    def cohort(self, seed: int, round: int) -> list[int]:
        """Returns who takes part in a round, ascending; each client is drawn by itself."""
        return drawn(self._clients, self._plan.mechanism.rate, self._source(seed, "cohort", round))

    def mean(self, seed: int, round: int, weights: Tree) -> NoisyMean:
        """Returns what takes the mean of a round, which starts from ``weights``.

        The same noise on another mean could be taken off by subtraction, so it depends on these too, and on who has
        answered: that is not known before, and may be others where a round is repeated.
        """
        start = digest(weights)

        def source(answered: Sequence[int]) -> NoiseSource:
            return self._source(seed, "noise", round, start, *answered)

        return NoisyMean(self._plan, len(self._clients), source)

    def _source(self, seed: int, *scope: int | str) -> NoiseSource:
        if not self._is_simulated:
            return SystemNoise()
        return SeededNoise(torch_generator(seed, "server", "privacy", *scope))
