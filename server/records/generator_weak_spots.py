"""Which clients and classes a generator serves worst."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.metrics import METRICS, Names


def weak_spots(scores: Mapping[str, Any], class_names: Sequence[str], roster: Mapping[str, Any]) -> list[str]:
    """Returns which clients and classes a generator serves worst, a sentence or two for each metric that tells.

    Args:
        scores: Of a run's end, or of a round.
        class_names: The names of the classes.
        roster: ``partition.json``, which has the names of clients; may be empty.
    """
    names = Names(class_names, client_names(roster))
    return [words for metric in METRICS.values() for words in metric.weak_spots(scores, names)]


def client_names(roster: Mapping[str, Any]) -> dict[int, str]:
    """Returns what people call clients, by partition, of those that have a name."""
    return {client["partition"]: client["site"] for client in roster.get("clients", ()) if client.get("site")}
