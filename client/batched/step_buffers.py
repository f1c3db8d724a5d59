"""Buffers on a device for the steps of several clients: their examples and draws, and the scalars that they give."""

from collections.abc import Sequence

import torch
from torch import Tensor

from client.batches import Block, Drawn
from client.device_memory import numbered, resident, take
from common.examples import ExampleSet, ExampleSpec

Tensors = dict[str, Tensor]
DRAWS = "draws."


class ExamplePool:
    """The examples of several clients on one device, as they are stored.

    Clients whose examples are parts of one data set share it there. Those of other clients are copied, at every
    ``place``, to memory that stays where it is unless they become more.

    Args:
        spec: Of the examples.
        device: Where they are gathered.
    """

    def __init__(self, spec: ExampleSpec, device: torch.device) -> None:
        self._spec, self._device = spec, numbered(device)
        self._stored, self._labels = torch.empty(0), torch.empty(0)
        self._own: tuple[Tensor, Tensor] | None = None

    @property
    def is_resident(self) -> bool:
        """Whether the examples are on the device, and not too many for it."""
        return self._stored.device == self._labels.device == self._device

    @property
    def address(self) -> tuple[int, int]:
        """Where in memory the examples and labels begin."""
        return self._stored.data_ptr(), self._labels.data_ptr()

    def place(self, sets: Sequence[ExampleSet]) -> list[Tensor | int]:
        """Takes in the examples of clients.

        Returns:
            For each, its places (N,) here, or the first of them where they follow each other.
        """
        stored, labels, places = zip(*(own.located() for own in sets), strict=True)
        if all(one is stored[0] for one in stored) and all(one is labels[0] for one in labels):
            self._stored, self._labels = resident(stored[0], self._device), resident(labels[0], self._device)
            return [0 if rows is None else rows for rows in places]
        ends = torch.tensor([len(own) for own in sets]).cumsum(0).tolist()
        if self._own is None or len(self._own[1]) < ends[-1]:
            shape = ends[-1], *stored[0].shape[1:]
            self._own = (
                torch.empty(shape, dtype=stored[0].dtype, device=self._device),
                torch.empty(ends[-1], dtype=torch.int64, device=self._device),
            )
        self._stored, self._labels = self._own
        starts = [0, *ends[:-1]]
        for own, start, end in zip(sets, starts, ends, strict=True):
            self._stored[start:end].copy_(own.stored, non_blocking=True)
            self._labels[start:end].copy_(own.labels, non_blocking=True)
        return list(starts)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the examples (N, B, ...) at ``places`` (N, B), as networks take them, and their labels (N, B)."""
        flat = places.flatten()
        examples = self._spec.to_input(take(self._stored, flat))
        return examples.reshape(*places.shape, *examples.shape[1:]), take(self._labels, flat).view_as(places)


class StepBuffers:
    """A block of steps of N clients: what their batches are made of, and the scalars that they give.

    Args:
        pool: Where the examples are.
        drawn: By phase, (steps * K, N, B) and so on: its K batches of each step.
        num_steps: The steps of the block.
    """

    def __init__(self, pool: ExamplePool, drawn: dict[str, Drawn], num_steps: int) -> None:
        self._pool, self._drawn, self._num_steps = pool, drawn, num_steps
        self._found: Tensors = {}
        device = next(iter(drawn.values())).chosen.device
        self.at = torch.zeros(1, dtype=torch.int64, device=device)

    def fill(self, drawn: dict[str, Drawn]) -> None:
        """Writes over what a block of as many steps, or more, was made of."""
        for name, own in drawn.items():
            for place, value in zip(_tensors(self._drawn[name]), _tensors(own), strict=True):
                place[: len(value)].copy_(value, non_blocking=True)

    def fits(self, drawn: dict[str, Drawn]) -> bool:
        """Returns whether ``fill`` can write these over its own."""
        return drawn.keys() == self._drawn.keys() and all(
            own.draws.keys() == self._drawn[name].draws.keys()
            and all(
                len(value) <= len(place) and value.shape[1:] == place.shape[1:] and value.dtype == place.dtype
                for place, value in zip(_tensors(self._drawn[name]), _tensors(own), strict=True)
            )
            for name, own in drawn.items()
        )

    def batch(self, phase: str, turn: int, step: int | None) -> Tensors:
        """Returns the tensors of a batch of each client, (N, B, ...).

        Args:
            phase: Whose batch.
            turn: Which one of the step.
            step: Of the block; None: the one that ``at`` says on the device.
        """
        drawn = self._drawn[phase]
        per_step = len(drawn.chosen) // self._num_steps

        def here(value: Tensor) -> Tensor:
            if step is not None:
                return value[step * per_step + turn]
            return value.index_select(0, self.at * per_step + turn).squeeze(0)

        examples, labels = self._pool.take(here(drawn.chosen))
        draws = {f"{DRAWS}{name}": here(value) for name, value in drawn.draws.items()}
        return {"examples": examples, "labels": labels, **draws}

    def write(self, scalars: dict[str, list[Tensor]], step: int | None) -> None:
        """Keeps what a step has given: by name K tensors (N,)."""
        for name, values in scalars.items():
            rows = values[0].unsqueeze(0) if len(values) == 1 else torch.stack(values)
            if name not in self._found:
                self._found[name] = torch.zeros(self._num_steps, *rows.shape, dtype=rows.dtype, device=rows.device)
            if step is None:
                self._found[name].index_copy_(0, self.at, rows.unsqueeze(0))
            else:
                self._found[name][step] = rows

    def found(self, num_steps: int) -> Tensors:
        """Returns a copy of what the first steps have given: by name (steps * K, N)."""
        return {name: values[:num_steps].flatten(0, 1).clone() for name, values in self._found.items()}


def stacked(
    blocks: Sequence[Block], places: Sequence[Tensor | int], device: torch.device
) -> tuple[int, int, dict[str, Drawn]]:
    """Returns the first step of a block of each client, their number, and what the clients' batches are made of.

    Args:
        blocks: One a client, of the same steps and phases.
        places: See ``ExamplePool.place``.
        device: Where to.
    """
    leader, drawn = blocks[0], {}
    for name in leader.phases:
        own = [block.phases[name] for block in blocks]
        chosen = [
            each.chosen + where if isinstance(where, int) else where[each.chosen]
            for each, where in zip(own, places, strict=True)
        ]
        drawn[name] = Drawn(
            torch.stack(chosen, 1).to(device, non_blocking=True),
            {
                draw: torch.stack([each.draws[draw] for each in own], 1).to(device, non_blocking=True)
                for draw in own[0].draws
            },
        )
    return leader.first, leader.num_steps, drawn


def _tensors(drawn: Drawn) -> list[Tensor]:
    return [drawn.chosen, *drawn.draws.values()]
