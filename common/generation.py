"""Images from a trained generator: the same weights, labels and seed give the same images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.datasets.base import ImageShape, denormalise
from common.errors import DivergenceError
from common.models import Model
from common.seeding import torch_generator
from common.tree import Tree

_BATCH = 500  # images made at once: bounds memory; fixed, as a result's last bits may depend on it


def load_generator(model: Model, shape: ImageShape, weights: Tree, device: torch.device | str = "cpu") -> nn.Module:
    """Returns the generator with ``weights``, ready to make images.

    Args:
        model: The architecture.
        shape: Of the images.
        weights: Entries ``generator.<parameter>``; those of other networks are ignored.
        device: Where to make images.
    """
    generator = model.build(shape, seed=0)["generator"]
    prefix = "generator."
    generator.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return generator.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def generate(generator: nn.Module, labels: Tensor, seed: int) -> Tensor:
    """Returns one image a label: uint8 (N, C, S, S) on the CPU.

    Args:
        generator: Maps latents (B, Z) and labels (B,) to images in [-1, 1]; has ``latent_size``.
        labels: int64 (N,), in [0, num_classes).
        seed: Latents follow from it; a call for more images begins with those of a call for fewer.

    Raises:
        DivergenceError: The generator's output is not finite.
    """
    device = next(generator.parameters()).device
    source = torch_generator(seed, "latents")
    latent_size = int(getattr(generator, "latent_size"))  # noqa: B009  nn.Module types attributes as Tensor | Module
    images = []
    for chunk in torch.split(labels, _BATCH):
        latents = torch.randn(_BATCH, latent_size, generator=source)[
            : len(chunk)
        ]  # torch draws other numbers for fewer
        made = generator(latents.to(device), chunk.to(device))
        if not bool(torch.isfinite(made).all()):
            raise DivergenceError("the generator's images are not finite")
        images.append(denormalise(made).cpu())
    return torch.cat(images) if images else torch.empty(0, dtype=torch.uint8)


def balanced_labels(num: int, num_classes: int) -> Tensor:
    """Returns ``num`` labels, int64 (num,), that run 0, 1, ..., num_classes - 1 over and over."""
    return torch.arange(num) % num_classes


def tile(images: Tensor, columns: int, padding: int = 2) -> NDArray[np.uint8]:
    """Returns one picture of all images, row by row: uint8 (height, width) if grey, else (height, width, 3).

    Args:
        images: uint8 (N, C, S, S), N >= 1.
        columns: Images in a row.
        padding: White pixels between images and around.
    """
    num, channels, size, _ = images.shape
    rows, cell = -(-num // columns), size + padding
    picture = np.full((channels, rows * cell + padding, columns * cell + padding), 255, dtype=np.uint8)
    for index, image in enumerate(images.numpy()):
        top, left = (index // columns) * cell + padding, (index % columns) * cell + padding
        picture[:, top : top + size, left : left + size] = image
    return picture[0] if channels == 1 else picture.transpose(1, 2, 0)
