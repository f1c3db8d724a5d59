"""Scores of a generator against all clients' real images, of which each client sends moments of features and no more.

Moments add up, so the pooled figure is that of all images in one place, whoever holds which of them. Where clients tell
which moments are of which class, the figures of each client and of each class follow from the same few sums.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from common.metrics.base import DISTANCES, Metric, Names, Score, Scores
from common.metrics.client_moments import UNDISCLOSED, ClientMoments
from common.metrics.fid import frechet_distance
from common.metrics.moments import Moments, mixed

OF_CLIENTS, OF_CLASSES = "client-fid", "class-fid"
"""The scores by client and by class."""


def federated_scores(
    clients: Mapping[int, ClientMoments], fakes: Mapping[int, Moments], num_clients: int, num_classes: int
) -> Scores:
    """Returns the Fréchet distances of generated images to the clients' real ones; see ``frechet_distance``.

    - ``federated-fid``: to the images of all clients together. The labels of the generated ones are distributed as
      those of the real ones if all clients tell them, else evenly.
    - ``client-fid``: to each client's images, with labels distributed as that client's; by partition, None where it is
      unknown. ``worst-client`` and ``worst-client-fid`` name the highest.
    - ``federated-clients``: the partitions that these are over, if not all have sent theirs.
    - ``class-fid``: of the images of each class to all clients' real ones with that label;
      ``worst-class`` and ``worst-class-fid`` name the highest.

    Args:
        clients: By partition, one or more; summed up in ascending order.
        fakes: Of generated images, by label; only ``UNDISCLOSED`` for a generator that takes no labels. Of every class
            that a client holds at least two images.
        num_clients: In the federation.
        num_classes: How many there are.
    """
    ordered = [clients[k] for k in sorted(clients)]
    all_counts = [_counts(client, num_classes) for client in ordered]
    known = [counts for counts in all_counts if counts is not None]
    pooled = [sum(column) for column in zip(*known, strict=True)] if len(known) == len(all_counts) else None
    everything = reduce(add, (client.total for client in ordered))
    figures: Scores = {"federated-fid": frechet_distance(everything, _mixture(fakes, pooled or [1] * num_classes))}

    of_clients: list[float | None] = [None] * num_clients
    for partition, client, counts in zip(sorted(clients), ordered, all_counts, strict=True):
        if client.total.count > 1 and (counts is not None or UNDISCLOSED in fakes):
            of_clients[partition] = frechet_distance(client.total, _mixture(fakes, counts or [1] * num_classes))
    figures |= {OF_CLIENTS: of_clients, **_worst("client", of_clients)}
    if len(clients) < num_clients:
        figures["federated-clients"] = sorted(clients)
    if UNDISCLOSED in fakes or num_classes == 1:
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
    if UNDISCLOSED in fakes:
        return fakes[UNDISCLOSED]
    drawn = [k for k, count in enumerate(counts) if count and k in fakes]
    return mixed([fakes[k] for k in drawn], [counts[k] for k in drawn])


def _worst(what: str, figures: Sequence[float | None]) -> Scores:
    known = [(value, -k) for k, value in enumerate(figures) if value is not None]
    return {f"worst-{what}": -max(known)[1], f"worst-{what}-fid": max(known)[0]} if known else {}


def _counts(client: ClientMoments, num_classes: int) -> tuple[int, ...] | None:
    return (client.total.count,) if num_classes == 1 else client.label_counts


def _served_worst(scores: Mapping[str, Any], names: Names) -> list[str]:
    words = []
    if {"worst-client", "worst-client-fid", "federated-fid"} <= scores.keys():
        client = names.of_client(scores["worst-client"])
        words.append(
            f"It serves client {client} worst: fid {scores['worst-client-fid']:.4g} to that client's "
            f"images, {scores['federated-fid']:.4g} to those of all."
        )
    if {"worst-class", "worst-class-fid"} <= scores.keys():
        which = scores["worst-class"]
        words.append(
            f"It makes class {names.of_class(which)} worst: fid {scores['worst-class-fid']:.4g} to its images."
        )
    if {"federated-clients", "client-fid"} <= scores.keys():
        listed = ", ".join(names.of_client(client) for client in scores["federated-clients"])
        words.append(f"Only clients {listed} of {len(scores['client-fid'])} have sent moments of their images.")
    return words


def _clients_averaged(scores: Mapping[str, Any]) -> str | None:
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
            "Fréchet distance to the images of all clients, from moments that they sent, lower is better",
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
            "clients that sent moments",
            "the clients that federated scores are over, where they are not over all",
            form="numbers",
            of="client",
        ),
    ),
    needs=frozenset({"features", "clients"}),
    between_rounds=True,
    remark=_clients_averaged,
    weak_spots=_served_worst,
)
