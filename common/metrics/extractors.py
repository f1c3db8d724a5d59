"""Feature extractors: the declared spaces in which images are compared. Distances of different ones never compare."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from common.components import suggestion
from common.errors import ConfigError, DataError
from common.metrics import inception, random_vgg
from common.metrics.classifier import MnistCNN, load_classifier
from common.metrics.supervised import to_float
from common.threads import side_by_side
from common.tree import Tree


class Extractor(Protocol):
    """Maps images to the feature vectors that ``fid``, ``kid`` and ``prdc`` compare."""

    name: ClassVar[str]
    dimension: ClassVar[int]
    chunk: ClassVar[int]
    """Images at a time: features of the first ``chunk`` images do not depend on those that follow."""

    device: torch.device | str

    @staticmethod
    def accepts(channels: int, size: int) -> bool:
        """Returns whether images of that many channels, ``size`` pixels high and wide, have features here."""

    def weights(self) -> Tree:
        """Returns the weights of its network, not to be written to.

        Raises:
            DataError: They are missing or unusable.
        """

    def __call__(self, images: Tensor) -> Tensor:
        """Returns features float32 (N, D), on the extractor's device, for images uint8 (N, C, H, W).

        Raises:
            DataError: Images of another kind.
        """


class MnistFeatures:
    """The 64 penultimate features of the embedded MNIST classifier, for grey images of 28x28."""

    name: ClassVar[str] = "mnist-cnn"
    channels: ClassVar[int] = 1
    dimension: ClassVar[int] = 64
    chunk: ClassVar[int] = 500

    def __init__(self, _weights: str = "", device: torch.device | str = "cpu") -> None:
        """Takes the embedded weights, and no others; they are decoded with the first features, not before a run."""
        self.device = device

    @classmethod
    def accepts(cls, channels: int, size: int) -> bool:
        """Returns whether the images have the channels that there are features for, of 28x28."""
        return channels == cls.channels and size == 28

    def weights(self) -> Tree:
        """Returns the embedded weights."""
        return load_classifier(self.device).state_dict()

    def __call__(self, images: Tensor) -> Tensor:
        """Returns features float32 (N, 64 a channel), at least 0, for images uint8 (N, C, 28, 28).

        Raises:
            DataError: Images of another kind, or the embedded weights are torn or altered.
        """
        _check(self, images)
        network = load_classifier(self.device)
        return _in_chunks(lambda chunk: self._features(network, chunk), images, self.chunk, self.device)

    def _features(self, network: MnistCNN, images: Tensor) -> Tensor:
        return network.features(to_float(images))


class ChannelFeatures(MnistFeatures):
    """The features of ``mnist-cnn`` of each channel, one after another: for three digits in one picture."""

    name: ClassVar[str] = "mnist-cnn-channels"
    channels: ClassVar[int] = 3
    dimension: ClassVar[int] = 3 * MnistFeatures.dimension

    def _features(self, network: MnistCNN, images: Tensor) -> Tensor:
        return network.features(to_float(images.flatten(0, 1)[:, None])).view(len(images), -1)


class RandomVggFeatures:
    """The 64 features of a VGG-like network with random weights, the same ones always, for any square images.

    They know nothing of pictures, so they prefer none: not those of ImageNet, nor digits. Distances are on a scale of
    their own, and compare with those of the same extractor only; see ``common/metrics/random_vgg.py``.
    """

    name: ClassVar[str] = "random-vgg"
    dimension: ClassVar[int] = random_vgg.NUM_FEATURES
    chunk: ClassVar[int] = 100

    def __init__(self, _weights: str = "", device: torch.device | str = "cpu") -> None:
        """Draws the weights, always the same."""
        self.device = device
        self._network = random_vgg.make().to(device)

    @staticmethod
    def accepts(channels: int, size: int) -> bool:
        """Returns whether the images are grey or have three channels."""
        return channels in (1, 3) and size > 0

    def weights(self) -> Tree:
        """Returns the weights that were drawn."""
        return self._network.state_dict()

    def __call__(self, images: Tensor) -> Tensor:
        """Returns features float32 (N, 64) for images uint8 (N, 1 or 3, H, W).

        Raises:
            DataError: Images of another kind.
        """
        _check(self, images)
        return _in_chunks(
            lambda chunk: self._network(_resized(chunk, random_vgg.SIZE)), images, self.chunk, self.device
        )


class InceptionFeatures:
    """The 2048 pooled features of torchvision's ImageNet Inception-v3 (Szegedy et al. 2016), for any square images.

    Images are resized to 299x299 (bilinear, antialiased, without rounding back to integers), grey ones repeated to
    three channels. The weights expect [-1, 1]: torchvision reaches it by ImageNet's normalisation and then undoing it
    (``transform_input``), this class directly. Values compare with those of other torchvision-based code; not with
    those of the TensorFlow weights that pytorch-fid and torch-fidelity use.
    """

    name: ClassVar[str] = "inception"
    dimension: ClassVar[int] = inception.NUM_FEATURES
    chunk: ClassVar[int] = 32

    def __init__(self, weights: str = "", device: torch.device | str = "cpu") -> None:
        """Loads weights from a file of torchvision's state dict; without one torchvision downloads it, or its cache.

        Raises:
            DataError: The file is missing or holds something else, or the download failed.
        """
        self.device = device
        self._network = inception.load(weights).to(device)

    @staticmethod
    def accepts(channels: int, size: int) -> bool:
        """Returns whether the images are grey or have three channels."""
        return channels in (1, 3) and size > 0

    def weights(self) -> Tree:
        """Returns the weights that were loaded."""
        return self._network.state_dict()

    def __call__(self, images: Tensor) -> Tensor:
        """Returns features float32 (N, 2048) for images uint8 (N, 1 or 3, H, W)."""
        _check(self, images)
        return _in_chunks(lambda chunk: self._network(_resized(chunk, inception.SIZE)), images, self.chunk, self.device)


EXTRACTORS: Mapping[str, type[MnistFeatures] | type[RandomVggFeatures] | type[InceptionFeatures]] = {
    MnistFeatures.name: MnistFeatures,
    ChannelFeatures.name: ChannelFeatures,
    RandomVggFeatures.name: RandomVggFeatures,
    InceptionFeatures.name: InceptionFeatures,
}


def make_extractor(name: str, weights: str = "", device: torch.device | str = "cpu") -> Extractor:
    """Returns the extractor called ``name``, ready to use.

    Args:
        name: One of ``EXTRACTORS``.
        weights: File of Inception's weights; if empty torchvision downloads them. Other extractors need none.
        device: Where images are sent and features are made.

    Raises:
        ConfigError: There is no such extractor.
        DataError: The weights are missing or unusable.
    """
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown feature extractor {name!r}; {suggestion(name, dict(EXTRACTORS))}")
    return EXTRACTORS[name](weights, device)


def extractor_name(name: str, channels: int, size: int, *, stacks_digits: bool = False) -> str | None:
    """Returns the name of the extractor for images of a kind, as ``evaluation.extractor`` says; None: there is none.

    Args:
        name: One of ``EXTRACTORS``, ``none``, or ``auto``: features of digits for what may be digits, ``mnist-cnn`` of
            grey 28x28 images and ``mnist-cnn-channels`` where each channel is a digit; ``random-vgg`` for all others.
        channels: Of the images.
        size: Of the images, in pixels.
        stacks_digits: Whether each channel of the images is one of MNIST's.

    Raises:
        ConfigError: The named one does not take such images.
    """
    if name == "auto":
        likely = ChannelFeatures.name if stacks_digits else MnistFeatures.name
        name = likely if EXTRACTORS[likely].accepts(channels, size) else RandomVggFeatures.name
    if name in EXTRACTORS and not EXTRACTORS[name].accepts(channels, size):
        raise ConfigError(
            f"evaluation.extractor={name!r} does not take {size}x{size} images with {channels} channel(s): inception "
            "and random-vgg take any, none skips these metrics"
        )
    return None if name == "none" else name


def extractor_for(
    name: str,
    channels: int,
    size: int,
    weights: str = "",
    device: torch.device | str = "cpu",
    *,
    stacks_digits: bool = False,
) -> Extractor | None:
    """Returns the extractor for images of a kind, as ``evaluation.extractor`` names it.

    Args:
        name: See ``extractor_name``.
        channels: See ``extractor_name``.
        size: See ``extractor_name``.
        weights: See ``make_extractor``.
        device: See ``make_extractor``.
        stacks_digits: See ``extractor_name``.

    Raises:
        ConfigError: The named one does not take such images.
        DataError: The weights are missing or unusable.
    """
    known = extractor_name(name, channels, size, stacks_digits=stacks_digits)
    return None if known is None else make_extractor(known, weights, device)


def features_on_all_cores(extractor: Extractor, images: Tensor) -> Tensor:
    """Returns ``extractor(images)`` on the CPU, to the bit: its chunks are shared out over the cores, if it is there.

    Raises:
        DataError: Images of another kind.
    """
    if torch.device(extractor.device).type != "cpu" or len(images) <= extractor.chunk:
        return extractor(images).cpu()
    tasks = [partial(extractor, chunk) for chunk in torch.split(images, extractor.chunk)]
    return torch.cat(side_by_side(tasks))


def _check(extractor: Extractor, images: Tensor) -> None:
    shape = tuple(images.shape)
    square = len(shape) == 4 and shape[2] == shape[3]
    if images.dtype != torch.uint8 or not square or not extractor.accepts(shape[1], shape[2]):
        raise DataError(f"the extractor {extractor.name} does not take images of shape {shape} and type {images.dtype}")


@torch.inference_mode()
def _in_chunks(function: Callable[[Tensor], Tensor], images: Tensor, size: int, device: torch.device | str) -> Tensor:
    """Returns ``function`` of the images, ``size`` at a time, so that memory stays bounded."""
    return torch.cat([function(chunk.to(device)) for chunk in torch.split(images, size)])


def _resized(images: Tensor, size: int) -> Tensor:
    """Returns uint8 images (N, 1 or 3, H, W) in colour and of another size: float32 (N, 3, size, size) in [-1, 1]."""
    resized = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return (resized / 127.5 - 1).expand(-1, 3, -1, -1)
