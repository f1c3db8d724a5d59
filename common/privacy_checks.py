"""What a run with a promise of privacy must leave out, as nothing would keep the promise there."""

from collections.abc import Iterable, Iterator

from common.algorithms import ALGORITHMS, Algorithm
from common.config_keys import ConfigKeys
from common.errors import ConfigError
from common.privacy import ExamplePrivacy
from common.weightings import WEIGHTINGS


def check(config: ConfigKeys) -> None:
    """Checks that all that leaves a client is noised, or switched off, where the run makes a promise.

    Raises:
        ConfigError: Something is not; names everything that is in the way, and what to set instead.
    """
    if config.privacy_component.private and (found := list(_in_the_way(config))):
        raise ConfigError(f"privacy={config.privacy!r} cannot be kept: {'; '.join(found)}")


def check_alone(configs: Iterable[ConfigKeys]) -> None:
    """Checks that runs which belong together do not promise privacy of the same private examples more than once.

    Raises:
        ConfigError: They do, and would spend more of them together than any of them says.
    """
    of_private = [config for config in configs if config.privacy_component.private and not config.source.is_public]
    if len(of_private) > 1:
        first = of_private[0]
        raise ConfigError(
            f"privacy={first.privacy!r}: every run releases its own generator and scores, so these {len(of_private)} "
            f"would spend the epsilon of all of them together, and data.name={first.data.name!r} is not public; "
            "compare settings on public data that are like yours, then run once with the best (docs/privacy.md)"
        )


def _in_the_way(config: ConfigKeys) -> Iterator[str]:
    if config.privacy_component.unit == "client":
        yield from _in_the_way_of_clients(config)
    else:
        yield from _in_the_way_of_examples(config)
    if config.model_component.has_batch_statistics:
        yield (
            f"model={config.model!r} normalises by means over a batch, which no noise is added to: take norm=group or "
            "norm=none"
        )
    if config.source.vocabulary_of_data:
        yield f"data.name={config.data.name!r} names the characters that clients' texts hold: take tokens=bytes"
    if config.evaluation.folds:
        yield (
            f"evaluation.folds={config.evaluation.folds} has one example decide which others are trained on: set "
            "evaluation.folds=0 (scores are against the data's test part)"
        )
    if config.evaluation.holdout:
        yield (
            f"evaluation.holdout={config.evaluation.holdout:g} has one example decide which others are trained on, and "
            "nobody gets the figures that it is for: set evaluation.holdout=0 (an audit takes the data's test part)"
        )


def _in_the_way_of_examples(config: ConfigKeys) -> Iterator[str]:
    if not config.algorithm_component.private_mechanism:
        fitting = _listed(kind for kind in ALGORITHMS.values() if kind.private_mechanism)
        yield (
            f"algorithm={config.algorithm!r} has clients send what no noise is added to: take {fitting or 'another'}"
        )
    weighting = config.weighting_component
    if weighting.measures_examples or weighting.needs_label_counts:
        fitting = " or ".join(
            repr(name) for name, kind in WEIGHTINGS.items() if not (kind.measures_examples or kind.needs_label_counts)
        )
        yield f"weighting={config.weighting!r} asks clients about their examples: take {fitting}"
    if config.local.fake_labels == "balanced":
        yield (
            'local.fake-labels="balanced" follows which classes a client holds: set local.fake-labels="own" (a fake '
            'has the label of the example beside it, within the gradient that gets noise) or "uniform"'
        )
    yield from _in_the_way_of_shared_noise(config)
    if config.model_component.judges_batches:
        yield (
            f"model={config.model!r} judges an image by its batch, and the gradient of each is taken by itself: leave "
            "out minibatch-std"
        )
    if config.local.mixed_precision:
        yield "local.mixed-precision=true is not for gradients of single examples: leave it out"


def _in_the_way_of_shared_noise(config: ConfigKeys) -> Iterator[str]:
    promise = config.privacy_component
    sharers = promise.sharers if isinstance(promise, ExamplePrivacy) else 0
    if not sharers:
        return
    what = f"sharers={sharers} has clients add a part of the noise each"
    if config.algorithm_component.private_mechanism != "sums":
        fitting = _listed(kind for kind in ALGORITHMS.values() if kind.private_mechanism == "sums")
        yield f"{what}, and each client's steps need noise of their own: set sharers=0, or take algorithm={fitting}"
    elif not config.aggregator.sums_alone:
        yield f"{what}, and the server sees what each sends: take aggregate='secure-mean' or set sharers=0"
    elif sharers > (most := config.aggregator.needed(config.federation.cohort_size)):
        yield f"{what}, and a sum may be of {most} clients alone: set sharers={most} or fewer, or a larger threshold"


def _in_the_way_of_clients(config: ConfigKeys) -> Iterator[str]:
    algorithm = config.algorithm_component
    if not _takes_one_mean(type(algorithm)):
        fitting = _listed(kind for kind in ALGORITHMS.values() if _takes_one_mean(kind))
        yield (
            f"algorithm={config.algorithm!r} uses more of what clients send than a mean of their weights, which is "
            f"what gets noise: take {fitting}"
        )
    elif algorithm.means_per_round > 1:
        yield f"algorithm={config.algorithm!r} takes a second mean of each round: leave out ema-steps"
    if config.aggregator.component_name() != "mean":
        yield f"aggregate={config.aggregate!r} is no sum that one client changes by a bounded length: take 'mean'"
    if config.weighting_component.component_name() not in ("examples", "uniform"):
        yield f"weighting={config.weighting!r} weighs clients, and under the promise all count alike: take 'uniform'"
    if steps := [step.component_name() for step in config.pipeline.of_weights]:
        yield (
            f"transforms={config.transforms!r}: the promise has its own clip and noise: leave out {' and '.join(steps)}"
        )


def _takes_one_mean(kind: type[Algorithm]) -> bool:
    return kind.takes_means_alone and kind.averages_weights and kind.fitting == "steps" and not kind.own_weighting


def _listed(kinds: Iterable[type[Algorithm]]) -> str:
    return ", ".join(repr(kind.component_name()) for kind in kinds)
