"""The learning rate's schedule: how it rises and falls over the rounds of a run."""

import math

from common.config_sections import LocalConfig


def rate_share(local: LocalConfig, round: int, num_rounds: int) -> float:
    """Returns what to multiply both rates by in a round: 1 after the warm-up, ``final_rate`` in the last.

    Linear, or half a cosine (Loshchilov, Hutter 2017, arXiv 1608.03983, eq. 5, without restarts), in the number of
    rounds done. A run of one round has the full rates. Round k of ``warmup_rounds`` W has k / (W + 1) of them.

    Args:
        local: Which schedule, how many rounds rise, and what is left in the last.
        round: From 1.
        num_rounds: Rounds of the run.
    """
    if round <= local.warmup_rounds:
        return round / (local.warmup_rounds + 1)
    falling = num_rounds - 1 - local.warmup_rounds
    if local.schedule == "constant" or falling <= 0:
        return 1.0
    done = min(1.0, (round - 1 - local.warmup_rounds) / falling)
    left = 1.0 - done if local.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return local.final_rate + (1.0 - local.final_rate) * left
