"""What some held-out images allow to be computed, and what is to be said of it."""

from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from common import metrics
from common.components import suggestion
from common.config import RunConfig
from common.config_sections import EvaluationConfig
from common.datasets import DATASETS
from common.datasets.base import Dataset, DataSource
from common.errors import ConfigError
from common.examples import ExampleSpec, ImageSet, ImageSpec
from common.journal_lines import ScoredWith
from common.metrics import METRICS, Metric, Setting, table
from common.metrics.digits import ENOUGH
from common.metrics.extractors import ChannelFeatures, MnistFeatures, RandomVggFeatures

FEWEST = 10
"""Held-out images without which no distance, neighbourhood or accuracy is worth a number."""


class Limits:
    """What a data set's held-out images allow.

    Features need an extractor that takes images of this shape; ``score`` and ``modes`` need digits, as the MNIST
    classifier reads them; labels are needed for what is scored by class; and few images are too few.

    Args:
        config: The run's.
        dataset: Its ``test`` images are compared with.
        extractor: Of their features; None: there is none.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, extractor: metrics.Extractor | None) -> None:
        self._evaluation, self._dataset, self._extractor = config.evaluation, dataset, extractor
        self._conditional = config.model_component.conditional

    @cached_property
    def digits(self) -> float | None:
        """The share of held-out images that the MNIST classifier reads right; None where that is not known.

        1 for MNIST itself, and where each channel is one of its digits, without a look.
        """
        test, spec = self._dataset.test, self._dataset.spec
        if not isinstance(test, ImageSet) or not isinstance(spec, ImageSpec):
            return None
        if self._stacked:
            return 1.0
        if not MnistFeatures.accepts(spec.channels, spec.size):
            return None
        if self._source is not None and self._source.holds_digits:
            return 1.0
        return metrics.share_read(test.images, test.labels, self._dataset.class_names)

    @property
    def _source(self) -> type[DataSource] | None:
        return DATASETS.get(self._dataset.name.partition(" ")[0])

    @property
    def _stacked(self) -> bool:
        """Whether the MNIST classifier can read a digit in each channel."""
        spec, source = self._dataset.spec, self._source
        if source is None or not source.stacks_digits or not isinstance(spec, ImageSpec):
            return False
        return ChannelFeatures.accepts(spec.channels, spec.size)

    def remarks(self, num_samples: int) -> list[str]:
        """Returns warnings on what the scores of so many generated images mean here, a sentence each."""
        held_out = len(self._dataset.test)
        found: list[str] = []
        computed = [METRICS[name] for name in table.held_out() if self.reason_against(name) is None]
        if self._extractor is not None:
            name, setting = self._extractor.name, self._evaluation.extractor
            found += filter(None, [doubt_of_features(name, setting, self.digits)])
            if held_out <= self._extractor.dimension:
                values = {"held_out": held_out, "extractor": self._extractor}
                found += [metric.few_images.format(**values) for metric in computed if metric.few_images]
        found += [
            f"{metric.name} is of {num_samples:,} generated images, and published figures are of "
            f"{metric.usual_images:,}: set evaluation.final-num-samples={metric.usual_images}"
            for metric in computed
            if metric.usual_images not in (0, num_samples)
        ]
        return found

    def reasons(self) -> dict[str, str]:
        """Returns why metrics cannot be computed here, by their names, but those that other data are for."""
        kind = self._dataset.spec.kind
        concerned = [name for name in table.held_out() if concerns(METRICS[name], kind, self._source)]
        found = {name: self.reason_against(name) for name in concerned}
        return {name: reason for name, reason in found.items() if reason}

    def reason_against(self, name: str) -> str | None:
        """Returns why a metric cannot be computed here; None if it can.

        Raises:
            ConfigError: There is no such metric.
        """
        known = table.held_out()
        if name not in known:
            raise ConfigError(f"metrics={name!r}: no such metric; {suggestion(name, list(known))}")
        metric, test, spec = METRICS[name], self._dataset.test, self._dataset.spec
        needs, held_out = metric.needs, len(test)
        if spec.kind not in metric.kinds:
            return f"metrics of {' and '.join(sorted(metric.kinds))} do not take {spec.kind}"
        if "features" in needs and self._extractor is None:
            return no_extractor(self._evaluation, spec)
        if unread := self._unread(needs):
            return unread
        if "labels" in needs and not self._dataset.labelled:
            return "the images have no labels"
        if "held-out" in needs and held_out < FEWEST:
            return f"{held_out} held-out image(s) are too few, it takes {FEWEST}: hold out more"
        return metric.obstacle(
            Setting(
                size=spec.shape[-1],
                num_classes=spec.num_classes,
                label_counts=test.label_counts(spec.num_classes),
                is_conditional=self._conditional,
                num_balanced=self._evaluation.utility_num_samples,
            )
        )

    def _unread(self, needs: Container[str]) -> str:
        """Returns why the MNIST classifier cannot read what it takes; empty if it can."""
        alone = self._dataset.spec == ImageSpec(1, 28, 10) and (self.digits or 0) >= ENOUGH
        if "digits" in needs and not alone:
            return "it reads the probabilities of a classifier of 28x28 MNIST digits"
        if "stacked-digits" in needs and not self._stacked:
            return "it reads an MNIST digit in each of three channels of 28x28, as data.name='stacked-mnist' has them"
        return ""


def concerns(metric: Metric, kind: str, source: type[DataSource] | None) -> bool:
    """Returns whether a metric has to do with such data at all: if not, nobody needs to know why it is not computed.

    Of examples that no metric takes all have, as otherwise nothing would be said.

    Args:
        metric: Any.
        kind: Of the examples.
        source: Of the data; None where it is not known.
    """
    if kind not in metric.kinds and any(kind in other.kinds for other in METRICS.values()):
        return False
    return "stacked-digits" not in metric.needs or (source is not None and source.stacks_digits)


def describe_scores(
    scores: Mapping[str, object],
    extractor: str | None,
    num_samples: int,
    balanced_num_samples: int,
    warnings: Sequence[str],
) -> ScoredWith | None:
    """Returns what is noted beside scores: what they were made with; None where there are none.

    Args:
        scores: By name.
        extractor: Its name; None: there is none.
        num_samples: Generated images.
        balanced_num_samples: Those of metrics that have a balanced sample of their own.
        warnings: On what the scores mean.
    """
    if not scores:
        return None
    made: dict[str, Any] = {"extractor": extractor, "num-samples": num_samples}
    for metric in METRICS.values():
        if metric.sample == "balanced" and any(score.name in scores for score in metric.scores):
            made[f"{metric.name}-num-samples"] = balanced_num_samples
    if warnings:
        made["warning"] = " ".join(f"{warning}." for warning in warnings)
    return cast(ScoredWith, made)


def no_extractor(config: EvaluationConfig, spec: ExampleSpec) -> str:
    """Returns why examples of a shape have no features."""
    if config.extractor == "none":
        return "no extractor, as evaluation.extractor=none"
    return f"no extractor for {spec.kind}"


def doubt_of_features(extractor: str, setting: str, share: float | None) -> str:
    """Returns a warning on what features tell of some images, and which others there are; empty: none is needed.

    Args:
        extractor: Whose features they are.
        setting: As ``evaluation.extractor`` says.
        share: Of the images, those that the MNIST classifier reads right; None where that is not known.
    """
    if extractor == RandomVggFeatures.name and setting == "auto":
        return (
            f"the features are those of {extractor}, a network with random weights: compare its distances among rounds "
            'and runs on these images only; evaluation.extractor="inception" takes those of Inception (100 MB, '
            "downloaded once, or evaluation.inception-weights=FILE)"
        )
    of_digits = extractor in (MnistFeatures.name, ChannelFeatures.name)
    if not of_digits or (share is not None and share >= ENOUGH):
        return ""
    known = "nothing says that these images are digits" if share is None else f"it reads {share:.0%} of these right"
    return (
        f"the features of {extractor} are those of a classifier of handwritten digits, and {known}: its scores tell "
        'little of other pictures; evaluation.extractor="random-vgg" or "inception" looks at any'
    )
