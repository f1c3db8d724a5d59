"""The batches of local training: whose examples they are taken from, and all random numbers that they are made of."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from client.device_memory import resident, take
from client.noise import PrivateRound
from client.steps import first_counts, takes_own_batch
from common.config_sections import LocalConfig
from common.errors import ConfigError
from common.examples import ExampleSet, ExampleSpec
from common.objectives import Batch, DrawSource, Objective, Phase
from common.privacy.noise_source import SeededNoise, SystemNoise
from common.privacy.plan import PrivacyPlan
from common.seeding import torch_generator
from common.tree import Tree

MOST_NUMBERS = 2**22
"""Numbers of a kind that a client draws at once, unless a single step takes more: 16 MiB."""


@dataclass(frozen=True)
class Assignment:
    """The client that a trainer works for: a client's shard, and the scope of its random numbers.

    Attributes:
        examples: The client's private examples, with their labels.
        seed: The run's seed.
        partition: The client's partition id.
        round: The round, from 1. A client draws the same numbers in the same round of any run with this seed.
        num_rounds: Rounds of the run, which rates that fall depend on.
        plan: How the client keeps the run's promise of privacy; None: there is none.
        has_own_data: Whether the examples are the site's own, so that noise must come from nowhere but here.
    """

    examples: ExampleSet
    seed: int
    partition: int
    round: int
    num_rounds: int = 1
    plan: PrivacyPlan | None = None
    has_own_data: bool = False

    def private_round(self) -> PrivateRound | None:
        """Returns what may be released of the examples in this round; None without a plan."""
        if self.plan is None:
            return None
        source = SystemNoise() if self.has_own_data else SeededNoise(self.generator("privacy"))
        return PrivateRound(self.plan, source, len(self.examples), f"partition {self.partition} in round {self.round}")

    def refuse_if_private(self, what: str) -> None:
        """Checks that no privacy is promised, for something that looks at examples without noise.

        Raises:
            ConfigError: One is; says ``what`` the algorithm does.
        """
        if self.plan is not None:
            raise ConfigError(
                f"privacy pays for steps and sums with noise, and this algorithm {what}: take algorithm='fedavg'"
            )

    def generator(self, *scope: str) -> torch.Generator:
        """Returns the client's own random numbers in this round, for the purpose that ``scope`` names."""
        return torch_generator(self.seed, "client", self.partition, "round", self.round, *scope)


@dataclass(frozen=True)
class Drawn:
    """What batches of one phase are made of, on the CPU.

    Attributes:
        chosen: Which examples of the shard, (M, B) int64; (M, 0) for a phase that uses none.
        draws: What the objective drew, or what was given, by name: (M, B, ...).
    """

    chosen: Tensor
    draws: dict[str, Tensor]


@dataclass(frozen=True)
class Block:
    """Some steps of a round, one after the other, and what their batches are made of.

    Attributes:
        first: Steps of the round before them.
        num_steps: How many they are.
        phases: By the name of each phase that takes batches of its own, these batches in order.
    """

    first: int
    num_steps: int
    phases: dict[str, Drawn]


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

    def blocks(
        self, assigned: Assignment, phases: Sequence[Phase], given: Tree | None, generator: torch.Generator
    ) -> Iterator[Block]:
        """Yields what the batches of a round are made of, in blocks of steps of bounded size.

        What is drawn depends on the assignment and the phases alone: in each block first the order of the examples,
        then what the objective draws for each phase. Real examples come from one shuffled pass over the shard after
        another; a pass may end inside a batch, so every batch is full even where the shard is smaller.

        Args:
            assigned: The client, and the round.
            phases: Those of one step, in order.
            given: See ``LocalTrainer.fit``.
            generator: The client's, which losses may draw from in between.
        """
        shard, size, steps = assigned.examples, self.local.batch_size, self.local.steps
        pool = self._label_pool(shard.labels)
        fresh = [phase for phase, own in zip(phases, takes_own_batch(phases), strict=True) if own]
        real = [phase for phase in fresh if phase.uses_examples]
        each = size * max(1, math.prod(self.noise_shape), math.prod(self.example_spec.shape)) * len(fresh)
        most = max(1, MOST_NUMBERS // each)
        order, taken = torch.empty(0, dtype=torch.int64), 0
        for first in range(0, steps, most):
            num = min(most, steps - first)
            passes, missing = [order], num * len(real) * size - len(order)
            while missing > 0:
                passes.append(torch.randperm(len(shard), generator=generator))
                missing -= len(shard)
            order = torch.cat(passes) if len(passes) > 1 else order
            chosen, order = order[: num * len(real) * size].view(num, len(real), size), order[num * len(real) * size :]
            places = torch.arange(taken, taken + chosen.numel()).view_as(chosen)
            taken += chosen.numel()
            drawn = {}
            for name in dict.fromkeys(phase.name for phase in fresh):
                count = num * sum(phase.name == name for phase in fresh)
                source = DrawSource(count * size, generator, pool, self.noise_shape, self.example_spec.shape)
                draws = self.objective.draw(source)
                own = [place for place, phase in enumerate(real) if phase.name == name]
                if given is not None and own:
                    rows = places[:, own].flatten()
                    draws |= {key: values[rows % len(values)] for key, values in given.items()}
                batches = {key: values.view(count, size, *values.shape[1:]) for key, values in draws.items()}
                drawn[name] = Drawn(chosen[:, own].reshape(count, size if own else 0), batches)
            yield Block(first, num, drawn)

    def batches(
        self, assigned: Assignment, phases: Sequence[Phase], given: Tree | None, device: torch.device
    ) -> Iterator[Batch]:
        """Yields a batch for each phase of each step of a round, on ``device``; see ``blocks``.

        A phase that reuses the batch of the one before it gets the same one again, with a count of its own.
        """
        generator, fresh = assigned.generator(), takes_own_batch(phases)
        stored, labels, rows = assigned.examples.located()
        stored, labels = resident(stored, device), resident(labels, device)
        counts = first_counts(assigned.round, phases, self.local.steps)
        batch: Batch | None = None
        for block in self.blocks(assigned, phases, given, generator):
            following = {}
            for name, drawn in block.phases.items():
                chosen = drawn.chosen if rows is None else rows[drawn.chosen]
                values = [value.to(device, non_blocking=True).unbind() for value in (chosen, *drawn.draws.values())]
                following[name] = zip(*values, strict=True)
            names = {name: tuple(drawn.draws) for name, drawn in block.phases.items()}
            for _ in range(block.num_steps):
                for phase, own in zip(phases, fresh, strict=True):
                    step, counts[phase.name] = counts[phase.name], counts[phase.name] + 1
                    if own or batch is None:
                        chosen, *draws = next(following[phase.name])
                        batch = Batch(
                            self.example_spec.to_input(take(stored, chosen)),
                            take(labels, chosen),
                            dict(zip(names[phase.name], draws, strict=True)),
                            generator,
                            step,
                        )
                        yield batch
                    else:
                        yield replace(batch, step=step)

    def _label_pool(self, labels: Tensor) -> Tensor:
        """Returns the labels, each as likely as the others, that examples are generated for."""
        if self.local.fake_labels == "own":
            return labels
        return (
            torch.unique(labels)
            if self.local.fake_labels == "balanced"
            else torch.arange(self.example_spec.num_classes)
        )
