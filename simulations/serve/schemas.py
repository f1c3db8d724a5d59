"""The answers of the addresses of runs, with the journal's own names for figures."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.components import kebab
from simulations.runs.round_status import RoundStatus
from simulations.runs.status import State


class Answer(BaseModel):
    """Base of all answers: keys are in kebab-case."""

    model_config = ConfigDict(frozen=True, alias_generator=kebab, populate_by_name=True)


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


class Best(Answer):
    """The round of the best fid (of federated-fid, where the server has no data)."""

    round: int
    fid: float
    num_images: int | None = Field(None, description="generated images that it was computed with; null: not recorded")


class ScoredWith(Answer):
    """What scores were computed with."""

    extractor: str | None = Field(None, description="whose features: mnist-cnn or inception; null: none")
    num_images: int | None = Field(None, description="generated images; null: not recorded")
    utility_num_images: int | None = Field(None, description="of utility, where that was computed")


class ImageKind(Answer):
    """What the generator makes."""

    channels: int
    size: int = Field(description="height and width in pixels")
    classes: int
    class_names: list[str] = Field(description="by label")
    drawn: list[int] = Field(
        description="labels that clients have images of: those of balanced, and of rows of samples"
    )
    conditional: bool | None = Field(description="whether images of a chosen label can be made; null: not known")


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
    partition: str | None
    seed: int | None
    clients: int | None
    round: int = Field(description="rounds done")
    rounds: int | None = Field(description="rounds in all")
    progress: float | None = Field(description="share of the rounds that is done, 0 to 1")
    seconds: float = Field(description="time of the rounds that are done")
    seconds_left: float | None = Field(description="to the last round, by the pace of the last ten; null: not known")
    updated: float = Field(description="when the record last changed, seconds since 1970")
    images_seen: int = Field(description="real images that clients have trained on so far, counted each time")
    best: Best | None
    distance: str = Field(description="the score that rounds are compared by: fid, or federated-fid")
    scores: dict[str, Any] = Field(description="of the last scored round, or final ones of a finished run; by name")
    scores_round: int | None = Field(description="the round that `scores` are of")
    scored_with: ScoredWith | None = Field(description="what `scores` were computed with; null: not recorded")
    quality_rounds: list[int] = Field(description="scored rounds, to compare runs in one chart")
    quality: list[float] = Field(description="`distance` of each of them")
    signs: list[Alert] = Field(description="collapse, divergence, refusals and the like, the latest first")
    sample_rounds: list[int] = Field(description="rounds with samples/{round}.png")
    checkpoint_rounds: list[int] = Field(description="rounds that images can be made of, besides best and last")
    generator: bool = Field(description="whether the server has a generator to make images with")
    images: ImageKind | None = Field(description="null before clients have answered")


class Curves(Answer):
    """Figures over the rounds, a value a round; null where a round has none."""

    rounds: list[int]
    means: dict[str, list[float | None]] = Field(
        description="discriminator-loss, generator-loss, d-real, d-fake: means over clients, weighted by images"
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
    images: int
    label_counts: list[int] | None = Field(description="images of each class; null: it does not disclose them")
    weight: float | None = Field(
        description="its share in the mean of its last round, 0 to 1; null where the algorithm has its own"
    )
    last_round: int | None = Field(description="the last round that it trained in")
    last: dict[str, float | None] = Field(
        description="its figures then: discriminator-loss, generator-loss, d-real, d-fake, drift, seconds, ..."
    )
    curves: dict[str, list[float | None]] = Field(description="the same, a value for each of the run's rounds")
    trained: int = Field(description="rounds that it trained in")
    lost_rounds: list[int] = Field(description="rounds that it was selected for, and left out of")
    refused: list[Refusal] = Field(description="why, the last 100")
    fid: float | None = Field(description="of the generator to this client's images (client-fid)")


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
    failings: list[str] = Field(description="which clients and classes the generator serves worst, in words")
    incidents: list[Incident] = Field(description="the last 100")
    meaning: dict[str, str] = Field(description="what each score is")


class Runs(Answer):
    """All runs."""

    runs: list[RunSummary]


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
    num_examples: int
    label_counts: list[int] | None


class Partition(Answer):
    """How many images of each class each client holds."""

    class_names: list[str]
    clients: list[PartitionClient]


def finite(value: Any) -> Any:
    """Returns a value of a JSON file with null for numbers that JSON, or who reads it, has no way to write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not -(2**63) < value < 2**63:
        return None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
