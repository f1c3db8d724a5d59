"""Federated algorithms: one a file, with both its halves."""

from common.algorithms.base import Algorithm, LocalTrainer, Memory, Payload, Reply, ServerState
from common.algorithms.fedavg import FedAvg

ALGORITHMS: dict[str, type[Algorithm]] = {"fedavg": FedAvg}

__all__ = ["ALGORITHMS", "Algorithm", "LocalTrainer", "Memory", "Payload", "Reply", "ServerState"]
