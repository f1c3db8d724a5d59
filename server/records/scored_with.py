"""What scores were computed with, in words: whoever shows a score says it beside it."""

from collections.abc import Mapping

from common.journal_lines import ScoredWith

_OWN = "-num-samples"  # after the name of a metric that has images of its own


def scored_with(made_with: ScoredWith | None) -> str:
    """Returns what scores were made with, as short as it stands beside them: ``mnist-cnn, 2,000 images``.

    Without an extractor just the number of samples.

    Args:
        made_with: What a round, or a summary, has under ``scored-with``; nothing of a run of before it was written.
    """
    if not made_with:
        return "extractor and number of images unknown"
    extractor, num = made_with.get("extractor"), _counted(made_with.get("num-samples"))
    return f"{extractor}, {num} images" if extractor else f"{num} samples"


def scored_with_words(made_with: ScoredWith | None) -> str:
    """Returns what scores were computed with, at full length.

    Args:
        made_with: ``scored-with`` of a round or of a run's end; None of a run that is older than it.
    """
    if made_with is None:
        return "extractor and number of images are not known, as the run is of an earlier version"
    extractor = made_with.get("extractor")
    num = _counted(made_with.get("num-samples"))
    parts = [f"features of {extractor}", f"{num} generated images"] if extractor else [f"{num} samples"]
    parts += [f"{name} on {_counted(count)}" for name, count in own_counts(made_with).items()]
    return ", ".join(parts)


def own_counts(made_with: ScoredWith) -> dict[str, int | None]:
    """Returns the numbers of images of metrics that have images of their own, by name; None: it is not known."""
    rows: Mapping[str, object] = made_with
    own = {key.removesuffix(_OWN): value for key, value in rows.items() if key.endswith(_OWN)}
    return {name: value if isinstance(value, int) else None for name, value in own.items()}


def _counted(number: int | None) -> str:
    return "an unknown number of" if number is None else f"{number:,}"
