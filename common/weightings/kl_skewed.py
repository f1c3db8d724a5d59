"""A client counts the more the further its classes are from those of all clients."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from common.exchange import Client, Reply
from common.weightings.base import Weighting, label_divergences, softmax


class KLSkewed(Weighting):
    """w_k = softmax over the round's clients of KL(p_k || p) n_k / N: favours skewed clients, and large ones.

    N counts the images of all clients, of this round or not, as in the authors' code. The exponent is at most
    (n_k / N) log(N / n_k) <= 1/e, so that no client counts more than 1.45 times as much as another: among many clients
    the weights are nearly uniform. No smoothing: see ``label_divergences``. Deviation: p is measured over the clients'
    counts, where the authors' code takes every class to be as frequent as any other.
    """

    source: ClassVar[str] = "FeGAN, Guerraoui et al., Middleware 2020, and its code (LPD-EPFL/FeGAN)"

    needs_label_counts: ClassVar[bool] = True

    def weigh(self, replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
        total = sum(client.num_examples for client in clients.values())
        divergences = label_divergences(replies, clients)
        return softmax([kl * reply.num_examples / total for reply, kl in zip(replies, divergences, strict=True)])
