"""A trainer whose weights are a row of those of several clients, and what it asks of them."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from client.batched.joint_steps import Slots
from client.batches import Block
from client.private_steps import PrivateSteps
from client.step_average import StepAverage
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.examples import ExampleSet
from common.objectives import Phase
from common.tree import Tree, clone

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
        self._drawn: tuple[Request, torch.Generator, Iterator[Block]] | None = None
        self._copy: dict[str, Tensor] = {}

    def fit(
        self,
        *,
        networks: Sequence[str] | None = None,
        given: Tree | None = None,
        extra_loss: Callable[[str, nn.Module], Tensor] | None = None,
        gradient_hook: Callable[[str, nn.Module], None] | None = None,
    ) -> dict[str, float]:
        self._copy = {}
        chosen = None if networks is None else tuple(networks)
        request = Request(chosen, given, extra_loss, gradient_hook)
        if self.private is None:
            generator, blocks = self._draw(self.step_phases(chosen), request)
            first = [next(blocks)]  # while others do so in their threads
            self._drawn = request, generator, itertools.chain(first, blocks)
        return self._fit(self, request)

    def load(self, tree: Tree) -> None:
        self._copy = {}
        super().load(tree)

    def parameters(self) -> dict[str, Tensor]:
        copy, self._copy = self._copy, {}  # who is given it may write to it
        rest = {key: value for key, value in self._state.items() if key not in copy}
        return (copy | clone(rest)) if copy else super().parameters()

    def keep_copy(self, weights: dict[str, Tensor]) -> None:
        """Takes a copy of its float32 weights on the CPU, which ``parameters`` returns until they change."""
        self._copy = weights

    def fit_alone(self, request: Request) -> dict[str, float]:
        """Trains this client by itself, in the loop."""
        return super().fit(**{field.name: getattr(request, field.name) for field in fields(request)})

    @property
    def num_steps(self) -> int:
        """Local steps of a fit."""
        return self._local.steps

    def freeze_all_but(self, networks: Collection[str]) -> None:
        """Has only parameters of these networks take gradients."""
        self._freeze_all_but(networks)

    def terms(self) -> tuple[object, ...]:
        """Returns what must be equal for clients to be trained together, beside what they ask for."""
        rates = (stepper.learning_rate for stepper in self.steppers.values())
        return self._assigned.round, self._kept_share, None if self.private is None else self.clip, *rates

    @property
    def private(self) -> PrivateSteps | None:
        """What pays for steps on real examples; None: nothing is promised of them."""
        return self._private

    @property
    def clip(self) -> float:
        """Of a private client: the longest gradient of an example."""
        assert self._private is not None
        return self._private.release.plan.clip

    @property
    def examples(self) -> ExampleSet:
        """The shard of the client at hand."""
        return self._assigned.examples

    def blocks(self, phases: Sequence[Phase], request: Request) -> tuple[torch.Generator, Iterator[Block]]:
        """Returns the client's generator, and what the batches of its steps are made of; see ``BatchMaker.blocks``."""
        drawn, self._drawn = self._drawn, None
        if drawn is not None and drawn[0] is request:
            return drawn[1:]
        return self._draw(phases, request)

    def keep_average(self, average: StepAverage) -> None:
        """Takes an average over its steps that was made for it; see ``averaged``."""
        self._average = average

    def _draw(self, phases: Sequence[Phase], request: Request) -> tuple[torch.Generator, Iterator[Block]]:
        generator = self._assigned.generator()
        return generator, self._batch_maker.blocks(self._assigned, phases, request.given, generator)

    def here(self) -> Callable[[], None]:
        """Returns what goes back to how the client is now: nothing that it does until then may have left it."""
        weights, moments = self.parameters(), self.moments()
        unused = None if self._private is None else self._private.release.here()

        def back() -> None:
            self.load(weights)
            if self._slots:
                torch._foreach_copy_(list(self._slots.values()), [moments[key] for key in self._slots])
            if unused is not None:
                unused()

        return back

    def move_to(self, weights: Mapping[str, Tensor], slots: Mapping[str, Slots]) -> None:
        """Keeps its weights, buffers and slots in its row of ``weights`` and ``slots`` (N, ...) from here on."""
        for key, value in itertools.chain(self._modules.named_parameters(), self._modules.named_buffers()):
            row = weights[key][self.number]
            row.copy_(value.detach())
            value.data = row
        self._state = self._modules.state_dict()
        for network, stacked in slots.items():
            rows = {name: {slot: value[self.number] for slot, value in own.items()} for name, own in stacked.items()}
            self.steppers[network].move_slots_to(rows)
        self._slots = self._all_slots()


def caught(function: Callable[..., dict[str, float]], *arguments: Any) -> Result:
    """Returns what ``function`` does, or the error that it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error
