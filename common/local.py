"""The settings of training on one client."""

from typing import Literal

from pydantic import Field

from common.components import Options


class LocalConfig(Options):
    """Training on one client."""

    steps: int = Field(20, ge=1, description="local steps a round; a step runs every phase of the objective")
    batch_size: int = Field(32, ge=1, description="images a phase")
    learning_rate: float = Field(2e-3, gt=0, description="Adam's rate, of all networks but the discriminator")
    discriminator_learning_rate: float = Field(2e-3, gt=0, description="Adam's rate of the discriminator")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of the second moment")
    moments: Literal["keep", "reset"] = Field("reset", description="Adam's moments from round to round")
    mixed_precision: bool = Field(False, description="bfloat16 autocast on CUDA; on the CPU without effect")
    num_threads: int = Field(1, ge=1, description="intra-op threads of a client on the CPU; results depend on it")
