"""Scores the server's generator against held-out images, where the server holds any."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from common import metrics
from common.components import suggestion
from common.config import EvaluationConfig, RunConfig
from common.datasets.base import Dataset, ImageShape, load_once
from common.errors import ConfigError, DataError
from common.generation import balanced_labels, generate
from common.metrics.digits import ENOUGH
from common.metrics.extractors import EXTRACTORS, MnistFeatures
from common.metrics.utility import MIN_SIZE
from common.seeding import derive_seed
from common.threads import side_by_side
from server.cohort import Roster
from server.steps import SAMPLE, Steps

Scores = dict[str, float | Sequence[float | None]]

OF_FEATURES = ("fid", "kid", "prdc", "per-class-recall")
QUICK = ("fid", "score")
ALL = ("fid", "kid", "prdc", "score", "per-class-recall", "utility")
DIGITS = MnistFeatures.name
FEWEST = 10
"""Held-out images without which no distance, neighbourhood or accuracy is worth a number."""

FEWEST_OF_A_CLASS = 5
"""Held-out images of a class without which its recall is not told."""

_MNIST = ("mnist", "mnist-10k")


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

    What a data set does not allow is left out (``reasons``): features need an extractor that takes images of this
    shape; ``score`` needs digits, as it reads the MNIST classifier's probabilities; few held-out images are too few.

    Args:
        config: The run's; which extractor, how many images.
        dataset: Its ``test`` images are the real ones.
    """

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self._evaluation: EvaluationConfig = config.evaluation
        self._seed = derive_seed(config.seed, "evaluation")
        self._dataset = dataset
        self._conditional = bool(getattr(config.model_component, "conditional", False))
        self.extractor = extractor_of(config.evaluation, dataset.shape)
        self.available = [name for name in ALL if self.reason_against(name) is None]

    def score(
        self,
        generator: nn.Module,
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
        wanted = [name for name in names if self.reason_against(name) is None]
        tasks: list[Callable[[], Scores]] = []
        if compared := [name for name in wanted if name != "utility"]:
            made = sample or steps.run(SAMPLE, lambda: self.sample(generator, num_images), None, compared)
            if made is not None:
                tasks = self._comparisons(made, compared, steps)
        if "utility" in wanted:  # it takes longest
            tasks.insert(0, lambda: steps.run("utility", lambda: {"utility": self._utility(generator)}, Scores()))
        scores = _merged(side_by_side(tasks))
        return {key: scores[key] for key in sorted(scores, key="utility".__eq__)}  # but is told last

    def sample(self, generator: nn.Module, num_images: int) -> Sample:
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

    def _utility(self, generator: nn.Module) -> float:
        classes = self._dataset.shape.num_classes
        labels = balanced_labels(self._evaluation.utility_num_images, classes)
        return self.utility_of(generate(generator, labels, derive_seed(self._seed, "utility")), labels)

    def utility_of(self, images: Tensor, labels: Tensor) -> float:
        """Returns the ``utility`` of images uint8 (N, C, S, S) with labels int64 (N,), whoever made them."""
        test, classes = self._dataset.test, self._dataset.shape.num_classes
        return metrics.utility(images, labels, test.images, test.labels, self._seed, num_classes=classes)

    @cached_property
    def _real_features(self) -> Tensor:
        assert self.extractor is not None
        images = self._dataset.test.images
        return metrics.kept_features(self.extractor, images, metrics.features_on_all_cores)

    @cached_property
    def _real_moments(self) -> metrics.Moments:
        return metrics.Moments.of(self._real_features)

    @cached_property
    def digits(self) -> float | None:
        """The share of held-out images that the MNIST classifier reads right; None where that is not known.

        1 for MNIST itself, without a look.
        """
        test, shape = self._dataset.test, self._dataset.shape
        if not EXTRACTORS[DIGITS].accepts(shape.channels, shape.size):
            return None
        if self._dataset.name.partition(" ")[0] in _MNIST:
            return 1.0
        return metrics.share_read(test.images, test.labels, self._dataset.class_names)

    def remarks(self) -> list[str]:
        """Returns warnings on what the scores mean here, a sentence each."""
        held_out = len(self._dataset.test)
        found: list[str] = []
        if self.extractor is None:
            return found
        if self.extractor.name == DIGITS and (warning := doubt_of_digits(self.digits)):
            found.append(warning)
        if held_out <= self.extractor.dimension and self.reason_against("fid") is None:
            found.append(
                f"fid is to {held_out} held-out images, no more than {self.extractor.name} has features "
                f"({self.extractor.dimension}): much of it comes of their small number, so compare it within this run "
                "only, and go by kid"
            )
        return found

    def reasons(self) -> dict[str, str]:
        """Returns why metrics cannot be computed here, by their names; see ``reason_against``."""
        found = {name: self.reason_against(name) for name in ALL}
        return {name: reason for name, reason in found.items() if reason}

    def reason_against(self, name: str) -> str | None:
        """Returns why a metric cannot be computed here; None if it can.

        Raises:
            ConfigError: There is no such metric.
        """
        if name not in ALL:
            raise ConfigError(f"metrics={name!r}: no such metric; {suggestion(name, list(ALL))}")
        shape, held_out = self._dataset.shape, len(self._dataset.test)
        if name in OF_FEATURES and self.extractor is None:
            return no_extractor(self._evaluation, shape)
        if name == "score" and not (shape == ImageShape(1, 28, 10) and (self.digits or 0) >= ENOUGH):
            return "it reads the probabilities of a classifier of 28x28 MNIST digits"
        if name in ("per-class-recall", "utility") and not self._dataset.labelled:
            return "the images have no labels"
        if name != "score" and held_out < FEWEST:
            return f"{held_out} held-out image(s) are too few, it takes {FEWEST}: hold out more"
        if name == "per-class-recall" and max(self._dataset.test.label_counts(shape.num_classes)) < FEWEST_OF_A_CLASS:
            return f"no class has {FEWEST_OF_A_CLASS} held-out images"
        return self._reason_against_utility() if name == "utility" else None

    def _reason_against_utility(self) -> str | None:
        shape, generated = self._dataset.shape, self._evaluation.utility_num_images
        if not self._conditional:
            return "the generator is not conditional, so its images have no labels to learn from"
        if generated == 0:
            return "evaluation.utility-num-images is 0"
        if shape.num_classes < 2:
            return "there is one class only"
        if generated < 2 * shape.num_classes:
            return (
                f"evaluation.utility-num-images is {generated}, fewer than two of each of {shape.num_classes} classes"
            )
        if shape.size < MIN_SIZE:
            return f"its classifier takes images of {MIN_SIZE} pixels or more"
        return None


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
        return f"data.name={config.data.name!r} has other images or classes on this server than the clients"
    return Evaluator(config, dataset)


def no_extractor(config: EvaluationConfig, shape: ImageShape) -> str:
    """Returns why images of a shape have no features, and what would give them some."""
    if config.extractor == "none":
        return "no extractor, as evaluation.extractor=none"
    ways = "evaluation.extractor=inception takes any"
    if shape.channels == 1:
        ways += ", and data.image-size=28 gives grey ones mnist-cnn, whose features are those of digits"
    return f"no extractor for {shape.size}x{shape.size} images with {shape.channels} channel(s): {ways}"


def doubt_of_digits(share: float | None) -> str:
    """Returns a warning that features of digits are taken of images that are none, as far as is known; else nothing.

    Args:
        share: Of the images, those that the MNIST classifier reads right; None where that is not known.
    """
    if share is not None and share >= ENOUGH:
        return ""
    known = "nothing says that these images are digits" if share is None else f"it reads {share:.0%} of these images"
    return (
        f"the features of {DIGITS} are those of a classifier of handwritten digits, and {known}: its scores tell "
        "little of other pictures; evaluation.extractor=inception looks at any"
    )


def extractor_of(config: EvaluationConfig, shape: ImageShape) -> metrics.Extractor | None:
    """Returns the extractor of a run for images of this shape, on the fastest device; None where there is none.

    Raises:
        ConfigError: The configured one does not take such images.
        DataError: Its weights are missing or unusable.
    """
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
