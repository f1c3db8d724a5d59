"""What a client tells the server's evaluation: moments of its images' features, and whether its images are repeated.

Images never leave it.
"""

import functools

import torch
from torch import Tensor

from client.data import Shard
from client.site import Site
from common import metrics
from common.config import RunConfig
from common.errors import DataError
from common.examples import ExampleSpec, ImageSpec
from common.generation import generate, load_sampler
from common.seeding import derive_seed, numpy_generator
from common.tree import Tree

FEWEST = 10
"""Images of a site's own in a group of moments: those of one image would be its features."""

_MOST_COMPARED = 1000  # of the training images, and of those held out


class RefusalError(Exception):
    """The client does not say it; the message is why."""


def moments(config: RunConfig, site: Site, shard: Shard, device: torch.device) -> Tree:
    """Returns moments of the training images' features (``ClientMoments.tree``), of each class where labels are told.

    Raises:
        RefusalError: The site gives none, or its images have no features or are too few.
    """
    if reason := reason_against_moments(site, shard):
        raise RefusalError(reason)
    extractor = _extractor(config, shard.shape, device)
    if extractor is None:
        raise RefusalError("there is no extractor for its images")
    labels = shard.examples.labels if site.disclose_labels else None
    if site.data:  # nothing of a site's own images is kept
        features = extractor(shard.examples.stored)
    else:
        features = metrics.kept_features(extractor, shard.examples.stored).to(device)
    try:
        found = metrics.ClientMoments.of(
            features,
            None if labels is None else labels.to(features.device),
            shard.shape.num_classes,
            fewest=FEWEST if site.data else 1,  # the server could compute those of a simulated client itself
        )
    except DataError as error:
        raise RefusalError(str(error)) from None
    return found.tree()


def reason_against_moments(site: Site, shard: Shard) -> str:
    """Returns why a site tells no moments, whatever the features are, so that it can say it before the first round."""
    if not site.disclose_moments:
        return "disclose-moments=false"
    if site.data and len(shard.examples) < FEWEST:
        return f"{len(shard.examples)} images are too few to give moments of: {FEWEST} at least"
    return ""


def memorisation(weights: Tree, config: RunConfig, site: Site, shard: Shard, device: torch.device) -> Tree:
    """Returns ``ratio`` and ``error`` (see ``metrics.memorisation``) of a generator with these weights, float64 ().

    As many training images as are held out are looked at, at most 1000, and ``evaluation.num-images`` generated ones
    whose labels are distributed as the client's. In pixels where there is no extractor.

    Raises:
        RefusalError: Too few images are held out.
    """
    held_out = shard.held_out
    num = 0 if held_out is None else min(len(held_out), len(shard.examples), _MOST_COMPARED)
    if held_out is None or num < 2:
        raise RefusalError(f"{num} held-out image(s) are too few to tell memorisation")
    seed = derive_seed(config.seed, "memorisation", site.partition_id)
    extractor = _extractor(config, shard.shape, device)

    def described(images: Tensor) -> Tensor:
        return images.flatten(1).float() / 255 if extractor is None else extractor(images)

    draw = numpy_generator(seed, "chosen")
    chosen = [draw.choice(len(images), num, replace=False) for images in (shard.examples, held_out)]
    sides = [part.subset(rows).stored for part, rows in zip((shard.examples, held_out), chosen, strict=True)]
    labels = shard.examples.labels
    asked = labels[torch.from_numpy(draw.integers(len(labels), size=config.evaluation.num_images))]
    fakes = generate(load_sampler(config.model_component, shard.shape, weights, device), asked, seed)
    ratio, error = metrics.memorisation(*(described(images) for images in (*sides, fakes)))
    return {"ratio": torch.tensor(ratio, dtype=torch.float64), "error": torch.tensor(error, dtype=torch.float64)}


def _extractor(config: RunConfig, shape: ExampleSpec, device: torch.device) -> metrics.Extractor | None:
    evaluation = config.evaluation
    if not isinstance(shape, ImageSpec):
        return None
    return _kept(evaluation.extractor, shape.channels, shape.size, evaluation.inception_weights, device)


@functools.lru_cache(maxsize=1)
def _kept(name: str, channels: int, size: int, weights: str, device: torch.device) -> metrics.Extractor | None:
    """Returns an extractor, the same one to all clients of a process."""
    return metrics.extractor_for(name, channels, size, weights, device)
