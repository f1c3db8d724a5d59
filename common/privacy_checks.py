"""What a run with a promise of privacy must leave out, as nothing would keep the promise there."""

from collections.abc import Iterator

from common.algorithms import ALGORITHMS
from common.config_keys import ConfigKeys
from common.errors import ConfigError
from common.weightings import WEIGHTINGS


def check(config: ConfigKeys) -> None:
    """Checks that all that leaves a client is noised, or switched off, where the run makes a promise.

    Raises:
        ConfigError: Something is not; names everything that is in the way, and what to set instead.
    """
    if config.privacy_component.private and (found := list(_in_the_way(config))):
        raise ConfigError(f"privacy={config.privacy!r} cannot be kept: {'; '.join(found)}")


def _in_the_way(config: ConfigKeys) -> Iterator[str]:
    if not config.algorithm_component.private_mechanism:
        fitting = ", ".join(repr(name) for name, kind in ALGORITHMS.items() if kind.private_mechanism)
        yield (
            f"algorithm={config.algorithm!r} has clients send what no noise is added to: take {fitting or 'another'}"
        )
    weighting = config.weighting_component
    if weighting.measures_examples or weighting.needs_label_counts:
        fitting = " or ".join(
            repr(name) for name, kind in WEIGHTINGS.items() if not (kind.measures_examples or kind.needs_label_counts)
        )
        yield f"weighting={config.weighting!r} asks clients about their examples: take {fitting}"
    if config.model_component.has_batch_statistics:
        yield (
            f"model={config.model!r} normalises by means over a batch, which mix its examples: take norm=group or "
            "norm=none"
        )
    if config.source.vocabulary_of_data:
        yield f"data.name={config.data.name!r} names the characters that clients' texts hold: take tokens=bytes"
    if config.local.fake_labels == "balanced":
        yield (
            'local.fake-labels="balanced" follows which classes a client holds: set local.fake-labels="own" (a fake '
            'has the label of the example beside it, within the gradient that gets noise) or "uniform"'
        )
    if config.local.mixed_precision:
        yield "local.mixed-precision=true is not for gradients of single examples: leave it out"
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
