"""One ``fit`` of several clients: their steps, each on the stacked weights of all."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from client.batched.cuda_graph import Record, RecordedStep, Tensors
from client.batched.stacked_trainer import Request, Result, StackedTrainer, caught
from client.batched.vectorised import Generators, vectorised
from client.step_average import take_together
from common.objectives import Batch, Phase
from common.optimisers import step_together

_DRAWS = "draws."


class FunctionalNetworks(nn.ModuleDict):
    """Networks that borrow the weights which they are called with."""

    def forward(self, loss: Callable[..., Any], batch: Batch) -> Any:
        """Returns ``loss`` of the networks."""
        return loss(dict(self.items()), batch)


@dataclass
class GraphCache:
    """What has been recorded of the steps of some stacked weights.

    Attributes:
        record: Records a computation; None: nothing is recorded.
        steps: RecordedStep local steps, by all that their course depends on.
        rates: Of the networks, float32 scalars that recorded steps read.
    """

    record: Record | None = None
    steps: dict[object, RecordedStep] = field(default_factory=dict)
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


class BatchedFit:
    """One ``fit`` of several clients.

    Where that is possible, all local steps but the first are replayed from a ``GraphCache``: with neither a loss nor a
    hook of the client's, nor draws inside of losses, which depend on the step in a way that is known
    (``Phase.period``).

    Args:
        functional: The networks.
        weights: Of all rows.
        members: The clients at hand, on the first rows.
        requests: Theirs, all of one kind.
        graphs: Recorded steps of these weights.
    """

    def __init__(
        self,
        functional: FunctionalNetworks,
        weights: Mapping[str, Tensor],
        members: Sequence[StackedTrainer],
        requests: Sequence[Request],
        graphs: GraphCache,
    ) -> None:
        self._functional, self._all, self._members, self._requests, self._graphs = (
            functional,
            weights,
            members,
            requests,
            graphs,
        )
        self._names = {
            network: [f"{network}.{key}" for key, _ in module.named_parameters()]
            for network, module in members[0].networks.items()
        }
        self._device = next(iter(weights.values())).device
        self._take_weights()

    def run(self) -> list[Result]:
        """Trains, and returns what each client gets."""
        start = time.perf_counter()
        schedule = self._members[0].schedule(self._requests[0].networks)
        losses: dict[str, list[Tensor]] = {}
        diagnostics: dict[str, list[Tensor]] = {}
        supply = self._supply(schedule)
        per_step = len(schedule) // self._members[0].num_steps
        averages = [average for member in self._members if (average := member.begin_average()) is not None]
        recordable = self._graphs.record is not None
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
            if averages:
                take_together(averages)
        columns = [{key: torch.stack(values).cpu() for key, values in found.items()} for found in (losses, diagnostics)]
        seconds = (time.perf_counter() - start) / len(self._members)
        return [
            caught(
                member.summary,
                schedule,
                *({key: list(values[:, k]) for key, values in found.items()} for found in columns),
                seconds,
            )
            for k, member in enumerate(self._members)
        ]

    def _supply(self, schedule: Sequence[Phase]) -> Iterator[_Supply]:
        draws = [member.drawn(schedule, request) for member, request in zip(self._members, self._requests, strict=True)]
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
        self._weights = {key: value[: len(self._members)].detach() for key, value in self._all.items()}

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
        graphs = self._graphs
        assert graphs.record is not None
        for name, stepper in self._members[0].steppers.items():
            rate = graphs.rates.setdefault(name, torch.zeros((), device=self._device))
            rate.fill_(stepper.learning_rate)
        turns = tuple(given.step % (phase.period or 1) for phase, given in zip(phases, supply, strict=True))
        key = len(self._members), self._requests[0].kind, turns
        inputs = [given.tensors for given in supply]
        if key not in graphs.steps:

            def compute(tensors: Sequence[Tensors]) -> list[tuple[Tensor, Tensors]]:
                self._take_weights()  # leaves that no earlier stream has seen
                given = [_Supply(own, entry.generators, entry.step) for own, entry in zip(tensors, supply, strict=True)]
                return self._pass(phases, given, graphs.rates)[0]

            graphs.steps[key] = RecordedStep(graphs.record, compute, inputs)
        found: list[tuple[Tensor, Tensors]] = graphs.steps[key](inputs)
        return found

    def _freeze_all_but(self, networks: set[str]) -> None:
        for network, names in self._names.items():
            for name in names:
                self._weights[name].requires_grad_(network in networks)
        if self._requests[0].extra_loss is not None:
            for member in self._members:
                member.freeze_all_but(networks)

    def _step(
        self, phase: Phase, given: _Supply, kept: Tensors, rates: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensors, Tensors]:
        def alone(weights: Any, tensors: Any, kept: Any) -> Any:
            draws = {name.removeprefix(_DRAWS): value for name, value in tensors.items() if name.startswith(_DRAWS)}
            batch = Batch(
                tensors["examples"], tensors["labels"], draws, given.generators, step=given.step, carry=dict(kept)
            )
            loss, watched = torch.func.functional_call(self._functional, weights, (phase.loss, batch))
            return loss, watched, batch.carry

        with self._members[0].autocast():
            losses, watched, kept = vectorised(alone)(self._weights, given.tensors, kept)
        losses = losses.float()
        losses.sum().backward()
        losses = losses.detach()
        for network in phase.networks:
            self._hand_out_gradients(network)
            if self._requests[0].extra_loss is not None:
                losses = losses + self._add_extra_losses(network)
        for network in phase.networks:
            for member, request in zip(self._members, self._requests, strict=True):
                if request.gradient_hook is not None:
                    request.gradient_hook(network, member.networks[network])
            step_together(
                [member.steppers[network] for member in self._members], None if rates is None else rates[network]
            )
            if phase.after is not None:
                with torch.no_grad():
                    for member in self._members:
                        phase.after(member.networks[network])
        return losses, watched, kept

    def _hand_out_gradients(self, network: str) -> None:
        """Gives every client's parameters its row of the gradients."""
        owners = zip(*(member.networks[network].parameters() for member in self._members), strict=True)
        for name, parameters in zip(self._names[network], owners, strict=True):
            gradient = self._weights[name].grad
            self._weights[name].grad = None
            rows = [None] * len(parameters) if gradient is None else gradient.unbind()
            for parameter, row in zip(parameters, rows, strict=True):
                parameter.grad = row

    def _add_extra_losses(self, network: str) -> Tensor:
        """Adds the gradients of every client's extra loss, and returns these losses (N,)."""
        values = []
        for member, request in zip(self._members, self._requests, strict=True):
            assert request.extra_loss is not None
            value = request.extra_loss(network, member.networks[network])
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
            values.append(value.detach())
        return torch.stack(values)
