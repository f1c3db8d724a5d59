"""What some held-out images allow to be computed, and what is to be said of it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from common import metrics
from common.components import suggestion
from common.config import EvaluationConfig, RunConfig
from common.datasets import DATASETS
from common.datasets.base import Dataset
from common.errors import ConfigError
from common.examples import ExampleSpec, ImageSet, ImageSpec
from common.journal_lines import ScoredWith
from common.metrics import METRICS, Setting, table
from common.metrics.digits import ENOUGH
from common.metrics.extractors import MnistFeatures

DIGITS = MnistFeatures.name
FEWEST = 10
"""Held-out images without which no distance, neighbourhood or accuracy is worth a number."""


class Limits:
    """What a data set's held-out images allow.

    Features need an extractor that takes images of this shape; ``score`` needs digits, as it reads the MNIST
    classifier's probabilities; labels are needed for what is told by class; and few images are too few.

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

        1 for MNIST itself, without a look.
        """
        test, spec = self._dataset.test, self._dataset.spec
        if not isinstance(test, ImageSet) or not isinstance(spec, ImageSpec):
            return None
        if not MnistFeatures.accepts(spec.channels, spec.size):
            return None
        source = DATASETS.get(self._dataset.name.partition(" ")[0])
        if source is not None and source.holds_digits:
            return 1.0
        return metrics.share_read(test.images, test.labels, self._dataset.class_names)

    def remarks(self) -> list[str]:
        """Returns warnings on what the scores mean here, a sentence each."""
        held_out = len(self._dataset.test)
        found: list[str] = []
        if self._extractor is None:
            return found
        if self._extractor.name == DIGITS and (warning := doubt_of_digits(self.digits)):
            found.append(warning)
        if held_out <= self._extractor.dimension:
            found += [
                metric.few_images.format(held_out=held_out, extractor=self._extractor)
                for name, metric in METRICS.items()
                if metric.few_images and self.reason_against(name) is None
            ]
        return found

    def reasons(self) -> dict[str, str]:
        """Returns why metrics cannot be computed here, by their names; see ``reason_against``."""
        found = {name: self.reason_against(name) for name in table.held_out()}
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
        if "digits" in needs and not (spec == ImageSpec(1, 28, 10) and (self.digits or 0) >= ENOUGH):
            return "it reads the probabilities of a classifier of 28x28 MNIST digits"
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


def describe_scores(
    scores: Mapping[str, object],
    extractor: str | None,
    num_samples: int,
    balanced_num_samples: int,
    warnings: Sequence[str],
) -> ScoredWith | None:
    """Returns what is told beside scores: what they were made with; None where there are none.

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
    """Returns why images of a shape have no features, and what would give them some."""
    if config.extractor == "none":
        return "no extractor, as evaluation.extractor=none"
    if not isinstance(spec, ImageSpec):
        return f"no extractor for {spec.kind}"
    ways = 'evaluation.extractor="inception" takes any'
    if spec.channels == 1:
        ways += ", and data.image-size=28 gives grey ones mnist-cnn, whose features are those of digits"
    return f"no extractor for {spec.size}x{spec.size} images with {spec.channels} channel(s): {ways}"


def doubt_of_digits(share: float | None) -> str:
    """Returns a warning that features of digits are taken of images that are none, as far as is known; else nothing.

    Args:
        share: Of the images, those that the MNIST classifier reads right; None where that is not known.
    """
    if share is not None and share >= ENOUGH:
        return ""
    known = "nothing says that these images are digits" if share is None else f"it reads {share:.0%} of these right"
    return (
        f"the features of {DIGITS} are those of a classifier of handwritten digits, and {known}: its scores tell "
        'little of other pictures; evaluation.extractor="inception" looks at any'
    )
