"""The configuration of a run: one frozen object, parsed and checked before anything starts.

The keys, their meaning and defaults are those of ``[tool.flwr.app.config]`` in ``pyproject.toml`` (a test holds the two
together). A part that a user picks by name is one string: ``objective = "hinge r1=0.1"`` (see ``common.components``).
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError, model_validator

from common import components, renamed_settings, setting_suggestions
from common.aggregators import AGGREGATORS, Aggregator
from common.algorithms import ALGORITHMS, Algorithm
from common.component_tables import TABLES, spelled_out, spelling_out
from common.components import CHAINED, Options, kebab
from common.config_sections import (
    AdmissionConfig,
    DataConfig,
    EvaluationConfig,
    FederationConfig,
    GuardConfig,
    LocalConfig,
    OutputConfig,
)
from common.config_values import fault, flatten
from common.datasets import DATASETS, DataSource
from common.errors import ConfigError
from common.hooks import ROUND_HOOKS, RoundHook
from common.models import MODELS, Model
from common.objectives import OBJECTIVES, Objective
from common.optimisers import OPTIMISERS, Optimiser
from common.partitioners import PARTITIONERS, Partitioner
from common.transforms import TRANSFORMS, Pipeline
from common.weightings import WEIGHTINGS, Weighting

Scalar = bool | int | float | str


class RunConfig(Options):
    """Everything that determines a run."""

    seed: int = Field(0, ge=0, lt=2**63, description="root of every random number")
    model: Annotated[str, spelling_out("model")] = Field("dcgan", description="networks")
    objective: Annotated[str, spelling_out("objective")] = Field("non-saturating", description="adversarial loss")
    optimiser: Annotated[str, spelling_out("optimiser")] = Field("adam", description="how weights follow gradients")
    algorithm: Annotated[str, spelling_out("algorithm")] = Field("fedavg", description="federated algorithm")
    aggregate: Annotated[str, spelling_out("aggregate")] = Field("mean", description="how clients' weights become one")
    weighting: Annotated[str, spelling_out("weighting")] = Field("examples", description="clients' weights in the mean")
    transforms: Annotated[str, spelling_out("transforms")] = Field(
        "", description="what is done to updates on their way to the server, in order, with | between; empty: nothing"
    )
    partition: Annotated[str, spelling_out("partition")] = Field("shards", description="split of the data over clients")
    hooks: Annotated[str, spelling_out("hooks")] = Field(
        "",
        description="what may end a run after a round or send it back, besides guard and patience; ; between several",
    )
    tracking: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        "none", description="where figures and samples go besides the run directory"
    )
    data: DataConfig = DataConfig()
    federation: FederationConfig = FederationConfig()
    local: LocalConfig = LocalConfig()
    admission: AdmissionConfig = AdmissionConfig()
    guard: GuardConfig = GuardConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def _enough_replies(self) -> "RunConfig":
        """Refuses parts that do not go together, as an aggregator that no round can have replies enough for."""
        needed, cohort = self.aggregator.min_replies(), self.federation.cohort_size
        if cohort < needed:
            ways = ["more clients", *(["a larger fraction"] if self.federation.fraction < 1 else [])]
            ways.append(self.aggregator.advice(cohort) or "another aggregate")
            raise ConfigError(
                f"aggregate={self.aggregate!r} needs {needed} replies a round, federation.num-clients="
                f"{self.federation.num_clients} with federation.fraction={self.federation.fraction:g} gives {cohort}: "
                f"{', '.join(ways[:-1])} or {ways[-1]}"
            )
        self._check_family()
        self._check_rates()
        self._check_counts()
        self.algorithm_component.check(self.objective_component, self.aggregator, self.model_component)
        self._check_transforms()
        if self.algorithm_component.ends_otherwise and (early := self._may_end_early()):
            raise ConfigError(
                f"{early} may end the run before the last rounds, in which algorithm={self.algorithm!r} does what it "
                f"is for: take {early.partition('=')[0]}={0 if self.federation.patience else repr('')}"
            )
        if self.weighting_component != WEIGHTINGS["examples"]():
            if self.algorithm_component.own_weighting:
                raise ConfigError(f"weighting={self.weighting!r}: algorithm={self.algorithm!r} brings its own weights")
            if self.aggregator.one_vote_each:
                raise ConfigError(
                    f"weighting={self.weighting!r}: aggregate={self.aggregate!r} gives each client one vote; only mean "
                    "takes weights"
                )
        if self.federation.patience and not self.evaluation.every:
            raise ConfigError(
                f"federation.patience={self.federation.patience} counts scored rounds, and evaluation.every=0 scores "
                "the last one only: set evaluation.every"
            )
        if not self.evaluation.every and (blind := [hook for hook in self.round_hooks if hook.needs_scores]):
            raise ConfigError(
                f"hooks={self.hooks!r}: {blind[0].component_name()} looks at scores between rounds, and "
                "evaluation.every=0 scores the last one only: set evaluation.every"
            )
        if self.federation.min_replies > cohort:
            raise ConfigError(
                f"federation.min-replies={self.federation.min_replies}: a round has {cohort} clients "
                f"(federation.num-clients={self.federation.num_clients}, fraction={self.federation.fraction:g})"
            )
        return self

    def _may_end_early(self) -> str:
        """Returns what may end the run before its last round, as it is written; empty where nothing may."""
        if self.federation.patience:
            return f"federation.patience={self.federation.patience}"
        return f"hooks={self.hooks!r}" if any(hook.may_stop for hook in self.round_hooks) else ""

    def _check_family(self) -> None:
        try:
            self.objective_component.check_model(self.model_component)
        except ConfigError as error:
            objectives = [name for name, kind in OBJECTIVES.items() if kind().fits(self.model_component)]
            models = [name for name, kind in MODELS.items() if self.objective_component.fits(kind())]
            ways = [
                f"{key}={' or '.join(map(repr, names[:2]))}"
                for key, names in (("objective", objectives), ("model", models))
                if names
            ]
            raise ConfigError(f"{error}: take {', or '.join(ways)}") from None

    def _check_rates(self) -> None:
        """Refuses a rate of the adversary for a model that has none, where it would have no effect."""
        rate, default = self.local.adversary_learning_rate, LocalConfig().adversary_learning_rate
        if rate != default and not self.model_component.roles.adversaries:
            raise ConfigError(
                f"local.adversary-learning-rate={rate:g}: model={self.model_component.component_name()!r} has no "
                "adversary; set local.learning-rate, the rate of all its networks, and leave this one out"
            )

    def _check_counts(self) -> None:
        model, algorithm = self.model_component, self.algorithm_component
        if model.counts != algorithm.counts:
            fitting = next(name for name, kind in ALGORITHMS.items() if kind.counts == model.counts)
            what = "is counts, which are added up" if model.counts else "is trained, and is no counts to add up"
            raise ConfigError(
                f"algorithm={algorithm.component_name()!r}: model={model.component_name()!r} {what}: take "
                f"algorithm={fitting!r}"
            )
        if not algorithm.counts:
            return
        name = f"algorithm={algorithm.component_name()!r}"
        if self.federation.num_rounds > 1:
            raise ConfigError(
                f"federation.num-rounds={self.federation.num_rounds}: {name} counts once: set federation.num-rounds=1"
            )
        if self.transforms:
            raise ConfigError(f"transforms={self.transforms!r} change weights, and {name} adds up counts: leave it out")

    def _check_transforms(self) -> None:
        algorithm, pipeline = self.algorithm_component, self.pipeline
        name = f"algorithm={algorithm.component_name()!r}"
        if pipeline.of_weights and not algorithm.averages_weights:
            raise ConfigError(
                f"transforms={self.transforms!r}: {pipeline.of_weights[0].component_name()} is for weights that the "
                f"server takes the mean of, and {name} sends other things, or uses them otherwise"
            )
        own = f"{name} brings its own weights" if algorithm.own_weighting else ""
        own = own or (f"weighting={self.weighting!r} does not: leave it out" if self.weighting not in _EQUAL else "")
        if pipeline.equal_weights and own:
            step = pipeline.equal_weights[0].component_name()
            raise ConfigError(f"transforms={self.transforms!r}: {step} has every client count alike, and {own}")

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Returns the configuration from dotted keys, as Flower passes them; missing keys have their defaults.

        A number is not read out of a string; a whole one may be written with a fraction of 0, as ``1e3`` is.

        Raises:
            ConfigError: An unknown key, or a value of another type or outside its range; names key and value.
        """
        known = cls.keys()
        nested: dict[str, Any] = {}
        for key, value in values.items():
            if key in renamed_settings.KEYS:
                raise ConfigError(f"{key}={value!r}: {renamed_settings.instead(key, value)}")
            if new := renamed_settings.renamed_value(key, value):
                raise ConfigError(f"{key}={value!r}: it is called {new!r} now")
            if key not in known:
                raise ConfigError(
                    f"{key}={value!r}: no such key; {setting_suggestions.hint(key, value, known, TABLES)}"
                )
            if wrong := fault(value, known[key]):
                raise ConfigError(f"{key}={value!r}: {wrong}")
            section, _, name = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[name] = value
        try:
            return cls.model_validate(nested, by_alias=True)
        except ValidationError as error:
            raise ConfigError(components.explain(error)) from None

    @classmethod
    def keys(cls) -> dict[str, type]:
        """Returns every dotted key with the type of its value, in order."""
        return {key: type(value) for key, value in cls().flat().items()}

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Returns every dotted key with what it means."""
        found: dict[str, str] = {}
        for name, field in cls.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
                for inner, detail in field.annotation.model_fields.items():
                    found[f"{name}.{kebab(inner)}"] = detail.description or ""
            else:
                found[name] = field.description or ""
        return found

    def flat(self) -> dict[str, Scalar]:
        """Returns dotted keys and values; ``from_flat`` reads them back."""
        return flatten(self.model_dump(by_alias=True))

    def toml(self) -> str:
        """Returns the configuration as TOML, every key written out."""
        return tomli_w.dumps(self.model_dump(by_alias=True))

    def replaced(self, flat: Mapping[str, Scalar]) -> "RunConfig":
        """Returns a copy with other values, by dotted keys."""
        return RunConfig.from_flat(self.flat() | dict(flat))

    def identity(self) -> dict[str, Scalar]:
        """Returns the keys that the weights of every round depend on; a run resumes only under the same ones."""
        ignored = ("output.", "evaluation.")
        free = {"data.root", "tracking", "hooks"}
        if self.local.schedule == "constant":
            free.add("federation.num-rounds")
        if not self.local.warmup_rounds:  # which earlier versions did not have
            free.add("local.warmup-rounds")
        waiting = ("min-replies", "round-retries", "patience", "wait-seconds", "round-seconds", "reply-megabytes")
        free |= {f"federation.{key}" for key in waiting}
        kept = {k: v for k, v in self.flat().items() if not k.startswith(ignored) and k not in free}
        if back := CHAINED.join(hook.spec() for hook in self.round_hooks if hook.may_go_back):
            kept["hooks"] = back
        return kept | {"evaluation.holdout": self.evaluation.holdout}

    def least_replies(self, cohort: int) -> int:
        """Returns the usable replies without which a round of ``cohort`` clients fails."""
        return max(self.federation.min_replies or (cohort + 1) // 2, self.aggregator.min_replies())

    @property
    def needs_label_counts(self) -> bool:
        """Whether the server must know how many images of each class every client holds."""
        return self.algorithm_component.needs_label_counts or self.weighting_component.needs_label_counts

    @cached_property
    def model_component(self) -> Model:
        """The networks."""
        return components.parse("model", MODELS, self.model)

    @cached_property
    def objective_component(self) -> Objective:
        """The loss."""
        return components.parse("objective", OBJECTIVES, self.objective)

    @cached_property
    def optimiser_component(self) -> Optimiser:
        """What steps the networks down their gradients."""
        return components.parse("optimiser", OPTIMISERS, self.optimiser)

    @cached_property
    def algorithm_component(self) -> Algorithm:
        """The federated algorithm."""
        return components.parse("algorithm", ALGORITHMS, self.algorithm)

    @cached_property
    def aggregator(self) -> Aggregator:
        """What makes one set of weights out of the clients'."""
        return components.parse("aggregate", AGGREGATORS, self.aggregate)

    @cached_property
    def weighting_component(self) -> Weighting:
        """The clients' weights in the mean."""
        return components.parse("weighting", WEIGHTINGS, self.weighting)

    @cached_property
    def round_hooks(self) -> list[RoundHook]:
        """What looks at each finished round, besides what every run has."""
        return components.parse_chain("hooks", ROUND_HOOKS, self.hooks)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The transforms of updates."""
        return Pipeline.parse(self.transforms, TRANSFORMS)

    @cached_property
    def partitioner(self) -> Partitioner:
        """The split of the data over clients."""
        return components.parse("partition", PARTITIONERS, self.partition)

    @cached_property
    def source(self) -> DataSource:
        """The source of images."""
        return components.parse("data.name", DATASETS, self.data.name)


def upgraded(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration that an earlier version wrote, by dotted keys, as this one would write it.

    Keys that have moved are those of today, and components have the defaults of options that they did not have then.
    What cannot be read stays as it is.
    """
    found = renamed_settings.renewed(flat)
    for key in TABLES.keys() & found.keys():
        with suppress(ConfigError):
            found[key] = spelled_out(key, str(found[key]))
    return found


_EQUAL = ("examples", "uniform")  # the first is the default, which stands for no wish
