"""Several clients trained as one computation: the second backend of the trainer.

A ``Seat`` is a trainer whose weights are a row of the stacked weights of a ``Table``; a table trains all its seats at
once (``torch.func``). Algorithms, objectives and networks see a trainer as any other, and know nothing of it.

Every client draws the numbers that it draws alone, in the same order, and has its own losses, moments and errors. A
batched kernel takes its sums in another order than a single one, so weights are those of the loop up to rounding, not
to the bit.

What cannot be batched is trained one client after another, to the bit as in the loop: a client by itself, clients that
ask for different things, and networks or losses that ``torch.func`` has no rule for, which is said once.
"""

import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from client.trainer import Trainer
from client.vectorised import Generators, vectorised
from common.adam import step_together
from common.objectives import Batch, Phase
from common.tree import Tree

log = logging.getLogger("fedgan.client")

_STACKED = tuple(field.name for field in fields(Batch) if field.name not in ("generator", "step", "kept"))

Result = dict[str, float] | Exception
"""What a client gets of ``fit``: its means, or what to raise."""


@dataclass(frozen=True)
class Request:
    """What a client asks of ``fit``; see ``LocalTrainer``."""

    networks: tuple[str, ...] | None = None
    fakes: tuple[Tensor, Tensor] | None = None
    extra_loss: Callable[[str, nn.Module], Tensor] | None = None
    gradient_hook: Callable[[str, nn.Module], None] | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What must be equal for clients to be trained together."""
        return self.networks, self.fakes is None, self.extra_loss is None, self.gradient_hook is None


class Seat(Trainer):
    """A trainer at a table.

    Args:
        number: Its row in the table's weights, from 0.
        fit: Trains it together with others, for the clients that call the method of this name.
        make: The arguments of ``Trainer``.
    """

    def __init__(self, number: int, fit: Callable[["Seat", Request], dict[str, float]], make: tuple[Any, ...]) -> None:
        super().__init__(*make)
        self.number, self._fit = number, fit
        self.networks, self.optimizers = self._networks, self._optimizers
        self._modules = nn.ModuleDict(self._networks)

    def fit(
        self,
        *,
        networks: Sequence[str] | None = None,
        fakes: tuple[Tensor, Tensor] | None = None,
        extra_loss: Callable[[str, nn.Module], Tensor] | None = None,
        gradient_hook: Callable[[str, nn.Module], None] | None = None,
    ) -> dict[str, float]:
        asked = None if networks is None else tuple(networks)
        return self._fit(self, Request(asked, fakes, extra_loss, gradient_hook))

    def fit_alone(self, request: Request) -> dict[str, float]:
        """Trains this client by itself, in the loop."""
        return super().fit(**{field.name: getattr(request, field.name) for field in fields(request)})

    def terms(self) -> tuple[object, ...]:
        """Returns what must be equal for clients to be trained together, beside what they ask for."""
        return self._assigned.round, *(optimizer.learning_rate for optimizer in self.optimizers.values())

    def drawn(self, schedule: Sequence[Phase], request: Request) -> Iterator[Batch]:
        """Yields a batch for each phase, on the CPU, whence those of all clients go to their device together."""
        return self._batches(schedule, request.fakes, torch.device("cpu"))

    def take_back(self, weights: Tree, moments: Tree) -> None:
        """Goes back to what ``parameters`` and ``moments`` returned."""
        self.load(weights)
        torch._foreach_copy_(list(self._slots.values()), [moments[key] for key in self._slots])

    def move_to(self, weights: Mapping[str, Tensor]) -> None:
        """Keeps its weights and buffers in its row of ``weights`` (N, ...) from here on."""
        for key, value in itertools.chain(self._modules.named_parameters(), self._modules.named_buffers()):
            row = weights[key][self.number]
            row.copy_(value.detach())
            value.data = row
        self._state = self._modules.state_dict()


class Table:
    """The stacked weights of some seats.

    Args:
        num_seats: Most clients at a time.
        make: The arguments of ``Trainer``.
    """

    def __init__(self, num_seats: int, make: tuple[Any, ...]) -> None:
        self._num_seats, self._make = num_seats, make
        self._weights: dict[str, Tensor] = {}
        self._skeleton = _Skeleton()
        self._proven: set[tuple[object, ...]] = set()  # kinds of requests that have been trained together
        self._refused: set[tuple[object, ...]] = set()

    def seat(self, number: int, fit: Callable[[Seat, Request], dict[str, float]]) -> Seat:
        """Returns a new trainer for a row of the weights."""
        seat = Seat(number, fit, self._make)
        if not self._weights:
            self._skeleton = _Skeleton(seat.networks)
            self._weights = {
                key: torch.empty((self._num_seats, *value.shape), dtype=value.dtype, device=value.device)
                for key, value in self._skeleton.state_dict().items()
            }
        seat.move_to(self._weights)
        return seat

    def fit(self, seats: Sequence[Seat], requests: Sequence[Request]) -> list[Result]:
        """Trains clients, together where that is possible; in ascending order of their seats."""
        kinds = {(*request.kind, *seat.terms()) for seat, request in zip(seats, requests, strict=True)}
        first_rows = [seat.number for seat in seats] == list(range(len(seats)))
        if len(seats) > 1 and len(kinds) == 1 and first_rows and requests[0].kind not in self._refused:
            results = self._try_together(seats, requests)
            if results is not None:
                return results
        return [_alone(seat, request) for seat, request in zip(seats, requests, strict=True)]

    def _try_together(self, seats: Sequence[Seat], requests: Sequence[Request]) -> list[Result] | None:
        kind = requests[0].kind
        kept = [] if kind in self._proven else [(seat.parameters(), seat.moments()) for seat in seats]
        try:
            results = _Fit(self._skeleton, self._weights, seats, requests).run()
        except Exception as error:
            if not kept:
                return [error for _ in seats]
            for seat, (weights, moments) in zip(seats, kept, strict=True):
                seat.take_back(weights, moments)
            self._refused.add(kind)
            _say_once(f"{type(error).__name__}: {error}".partition("\n")[0])
            return None
        self._proven.add(kind)
        return results


class _Skeleton(nn.ModuleDict):
    """Networks that borrow the weights which they are called with."""

    def forward(self, loss: Callable[..., Any], batch: Batch) -> Any:
        """Returns ``loss`` of the networks."""
        return loss(dict(self.items()), batch)


class _Fit:
    """One ``fit`` of several clients.

    Args:
        skeleton: The networks.
        weights: Of all seats of the table.
        seats: The clients at hand, on the first rows.
        requests: Theirs, all of one kind.
    """

    def __init__(
        self,
        skeleton: _Skeleton,
        weights: Mapping[str, Tensor],
        seats: Sequence[Seat],
        requests: Sequence[Request],
    ) -> None:
        self._skeleton, self._seats, self._requests = skeleton, seats, requests
        self._weights = {key: value[: len(seats)].detach() for key, value in weights.items()}
        self._names = {
            network: [f"{network}.{key}" for key, _ in module.named_parameters()]
            for network, module in seats[0].networks.items()
        }

    def run(self) -> list[Result]:
        """Trains, and returns what each client gets."""
        start = time.perf_counter()
        first = self._seats[0]
        schedule = first.schedule(self._requests[0].networks)
        losses: dict[str, list[Tensor]] = {}
        diagnostics: dict[str, list[Tensor]] = {}
        draws = [seat.drawn(schedule, request) for seat, request in zip(self._seats, self._requests, strict=True)]
        following = [*schedule[1:], None]
        last: Batch | None = None
        stacked: dict[str, Tensor] = {}
        kept: dict[str, Tensor] = {}
        for phase, after, batches in zip(schedule, following, zip(*draws, strict=True), strict=True):
            if last is None or batches[0].kept is not last.kept:  # else the phase goes on with the batch before
                stacked, kept = self._stack(batches), {}
            last = batches[0]
            self._freeze_all_but({*phase.networks, *(after.networks if after and after.goes_on else ())})
            loss, watched, kept = self._step(phase, batches, stacked, kept)
            losses.setdefault(f"{phase.name}-loss", []).append(loss)
            for key, value in watched.items():
                diagnostics.setdefault(key, []).append(value)
        columns = [{key: torch.stack(values).cpu() for key, values in found.items()} for found in (losses, diagnostics)]
        seconds = (time.perf_counter() - start) / len(self._seats)
        return [
            _caught(
                seat.summary,
                schedule,
                *({key: list(values[:, k]) for key, values in found.items()} for found in columns),
                seconds,
            )
            for k, seat in enumerate(self._seats)
        ]

    def _stack(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        device = next(iter(self._weights.values())).device
        return {
            name: torch.stack([getattr(batch, name) for batch in batches]).to(device, non_blocking=True)
            for name in _STACKED
            if getattr(batches[0], name) is not None
        }

    def _freeze_all_but(self, networks: set[str]) -> None:
        for network, names in self._names.items():
            for name in names:
                self._weights[name].requires_grad_(network in networks)
        if self._requests[0].extra_loss is not None:
            for seat in self._seats:
                seat._freeze_all_but(networks)

    def _step(
        self, phase: Phase, batches: Sequence[Batch], stacked: dict[str, Tensor], kept: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        generators, step = Generators([batch.generator for batch in batches]), batches[0].step

        def alone(weights: Any, tensors: Any, kept: Any) -> Any:
            batch = Batch(**tensors, generator=generators, step=step, kept=dict(kept))
            loss, watched = torch.func.functional_call(self._skeleton, weights, (phase.loss, batch))
            return loss, watched, batch.kept

        with self._seats[0].autocast():
            losses, watched, kept = vectorised(alone)(self._weights, stacked, kept)
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
            step_together([seat.optimizers[network] for seat in self._seats])
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


def _alone(seat: Seat, request: Request) -> Result:
    return _caught(seat.fit_alone, request)


def _caught(function: Callable[..., dict[str, float]], *arguments: Any) -> Result:
    try:
        return function(*arguments)
    except Exception as error:
        return error


@functools.cache
def _say_once(reason: str) -> None:
    log.warning("clients are trained one after another, as they cannot be together: %s", reason)
