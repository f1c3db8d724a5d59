"""Federated averaging whose clients correct every gradient by how theirs differ from everybody's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from common.algorithms.base import ServerContext, ServerState
from common.algorithms.fedavg import FedAvg
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.tree import Tree
from common.weightings import Uniform

VARIATE = "variate"
_PREFIX = f"{VARIATE}."


class Scaffold(FedAvg):
    """Clients add c - c_k to every gradient: the server's control variate less their own, for each shared network.

    Adversaries are left as they are, unless ``correct_adversaries`` is set or nothing else is shared. That deviates
    from the paper: corrections of discriminators made a GAN's images worse, and those of its generator alone did not
    (docs/findings.md).

    A client's new variate c_k+ is the mean of its raw minibatch gradients over the round, and stays with it. It sends
    the change; the server adds (|S| / N) mean(c_k+ - c_k) to c, with N all clients and S those who replied, so that
    with ``aggregate=mean``, no reply and no client's memory lost, c is the mean of all c_k. All variates start at zero:
    in the first round the weights are those of ``fedavg`` to the bit.

    Under plain SGD c_k+ is option II of the paper: there y = x - lr sum_i (g_i - c_k + c), so that
    c_k - c + (x - y) / (K lr) is the mean of the g_i. Deviation: the local optimizer is Adam, under which that formula
    would give a mean of preconditioned steps; the mean of the g_i keeps its meaning, and is corrected before Adam sees
    it. It is no option I, whose gradients are all taken at x. The mean of variates takes the robust form that
    ``aggregate`` says, and gives each client the same weight, whatever ``weighting`` says of the weights.
    """

    source: ClassVar[str] = "Karimireddy et al. 2020 (arXiv 1910.06378), algorithm 1"

    correct_adversaries: bool = Field(
        False, description="also correct the gradients of adversaries, such as discriminators, which made GANs worse"
    )

    averages_weights: ClassVar[bool] = False
    takes_means_alone: ClassVar[bool] = False

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        payload = Payload({**state.parameters, **_prefixed(self._variate(state, context))})
        return dict.fromkeys(cohort, payload)

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        servers = _variates(payload.arrays)
        own = {key: memory.get(VARIATE, {}).get(key, torch.zeros_like(value)) for key, value in servers.items()}
        gradients = Gradients({key: servers[key] - own[key] for key in servers})
        self.begin(
            {key: value for key, value in payload.arrays.items() if not key.startswith(_PREFIX)}, trainer, memory
        )
        reply = self.conclude(trainer.fit(gradient_hook=gradients), trainer, memory, partition)
        memory[VARIATE] = means = gradients.means()
        return replace(reply, arrays={**reply.arrays, **_prefixed({key: means[key] - own[key] for key in means})})

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        keys = context.parameter_keys(state.parameters)
        if not self.correct_adversaries:
            adversaries = tuple(f"{name}." for name in context.model.roles.adversaries)
            keys = [key for key in keys if not key.startswith(adversaries)] or keys
        zeros = {key: torch.zeros_like(state.parameters[key]) for key in keys}
        return {**super().reply_template(state, context), **_prefixed(zeros)}

    def reply_parts(self, template: Tree) -> list[Tree]:
        variates = {key: value for key, value in template.items() if key.startswith(_PREFIX)}
        return [*super().reply_parts({k: v for k, v in template.items() if k not in variates}), variates]

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        *_, zeros = self.reply_parts(self.reply_template(state, context))
        change = _variates(context.mean(replies, zeros, Uniform()))
        share = len(replies) / max(len(replies), len(context.clients))
        variate = {
            key: (value.double() + share * change[key].double()).to(value.dtype)
            for key, value in self._variate(state, context).items()
        }
        parameters = context.mean(replies, state.parameters)
        return replace(state, parameters=parameters, slots={**state.slots, VARIATE: variate})

    def _variate(self, state: ServerState, context: ServerContext) -> Tree:
        if VARIATE in state.slots:
            return state.slots[VARIATE]
        return _variates(self.reply_template(state, context))


class Gradients:
    """A gradient hook that adds a correction, and keeps the sum of the gradients before it.

    Args:
        correction: By ``<network>.<parameter>``; only these parameters are looked at.
    """

    def __init__(self, correction: Tree) -> None:
        self._sums = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in correction.items()}
        self._counts = dict.fromkeys(correction, 0)
        # What is nothing is not added, as even -0.0 + 0.0 is another bit.
        self._correction = {key: value for key, value in correction.items() if bool(value.any())}

    def __call__(self, name: str, network: nn.Module) -> None:
        """Corrects the gradients of one network in place."""
        for parameter_name, parameter in network.named_parameters():
            key, gradient = f"{name}.{parameter_name}", parameter.grad
            if gradient is None or key not in self._sums:
                continue
            if self._counts[key] == 0:  # from here on where the network is
                self._sums[key] = self._sums[key].to(gradient.device)
                if key in self._correction:
                    self._correction[key] = self._correction[key].to(gradient.device)
            self._sums[key] += gradient
            self._counts[key] += 1
            if key in self._correction:
                gradient += self._correction[key]

    def means(self) -> dict[str, Tensor]:
        """Returns the means of the gradients before correction, on the CPU; zero of a parameter never stepped."""
        return {key: (total / max(1, self._counts[key])).float().cpu() for key, total in self._sums.items()}


def _prefixed(variates: Tree) -> dict[str, Tensor]:
    return {_PREFIX + key: value for key, value in variates.items()}


def _variates(arrays: Tree) -> dict[str, Tensor]:
    return {key.removeprefix(_PREFIX): value for key, value in arrays.items() if key.startswith(_PREFIX)}
