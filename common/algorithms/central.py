"""What algorithms have in common whose generator lives on the server, while clients train discriminators."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from common.adam import Adam
from common.aggregators import Aggregator
from common.algorithms.base import Algorithm, Federation, ServerState
from common.errors import ConfigError
from common.exchange import LocalTrainer, Memory, Payload, Reply
from common.objectives import Objective
from common.objectives.base import AdversarialObjective, squared_gradient_norm
from common.seeding import torch_generator
from common.tree import Tree, clone, select

DISCRIMINATOR = "discriminator"
_GENERATOR = "generator"
_MOMENTS = "generator-moments"
_STEEPEST, _FEWEST_FOR_MEDIAN = 10.0, 3
_BATCH_SIZE, _OF_OWN_LABELS = "batch-size", "of-own-labels"


class OnServer(Algorithm):
    """Base of the algorithms that train the generator on the server, with Adam's moments kept in the state.

    Within a round a discriminator takes all its steps before one and the same generator, and learns its images by heart
    unless something holds it back. So all of these algorithms have the zero-centred gradient penalty that the paper of
    ua-gan has, on real images drawn anew from the shard for it; ``penalty=0`` is what the other papers have.
    """

    generator_steps: int = Field(0, ge=0, description="the generator's steps a round, on the server; 0: local.steps")
    generator_learning_rate: float = Field(
        0.0, ge=0, description="Adam's rate of the generator on the server; 0: local.learning-rate"
    )

    penalty: float = Field(10.0, ge=0, description="weight of E|grad D(x)|^2 on real images at the clients; 0: off")

    def check(self, objective: Objective, aggregator: Aggregator) -> None:
        if (found := adversarial(objective)).augment or found.instance_noise:
            raise ConfigError(
                f"objective={objective.spec()!r}: algorithm={self.component_name()!r} takes the generator's steps on "
                "the server, before discriminators that see images as they are: leave out augment and instance-noise"
            )

    def train_discriminator(
        self, payload: Payload, trainer: LocalTrainer, fakes: tuple[Tensor, Tensor] | None = None
    ) -> dict[str, float]:
        """Trains the loaded discriminator to tell ``fakes`` from real images, and returns the means.

        Args:
            payload: Says of how many images a batch is.
            trainer: Has the discriminator loaded.
            fakes: Images and labels; None: those of the loaded generator.
        """
        size, drawn = int(payload.scalars[_BATCH_SIZE]), 0

        def penalise(name: str, network: nn.Module) -> Tensor:
            nonlocal drawn
            drawn += 1
            images, labels = trainer.real(size, f"penalty-{drawn}")
            looked_at = images.requires_grad_(True)
            return self.penalty * squared_gradient_norm(network(looked_at, labels), looked_at).mean()

        return trainer.fit(networks=(DISCRIMINATOR,), fakes=fakes, extra_loss=penalise if self.penalty else None)

    def num_steps(self, federation: Federation) -> int:
        """Returns the generator's steps in a round."""
        return self.generator_steps or federation.local.steps

    def inputs(self, round: int, federation: Federation) -> tuple[Tensor, Tensor]:
        """Returns the latents (N, Z) and labels (N,) of the round's generator steps, a batch after another.

        Labels are distributed as the images of all clients together, or evenly where a client keeps its own to itself.
        """
        num = self.num_steps(federation) * federation.local.batch_size
        random = torch_generator(federation.seed, "server", round, "generator-steps")
        labels = draw_labels(_pooled(federation), num, random)
        return torch.randn(num, _latent_size(federation), generator=random), labels

    def descend(
        self, state: ServerState, federation: Federation, loss: Callable[[slice, Tensor, Tensor], Tensor]
    ) -> ServerState:
        """Returns the state with a generator that has taken its steps of the round.

        Args:
            state: Where the round started.
            federation: Batch size, rates and where to compute.
            loss: Called with the rows of ``inputs`` at hand, the images (B, C, S, S) that the generator now makes of
                them, and their labels (B,), both on ``federation.device``; returns the scalar to descend.
        """
        network = load(state.parameters, _GENERATOR, federation)
        local = federation.local
        rate = self.generator_learning_rate or local.learning_rate
        share = local.rate_share(state.round + 1, federation.num_rounds)
        adam = Adam(network, rate * share, local.beta1, local.beta2)
        for key, value in state.slots.get(_MOMENTS, {}).items():
            adam.slots[key].copy_(value)
        latents, labels = self.inputs(state.round + 1, federation)
        for start in range(0, len(labels), local.batch_size):
            rows = slice(start, start + local.batch_size)
            chosen = labels[rows].to(federation.device)
            images = network(latents[rows].to(federation.device), chosen)
            adam.zero_grad()
            loss(rows, images, chosen).backward()  # type: ignore[no-untyped-call]
            adam.step()
        trained = {f"{_GENERATOR}.{key}": value for key, value in network.state_dict().items()}
        return replace(
            state,
            parameters={**state.parameters, **clone(trained)},
            slots={**state.slots, _MOMENTS: clone(adam.slots)},
        )


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

    own_weighting = True

    def shared(self, parameters: Tree) -> dict[str, Tensor]:
        return select(parameters, [_GENERATOR])

    def broadcast(self, state: ServerState, cohort: Sequence[int], federation: Federation) -> dict[int, Payload]:
        round = state.round + 1
        network = load(state.parameters, _GENERATOR, federation)
        latents, labels = self.inputs(round, federation)
        common: Tree = {"images": _make(network, latents, labels, federation), "labels": labels}
        num = federation.local.steps * federation.local.batch_size
        payloads = {}
        for k in cohort:
            client = federation.clients.get(k)
            counts = client.label_counts if client else None
            random = torch_generator(federation.seed, "server", round, "fakes", k)
            own = draw_labels(counts or [1] * federation.shape.num_classes, num, random)
            latents = torch.randn(len(own), _latent_size(federation), generator=random)
            fakes: Tree = {"fakes": _make(network, latents, own, federation), "fake-labels": own}
            scalars = {**batch_size(federation), _OF_OWN_LABELS: float(counts is not None)}
            payloads[k] = Payload({**common, **fakes}, scalars)
        return payloads

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

    def reply_template(self, state: ServerState, federation: Federation) -> Tree:
        num, shape = self.num_steps(federation) * federation.local.batch_size, federation.shape
        return {"logits": torch.zeros(num), "gradients": torch.zeros(num, shape.channels, shape.size, shape.size)}

    def reply_parts(self, template: Tree) -> list[Tree]:
        # Honest discriminators are steeper than one another by more than any limit on feedback that would help.
        weights = select(template, [DISCRIMINATOR])
        return [weights] if weights else []

    def aggregate(self, state: ServerState, replies: Sequence[Reply], federation: Federation) -> ServerState:
        _, labels = self.inputs(state.round + 1, federation)
        pull = self.pull(bounded(replies), labels, federation)

        def loss(rows: slice, images: Tensor, labels: Tensor) -> Tensor:
            return (pull[rows].to(images.device) * images).sum()

        return self.descend(state, federation, loss)

    def pull(self, replies: Sequence[Reply], labels: Tensor, federation: Federation) -> Tensor:
        """Returns the gradient (N, C, S, S) of the generator's loss by every image, float32; sums are in float64."""
        slopes = self.all_slopes(replies, labels, federation)
        total = torch.zeros_like(replies[0].arrays["gradients"], dtype=torch.float64)
        for reply, slope in zip(replies, slopes, strict=True):
            total += slope[:, None, None, None] * reply.arrays["gradients"].double()
        return total.float()

    def all_slopes(self, replies: Sequence[Reply], labels: Tensor, federation: Federation) -> Tensor:
        """Returns by how much each client's logit of each image (K, N) moves the loss of the image's batch, float64.

        An image whose label no client holds moves nothing.
        """
        logits = torch.stack([reply.arrays["logits"].double() for reply in replies])
        shares = self.shares([reply.partition for reply in replies], labels, federation)
        found = torch.zeros_like(logits)
        for start in range(0, len(labels), federation.local.batch_size):
            rows = torch.arange(start, start + federation.local.batch_size)
            rows = rows[shares[:, rows].sum(0) > 0]
            if len(rows):
                found[:, rows] = self.slopes(logits[:, rows], shares[:, rows], adversarial(federation.objective))
        return found

    def shares(self, partitions: Sequence[int], labels: Tensor, federation: Federation) -> Tensor:
        """Returns pi_k(y), the share of the images with label y that client k holds, at each label (K, N), float64.

        Of a label that none of the clients holds it is zero. Where a client keeps its counts to itself all clients
        have the same share.
        """
        clients = [federation.clients.get(k) for k in partitions]
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


