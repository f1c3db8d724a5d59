"""What a model is: a named set of networks that are built for the images at hand."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from common.components import Component
from common.errors import ConfigError
from common.examples import ExampleSpec, ImageSpec
from common.seeding import torch_generator

Norm = Literal["group", "batch", "none"]

Fitting = Literal["steps", "counts", "moments"]
"""How networks come by what they know: in steps of training, or at once, from counts or moments of examples."""


@dataclass(frozen=True)
class Roles:
    """What the networks of a model are for, by their names.

    Attributes:
        published: Those that samples are made with: the server keeps their moving average, scores and publishes them.
        adversaries: Those that judge what the published ones make, and learn at a rate of their own.
        helpers: Those that only training needs, as an encoder.
    """

    published: tuple[str, ...]
    adversaries: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of all networks."""
        return (*self.published, *self.adversaries, *self.helpers)


NO_LABEL = -1
"""The label of an example whose label is not to be looked at, for networks that allow it."""

ADVERSARIAL = Roles(("generator",), ("discriminator",))


class Sampler(nn.Module):
    """A deterministic map from standard normal noise (B, *noise_shape) and labels (B,), int64, to examples (B, ...).

    So the same noise and labels give the same examples, whatever the family: a generator or a decoder in one pass, a
    flow by the steps of its differential equation. Rows do not depend on each other.
    """

    noise_shape: tuple[int, ...]
    """Of the noise that one example is made of."""

    spec: ExampleSpec
    """What it makes."""

    way: str = ""
    """How it samples, where its networks can be sampled from in other ways too: ``temperature 1``."""

    def adapted(self, **options: float | None) -> "Sampler":
        """Returns a sampler of the same networks with other options of sampling, which some families have.

        Raises:
            ConfigError: An option that its family does not have.
        """
        for name, value in options.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value!r}: the model of this run makes {self.spec.kind} without: leave it out"
                )
        return self

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    @property
    def preview_shape(self) -> tuple[int, ...]:
        """Of the noise of an example that is made for people to look at; by default as of any other."""
        return self.noise_shape

    def variants(self) -> "Mapping[str, Sampler]":
        """Returns other ways to sample with the same networks, by what people call them; by default none."""
        return {}


