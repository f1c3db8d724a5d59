"""What a person would write by hand: the same networks, Adam and losses in a plain loop."""

import copy
import threading
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client.data import load, split
from common.config import RunConfig
from common.optimisers.adam import Adam
from common.seeding import torch_generator

Batch = tuple[Tensor, Tensor, Tensor, Tensor]

PLAIN = RunConfig().replaced({"objective": "non-saturating"})
"""The defaults without R1, which a loop that is written by hand does not have either."""


class Work:
    """Networks, their optimizers, and the images of one client.

    Args:
        config: Model, data, batch size.
        networks: ``generator`` and ``discriminator``, to be trained in place.
        chosen: Indices of the client's images; None: all.
        scope: Of the random numbers.
        fused: Adam's fused kernel, else torch's default.
        joint: The discriminator sees real and fake images as one batch.
    """

    def __init__(
        self,
        config: RunConfig,
        networks: nn.ModuleDict,
        chosen: Tensor | None,
        scope: str,
        fused: bool = True,
        joint: bool = False,
    ) -> None:
        data = load(config.data)
        train, self._spec = data.train, data.spec
        self._images, self._labels = train.stored, train.labels
        self._chosen = torch.arange(len(train)) if chosen is None else chosen
        self._size, self._joint = config.local.batch_size, joint
        self._random = torch_generator(config.seed, "benchmark", scope)
        self.generator, self.discriminator = networks["generator"], networks["discriminator"]
        self._noise_shape = config.model_component.sampler(networks).noise_shape
        self._optimizers = adams(config, networks, config.local.learning_rate, True if fused else None)

    def batch(self) -> Batch:
        """Returns real images, their labels, latents and labels of fakes."""
        chosen = self._chosen[torch.randint(len(self._chosen), (self._size,), generator=self._random)]
        others = self._chosen[torch.randint(len(self._chosen), (self._size,), generator=self._random)]
        latents = torch.randn(self._size, *self._noise_shape, generator=self._random)
        return self._spec.to_input(self._images[chosen]), self._labels[chosen], latents, self._labels[others]

    def step(self, batch: Batch) -> None:
        """Steps the discriminator, then the generator."""
        gan_step(self.generator, self.discriminator, *self._optimizers, batch, self._joint)


def adams(
    config: RunConfig, networks: nn.ModuleDict, rate: float, fused: bool | None = True
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Returns the generator's and the discriminator's optimizer of a run whose optimiser is Adam.

    Args:
        config: Gives the decays.
        networks: ``generator`` and ``discriminator``.
        rate: Learning rate.
        fused: Whether the fused kernel is taken; None: torch's default.
    """
    rule = config.optimiser_component
    assert isinstance(rule, Adam), "the loops that a person writes have Adam"

    def adam(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=rate, betas=(rule.beta1, rule.beta2), fused=fused)

    return adam(networks["generator"]), adam(networks["discriminator"])


def gan_step(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_adam: torch.optim.Optimizer,
    discriminator_adam: torch.optim.Optimizer,
    batch: Batch,
    joint: bool = False,
) -> None:
    """The default objective's step, as an experienced person writes it: one batch of fakes, D frozen in G's half."""
    real, real_labels, latents, fake_labels = batch
    fakes = generator(latents, fake_labels)
    if joint:
        both = discriminator(torch.cat([real, fakes.detach()]), torch.cat([real_labels, fake_labels]))
        real_logits, fake_logits = both.chunk(2)
    else:
        real_logits, fake_logits = discriminator(real, real_labels), discriminator(fakes.detach(), fake_labels)
    loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    discriminator_adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    discriminator_adam.step()
    discriminator.requires_grad_(False)
    loss = F.softplus(-discriminator(fakes, fake_labels)).mean()
    generator_adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    generator_adam.step()
    discriminator.requires_grad_(True)


class HandWritten:
    """Steps in threads of one intra-op thread each; no clients, nothing sent."""

    def __init__(self, config: RunConfig, num_threads: int) -> None:
        spec = load(config.data).spec
        networks = [config.model_component.build(spec, config.seed).train() for _ in range(num_threads)]
        self._workers = [Work(config, each, None, f"worker-{k}") for k, each in enumerate(networks)]

    def run(self, num_steps: int) -> float:
        """Runs steps, shared out over the threads, and returns wall seconds."""
        shares = [num_steps // len(self._workers)] * len(self._workers)
        shares[0] += num_steps % len(self._workers)
        threads = [
            threading.Thread(target=_steps, args=(worker, share))
            for worker, share in zip(self._workers, shares, strict=True)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start


def _steps(worker: Work, num_steps: int) -> None:
    torch.set_num_threads(1)
    for _ in range(num_steps):
        worker.step(worker.batch())


class Copying:
    """Federated averaging as most published code has it: a deep copy of the model a client, one client after another.

    Args:
        config: Clients, steps, model, data.
        num_threads: Intra-op threads.
    """

    def __init__(self, config: RunConfig, num_threads: int) -> None:
        self._config, self._num_threads = config, num_threads
        self._networks = config.model_component.build(load(config.data).spec, config.seed).train()
        self._parts = [torch.from_numpy(part) for part in split(config)]
        self._rounds = 0

    def round(self) -> float:
        """Runs a round and returns wall seconds."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._num_threads)
        start = time.perf_counter()
        states = []
        for partition, part in enumerate(self._parts):
            networks = copy.deepcopy(self._networks)
            work = Work(self._config, networks, part, f"{partition}-{self._rounds}", fused=False)
            for _ in range(self._config.local.steps):
                work.step(work.batch())
            states.append(networks.state_dict())
        total = sum(map(len, self._parts))
        mean = {
            key: sum(state[key] * (len(part) / total) for state, part in zip(states, self._parts, strict=True))
            for key in states[0]
        }
        self._networks.load_state_dict(mean)
        self._rounds += 1
        seconds = time.perf_counter() - start
        torch.set_num_threads(before)
        return seconds
