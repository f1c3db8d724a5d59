"""Which clients and classes a generator serves worst."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.metrics import METRICS


def weak_spots(scores: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    """Returns which clients and classes a generator serves worst, a sentence or two for each metric that tells.

    Args:
        scores: Of a run's end, or of a round.
        class_names: The names of the classes.
    """
    return [words for metric in METRICS.values() for words in metric.weak_spots(scores, class_names)]
