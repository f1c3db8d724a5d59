"""The learning rate's schedule: how it rises and falls over the rounds of a run."""

import math

from common.config_sections import LocalConfig


def rate_share(local: LocalConfig, round: int, num_rounds: int) -> float:
    """Returns what to multiply both rates by in a round: its peak after the warm-up, ``final_rate`` of it in the last.

    The peak is 1, and sqrt(P / S) in a run of S steps in all, more than ``peak_steps`` P: of constant rates the best
    falls with the root of a run's steps (Nemirovski et al. 2009, section 2.2), and a discriminator with R1 dies where
    high rates go on for long. From there it is linear, or half a cosine (Loshchilov, Hutter 2017, arXiv 1608.03983,
    eq. 5, without restarts), in the number of rounds done; and where ``full_rate_steps`` F is not 0, that times
    sqrt(F / s) after s steps, more than F (as in Zhai et al. 2022, arXiv 2106.04560, section 3.5). Round k of
    ``warmup_rounds`` W has k / (W + 1) of the peak. Constant rates are the same in runs of any length.

    Args:
        local: Which schedule, how many rounds rise, what is left in the last, and how many steps a round has.
        round: From 1.
        num_rounds: Rounds of the run.
    """
    falls = local.schedule != "constant"
    peak = _root(local.peak_steps, num_rounds * local.steps) if falls else 1.0
    if round <= local.warmup_rounds:
        return peak * round / (local.warmup_rounds + 1)
    falling = num_rounds - 1 - local.warmup_rounds
    if not falls or falling <= 0:
        return peak
    done = min(1.0, (round - 1 - local.warmup_rounds) / falling)
    left = 1.0 - done if local.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    long = _root(local.full_rate_steps, (round - 1) * local.steps)
    return peak * long * (local.final_rate + (1.0 - local.final_rate) * left)


def _root(whole: int, steps: int) -> float:
    """Returns the root of ``whole`` / ``steps``, and 1 for fewer steps, or where ``whole`` is 0."""
    return math.sqrt(whole / steps) if 0 < whole < steps else 1.0
