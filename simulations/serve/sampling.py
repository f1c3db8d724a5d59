"""From a request to images: noise and labels that follow from it alone, and the choice of the most trusted ones."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from common import metrics
from common.errors import ConfigError
from common.generation import draw_noise
from simulations.runs.generator import LoadedGenerator
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.models import ROWS, Network
from simulations.serve.trust import trusts_of, why_not


@dataclass(frozen=True)
class Draw:
    """What the generator is given.

    Attributes:
        noise: float32 (N, Z).
        labels: int64 (N,).
        kept_labels: The labels of the images that are to be kept, in order; None: all are.
    """

    noise: Tensor
    labels: Tensor
    kept_labels: list[int] | None = None


def draw(request: GenerateRequest, network: Network) -> Draw:
    """Returns noise and labels for a request.

    Raises:
        ConfigError: Labels, noise or a filter that this generator does not have.
    """
    size = network.noise_size
    labels = labels_of(request, network.trained)
    if request.keep is not None and request.keep < 1:
        _require_trust(request, network)
        if not network.trained.conditional:
            labels = torch.zeros_like(labels)  # all of one kind
        kept = [int(label) for label in labels]
        counts = sorted(Counter(kept).items())
        labels = torch.cat([torch.full((math.ceil(count / request.keep),), label) for label, count in counts])
        return Draw(_noise(request, len(labels), size), labels, kept)
    return Draw(_noise(request, len(labels), size), labels)


def candidates(request: GenerateRequest) -> int:
    """Returns how many images at most are made for a request."""
    return math.ceil(request.count / (request.keep or 1)) + (request.count if request.keep else 0)


def most_trusted(drawn: Draw, images: Tensor, trust: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Returns which images to keep, int64: of each label the most trusted, in the order of the labels asked for.

    Args:
        drawn: What they were made of.
        images: uint8 (N, C, S, S).
        trust: Gives a value an image, from images and labels; higher is better, and of equals the first is taken.
    """
    if drawn.kept_labels is None:
        return torch.arange(len(images))
    values = trust(images, drawn.labels)
    best: dict[int, Iterator[int]] = {}
    for label, count in Counter(drawn.kept_labels).items():
        own = (drawn.labels == label).nonzero().squeeze(1)
        chosen = own[values[own].argsort(descending=True, stable=True)[:count]]
        best[label] = iter(sorted(chosen.tolist()))  # as drawn: a rank would make the first ones look like the rule
    return torch.tensor([next(best[label]) for label in drawn.kept_labels])


def trust_of(request: GenerateRequest, network: Network) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns what ``most_trusted`` goes by: the adversary's logit, or the probability of the label."""
    return network.trust if request.trust == "adversary" else _believed


@torch.inference_mode()
def _believed(images: Tensor, labels: Tensor) -> Tensor:
    extractor, classifier = metrics.make_extractor("mnist-cnn"), metrics.load_classifier()
    chunks = []
    for chunk in torch.split(images, ROWS):
        rows = chunk.new_zeros(ROWS, *chunk.shape[1:])
        rows[: len(chunk)] = chunk
        chunks.append(classifier.logits(extractor(rows)).softmax(1)[: len(chunk)])
    return torch.cat(chunks).gather(1, labels[:, None]).squeeze(1)


def _require_trust(request: GenerateRequest, network: Network) -> None:
    trained = network.trained
    spec = trained.images("keep")
    known = trusts_of(
        has_adversary=trained.adversary is not None,
        shape=(spec.channels, spec.size, spec.num_classes),
        holds_digits=trained.config.source.holds_digits,
        conditional=trained.conditional,
    )
    if request.trust not in known:
        raise ConfigError(why_not(request.trust, known))


def labels_of(request: GenerateRequest, trained: LoadedGenerator) -> Tensor:
    """Returns the label of each example of a request, int64 (N,).

    Raises:
        ConfigError: The generator takes none, or does not know one.
    """
    count = request.count
    if request.labels is None or request.labels == "balanced":
        if request.interpolate:
            return trained.in_turn(1).repeat(count)
        return trained.in_turn(count)
    if not trained.conditional:
        raise ConfigError("this run's generator is not conditional: it takes no labels")
    trained.require_known(request.labels, "labels has {}")
    return torch.tensor(request.labels, dtype=torch.int64).repeat(-(-count // len(request.labels)))[:count]


def _noise(request: GenerateRequest, count: int, size: int) -> Tensor:
    if request.noise is not None:
        if wrong := [len(row) for row in request.noise if len(row) != size]:
            raise ConfigError(f"a noise vector has {wrong[0]} numbers: this generator takes {size}")
        return torch.tensor(request.noise, dtype=torch.float32)
    if request.interpolate is not None:
        start, end = (draw_noise(1, (size,), seed)[0] for seed in (request.seed, request.interpolate.to))
        return along_sphere(start, end, count)
    noise = draw_noise(count, (size,), request.seed)
    return truncated(noise, request.truncation) if request.truncation else noise


def along_sphere(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Returns ``count`` vectors from ``start`` to ``end``, float32 (count, Z): White 2016 (arXiv 1609.04468), eq. 1.

    Lengths go from that of the one to that of the other; between parallel vectors the way is straight.
    """
    a, b = start.double(), end.double()
    lengths = a.norm(), b.norm()
    cosine = (a @ b / (lengths[0] * lengths[1]).clamp_min(1e-12)).clamp(-1, 1)
    angle, shares = cosine.arccos(), torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    if float(angle.sin()) < 1e-6:
        return (a + (b - a) * shares).float()
    first, second = ((1 - shares) * angle).sin() / angle.sin(), (shares * angle).sin() / angle.sin()
    noise: Tensor = first * a + second * b
    return noise.float()


def truncated(noise: Tensor, limit: float) -> Tensor:
    """Returns standard normal noise as that of a normal distribution that ends at -limit and limit.

    Each number keeps its quantile, so an image changes smoothly with the limit. (Brock et al. 2019, arXiv 1809.11096,
    draw anew what lies outside: the same distribution.)
    """
    edge = torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64))
    quantiles = edge + torch.special.ndtr(noise.double()) * (1 - 2 * edge)
    cut: Tensor = torch.special.ndtri(quantiles)
    return cut.clamp(-limit, limit).float()
