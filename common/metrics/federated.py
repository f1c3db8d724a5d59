"""Scores of a generator against all clients' real images, of which each client sends moments of features and no more.

Moments add up, so the pooled figure is that of all images in one place, whoever holds which of them. Where clients tell
which moments are of which class, the figures of each client and of each class follow from the same few sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from common.errors import DataError
from common.metrics.base import DISTANCES, Metric, Score, Scores
from common.metrics.fid import frechet_distance
from common.metrics.moments import Moments, mixed
from common.tree import Tree

OF_CLIENTS, OF_CLASSES = "client-fid", "class-fid"
"""The scores by client and by class."""

UNTOLD = -1
"""In place of a label: of images whose class is not told."""

_MOST_BYTES = 64 * 2**20  # of one client's second moments; above, they are sent as one group
_LARGEST = 1e12  # of a squared feature: sums over clients stay far from the end of float64
_KEYS = {"labels", "counts", "totals", "outers"}


@dataclass(frozen=True, eq=False)
class ClientMoments:
    """What one client sends of its real images.

    Attributes:
        groups: Moments of the features, by label; ``UNTOLD`` for the images whose class is not told.
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
            return cls({UNTOLD: Moments.of(features)})
        counts = torch.bincount(labels, minlength=num_classes).tolist()
        told = [k for k, count in enumerate(counts) if count]
        together: list[int] = []
        for k in sorted(told, key=lambda k: (counts[k], k)):  # the smallest first, until they are enough
            if counts[k] < fewest or 0 < sum(counts[j] for j in together) < fewest:
                together.append(k)
        if len(told) * _packed(features.shape[1]) * 8 > _MOST_BYTES:
            together = told
        groups = {k: Moments.of(features[labels == k]) for k in told if k not in together}
        if together:
            groups[UNTOLD] = Moments.of(features[torch.isin(labels, torch.tensor(together, device=labels.device))])
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
        known = len(set(labels)) == size and all(UNTOLD <= k < num_classes for k in labels)
        _require(size > 0 and known, f"groups {labels[:20]} of {num_classes} classes")
        _require(min(counts) > 0 and sum(counts) == num_images, f"groups of {counts[:20]} of {num_images} images")
        told = tuple(tree["label-counts"].tolist()) if "label-counts" in tree else None
        if told is not None:
            few = min(told) < 0 or sum(told) != num_images
            few |= any(told[k] != n for k, n in zip(labels, counts, strict=True) if k != UNTOLD)
            _require(not few, f"label counts {list(told)} do not fit groups of {counts[:20]} images")
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
        return cls(groups, told)


def moments_by_label(features: Tensor, labels: Tensor | None, num_classes: int) -> dict[int, Moments]:
    """Returns the moments of generated features (N, D) by the labels asked for; None: there are none."""
    if labels is None:
        return {UNTOLD: Moments.of(features)}
    return {k: Moments.of(features[labels == k]) for k in range(num_classes) if bool((labels == k).any())}


def federated_scores(
    clients: Mapping[int, ClientMoments], fakes: Mapping[int, Moments], num_clients: int, num_classes: int
) -> Scores:
    """Returns the Fréchet distances of generated images to the clients' real ones; see ``frechet_distance``.

    - ``federated-fid``: to the images of all clients together. The labels of the generated ones are distributed as
      those of the real ones if all clients tell them, else evenly.
    - ``client-fid``: to each client's images, with labels distributed as that client's; by partition, None where it is
      unknown. ``worst-client`` and ``worst-client-fid`` name the highest.
    - ``federated-clients``: the partitions that these are over, if not all have told.
    - ``class-fid``: of the images of each class to all clients' real ones that are told to be of that class;
      ``worst-class`` and ``worst-class-fid`` name the highest.

    Args:
        clients: By partition, one or more; summed up in ascending order.
        fakes: Of generated images, by label; only ``UNTOLD`` for a generator that takes no labels. Of every class that
            a client holds at least two images.
        num_clients: In the federation.
        num_classes: How many there are.
    """
    ordered = [clients[k] for k in sorted(clients)]
    told = [_counts(client, num_classes) for client in ordered]
    known = [counts for counts in told if counts is not None]
    pooled = [sum(column) for column in zip(*known, strict=True)] if len(known) == len(told) else None
    everything = reduce(add, (client.total for client in ordered))
    figures: Scores = {"federated-fid": frechet_distance(everything, _mixture(fakes, pooled or [1] * num_classes))}

    of_clients: list[float | None] = [None] * num_clients
    for partition, client, counts in zip(sorted(clients), ordered, told, strict=True):
        if client.total.count > 1 and (counts is not None or UNTOLD in fakes):
            of_clients[partition] = frechet_distance(client.total, _mixture(fakes, counts or [1] * num_classes))
    figures |= {OF_CLIENTS: of_clients, **_worst("client", of_clients)}
    if len(clients) < num_clients:
        figures["federated-clients"] = sorted(clients)
    if UNTOLD in fakes or num_classes == 1:
        return figures
    of_classes: list[float | None] = []
    for k in range(num_classes):
        parts = [client.groups[k] for client in ordered if k in client.groups]
        real = reduce(add, parts) if parts else None
        both = real is not None and real.count > 1 and k in fakes and fakes[k].count > 1
        of_classes.append(frechet_distance(real, fakes[k]) if real is not None and both else None)
    worst = _worst("class", of_classes)
    return figures | ({OF_CLASSES: of_classes, **worst} if worst else {})


