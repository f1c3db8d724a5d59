"""Differential privacy of each client, kept by the server, which is trusted, against all that get a model from it."""

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from common.errors import ConfigError
from common.privacy.accounting import Mechanism, noise_multiplier
from common.privacy.base import SPARE_ROUNDS, Privacy, Unit
from common.privacy.noise_source import NoiseSource
from common.privacy.plan import PrivacyPlan

_RARELY = 1e-6  # how likely it may be that some round of a run draws no client at all


class ClientPrivacy(Privacy):
    """The models of all rounds together are (epsilon, delta) differentially private of each client: of all its data.

    Neighbouring federations differ in one client that takes part or does not; how many there are is public. Each client
    takes part in each round by a draw of its own (Poisson sampling, with ``federation.fraction``). The server sees what
    clients send, scales updates that are longer than ``clip`` down to that length, adds them up, divides by the number
    of clients that a round draws on average, however many have answered, and adds noise: see ``NoisyMean``. In the
    paper clients clip; here the server does, so that no client's word is taken for it.

    Noise has one length, however many clients share it: only large federations can learn anything through it.
    ``check_size`` refuses others.
    """

    source: ClassVar[str] = "McMahan et al. 2018 (arXiv 1710.06963), algorithm 1, flat clipping, estimator f_f"
    unit: ClassVar[Unit] = "client"

    epsilon: float = Field(10.0, gt=0, description="what the whole run may spend of each client")
    delta: float = Field(
        1e-5, gt=0, lt=1, description="probability with which epsilon need not hold; below 1 / clients"
    )
    clip: float = Field(1.0, gt=0, description="longest update of a client, over all weights together")
    most_noise: float = Field(
        1.0, gt=0, description="longest noise that a run starts with, in lengths of the longest update of the mean"
    )

    spare_rounds: int = Field(0, ge=0, description=SPARE_ROUNDS)

    def plan(self, rate: float, num_rounds: int) -> PrivacyPlan:
        """Returns what the server does in each round, and in the spare ones.

        Args:
            rate: With what probability a client takes part in a round; in (0, 1].
            num_rounds: Of the run.

        Raises:
            ConfigError: No noise keeps the promise.
        """
        rounds = num_rounds + self.spare_rounds
        noise = noise_multiplier(self.epsilon, self.delta, rate, rounds)
        return PrivacyPlan(Mechanism(noise, rate), 1, self.clip, self.delta, rounds)

    def check_size(self, plan: PrivacyPlan, num_clients: int, num_weights: int) -> None:
        """Checks that a federation is large enough to learn something through the noise of a plan.

        Args:
            plan: As ``plan`` gives it.
            num_clients: In the federation.
            num_weights: That travel, each of which gets noise.

        Raises:
            ConfigError: It is not; the message has the arithmetic, and the ways out.
        """
        rate, what = plan.mechanism.rate, f"privacy={self.spec()!r}"
        if self.delta * num_clients >= 1:
            raise ConfigError(
                f"{what}: with delta={self.delta:g} all that one of {num_clients:,} clients has may be published: take "
                f"a delta well below {1 / num_clients:.1g}"
            )
        ratio = noise_ratio(plan, num_clients, num_weights)
        if ratio > self.most_noise:
            enough = math.ceil(num_clients * ratio / self.most_noise)
            raise ConfigError(
                f"{what}: with {num_clients:,} clients, of which a round draws {rate * num_clients:,.3g}, the noise on "
                f"their mean would be {ratio:,.3g} times as long as the longest update (noise multiplier "
                f"{plan.mechanism.noise_multiplier:.3g} x square root of {num_weights:,} weights / "
                f"{rate * num_clients:,.3g} clients), and most-noise={self.most_noise:g}: it takes about {enough:,} "
                "clients, or a smaller model, fewer rounds, a larger epsilon; privacy='example' has no such limit; to "
                f"study it nevertheless set most-noise={_rounded_up(ratio):g}"
            )
        if plan.rounds * (1 - rate) ** num_clients > _RARELY:
            raise ConfigError(
                f"{what}: of {num_clients:,} clients, each drawn with federation.fraction={rate:g}, some round would "
                "draw none: take a larger fraction or more clients"
            )


def noise_ratio(plan: PrivacyPlan, num_clients: int, num_weights: int) -> float:
    """Returns how long the noise on a mean of updates is on average, in lengths of the longest such mean."""
    mechanism = plan.mechanism
    return mechanism.noise_multiplier * math.sqrt(num_weights) / (mechanism.rate * num_clients)


def drawn(clients: Sequence[int], rate: float, source: NoiseSource) -> list[int]:
    """Returns the clients of a round, ascending: each is drawn by itself with the probability ``rate`` (Poisson)."""
    if rate == 1:
        return sorted(clients)
    chosen = source.uniforms(len(clients)) < rate
    return [client for client, is_drawn in zip(sorted(clients), chosen.tolist(), strict=True) if is_drawn]


def _rounded_up(value: float) -> float:
    digits = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / digits) * digits
