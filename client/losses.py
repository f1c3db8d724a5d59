"""What becomes of the losses of a round."""

import math
from collections.abc import Mapping, Sequence

from client.batches import Assignment
from client.steps import mean
from common.config_sections import LocalConfig
from common.errors import DivergenceError


def checked_means(losses: Mapping[str, Sequence[float]], local: LocalConfig, assigned: Assignment) -> dict[str, float]:
    """Returns the mean of each phase's losses in a round.

    Args:
        losses: By name, of all steps in turn.
        local: How many steps there were.
        assigned: The client, and the round.

    Raises:
        DivergenceError: One was not finite; names the first, as later ones follow from it.
    """
    broken = [
        (index // (len(values) // local.steps), order, name, value)
        for order, (name, values) in enumerate(losses.items())
        if not all(map(math.isfinite, values))
        for index, value in enumerate(values)
        if not math.isfinite(value)
    ]
    if broken:
        step, _, name, value = min(broken)
        raise DivergenceError(
            f"{name} is {value} at round {assigned.round}, local step {step + 1} of {local.steps}, "
            f"partition {assigned.partition}: try a lower local.learning-rate (now "
            f"{local.learning_rate}) or r1 in the objective"
        )
    return {name: mean(values) for name, values in losses.items()}
