"""The table of metrics: one a file, in the order in which their scores are shown."""

from collections.abc import Container

from common.charts import Chart, Plot, grouped
from common.metrics.base import Metric, Score
from common.metrics.bleu import BLEU
from common.metrics.classifier_score import SCORE
from common.metrics.distinct import DISTINCT
from common.metrics.federated import FEDERATED_FID
from common.metrics.federated_next_token import FEDERATED_NEXT_TOKEN
from common.metrics.fid import FID
from common.metrics.kid import KID
from common.metrics.longest_copy import LONGEST_COPY
from common.metrics.membership import MEMBERSHIP
from common.metrics.memorisation import MEMORISATION
from common.metrics.modes import MODES
from common.metrics.next_token import NEXT_TOKEN
from common.metrics.prdc import PER_CLASS_RECALL, PRDC
from common.metrics.rouge import ROUGE
from common.metrics.utility import UTILITY

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(FID, FEDERATED_FID, KID, PRDC, SCORE, MODES, PER_CLASS_RECALL, UTILITY, MEMORISATION, MEMBERSHIP),
        *(NEXT_TOKEN, FEDERATED_NEXT_TOKEN, BLEU, ROUGE, DISTINCT, LONGEST_COPY),
    )
}


def scores() -> dict[str, Score]:
    """Returns the scores of all metrics by name, in the order in which to show them."""
    return {score.name: score for metric in METRICS.values() for score in metric.scores}


def figures() -> dict[str, Score]:
    """Returns those scores that are one figure."""
    return {name: score for name, score in scores().items() if score.form == "figure"}


def held_out() -> tuple[str, ...]:
    """Returns the names of the metrics that compare with held-out images on the server."""
    return tuple(name for name, metric in METRICS.items() if metric.compute is not None)


def quick() -> tuple[str, ...]:
    """Returns those of ``held_out`` that are computed whenever a round is scored."""
    return tuple(name for name in held_out() if METRICS[name].between_rounds)


def selecting(known: Container[str]) -> str | None:
    """Returns the name of the score that rounds are compared by, lower is better; None if ``known`` has none.

    Args:
        known: Names of scores, of a round or of several.
    """
    return next((name for name, score in scores().items() if score.selects_rounds and name in known), None)


def default_selecting() -> str:
    """Returns the name of the score that rounds are compared by where nothing is scored yet."""
    return next(name for name, score in scores().items() if score.selects_rounds)


def selecting_or_default(known: Container[str]) -> str:
    """Returns the name of the score that rounds are compared by, of those that are ``known`` if one is."""
    return selecting(known) or default_selecting()


def plots(known: Container[str]) -> list[Plot]:
    """Returns the charts of figures over the rounds, of those scores that are ``known``."""
    rows: list[tuple[Chart, Score]] = [(score.drawn_in, score) for name, score in figures().items() if name in known]
    return [Plot(chart, {it.name: it.label for it in those}, True) for chart, those in grouped(rows).items()]


def columns(*, of_clients: bool) -> dict[str, Score]:
    """Returns what stands in tables of benchmarks, by name.

    Args:
        of_clients: Whether of the metrics that are made of what clients tell, or of the others.
    """
    chosen = [metric for metric in METRICS.values() if ("clients" in metric.needs) == of_clients]
    found = [score for metric in chosen for score in (*metric.scores, *metric.for_benchmarks)]
    return {score.name: score for score in found if score.form == "figure" and score.benchmark}
