"""The mean of clients' updates as the server may go on with it where it promises privacy of each client."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from common.errors import ConfigError
from common.privacy.noise_source import NoiseSource
from common.privacy.plan import PrivacyPlan
from common.tree import Tree, split


class NoisyMean:
    """Takes one noisy mean, of one round.

    With updates u_k = w_k - w, of K clients that have answered, of N of which each takes part with probability q, it is

        w + (sum_k u_k min(1, C / |u_k|) + z C n) / (q N),   n ~ N(0, I),

    where C is the plan's clip and z its noise multiplier. The divisor is fixed, so one client more or less changes the
    sum by a vector of at most C and nothing else; who does not answer counts as if its update were zero.

    Args:
        plan: What is done in each round.
        num_clients: N.
        source: Of the noise, by which clients have answered, ascending: the same noise on the sum of others could be
            taken off by subtraction.
    """

    def __init__(self, plan: PrivacyPlan, num_clients: int, source: Callable[[Sequence[int]], NoiseSource]) -> None:
        self._plan, self._num_clients, self._source = plan, num_clients, source
        self._is_used = False

    def of(self, trees: Mapping[int, Tree], origin: Tree) -> dict[str, Tensor]:
        """Returns that mean, float32, under the names of ``origin``, which is w.

        Args:
            trees: The clients' weights w_k, by partition, with at least the names of ``origin``.
            origin: Where the round started; float32.

        Raises:
            ConfigError: There was one before, which is all that the plan pays for, or an entry is an integer.
        """
        if self._is_used:
            raise ConfigError(
                "privacy pays for one mean of updates a round, and this is one more: nothing was released; take an "
                "algorithm that takes one"
            )
        if whole := [key for key, value in origin.items() if not value.is_floating_point()]:
            raise ConfigError(f"privacy has no noise for {whole[0]}, which counts in whole numbers")
        self._is_used = True
        keys = sorted(origin)
        start = _vector(origin, keys)
        total = torch.zeros_like(start)
        for partition in sorted(trees):
            update = _vector(trees[partition], keys) - start
            total += update * min(1.0, self._plan.clip / max(float(update.norm()), 1e-300))
        source = self._source(sorted(trees))
        total += self._plan.mechanism.noise_multiplier * self._plan.clip * source.normals(len(total))
        mean = start + total / (self._plan.mechanism.rate * self._num_clients)
        found = split(mean.float(), {key: origin[key] for key in keys})
        return {key: found[key] for key in origin}


def _vector(tree: Tree, keys: Sequence[str]) -> Tensor:
    return torch.cat([tree[key].double().flatten() for key in keys])
