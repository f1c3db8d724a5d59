"""Scores the server's model against held-out examples, where the server holds any."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import metrics
from common.config import RunConfig
from common.config_sections import EvaluationConfig
from common.datasets.base import Dataset, load_once
from common.errors import ConfigError, DataError
from common.examples import ExampleSpec, ImageSpec
from common.folds import folds_of_split, groups_of, with_fold_held_out
from common.generation import balanced_labels, generate_on_all_cores
from common.metrics import METRICS, Comparison, Metric, Reference, Sample, Scores, table
from common.models import Sampler
from common.seeding import derive_seed
from common.threads import side_by_side
from server.clients.roster import Roster
from server.evaluation.limits import Limits, describe_scores
from server.evaluation.steps import SAMPLE, Final, Steps, announce, sentences


class Evaluator:
    """Scores generators on one data set's held-out examples.

    What a data set does not allow is left out; ``limits`` says why.

    Args:
        config: The run's; which extractor, how many examples.
        dataset: Its ``test`` examples are the real ones, or with ``evaluation.folds`` what clients hold out of it.

    Attributes:
        held_out: These examples.
    """

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self._evaluation: EvaluationConfig = config.evaluation
        self._seed = derive_seed(config.seed, "evaluation")
        dataset = with_fold_held_out(config, dataset)
        self._dataset = dataset
        self.held_out = dataset.test
        self.extractor = extractor_of(config, dataset.spec)
        self.limits = Limits(config, dataset, self.extractor)
        self.available = [name for name in table.held_out() if self.limits.reason_against(name) is None]

    def score(
        self,
        generator: Sampler,
        names: Sequence[str],
        num_samples: int,
        sample: Sample | None = None,
        steps: Steps | None = None,
        num_held_out: int | None = None,
    ) -> Scores:
        """Returns the named metrics (see ``docs/metrics.md``) that the data allow.

        Args:
            generator: See ``common.generation.generate``.
            names: Of ``table.held_out()``; those not ``available`` are skipped.
            num_samples: Generated images.
            sample: What ``self.sample`` gives, where that is known already.
            steps: Does the work, metric by metric; None: whatever fails is raised.
            num_held_out: Held-out examples that are looked at where a look at each takes long; None: all.

        Raises:
            ConfigError: An unknown name.
        """
        steps = steps or Steps()
        computable = [name for name in names if self.limits.reason_against(name) is None]
        shared, alone = _by_sample(computable)
        tasks: list[Callable[[], Scores]]
        tasks = [partial(steps.run, n, partial(self._alone, generator, n, num_held_out), Scores()) for n in alone]
        if shared:
            made = sample or steps.run(SAMPLE, lambda: self.sample(generator, num_samples), None, shared)
            if made is not None:  # those of samples of their own are begun first, as they take longest
                tasks += self._comparisons(made, shared, steps)
        scores = _merged(side_by_side(tasks))
        return {key: scores[key] for key in table.scores() if key in scores}

    def summary(self, generator: Sampler, names: Sequence[str], num_samples: int) -> dict[str, Any]:
        """Returns the named metrics of a generator as a summary has them, and says how far it is.

        Returns:
            ``scores``, ``not-scored``, and what ``describe_scores`` returns as ``scored-with``.
        """
        computed, steps = [name for name in names if name in self.available], Final()
        announce(num_samples, self.steps(computed))
        scores = self.score(generator, names, num_samples, steps=steps)
        missing = {name: reason for name, reason in self.limits.reasons().items() if name in names} | steps.failed
        extractor = self.extractor.name if self.extractor else None
        utility = self._evaluation.utility_num_samples
        made = describe_scores(scores, extractor, num_samples, utility, self.limits.remarks(num_samples))
        described: dict[str, Any] = {"scored-with": made} if made else {}
        return {"scores": scores, **described, "not-scored": sentences(missing)}

    def steps(self, names: Sequence[str]) -> list[str]:
        """Returns the steps that computing metrics takes, in the order in which they are begun."""
        shared, alone = _by_sample(names)
        before = [SAMPLE, *(["features"] if self.extractor else [])] if shared else []
        return [*before, *alone, *shared]

    def sample(self, generator: Sampler, num_samples: int) -> Sample:
        """Returns examples of a generator whose labels are distributed as those of the held-out ones."""
        test = self._dataset.test
        repeats = -(-num_samples // len(test))
        order = torch.arange(len(test)).repeat(repeats)[:num_samples]
        if num_samples < len(test):  # an even pick over a test set that may be sorted by label
            order = torch.arange(num_samples) * len(test) // num_samples
        labels = test.labels[order]
        made = generate_on_all_cores(generator, labels, self._seed)
        return Sample(made, labels, self._dataset.spec, self.extractor)

    def compare(self, stored: Tensor, names: Sequence[str], labels: Tensor | None = None) -> Scores:
        """Returns the named metrics of examples as they are stored, (N, ...), whoever made them.

        Args:
            stored: Of the data set's shape.
            names: Of those ``available`` that take a sample.
            labels: Of the examples, int64 (N,), for metrics that look at them.
        """
        labels = torch.zeros(len(stored), dtype=torch.int64) if labels is None else labels
        sample = Sample(stored, labels, self._dataset.spec, self.extractor)
        return _merged(side_by_side(self._comparisons(sample, names, Steps())))

    def _comparisons(self, sample: Sample, names: Sequence[str], steps: Steps) -> list[Callable[[], Scores]]:
        """Returns what computes the named metrics, in the order of the table; see ``compare``."""
        chosen = [name for name in METRICS if name in names]
        if any("features" in METRICS[name].needs for name in chosen):
            made = steps.run("features", lambda: (self._reference.features, sample.features), None, names)
            if made is None:
                return []
        compared = Comparison(self._reference, sample, self._seed)
        return [partial(steps.run, name, partial(_computed, METRICS[name], compared), Scores()) for name in chosen]

    def _alone(self, generator: Sampler, name: str, num_held_out: int | None) -> Scores:
        """Returns a metric with a sample of its own, or with none."""
        test, spec = self._dataset.test, self._dataset.spec
        if METRICS[name].sample == "none":
            sample = Sample(test.stored[:0], test.labels[:0], spec, None)
        else:
            labels = balanced_labels(self._evaluation.utility_num_samples, self._dataset.held)
            made = generate_on_all_cores(generator, labels, derive_seed(self._seed, name))
            sample = Sample(made, labels, spec, self.extractor)
        return _computed(METRICS[name], Comparison(self._reference, sample, self._seed, generator, num_held_out))

    @cached_property
    def _reference(self) -> Reference:
        dataset, sources = self._dataset, self._dataset.test_sources
        of = None if sources is None else torch.from_numpy(sources)
        return Reference(dataset.test.stored, dataset.test.labels, dataset.spec, self.extractor, of)


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
    if roster.spec.widened(dataset.spec) != roster.spec or dataset.class_names != roster.class_names:
        return f"data.name={config.data.name!r} has other {roster.spec.kind} or classes than the clients"
    if config.evaluation.folds and not _is_split_of(dataset, config, roster):
        return f"data.name={config.data.name!r} is not what the clients divide into folds"
    return Evaluator(config, dataset)


def _is_split_of(dataset: Dataset, config: RunConfig, roster: Roster) -> bool:
    """Returns whether a client trains on what a simulated one would have of a data set."""
    partition, client = min(roster.clients.items())
    try:
        folds = folds_of_split(config.partitioner, groups_of(config.partitioner, dataset), dataset.train, config)
    except ConfigError:
        return False
    return client.data_digest == dataset.train.subset(folds[partition].trained).digest()


def extractor_of(config: RunConfig, spec: ExampleSpec) -> metrics.Extractor | None:
    """Returns the extractor of a run for images of this shape, on the fastest device; None where there is none.

    Raises:
        ConfigError: The configured one does not take such images.
        DataError: Its weights are missing or unusable.
    """
    if not isinstance(spec, ImageSpec):
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name, weights = config.evaluation.extractor, config.evaluation.inception_weights
    stacks = config.source.stacks_digits
    return metrics.extractor_for(name, spec.channels, spec.size, weights, device, stacks_digits=stacks)


def _computed(metric: Metric, compared: Comparison) -> Scores:
    assert metric.compute is not None
    return metric.compute(compared)


def _by_sample(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns those of the named metrics that share a sample, and those that have one of their own, or none."""
    shared = [name for name in names if METRICS[name].sample == "shared"]
    return shared, [name for name in names if name not in shared]


def _merged(scores: Sequence[Scores]) -> Scores:
    return {name: value for each in scores for name, value in each.items()}
