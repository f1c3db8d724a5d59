"""The batches of local training: whose examples they are taken from, and all random numbers that they are made of."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.config_sections import LocalConfig
from common.examples import ExampleSet, ExampleSpec
from common.objectives import Batch, DrawSource, Objective, Phase
from common.seeding import torch_generator
from common.tree import Tree


@dataclass(frozen=True)
class Assignment:
    """The client that a trainer works for: a client's shard, and the scope of its random numbers.

    Attributes:
        examples: The client's private examples, with their labels.
        seed: The run's seed.
        partition: The client's partition id.
        round: The round, from 1. A client draws the same numbers in the same round of any run with this seed.
        num_rounds: Rounds of the run, which rates that fall depend on.
    """

    examples: ExampleSet
    seed: int
    partition: int
    round: int
    num_rounds: int = 1

    def generator(self, *scope: str) -> torch.Generator:
        """Returns the client's own random numbers in this round, for the purpose that ``scope`` names."""
        return torch_generator(self.seed, "client", self.partition, "round", self.round, *scope)


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batches of any client.

    Attributes:
        objective: Says what a batch has beside examples.
        example_spec: Of the data.
        noise_shape: Of the noise that the sampler makes one example of.
        local: Steps and batch size, and which labels fakes have.
    """

    objective: Objective
    example_spec: ExampleSpec
    noise_shape: tuple[int, ...]
    local: LocalConfig

    def batches(
        self, assigned: Assignment, phases: Iterable[Phase], given: Tree | None, device: torch.device
    ) -> Iterator[Batch]:
        """Yields a batch for each of the phases, on ``device``.

        What it draws depends on the assignment and the phases alone. A phase that reuses the batch of the one before it
        draws nothing. Real examples come from one shuffled pass over the shard after another; a pass may end inside a
        batch, so every batch is full even where the shard is smaller. The rest is drawn by the objective, or ``given``.
        """
        shard, size, generator = assigned.examples, self.local.batch_size, assigned.generator()
        pool = self._label_pool(shard.labels)
        source = DrawSource(size, generator, pool, self.noise_shape, self.example_spec.shape)
        order = torch.empty(0, dtype=torch.int64)
        taken = 0
        runs: dict[str, int] = {}
        batch: Batch | None = None
        for phase in phases:
            step = runs.setdefault(phase.name, (assigned.round - 1) * self.local.steps * phase.repeats)
            runs[phase.name] += 1
            if phase.reuses_batch and batch is not None:
                yield replace(batch, step=step)
                continue
            num_real = size if phase.uses_examples else 0
            while len(order) < num_real:
                order = torch.cat([order, torch.randperm(len(shard), generator=generator)])
            chosen, order = order[:num_real], order[num_real:]
            draws = self.objective.draw(source)
            if given is not None and phase.uses_examples:
                draws |= {name: rows[torch.arange(taken, taken + size) % len(rows)] for name, rows in given.items()}
                taken += size
            examples, labels = shard.take(chosen)
            batch = Batch(
                examples=self.example_spec.to_input(examples.to(device, non_blocking=True)),
                labels=labels.to(device, non_blocking=True),
                draws={name: value.to(device, non_blocking=True) for name, value in draws.items()},
                generator=generator,
                step=step,
            )
            yield batch

    def _label_pool(self, labels: Tensor) -> Tensor:
        """Returns the labels, each as likely as the others, that examples are generated for."""
        if self.local.fake_labels == "own":
            return labels
        return (
            torch.unique(labels)
            if self.local.fake_labels == "balanced"
            else torch.arange(self.example_spec.num_classes)
        )
