"""A client counts the more the closer its classes are to those of all clients."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from common.exchange import Client, Reply
from common.weightings.base import Weighting, label_divergences


class KLTypical(Weighting):
    """w_k = n_k exp(-KL(p_k || p)): favours typical clients, the opposite of ``kl-skewed``.

    Equal shares of the classes everywhere give ``images``. No smoothing: see ``label_divergences``.
    Deviation: the paper takes p_k from clusters of the discriminator's activations, as its clients keep their labels
    to themselves; here it is the clients' own counts of their labels.
    """

    source: ClassVar[str] = "HuSCF-GAN, Tawfilis et al., TMLR 2026"

    needs_label_counts: ClassVar[bool] = True

    def weigh(self, replies: Sequence[Reply], clients: Mapping[int, Client]) -> list[float]:
        divergences = label_divergences(replies, clients)
        return [reply.num_examples * math.exp(-kl) for reply, kl in zip(replies, divergences, strict=True)]
