"""Federated algorithms: one a file, with both its halves."""

from common.algorithms.base import Algorithm, Federation, ServerState
from common.algorithms.fedavg import FedAvg
from common.exchange import Client, LocalTrainer, Memory, Payload, Reply

ALGORITHMS: dict[str, type[Algorithm]] = {"fedavg": FedAvg}

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Client",
    "Federation",
    "LocalTrainer",
    "Memory",
    "Payload",
    "Reply",
    "ServerState",
]
