"""What a client does under a promise of privacy: found once, as it takes seconds, and kept for later messages."""

import hashlib
import json

from client.state import Keeper
from common.config import RunConfig
from common.privacy.accounting import Mechanism
from common.privacy.plan import PrivacyPlan

_NAME = "privacy-plan"


def plan_of(config: RunConfig, num_examples: int, keeper: Keeper) -> PrivacyPlan | None:
    """Returns ``RunConfig.privacy_plan``, as it was found before for the same run and as many examples.

    Args:
        config: The run's.
        num_examples: That the client holds.
        keeper: Where the plan is kept.
    """
    if config.promise_of_examples is None:
        return None
    what = hashlib.sha256(json.dumps([config.identity(), num_examples], sort_keys=True).encode()).hexdigest()
    if (kept := keeper.get(_NAME)) is not None:
        found = json.loads(kept)
        if found["of"] == what:
            return PrivacyPlan(Mechanism(*found["mechanism"]), *found["plan"])
    plan = config.privacy_plan(num_examples)
    assert plan is not None
    mechanism = (plan.mechanism.noise_multiplier, plan.mechanism.rate)
    rest = (plan.uses_per_round, plan.clip, plan.delta, plan.rounds, plan.sharers)
    keeper.put(_NAME, json.dumps({"of": what, "mechanism": mechanism, "plan": rest}).encode())
    return plan
