"""One ``fit`` of several clients: their steps, each on the stacked weights of all."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from client.batched.cuda_graph import GraphCache
from client.batched.joint_steps import JointSteps, agree
from client.batched.stacked_trainer import Request, Result, StackedTrainer, caught
from client.batched.step_buffers import DRAWS, ExamplePool, StepBuffers, Tensors, stacked
from client.batched.weight_copies import WeightCopies
from client.functional.borrowing import BorrowingNetworks
from client.functional.vectorised import Generators, vectorised
from client.step_average import StepAverage
from client.steps import first_counts, needed_networks, takes_own_batch
from common.objectives import Batch, Phase
from common.optimisers import step_together
from common.tree import select


class BatchedFit:
    """One ``fit`` of several clients, without Python for each of them in a step.

    Where that is possible, local steps are replayed from a ``GraphCache``: with neither a loss nor a hook of the
    client's, nor draws inside of losses, which depend on the step in a way that is known (``Phase.period``).

    Args:
        functional: The networks.
        weights: Of all rows.
        joint: Slots of all rows, by network; empty: the optimiser steps each client by itself.
        pool: Where the clients' examples are gathered.
        members: The clients at hand, on the first rows.
        requests: Theirs, all of one kind.
        graphs: Recorded steps of these weights.
        copies: What clients take their trained weights from.
    """

    def __init__(
        self,
        functional: BorrowingNetworks,
        weights: Mapping[str, Tensor],
        joint: Mapping[str, JointSteps],
        pool: ExamplePool,
        members: Sequence[StackedTrainer],
        requests: Sequence[Request],
        graphs: GraphCache,
        copies: WeightCopies,
    ) -> None:
        self._functional, self._all, self._pool, self._copies = functional, weights, pool, copies
        self._members, self._requests, self._graphs = members, requests, graphs
        self._device = next(iter(weights.values())).device
        self._phases = members[0].step_phases(requests[0].networks)
        self._needed, self._fresh = needed_networks(self._phases), takes_own_batch(self._phases)
        self._counts = first_counts(members[0].round, self._phases, members[0].num_steps)
        self._losses = {phase.loss_name for phase in self._phases}
        self._is_plain = requests[0].extra_loss is None and requests[0].gradient_hook is None
        scalars = [value for own in joint.values() for value in own.scalars(len(members))]
        self._joint = joint if self._is_plain and agree(scalars) else {}
        self._generators = Generators(())
        self._take_weights()

    def run(self) -> list[Result]:
        """Trains, and returns what each client gets."""
        start = time.perf_counter()
        for joint in self._joint.values():
            joint.begin()
        average = self._begin_average()
        found = self._train(average)
        for joint in self._joint.values():
            joint.end(len(self._members))
        if average is not None:
            for k, member in enumerate(self._members):
                member.keep_average(average.row(k))
        for member, copy in zip(self._members, self._copies.take(self._weights), strict=True):
            member.keep_copy(copy)
        return self._results(found, time.perf_counter() - start)

    def _train(self, average: StepAverage | None) -> list[Tensors]:
        """Takes all steps; returns what they have given, by block of steps."""
        found: list[Tensors] = []
        for first, num_steps, buffers in self._step_buffers():
            is_at = False  # whether the buffers' own count of steps is that of the step at hand
            for number in range(num_steps):
                is_at = self._step(buffers, first + number, number, is_at)
                if average is not None:
                    average.take()
            found.append(buffers.found(num_steps))
        return found

    def _results(self, found: Sequence[Tensors], seconds: float) -> list[Result]:
        """Returns each client's means; waits for the device, once."""
        names = list(found[0])
        columns = [torch.cat([block[name] for block in found]).double() for name in names]
        lengths = [len(column) for column in columns]
        rows = torch.cat(columns).cpu().T.tolist()
        ends = list(itertools.accumulate(lengths, initial=0))
        results = []
        for member, values in zip(self._members, rows, strict=True):
            own = {name: values[a:b] for name, (a, b) in zip(names, itertools.pairwise(ends), strict=True)}
            losses = {name: column for name, column in own.items() if name in self._losses}
            rest = {name: column for name, column in own.items() if name not in self._losses}
            results.append(caught(member.summary, self._phases, losses, rest, seconds / len(self._members)))
        return results

    def _begin_average(self) -> StepAverage | None:
        decay = self._members[0].average_decay
        if decay is None:
            return None
        weights = {key: value[: len(self._members)] for key, value in self._all.items()}
        return StepAverage(select(weights, self._members[0].roles.published), decay)

    def _step_buffers(self) -> Iterator[tuple[int, int, StepBuffers]]:
        """Yields the buffers of each block of steps, with the first of them and their number."""
        places = self._pool.place([member.examples for member in self._members])
        generators, blocks = zip(
            *(
                member.blocks(self._phases, request)
                for member, request in zip(self._members, self._requests, strict=True)
            ),
            strict=True,
        )
        self._generators = Generators(generators)
        key = len(self._members), self._requests[0].kind
        self._graphs.read_from(self._pool.address)
        for own in zip(*blocks, strict=True):
            first, num_steps, drawn = stacked(own, places, self._device)
            if self._graphs.record is None:
                yield first, num_steps, StepBuffers(self._pool, drawn, num_steps)
                continue
            buffers = self._graphs.buffers.get(key)
            if buffers is not None and buffers.fits(drawn):
                buffers.fill(drawn)
            else:
                self._graphs.steps.clear()  # they know the memory of buffers before
                buffers = self._graphs.buffers[key] = StepBuffers(self._pool, drawn, num_steps)
            yield first, num_steps, buffers

    def _take_weights(self) -> None:
        self._weights = {key: value[: len(self._members)].detach() for key, value in self._all.items()}
        self._of_network = {
            network: {key: self._weights[f"{network}.{key}"] for key, _ in module.named_parameters()}
            for network, module in self._functional.items()
        }

    def _step(self, buffers: StepBuffers, step: int, number: int, is_at: bool) -> bool:
        """Runs a local step: the phases, on the batches of the buffers' step ``number``; returns ``is_at`` after."""
        counts = [self._count(phase) for phase in self._phases]
        turns = tuple(count % (phase.period or 1) for count, phase in zip(counts, self._phases, strict=True))
        key = len(self._members), self._requests[0].kind, bool(self._joint), turns
        graphs = self._graphs
        if graphs.record is None or not self._is_steady() or (step == 0 and key not in graphs.steps):
            self._pass(buffers, counts, number, None)
            return False
        if key not in graphs.steps:

            def compute() -> None:
                self._take_weights()  # leaves that no earlier stream has seen
                self._pass(buffers, counts, None, graphs.rates)
                buffers.at.add_(1)

            graphs.set_rates(self._members[0].steppers, self._device)
            graphs.steps[key] = graphs.record(compute)
        if step == 0 or not is_at:
            graphs.set_rates(self._members[0].steppers, self._device)
            buffers.at.fill_(number)
        graphs.steps[key]()
        return True

    def _count(self, phase: Phase) -> int:
        self._counts[phase.name] += 1
        return self._counts[phase.name] - 1

    def _is_steady(self) -> bool:
        """Returns whether steps may be recorded."""
        return (
            self._is_plain
            and not self._generators.used
            and self._pool.is_resident
            and all(phase.period is not None for phase in self._phases)
        )

    def _pass(
        self, buffers: StepBuffers, counts: Sequence[int], number: int | None, rates: Mapping[str, Tensor] | None
    ) -> None:
        """Runs the phases of one local step."""
        scalars: dict[str, list[Tensor]] = {}
        turns: Counter[str] = Counter()
        tensors: Tensors = {}
        kept: Tensors = {}
        for phase, needed, own, count in zip(self._phases, self._needed, self._fresh, counts, strict=True):
            if own:
                tensors, kept = buffers.batch(phase.name, turns[phase.name], number), {}
                turns[phase.name] += 1
            self._freeze_all_but(needed)
            loss, watched, kept = self._phase(phase, tensors, kept, count, rates)
            for name, values in {phase.loss_name: loss, **watched}.items():
                scalars.setdefault(name, []).append(values)
        buffers.write(scalars, number)

    def _freeze_all_but(self, networks: frozenset[str]) -> None:
        for network, weights in self._of_network.items():
            for value in weights.values():
                value.requires_grad_(network in networks)
        if self._requests[0].extra_loss is not None:
            for member in self._members:
                member.freeze_all_but(networks)

    def _phase(
        self, phase: Phase, tensors: Tensors, kept: Tensors, step: int, rates: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensors, Tensors]:
        def alone(weights: Any, tensors: Any, kept: Any) -> Any:
            draws = {name.removeprefix(DRAWS): value for name, value in tensors.items() if name.startswith(DRAWS)}
            batch = Batch(tensors["examples"], tensors["labels"], draws, self._generators, step=step, carry=dict(kept))
            with self._functional.borrowing(weights) as networks:
                loss, watched = phase.loss(networks, batch)
            return loss, watched, batch.carry

        with self._members[0].autocast():
            losses, watched, kept = vectorised(alone)(self._weights, tensors, kept)
        losses = losses.float()
        losses.sum().backward()
        return self._move(phase, losses.detach(), rates), watched, kept

    def _move(self, phase: Phase, losses: Tensor, rates: Mapping[str, Tensor] | None) -> Tensor:
        """Steps the networks of a phase by their gradients; returns its losses (N,), with clients' own added."""
        if not self._joint:
            for network in phase.networks:
                self._hand_out_gradients(network)
                if self._requests[0].extra_loss is not None:
                    losses = losses + self._add_extra_losses(network)
        for network in phase.networks:
            rate = None if rates is None else rates[network]
            if self._joint:
                self._joint[network].step(self._of_network[network], self._rate(network) if rate is None else rate)
            else:
                self._step_each(network, rate)
            for value in self._of_network[network].values():
                value.grad = None
            if phase.after is not None:
                self._after(phase.after, network)
        return losses

    def _rate(self, network: str) -> float:
        return self._members[0].steppers[network].learning_rate

    def _step_each(self, network: str, rate: Tensor | None) -> None:
        """Steps the network of each client by itself."""
        for member, request in zip(self._members, self._requests, strict=True):
            if request.gradient_hook is not None:
                request.gradient_hook(network, member.networks[network])
        step_together([member.steppers[network] for member in self._members], rate)

    def _after(self, after: Callable[[nn.Module], None], network: str) -> None:
        def alone(weights: Any) -> Any:
            with self._functional.borrowing(weights) as networks:
                after(networks[network])
            return next(iter(weights.values()))

        with torch.no_grad():
            vectorised(alone)({key: value.detach() for key, value in self._weights.items()})

    def _hand_out_gradients(self, network: str) -> None:
        """Gives every client's parameters its row of the gradients."""
        owners = zip(*(member.networks[network].parameters() for member in self._members), strict=True)
        for value, parameters in zip(self._of_network[network].values(), owners, strict=True):
            rows = [None] * len(parameters) if value.grad is None else value.grad.unbind()
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
