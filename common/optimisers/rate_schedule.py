"""The learning rate's schedule: how it rises and falls over the rounds of a run."""

import math

from common.config_sections import LocalConfig


def rate_share(local: LocalConfig, round: int, num_rounds: int) -> float:
    """Returns what to multiply both rates by in a round: 1 after the warm-up, ``final_rate`` in the last.

    Linear, or half a cosine (Loshchilov, Hutter 2017, arXiv 1608.03983, eq. 5, without restarts), in the number of
    rounds done; and that times sqrt(F / s) after s steps, more than ``full_rate_steps`` F (as in Zhai et al. 2022,
    arXiv 2106.04560, section 3.5), so that a run of many steps is not at high rates for as large a part of them. A run
    of one round has the full rates. Round k of ``warmup_rounds`` W has k / (W + 1) of them.

    Args:
        local: Which schedule, how many rounds rise, what is left in the last, and how many steps a round has.
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
    steps = (round - 1) * local.steps
    long = math.sqrt(local.full_rate_steps / steps) if 0 < local.full_rate_steps < steps else 1.0
    return long * (local.final_rate + (1.0 - local.final_rate) * left)
