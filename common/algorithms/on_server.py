"""What algorithms have in common that train the generator on the server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from common.aggregators import Aggregator
from common.algorithms.base import Algorithm, ServerContext, ServerState
from common.errors import ConfigError
from common.exchange import LocalTrainer, Payload
from common.models import AdversarialModel, Model
from common.objectives import Objective
from common.objectives.adversarial import AdversarialObjective, squared_gradient_norm
from common.optimisers import Stepper
from common.optimisers.rate_schedule import rate_share
from common.seeding import torch_generator
from common.tree import clone

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
_MOMENTS = "generator-moments"
_BATCH_SIZE = "batch-size"


class OnServer(Algorithm):
    """Base of the algorithms that train the generator on the server, with the optimiser's slots kept in the state.

    With one step a round (``local.steps=1``) and Adam's moments kept at the clients they do better than with several
    and new moments (docs/findings.md): all steps that the generator takes in a round are on what discriminators said at
    its start. In a round of many a discriminator takes all its steps before one and the same generator, and learns its
    images by heart unless something holds it back. So all of these algorithms have the zero-centred gradient penalty
    that the paper of ua-gan has, on real images drawn anew from the shard for it; ``penalty=0`` is what the other
    papers have.
    """

    generator_steps: int = Field(0, ge=0, description="the generator's steps a round, on the server; 0: local.steps")
    generator_learning_rate: float = Field(
        0.0, ge=0, description="rate of the generator on the server; 0: local.learning-rate"
    )

    penalty: float = Field(10.0, ge=0, description="weight of E|grad D(x)|^2 on real images at the clients; 0: off")

    def check(self, objective: Objective, aggregator: Aggregator, model: Model) -> None:
        if not isinstance(model, AdversarialModel):
            raise ConfigError(
                f"model={model.component_name()!r} has no generator and discriminator, one of which algorithm="
                f"{self.component_name()!r} trains on the server; take model='dcgan', or algorithm='fedavg'"
            )
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

        given = None if fakes is None else {"fakes": fakes[0], "fake-labels": fakes[1]}
        return trainer.fit(networks=(DISCRIMINATOR,), given=given, extra_loss=penalise if self.penalty else None)

    def num_steps(self, context: ServerContext) -> int:
        """Returns the generator's steps in a round."""
        return self.generator_steps or context.local.steps

    def inputs(self, round: int, context: ServerContext) -> tuple[Tensor, Tensor]:
        """Returns the latents (N, Z) and labels (N,) of the round's generator steps, a batch after another.

        Labels are distributed as the images of all clients together, or evenly where a client keeps its own to itself.
        """
        num = self.num_steps(context) * context.local.batch_size
        random = torch_generator(context.seed, "server", round, "generator-steps")
        labels = draw_labels(_pooled(context), num, random)
        return torch.randn(num, *noise_shape(context), generator=random), labels

    def descend(
        self, state: ServerState, context: ServerContext, loss: Callable[[slice, Tensor, Tensor], Tensor]
    ) -> ServerState:
        """Returns the state with a generator that has taken its steps of the round.

        Args:
            state: Where the round started.
            context: Batch size, rates and where to compute.
            loss: Called with the rows of ``inputs`` at hand, the images (B, C, S, S) that the generator now makes of
                them, and their labels (B,), both on ``context.device``; returns the scalar to descend.
        """
        network = load(state.parameters, GENERATOR, context)
        local = context.local
        rate = self.generator_learning_rate or local.learning_rate
        share = rate_share(local, state.round + 1, context.num_rounds)
        stepper = Stepper(network, context.optimiser, rate * share)
        for key, value in state.slots.get(_MOMENTS, {}).items():
            stepper.slots[key].copy_(value)
        latents, labels = self.inputs(state.round + 1, context)
        for start in range(0, len(labels), local.batch_size):
            rows = slice(start, start + local.batch_size)
            chosen = labels[rows].to(context.device)
            images = network(latents[rows].to(context.device), chosen)
            stepper.zero_grad()
            loss(rows, images, chosen).backward()  # type: ignore[no-untyped-call]
            stepper.step()
        trained = {f"{GENERATOR}.{key}": value for key, value in network.state_dict().items()}
        return replace(
            state,
            parameters={**state.parameters, **clone(trained)},
            slots={**state.slots, _MOMENTS: clone(stepper.slots)},
        )


def batch_size(context: ServerContext) -> dict[str, float]:
    """Returns what a client has to know beside arrays, for ``OnServer.train_discriminator``."""
    return {_BATCH_SIZE: float(context.local.batch_size)}


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


def draw_labels(counts: Sequence[int], num: int, generator: torch.Generator) -> Tensor:
    """Returns ``num`` labels (num,), int64, each of them with a probability in proportion to its count."""
    ends = torch.tensor(counts).cumsum(0)
    return torch.searchsorted(ends, torch.randint(int(ends[-1]), (num,), generator=generator), right=True)


def load(parameters: Mapping[str, Tensor], name: str, context: ServerContext) -> nn.Module:
    """Returns a new network of this name with its ``parameters``, ready to be trained, on ``context.device``."""
    network = context.model.build(context.spec, seed=0)[name]
    prefix = f"{name}."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)})
    return network.to(context.device).train()


def noise_shape(context: ServerContext) -> tuple[int, ...]:
    """Returns the shape of the noise that one example is made of."""
    with torch.device("meta"):
        return context.model.sampler(context.model.networks(context.spec)).noise_shape


def _pooled(context: ServerContext) -> list[int]:
    """Returns how many images of each class all clients hold together; ones where a client keeps that to itself."""
    counts = [client.label_counts for client in context.clients.values() if client.label_counts]
    if not counts or len(counts) < len(context.clients):
        return [1] * context.spec.num_classes
    return [sum(column) for column in zip(*counts, strict=True)]
