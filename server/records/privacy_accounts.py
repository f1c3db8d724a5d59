"""What each client of a private run does in a round, or the server for all of them: noise, uses, and what they cost."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from common import wire
from common.config import RunConfig
from common.privacy import ClientPrivacy
from common.privacy.accounting import Mechanism
from common.privacy.plan import PrivacyPlan

log = logging.getLogger("fedgan.server")

ANY_CLIENT = -1
"""Whose account a round is charged to where each client is promised privacy: all of them take part by chance alike."""

_FEW = 4  # numbers of examples whose noise is found without a word


@dataclass(frozen=True)
class Account:
    """What a client does in a round under the run's promise.

    Attributes:
        num_examples: That the client holds; 0 of ``ANY_CLIENT``.
        plan: What it does, or the server in its place.
        noise: Where its noise comes from: ``wire.SEED`` or ``wire.SYSTEM``.
    """

    num_examples: int
    plan: PrivacyPlan
    noise: str

    def cost(self, releases: int) -> float:
        """Returns about what so many rounds have cost, on a scale by which clients compare."""
        return releases * self.plan.uses_per_round * self.plan.mechanism.loss_variance()


def accounts_of(config: RunConfig, clients: Mapping[int, wire.RollCall]) -> dict[int, Account]:
    """Returns what clients do, by partition; of ``ANY_CLIENT`` alone where each client is promised privacy.

    Raises:
        ConfigError: No noise keeps the promise.
    """
    if isinstance(config.privacy_component, ClientPrivacy):
        return {ANY_CLIENT: Account(0, config.plan_of_clients(), noise_source_of(clients))}
    if (kinds := len({client.num_examples for client in clients.values()})) > _FEW:
        log.info("privacy: finding the noise of clients with %d different numbers of examples", kinds)
    plans = {k: config.privacy_plan(client.num_examples) for k, client in clients.items()}
    return {k: Account(clients[k].num_examples, plan, clients[k].noise) for k, plan in plans.items() if plan}


def noise_source_of(clients: Mapping[int, wire.RollCall]) -> str:
    """Returns where the server's noise comes from: the run's seed only where no client has data of its own."""
    return wire.SYSTEM if any(client.noise == wire.SYSTEM for client in clients.values()) else wire.SEED


def written(account: Account) -> dict[str, Any]:
    """Returns an account as JSON has it."""
    plan = {k.replace("_", "-"): v for k, v in asdict(account.plan).items() if k not in ("mechanism", "delta")}
    mechanism = account.plan.mechanism
    return {
        "num-examples": account.num_examples,
        "noise-multiplier": mechanism.noise_multiplier,
        "rate": mechanism.rate,
        **plan,
        "noise": account.noise,
    }


def read(said: Mapping[str, Any], delta: float) -> Account:
    """Returns the account that ``written`` made a line of, under a promise of ``delta``."""
    mechanism = Mechanism(said["noise-multiplier"], said["rate"])
    kept = said["uses-per-round"], said["clip"], delta, said["rounds"], said.get("sharers", 1)
    plan = PrivacyPlan(mechanism, *kept)
    return Account(said["num-examples"], plan, said["noise"])