def batch_size(federation: Federation) -> dict[str, float]:
    """Returns what a client has to know beside arrays, for ``OnServer.train_discriminator``."""
    return {_BATCH_SIZE: float(federation.local.batch_size)}


def adversarial(objective: Objective) -> AdversarialObjective:
    """Returns ``objective``.

    Raises:
        ConfigError: It has no loss of logits.
    """
    if not isinstance(objective, AdversarialObjective):
        raise ConfigError(
            f"objective={objective.spec()!r} has no loss of a discriminator's logits, which an algorithm with the "
            'generator on the server descends: take objective="non-saturating", for one'
        )
    return objective


def require_mean(algorithm: Algorithm, aggregator: Aggregator, how: str) -> None:
    """Raises ConfigError unless the aggregator is the plain mean; ``how`` says what the algorithm does instead."""
    if aggregator.one_vote_each:
        raise ConfigError(
            f"aggregate={aggregator.spec()!r}: algorithm={algorithm.component_name()!r} {how}, where there is no mean "
            'to replace: take aggregate="mean", or md-gan'
        )


def draw_labels(counts: Sequence[int], num: int, generator: torch.Generator) -> Tensor:
    """Returns ``num`` labels (num,), int64, each of them with a probability in proportion to its count."""
    ends = torch.tensor(counts).cumsum(0)
    return torch.searchsorted(ends, torch.randint(int(ends[-1]), (num,), generator=generator), right=True)


