"""What the record of a run tells, as figures and in words: for its report and for whoever else shows it."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.records import journal, model_selection
from server.records.journal import Line

MEANING = {
    "fid": "Fréchet distance of features, lower is better",
    "federated-fid": "Fréchet distance to the images of all clients, from moments that they told, lower is better",
    "worst-client-fid": "the same to the images of the client that the generator serves worst",
    "worst-class-fid": "the same of the class that the generator makes worst",
    "kid": "kernel distance of features, lower is better",
    "precision": "generated images that look real",
    "recall": "real images that the generator covers",
    "density": "how densely real neighbourhoods are filled",
    "coverage": "real images with a generated neighbour",
    "score": "classifier score, 10 is perfect for ten digits",
    "utility": "accuracy on real images of a classifier trained on generated ones",
}
"""What each score is, in the order in which to show them."""

_REMARKS = ("engine", "not-scored", "features")
"""Events that are no trouble: what a run is done with."""

MEANS = ("discriminator-loss", "generator-loss", "d-real", "d-fake")
"""Clients' figures that are shown as their mean over a round, weighted by images."""


@dataclass(frozen=True)
class Curves:
    """How figures went over the rounds; None where a round has no such figure.

    Attributes:
        rounds: In order.
        means: Of each of ``MEANS`` that any round has, a value a round.
        drift: By partition, a value a round: the distance of the client's weights to the new mean.
        scores: By name, each single-valued score that any round has, a value a round.
    """

    rounds: list[int]
    means: dict[str, list[float | None]]
    drift: dict[int, list[float | None]]
    scores: dict[str, list[float | None]]

    @property
    def distance(self) -> str:
        """The name of the score that rounds are compared by (``model_selection.quality``)."""
        return distance(self.scores)


def curves(lines: Sequence[Line]) -> Curves:
    """Returns how figures went over the rounds of a journal."""
    means = {key: [journal.mean_of(line, key) for line in lines] for key in MEANS}
    drift: dict[int, list[float | None]] = {}
    for index, line in enumerate(lines):
        for client in line["clients"]:
            if "drift" in client:  # of a client that shares weights
                drift.setdefault(client["partition"], [None] * len(lines))[index] = client["drift"]
    return Curves(
        [line["round"] for line in lines],
        {key: values for key, values in means.items() if any(value is not None for value in values)},
        dict(sorted(drift.items())),
        score_curves(lines),
    )


def score_curves(lines: Sequence[Line]) -> dict[str, list[float | None]]:
    """Returns how each single-valued score went over the rounds of a journal, by its name."""
    scores: dict[str, list[float | None]] = {}
    for index, line in enumerate(lines):
        for key, value in line["scores"].items():
            if isinstance(value, float):
                scores.setdefault(key, [None] * len(lines))[index] = value
    return scores


def distance(scores: Container[str]) -> str:
    """Returns the name of the score that rounds are compared by (see ``model_selection.quality``)."""
    return "fid" if "fid" in scores else "federated-fid"


def scored_with_words(told: Mapping[str, Any] | None) -> str:
    """Returns in words what scores were computed with.

    Args:
        told: ``scored-with`` of a round or of a run's end; None of a run that is older than it.
    """
    if told is None:
        return "extractor and number of images are not known, as the run is of an earlier version"
    extractor = told.get("extractor")
    parts = [f"features of {extractor}" if extractor else "without an extractor of features"]
    parts.append(f"{told['num-images']:,} generated images")
    if "utility-num-images" in told:
        parts.append(f"utility on {told['utility-num-images']:,}")
    return ", ".join(parts)


def failings(scores: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Returns which clients and classes the generator serves worst, a sentence or two each.

    Args:
        scores: Of a run's end, or of a round.
        names: Of the classes.
    """
    words = []
    if {"worst-client", "worst-client-fid", "federated-fid"} <= scores.keys():
        words.append(
            f"It serves client {scores['worst-client']} worst: fid {scores['worst-client-fid']:.4g} to that client's "
            f"images, {scores['federated-fid']:.4g} to those of all."
        )
    if {"worst-class", "worst-class-fid"} <= scores.keys():
        which = scores["worst-class"]
        name = f" ({names[which]})" if which < len(names) and names[which] != str(which) else ""
        words.append(f"It makes class {which}{name} worst: fid {scores['worst-class-fid']:.4g} to its images.")
    if {"worst-recalled-class", "worst-class-recall"} <= scores.keys():
        words.append(
            f"It covers class {scores['worst-recalled-class']} least: recall {scores['worst-class-recall']:.2f}."
        )
    if {"federated-clients", "client-fid"} <= scores.keys():
        told = ", ".join(map(str, scores["federated-clients"]))
        words.append(f"Only clients {told} of {len(scores['client-fid'])} have told moments of their images.")
    errors = dict(enumerate(scores.get("memorisation-error", ())))
    which, ratio = scores.get("most-memorised", -1), scores.get("most-memorised-ratio")
    if ratio is not None and (error := errors.get(which)) is not None:
        sign = "a sign that it repeats them" if ratio < 1 - 3 * error else "no sign that it repeats them"
        words.append(
            f"The images that client {which} trained on lie {ratio:.2f} ± {error:.2f} times as far from generated ones "
            f"as images that it held out: {sign}. No other client's ratio is lower; 1 is none, 0 repeats all."
        )
    return words


def incidents(lines: Sequence[Line], events: Sequence[Line]) -> list[tuple[int, str, str]]:
    """Returns what went wrong as (round, what, why), by round: clients left out, rounds repeated, going back, stops."""
    wrong = [event for event in events if event["event"] not in _REMARKS]
    rows = [(event["round"], event["event"].replace("-", " "), event["reason"]) for event in wrong]
    rows += [(ln["round"], f"{_called(r)} left out", r["reason"]) for ln in lines for r in ln["refused"]]
    return sorted(rows, key=lambda row: row[0])


def reasons(events: Sequence[Line], event: str) -> list[str]:
    """Returns the reasons of all events of one kind, in order, each once."""
    return list(dict.fromkeys(line["reason"] for line in events if line["event"] == event))


def quality(lines: Sequence[Line]) -> list[float | None]:
    """Returns what rounds are compared by (``model_selection.quality``), a value a round."""
    return [model_selection.quality(line["scores"]) for line in lines]


def _called(refusal: Mapping[str, Any]) -> str:
    client = f"client {refusal['partition']}"
    return f"{refusal['site']} ({client})" if refusal.get("site") else client
