"""How well a model of text expects the held-out texts of all clients, of which each sends three sums and no more."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from common.metrics.base import Metric, Names, Score, Scores
from common.metrics.next_token import ACCURACY, BITS, accuracies, mean_and_worst, pooled


def federated_scores(sums: Mapping[int, Tensor], num_clients: int) -> Scores:
    """Returns accuracy and bits a character over the held-out texts of all clients that tell; see ``next_token``.

    Args:
        sums: By partition, one or more: characters, those rightly expected, and nats; float64 (3,).
        num_clients: In the federation.
    """
    accuracy, bits = pooled(torch.stack([sums[k] for k in sorted(sums)]))
    nothing = torch.zeros(3, dtype=torch.float64)
    of_clients = accuracies(torch.stack([sums.get(k, nothing) for k in range(num_clients)]))
    mean, worst = mean_and_worst(of_clients)
    lowest, partition = min((value, k) for k, value in enumerate(of_clients) if value is not None)
    return {
        "federated-bits-per-character": bits,
        "federated-accuracy": accuracy,
        "federated-mean-accuracy": mean,
        "federated-worst-accuracy": worst,
        "client-accuracy": of_clients,
        "least-known-client": partition,
        "least-known-accuracy": lowest,
    }


def _served_worst(scores: Mapping[str, Any], names: Names) -> list[str]:
    if not {"least-known-client", "least-known-accuracy", "federated-accuracy"} <= scores.keys():
        return []
    client = names.of_client(scores["least-known-client"])
    return [
        f"It expects {scores['least-known-accuracy']:.1%} of the characters of client {client}, the fewest of any, and "
        f"{scores['federated-accuracy']:.1%} of all clients'."
    ]


FEDERATED_NEXT_TOKEN = Metric(
    "federated-accuracy",
    (
        Score(
            "federated-bits-per-character",
            "federated bits per character",
            "bits a character over the held-out texts of all clients, from sums that they sent; lower is better",
            "lower",
            chart=BITS,
            is_log2=True,
            selects_rounds=True,
            heading="bits per character, all clients",
        ),
        Score(
            "federated-accuracy",
            "federated accuracy",
            "share of the characters of all clients' held-out texts that are rightly expected",
            "higher",
            chart=ACCURACY,
            decimals=4,
            heading="accuracy, all clients",
        ),
        Score(
            "federated-mean-accuracy",
            "accuracy, mean of clients",
            "mean over the clients of the accuracy on the held-out texts of each",
            "higher",
            chart=ACCURACY,
            decimals=4,
            heading="accuracy, mean of clients",
        ),
        Score(
            "federated-worst-accuracy",
            "accuracy, worst tenth of clients",
            "mean accuracy on the tenth of the clients that the model knows least",
            "higher",
            chart=ACCURACY,
            decimals=4,
            heading="accuracy, worst tenth of clients",
        ),
        Score(
            "client-accuracy",
            "accuracy on its texts",
            "share of the characters of each client's held-out texts that are rightly expected",
            "higher",
            "figures",
            "client",
            heading="Accuracy on each client's held-out texts",
        ),
        Score(
            "least-known-client",
            "least known client",
            "the client whose held-out texts the model expects least",
            form="number",
            of="client",
            figure="least-known-accuracy",
        ),
        Score(
            "least-known-accuracy",
            "accuracy, least known client",
            "accuracy on the held-out texts of the client that the model knows least",
            "higher",
            chart=ACCURACY,
            decimals=4,
            benchmark="",
        ),
    ),
    needs=frozenset({"clients"}),
    kinds=frozenset({"text"}),
    weak_spots=_served_worst,
)
