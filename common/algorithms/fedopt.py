"""Federated averaging whose server takes the mean update as a gradient, and steps along it with an optimizer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from common.algorithms.base import ServerContext, ServerState
from common.algorithms.fedavg import FedAvg
from common.exchange import Reply

FIRST, SECOND = "fedopt-first-moment", "fedopt-second-moment"


class FedOpt(FedAvg):
    """The server steps along the mean update Delta, made as ``aggregate`` and ``weighting`` say, from the weights x.

    momentum: m <- beta1 m + Delta,              x <- x + lr m
    adam:     m <- beta1 m + (1 - beta1) Delta,  v <- beta2 v + (1 - beta2) Delta^2
    yogi:     m as adam's,                       v <- v - (1 - beta2) Delta^2 sign(v - Delta^2)
    adam and yogi: x <- x + lr m / (sqrt(v) + tau), with v starting at tau^2 and without correction of the start's bias

    Only parameters are stepped. Buffers (statistics of BatchNorm, counters) are averaged as by ``fedavg``, as an
    optimizer would make variances negative. ``momentum`` with ``lr=1`` and ``beta1=0`` is ``fedavg`` to the bit: the
    difference of two float32 numbers is exact in float64, unless a weight changes by a factor of 2^29 in one round.
    The moments are kept in float32. Momentum goes lr / (1 - beta1) times as far as ``fedavg``: by default as far.
    """

    source: ClassVar[str] = (
        "Reddi et al. 2021 (arXiv 2003.00295), algorithm 2 and appendix C; momentum: Hsu et al. 2019 (arXiv 1909.06335)"
    )

    optimizer: Literal["momentum", "adam", "yogi"] = Field("momentum", description="of the server")
    lr: float = Field(0.5, gt=0, description="the server's rate; for adam and yogi about 0.03")
    beta1: float = Field(0.5, ge=0, lt=1, description="decay of the first moment")
    beta2: float = Field(0.99, ge=0, lt=1, description="decay of the second moment; adam and yogi")
    tau: float = Field(1e-3, gt=0, description="adaptivity: updates smaller than this are stepped in proportion")

    @model_validator(mode="after")
    def _averages_rounds(self) -> Self:
        if self.ema_steps:
            raise ValueError(
                "ema-steps=true averages what clients step through, and the server's optimizer goes elsewhere: leave "
                "it out, or take algorithm='fedavg'"
            )
        return self

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        mean = context.mean(replies, state.parameters)
        moments = {name: state.slots.get(name, {}) for name in (FIRST, SECOND)}
        slots: dict[str, dict[str, Tensor]] = {FIRST: {}} if self.optimizer == "momentum" else {FIRST: {}, SECOND: {}}
        for key in context.parameter_keys(state.parameters):
            start = state.parameters[key].double()
            delta = mean[key].double() - start
            first = moments[FIRST].get(key, torch.zeros(())).double() * self.beta1
            first = first + (delta if self.optimizer == "momentum" else (1.0 - self.beta1) * delta)
            step = first
            if self.optimizer != "momentum":
                second = moments[SECOND].get(key, torch.full((), self.tau**2)).double()
                square = delta.square()
                if self.optimizer == "adam":
                    second = self.beta2 * second + (1.0 - self.beta2) * square
                else:
                    second = second - (1.0 - self.beta2) * square * torch.sign(second - square)
                step = first / (second.sqrt() + self.tau)
                slots[SECOND][key] = second.to(mean[key].dtype)
            slots[FIRST][key] = first.to(mean[key].dtype)
            mean[key] = (start + self.lr * step).to(mean[key].dtype)
        return replace(state, parameters=mean, slots={**state.slots, **slots})
