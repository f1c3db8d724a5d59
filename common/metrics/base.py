"""What a metric is: the scores that it gives, what they mean, what it needs, and how it is computed.

A metric is declared in its own file and stands in the table of ``common/metrics/table.py``; journal, console, report,
page, cards and tables show whatever stands there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from common.charts import Chart
from common.metrics.extractors import Extractor, features_on_all_cores
from common.metrics.feature_cache import kept_features
from common.metrics.moments import Moments

Better = Literal["lower", "higher", "neither"]
Form = Literal["figure", "figures", "number", "numbers"]
Need = Literal["features", "digits", "stacked-digits", "labels", "held-out", "clients"]
Scores = dict[str, float | Sequence[float | None]]

DISTANCES = Chart("distance", "Distance to real images", "Lower is better.", is_logarithmic=True)
SHARES = Chart("shares", "Fidelity and variety", "Higher is better.")

_BETTER = {"lower": "Lower is better.", "higher": "Higher is better.", "neither": ""}


@dataclass(frozen=True)
class Score:
    """One value that a metric gives.

    Attributes:
        name: In journals, summaries and answers; kebab-case.
        label: What people call it.
        meaning: What it is, in words.
        better: Which values are.
        form: ``figure``, a float; ``figures``, one for each client or class, None where it is not known; ``number``,
            that of a client or class; ``numbers``, those of several.
        of: Whose ``figures``, or what the ``number`` is of: a client or a class.
        figure: Of a ``number``: the name of the score that this client or class has.
        chart: Where it is drawn over the rounds; None: in a chart of its own.
        decimals: In tables.
        heading: In tables, and above lists of ``figures``; empty: its name.
        selects_rounds: Whether rounds are compared by it, where they have none that does and stands before it in the
            table; lower must be better.
        benchmark: How benchmarks show it: not, in a column of their tables, or in a panel of their figures as well.
        at_a_glance: Whether it is shown beside the one that rounds are compared by, where a run has one line only.
    """

    name: str
    label: str
    meaning: str
    better: Better = "neither"
    form: Form = "figure"
    of: Literal["client", "class", ""] = ""
    figure: str = ""
    chart: Chart | None = None
    decimals: int = 3
    heading: str = ""
    selects_rounds: bool = False
    at_a_glance: bool = False
    benchmark: Literal["", "column", "panel"] = "column"

    def __post_init__(self) -> None:
        if self.selects_rounds and (self.better, self.form) != ("lower", "figure"):
            raise ValueError(f"{self.name}: rounds are compared by a figure of which lower values are better")

    @property
    def drawn_in(self) -> Chart:
        """Where it is drawn over the rounds."""
        return self.chart or Chart(self.name, self.label[:1].upper() + self.label[1:], _BETTER[self.better])


class Reference:
    """Held-out images, and their features, which are made once for all scores.

    Args:
        images: uint8 (N, C, S, S).
        labels: int64 (N,).
        num_classes: How many there are.
        extractor: Of the features; None: there is none, and no metric asks for them.
    """

    def __init__(self, images: Tensor, labels: Tensor, num_classes: int, extractor: Extractor | None) -> None:
        self.images, self.labels, self.num_classes, self._extractor = images, labels, num_classes, extractor

    @cached_property
    def features(self) -> Tensor:
        """Features (N, D), on the CPU."""
        assert self._extractor is not None
        return kept_features(self._extractor, self.images, features_on_all_cores)

    @cached_property
    def moments(self) -> Moments:
        """Of the features."""
        return Moments.of(self.features)


class Sample:
    """Images that a generator made for one evaluation, and their features: made once for all its scores.

    Args:
        images: uint8 (N, C, S, S).
        labels: What the generator was asked for, int64 (N,).
        extractor: Of the features; None where there is none.
    """

    def __init__(self, images: Tensor, labels: Tensor, extractor: Extractor | None) -> None:
        self.images = images
        self.labels = labels
        self.extractor = extractor

    @cached_property
    def features(self) -> Tensor | None:
        """Features (N, D), on the CPU; None without an extractor."""
        return None if self.extractor is None else features_on_all_cores(self.extractor, self.images)


@dataclass(frozen=True)
class Comparison:
    """What a metric looks at.

    Attributes:
        real: Held-out images.
        sample: Generated ones.
        seed: Of the metric's random numbers.
    """

    real: Reference
    sample: Sample
    seed: int

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features of the held-out (N, D) and of the generated images (M, D), for metrics that need them."""
        assert self.sample.features is not None
        return self.real.features, self.sample.features


