"""What metrics compare: generated examples with real ones, and the features, texts and moments of each."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from common.examples import ExampleSpec, TextSpec
from common.examples.text import unpack
from common.metrics.extractors import Extractor, features_on_all_cores
from common.metrics.feature_cache import kept_features
from common.metrics.moments import Moments
from common.models import Sampler


class Reference:
    """Held-out examples, and their features, which are made once for all scores.

    Args:
        stored: The examples as their kind stores them, (N, ...).
        labels: int64 (N,).
        spec: Of the examples.
        extractor: Of the features; None: there is none, and no metric asks for them.
        sources: Which source each example is from, int64 (N,); None where the data do not say.
    """

    def __init__(
        self,
        stored: Tensor,
        labels: Tensor,
        spec: ExampleSpec,
        extractor: Extractor | None,
        sources: Tensor | None = None,
    ) -> None:
        self.stored, self.labels, self.spec, self.sources = stored, labels, spec, sources
        self._extractor = extractor

    @cached_property
    def features(self) -> Tensor:
        """Features (N, D), on the CPU."""
        assert self._extractor is not None
        return kept_features(self._extractor, self.stored, features_on_all_cores)

    @cached_property
    def texts(self) -> list[str]:
        """The texts that rows of text are cut from."""
        assert isinstance(self.spec, TextSpec)
        return unpack(self.stored, self.spec)

    @cached_property
    def moments(self) -> Moments:
        """Of the features."""
        return Moments.of(self.features)


class Sample:
    """Examples that a model made for one evaluation, and their features: made once for all its scores.

    Args:
        stored: The examples as their kind stores them, (N, ...).
        labels: Those that the model was given, int64 (N,).
        spec: Of the examples.
        extractor: Of the features; None where there is none.
    """

    def __init__(self, stored: Tensor, labels: Tensor, spec: ExampleSpec, extractor: Extractor | None) -> None:
        self.stored = stored
        self.labels = labels
        self.spec = spec
        self.extractor = extractor

    @cached_property
    def features(self) -> Tensor | None:
        """Features (N, D), on the CPU; None without an extractor."""
        return None if self.extractor is None else features_on_all_cores(self.extractor, self.stored)

    @cached_property
    def texts(self) -> list[str]:
        """Texts, each up to its end."""
        assert isinstance(self.spec, TextSpec)
        return [self.spec.decode(row) for row in self.stored]


@dataclass(frozen=True)
class Comparison:
    """What a metric looks at.

    Attributes:
        real: Held-out examples.
        sample: Generated ones; of a metric whose ``sample`` is ``none`` there are none.
        seed: Of the metric's random numbers.
        sampler: What made them; None where nobody knows.
        num_held_out: How many held-out examples to look at where a look at each takes long, evenly picked; None: all.
    """

    real: Reference
    sample: Sample
    seed: int
    sampler: Sampler | None = None
    num_held_out: int | None = None

    @property
    def device(self) -> torch.device:
        """Where to compute what takes long: where the model is; the CPU where nobody knows what made the sample."""
        return torch.device("cpu") if self.sampler is None else self.sampler.device

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features of the held-out (N, D) and of the generated examples (M, D), for metrics that need them."""
        assert self.sample.features is not None
        return self.real.features, self.sample.features
