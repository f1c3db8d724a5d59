"""Several clients trained as one computation: the second backend of the trainer.

A ``StackedTrainer`` is a trainer whose weights are a row of ``StackedWeights``, which train all rows at once
(``torch.func``). Algorithms, objectives and networks see a trainer as any other, and know nothing of it.

Every client draws the numbers that it draws alone, in the same order, and has its own losses, moments and errors. A
batched kernel takes its sums in another order than a single one, so weights are those of the loop up to rounding, not
to the bit.

What cannot be batched is trained one client after another, to the bit as in the loop: a client by itself, clients that
ask for different things, and networks or losses that ``torch.func`` has no rule for, which is said once.
"""

import functools
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from client.batched.cuda_graph import GraphCache, cuda_graph
from client.batched.fit import BatchedFit
from client.batched.joint_steps import JointSteps
from client.batched.private_fit import PrivateFit
from client.batched.stacked_trainer import Request, Result, StackedTrainer, caught
from client.batched.step_buffers import ExamplePool
from client.batched.weight_copies import WeightCopies
from client.functional.borrowing import BorrowingNetworks
from client.trainer_spec import TrainerSpec

log = logging.getLogger("fedgan.client")


class StackedWeights:
    """The weights of several clients, stacked: a row a client.

    Args:
        num_rows: Most clients at a time.
        spec: What trainers are made of.
    """

    def __init__(self, num_rows: int, spec: TrainerSpec) -> None:
        self._num_rows, self._spec = num_rows, spec
        self._weights: dict[str, Tensor] = {}
        self._functional = BorrowingNetworks()
        self._joint: dict[str, JointSteps] = {}
        self._pool = ExamplePool(spec.example_spec, spec.device)
        self._copies = WeightCopies()
        self._graphs = GraphCache(cuda_graph if spec.device.type == "cuda" else None)
        self._proven: set[tuple[object, ...]] = set()  # numbers and kinds that have been trained together
        self._refused: set[tuple[object, ...]] = set()

    def member(self, number: int, fit: Callable[[StackedTrainer, Request], dict[str, float]]) -> StackedTrainer:
        """Returns a new trainer for a row of the weights."""
        member = StackedTrainer(number, fit, self._spec)
        self._graphs.steps.clear()  # they know the memory of who sat there
        if not self._weights:
            self._functional = BorrowingNetworks(member.networks)
            self._weights = {
                key: torch.empty((self._num_rows, *value.shape), dtype=value.dtype, device=value.device)
                for key, value in self._functional.state_dict().items()
            }
            if self._spec.optimiser.is_elementwise:
                self._joint = {name: self._joint_steps(name, network) for name, network in member.networks.items()}
        member.move_to(self._weights, {name: joint.slots for name, joint in self._joint.items()})
        return member

    def _joint_steps(self, name: str, network: nn.Module) -> JointSteps:
        parameters = {key: self._weights[f"{name}.{key}"] for key, _ in network.named_parameters()}
        return JointSteps(self._spec.optimiser, parameters)

    def fit(self, members: Sequence[StackedTrainer], requests: Sequence[Request]) -> list[Result]:
        """Trains clients, together where that is possible; in ascending order of their rows."""
        kinds = {(*request.kind, *member.terms()) for member, request in zip(members, requests, strict=True)}
        first_rows = [member.number for member in members] == list(range(len(members)))
        if len(members) > 1 and len(kinds) == 1 and first_rows and requests[0].kind not in self._refused:
            try:
                results = self._try_together(members, requests)
            except Exception as error:  # of what has gone well before: memory that is full, say
                return [error for _ in members]
            if results is not None:
                return results
        return [_alone(member, request) for member, request in zip(members, requests, strict=True)]

    def _try_together(self, members: Sequence[StackedTrainer], requests: Sequence[Request]) -> list[Result] | None:
        kind = len(members), requests[0].kind
        if kind in self._proven:
            return self._together(members, requests)
        starts = [member.here() for member in members]
        try:
            try:
                results = self._together(members, requests)
            except Exception as error:
                if self._graphs.record is None:
                    raise
                _say_once("steps are not recorded", error)
                self._graphs.record = None
                _go_back(starts)
                results = self._together(members, requests)
        except Exception as error:
            _say_once("clients are trained one after another, not together", error)
            self._refused.add(requests[0].kind)
            _go_back(starts)
            return None
        self._proven.add(kind)
        return results

    def _together(self, members: Sequence[StackedTrainer], requests: Sequence[Request]) -> list[Result]:
        shared = self._functional, self._weights, self._joint, self._pool
        kind = BatchedFit if members[0].private is None else PrivateFit
        return kind(*shared, members, requests, self._graphs, self._copies).run()


def _go_back(starts: Sequence[Callable[[], None]]) -> None:
    for back in starts:
        back()


def _alone(member: StackedTrainer, request: Request) -> Result:
    return caught(member.fit_alone, request)


def _say_once(what: str, error: Exception) -> None:
    _say(f"{what}: {type(error).__name__}: {error}".partition("\n")[0])


@functools.cache
def _say(message: str) -> None:
    log.warning(message)
