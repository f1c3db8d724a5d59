"""What algorithms have in common whose generator lives on the server, while clients train discriminators."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from common.aggregators import Aggregator
from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.algorithms.on_server import (
    DISCRIMINATOR,
    GENERATOR,
    OnServer,
    adversarial,
    batch_size,
    draw_labels,
    load,
    noise_shape,
)
from common.errors import ConfigError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.models import Model, Roles
from common.objectives.adversarial import AdversarialObjective
from common.objectives.base import Objective
from common.seeding import torch_generator
from common.tree import Tree, select

_STEEPEST, _FEWEST_FOR_MEDIAN = 10.0, 3
_OF_OWN_LABELS = "of-own-labels"


class CentralGenerator(OnServer):
    """Base of the algorithms with one generator on the server and one private discriminator a client.

    Each round a client gets two sets of images of the generator: fakes for its discriminator to train on, with its own
    distribution of labels (even where it keeps that to itself), and images, the same for all clients, of which it
    returns its trained discriminator's logits and the gradient of each logit by the image. A subclass says in ``mixed``
    or ``slopes`` what these make of the loss; the server takes it through the generator.

    What travels, a client and a round, is ``local.steps * local.batch-size`` fakes and ``generator-steps *
    local.batch-size`` images down, and as many gradients up as images: with 20 steps of 32 images of 28x28 pixels in
    grey 2 MB + 2 MB down and 2 MB up.

    Deviations, of all of these algorithms: a message holds the images of many steps, as each exchange is a round trip.
    So the generator takes its steps on feedback for the images that it made at the round's start, which are no longer
    quite those that it makes now: the fewer steps a round the better, and of more rounds with fewer steps the messages
    are no larger in sum. ``local.moments=keep`` suits a discriminator that stays. And labels condition both networks.
    """

    averages_weights: ClassVar[bool] = False

    own_weighting = True

    def shared(self, parameters: Tree, roles: Roles) -> dict[str, Tensor]:
        return select(parameters, [GENERATOR])

    def broadcast(self, state: ServerState, cohort: Sequence[int], context: ServerContext) -> dict[int, Payload]:
        round = state.round + 1
        network = load(state.parameters, GENERATOR, context)
        latents, labels = self.inputs(round, context)
        common: Tree = {"images": _make(network, latents, labels, context), "labels": labels}
        num = context.local.steps * context.local.batch_size
        payloads = {}
        for k in cohort:
            client = context.clients.get(k)
            counts = client.label_counts if client else None
            random = torch_generator(context.seed, "server", round, "fakes", k)
            own = draw_labels(counts or [1] * context.spec.num_classes, num, random)
            latents = torch.randn(len(own), *noise_shape(context), generator=random)
            fakes: Tree = {"fakes": _make(network, latents, own, context), "fake-labels": own}
            scalars = {**batch_size(context), _OF_OWN_LABELS: float(counts is not None)}
            payloads[k] = Payload({**common, **fakes}, scalars)
        return payloads

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        super().check(objective, aggregator, model)
        if model.judges_batches:
            raise ConfigError(
                f"model={model.spec()!r} judges an image by its batch, and clients of algorithm="
                f"{self.component_name()!r} send the gradient of each logit by its own image: leave out minibatch-std"
            )

    def run(self, payload: Payload, trainer: LocalTrainer, memory: Memory, partition: int) -> Reply:
        arrays = payload.arrays
        trainer.load(
            select(arrays, [DISCRIMINATOR]) or memory.get(DISCRIMINATOR) or select(trainer.initial(), [DISCRIMINATOR])
        )
        fakes = arrays["fakes"], arrays["fake-labels"]
        if not payload.scalars[_OF_OWN_LABELS]:
            fakes = _of_own(*fakes, trainer)
        metrics = self.train_discriminator(payload, trainer, fakes)
        logits, gradients = trainer.feedback(arrays["images"], arrays["labels"])
        memory[DISCRIMINATOR] = select(trainer.parameters(), [DISCRIMINATOR])
        return Reply(partition, trainer.num_examples, {"logits": logits, "gradients": gradients}, metrics)

    def reply_template(self, state: ServerState, context: ServerContext) -> Tree:
        num = self.num_steps(context) * context.local.batch_size
        return {"logits": torch.zeros(num), "gradients": torch.zeros(num, *context.spec.shape)}

    def reply_parts(self, template: Tree) -> list[Tree]:
        # Honest discriminators are steeper than one another by more than any limit on feedback that would help.
        weights = select(template, [DISCRIMINATOR])
        return [weights] if weights else []

    def aggregate(self, state: ServerState, replies: Sequence[Reply], context: ServerContext) -> ServerState:
        _, labels = self.inputs(state.round + 1, context)
        pull = self.pull(bounded(replies), labels, context)

        def loss(rows: slice, images: Tensor, labels: Tensor) -> Tensor:
            return (pull[rows].to(images.device) * images).sum()

        return self.descend(state, context, loss)

    def pull(self, replies: Sequence[Reply], labels: Tensor, context: ServerContext) -> Tensor:
        """Returns the gradient (N, C, S, S) of the generator's loss by every image, float32; sums are in float64."""
        slopes = self.all_slopes(replies, labels, context)
        total = torch.zeros_like(replies[0].arrays["gradients"], dtype=torch.float64)
        for reply, slope in zip(replies, slopes, strict=True):
            total += slope[:, None, None, None] * reply.arrays["gradients"].double()
        return total.float()

    def all_slopes(self, replies: Sequence[Reply], labels: Tensor, context: ServerContext) -> Tensor:
        """Returns by how much each client's logit of each image (K, N) moves the loss of the image's batch, float64.

        An image whose label no client holds moves nothing.
        """
        logits = torch.stack([reply.arrays["logits"].double() for reply in replies])
        shares = self.shares([reply.partition for reply in replies], labels, context)
        found = torch.zeros_like(logits)
        for start in range(0, len(labels), context.local.batch_size):
            rows = torch.arange(start, start + context.local.batch_size)
            rows = rows[shares[:, rows].sum(0) > 0]
            if len(rows):
                found[:, rows] = self.slopes(logits[:, rows], shares[:, rows], adversarial(context.objective))
        return found

    def shares(self, partitions: Sequence[int], labels: Tensor, context: ServerContext) -> Tensor:
        """Returns pi_k(y), the share of the images with label y that client k holds, at each label (K, N), float64.

        Of a label that none of the clients holds it is zero. Where a client keeps its counts to itself all clients
        have the same share.
        """
        clients = [context.clients.get(k) for k in partitions]
        counts = [client.label_counts for client in clients if client and client.label_counts]
        if len(counts) < len(clients):
            return torch.full((len(clients), len(labels)), 1.0 / len(clients), dtype=torch.float64)
        table = torch.tensor(counts, dtype=torch.float64)
        return (table / table.sum(0).clamp(min=1.0))[:, labels]

    def slopes(self, logits: Tensor, shares: Tensor, objective: AdversarialObjective) -> Tensor:
        """Returns d loss / d logit (K, B) for the clients' logits (K, B) of a batch; their shares are not all zero."""
        looked_at = logits.clone().requires_grad_(True)
        loss = objective.generator_loss(self.mixed(looked_at, shares))
        (slopes,) = torch.autograd.grad(loss, looked_at)
        return slopes

    def mixed(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Returns the logit (B,) of the one discriminator that the clients' (K, B) are taken for."""
        raise NotImplementedError


def bounded(replies: Sequence[Reply]) -> list[Reply]:
    """Returns the replies with logits and gradients scaled down to ``_STEEPEST`` times the median norm of the clients'.

    Honest discriminators differ in steepness. But a client that sends values as large as numbers go would leave Adam's
    second moment, and with it the generator, where neither moves again. Fewer than three replies have no median that
    one of them could not set, and stay as they are.
    """
    if len(replies) < _FEWEST_FOR_MEDIAN:
        return list(replies)
    arrays = [dict(reply.arrays) for reply in replies]
    for key in ("logits", "gradients"):
        norms = [float(own[key].double().norm()) for own in arrays]
        limit = _STEEPEST * statistics.median(norms)
        for own, norm in zip(arrays, norms, strict=True):
            if norm > limit:
                own[key] = (own[key].double() * (limit / norm)).float()
    return [replace(reply, arrays=own) for reply, own in zip(replies, arrays, strict=True)]


def require_mean(algorithm: Algorithm, aggregator: Aggregator, how: str) -> None:
    """Raises ConfigError unless the aggregator is the plain mean; ``how`` says what the algorithm does instead."""
    if aggregator.one_vote_each:
        raise ConfigError(
            f"aggregate={aggregator.spec()!r}: algorithm={algorithm.component_name()!r} {how}, where there is no mean "
            'to replace: take aggregate="mean", or md-gan'
        )


@torch.no_grad()
def _make(network: nn.Module, latents: Tensor, labels: Tensor, context: ServerContext) -> Tensor:
    """Returns the images (N, C, S, S) of latents (N, Z) and labels (N,), on the CPU, made in batches as in training."""
    size, device = context.local.batch_size, context.device
    batches = zip(torch.split(latents, size), torch.split(labels, size), strict=True)
    return torch.cat([network(z.to(device), y.to(device)).cpu() for z, y in batches])


def _of_own(fakes: Tensor, labels: Tensor, trainer: LocalTrainer) -> tuple[Tensor, Tensor]:
    """Returns as many of the fakes and their labels, with repeats, with the labels' distribution in the shard."""
    requested = trainer.real(len(labels), "labels-of-fakes")[1].cpu()
    rows = torch.arange(len(labels))
    for label in set(requested.tolist()):
        places, found = torch.nonzero(requested == label)[:, 0], torch.nonzero(labels == label)[:, 0]
        if len(found):  # else the server happened to send none, and others stand in
            rows[places] = found[torch.arange(len(places)) % len(found)]
    return fakes[rows], labels[rows]
