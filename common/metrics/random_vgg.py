"""A small VGG-like network with random weights: features for pictures that no trained network at hand knows.

Features of a network that was never trained tell distributions of images apart, and have no preference for what a
training set held: Naeem et al. 2020 (arXiv:2002.09797), Lee et al. 2022 (arXiv:2208.09218). The plan of layers is that
of VGG-11 (Simonyan and Zisserman 2015, configuration A) at a quarter of its width, without its last block, and with one
linear layer on top.
"""

import functools
import math

import torch
from torch import Tensor, nn

from common.seeding import torch_generator

NUM_FEATURES = 64
SIZE = 64
"""Pixels that images are resized to, before the network sees them; what is finer than that counts for nothing."""

_BLOCKS = ((16,), (32,), (64, 64), (128, 128))
"""Channels of the convolutions between poolings."""


class RandomVgg(nn.Module):
    """Images float32 (N, 3, 64, 64) in [-1, 1] to features (N, 64), of any sign."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for block in _BLOCKS:
            for width in block:
                layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        side = SIZE >> len(_BLOCKS)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * side**2, NUM_FEATURES, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features."""
        features: Tensor = self.body(images.contiguous(memory_format=torch.channels_last))
        return features


def make() -> RandomVgg:
    """Returns the network with its weights, in evaluation mode, on the CPU, without gradients.

    Weights are uniform in [-b, b], b = sqrt(6 / fan-in), which has the variance of He et al. 2015, eq. 10. They are
    made of uniform numbers in [0, 1) by one exact step and one rounding, so that they have the same bits everywhere;
    normal ones would hang on the processor's logarithm.
    """
    with torch.device("meta"):
        network = RandomVgg()
    state = {name: _uniform(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    network.to(memory_format=torch.channels_last)
    return network.requires_grad_(False).eval()


@functools.cache
def _uniform(name: str, shape: tuple[int, ...]) -> Tensor:
    bound = math.sqrt(6 / math.prod(shape[1:]))
    return (2 * torch.rand(shape, generator=torch_generator(0, "random-vgg", name)) - 1) * bound
