"""What the phases of a local step have to do with each other, and what becomes of the scalars that they give."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from common.objectives import Phase


def takes_own_batch(phases: Sequence[Phase]) -> list[bool]:
    """Returns whether each of the phases of a step takes a batch of its own, or that of the one before it."""
    return [place == 0 or not phase.reuses_batch for place, phase in enumerate(phases)]


def needed_networks(phases: Sequence[Phase]) -> list[frozenset[str]]:
    """Returns in which networks each of the phases of a step needs gradients.

    Its own, and those of a phase that goes on with its graph.
    """
    following = [*phases[1:], None]
    return [
        frozenset((*phase.networks, *(after.networks if after is not None and after.reuses_batch else ())))
        for phase, after in zip(phases, following, strict=True)
    ]


def first_counts(round: int, phases: Sequence[Phase], num_steps: int) -> dict[str, int]:
    """Returns how often each phase has run before a round of so many steps, by name; see ``Batch.step``."""
    return {phase.name: (round - 1) * num_steps * phase.repeats for phase in phases}


class StepScalars:
    """What the phases of a fit give, by name; it stays on its device until it is read."""

    def __init__(self) -> None:
        self._losses: dict[str, list[Tensor]] = {}
        self._diagnostics: dict[str, list[Tensor]] = {}

    def add(self, phase: Phase, loss: Tensor, watched: Mapping[str, Tensor]) -> None:
        """Takes a phase's loss, and what is worth watching."""
        self._losses.setdefault(phase.loss_name, []).append(loss)
        for name, value in watched.items():
            self._diagnostics.setdefault(name, []).append(value)

    def read(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Returns the values of losses, and of diagnostics, in turn."""
        return read(self._losses), read(self._diagnostics)


def read(scalars: Mapping[str, Sequence[Tensor]]) -> dict[str, list[float]]:
    """Returns the values of scalars by name, read from their device once."""
    return {name: torch.stack(list(values)).tolist() for name, values in scalars.items()}


def mean(values: Sequence[float]) -> float:
    """Returns the mean of at least one value, which may be infinite or not a number."""
    return (math.fsum(values) if all(map(math.isfinite, values)) else sum(values)) / len(values)
