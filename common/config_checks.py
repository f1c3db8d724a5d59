"""Which values of a configuration do not go together, and what to set instead."""

from common import privacy_checks
from common.algorithms import ALGORITHMS, Algorithm
from common.config_keys import ConfigKeys
from common.config_sections import AdmissionConfig, LocalConfig
from common.errors import ConfigError
from common.models import MODELS
from common.objectives import OBJECTIVES
from common.weightings import WEIGHTINGS

_EQUAL = ("examples", "uniform")  # the first is the default, which stands for no wish


def check(config: ConfigKeys) -> None:
    """Checks that the values of a configuration go together, each of which may be right by itself.

    Raises:
        ConfigError: They do not; names them, and what to set instead.
    """
    _check_replies(config)
    _check_family(config)
    _check_rates(config)
    _check_fitting(config)
    config.algorithm_component.check(config.objective_component, config.aggregator, config.model_component)
    _check_transforms(config)
    _check_last_rounds(config)
    _check_weighting(config)
    _check_scores_between_rounds(config)
    _check_min_replies(config)
    _check_sums(config)
    privacy_checks.check(config)


def _check_replies(config: ConfigKeys) -> None:
    """Refuses an aggregator that no round can have replies enough for."""
    needed, cohort = config.aggregator.min_replies(), config.federation.cohort_size
    if cohort < needed:
        ways = ["more clients", *(["a larger fraction"] if config.federation.fraction < 1 else [])]
        ways.append(config.aggregator.advice(cohort) or "another aggregate")
        raise ConfigError(
            f"aggregate={config.aggregate!r} needs {needed} replies a round, federation.num-clients="
            f"{config.federation.num_clients} with federation.fraction={config.federation.fraction:g} gives {cohort}: "
            f"{', '.join(ways[:-1])} or {ways[-1]}"
        )


def _takes_sums(kind: type[Algorithm]) -> bool:
    return kind.takes_means_alone and (kind.counts_alike or not kind.own_weighting)


def _check_sums(config: ConfigKeys) -> None:
    """Refuses what looks at single updates where the server learns their sum alone."""
    if not config.aggregator.sums_alone:
        return
    name = f"aggregate={config.aggregate!r}"
    algorithm = config.algorithm_component
    if not _takes_sums(type(algorithm)):
        fitting = [key for key, kind in ALGORITHMS.items() if _takes_sums(kind)]
        raise ConfigError(
            f"{name}: algorithm={algorithm.component_name()!r} looks at what single clients send, and the server "
            f"learns their sum alone: take algorithm={' or '.join(map(repr, fitting))}, or aggregate='mean'"
        )
    if config.weighting_component.component_name() not in _EQUAL:
        raise ConfigError(
            f"{name}: weighting={config.weighting!r} weighs clients by what they send, and each weighs its own update "
            f"before it is masked: take weighting={' or '.join(map(repr, _EQUAL))}"
        )
    if form := [step.component_name() for step in config.pipeline.steps if step.changes_form]:
        raise ConfigError(
            f"{name}: transforms={config.transforms!r}: {form[0]} makes updates shorter, and under masks each number "
            "has 64 bits: leave it out"
        )
    if (ratio := config.admission.max_norm_ratio) not in (0, AdmissionConfig().max_norm_ratio):
        raise ConfigError(
            f"{name}: admission.max-norm-ratio={ratio:g} compares norms of updates, which the server cannot see: leave "
            "it out, or set 0"
        )
    cohort = config.federation.cohort_size
    threshold = config.aggregator.needed(cohort)
    if 2 * threshold <= cohort:
        raise ConfigError(
            f"{name}: with threshold={threshold} of the {cohort} clients of a round two halves of them could undo "
            f"different masks of one client: take threshold={cohort // 2 + 1} or more, up to {cohort}; the more, the "
            "more clients must collude and the fewer may be lost"
        )


def _check_family(config: ConfigKeys) -> None:
    try:
        config.objective_component.check_model(config.model_component)
    except ConfigError as error:
        objectives = [name for name, kind in OBJECTIVES.items() if kind().fits(config.model_component)]
        models = [name for name, kind in MODELS.items() if config.objective_component.fits(kind())]
        ways = [
            f"{key}={' or '.join(map(repr, names[:2]))}"
            for key, names in (("objective", objectives), ("model", models))
            if names
        ]
        raise ConfigError(f"{error}: take {', or '.join(ways)}") from None


