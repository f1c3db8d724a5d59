"""The settings of training on one client: steps, batch size, learning rates."""

import math
from typing import Literal

from pydantic import Field

from common.components import Options


class LocalConfig(Options):
    """Training on one client."""

    steps: int = Field(20, ge=1, description="local steps a round; a step runs every phase of the objective")
    batch_size: int = Field(32, ge=1, description="examples a phase")
    learning_rate: float = Field(4e-3, gt=0, description="rate of all networks but the adversary")
    adversary_learning_rate: float = Field(4e-3, gt=0, description="rate of the adversary: the discriminator of a GAN")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="how both rates fall from the first round, or the last to warm up, to the last of all"
    )
    warmup_rounds: int = Field(0, ge=0, description="first rounds in which both rates rise, in equal steps; 0: none")
    final_rate: float = Field(
        0.05, ge=0, le=1, description="share of the rates that is left in the last round, unless they are constant"
    )
    moments: Literal["keep", "reset"] = Field("reset", description="the optimiser's moments from round to round")
    fake_labels: Literal["own", "balanced", "uniform"] = Field(
        "own",
        description="labels of fakes: as in the client's data, evenly over the classes it holds, or over all classes",
    )
    mixed_precision: bool = Field(False, description="bfloat16 autocast on CUDA; on the CPU without effect")
    num_threads: int = Field(1, ge=1, description="intra-op threads of a client on the CPU; results depend on it")

    def rate_share(self, round: int, num_rounds: int) -> float:
        """Returns what to multiply both rates by in a round: 1 after the warm-up, ``final_rate`` in the last.

        Linear, or half a cosine (Loshchilov, Hutter 2017, arXiv 1608.03983, eq. 5, without restarts), in the number of
        rounds done. A run of one round has the full rates. Round k of ``warmup_rounds`` W has k / (W + 1) of them.

        Args:
            round: From 1.
            num_rounds: Rounds of the run.
        """
        if round <= self.warmup_rounds:
            return round / (self.warmup_rounds + 1)
        falling = num_rounds - 1 - self.warmup_rounds
        if self.schedule == "constant" or falling <= 0:
            return 1.0
        done = min(1.0, (round - 1 - self.warmup_rounds) / falling)
        left = 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final_rate + (1.0 - self.final_rate) * left
