"""The configuration of a run: one frozen object, parsed and checked before anything starts.

The keys, their meaning and defaults are those of ``[tool.flwr.app.config]`` in ``pyproject.toml`` (a test holds the two
together). A part that a user picks by name is one string: ``objective = "hinge r1=0.1"`` (see ``common.components``).
"""

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, Field, ValidationError, model_validator

from common import components, renamed_settings, setting_suggestions
from common.aggregators import AGGREGATORS, Aggregator
from common.algorithms import ALGORITHMS, Algorithm
from common.components import CHAINED, Component, Options, kebab
from common.datasets import DATASETS, DataSource
from common.errors import ConfigError
from common.hooks import ROUND_HOOKS, RoundHook
from common.local_training import LocalConfig
from common.models import MODELS, Model
from common.objectives import OBJECTIVES, Objective
from common.optimisers import OPTIMISERS, Optimiser
from common.partitioners import PARTITIONERS, Partitioner
from common.transforms import TRANSFORMS, Pipeline
from common.weightings import WEIGHTINGS, Weighting

Scalar = bool | int | float | str

TABLES: dict[str, Mapping[str, type[Component]]] = {
    "model": MODELS,
    "objective": OBJECTIVES,
    "optimiser": OPTIMISERS,
    "algorithm": ALGORITHMS,
    "aggregate": AGGREGATORS,
    "weighting": WEIGHTINGS,
    "transforms": TRANSFORMS,
    "partition": PARTITIONERS,
    "hooks": ROUND_HOOKS,
    "data.name": DATASETS,
}
"""Every table of components, by the configuration key that picks from it."""


def _spec_of(key: str) -> AfterValidator:
    """Returns a validator that checks a component string and spells out all its options."""
    return AfterValidator(lambda text: _whole_spec(key, text))


def _whole_spec(key: str, text: str) -> str:
    """Returns what ``key`` picks, with all options spelled out.

    Raises:
        ConfigError: See ``components.parse``.
    """
    if key == "hooks":
        return CHAINED.join(hook.spec() for hook in components.parse_chain(key, ROUND_HOOKS, text))
    if key == "transforms":
        return Pipeline.parse(text, TRANSFORMS).spec()
    return components.parse(key, TABLES[key], text).spec()


class DataConfig(Options):
    """Where images come from."""

    name: Annotated[str, _spec_of("data.name")] = Field("mnist-10k", description="data set, with options")
    root: str = Field("data", description="folder (or .npz file) of data sets that are not embedded")
    image_size: int = Field(0, ge=0, le=1024, description="resize images to this side in pixels; 0: as they are")


class FederationConfig(Options):
    """Who takes part."""

    num_clients: int = Field(10, ge=1, description="clients in the federation")
    num_rounds: int = Field(30, ge=1, description="rounds")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the clients that train in a round")
    min_replies: int = Field(0, ge=0, description="usable replies without which a round fails; 0: half the cohort")
    round_retries: int = Field(2, ge=0, description="how often a round with too few usable replies is repeated")
    patience: int = Field(
        0, ge=0, description="end after so many scored rounds without a better fid than the best before; 0: off"
    )
    wait_seconds: float = Field(120.0, gt=0, description="how long to wait for all clients to connect, in seconds")
    round_seconds: float = Field(
        0.0, ge=0, description="how long to wait for a round's replies, in seconds; 0: by what clients usually take"
    )
    reply_megabytes: int = Field(
        2000, ge=0, description="a round's replies beyond so many megabytes wait on disk, in output.dir; 0: in memory"
    )

    @property
    def cohort_size(self) -> int:
        """Clients that train in a round: ``fraction`` of them, halves up, and at least one."""
        return max(1, int(self.fraction * self.num_clients + 0.5))


class AdmissionConfig(Options):
    """Which clients' updates may be averaged."""

    max_norm_ratio: float = Field(
        3.0,
        ge=0,
        description="an update whose norm is more than this many times the round's median is refused; 0: off",
    )


class GuardConfig(Options):
    """When a run goes back to its last good round."""

    ratio: float = Field(
        5.0, ge=0, description="go back when fid is worse than this many times the best so far; 0: off"
    )
    rollbacks: int = Field(2, ge=0, description="how often a run goes back at most, with other random numbers")


