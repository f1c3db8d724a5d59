"""A trainer whose weights are a row of those of several clients, and what it asks of them."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from client.trainer import Trainer, TrainerSpec
from common.objectives import Batch, Phase
from common.tree import Tree

Result = dict[str, float] | Exception
"""What a client gets of ``fit``: its means, or what to raise."""


@dataclass(frozen=True)
class Request:
    """What a client asks of ``fit``; see ``LocalTrainer``."""

    networks: tuple[str, ...] | None = None
    given: Tree | None = None
    extra_loss: Callable[[str, nn.Module], Tensor] | None = None
    gradient_hook: Callable[[str, nn.Module], None] | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What must be equal for clients to be trained together."""
        return (
            self.networks,
            None if self.given is None else tuple(sorted(self.given)),
            self.extra_loss is None,
            self.gradient_hook is None,
        )


class StackedTrainer(Trainer):
    """A trainer whose weights are a row of stacked ones.

    Args:
        number: Its row, from 0.
        fit: Trains it together with others, for the clients that call the method of this name.
        spec: What it is made of.
    """

    def __init__(
        self, number: int, fit: Callable[["StackedTrainer", Request], dict[str, float]], spec: TrainerSpec
    ) -> None:
        super().__init__(spec)
        self.number, self._fit = number, fit
        self.networks, self.steppers = self._networks, self._steppers
        self._modules = nn.ModuleDict(self._networks)

    def fit(
        self,
        *,
        networks: Sequence[str] | None = None,
        given: Tree | None = None,
        extra_loss: Callable[[str, nn.Module], Tensor] | None = None,
        gradient_hook: Callable[[str, nn.Module], None] | None = None,
    ) -> dict[str, float]:
        asked = None if networks is None else tuple(networks)
        return self._fit(self, Request(asked, given, extra_loss, gradient_hook))

    def fit_alone(self, request: Request) -> dict[str, float]:
        """Trains this client by itself, in the loop."""
        return super().fit(**{field.name: getattr(request, field.name) for field in fields(request)})

    @property
    def num_steps(self) -> int:
        """Local steps of a fit."""
        return self._local.steps

    def freeze_all_but(self, networks: set[str]) -> None:
        """Has only parameters of these networks take gradients."""
        self._freeze_all_but(networks)

    def terms(self) -> tuple[object, ...]:
        """Returns what must be equal for clients to be trained together, beside what they ask for."""
        return self._assigned.round, self._kept_share, *(stepper.learning_rate for stepper in self.steppers.values())

    def drawn(self, schedule: Sequence[Phase], request: Request) -> Iterator[Batch]:
        """Yields a batch for each phase, on the CPU, whence those of all clients go to their device together."""
        return self._batches(schedule, request.given, torch.device("cpu"))

    def take_back(self, weights: Tree, moments: Tree) -> None:
        """Goes back to what ``parameters`` and ``moments`` returned."""
        self.load(weights)
        if self._slots:
            torch._foreach_copy_(list(self._slots.values()), [moments[key] for key in self._slots])

    def move_to(self, weights: Mapping[str, Tensor]) -> None:
        """Keeps its weights and buffers in its row of ``weights`` (N, ...) from here on."""
        for key, value in itertools.chain(self._modules.named_parameters(), self._modules.named_buffers()):
            row = weights[key][self.number]
            row.copy_(value.detach())
            value.data = row
        self._state = self._modules.state_dict()


def caught(function: Callable[..., dict[str, float]], *arguments: Any) -> Result:
    """Returns what ``function`` does, or the error that it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error
