"""Every table of components, by the configuration key that picks from it."""

from collections.abc import Mapping

from pydantic import AfterValidator

from common import components
from common.aggregators import AGGREGATORS
from common.algorithms import ALGORITHMS
from common.components import CHAINED, Component
from common.datasets import DATASETS
from common.hooks import ROUND_HOOKS
from common.models import MODELS
from common.objectives import OBJECTIVES
from common.optimisers import OPTIMISERS
from common.partitioners import PARTITIONERS
from common.privacy import PRIVACIES
from common.transforms import TRANSFORMS, Pipeline
from common.weightings import WEIGHTINGS

TABLES: dict[str, Mapping[str, type[Component]]] = {
    "model": MODELS,
    "objective": OBJECTIVES,
    "optimiser": OPTIMISERS,
    "algorithm": ALGORITHMS,
    "aggregate": AGGREGATORS,
    "weighting": WEIGHTINGS,
    "transforms": TRANSFORMS,
    "privacy": PRIVACIES,
    "partition": PARTITIONERS,
    "hooks": ROUND_HOOKS,
    "data.name": DATASETS,
}
"""Every table of components, by the configuration key that picks from it."""


def spelled_out(key: str, text: str) -> str:
    """Returns what ``key`` picks, with all options spelled out.

    Raises:
        ConfigError: See ``components.parse``.
    """
    if key == "hooks":
        return CHAINED.join(hook.spec() for hook in components.parse_chain(key, ROUND_HOOKS, text))
    if key == "transforms":
        return Pipeline.parse(text, TRANSFORMS).spec()
    return components.parse(key, TABLES[key], text).spec()


def spelling_out(key: str) -> AfterValidator:
    """Returns a validator that checks what ``key`` picks, and spells out all its options."""
    return AfterValidator(lambda text: spelled_out(key, text))
