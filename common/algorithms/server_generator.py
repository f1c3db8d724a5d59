"""Clients train the discriminator only; the generator is trained on the server, against their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from common.algorithms.base import ServerContext, ServerState
from common.algorithms.on_server import DISCRIMINATOR, OnServer, adversarial, batch_size, load
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.tree import Tree, select


class ServerGenerator(OnServer):
    """Clients train the discriminator they receive against fakes of the generator they receive, and send it back.

    The server takes the mean of the discriminators, as ``aggregate`` and ``weighting`` say, and then trains the
    generator against it, ``generator-steps`` steps with labels as all clients hold them together (evenly, where one
    keeps its own to itself). A client learns of the others by the mean discriminator and the generator alone.

    With ``transforms="clip norm=1.0 | noise multiplier=0.1"`` that mean has noise, and the generator only ever sees it
    so: it is kept from the data otherwise. **No epsilon is claimed**, see ``common/transforms/noise.py``.

    Deviations: a client sends what it received plus its change, which says the same as the change alone, so that every
    ``aggregate`` and the admission of updates take it as they take other weights. Adam on both sides.
    """

    source: ClassVar[str] = "Augenstein et al. 2020 (arXiv 1911.06679), algorithm 1"

    moved: ClassVar[Mapping[str, str]] = {
        "clip": "it is a transform of updates, transforms='clip norm=...'",
        "noise": "it is a transform of updates, transforms='clip norm=... | noise multiplier=...'",
    }

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        return dict.fromkeys(cohort, Payload(state.parameters, batch_size(context)))

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        trainer.load(payload.arrays)
        metrics = self.train_discriminator(payload, trainer)
        return Reply(partition, trainer.num_examples, select(trainer.parameters(), [DISCRIMINATOR]), metrics)

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        return select(state.parameters, [DISCRIMINATOR])

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        mean = context.mean(replies, self.reply_template(state, context))
        network = load(mean, DISCRIMINATOR, context).requires_grad_(False)
        objective = adversarial(context.objective)

        def loss(rows: slice, images: Tensor, labels: Tensor) -> Tensor:
            return objective.generator_loss(network(images, labels))

        return self.descend(replace(state, parameters={**state.parameters, **mean}), context, loss)
