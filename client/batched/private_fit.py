"""One ``fit`` of several clients under a promise of privacy: clipped gradients of all their examples, together.

Each client's batches, and its noise, are those that it draws alone. As batches vary in size, shorter ones are filled up
with examples that do not count.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from client.batched.fit import BatchedFit
from client.batched.stacked_trainer import Result, StackedTrainer, caught
from client.batched.step_buffers import DRAWS, Tensors
from client.functional.example_gradients import clipped_gradients_of_each
from client.functional.vectorised import Generators
from client.private_steps import EXAMPLES_AT_ONCE, DrawnBatch, PrivateSteps
from client.step_average import StepAverage
from common.objectives import Batch, Phase

T = TypeVar("T")
R = TypeVar("R")
Map = Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]


class PrivateFit(BatchedFit):
    """One ``fit`` of several clients whose steps on real examples are private; see ``PrivateSteps``."""

    def _train(self, average: StepAverage | None) -> list[Tensors]:
        owners = [steps_of(member) for member in self._members]
        drawn = [
            steps.drawn(self._phases, request.given) for steps, request in zip(owners, self._requests, strict=True)
        ]
        places = self._pool.place([member.examples for member in self._members])
        with _threads(len(owners), self._device) as each:
            for _ in range(self._members[0].num_steps):
                for phase, needed in zip(self._phases, self._needed, strict=True):
                    self._freeze_all_but(needed)
                    batches = list(each(next, drawn))
                    if phase.uses_examples:
                        means = each(_noisy_mean, zip(owners, self._totals(phase, batches, places), strict=True))
                        self._set_gradients(phase, torch.stack(list(means)))
                        self._move(phase, torch.zeros(len(owners), device=self._device), None)
                    else:
                        self._generators = Generators([own.generator for own in batches])
                        self._phase(phase, self._tensors(batches, places)[0], {}, batches[0].step, None)
                if average is not None:
                    average.take()
        return []

    def _results(self, found: Sequence[Tensors], seconds: float) -> list[Result]:
        return [caught(own.summary, self._phases, {}, {}, seconds / len(self._members)) for own in self._members]

    def _tensors(self, batches: Sequence[DrawnBatch], places: Sequence[Tensor | int]) -> tuple[Tensors, Tensor]:
        """Returns the batches of all clients, (N, B, ...) by name, and which examples of them count (N, B)."""
        chosen = [
            own.chosen + where if isinstance(where, int) else where[own.chosen]
            for own, where in zip(batches, places, strict=True)
        ]
        examples, labels = self._pool.take(_filled_up(chosen).to(self._device))
        tensors = {"examples": examples, "labels": labels}
        for name in batches[0].draws:
            tensors[f"{DRAWS}{name}"] = _filled_up([own.draws[name] for own in batches]).to(self._device)
        there = _filled_up([torch.ones(len(own), dtype=torch.bool) for own in chosen])
        return tensors, there.to(self._device)

    def _totals(self, phase: Phase, batches: Sequence[DrawnBatch], places: Sequence[Tensor | int]) -> Tensor:
        """Returns the sum of each client's clipped gradients (N, P), float64 on the CPU: without noise as yet."""
        trained = self._trained(phase)
        total = torch.zeros(len(batches), sum(value[0].numel() for value in trained.values()), dtype=torch.float64)
        tensors, there = self._tensors(batches, places)
        generator, step = batches[0].generator, batches[0].step

        def loss(rows: Any, tensors: Any) -> Tensor:
            draws = {name.removeprefix(DRAWS): value for name, value in tensors.items() if name.startswith(DRAWS)}
            one = Batch(tensors["examples"], tensors["labels"], draws, generator, step)
            with self._functional.borrowing(rows) as networks:
                found, _ = phase.loss(networks, one)
            return found

        clip = self._members[0].clip
        most = EXAMPLES_AT_ONCE if self._device.type == "cuda" else max(1, EXAMPLES_AT_ONCE // len(batches))
        for first in range(0, there.shape[1], most):
            rows = [row for row, own in enumerate(batches) if len(own.chosen) > first]  # who has examples left
            weights = {key: value[rows] for key, value in self._weights.items()}
            some = {name: value[rows, first : first + most] for name, value in tensors.items()}
            with self._members[0].autocast():
                found = clipped_gradients_of_each(
                    loss, weights, list(trained), some, there[rows, first : first + most], clip
                )
            total[rows] += torch.cat([value.flatten(1) for value in found.values()], 1).cpu()
        return total

    def _trained(self, phase: Phase) -> Tensors:
        return {
            f"{network}.{key}": value for network in phase.networks for key, value in self._of_network[network].items()
        }

    def _set_gradients(self, phase: Phase, means: Tensor) -> None:
        """Gives the weights that a phase steps their gradients, of means (N, P)."""
        weights = self._trained(phase)
        parts = torch.split(means.float().to(self._device), [value[0].numel() for value in weights.values()], 1)
        for value, part in zip(weights.values(), parts, strict=True):
            value.grad = part.contiguous().view_as(value)  # fused optimisers take it for contiguous, whatever it is


def steps_of(member: StackedTrainer) -> PrivateSteps:
    """Returns the private steps of a client that has some."""
    assert member.private is not None
    return member.private


def _noisy_mean(own: tuple[PrivateSteps, Tensor]) -> Tensor:
    steps, total = own
    return steps.noisy_mean(total)


def _filled_up(values: Sequence[Tensor]) -> Tensor:
    """Returns tensors (B, ...) with rows of zeros up to the longest of them, as one."""
    most = max(len(value) for value in values)
    return torch.stack([F.pad(value, [0, 0] * (value.ndim - 1) + [0, most - len(value)]) for value in values])


@contextmanager
def _threads(num: int, device: torch.device) -> Iterator[Callable[..., Iterable[Any]]]:
    """Gives a ``map`` over clients: beside a GPU, which would wait for one after another's noise, in a thread each."""
    if device.type != "cuda":
        yield map
        return
    with ThreadPoolExecutor(num, "fedgan-noise", torch.set_num_threads, (1,)) as pool:
        yield pool.map
