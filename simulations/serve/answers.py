"""The answers of the addresses of runs, with the journal's own names for figures."""

from typing import Any, Literal

from pydantic import Field

from simulations.runs.round_status import RoundStatus
from simulations.runs.status import State
from simulations.serve.answer_base import Answer
from simulations.serve.example_kinds import ExampleKind, ImageKind, TextKind
from simulations.serve.figure_tables import ChartInfo, FigureInfo, ScoreInfo


class Problem(Answer):
    """Why a request was not carried out, in words."""

    detail: str


class Alert(Answer):
    """Something that goes wrong, or may, in words."""

    kind: Literal[
        "collapse",
        "coverage",
        "divergence",
        "refused",
        "lost-round",
        "drift",
        "stopped",
        "not-scored",
        "features",
        "record",
    ]
    severity: Literal["warning", "error"]
    round: int = Field(description="the round that it was seen in, or last seen")
    client: int | None = Field(None, description="the client that it is about; null: the whole federation")
    words: str


class Check(Answer):
    """A kind of trouble that figures would show, and whether they are there."""

    words: str = Field(description="what is said where they are, and show none: no collapse")
    is_measured: bool = Field(description="whether they are there")
    unmeasured: str = Field(description="what cannot be said without them, in words")


class Best(Answer):
    """The best round by the score that rounds are compared by (`distance`)."""

    round: int
    value: float
    num_samples: int | None = Field(None, description="generated images that it was computed with; null: not recorded")


class ScoredWith(Answer):
    """What scores were computed with."""

    extractor: str | None = Field(
        None, description="whose features: mnist-cnn, mnist-cnn-channels, random-vgg or inception; null: none"
    )
    num_samples: int | None = Field(None, description="generated images; null: not recorded")
    own_num_samples: dict[str, int | None] = Field({}, description="those of metrics that have images of their own")


class SamplesAsText(Answer):
    """Samples as texts, and real ones beside them."""

    way: str = Field(description="how they were made: temperature 1; empty: not recorded")
    sections: list["TextSection"] = Field(description="the samples of the round: the same noise at every round")
    ways: dict[str, list["TextSection"]] = Field(
        description="the latest samples that were made in other ways, by what these are called: temperature 0.7"
    )
    real: list["TextSection"] = Field(description="texts that no client trained on; empty: there are none")


class TextSection(Answer):
    """Texts of a class."""

    heading: str = Field(description="the name of the class; empty: they are of no class in particular")
    texts: list[str]


class RunSummary(Answer):
    """A run at a glance. What its record does not say is null."""

    id: str = Field(description="in addresses")
    state: State
    words: str = Field(description="the state in a sentence, with the reason where there is one")
    problem: str = Field(
        description="why its configuration cannot be used, in words that begin with the file; empty: it can. Other "
        "files that cannot be read have a sign of kind record each"
    )
    algorithm: str | None
    aggregate: str | None
    weighting: str | None
    model: str | None
    objective: str | None
    data: str | None
    data_is_public: bool = Field(description="whether the name of the data set says which images these are")
    partition: str | None
    seed: int | None
    clients: int | None
    round: int = Field(description="rounds done")
    rounds: int | None = Field(description="rounds in all")
    progress: float | None = Field(description="share of the rounds that is done, 0 to 1")
    seconds: float = Field(description="time of the rounds that are done")
    seconds_left: float | None = Field(description="to the last round, by the pace of the last ten; null: not known")
    updated: float = Field(description="when the record last changed, seconds since 1970")
    examples_seen: int = Field(description="real examples that clients have trained on so far, counted each time")
    best: Best | None
    distance: str = Field(description="the name of the score that rounds are compared by, lower is better")
    figures: list[FigureInfo] = Field(description="of clients' training, as its objective calls them; main ones first")
    scores: dict[str, Any] = Field(description="of the last scored round, or final ones of a finished run; by name")
    scores_round: int | None = Field(description="the round that `scores` are of")
    scored_with: ScoredWith | None = Field(description="what `scores` were computed with; null: not recorded")
    quality_rounds: list[int] = Field(description="scored rounds, to compare runs in one chart")
    quality: list[float] = Field(description="`distance` of each of them")
    signs: list[Alert] = Field(description="collapse, divergence, refusals and the like, the latest first")
    sample_rounds: list[int] = Field(description="rounds with samples")
    samples_are: Literal["png", "txt"] = Field(
        description="how they are had: as a picture, samples/{round}.png, or as text, samples/{round}.txt and .json"
    )
    checkpoint_rounds: list[int] = Field(description="rounds that images can be made of, besides best and last")
    generator: bool = Field(description="whether the server has a generator to make images with")
    images: ImageKind | None = Field(description="null before clients have answered, and where it makes none")
    texts: TextKind | None = Field(None, description="the same of a run that writes text")
    examples: ExampleKind | None = Field(description="of whatever kind; null before clients have answered")


