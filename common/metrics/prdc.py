"""Precision, recall, density and coverage: fidelity and diversity apart, from k-nearest-neighbour manifolds.

The manifold of a set is the union of balls, one around each of its feature vectors, that reach to its k-th nearest
neighbour within the set (Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1; Naeem et al. 2020, arXiv:2002.09797).
As in the published code a ball does not contain its own surface. Distances are squared and float64, a block of rows
at a time: 10,000 vectors against 10,000 take about 100 MB.
"""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

from common.errors import DataError
from common.metrics.base import SHARES, Course, Metric, Names, Score, Scores, Setting, Trouble
from common.metrics.comparison import Comparison

FEWEST_OF_A_CLASS = 5
"""Held-out images of a class without which its recall is not computed."""

_CHUNK = 1024  # rows of a distance matrix held at once


def prdc(real: Tensor, fake: Tensor, k: int = 5, *, real_radii: Tensor | None = None) -> dict[str, float]:
    """Returns ``precision``, ``recall``, ``density`` and ``coverage`` of generated features.

    - precision: share of fakes within the real manifold (Kynkäänniemi et al. 2019, eq. 2), in [0, 1].
    - recall: share of reals within the fake manifold (eq. 2), in [0, 1].
    - density: real balls that a fake lies in, on average, over k (Naeem et al. 2020, eq. 3); at least 0, about 1 for
      two sets of one distribution.
    - coverage: share of real balls that hold a fake (Naeem et al. 2020, eq. 4), in [0, 1].

    Args:
        real: Features (N, D), N > k.
        fake: Features (M, D), M > k, of the same extractor.
        k: Which nearest neighbour bounds a ball.
        real_radii: ``neighbour_radii(real, k)`` where it is known already: with many reals it is most of the work.

    Raises:
        DataError: Too few vectors, or different numbers of features.
    """
    _check(real, fake)
    radii = neighbour_radii(real, k) if real_radii is None else real_radii
    fake_radii = neighbour_radii(fake, k)
    balls = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)  # real balls that each fake lies in
    recalled, covered = [], []
    for rows, squared in _blocks(real, fake):
        inside = squared < radii[rows, None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((squared < fake_radii).any(1))
    return {
        "precision": float((balls > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(balls.double().mean()) / k,
        "coverage": float(torch.cat(covered).double().mean()),
    }


def per_class_recall(
    real: Tensor, real_labels: Tensor, fake: Tensor, k: int = 5, *, num_classes: int = 10
) -> list[float]:
    """Returns, for each class, the share of its real images within the manifold of all fakes, in [0, 1].

    It shows which class a generator misses. The manifold is that of all fakes, whatever their labels, so that it
    serves unconditional generators too, and the mean weighted by class size is ``recall``.

    Args:
        real: Features (N, D).
        real_labels: Classes, integer (N,), in [0, num_classes).
        fake: Features (M, D), M > k, of the same extractor.
        k: Which nearest neighbour bounds a ball.
        num_classes: Length of the result; a class without real images gets NaN.

    Raises:
        DataError: Too few fakes, different numbers of features, or labels that do not fit.
    """
    _check(real, fake)
    if real_labels.shape != (len(real),):
        raise DataError(f"{len(real)} real images have labels of shape {tuple(real_labels.shape)}")
    if len(real) and not 0 <= int(real_labels.min()) <= int(real_labels.max()) < num_classes:
        raise DataError(f"labels lie outside [0, {num_classes})")
    fake_radii = neighbour_radii(fake, k)
    recalled = torch.cat([(squared < fake_radii).any(1) for _, squared in _blocks(real, fake)])
    sizes = torch.bincount(real_labels, minlength=num_classes)
    hits = torch.bincount(real_labels[recalled], minlength=num_classes)
    return [float(share) for share in hits.double() / sizes]


def neighbour_radii(features: Tensor, k: int = 5) -> Tensor:
    """Returns the squared distance of each vector to its k-th nearest neighbour in the set, float64 (N,).

    Args:
        features: (N, D), N > k.
        k: 1 is the nearest other vector.

    Raises:
        DataError: The set has no k-th neighbours.
    """
    if not 1 <= k < len(features):
        raise DataError(f"{len(features)} feature vectors have no neighbour number {k}")
    nearest = [squared.topk(k + 1, largest=False).values[:, k] for _, squared in _blocks(features, features)]
    return torch.cat(nearest)  # each vector is its own nearest, at distance 0


def nearest_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Returns the distance of each row to the nearest of the columns, float64 (N,).

    Args:
        rows: (N, D).
        columns: (M, D), M >= 1.

    Raises:
        DataError: Different numbers of features.
    """
    _check(rows, columns)
    return torch.cat([squared.amin(1) for _, squared in _blocks(rows, columns)]).sqrt()


def _blocks(rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields blocks of the matrix of squared distances, float64 (block, M), and which rows each one is of."""
    rows, columns = rows.double(), columns.double()
    norms = columns.square().sum(1)
    for start in range(0, len(rows), _CHUNK):
        block = rows[start : start + _CHUNK]
        squared = torch.addmm(norms, block, columns.T, alpha=-2).add_(block.square().sum(1, keepdim=True)).clamp_(min=0)
        yield slice(start, start + len(block)), squared


def _check(real: Tensor, fake: Tensor) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise DataError(f"features of shape {tuple(real.shape)} and {tuple(fake.shape)} are not (N, D) and (M, D)")


def _compute(compared: Comparison) -> Scores:
    return dict(prdc(*compared.features))


def _share(name: str, meaning: str, benchmark: Literal["column", "panel"] = "column") -> Score:
    return Score(name, name, meaning, "higher", chart=SHARES, benchmark=benchmark)


PRDC = Metric(
    "prdc",
    (
        _share("precision", "generated images that look real"),
        _share("recall", "real images that the generator covers"),
        _share("density", "how densely real neighbourhoods are filled"),
        _share("coverage", "real images with a generated neighbour", "panel"),
    ),
    needs=frozenset({"features", "held-out"}),
    compute=_compute,
)


def _compute_by_class(compared: Comparison) -> Scores:
    (real, fake), labels, classes = compared.features, compared.real.labels, compared.real.spec.num_classes
    shares = per_class_recall(real, labels, fake, num_classes=classes)
    enough = (torch.bincount(labels, minlength=classes) >= FEWEST_OF_A_CLASS).tolist()
    worst, worst_class = min((share, k) for k, share in enumerate(shares) if enough[k])
    return {
        "per-class-recall": [share if enough[k] else None for k, share in enumerate(shares)],
        "worst-class-recall": worst,
        "worst-recalled-class": worst_class,
    }


def _no_class_has_enough(setting: Setting) -> str | None:
    if max(setting.label_counts) < FEWEST_OF_A_CLASS:
        return f"no class has {FEWEST_OF_A_CLASS} held-out images"
    return None


def _over_classes(scores: Mapping[str, Any]) -> Scores:
    recalls = [value for value in scores.get("per-class-recall") or () if value is not None]
    return {"worst-recall": min(recalls), "recall-gap": max(recalls) - min(recalls)} if recalls else {}


def _least_covered(scores: Mapping[str, Any], names: Names) -> list[str]:
    if not {"worst-recalled-class", "worst-class-recall"} <= scores.keys():
        return []
    which = names.of_class(scores["worst-recalled-class"])
    return [f"It covers class {which} least: recall {scores['worst-class-recall']:.2f}."]


_LEAST = 0.05  # recall below which a class counts as not made


def _not_made(course: Course) -> list[Trouble] | None:
    recalls = course.final.get("per-class-recall") or []
    known = [recall for recall in recalls if recall is not None]
    if not known:
        return None
    missing = [k for k, recall in enumerate(recalls) if recall is not None and recall < _LEAST]
    if missing and median(known) < _LEAST:
        words = (
            f"The generator covers less than {_LEAST:.0%} of the real images of most classes: it has learned little "
            "yet. More rounds help where scores still improve."
        )
        return [Trouble("coverage", False, words)]
    words = (
        f"Of class {', '.join(map(str, missing))} the generator covers less than {_LEAST:.0%} of the real images, and "
        f"of the median class {median(known):.0%}: hardly any variety is made of it."
    )
    return [Trouble("collapse", False, words)] if missing else []


PER_CLASS_RECALL = Metric(
    "per-class-recall",
    (
        Score(
            "per-class-recall",
            "recall",
            "the recall of each class",
            "higher",
            "figures",
            "class",
            heading="Recall of each class",
        ),
        Score(
            "worst-class-recall",
            "recall, worst class",
            "recall of the class that the generator covers least",
            "higher",
            chart=SHARES,
            benchmark="",
        ),
        Score(
            "worst-recalled-class",
            "least covered class",
            "the class that the generator covers least",
            form="number",
            of="class",
            figure="worst-class-recall",
        ),
    ),
    needs=frozenset({"features", "labels", "held-out"}),
    compute=_compute_by_class,
    obstacle=_no_class_has_enough,
    weak_spots=_least_covered,
    troubles=_not_made,
    for_benchmarks=(
        Score(
            "worst-recall",
            "recall of the worst class",
            "the least recall of a class",
            "higher",
            heading="worst class",
            benchmark="panel",
        ),
        Score(
            "recall-gap",
            "gap of recall",
            "the greatest recall of a class minus the least",
            "lower",
            heading="class gap",
        ),
    ),
    derive=_over_classes,
    evidence="the recall of each class",
)