def _check_rates(config: ConfigKeys) -> None:
    """Refuses a rate of the adversary for a model that has none, where it would have no effect."""
    rate, default = config.local.adversary_learning_rate, LocalConfig().adversary_learning_rate
    if rate != default and not config.model_component.roles.adversaries:
        raise ConfigError(
            f"local.adversary-learning-rate={rate:g}: model={config.model_component.component_name()!r} has no "
            "adversary; set local.learning-rate, the rate of all its networks, and leave this one out"
        )


_FITTED = {
    "steps": "is trained in steps",
    "counts": "is counts, which are added up",
    "moments": "is made of moments, which are added up",
}


def _check_fitting(config: ConfigKeys) -> None:
    model, algorithm = config.model_component, config.algorithm_component
    if model.fitting != algorithm.fitting:
        fitting = next(name for name, kind in ALGORITHMS.items() if kind.fitting == model.fitting)
        raise ConfigError(
            f"algorithm={algorithm.component_name()!r}: model={model.component_name()!r} {_FITTED[model.fitting]}: "
            f"take algorithm={fitting!r}"
        )
    if algorithm.fitting == "steps":
        return
    name = f"algorithm={algorithm.component_name()!r}"
    if config.federation.num_rounds > 1:
        raise ConfigError(
            f"federation.num-rounds={config.federation.num_rounds}: {name} asks clients once: set "
            "federation.num-rounds=1"
        )
    if config.transforms:
        raise ConfigError(f"transforms={config.transforms!r} change weights, and {name} adds up sums: leave it out")


def _check_transforms(config: ConfigKeys) -> None:
    algorithm, pipeline = config.algorithm_component, config.pipeline
    name = f"algorithm={algorithm.component_name()!r}"
    if pipeline.of_weights and not algorithm.averages_weights:
        raise ConfigError(
            f"transforms={config.transforms!r}: {pipeline.of_weights[0].component_name()} is for weights that the "
            f"server takes the mean of, and {name} sends other things, or uses them otherwise"
        )
    own = f"{name} brings its own weights" if algorithm.own_weighting else ""
    own = own or (f"weighting={config.weighting!r} does not: leave it out" if config.weighting not in _EQUAL else "")
    if pipeline.equal_weights and own:
        step = pipeline.equal_weights[0].component_name()
        raise ConfigError(f"transforms={config.transforms!r}: {step} has every client count alike, and {own}")


def _check_last_rounds(config: ConfigKeys) -> None:
    """Refuses what may end a run early whose algorithm is about its last rounds."""
    if config.algorithm_component.ends_otherwise and (early := _may_end_early(config)):
        raise ConfigError(
            f"{early} may end the run before the last rounds, in which algorithm={config.algorithm!r} does what it "
            f"is for: take {early.partition('=')[0]}={0 if config.federation.patience else repr('')}"
        )


def _may_end_early(config: ConfigKeys) -> str:
    """Returns what may end the run before its last round, as it is written; empty where nothing may."""
    if config.federation.patience:
        return f"federation.patience={config.federation.patience}"
    return f"hooks={config.hooks!r}" if any(hook.may_stop for hook in config.round_hooks) else ""


def _check_weighting(config: ConfigKeys) -> None:
    """Refuses weights of clients where the algorithm or the aggregator takes none."""
    if config.weighting_component == WEIGHTINGS["examples"]():
        return
    if config.algorithm_component.own_weighting:
        raise ConfigError(f"weighting={config.weighting!r}: algorithm={config.algorithm!r} brings its own weights")
    if config.aggregator.one_vote_each:
        raise ConfigError(
            f"weighting={config.weighting!r}: aggregate={config.aggregate!r} gives each client one vote; only mean "
            "takes weights"
        )


def _check_scores_between_rounds(config: ConfigKeys) -> None:
    """Refuses what looks at scores between rounds where none are computed."""
    if config.federation.patience and not config.evaluation.every:
        raise ConfigError(
            f"federation.patience={config.federation.patience} counts scored rounds, and evaluation.every=0 scores "
            "the last one only: set evaluation.every"
        )
    if not config.evaluation.every and (blind := [hook for hook in config.round_hooks if hook.needs_scores]):
        raise ConfigError(
            f"hooks={config.hooks!r}: {blind[0].component_name()} looks at scores between rounds, and "
            "evaluation.every=0 scores the last one only: set evaluation.every"
        )


def _check_min_replies(config: ConfigKeys) -> None:
    cohort = config.federation.cohort_size
    if config.federation.min_replies > cohort:
        raise ConfigError(
            f"federation.min-replies={config.federation.min_replies}: a round has {cohort} clients "
            f"(federation.num-clients={config.federation.num_clients}, fraction={config.federation.fraction:g})"
        )
