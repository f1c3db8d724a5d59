"""What a client sends of its images for scores against all clients' real ones: moments of features, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from common.errors import DataError
from common.metrics.moments import Moments
from common.tree import Tree

UNDISCLOSED = -1
"""In place of a label: of images whose class is not disclosed."""

_MOST_BYTES = 64 * 2**20  # of one client's second moments; above, they are sent as one group
_LARGEST = 1e12  # of a squared feature: sums over clients stay far from the end of float64
_KEYS = {"labels", "counts", "totals", "outers"}


@dataclass(frozen=True, eq=False)
class ClientMoments:
    """What one client sends of its real images.

    Attributes:
        groups: Moments of the features, by label; ``UNDISCLOSED`` for the images whose class is not disclosed.
        label_counts: Images of each class; None from a client that keeps them to itself.
    """

    groups: Mapping[int, Moments]
    label_counts: tuple[int, ...] | None = None

    @classmethod
    def of(cls, features: Tensor, labels: Tensor | None, num_classes: int, fewest: int = 1) -> "ClientMoments":
        """Returns the moments of a client's images.

        Classes of fewer than ``fewest`` images are put together into one group of at least as many, as the moments of
        one image are its features. So are all where moments of each class would be larger than 64 MiB.

        Args:
            features: (N, D).
            labels: int64 (N,), in [0, num_classes); None: to be kept to itself.
            num_classes: How many there are.
            fewest: Images in a group.

        Raises:
            DataError: Fewer than ``fewest`` images.
        """
        if len(features) < max(fewest, 1):
            raise DataError(f"{len(features)} images are too few to give moments of: {max(fewest, 1)} at least")
        if labels is None:
            return cls({UNDISCLOSED: Moments.of(features)})
        counts = torch.bincount(labels, minlength=num_classes).tolist()
        held = [k for k, count in enumerate(counts) if count]
        together: list[int] = []
        for k in sorted(held, key=lambda k: (counts[k], k)):  # the smallest first, until they are enough
            if counts[k] < fewest or 0 < sum(counts[j] for j in together) < fewest:
                together.append(k)
        if len(held) * _packed(features.shape[1]) * 8 > _MOST_BYTES:
            together = held
        groups = {k: Moments.of(features[labels == k]) for k in held if k not in together}
        if together:
            groups[UNDISCLOSED] = Moments.of(features[torch.isin(labels, torch.tensor(together, device=labels.device))])
        return cls(groups, tuple(counts))

    @property
    def total(self) -> Moments:
        """Of all images of the client."""
        return reduce(add, self.groups.values())

    def tree(self) -> dict[str, Tensor]:
        """Returns everything as tensors; of the symmetric second moments only one half. ``from_tree`` reads it back."""
        moments = list(self.groups.values())
        upper = torch.triu_indices(len(moments[0].total), len(moments[0].total))
        tree = {
            "labels": torch.tensor(list(self.groups), dtype=torch.int64),
            "counts": torch.tensor([one.count for one in moments], dtype=torch.int64),
            "totals": torch.stack([one.total.cpu() for one in moments]),
            "outers": torch.stack([one.outer.cpu()[upper[0], upper[1]] for one in moments]),
        }
        if self.label_counts is not None:
            tree["label-counts"] = torch.tensor(self.label_counts, dtype=torch.int64)
        return tree

    @classmethod
    def from_tree(cls, tree: Tree, dimension: int, num_classes: int, num_images: int) -> "ClientMoments":
        """Returns what a client has sent, if it can be moments of its images.

        Args:
            tree: See ``tree``.
            dimension: Features of an image, D.
            num_classes: How many there are.
            num_images: Images that the client says it holds.

        Raises:
            DataError: It cannot; says why.
        """
        _require(set(tree) - {"label-counts"} == _KEYS, f"entries {sorted(tree)[:6]} instead of {sorted(_KEYS)}")
        size = tree["labels"].numel()
        shapes = {"labels": (size,), "counts": (size,), "totals": (size, dimension)}
        shapes |= {"outers": (size, _packed(dimension)), "label-counts": (num_classes,)}
        for key, value in tree.items():
            kind = torch.float64 if key in ("totals", "outers") else torch.int64
            found = (tuple(value.shape), value.dtype)
            _require(found == (shapes[key], kind), f"{key} is {found}, not {(shapes[key], kind)}")
            _require(bool(torch.isfinite(value).all()), f"{key} is not finite")
        labels, counts = tree["labels"].tolist(), tree["counts"].tolist()
        known = len(set(labels)) == size and all(UNDISCLOSED <= k < num_classes for k in labels)
        _require(size > 0 and known, f"groups {labels[:20]} of {num_classes} classes")
        _require(min(counts) > 0 and sum(counts) == num_images, f"groups of {counts[:20]} of {num_images} images")
        label_counts = tuple(tree["label-counts"].tolist()) if "label-counts" in tree else None
        if label_counts is not None:
            few = min(label_counts) < 0 or sum(label_counts) != num_images
            few |= any(label_counts[k] != n for k, n in zip(labels, counts, strict=True) if k != UNDISCLOSED)
            _require(not few, f"label counts {list(label_counts)} do not fit groups of {counts[:20]} images")
        groups = {}
        for k, n, total, packed in zip(labels, counts, tree["totals"], tree["outers"], strict=True):
            outer = total.new_zeros(dimension, dimension)
            upper = torch.triu_indices(dimension, dimension)
            outer[upper[0], upper[1]] = outer[upper[1], upper[0]] = packed
            small = bool((outer.abs() <= _LARGEST * n).all()) and bool((total.abs() <= _LARGEST**0.5 * n).all())
            _require(small, f"moments of features of over {_LARGEST**0.5:g}")
            spread = outer - torch.outer(total, total) / n
            slack = 1e-9 * outer.diagonal().abs().amax()
            fits = bool(torch.linalg.eigvalsh(spread)[0] >= -slack)  # no combination of features has less than none
            _require(fits, "second moments that are smaller than the first ones allow")
            groups[k] = Moments(n, total, outer)
        return cls(groups, label_counts)


def moments_by_label(features: Tensor, labels: Tensor | None, num_classes: int) -> dict[int, Moments]:
    """Returns the moments of generated features (N, D) by the requested labels; None: there are none."""
    if labels is None:
        return {UNDISCLOSED: Moments.of(features)}
    return {k: Moments.of(features[labels == k]) for k in range(num_classes) if bool((labels == k).any())}


def _packed(dimension: int) -> int:
    return dimension * (dimension + 1) // 2


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DataError(f"no moments of features: {otherwise}")