class EvaluationConfig(Options):
    """How the server scores the generator, where it holds data to compare with."""

    every: int = Field(5, ge=0, description="rounds between scores; also after round 1 and the last; 0: only the last")
    num_samples: int = Field(2000, ge=100, description="generated samples of a score between rounds")
    final_num_samples: int = Field(10000, ge=100, description="generated samples of the final scores")
    utility_num_samples: int = Field(
        30000, ge=0, description="generated samples to train the utility classifier; 0: skip"
    )
    extractor: Literal["auto", "mnist-cnn", "mnist-cnn-channels", "random-vgg", "inception", "none"] = Field(
        "auto", description="features of fid, kid and prdc; auto: mnist-cnn for digits, else random-vgg"
    )
    inception_weights: str = Field("", description="weights file of the inception extractor; empty: torchvision's")
    federated: bool = Field(True, description="compare with moments of features that clients send of their images")
    answer_seconds: float = Field(
        600.0, gt=0, description="how long to wait for moments before round 1 and for memorisation at the end"
    )
    holdout: float = Field(
        0.0, ge=0, le=0.5, description="share of each client's images to test memorisation with, never trained on"
    )


class OutputConfig(Options):
    """The run directory."""

    dir: str = Field("", description="run directory; empty: a new one by date and time under runs/")
    checkpoint_every: int = Field(1, ge=1, description="rounds between checkpoints; also after each scored one")
    keep_checkpoints: int = Field(3, ge=1, description="last checkpoints to keep, besides that of the best round")
    sample_every: int = Field(5, ge=1, description="rounds between pictures of samples; also rounds 0, 1 and the last")
    resume: bool = Field(False, description="go on from the last whole checkpoint in the run directory")


class RunConfig(Options):
    """Everything that determines a run."""

    seed: int = Field(0, ge=0, lt=2**63, description="root of every random number")
    model: Annotated[str, _spec_of("model")] = Field("dcgan", description="networks")
    objective: Annotated[str, _spec_of("objective")] = Field("non-saturating", description="adversarial loss")
    optimiser: Annotated[str, _spec_of("optimiser")] = Field("adam", description="how weights follow gradients")
    algorithm: Annotated[str, _spec_of("algorithm")] = Field("fedavg", description="federated algorithm")
    aggregate: Annotated[str, _spec_of("aggregate")] = Field("mean", description="how clients' weights become one")
    weighting: Annotated[str, _spec_of("weighting")] = Field("examples", description="clients' weights in the mean")
    transforms: Annotated[str, _spec_of("transforms")] = Field(
        "", description="what is done to updates on their way to the server, in order, with | between; empty: nothing"
    )
    partition: Annotated[str, _spec_of("partition")] = Field("shards", description="split of the data over clients")
    hooks: Annotated[str, _spec_of("hooks")] = Field(
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
            if fault := _fault(value, known[key]):
                raise ConfigError(f"{key}={value!r}: {fault}")
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


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested tables as dotted keys; ``RunConfig.from_flat`` checks the values.

    Raises:
        ConfigError: They are nested much deeper than any key is.
    """
    if prefix.count(".") > _DEEPEST:
        raise ConfigError(f"{prefix[:40]}...: no such key: its tables are nested too deeply")
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def upgraded(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration that an earlier version wrote, by dotted keys, as this one would write it.

    Keys that have moved are those of today, and components have the defaults of options that they did not have then.
    What cannot be read stays as it is.
    """
    found = renamed_settings.renewed(flat)
    for key in TABLES.keys() & found.keys():
        with suppress(ConfigError):
            found[key] = _whole_spec(key, str(found[key]))
    return found


def _fault(value: object, wanted: type) -> str | None:
    """Returns why a value cannot be one of a type that is wanted; None if it may be."""
    if not isinstance(value, bool | int | float | str):
        return "expected a number, a string, true or false"
    kinds = {bool: bool, int: int, float: int | float, str: str}
    if not isinstance(value, kinds[wanted]) or isinstance(value, bool) != (wanted is bool):
        plain = value.strip().lower() if isinstance(value, str) else ""
        return f"expected {_NAMES[wanted]}" + (f": {plain}, without quotes" if _READABLE.fullmatch(plain) else "")
    if isinstance(value, str):
        return _fault_of_text(value)
    return None


def _fault_of_text(text: str) -> str | None:
    """Returns why a text cannot be written to a configuration file, and read back."""
    if "\0" in text:
        return "it has a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # how Python hands on bytes that it cannot read
        return (
            f"it has bytes that are no text in this environment's encoding ({sys.getfilesystemencoding()}): give "
            "another name, or set a UTF-8 locale (LC_ALL=C.UTF-8)"
        )
    return None


_READABLE = re.compile(r"true|false|[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
_DEEPEST = 20
_EQUAL = ("examples", "uniform")  # the first is the default, which stands for no wish
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
