"""Steps on real examples in a private run: batches by chance, clipped gradients of single examples, and noise."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from client.batches import Assignment, BatchMaker
from client.device_memory import resident, take
from client.functional.borrowing import BorrowingNetworks
from client.functional.example_gradients import clipped_gradients
from client.noise import PrivateRound
from client.steps import first_counts
from common.errors import ConfigError
from common.objectives import Batch, DrawSource, Phase
from common.tree import Tree

EXAMPLES_AT_ONCE = 128
"""Whose gradients are computed together: more of them take more memory, and no less time on a CPU."""

_DRAWS = "draws."


@dataclass(frozen=True)
class DrawnBatch:
    """What one private batch is made of, on the CPU.

    Attributes:
        chosen: Which examples of the shard (B,) int64, B by chance; none in a phase that uses none.
        draws: What the objective drew, by name: (B, ...), or as many as ``local.batch-size`` in such a phase.
        generator: For further draws.
        step: See ``Batch``.
    """

    chosen: Tensor
    draws: dict[str, Tensor]
    generator: torch.Generator
    step: int


class PrivateSteps:
    """Private steps of resident networks: Abadi et al. 2016 (arXiv 1607.00133), algorithm 1.

    Each example of the shard is in a batch with the same probability, so batches vary in size, and may be empty: such a
    step is noise alone. What the objective draws for an example is drawn with it, and fakes that are judged beside it
    are of its own class, unless ``local.fake-labels`` says otherwise. The gradient of the phase's loss on each example
    alone, over all weights that the phase steps, is scaled down to the plan's length; the sum gets noise, and is
    divided by the size that a batch has on average, which is public.

    Args:
        networks: Theirs are the gradients that are set.
        maker: Says what batches are made of.
        assigned: The client, and the round.
        release: What pays for the steps.

    Raises:
        ConfigError: A network has batch statistics.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], maker: BatchMaker, assigned: Assignment, release: PrivateRound
    ) -> None:
        self._networks, self._maker, self._assigned, self.release = networks, maker, assigned, release
        self._functional = BorrowingNetworks(networks)
        self._device = next((value.device for value in self._functional.parameters()), torch.device("cpu"))
        for name, module in self._functional.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise ConfigError(
                    f"privacy: {name} is {type(module).__name__}, whose statistics mix the examples of a batch, so "
                    "that no gradient is of one example alone: take norm=group or norm=none in model"
                )

    @classmethod
    def of(cls, networks: Mapping[str, nn.Module], maker: BatchMaker, assigned: Assignment) -> "PrivateSteps | None":
        """Returns those of a client in a round; None: there is no promise to keep."""
        release = assigned.private_round()
        return None if release is None else cls(networks, maker, assigned, release)

    def expected_examples(self, phases: Sequence[Phase]) -> float:
        """Returns how many examples the phases of all steps take on average, which says nothing of the client."""
        return self.release.mean_batch_size * self._maker.local.steps * sum(phase.uses_examples for phase in phases)

    def drawn(self, phases: Sequence[Phase], given: Tree | None) -> Iterator[DrawnBatch]:
        """Yields what the batch of each of the phases of each step is made of, every one of its own.

        Those of phases without real examples are of ``local.batch-size``, with labels drawn evenly over all classes:
        they depend on nothing that the client holds.

        Raises:
            ConfigError: Draws are given, which examples would have to share.
        """
        if given is not None:
            self._assigned.refuse_if_private("trains on fakes that it is given")
        steps = self._maker.local.steps
        counts = first_counts(self._assigned.round, phases, steps)
        public = self._assigned.generator("public")
        for _ in range(steps):
            for phase in phases:
                found = self._of_examples() if phase.uses_examples else self._of_draws(public)
                yield replace(found, step=counts[phase.name])
                counts[phase.name] += 1

    def batches(self, phases: Sequence[Phase], given: Tree | None) -> Iterator[Batch]:
        """Yields these batches, on the device."""
        stored, labels, rows = self._assigned.examples.located()
        stored, labels = resident(stored, self._device), resident(labels, self._device)
        for own in self.drawn(phases, given):
            places = (own.chosen if rows is None else rows[own.chosen]).to(self._device)
            examples = self._maker.example_spec.to_input(take(stored, places))
            draws = {name: value.to(self._device) for name, value in own.draws.items()}
            yield Batch(examples, take(labels, places), draws, own.generator, own.step)

    def take_gradients(self, phase: Phase, batch: Batch, context: AbstractContextManager[object]) -> None:
        """Gives every weight that the phase steps its gradient, with noise.

        Args:
            phase: With real examples; only its own networks may take gradients.
            batch: Of examples by chance.
            context: In which losses are computed.

        Raises:
            ConfigError: The plan does not pay for it.
        """
        release = self.release
        weights = {
            f"{network}.{key}": value
            for network in phase.networks
            for key, value in self._networks[network].named_parameters()
        }

        def loss(rows: Any, tensors: Any) -> Tensor:
            draws = {name: tensors[f"{_DRAWS}{name}"] for name in batch.draws}
            one = Batch(tensors["examples"], tensors["labels"], draws, batch.generator, batch.step)
            with self._functional.borrowing(rows) as networks:
                found, _ = phase.loss(networks, one)
            return found

        total = torch.zeros(sum(value.numel() for value in weights.values()), dtype=torch.float64)
        tensors = {"examples": batch.examples, "labels": batch.labels}
        tensors |= {f"{_DRAWS}{name}": value for name, value in batch.draws.items()}
        for first in range(0, len(batch.labels), EXAMPLES_AT_ONCE):
            some = {name: value[first : first + EXAMPLES_AT_ONCE] for name, value in tensors.items()}
            with context:
                found = clipped_gradients(loss, weights, some, release.plan.clip)
            total += torch.cat([value.flatten() for value in found.values()]).cpu()
        mean = self.noisy_mean(total).float().to(self._device)
        parts = torch.split(mean, [value.numel() for value in weights.values()])
        for value, part in zip(weights.values(), parts, strict=True):
            value.grad = part.view_as(value)

    def noisy_mean(self, total: Tensor) -> Tensor:
        """Returns a sum of clipped gradients (P,), float64 on the CPU, with noise, over the mean size of a batch.

        Raises:
            ConfigError: The plan does not pay for it.
        """
        plan = self.release.plan
        return self.release.hidden(total, plan.clip, plan.mechanism.rate) / self.release.mean_batch_size

    def _of_examples(self) -> DrawnBatch:
        source, labels = self.release.source, self._assigned.examples.labels
        chosen = (source.uniforms(len(labels)) < self.release.plan.mechanism.rate).nonzero().flatten()
        own = labels[chosen] if self._maker.local.fake_labels == "own" else None
        return DrawnBatch(chosen, self._draw(len(chosen), source.generator, own), source.generator, 0)

    def _of_draws(self, generator: torch.Generator) -> DrawnBatch:
        none = torch.empty(0, dtype=torch.int64)
        return DrawnBatch(none, self._draw(self._maker.local.batch_size, generator, None), generator, 0)

    def _draw(self, num: int, generator: torch.Generator, own_labels: Tensor | None) -> dict[str, Tensor]:
        spec = self._maker.example_spec
        classes = torch.arange(spec.num_classes)
        source = DrawSource(num, generator, classes, self._maker.noise_shape, spec.shape, own_labels)
        return self._maker.objective.draw(source)
