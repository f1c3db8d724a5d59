"""What a model is: a named set of networks that are built for the images at hand."""

import math
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from common.components import Component
from common.datasets.base import ImageShape
from common.errors import ConfigError
from common.seeding import torch_generator

Norm = Literal["group", "batch", "none"]


class Generator(Protocol):
    """Maps latents (B, Z) and labels (B,) to images (B, C, S, S), float32 in [-1, 1]."""

    latent_size: int

    def __call__(self, latents: Tensor, labels: Tensor) -> Tensor: ...


class Model(Component):
    """A set of networks; one of them is called ``generator`` and fits the protocol ``Generator``."""

    weight_std: ClassVar[float | None] = None
    """Standard deviation of initial weights; None: sqrt(2 / fan_in)."""

    def networks(self, shape: ImageShape) -> dict[str, nn.Module]:
        """Returns the networks by name for images of ``shape``; their weights need not be initialised.

        Raises:
            ConfigError: The model cannot make images of this size or number of channels.
        """
        raise NotImplementedError

    def build(self, shape: ImageShape, seed: int) -> nn.ModuleDict:
        """Returns the networks on the CPU with initial weights that depend on ``seed`` alone."""
        with torch.device("meta"):
            networks = nn.ModuleDict(self.networks(shape))
        materialise(networks)
        for name, network in networks.items():
            initialise(network, torch_generator(seed, "initial-weights", name), self.weight_std)
        return networks


def materialise(network: nn.Module, device: torch.device | str = "cpu") -> None:
    """Gives a network that was laid out on the meta device memory elsewhere, with any values in it.

    As ``network.to_empty`` does, by way of what imports ``sympy``, which takes a third of a second.
    """
    network._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))  # type: ignore[no-untyped-call]


class Embedding(nn.Embedding):
    """An embedding that starts standard normal.

    On the meta device, where networks are laid out, torch's own start imports ``torch._dynamo``, which takes a second.
    """

    def reset_parameters(self) -> None:
        """Leaves the weights as they are."""

    def init_weights(self, generator: torch.Generator) -> None:
        """Draws the weights; see ``initialise``."""
        self.weight.normal_(0.0, 1.0, generator=generator)


class ZeroEmbedding(Embedding):
    """An embedding that starts at zero: a class projection that says nothing until it has learned something."""

    def init_weights(self, generator: torch.Generator) -> None:
        """Zeroes the weights; see ``initialise``."""
        self.weight.zero_()


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator, weight_std: float | None = None) -> None:
    """Fills all weights and buffers of ``network`` in place, with draws from ``generator`` only.

    A module with a method ``init_weights(generator)`` fills its own parameters and buffers by it, those of the modules
    inside it apart. For torch's layers there are rules: convolutions and linear layers are normal with standard
    deviation ``weight_std``, by default sqrt(2 / fan_in) (He et al. 2015), with zero bias; embeddings standard normal;
    normalisations the identity.

    Raises:
        TypeError: A module with parameters or buffers of its own that has neither; names it and the way out.
    """
    for module in network.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        rule = getattr(module, "init_weights", None)
        if callable(rule):
            rule(generator)
        elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            std = weight_std or math.sqrt(2.0 / module.weight[0].numel())
            module.weight.normal_(0.0, std, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, 1.0, generator=generator)
        elif isinstance(module, _NORMALISATIONS):
            for name, parameter in module.named_parameters(recurse=False):
                parameter.fill_(1.0 if name == "weight" else 0.0)
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
        elif own:
            name = type(module).__name__
            raise TypeError(f"no rule to initialise {name}: give it a method init_weights(generator) that fills it")


_NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def require_size(model: str, shape: ImageShape, sizes: tuple[int, ...]) -> None:
    """Raises ConfigError unless the images are grey or colour and of one of ``sizes``."""
    if shape.size not in sizes:
        known = ", ".join(f"{size}x{size}" for size in sizes)
        raise ConfigError(
            f"model {model} makes {known} images, the data has {shape.size}x{shape.size}: set data.image-size"
        )
    if shape.channels not in (1, 3):
        raise ConfigError(f"model {model} makes grey (1) or colour (3) images, the data has {shape.channels} channels")


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Returns a normalisation of maps with so many channels; groups have 8 channels or more."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 8), channels) if norm == "group" else nn.Identity()
