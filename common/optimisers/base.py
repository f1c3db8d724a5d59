"""What an optimiser is: a rule that moves weights, applied to all of them in one fused pass."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from common.components import Component


class Optimiser(Component):
    """A rule that moves weights against their gradients; what it keeps of each weight is in its slots."""

    is_elementwise: ClassVar[bool] = False
    """Whether each entry moves by its own gradient and slots alone, which are of the parameter's shape, or scalars that
    hang on nothing but the number of steps. The weights of several clients are then stepped as one tensor."""

    def slots(self, parameter: Tensor) -> dict[str, Tensor]:
        """Returns what is kept of a parameter before its first step, by name; float32, on the parameter's device."""
        raise NotImplementedError

    def advance(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: Mapping[str, list[Tensor]],
        rate: float | Tensor,
    ) -> None:
        """Moves parameters and their slots in place, each to the bit as by itself.

        Args:
            parameters: At least one.
            gradients: One a parameter, of its shape.
            slots: By the names of ``slots``, a tensor a parameter.
            rate: The learning rate; as a tensor, a float32 scalar on the device of the parameters.
        """
        raise NotImplementedError


class Stepper:
    """An optimiser at work on the parameters of one network, with slots that are loaded in place.

    It calls the functional forms of torch's optimisers: their classes import ``torch._dynamo`` at the first use, a
    second at every start of a client, which in a deployment starts for every message.

    Args:
        network: Whose parameters are stepped; stays on its device.
        optimiser: The rule; the attribute of this name may be set to another one with the same slots between steps.
        learning_rate: The rate; the attribute of this name may be set to another one between steps.
    """

    def __init__(self, network: nn.Module, optimiser: Optimiser, learning_rate: float) -> None:
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self._parameters = dict(network.named_parameters())
        self._slots = {name: optimiser.slots(parameter) for name, parameter in self._parameters.items()}

    @property
    def slots(self) -> dict[str, Tensor]:
        """The slots of all parameters by ``<parameter>.<slot>``; write to them to load others."""
        return {f"{name}.{slot}": value for name, own in self._slots.items() for slot, value in own.items()}

    def move_slots_to(self, slots: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Keeps the slots in these tensors from here on, by parameter and slot."""
        for name, own in self._slots.items():
            for slot, value in own.items():
                own[slot] = slots[name][slot].copy_(value)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        step_together([self])


@torch.no_grad()
def step_together(steppers: Sequence[Stepper], rate: Tensor | None = None) -> None:
    """Steps the parameters of several networks at once, each to the bit as by itself.

    Args:
        steppers: At least one; all with the same rule and rate.
        rate: Instead of theirs, a float32 scalar on the device of the parameters.
    """
    leader = steppers[0]
    moved = [
        (parameter, parameter.grad, stepper._slots[name])
        for stepper in steppers
        for name, parameter in stepper._parameters.items()
        if parameter.grad is not None
    ]
    if not moved:
        return
    leader.optimiser.advance(
        [parameter for parameter, _, _ in moved],
        [gradient for _, gradient, _ in moved],
        {slot: [own[slot] for _, _, own in moved] for slot in moved[0][2]},
        leader.learning_rate if rate is None else rate,
    )
