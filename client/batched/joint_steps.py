"""The optimiser's step of several clients' weights as one tensor a parameter, where its rule allows that."""

from collections.abc import Mapping

import torch
from torch import Tensor

from common.optimisers import Optimiser

Slots = dict[str, dict[str, Tensor]]


class JointSteps:
    """Stacked slots of stacked parameters, a row a client.

    Args:
        optimiser: The rule.
        parameters: Of one network, (rows, ...) each.
    """

    def __init__(self, optimiser: Optimiser, parameters: Mapping[str, Tensor]) -> None:
        self._optimiser = optimiser
        self.slots: Slots = {
            name: {
                slot: value.new_zeros((len(stacked), *value.shape))
                for slot, value in optimiser.slots(stacked[0]).items()
            }
            for name, stacked in parameters.items()
        }
        self._common: Slots = {
            name: {slot: value.new_zeros(()) for slot, value in own.items() if value.ndim == 1}
            for name, own in self.slots.items()
        }

    def scalars(self, num: int) -> list[Tensor]:
        """Returns the scalars of the first rows, such as a count of steps: (num,) each."""
        return [self.slots[name][slot][:num] for name, own in self._common.items() for slot in own]

    def begin(self) -> None:
        """Takes the first row's scalars for all rows."""
        for name, own in self._common.items():
            for slot, value in own.items():
                value.copy_(self.slots[name][slot][0])

    def step(self, weights: Mapping[str, Tensor], rate: float | Tensor) -> None:
        """Moves the parameters (num, ...) that have gradients, by name, and their slots."""
        moved = [name for name, value in weights.items() if value.grad is not None]
        if not moved:
            return
        num = len(weights[moved[0]])
        slots = {
            slot: [
                self._common[name][slot] if slot in self._common[name] else self.slots[name][slot][:num]
                for name in moved
            ]
            for slot in self.slots[moved[0]]
        }
        gradients = [gradient for name in moved if (gradient := weights[name].grad) is not None]
        with torch.no_grad():
            self._optimiser.advance([weights[name].detach() for name in moved], gradients, slots, rate)

    def end(self, num: int) -> None:
        """Gives the first rows the scalars that they have in common."""
        for name, own in self._common.items():
            for slot, value in own.items():
                self.slots[name][slot][:num] = value


def agree(scalars: list[Tensor]) -> bool:
    """Returns whether each of these (num,) is the same in all rows."""
    if not scalars:
        return True
    together = torch.stack(scalars)
    return bool((together == together[:, :1]).all())
