"""What scores were computed with, in words: whoever shows a score says it beside it."""

from collections.abc import Mapping
from typing import Any

_COUNT = "num-samples"


def scored_with(told: Mapping[str, Any] | None) -> str:
    """Returns what scores were made with, as short as it stands beside them: ``mnist-cnn, 2,000 images``.

    Args:
        told: What a round, or a summary, has under ``scored-with``; nothing of a run of before it was written.
    """
    if not told:
        return "extractor and number of images unknown"
    return f"{told.get('extractor') or 'no extractor'}, {told.get(_COUNT, 0):,} images"


def scored_with_words(told: Mapping[str, Any] | None) -> str:
    """Returns what scores were computed with, at full length.

    Args:
        told: ``scored-with`` of a round or of a run's end; None of a run that is older than it.
    """
    if told is None:
        return "extractor and number of images are not known, as the run is of an earlier version"
    extractor = told.get("extractor")
    parts = [f"features of {extractor}" if extractor else "without an extractor of features"]
    parts.append(f"{told[_COUNT]:,} generated images")
    parts += [f"{key.removesuffix(f'-{_COUNT}')} on {told[key]:,}" for key in told if key.endswith(f"-{_COUNT}")]
    return ", ".join(parts)
