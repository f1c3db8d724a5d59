"""Whether an exported generator makes what the run's own makes, and what packing its weights costs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import DataError, FedGANError
from common.examples import TextSpec
from common.examples.images import denormalise
from common.generation import balanced_labels, draw_noise
from common.metrics import Metric, Score
from common.metrics.fid import FID
from common.metrics.next_token import NEXT_TOKEN
from common.models import Sampler
from common.models.tokens import TextSampler, TokenNetwork
from server.evaluation.evaluator import Evaluator
from simulations.export.format_base import Network
from simulations.runs.generator import LoadedGenerator

TOLERANCE = 1e-4
"""Largest difference of a float32 export's images in [-1, 1] to the run's own: 0.013 of a grey level."""

_BATCHES = [1, 7, 64, 184]


@dataclass(frozen=True)
class Agreement:
    """How close the images of an export are to those of the run's generator, for the same noise and labels.

    Attributes:
        images: Compared.
        largest: Largest difference of a value in [-1, 1].
        equal: Share of bytes that are equal once images are bytes.
    """

    images: int
    largest: float
    equal: float


@torch.inference_mode()
def compare(trained: LoadedGenerator, network: Network, seed: int = 0) -> Agreement:
    """Returns how close ``network`` is to the run's generator, over batches of several sizes."""
    num, classes = sum(_BATCHES), trained.spec.num_classes
    noise = draw_noise(num, trained.generator.noise_shape, seed)
    labels = balanced_labels(num, classes)
    expected = trained.generator(noise, labels)
    parts = zip(torch.split(noise, _BATCHES), torch.split(labels, _BATCHES), strict=True)
    found = torch.cat([network(part, own) for part, own in parts])
    equal = (denormalise(found) == denormalise(expected)).double().mean()
    return Agreement(num, float((found - expected).abs().max()), float(equal))


def require_same(agreement: Agreement, name: str, noun: str = "images", tolerance: float = TOLERANCE) -> None:
    """Checks that an export of whole weights makes the same examples, whose ``noun`` is for the message.

    Raises:
        FedGANError: It does not.
    """
    if not agreement.largest <= tolerance:
        raise FedGANError(
            f"{name} was not written: its {noun} differ by {agreement.largest:.3g} from those of the run's generator, "
            f"{tolerance:g} is allowed; export to another form, and report what the run's model and this machine are"
        )


def evaluator_of(trained: LoadedGenerator) -> Evaluator | str:
    """Returns what scores a run's generator on held-out examples of this machine, or why there are none here."""
    config = trained.config
    try:
        root = Path(config.data.root).expanduser()
        dataset = config.source.load(root, image_size=config.data.image_size, download=False)
    except DataError as error:
        return str(error)
    if dataset.spec != trained.spec:
        return f"data.name={config.data.name!r} has {dataset.spec} here, the generator makes {trained.spec}"
    return Evaluator(config, dataset)


class Ruler:
    """Measures a score of a run's generator and of its exports: of images fid, of text how well it is expected.

    Both are from the same noise and labels, or on the same held-out rows of text.

    Args:
        trained: The run's generator.
        num_samples: Of each fid, or rows of text; 0: nothing is measured.

    Attributes:
        scores: Of which there is a figure each; by the first of them exports are compared.
        reason: Why nothing is measured; empty: it is.
    """

    def __init__(self, trained: LoadedGenerator, num_samples: int) -> None:
        self.num_samples = num_samples
        metric, self._adapted = _MEASURED.get(trained.spec.kind, _MEASURED["images"])
        self.scores = tuple(score for score in metric.scores if score.selects_rounds or score.at_a_glance)
        self.reason = "fid-images is 0" if num_samples == 0 else ""
        self._metric, self._trained = metric, trained
        self._evaluator: Evaluator | None = None
        if self.reason:
            return
        evaluator = evaluator_of(trained)
        if isinstance(evaluator, str):
            self.reason = evaluator
            return
        self.reason = evaluator.limits.reason_against(metric.name) or ""
        self._evaluator = None if self.reason else evaluator

    @property
    def main(self) -> Score:
        """What exports are compared by."""
        return self.scores[0]

    def measure(self, network: Network | None = None) -> dict[str, float | None]:
        """Returns the scores of an export, or of the run's own generator; None each where there are none."""
        if self._evaluator is None:
            return dict.fromkeys((score.name for score in self.scores), None)
        own = self._trained.generator
        sampler = own if network is None else self._adapted(network, own)
        found = self._evaluator.score(sampler, (self._metric.name,), self.num_samples, num_held_out=self.num_samples)
        return {score.name: _figure(found[score.name]) for score in self.scores}


def _figure(value: object) -> float:
    assert isinstance(value, float)
    return value


class _Adapted(Sampler):
    """A network that runs elsewhere, with what ``common.generation.generate`` asks of a generator."""

    def __init__(self, network: Network, like: Sampler) -> None:
        super().__init__()
        self.spec, self.noise_shape = like.spec, like.noise_shape
        self._network = network
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # where its images come from: the CPU

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self._network(noise, labels)


class _Expects(TokenNetwork):
    """A graph from tokens to logits that runs elsewhere; of it, only whole texts are asked for."""

    def __init__(self, network: Network, like: Sampler) -> None:
        super().__init__()
        assert isinstance(like.spec, TextSpec)
        self.spec, self._network = like.spec, network
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        return self._network(tokens, labels)

    def begin(self, labels: Tensor) -> Any:
        raise NotImplementedError("an exported graph keeps no state")

    def advance(self, tokens: Tensor, labels: Tensor, state: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError("an exported graph keeps no state")


def _adapted_text(network: Network, like: Sampler) -> Sampler:
    return TextSampler(_Expects(network, like))


_MEASURED: dict[str, tuple[Metric, Callable[[Network, Sampler], Sampler]]] = {
    "images": (FID, _Adapted),
    "text": (NEXT_TOKEN, _adapted_text),
}
