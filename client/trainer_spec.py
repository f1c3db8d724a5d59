"""What a trainer is made of."""

from dataclasses import dataclass

import torch

from common.config import RunConfig
from common.config_sections import LocalConfig
from common.examples import ExampleSpec
from common.models import Model
from common.objectives import Objective
from common.optimisers import Optimiser


@dataclass(frozen=True)
class TrainerSpec:
    """All that a trainer is made of; equal ones give trainers that train alike.

    Attributes:
        model: Builds the networks.
        objective: Gives the phases of a step.
        optimiser: Steps each network.
        example_spec: Of the data.
        local: Steps, batch size, rates, precision.
        seed: The run's seed, from which the initial weights follow.
        device: Where to train.
    """

    model: Model
    objective: Objective
    optimiser: Optimiser
    example_spec: ExampleSpec
    local: LocalConfig
    seed: int
    device: torch.device

    @classmethod
    def of(cls, config: RunConfig, spec: ExampleSpec, device: torch.device) -> "TrainerSpec":
        """Returns that of a run, for examples of this kind and shape."""
        return cls(
            config.model_component,
            config.objective_component,
            config.optimiser_component,
            spec,
            config.local,
            config.seed,
            device,
        )
