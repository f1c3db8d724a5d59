"""Scores the server's generator against held-out images, where the server holds any."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import metrics
from common.config import EvaluationConfig, RunConfig
from common.datasets.base import Dataset, load_once
from common.errors import DataError
from common.examples import ExampleSpec, ImageSpec
from common.generation import balanced_labels, generate
from common.models import Sampler
from common.seeding import derive_seed
from common.threads import side_by_side
from server.clients.roster import Roster
from server.evaluation.limits import ALL, DIGITS, FEWEST_OF_A_CLASS, Limits, describe_scores
from server.evaluation.steps import SAMPLE, Final, Steps, announce, sentences

Scores = dict[str, float | Sequence[float | None]]

QUICK = ("fid", "score")


class Sample:
    """Images that a generator made for one evaluation, and their features: made once for all its scores.

    Args:
        images: uint8 (N, C, S, S).
        labels: What the generator was asked for, int64 (N,).
        extractor: Of the features; None where there is none.
    """

    def __init__(self, images: Tensor, labels: Tensor, extractor: metrics.Extractor | None) -> None:
        self.images = images
        self.labels = labels
        self._extractor = extractor

    @cached_property
    def features(self) -> Tensor | None:
        """Features (N, D), on the CPU; None without an extractor."""
        return None if self._extractor is None else metrics.features_on_all_cores(self._extractor, self.images)


class Evaluator:
    """Scores generators on one data set's held-out images.

    What a data set does not allow is left out; ``limits`` says why.

    Args:
        config: The run's; which extractor, how many images.
        dataset: Its ``test`` images are the real ones.
    """

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self._evaluation: EvaluationConfig = config.evaluation
        self._seed = derive_seed(config.seed, "evaluation")
        self._dataset = dataset
        self.extractor = extractor_of(config.evaluation, dataset.shape)
        self.limits = Limits(config, dataset, self.extractor)
        self.available = [name for name in ALL if self.limits.reason_against(name) is None]

    def score(
        self,
        generator: Sampler,
        names: Sequence[str],
        num_images: int,
        sample: Sample | None = None,
        steps: Steps | None = None,
    ) -> Scores:
        """Returns the named metrics (see ``docs/metrics.md``) that the data allow.

        Args:
            generator: See ``common.generation.generate``.
            names: Of ``ALL``; those not ``available`` are skipped.
            num_images: Generated images.
            sample: What ``self.sample`` gives, where that is known already.
            steps: Does the work, metric by metric; None: whatever fails is raised.

        Raises:
            ConfigError: An unknown name.
        """
        steps = steps or Steps()
        wanted = [name for name in names if self.limits.reason_against(name) is None]
        tasks: list[Callable[[], Scores]] = []
        if compared := [name for name in wanted if name != "utility"]:
            made = sample or steps.run(SAMPLE, lambda: self.sample(generator, num_images), None, compared)
            if made is not None:
                tasks = self._comparisons(made, compared, steps)
        if "utility" in wanted:  # it takes longest
            tasks.insert(0, lambda: steps.run("utility", lambda: {"utility": self._utility(generator)}, Scores()))
        scores = _merged(side_by_side(tasks))
        return {key: scores[key] for key in sorted(scores, key="utility".__eq__)}  # but is told last

    def told(self, generator: Sampler, names: Sequence[str], num_images: int) -> dict[str, Any]:
        """Returns the named metrics of a generator as a summary has them, and says how far it is.

        Returns:
            ``scores``, and beside them what ``describe_scores`` returns.
        """
        wanted, steps = [name for name in names if name in self.available], Final()
        announce(num_images, self.steps(wanted))
        scores = self.score(generator, names, num_images, steps=steps)
        missing = {name: reason for name, reason in self.limits.reasons().items() if name in names} | steps.failed
        extractor = self.extractor.name if self.extractor else None
        utility = self._evaluation.utility_num_images
        told = describe_scores(scores, extractor, num_images, utility, self.limits.remarks())
        return {"scores": scores, **told, "not-scored": sentences(missing)}

    def steps(self, names: Sequence[str]) -> list[str]:
        """Returns the steps that computing metrics takes, in the order in which they are begun."""
        compared = [name for name in names if name != "utility"]
        before = [SAMPLE, *(["features"] if self.extractor else [])] if compared else []
        return [*before, *sorted(names, key="utility".__ne__)]

    def sample(self, generator: Sampler, num_images: int) -> Sample:
        """Returns images of a generator whose labels are distributed as those of the held-out images."""
        test = self._dataset.test
        repeats = -(-num_images // len(test))
        order = torch.arange(len(test)).repeat(repeats)[:num_images]
        if num_images < len(test):  # an even pick over a test set that may be sorted by label
            order = torch.arange(num_images) * len(test) // num_images
        labels = test.labels[order]
        return Sample(generate(generator, labels, self._seed), labels, self.extractor)

    def compare(self, images: Tensor, names: Sequence[str]) -> Scores:
        """Returns the named metrics, but ``utility``, of images uint8 (N, C, S, S), whoever made them.

        Args:
            images: Of the data set's shape.
            names: Of ``ALL``, and ``available``.
        """
        sample = Sample(images, torch.zeros(len(images), dtype=torch.int64), self.extractor)
        return _merged(side_by_side(self._comparisons(sample, names, Steps())))

    def _comparisons(self, sample: Sample, names: Sequence[str], steps: Steps) -> list[Callable[[], Scores]]:
        """Returns what computes the named metrics, but ``utility``, in the order of ``ALL``; see ``compare``."""
        metric: dict[str, Callable[[], Scores]] = {}
        features: Tensor | None = None
        if self.extractor is not None:
            both = steps.run("features", lambda: (self._real_features, sample.features), None, names)
            if both is None or both[1] is None:
                return []
            real, fake = both[0], both[1]
            metric["fid"] = lambda: {"fid": metrics.frechet_distance(self._real_moments, metrics.Moments.of(fake))}
            metric["kid"] = lambda: {"kid": metrics.kernel_distance(real, fake)}
            metric["prdc"] = lambda: dict(metrics.prdc(real, fake))
            metric["per-class-recall"] = lambda: self._recall(real, fake)
            features = fake if self.extractor.name == DIGITS else None
        metric["score"] = lambda: {"score": metrics.inception_score(_probabilities(sample.images, features))}
        return [partial(steps.run, name, task, Scores()) for name, task in metric.items() if name in names]

    def _recall(self, real: Tensor, fake: Tensor) -> Scores:
        test, classes = self._dataset.test, self._dataset.shape.num_classes
        shares = metrics.per_class_recall(real, test.labels, fake, num_classes=classes)
        enough = [count >= FEWEST_OF_A_CLASS for count in test.label_counts(classes)]
        worst, worst_class = min((share, k) for k, share in enumerate(shares) if enough[k])
        return {
            "per-class-recall": [share if enough[k] else None for k, share in enumerate(shares)],
            "worst-class-recall": worst,
            "worst-recalled-class": worst_class,
        }

    def _utility(self, generator: Sampler) -> float:
        labels = balanced_labels(self._evaluation.utility_num_images, self._dataset.held)
        return self.utility_of(generate(generator, labels, derive_seed(self._seed, "utility")), labels)

    def utility_of(self, images: Tensor, labels: Tensor) -> float:
        """Returns the ``utility`` of images uint8 (N, C, S, S) with labels int64 (N,), whoever made them."""
        test, classes = self._dataset.test, self._dataset.shape.num_classes
        return metrics.utility(images, labels, test.stored, test.labels, self._seed, num_classes=classes)

    @cached_property
    def _real_features(self) -> Tensor:
        assert self.extractor is not None
        images = self._dataset.test.stored
        return metrics.kept_features(self.extractor, images, metrics.features_on_all_cores)

    @cached_property
    def _real_moments(self) -> metrics.Moments:
        return metrics.Moments.of(self._real_features)


def make_evaluator(config: RunConfig, roster: Roster) -> Evaluator | str:
    """Returns an evaluator on the run's data set, or why there is none: the server holds no data of the clients' kind.

    Raises:
        ConfigError: ``evaluation.extractor`` does not take the images.
        DataError: Its weights are missing or unusable.
    """
    try:
        root = Path(config.data.root).expanduser()
        dataset = load_once(config.source, root, image_size=config.data.image_size, download=False)
    except DataError as error:
        return f"this server holds no data ({error})"
    if (dataset.shape, dataset.class_names) != (roster.shape, roster.class_names):
        return f"data.name={config.data.name!r} has other images or classes than the clients"
    return Evaluator(config, dataset)


def extractor_of(config: EvaluationConfig, shape: ExampleSpec) -> metrics.Extractor | None:
    """Returns the extractor of a run for images of this shape, on the fastest device; None where there is none.

    Raises:
        ConfigError: The configured one does not take such images.
        DataError: Its weights are missing or unusable.
    """
    if not isinstance(shape, ImageSpec):
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return metrics.extractor_for(config.extractor, shape.channels, shape.size, config.inception_weights, device)


def _probabilities(images: Tensor, features: Tensor | None) -> Tensor:
    """Returns the MNIST classifier's class probabilities, float64 (N, 10), of images uint8 (N, 1, 28, 28).

    Args:
        images: Of digits.
        features: What ``mnist-cnn`` makes of them, where that is known.
    """
    if features is None:
        features = metrics.make_extractor("mnist-cnn")(images)
    with torch.inference_mode():
        return metrics.load_classifier().logits(features).double().softmax(1)


def _merged(scores: Sequence[Scores]) -> Scores:
    return {name: value for each in scores for name, value in each.items()}
