"""Optimisers of local training, one a file."""

from common.optimisers.adam import Adam
from common.optimisers.adamw import AdamW
from common.optimisers.base import Optimiser, Stepper, step_together
from common.optimisers.sgd import SGD

OPTIMISERS: dict[str, type[Optimiser]] = {cls.component_name(): cls for cls in (Adam, AdamW, SGD)}

__all__ = ["OPTIMISERS", "Optimiser", "Stepper", "step_together"]
