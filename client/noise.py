"""What a client may release of its examples in a round, each sum with the noise that its plan pays for."""

from collections.abc import Callable

from torch import Tensor

from common.errors import ConfigError
from common.privacy.noise_source import NoiseSource
from common.privacy.plan import PrivacyPlan


class PrivateRound:
    """What a client may release of its examples in a round, each sum with the noise of its plan.

    Args:
        plan: The client's.
        source: Of the noise.
        num_examples: That the client holds, which is public.
        where: Names client and round in errors.
    """

    def __init__(self, plan: PrivacyPlan, source: NoiseSource, num_examples: int, where: str) -> None:
        self.plan, self.source, self.num_examples = plan, source, num_examples
        self._where = where
        self._uses = 0

    @property
    def mean_batch_size(self) -> float:
        """Examples in a batch on average."""
        return self.plan.mechanism.rate * self.num_examples

    def here(self) -> Callable[[], None]:
        """Returns what goes back to now, for work that is begun again; nothing released since may have been seen."""
        uses, state = self._uses, self.source.generator.get_state()

        def back() -> None:
            self._uses = uses
            self.source.generator.set_state(state)

        return back

    def hidden(self, total: Tensor, clip: float, rate: float = 1.0) -> Tensor:
        """Returns a sum over examples, float64 on the CPU, with noise in every coordinate.

        Args:
            total: To which no example adds more than a vector of length ``clip``.
            clip: That length.
            rate: With what probability each example has had a part in it.

        Raises:
            ConfigError: The plan does not pay for it, or not for one release more.
        """
        if rate > self.plan.mechanism.rate:
            raise ConfigError(
                f"{self._where}: privacy pays for sums over a share of {self.plan.mechanism.rate:.3g} of the examples, "
                f"and this one is over {rate:.3g}: nothing was released"
            )
        self._uses += 1
        if self._uses > self.plan.uses_per_round:
            raise ConfigError(
                f"{self._where}: privacy pays for {self.plan.uses_per_round} releases a round, and this is one more: "
                "the algorithm trains or counts more often than its plan says; nothing was released"
            )
        return total + self.plan.own_noise * clip * self.source.normals(*total.shape)
