"""What a metric is: the scores that it gives, what they mean, what it needs, and how it is computed.

A metric is declared in its own file and stands in the table of ``common/metrics/table.py``; journal, console, report,
page, cards and tables show whatever stands there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from common.charts import Chart
from common.metrics.comparison import Comparison

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
        is_log2: Whether it is a logarithm to the base of 2, as bits are: how many times worse one value is than another
            is then their difference.
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
    is_log2: bool = False
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


@dataclass(frozen=True)
class Setting:
    """What is known of a run before it starts, to decide whether a metric can be computed in it.

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


@dataclass(frozen=True)
class Names:
    """What people call classes and clients, in sentences.

    Attributes:
        classes: The name of each class; may be none.
        clients: Those of clients that have one, by partition: a site's, or the source of its examples.
    """

    classes: Sequence[str] = ()
    clients: Mapping[int, str] = field(default_factory=dict)

    def of_class(self, label: int) -> str:
        """Returns a class as ``1 (men)``, or by its number where it has no other name."""
        name = self.classes[label] if label < len(self.classes) else ""
        return f"{label} ({name})" if name and name != str(label) else f"{label}"

    def of_client(self, partition: int) -> str:
        """Returns a client as ``3 (HAMLET)``, or by its number where it has no name."""
        name = self.clients.get(partition)
        return f"{partition} ({name})" if name else f"{partition}"


def _no_words(scores: Mapping[str, Any], names: Names) -> list[str]:
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
    """A measure of generated examples.

    Attributes:
        name: As ``fedgan evaluate --metrics`` takes it.
        scores: What it gives, in the order in which to show it.
        needs: ``features`` of an extractor; ``digits``, which the embedded classifier reads; ``stacked-digits``, one in
            each channel, and of other images the metric is not spoken of; ``labels`` of held-out examples; enough
            ``held-out`` ones; what ``clients`` tell.
        kinds: The kinds of example that it takes.
        compute: Returns its scores; None: they are made of what clients tell, in ``server/evaluation``.
        between_rounds: Whether it is computed whenever a round is scored, and not at the end only.
        sample: What is generated for it: as many examples of each class as were held out, which many metrics share;
            ``balanced`` over the classes, ``evaluation.utility-num-samples`` of them, for it alone; or ``none``, as it
            looks at the model's probabilities, or has it go on from what it chooses itself.
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
        weak_spots: Returns which clients and classes a generator serves worst, in sentences, of scores and names.
    """

    name: str
    scores: tuple[Score, ...]
    needs: frozenset[Need] = frozenset()
    kinds: frozenset[str] = frozenset({"images"})
    compute: Callable[[Comparison], Scores] | None = None
    between_rounds: bool = False
    sample: Literal["shared", "balanced", "none"] = "shared"
    obstacle: Callable[[Setting], str | None] = field(default=_nothing)
    few_images: str = ""
    usual_images: int = 0
    remark: Callable[[Mapping[str, Any]], str | None] = field(default=_nothing)
    troubles: Callable[[Course], list[Trouble] | None] = field(default=_nothing)
    evidence: str = ""
    for_benchmarks: tuple[Score, ...] = ()
    derive: Callable[[Mapping[str, Any]], Scores] = field(default=_no_scores)
    weak_spots: Callable[[Mapping[str, Any], Names], list[str]] = field(default=_no_words)