def _mixture(fakes: Mapping[int, Moments], counts: Sequence[int]) -> Moments:
    if UNTOLD in fakes:
        return fakes[UNTOLD]
    wanted = [k for k, count in enumerate(counts) if count and k in fakes]
    return mixed([fakes[k] for k in wanted], [counts[k] for k in wanted])


def _worst(what: str, figures: Sequence[float | None]) -> Scores:
    known = [(value, -k) for k, value in enumerate(figures) if value is not None]
    return {f"worst-{what}": -max(known)[1], f"worst-{what}-fid": max(known)[0]} if known else {}


def _counts(client: ClientMoments, num_classes: int) -> tuple[int, ...] | None:
    return (client.total.count,) if num_classes == 1 else client.label_counts


def _packed(dimension: int) -> int:
    return dimension * (dimension + 1) // 2


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DataError(f"no moments of features: {otherwise}")


def _served_worst(scores: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    words = []
    if {"worst-client", "worst-client-fid", "federated-fid"} <= scores.keys():
        words.append(
            f"It serves client {scores['worst-client']} worst: fid {scores['worst-client-fid']:.4g} to that client's "
            f"images, {scores['federated-fid']:.4g} to those of all."
        )
    if {"worst-class", "worst-class-fid"} <= scores.keys():
        which = scores["worst-class"]
        name = f" ({class_names[which]})" if which < len(class_names) and class_names[which] != str(which) else ""
        words.append(f"It makes class {which}{name} worst: fid {scores['worst-class-fid']:.4g} to its images.")
    if {"federated-clients", "client-fid"} <= scores.keys():
        told = ", ".join(map(str, scores["federated-clients"]))
        words.append(f"Only clients {told} of {len(scores['client-fid'])} have told moments of their images.")
    return words


def _whom_it_is_over(scores: Mapping[str, Any]) -> str | None:
    if not {"federated-clients", "client-fid"} <= scores.keys():
        return None
    return f"federated over {len(scores['federated-clients'])} of {len(scores['client-fid'])} clients"


def _distance(name: str, label: str, meaning: str, heading: str = "", selects_rounds: bool = False) -> Score:
    return Score(
        name,
        label,
        meaning,
        "lower",
        chart=DISTANCES,
        decimals=2,
        heading=heading,
        selects_rounds=selects_rounds,
        benchmark="column" if heading else "",
    )


FEDERATED_FID = Metric(
    "federated-fid",
    (
        _distance(
            "federated-fid",
            "federated FID",
            "Fréchet distance to the images of all clients, from moments that they told, lower is better",
            selects_rounds=True,
        ),
        _distance(
            "worst-client-fid",
            "FID, worst client",
            "Fréchet distance to the images of the client that the generator serves worst",
            heading="worst client",
        ),
        _distance(
            "worst-class-fid",
            "FID, worst class",
            "Fréchet distance to the images of the class that the generator makes worst",
        ),
        Score(
            "client-fid",
            "FID to its images",
            "Fréchet distance to each client's images",
            "lower",
            "figures",
            "client",
            heading="FID to each client's images",
        ),
        Score(
            "class-fid",
            "FID to its images",
            "Fréchet distance to the images of each class",
            "lower",
            "figures",
            "class",
            heading="FID of each class",
        ),
        Score(
            "worst-client",
            "worst client",
            "the client that the generator serves worst",
            form="number",
            of="client",
            figure="worst-client-fid",
        ),
        Score(
            "worst-class",
            "worst class",
            "the class that the generator makes worst",
            form="number",
            of="class",
            figure="worst-class-fid",
        ),
        Score(
            "federated-clients",
            "clients that told moments",
            "the clients that federated scores are over, where they are not over all",
            form="numbers",
            of="client",
        ),
    ),
    needs=frozenset({"features", "clients"}),
    between_rounds=True,
    remark=_whom_it_is_over,
    weak_spots=_served_worst,
)