def load(parameters: Mapping[str, Tensor], name: str, federation: Federation) -> nn.Module:
    """Returns a new network of this name with its ``parameters``, ready to be trained, on ``federation.device``."""
    network = federation.model.build(federation.shape, seed=0)[name]
    prefix = f"{name}."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)})
    return network.to(federation.device).train()


@torch.no_grad()
def _make(network: nn.Module, latents: Tensor, labels: Tensor, federation: Federation) -> Tensor:
    """Returns the images (N, C, S, S) of latents (N, Z) and labels (N,), on the CPU, made in batches as in training."""
    size, device = federation.local.batch_size, federation.device
    batches = zip(torch.split(latents, size), torch.split(labels, size), strict=True)
    return torch.cat([network(z.to(device), y.to(device)).cpu() for z, y in batches])


def _of_own(fakes: Tensor, labels: Tensor, trainer: LocalTrainer) -> tuple[Tensor, Tensor]:
    """Returns as many of the fakes and their labels, with repeats, with the labels' distribution in the shard."""
    wanted = trainer.real(len(labels), "labels-of-fakes")[1].cpu()
    rows = torch.arange(len(labels))
    for label in set(wanted.tolist()):
        places, found = torch.nonzero(wanted == label)[:, 0], torch.nonzero(labels == label)[:, 0]
        if len(found):  # else the server happened to send none, and others stand in
            rows[places] = found[torch.arange(len(places)) % len(found)]
    return fakes[rows], labels[rows]


def _pooled(federation: Federation) -> list[int]:
    """Returns how many images of each class all clients hold together; ones where a client keeps that to itself."""
    counts = [client.label_counts for client in federation.clients.values() if client.label_counts]
    if not counts or len(counts) < len(federation.clients):
        return [1] * federation.shape.num_classes
    return [sum(column) for column in zip(*counts, strict=True)]


def _latent_size(federation: Federation) -> int:
    with torch.device("meta"):
        network = federation.model.networks(federation.shape)[_GENERATOR]
    return int(getattr(network, "latent_size"))  # noqa: B009  nn.Module types attributes as Tensor | Module