class Model(Component):
    """A set of networks, some of which samples are made with."""

    roles: ClassVar[Roles]
    """What each network is for."""

    kind: ClassVar[str] = "images"
    """The kind of example that it makes."""

    family: ClassVar[str] = "generative model"
    """The kind of model, as a sentence names it: ``GAN``, ``variational autoencoder``."""

    weight_std: ClassVar[float | None] = None
    """Standard deviation of initial weights; None: sqrt(2 / fan_in)."""

    fitting: ClassVar[Fitting] = "steps"
    """How its networks come by what they know. Those of ``counts`` are counts, and nothing that is trained: entries
    ``keys``, ascending, and how often each was seen, ``counts``; both (N,) int64, of any N."""

    class_tables: ClassVar[tuple[str, ...]] = ()
    """Weights ``<network>.<parameter>`` with a row a class, to which examples of other classes have no gradient; there
    where the model is conditional. Clients who hold none of a class would only hold its row back in a mean."""

    sampling: ClassVar[tuple[str, ...]] = ()
    """The options that say how samples are drawn, and nothing of the networks: a trained model can take others."""

    reconstructs_with: ClassVar[tuple[str, ...]] = ()
    """The networks that encode an example and decode it again; empty: the family has none."""

    conditional: bool = Field(True, description="condition the networks on the label")

    @property
    def has_batch_statistics(self) -> bool:
        """Whether a network normalises by means over a batch, so that what it says of an example depends on others."""
        return False

    @property
    def judges_batches(self) -> bool:
        """Whether a discriminator's logit of an example depends on the others of its batch, trained or not."""
        return False

    def reconstructor(self, networks: Mapping[str, nn.Module] | nn.ModuleDict) -> nn.Module:
        """Returns what encodes examples (B, ...), with labels (B,), and decodes them again, without chance.

        Only of models that name networks in ``reconstructs_with``, whose weights it shares.
        """
        raise NotImplementedError(f"{type(self).__name__} names no networks in reconstructs_with")

    def sampler(self, networks: Mapping[str, nn.Module] | nn.ModuleDict) -> Sampler:
        """Returns what makes examples with the published ones of ``networks``, whose weights it shares.

        By default the only published network, which is a ``Sampler`` itself.
        """
        (name,) = self.roles.published
        network = networks[name]
        if not isinstance(network, Sampler):
            raise TypeError(f"the published network {name!r} is no Sampler: give {type(self).__name__} a sampler()")
        return network

    def counted(self, spec: ExampleSpec, examples: Tensor) -> dict[str, Tensor]:
        """Returns what the networks are that count these examples (N, ...), by ``<network>.<entry>``.

        Only of models whose networks are ``counts``; examples are as networks take them.
        """
        raise NotImplementedError(f"{type(self).__name__} counts nothing")

    def described(self, spec: ExampleSpec, examples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the vectors (B, D) whose moments the networks are made of, and the part that each is in (B,), int64.

        Only of models of ``moments``. Of each example its own vector, which depends on no data but that; a vector that
        is longer than 1 will be scaled down to it.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no moments")

    def moments_shape(self, spec: ExampleSpec) -> tuple[int, int]:
        """Returns how many parts there are, and how long vectors are (D); see ``described``."""
        raise NotImplementedError(f"{type(self).__name__} takes no moments")

    def fitted(self, spec: ExampleSpec, moments: Tensor, noise: float) -> dict[str, Tensor]:
        """Returns the networks, by ``<network>.<entry>``, of the sums of outer products of each part's vectors.

        Args:
            spec: Of the examples.
            moments: (parts, D, D), float64.
            noise: Standard deviation of what was added to each entry of the upper triangle, >= 0; off the diagonal it
                is less by the square root of 2.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no moments")

    def networks(self, spec: ExampleSpec) -> dict[str, nn.Module]:
        """Returns the networks by name for examples of ``spec``; their weights need not be initialised.

        Raises:
            ConfigError: The model cannot make examples of this kind or shape.
        """
        raise NotImplementedError

    def build(self, spec: ExampleSpec, seed: int) -> nn.ModuleDict:
        """Returns the networks on the CPU with initial weights that depend on ``seed`` alone."""
        with torch.device("meta"):
            networks = nn.ModuleDict(self.networks(spec))
        materialise(networks)
        for name, network in networks.items():
            initialise(network, torch_generator(seed, "initial-weights", name), self.weight_std)
        return networks


class AdversarialModel(Model):
    """A generator, which is a ``Sampler``, and a discriminator: examples (B, ...) and labels (B,) to logits (B,)."""

    roles: ClassVar[Roles] = ADVERSARIAL
    family: ClassVar[str] = "GAN"
    class_tables: ClassVar[tuple[str, ...]] = ("generator.embedding.weight", "discriminator.projection.weight")

    latent_size: int = Field(64, ge=1, le=4096, description="length of the latent vector")


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


def require_images(model: str, spec: ExampleSpec, sizes: tuple[int, ...] = ()) -> ImageSpec:
    """Returns the specification of grey or colour images of one of ``sizes``, or of any where none are given.

    Raises:
        ConfigError: The examples are of another kind or shape.
    """
    if not isinstance(spec, ImageSpec):
        raise ConfigError(f"model {model} makes images, the data are {spec}: take a model of theirs")
    if sizes and spec.size not in sizes:
        known = ", ".join(f"{size}x{size}" for size in sizes)
        raise ConfigError(
            f"model {model} makes {known} images, the data has {spec.size}x{spec.size}: set data.image-size"
        )
    if spec.channels not in (1, 3):
        raise ConfigError(f"model {model} makes grey (1) or colour (3) images, the data has {spec.channels} channels")
    return spec


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Returns a normalisation of maps with so many channels; groups have 8 channels or more."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 8), channels) if norm == "group" else nn.Identity()
