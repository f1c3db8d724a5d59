"""Federated averaging whose clients are held back by a spring to the weights that they received."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from common.algorithms.fedavg import FedAvg
from common.exchange import LocalTrainer, Payload


class FedProx(FedAvg):
    """Every phase's loss plus mu/2 |w - w_received|^2 over the parameters of the network that it steps.

    The distance is squared, as in the paper: its gradient mu (w - w_received) vanishes at the start of a round. With
    ``sync`` of one network the other has received nothing and trains freely. ``mu=0`` is ``fedavg`` to the bit.
    Deviation: the local optimizer is Adam, which divides by the size of its gradients, so that what counts is the size
    of mu beside that of the loss, not beside the learning rate.
    """

    source: ClassVar[str] = "Li et al. 2020 (arXiv 1812.06127), eq. 2"

    mu: float = Field(0.01, ge=0, description="weight of the proximal term; 0: fedavg")

    def fit(self, payload: Payload, trainer: LocalTrainer) -> dict[str, float]:
        if self.mu == 0:
            return trainer.fit()
        received: dict[str, list[Tensor | None]] = {}  # by network, on its device: moved there once a round

        def proximal(name: str, network: nn.Module) -> Tensor:
            if name not in received:
                received[name] = [
                    None if (start := payload.arrays.get(f"{name}.{key}")) is None else start.to(weight.device)
                    for key, weight in network.named_parameters()
                ]
            squares = [
                (weight - start).square().sum()
                for weight, start in zip(network.parameters(), received[name], strict=True)
                if start is not None
            ]
            return 0.5 * self.mu * torch.stack(squares).sum() if squares else torch.zeros(())

        return trainer.fit(extra_loss=proximal)