@dataclass(frozen=True)
class Setting:
    """What is known of a run when it is asked whether a metric can be computed in it.

    Attributes:
        size: Height and width of images, in pixels.
        num_classes: How many there are.
        label_counts: Held-out images of each class.
        is_conditional: Whether the generator takes labels.
        num_balanced: Images that are generated for metrics of ``balanced`` samples.
    """

    size: int
    num_classes: int
    label_counts: Sequence[int]
    is_conditional: bool
    num_balanced: int


def _nothing(*_: Any) -> None:
    return None


def _no_scores(scores: Mapping[str, Any]) -> Scores:
    return {}


def _no_words(scores: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    return []


@dataclass(frozen=True)
class Trouble:
    """What scores show to be wrong with a run.

    Attributes:
        kind: ``collapse``, ``coverage`` or ``divergence``.
        is_sure: Whether it is an error, and not just a warning.
        words: In a sentence.
        round: In which; None: at the end.
    """

    kind: Literal["collapse", "coverage", "divergence"]
    is_sure: bool
    words: str
    round: int | None = None


@dataclass(frozen=True)
class Course:
    """A run's scores as far as they are known.

    Attributes:
        rounds: The number of each scored round, in order, and its scores.
        final: Those of the end; empty before it.
    """

    rounds: Sequence[tuple[int, Mapping[str, Any]]]
    final: Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A question that is asked of generated examples.

    Attributes:
        name: As ``fedgan evaluate --metrics`` takes it.
        scores: What it gives, in the order in which to show it.
        needs: ``features`` of an extractor; ``digits``, which the embedded classifier reads; ``stacked-digits``, one in
            each channel, and of other images the metric is not spoken of; ``labels`` of held-out examples; enough
            ``held-out`` ones; what ``clients`` tell.
        kinds: The kinds of example that it takes.
        compute: Returns its scores; None: they are made of what clients tell, in ``server/evaluation``.
        between_rounds: Whether it is computed whenever a round is scored, and not at the end only.
        sample: What is generated for it: as many examples of each class as were held out, which many metrics share; or
            ``balanced`` over the classes, ``evaluation.utility-num-samples`` of them, for it alone.
        obstacle: Returns why it cannot be computed in a setting, in words that follow a colon; None if it can.
        few_images: What is to be said of it where no more images are held out than the extractor has features, with
            ``{held_out}`` for their number and ``{extractor}`` for the extractor; empty: nothing.
        usual_images: How many generated images published figures are of, where others are not to be put beside them;
            0: that does not matter so much.
        remark: Returns what is to be known of its scores where they stand in a line, in a few words, or None.
        troubles: Returns what goes wrong as its scores show it; None if they cannot tell yet.
        evidence: Which of its scores it takes to tell whether a generator has collapsed, in words; empty: it cannot.
        for_benchmarks: Further scores, which stand in tables of benchmarks only.
        derive: Returns those, of the metric's own scores; empty where there are none.
        weak_spots: Returns which clients and classes a generator serves worst, in sentences, of scores and the names of
            the classes.
    """

    name: str
    scores: tuple[Score, ...]
    needs: frozenset[Need] = frozenset()
    kinds: frozenset[str] = frozenset({"images"})
    compute: Callable[[Comparison], Scores] | None = None
    between_rounds: bool = False
    sample: Literal["shared", "balanced"] = "shared"
    obstacle: Callable[[Setting], str | None] = field(default=_nothing)
    few_images: str = ""
    usual_images: int = 0
    remark: Callable[[Mapping[str, Any]], str | None] = field(default=_nothing)
    troubles: Callable[[Course], list[Trouble] | None] = field(default=_nothing)
    evidence: str = ""
    for_benchmarks: tuple[Score, ...] = ()
    derive: Callable[[Mapping[str, Any]], Scores] = field(default=_no_scores)
    weak_spots: Callable[[Mapping[str, Any], Sequence[str]], list[str]] = field(default=_no_words)
