"""How much of the arithmetic's speed a federation has in families beyond the GAN."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client.data import load
from common.config import RunConfig, Scalar
from common.examples.text import PAD_TOKEN
from common.models.base import NO_LABEL
from common.optimisers.adam import Adam
from common.optimisers.adamw import AdamW
from common.seeding import torch_generator
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan, clock, in_turn
from simulations.performance.loops import PLAIN

STEPS = 20
_CLIENTS = 4

Loss = Callable[[nn.ModuleDict, Tensor, Tensor, torch.Generator], Tensor]
"""Of networks on examples and labels; draws what it needs."""


def vae_loss(networks: nn.ModuleDict, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Returns the negative evidence lower bound of images in [-1, 1], whose brightness is taken for a probability."""
    means, log_variances = networks["encoder"](images, labels).chunk(2, dim=1)
    noise = torch.randn(means.shape, generator=random)
    found = networks["decoder"](means + torch.exp(0.5 * log_variances) * noise, labels)
    chance = ((found + 1) / 2).clamp(1e-6, 1 - 1e-6)
    reconstruction = F.binary_cross_entropy(chance, (images + 1) / 2, reduction="sum")
    divergence = 0.5 * (log_variances.exp() + means.square() - 1 - log_variances).sum()
    bound: Tensor = (reconstruction + divergence) / len(images)
    return bound


def flow_loss(networks: nn.ModuleDict, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Returns the mean squared error of the velocity from noise to images, a tenth of them without their labels."""
    noise = torch.randn(images.shape, generator=random)
    times = torch.randn(len(images), generator=random).sigmoid()
    labels = labels.masked_fill(torch.rand(len(labels), generator=random) < 0.1, NO_LABEL)
    place = torch.lerp(noise, images, times[:, None, None, None])
    return F.mse_loss(networks["velocity"](place, times, labels), images - noise)


def token_loss(networks: nn.ModuleDict, tokens: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Returns the mean negative log-likelihood of the tokens after the first that are not padding."""
    logits = networks["tokens"](tokens[:, :-1], labels)
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD_TOKEN)


_TEXT: dict[str, Scalar] = {
    "data.name": "shakespeare min-characters=11900",
    "objective": "next-token",
    "optimiser": "adamw beta1=0.9 beta2=0.99",
    "local.batch-size": 8,
    "local.learning-rate": 0.005,
}
FAMILIES: dict[str, tuple[dict[str, Scalar], Loss]] = {
    "transformer": (_TEXT | {"model": "transformer"}, token_loss),
    "vae": ({"model": "vae", "objective": "elbo"}, vae_loss),
    "unet": ({"model": "unet", "objective": "flow-matching"}, flow_loss),
}
"""By the model's name: its settings, and its loss as a person writes it."""

_SMALL = {"transformer": "transformer layers=1 width=16 heads=2", "vae": "vae width=4", "unet": "unet width=8"}


class Loop:
    """What a person would write by hand: one network, its optimizer and its loss in a plain loop on one thread.

    Args:
        config: Model, data, batch size, optimiser.
        loss: The loss.
    """

    def __init__(self, config: RunConfig, loss: Loss) -> None:
        data, rule = load(config.data), config.optimiser_component
        assert isinstance(rule, Adam), "the loops that a person writes have Adam"
        self._networks = config.model_component.build(data.spec, config.seed).train()
        self._loss, self._spec, self._size = loss, data.spec, config.local.batch_size
        self._stored, self._labels = data.train.stored, data.train.labels
        self._random = torch_generator(config.seed, "benchmark", "families")
        kind = torch.optim.AdamW if isinstance(rule, AdamW) else torch.optim.Adam
        self._optimizer = kind(
            self._networks.parameters(),
            lr=config.local.learning_rate,
            betas=(rule.beta1, rule.beta2),
            weight_decay=rule.decay(),
            fused=True,
        )

    def run(self, num_steps: int) -> None:
        """Takes steps."""
        for _ in range(num_steps):
            chosen = torch.randint(len(self._stored), (self._size,), generator=self._random)
            examples = self._spec.to_input(self._stored[chosen])
            loss = self._loss(self._networks, examples, self._labels[chosen], self._random)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()


def families(plan: Plan) -> Measured:
    """Speed of a federation in process, of that of a hand-written loop of the same steps, beyond the GAN, one thread.

    Rounds of 20 steps, with all that belongs to them but scores.
    """
    for model, (settings, loss) in FAMILIES.items():
        steps = 1 if plan.quick else STEPS
        config = config_of(settings, steps)
        if plan.quick:
            config = config.replaced({"model": _SMALL[model], "local.batch-size": 2})
        loop = Loop(config, loss)
        loop.run(2)
        with Federation(config, 1) as federation:
            hand = partial(clock, partial(loop.run, _CLIENTS * steps))
            pairs = in_turn(plan.times, federation.round, hand)
        what = f"speed of the loop reached: {config.model}, {steps} steps of {config.local.batch_size}"
        yield Figure(key=model, what=what, values=tuple(by_hand / ours for ours, by_hand in pairs))


def config_of(settings: dict[str, Scalar], steps: int) -> RunConfig:
    """Returns the configuration of a federation of a few clients with rounds of so many steps."""
    values: dict[str, Scalar] = {
        "partition": "iid",
        "federation.num-clients": _CLIENTS,
        "local.steps": steps,
        "local.batch-size": 32,
    }
    return PLAIN.replaced(values | settings)
