"""One ``fit`` of several clients: their steps, each on the stacked weights of all."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from client.batched.cuda_graph import Record, Recorded, Tensors
from client.batched.stacked_trainer import Request, Result, Seat, caught
from client.batched.vectorised import Generators, vectorised
from common.objectives import Batch, Phase
from common.optimisers import step_together

_DRAWS = "draws."


class Skeleton(nn.ModuleDict):
    """Networks that borrow the weights which they are called with."""

    def forward(self, loss: Callable[..., Any], batch: Batch) -> Any:
        """Returns ``loss`` of the networks."""
        return loss(dict(self.items()), batch)


@dataclass
class Tape:
    """What a table has recorded of its steps.

    Attributes:
        record: Records a computation; None: nothing is recorded.
        steps: Recorded local steps, by all that their course depends on.
        rates: Of the networks, float32 scalars that recorded steps read.
    """

    record: Record | None = None
    steps: dict[object, Recorded] = field(default_factory=dict)
    rates: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class _Supply:
    """What one phase of all clients takes: batches (N, ...); the very dictionary of before if it is reused."""

    tensors: Tensors
    generators: Generators
    step: int


def _tensors_of(batch: Batch) -> Tensors:
    """Returns all tensors of a batch by name."""
    return {"examples": batch.examples, "labels": batch.labels} | {
        f"{_DRAWS}{name}": value for name, value in batch.draws.items()
    }


class Fit:
    """One ``fit`` of several clients.

    Where that is possible, all local steps but the first are played from a ``Tape``: with neither a loss nor a hook of
    the client's, nor draws inside of losses, which depend on the step in a way that is known (``Phase.period``).

    Args:
        skeleton: The networks.
        weights: Of all seats of the table.
        seats: The clients at hand, on the first rows.
        requests: Theirs, all of one kind.
        tape: The table's.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        weights: Mapping[str, Tensor],
        seats: Sequence[Seat],
        requests: Sequence[Request],
        tape: Tape,
    ) -> None:
        self._skeleton, self._all, self._seats, self._requests, self._tape = skeleton, weights, seats, requests, tape
        self._names = {
            network: [f"{network}.{key}" for key, _ in module.named_parameters()]
            for network, module in seats[0].networks.items()
        }
        self._device = next(iter(weights.values())).device
        self._take_weights()

    def run(self) -> list[Result]:
        """Trains, and returns what each client gets."""
        start = time.perf_counter()
        schedule = self._seats[0].schedule(self._requests[0].networks)
        losses: dict[str, list[Tensor]] = {}
        diagnostics: dict[str, list[Tensor]] = {}
        supply = self._supply(schedule)
        per_step = len(schedule) // self._seats[0].num_steps
        recordable = self._tape.record is not None
        for begin in range(0, len(schedule), per_step):
            phases = schedule[begin : begin + per_step]
            if begin and recordable:
                found = self._replay(phases, list(itertools.islice(supply, per_step)))
            else:
                found, drew = self._pass(phases, supply)
                recordable = recordable and not drew and self._is_steady(phases)
            for phase, (loss, watched) in zip(phases, found, strict=True):
                losses.setdefault(phase.loss_name, []).append(loss)
                for key, value in watched.items():
                    diagnostics.setdefault(key, []).append(value)
        columns = [{key: torch.stack(values).cpu() for key, values in found.items()} for found in (losses, diagnostics)]
        seconds = (time.perf_counter() - start) / len(self._seats)
        return [
            caught(
                seat.summary,
                schedule,
                *({key: list(values[:, k]) for key, values in found.items()} for found in columns),
                seconds,
            )
            for k, seat in enumerate(self._seats)
        ]

    def _supply(self, schedule: Sequence[Phase]) -> Iterator[_Supply]:
        draws = [seat.drawn(schedule, request) for seat, request in zip(self._seats, self._requests, strict=True)]
        last: Batch | None = None
        tensors: Tensors = {}
        for batches in zip(*draws, strict=True):
            if last is None or batches[0].carry is not last.carry:  # else the phase reuses the batch before
                rows = [_tensors_of(batch) for batch in batches]
                tensors = {
                    name: torch.stack([row[name] for row in rows]).to(self._device, non_blocking=True)
                    for name in rows[0]
                }
            last = batches[0]
            yield _Supply(tensors, Generators([batch.generator for batch in batches]), last.step)

    def _take_weights(self) -> None:
        self._weights = {key: value[: len(self._seats)].detach() for key, value in self._all.items()}

    def _pass(
        self, phases: Sequence[Phase], supply: Iterable[_Supply], rates: Mapping[str, Tensor] | None = None
    ) -> tuple[list[tuple[Tensor, Tensors]], bool]:
        """Runs the phases of one local step.

        Returns:
            Loss (N,) and what is worth watching of every phase, and whether any of the losses drew numbers.
        """
        found, drew = [], False
        before: Tensors | None = None
        kept: Tensors = {}
        for phase, after, given in zip(phases, [*phases[1:], None], supply, strict=False):
            if given.tensors is not before:
                kept = {}
            before = given.tensors
            self._freeze_all_but({*phase.networks, *(after.networks if after and after.reuses_batch else ())})
            loss, watched, kept = self._step(phase, given, kept, rates)
            found.append((loss, watched))
            drew = drew or given.generators.used
        return found, drew

    def _is_steady(self, phases: Sequence[Phase]) -> bool:
        request = self._requests[0]
        plain = request.extra_loss is None and request.gradient_hook is None
        return plain and not phases[0].reuses_batch and all(phase.period is not None for phase in phases)

    def _replay(self, phases: Sequence[Phase], supply: Sequence[_Supply]) -> list[tuple[Tensor, Tensors]]:
        tape = self._tape
        assert tape.record is not None
        for name, stepper in self._seats[0].steppers.items():
            rate = tape.rates.setdefault(name, torch.zeros((), device=self._device))
            rate.fill_(stepper.learning_rate)
        turns = tuple(given.step % (phase.period or 1) for phase, given in zip(phases, supply, strict=True))
        key = len(self._seats), self._requests[0].kind, turns
        inputs = [given.tensors for given in supply]
        if key not in tape.steps:

            def compute(tensors: Sequence[Tensors]) -> list[tuple[Tensor, Tensors]]:
                self._take_weights()  # leaves that no earlier stream has seen
                given = [_Supply(own, entry.generators, entry.step) for own, entry in zip(tensors, supply, strict=True)]
                return self._pass(phases, given, tape.rates)[0]

            tape.steps[key] = Recorded(tape.record, compute, inputs)
        found: list[tuple[Tensor, Tensors]] = tape.steps[key](inputs)
        return found

    def _freeze_all_but(self, networks: set[str]) -> None:
        for network, names in self._names.items():
            for name in names:
                self._weights[name].requires_grad_(network in networks)
        if self._requests[0].extra_loss is not None:
            for seat in self._seats:
                seat.freeze_all_but(networks)

    def _step(
        self, phase: Phase, given: _Supply, kept: Tensors, rates: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensors, Tensors]:
        def alone(weights: Any, tensors: Any, kept: Any) -> Any:
            draws = {name.removeprefix(_DRAWS): value for name, value in tensors.items() if name.startswith(_DRAWS)}
            batch = Batch(
                tensors["examples"], tensors["labels"], draws, given.generators, step=given.step, carry=dict(kept)
            )
            loss, watched = torch.func.functional_call(self._skeleton, weights, (phase.loss, batch))
            return loss, watched, batch.carry

        with self._seats[0].autocast():
            losses, watched, kept = vectorised(alone)(self._weights, given.tensors, kept)
        losses = losses.float()
        losses.sum().backward()
        losses = losses.detach()
        for network in phase.networks:
            self._hand_out_gradients(network)
            if self._requests[0].extra_loss is not None:
                losses = losses + self._add_extra_losses(network)
        for network in phase.networks:
            for seat, request in zip(self._seats, self._requests, strict=True):
                if request.gradient_hook is not None:
                    request.gradient_hook(network, seat.networks[network])
            step_together([seat.steppers[network] for seat in self._seats], None if rates is None else rates[network])
            if phase.after is not None:
                with torch.no_grad():
                    for seat in self._seats:
                        phase.after(seat.networks[network])
        return losses, watched, kept

    def _hand_out_gradients(self, network: str) -> None:
        """Gives every client's parameters its row of the gradients."""
        owners = zip(*(seat.networks[network].parameters() for seat in self._seats), strict=True)
        for name, parameters in zip(self._names[network], owners, strict=True):
            gradient = self._weights[name].grad
            self._weights[name].grad = None
            rows = [None] * len(parameters) if gradient is None else gradient.unbind()
            for parameter, row in zip(parameters, rows, strict=True):
                parameter.grad = row

    def _add_extra_losses(self, network: str) -> Tensor:
        """Adds the gradients of every client's extra loss, and returns these losses (N,)."""
        values = []
        for seat, request in zip(self._seats, self._requests, strict=True):
            assert request.extra_loss is not None
            value = request.extra_loss(network, seat.networks[network])
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
            values.append(value.detach())
        return torch.stack(values)