class Curves(Answer):
    """Figures over the rounds, a value a round; null where a round has none."""

    rounds: list[int]
    means: dict[str, list[float | None]] = Field(
        description="what clients tell of their training, by name (`figures`): means over clients, weighted by examples"
    )
    scores: dict[str, list[float | None]]
    seconds: list[float]
    bytes_up: list[int]
    bytes_down: list[int]


class Refusal(Answer):
    """A reply that was left out."""

    round: int
    reason: str


class ClientRow(Answer):
    """One client."""

    client: int = Field(description="its partition")
    site: str = Field(description="what people call it; empty: it has no name")
    images: int = Field(description="examples, of whatever kind")
    label_counts: list[int] | None = Field(description="examples of each class; null: it does not disclose them")
    weight: float | None = Field(
        description="its share in the mean of its last round, 0 to 1; null where the algorithm has its own"
    )
    last_round: int | None = Field(description="the last round that it trained in")
    last: dict[str, float | None] = Field(description="its figures then, by name (`figures`)")
    curves: dict[str, list[float | None]] = Field(description="the same, a value for each of the run's rounds")
    trained: int = Field(description="rounds that it trained in")
    lost_rounds: list[int] = Field(description="rounds that it was selected for, and left out of")
    refused: list[Refusal] = Field(description="why, the last 100")
    scores: dict[str, float | None] = Field(description="its part of those scores that are figures of clients, by name")


class Incident(Answer):
    """What went wrong, and when."""

    round: int
    what: str
    why: str


class RunDetail(RunSummary):
    """A run in full."""

    now: RoundStatus | None = Field(description="null where no round is under way, or now.json is missing")

    config: dict[str, Any] = Field(description="every key of the configuration; of one with a `problem`, what it says")
    curves: Curves
    client_table: list[ClientRow]
    charts: list[ChartInfo] = Field(description="in which `curves` are to be drawn, in order")
    checks: list[Check] = Field(description="what can be said of the run's health, and what cannot")
    weak_spots: list[str] = Field(description="which clients and classes the generator serves worst, in words")
    incidents: list[Incident] = Field(description="the last 100")
    privacy: str = Field(description="what is proven of what clients have sent, in words; empty: nothing is promised")
    score_table: list[ScoreInfo] = Field(description="all scores that there are, in the order in which to show them")


class Runs(Answer):
    """All runs."""

    runs: list[RunSummary]
    score_table: list[ScoreInfo] = Field(description="all scores that there are, in the order in which to show them")


class Journal(Answer):
    """Lines of a journal."""

    lines: list[dict[str, Any]] = Field(description="as in docs/reliability.md; numbers that are not finite are null")
    unreadable: int = Field(description="lines that cannot be read, such as one that a crash cut off")
    total: int = Field(description="lines in all")
    cuts: int = Field(
        description="how often lines were removed since the server first read it: if it has changed, discard the "
        "lines that you have, and begin again with first=0"
    )


class PartitionClient(Answer):
    """What one client holds."""

    partition: int
    site: str = Field(description="what people call it; empty: it has no name")
    num_examples: int
    label_counts: list[int] | None


class Partition(Answer):
    """How many examples of each class each client holds."""

    class_names: list[str]
    clients: list[PartitionClient]


class Written(Answer):
    """A generated text."""

    index: int = Field(description="which draw of the seed it is")
    label: int | None = Field(description="the class that it was asked for; null: the model takes none")
    class_name: str = Field(alias="class", description="of that class; empty where there is none")
    prompt: str
    text: str = Field(description="all of it, the prompt first")
    sentences: list[str] | None = Field(None, description="there where split asks for them")
    words: list[str] | None = Field(None, description="there where split asks for them")


class Texts(Answer):
    """Generated texts."""

    texts: list[Written]
    made: int = Field(description="how many were made, those that were dropped as well")
    dropped: dict[str, int] = Field(description="how many were dropped, by the option that did it")
    remarks: list[str] = Field(description="such as characters of a prompt that the model does not know")
    provenance: dict[str, Any] = Field(description="where they come from, and the request that makes them again")
