"""The longest run of characters that generated texts have in common with other texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.charts import Chart
from common.metrics.base import Metric, Score, Scores

COPIES = Chart("longest-copy", "Longest copy", "Characters of the longest run in common with training text.")


def longest_copy(samples: Sequence[str], texts: Sequence[str]) -> int:
    """Returns the length of the longest run of characters of any sample that stands in one of the texts too. Exact.

    A run of some length has all shorter ones in it, so the length is found by halving an interval.
    """
    low, high = 0, min(max(map(len, samples), default=0), max(map(len, texts), default=0))
    while low < high:
        length = (low + high + 1) // 2
        runs = {sample[at : at + length] for sample in samples for at in range(len(sample) - length + 1)}
        found = any(text[at : at + length] in runs for text in texts for at in range(len(text) - length + 1))
        low, high = (length, high) if found else (low, length - 1)
    return low


def copy_scores(trained: Sequence[int | None], held_out: Sequence[int | None]) -> Scores:
    """Returns the scores of what clients tell; empty if none tells anything.

    Args:
        trained: The longest run of characters copied from each client's training text, by partition; None where it is
            unknown.
        held_out: The same of as much held-out text, which no model can have copied.
    """
    known = [(length, -partition) for partition, length in enumerate(trained) if length is not None]
    if not known:
        return {}
    length, partition = max(known)
    others = [other for other in held_out if other is not None]
    return {
        "longest-copy": float(length),
        "longest-copy-held-out": float(max(others)),
        "client-longest-copy": [None if one is None else float(one) for one in trained],
        "client-longest-copy-held-out": [None if one is None else float(one) for one in held_out],
        "most-copied": -partition,
    }


def _copied(scores: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    if not {"longest-copy", "longest-copy-held-out", "most-copied"} <= scores.keys():
        return []
    return [
        f"The longest run that samples have in common with training text has {scores['longest-copy']:.0f} characters, "
        f"of client {scores['most-copied']}; with as much held-out text, {scores['longest-copy-held-out']:.0f}."
    ]


LONGEST_COPY = Metric(
    "longest-copy",
    (
        Score(
            "longest-copy",
            "longest copy",
            "characters of the longest run that samples have in common with a client's training text",
            "lower",
            chart=COPIES,
            decimals=0,
        ),
        Score(
            "longest-copy-held-out",
            "longest copy, held-out",
            "the same with as much held-out text of the client's: what is in common by chance",
            chart=COPIES,
            decimals=0,
        ),
        Score(
            "client-longest-copy",
            "longest copy",
            "characters of the longest run in common with each client's training text",
            "lower",
            "figures",
            "client",
            heading="Longest copy of each client's training text",
        ),
        Score(
            "client-longest-copy-held-out",
            "longest copy, held-out",
            "characters of the longest run in common with each client's held-out text",
            form="figures",
            of="client",
            heading="Longest run in common with each client's held-out text",
        ),
        Score(
            "most-copied",
            "most copied client",
            "the client of the longest copied run",
            form="number",
            of="client",
            figure="longest-copy",
        ),
    ),
    needs=frozenset({"clients"}),
    kinds=frozenset({"text"}),
    weak_spots=_copied,
)
