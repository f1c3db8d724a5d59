"""Canaries: examples of nobody's; a coin says which are trained on, and an audit guesses what it said."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from common.examples import ExampleSet, ExampleSpec, TextSpec
from common.examples.text import NUM_SPECIAL
from common.seeding import numpy_generator

_BLOCKS = 7  # a side: what convolutions can tell apart, and a network can learn by heart


@dataclass(frozen=True, eq=False)
class Canaries:
    """A client's canaries.

    Attributes:
        examples: All of them (m, ...).
        included: Which are trained on, bool (m,): a fair coin each.
    """

    examples: ExampleSet
    included: Tensor

    @property
    def trained(self) -> ExampleSet:
        """Those that are trained on."""
        return self.examples.subset(self.included.nonzero().squeeze(1).numpy())


def with_canaries(
    examples: ExampleSet, spec: ExampleSpec, num: int, seed: int, partition: int
) -> tuple[ExampleSet, Canaries]:
    """Returns examples with about half of ``num`` canaries behind them, and the canaries.

    Canaries are unlike any example, and unlike each other: images of random grey blocks (7 a side, or fewer), texts of
    random characters, with labels at random. They and their coins follow from the run's seed and the client.

    Args:
        examples: What the client would train on without.
        spec: Of the examples.
        num: m >= 1.
        seed: The run's.
        partition: The client's.
    """
    draw = numpy_generator(seed, "canaries", partition)
    labels = torch.from_numpy(draw.integers(spec.num_classes, size=num))
    included = torch.from_numpy(draw.random(num) < 0.5)
    shape = tuple(examples.stored.shape[1:])
    if isinstance(spec, TextSpec):
        tokens = draw.integers(NUM_SPECIAL, spec.num_tokens, size=(num, *shape))
        made = spec.to_stored(torch.from_numpy(tokens))
    else:
        *channels, size = shape[:-1]
        side = min(_BLOCKS, size)
        blocks = draw.integers(0, 2, size=(num, *channels, side, side)).astype(np.uint8) * 255
        place = np.arange(size) * side // size
        made = torch.from_numpy(blocks[..., place[:, None], place])
    canaries = Canaries(_like(examples, made, labels), included)
    chosen = canaries.trained
    return _like(
        examples, torch.cat([examples.stored, chosen.stored]), torch.cat([examples.labels, chosen.labels])
    ), canaries


def _like(examples: ExampleSet, stored: Tensor, labels: Tensor) -> ExampleSet:
    """Returns other examples of the same kind and options."""
    return replace(examples.subset(np.arange(0)), stored=stored.to(examples.stored.dtype), labels=labels)
