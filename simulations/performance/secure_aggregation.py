"""What ``aggregate="secure-mean"`` costs: bytes and milliseconds of a round beside its training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from flwr.app import RecordDict

from common import wire
from common.aggregators import Mean, SecureMean
from common.examples import ImageSpec
from common.models import MODELS
from common.secure_sum import (
    Collector,
    FixedPoint,
    Identity,
    KeysRequest,
    Member,
    Session,
    SharesRequest,
    UnmaskRequest,
)
from common.seeding import torch_generator
from common.tree import FrozenTree, Tree
from simulations.performance.figures import Figure, Measured, Plan

_LIMIT, _WEIGHT = 256.0, 600
_TIMED = 3  # clients whose time is taken; the others mask nothing, which makes no difference to the server's

T = TypeVar("T")


def secure_aggregation(plan: Plan) -> Measured:
    """A round of secure aggregation but for its training, of ``dcgan width=16``: bytes, and milliseconds of a core.

    Both halves in one process, one after another, without a network: what Flower takes for three more messages of each
    client comes on top. It takes more than two thirds of the clients to unmask a sum; where a tenth is lost, it is
    lost after sharing.
    """
    width = 8 if plan.quick else 16
    model = MODELS["dcgan"].model_validate_strings({"width": str(width)}, by_alias=True)
    origin = FrozenTree(model.build(ImageSpec(1, 28, 10), 0).state_dict())
    plain = sum(value.nbytes for value in origin.values())
    masked = 8 * sum(value.numel() for value in origin.values())
    yield Figure(key="reply-mb", what="a masked reply", values=(masked / 1e6,), unit="MB")
    yield Figure(key="reply", what="over one that is not masked", values=(masked / plain,))
    for num in (3, 4) if plan.quick else (3, 10, 100):
        yield from _figures(plan, num, origin)


def _figures(plan: Plan, num: int, origin: FrozenTree) -> Measured:
    trees = [_trained(origin, k) for k in range(num)]
    rounds, with_lost, means = [], [], []
    for _ in range(plan.times):
        rounds.append(_round(trees, origin, 0))
        begun = time.process_time()
        Mean().combine(trees, [1.0] * num, origin)
        means.append(time.process_time() - begun)
        if num > 3:
            with_lost.append(_round(trees, origin, max(1, num // 10)))
    of, first = f"{num} clients", rounds[0]
    kilobytes = {"up": ("sends", first.up), "down": ("receives", first.down)}
    for key, (verb, total) in kilobytes.items():
        what = f"{of}: keys and letters that one {verb}"
        yield Figure(key=f"kb-{key}-{num}", what=what, values=(total / num / 1e3,), unit="kB")
    each = tuple(1e3 * one.clients / _TIMED for one in rounds)
    yield Figure(key=f"client-ms-{num}", what=f"{of}: the time of one", values=each, unit="ms")
    server = tuple(1e3 * one.server for one in rounds)
    yield Figure(key=f"server-ms-{num}", what=f"{of}: the server's", values=server, unit="ms")
    over = tuple(one.server / mean for one, mean in zip(rounds, means, strict=True))
    yield Figure(key=f"over-mean-{num}", what=f"{of}: that over the plain mean of as many replies", values=over)
    if with_lost:
        lost = tuple(1e3 * one.server for one in with_lost)
        yield Figure(key=f"lost-ms-{num}", what=f"{of}: the server's where a tenth is lost", values=lost, unit="ms")


@dataclass
class _Costs:
    """Of one round: seconds of a core, of the timed clients and of the server; and bytes beside the replies."""

    clients: float = 0.0
    server: float = 0.0
    up: int = 0
    down: int = 0

    def client(self, partition: int, call: Callable[..., T], *arguments: object) -> T:
        """Calls what a client does."""
        start = time.process_time()
        found = call(*arguments)
        self.clients += time.process_time() - start if partition < _TIMED else 0.0
        return found

    def at_server(self, call: Callable[..., T], *arguments: object) -> T:
        """Calls what the server does."""
        start = time.process_time()
        found = call(*arguments)
        self.server += time.process_time() - start
        return found


def _round(trees: Sequence[Tree], origin: Tree, lost: int) -> _Costs:
    """Returns the costs of one session, whose last clients are lost before they reply."""
    num, costs, session = len(trees), _Costs(), Session(bytes(16), "0", 1)
    threshold = SecureMean().needed(num)
    collector, point = Collector(session, threshold), FixedPoint(_LIMIT, num * _WEIGHT)
    costs.down += num * wire.field_bytes(wire.encode_mask_request(KeysRequest(session)))
    members = [costs.client(k, Member.begin, session, k, Identity.new()) for k in range(num)]
    for k, member in enumerate(members):
        costs.up += wire.field_bytes(wire.encode_keys(member.advert))
        costs.at_server(collector.take_keys, k, member.advert, None)
    costs.down += num * wire.field_bytes(wire.encode_mask_request(SharesRequest(session.id, collector.adverts)))
    for k, member in enumerate(members):
        answer = costs.client(k, member.share, collector.adverts, threshold, {})
        costs.up += wire.field_bytes(wire.encode_shares(answer))
        costs.at_server(collector.take_shares, k, answer)
    total = np.zeros(sum(value.numel() for value in origin.values()), np.uint64)
    for k, member in enumerate(members):
        content = RecordDict()
        wire.put_letters(content, costs.at_server(collector.letters_to, k, point.total))
        costs.down += wire.field_bytes(content)
        letters = wire.letters_of(content)
        assert letters is not None, "they were put there"
        costs.client(k, member.receive, letters, threshold)
        if k < _TIMED:
            numbers = costs.client(k, point.encode, trees[k], origin, _WEIGHT)
            costs.client(k, member.add_masks, numbers)
        member.has_replied = True
        if k < num - lost:
            costs.at_server(np.add, total, numbers, total)
    answered = tuple(range(num - lost))
    costs.down += num * wire.field_bytes(wire.encode_mask_request(UnmaskRequest(session.id, answered)))
    for k in answered:
        shares = costs.client(k, members[k].reveal, answered, threshold)
        costs.up += wire.field_bytes(wire.encode_revealed(shares))
        costs.at_server(collector.take_revealed, k, shares, answered)
    costs.at_server(collector.unmask, total, answered)
    costs.at_server(point.decode, total, len(answered) * _WEIGHT, origin, origin)
    return costs


def _trained(origin: Tree, partition: int) -> FrozenTree:
    random = torch_generator(0, "benchmark", "reply", partition)
    return FrozenTree({k: v + 0.01 * torch.randn(v.shape, generator=random) for k, v in sorted(origin.items())})
