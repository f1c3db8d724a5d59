"""A small specification, and a small set, of each kind of example, for tests that go over tables of every kind."""

import dataclasses

import torch

from common.examples import ExampleSet, ExampleSpec, ImageSet, ImageSpec, TextSet, TextSpec
from common.models import MODELS, Model
from common.objectives import OBJECTIVES
from common.seeding import torch_generator

SMALL_SPECS: dict[str, ExampleSpec] = {"images": ImageSpec(1, 28, 10), "text": TextSpec(9, 5, "abcdefgh", 10)}
SMALL_SIZES = {"width": 16, "latent_size": 8, "layers": 2, "heads": 2, "embedding": 4, "steps": 2}
"""Of every model that has the option."""

TRAINED = [name for name, kind in MODELS.items() if kind.fitting == "steps"]
FITTING = [(m, o) for m in TRAINED for o, kind in OBJECTIVES.items() if kind().fits(MODELS[m]())]
"""Each model with each objective that trains its networks."""


def spec_of(model: str, num_classes: int = 10) -> ExampleSpec:
    """Returns a small specification of what a model makes."""
    return dataclasses.replace(SMALL_SPECS[MODELS[model].kind], num_classes=num_classes)


def small_model(name: str, **options) -> Model:
    """Returns a model of small networks."""
    kind = MODELS[name]
    return kind(**{key: size for key, size in (SMALL_SIZES | options).items() if key in kind.model_fields})


def small_set(spec: ExampleSpec, num: int = 20, seed: int = 0, labels: tuple[int, ...] = (3, 7)) -> ExampleSet:
    """Returns random examples of a specification; labels recur in the order given."""
    generator, tiled = torch_generator(seed, "shard"), torch.tensor(labels).repeat(num)[:num]
    if isinstance(spec, ImageSpec):
        size = (num, spec.channels, spec.size, spec.size)
        return ImageSet(torch.randint(256, size, generator=generator, dtype=torch.uint8), tiled)
    assert isinstance(spec, TextSpec)
    tokens = torch.randint(spec.num_tokens, (num, spec.length), generator=generator)
    return TextSet(spec.to_stored(tokens), tiled, spec.overlap, spec.vocabulary)
