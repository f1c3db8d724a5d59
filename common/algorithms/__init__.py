"""Federated algorithms: one a file, with both its halves."""

from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.algorithms.count_sums import CountSums
from common.algorithms.dp_moments import DPMoments
from common.algorithms.effgan import EFFGAN
from common.algorithms.f2u import F2U
from common.algorithms.fedavg import FedAvg
from common.algorithms.fedopt import FedOpt
from common.algorithms.fedprox import FedProx
from common.algorithms.fegan import FeGAN
from common.algorithms.ifl_gan import IFLGAN
from common.algorithms.md_gan import MDGAN
from common.algorithms.scaffold import Scaffold
from common.algorithms.server_generator import ServerGenerator
from common.algorithms.ua_gan import UAGAN
from common.exchange import Client, LocalTrainer, Memory, Payload, Reply

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedopt": FedOpt,
    "scaffold": Scaffold,
    "fegan": FeGAN,
    "ifl-gan": IFLGAN,
    "effgan": EFFGAN,
    "md-gan": MDGAN,
    "ua-gan": UAGAN,
    "f2u": F2U,
    "server-generator": ServerGenerator,
    "count-sums": CountSums,
    "dp-moments": DPMoments,
}

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Client",
    "LocalTrainer",
    "Memory",
    "Payload",
    "Reply",
    "ServerContext",
    "ServerState",
]
