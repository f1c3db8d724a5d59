"""What is searched, by which score and how: everything that makes a search the one that it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from common import components
from common.config import RunConfig, Scalar, upgraded
from common.errors import ConfigError, OtherRunError
from common.metrics import table
from simulations.runs.search_record import ParameterRow, SearchRecord, Value
from simulations.search.domains import Range
from simulations.search.space import Parameter, Space

Sampler = Literal["tpe", "random"]
Pruner = Literal["hyperband", "wilcoxon", "none"]

_OF_UTILITY = "evaluation.utility-num-samples"
_ROUNDS = "federation.num-rounds"
_FREE = ("output.", "data.root")


@dataclass(frozen=True)
class Plan:
    """A search, before anything is known.

    Attributes:
        preset: The name of what is not searched.
        base: What is not searched.
        space: What is.
        metric: The score by which trials are compared.
        sampler: What proposes settings.
        pruner: What ends trials early.
        own: What the search has set beside the space, with the values that it has put aside.
    """

    preset: str
    base: RunConfig
    space: Space
    metric: str
    sampler: Sampler = "tpe"
    pruner: Pruner = "hyperband"
    own: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Which values of the score are."""
        return "higher" if table.scores()[self.metric].better == "higher" else "lower"

    @cached_property
    def most_rounds(self) -> int:
        """Rounds of the longest trial."""
        searched = self.space.settings.get(_ROUNDS)
        most = max(map(float, searched.examples())) if searched else self.base.federation.num_rounds
        return int(most)

    def record(self, trials: int, budget: float | None) -> SearchRecord:
        """Returns what a search says of itself before its first trial."""
        flat: dict[str, Value] = dict(self.base.flat())
        return SearchRecord(
            metric=self.metric,
            better=self.better,
            preset=self.preset,
            config=flat,
            sampler=self.sampler,
            pruner=self.pruner,
            trials=trials,
            budget=budget,
            parameters=[_row(one) for one in self.space.parameters()],
        )

    def require_same(self, known: SearchRecord, where: str) -> None:
        """Checks that what a folder holds is this search.

        Raises:
            OtherRunError: It is another one; names the differences.
        """
        ours = self.record(known.trials, known.budget)
        pairs: list[tuple[str, object, object]] = [
            (f"--{name}", getattr(known, name), getattr(ours, name)) for name in ("metric", "sampler", "pruner")
        ]
        stored = upgraded(known.config)
        pairs += [(key, stored.get(key), ours.config.get(key)) for key in sorted({*stored, *ours.config})]
        differences = [
            f"{name} {before!r}, now {now!r}"
            for name, before, now in pairs
            if before != now and not name.startswith(_FREE)
        ]
        before, now = (
            {row.name: row.model_copy(update={"importance": None}) for row in it.parameters} for it in (known, ours)
        )
        differences += [f"the space of {name}" for name in {**before, **now} if before.get(name) != now.get(name)]
        if differences:
            raise OtherRunError(f"the search in {where} is another one: {'; '.join(differences)}; take another --out")


@dataclass(frozen=True)
class Limits:
    """How much a search may do.

    Attributes:
        trials: So many.
        budget: Seconds, over all sessions; None: any number.
        finalists: Best trials to repeat; 0: none.
        seeds: With so many seeds each.
        side_by_side: Runs at a time.
    """

    trials: int = 30
    budget: float | None = None
    finalists: int = 3
    seeds: int = 3
    side_by_side: int = 1


def _row(parameter: Parameter) -> ParameterRow:
    domain = parameter.domain
    if isinstance(domain, Range):
        return ParameterRow(name=parameter.name, low=domain.low, high=domain.last, log=domain.log)
    return ParameterRow(name=parameter.name, choices=list(domain.values))


def make_plan(
    preset: str,
    base: RunConfig,
    space: Space,
    metric: str | None,
    sampler: str,
    pruner: str | None,
    is_set: bool = False,
) -> Plan:
    """Returns a search that can be made.

    Args:
        preset: The name of what is not searched.
        base: What is not searched.
        space: What is.
        metric: The name of a score; None: the one that rounds are compared by, where the server has data.
        sampler: ``tpe`` or ``random``.
        pruner: ``hyperband``, ``wilcoxon`` or ``none``; None: the first where trials are scored between rounds.
        is_set: Whether the user has said how many images the utility classifier is trained on: else none are made for
            it where it is not what is searched for, as it takes longer than the rest of the final scores.

    Raises:
        ConfigError: An unknown name, a score that trials do not have, or settings that no draw makes a configuration.
    """
    metric = default_metric(base) if metric is None else metric
    known = [name for name, score in table.figures().items() if score.better != "neither"]
    if metric not in known:
        raise ConfigError(f"--metric {metric!r}: {components.suggestion(metric, known)}")
    samplers: tuple[Sampler, ...] = ("tpe", "random")
    pruners: tuple[Pruner, ...] = ("hyperband", "wilcoxon", "none")
    own: Sampler | None = next((name for name in samplers if name == sampler), None)
    if own is None:
        raise ConfigError(f"--sampler {sampler!r}: {components.suggestion(sampler, list(samplers))}")
    between = _is_scored_between_rounds(metric, base)
    ending: Pruner | None = next((name for name in pruners if name == pruner), None)
    if pruner is None:
        ending = "hyperband" if between else "none"
    if ending is None:
        raise ConfigError(f"--pruner {pruner!r}: {components.suggestion(str(pruner), list(pruners))}")
    if ending != "none" and not between:
        why = (
            "evaluation.every=0 scores the last round only: set evaluation.every"
            if not base.evaluation.every
            else f"{metric} is computed at the end of a run only"
        )
        raise ConfigError(
            f"--pruner {ending}: it judges trials by scores between rounds, and {why}, or take --pruner none"
        )
    _require_public(base)
    needs_balanced = any(
        score.name == metric for it in table.METRICS.values() for score in it.scores if it.sample == "balanced"
    )
    put_aside: dict[str, Scalar] = {}
    if not is_set and not needs_balanced:
        put_aside[_OF_UTILITY] = base.flat()[_OF_UTILITY]
    return Plan(preset, base.replaced(dict.fromkeys(put_aside, 0)), space, metric, own, ending, put_aside)


def default_metric(config: RunConfig) -> str:
    """Returns the score that rounds of a run are compared by, where the server has data."""
    own = [metric for metric in table.METRICS.values() if config.model_component.kind in metric.kinds]
    return next(score.name for metric in own for score in metric.scores if score.selects_rounds)


def _is_scored_between_rounds(metric: str, config: RunConfig) -> bool:
    """Returns whether a run computes a score after some of its rounds."""
    quick = {score.name for name in table.quick() for score in table.METRICS[name].scores}
    quick |= {score.name for score in table.scores().values() if score.selects_rounds}
    return bool(config.evaluation.every) and metric in quick


def _require_public(base: RunConfig) -> None:
    """Refuses to search on examples that are promised to be kept.

    Raises:
        ConfigError: Trials would spend more of them than any run says.
    """
    if not base.privacy_component.private:
        return
    if not base.source.is_public:
        raise ConfigError(
            f"privacy={base.privacy!r}: every trial releases its own generator and scores, so a search would spend the "
            f"epsilon of all its trials together, and data.name={base.data.name!r} is not public; search on public "
            "data that are like yours, then run once with the best settings (docs/privacy.md)"
        )
