"""A moving average over the local steps of one round, for samplers that are best taken from one."""

import torch
from torch import Tensor

from common.tree import Tree, clone


class StepAverage:
    """The weighted mean of some weights after each step of a fit, the later the heavier.

    With weights w_1 to w_n after n steps and the decay d a step it is a = (1 - d) / (1 - d^n) sum_i d^(n - i) w_i. A
    moving average e <- d e + (1 - d) w_i over these steps ends at d^n e + (1 - d^n) a: linear in a, so the mean over
    clients of their moving averages follows from the mean of their a.

    Args:
        weights: Changed in place by the steps; floating entries are averaged, of others the last value counts.
        decay: d, in [0, 1).
    """

    def __init__(self, weights: Tree, decay: float) -> None:
        self._weights = weights
        self._means = {key: torch.zeros_like(value) for key, value in weights.items() if value.is_floating_point()}
        self._decay = decay
        self._num_steps = 0

    @torch.no_grad()
    def take(self) -> None:
        """Takes the weights after a step."""
        self._num_steps += 1
        share = (1.0 - self._decay) / (1.0 - self._decay**self._num_steps)  # 1 at the first step: nothing left of zero
        torch._foreach_lerp_(list(self._means.values()), [self._weights[key] for key in self._means], share)

    def row(self, number: int) -> "StepAverage":
        """Returns the average of one client, where weights are (N, ...) of N clients; it is final."""
        own = StepAverage({key: value[number] for key, value in self._weights.items()}, self._decay)
        own._means = {key: value[number] for key, value in self._means.items()}
        own._num_steps = self._num_steps
        return own

    def tree(self) -> dict[str, Tensor]:
        """Returns a copy of the mean, on the CPU; at least one step must have been taken."""
        assert self._num_steps, "take() comes first"
        return clone({key: self._means.get(key, value) for key, value in self._weights.items()})
