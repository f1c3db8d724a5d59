"""Federated averaging of clients picked to balance the classes, who count the more the more skewed they are."""

from typing import ClassVar

import numpy as np

from common.aggregators import Aggregator
from common.algorithms.base import ServerContext, require_weights
from common.algorithms.fedavg import FedAvg
from common.errors import FederationError
from common.models import Model
from common.objectives import Objective
from common.privacy import PrivateMechanism
from common.seeding import numpy_generator
from common.weightings import Weighting
from common.weightings.kl_skewed import KLSkewed


class FeGAN(FedAvg):
    """``fedavg`` with balanced sampling and the weights of ``kl-skewed``.

    A cohort is filled client by client: each time the class of which the cohort so far holds the fewest images says
    who comes next, the first client in a drawn order that holds it and is not yet taken. With all clients in every
    round it is ``fedavg`` with ``weighting=kl-skewed`` to the bit.

    Deviations from the authors' code: the order of clients is drawn anew each round, and so are ties of classes, where
    they go round a queue; and counts begin at zero each round, as a cohort is a function of seed and round alone.
    """

    source: ClassVar[str] = "FeGAN, Guerraoui et al., Middleware 2020, and its code (LPD-EPFL/FeGAN)"

    needs_label_counts: ClassVar[bool] = True
    own_weighting: ClassVar[bool] = True
    private_mechanism: ClassVar[PrivateMechanism] = ""  # needs label counts
    takes_means_alone: ClassVar[bool] = False

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        super().check(objective, aggregator, model)
        require_weights(self, aggregator)

    def cohort(self, size: int, round: int, context: ServerContext) -> list[int]:
        silent = [k for k, client in context.clients.items() if client.label_counts is None]
        if silent:
            which = ", ".join(map(str, silent))
            raise FederationError(f"partition {which} has not said how many examples of each class it holds")
        generator = numpy_generator(context.seed, "cohort", round)
        left = generator.permutation(list(context.clients)).tolist()
        counts = {k: np.array(client.label_counts, dtype=np.int64) for k, client in context.clients.items()}
        held = np.zeros(context.spec.num_classes, dtype=np.int64)
        chosen: list[int] = []
        while left and len(chosen) < size:
            classes = generator.permutation(len(held))
            rarest_first = classes[np.argsort(held[classes], kind="stable")]
            following = next(k for label in rarest_first for k in left if counts[k][label])
            left.remove(following)
            chosen.append(following)
            held += counts[following]
        return sorted(chosen)

    @property
    def weighting(self) -> Weighting:
        return KLSkewed()
