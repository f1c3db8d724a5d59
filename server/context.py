"""What the server half of a run's algorithm works with."""

import torch

from common.algorithms import Client, ServerContext
from common.config import RunConfig
from common.errors import MismatchError
from common.seeding import derive_seed
from server.clients.roster import Roster


def context_of(config: RunConfig, roster: Roster, rollbacks: int = 0) -> ServerContext:
    """Returns what the server half of the run's algorithm works with.

    Raises:
        MismatchError: The algorithm or the weighting needs to know labels that a client keeps to itself.
    """
    silent = [k for k, client in roster.clients.items() if client.label_counts is None]
    if silent and config.needs_label_counts:
        which = ", ".join(roster.label(k) for k in silent)
        raise MismatchError(
            f"algorithm={config.algorithm!r} with weighting={config.weighting!r} needs to know how many examples of "
            f"each class every client holds, and {which} keeps that to itself (disclose-labels=false): take "
            "another algorithm or weighting, or ask these sites"
        )
    return ServerContext(
        seed=derive_seed(config.seed, "rollback", rollbacks) if rollbacks else config.seed,
        clients={k: Client(client.num_examples, client.label_counts) for k, client in roster.clients.items()},
        aggregator=config.aggregator,
        weighting=config.weighting_component,
        transforms=config.pipeline,
        model=config.model_component,
        objective=config.objective_component,
        optimiser=config.optimiser_component,
        spec=roster.spec,
        local=config.local,
        num_rounds=config.federation.num_rounds,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
