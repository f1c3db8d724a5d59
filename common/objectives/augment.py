"""DiffAugment: random, differentiable changes of images on their way into the discriminator, real and fake alike.

Zhao, Liu, Lin, Zhu, Han 2020 (arXiv 2006.10738), with the strengths of the authors' code: a discriminator that overfits
a small shard sees more of it, and as fakes are changed too, the generator does not learn to imitate the changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import ConfigError
from common.examples import ExampleSpec, ImageSpec

_SHIFT = 0.125  # largest translation, as a share of the side
_CUT = 0.5  # side of the cut square, likewise


def color(images: Tensor, uniforms: Tensor) -> Tensor:
    """Returns images (B, 3, S, S) with another brightness, saturation and contrast each, by three numbers u (B, 3).

    Brightness: plus u - 1/2; saturation: distance to the pixel's grey times 2 u; contrast: distance to the image's mean
    times u + 1/2. Values may leave [-1, 1].
    """
    brightness, saturation, contrast = uniforms.view(-1, 3, 1, 1, 1).unbind(1)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2.0 * saturation) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    changed: Tensor = (images - mean) * (contrast + 0.5) + mean
    return changed


def translation(images: Tensor, uniforms: Tensor) -> Tensor:
    """Returns images (B, C, S, S), each moved by up to an eighth of its side, in whole pixels; 0 (grey) moves in."""
    size = images.shape[-1]
    most = int(size * _SHIFT + 0.5)
    down, right = (_whole(uniforms, 2 * most + 1) - most).unsqueeze(2).unbind(1)
    places = torch.arange(size, device=images.device)
    rows, columns = places - down, places - right  # where each pixel comes from, (B, S) each
    inside = _outer((rows >= 0) & (rows < size), (columns >= 0) & (columns < size))
    sources = (rows.clamp(0, size - 1).unsqueeze(2) * size + columns.clamp(0, size - 1).unsqueeze(1)).flatten(1)
    moved = images.flatten(2).gather(2, sources.unsqueeze(1).expand(-1, images.shape[1], -1))
    return moved.view_as(images) * inside


def cutout(images: Tensor, uniforms: Tensor) -> Tensor:
    """Returns images (B, C, S, S), each with a square of half its side set to 0 (grey); part of it may be outside."""
    size = images.shape[-1]
    side = int(size * _CUT + 0.5)
    places = torch.arange(size, device=images.device) + side // 2
    down, right = _whole(uniforms, size + 1 - side % 2).unsqueeze(2).unbind(1)
    rows, columns = places - down, places - right
    return images * ~_outer((rows >= 0) & (rows < side), (columns >= 0) & (columns < side))


@dataclass(frozen=True)
class Change:
    """A change of images.

    Attributes:
        apply: Takes images (B, C, S, S) and numbers (B, K), uniform in [0, 1), by which each is changed.
        num_uniforms: K.
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    num_uniforms: int


CHANGES: dict[str, Change] = {
    "color": Change(color, 3),
    "translation": Change(translation, 2),
    "cutout": Change(cutout, 2),
}
"""Every change, in the order in which they are applied."""


def parse_changes(text: str) -> tuple[str, ...]:
    """Returns the names in ``text``, separated by commas, in the order of ``CHANGES``.

    Raises:
        ValueError: An unknown name, or one given twice.
    """
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    for name in names:
        if name not in CHANGES:
            raise ValueError(f"{name!r} is none of {', '.join(CHANGES)}")
    if len(set(names)) < len(names):
        raise ValueError("a change is given twice")
    return tuple(name for name in CHANGES if name in names)


def require_colour(names: Sequence[str], spec: ExampleSpec) -> None:
    """Raises ConfigError if images are to be changed where there are none, or colours where images have none."""
    if names and not isinstance(spec, ImageSpec):
        raise ConfigError(
            f"augment='{','.join(names)}' in the objective changes images, and the data are {spec}: leave it out"
        )
    if not isinstance(spec, ImageSpec):
        return
    if "color" in names and spec.channels != 3:
        rest = ",".join(name for name in names if name != "color")
        raise ConfigError(
            f"augment='{','.join(names)}' in the objective: color needs 3 channels, the images have {spec.channels}: "
            + (f"use augment={rest}" if rest else "leave it out")
        )


def num_uniforms(names: Sequence[str]) -> int:
    """Returns how many numbers the named changes take for an image."""
    return sum(CHANGES[name].num_uniforms for name in names)


def change(images: Tensor, names: Sequence[str], uniforms: Tensor) -> Tensor:
    """Returns images (B, C, S, S) with the named changes, every image by numbers of its own.

    Args:
        images: In [-1, 1]; gradients flow back to them.
        names: Of ``CHANGES``, applied in the given order.
        uniforms: In [0, 1), (B, ``num_uniforms(names)``).
    """
    parts = torch.split(uniforms, [CHANGES[name].num_uniforms for name in names], dim=1)
    for name, part in zip(names, parts, strict=True):
        images = CHANGES[name].apply(images, part)
    return images


def _whole(uniforms: Tensor, num: int) -> Tensor:
    """Returns whole numbers in [0, num), each as likely, from numbers in [0, 1)."""
    return (uniforms * num).long().clamp_max(num - 1)  # a product may be rounded up to num


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    """Returns bool (B, 1, S, S) from bool (B, S) each: where row and column are both true."""
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)
