"""The two sides of the comparison: a federation in this process, and a hand-written loop of the same steps."""

import tempfile
import threading
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from client.app import app as client_app
from client.data import load
from common import wire
from common.config import RunConfig
from common.datasets.base import normalise
from server.grid import PatientGrid
from server.strategy import FederatedGAN, Snapshot
from simulations.engine import InProcessGrid


class Federation:
    """A federation in this process, without scores, journal and pictures."""

    def __init__(self, config: RunConfig, num_workers: int) -> None:
        self._grid = InProcessGrid(client_app, config.flat(), config.federation.num_clients, num_workers)
        self._clients = PatientGrid(self._grid)
        roster = self._clients.roll_call(config)
        networks = config.model_component.build(roster.shape, config.seed)
        snapshot = Snapshot(config.algorithm_component.init(networks.state_dict()))
        self._strategy = FederatedGAN(config, roster, self._clients, snapshot, self._grid.client_states)

    def run(self, num_rounds: int) -> tuple[float, float]:
        """Runs rounds and returns wall seconds, and the sum of the seconds that clients spent in training steps."""
        fit = 0.0

        def note(flower_round: int, arrays: object) -> None:
            nonlocal fit
            if flower_round:
                fit += sum(float(client["seconds"]) for client in self._strategy.record.clients)

        arrays = wire.encode_tree(self._strategy.snapshot.state.parameters)
        start = time.perf_counter()
        self._strategy.start(self._clients, arrays, num_rounds, evaluate_fn=note)
        return time.perf_counter() - start, fit

    @property
    def snapshot(self) -> Snapshot:
        """The last round's."""
        return self._strategy.snapshot

    def close(self) -> None:
        """Ends the workers."""
        self._grid.close()


class HandWritten:
    """What a person would write for one process: the networks, Adam, two losses; no clients, nothing sent."""

    def __init__(self, config: RunConfig, num_threads: int) -> None:
        self._config, self._num_threads = config, num_threads
        self._data = load(config.data)
        shape = self._data.shape
        self._workers = []
        for _ in range(num_threads):
            networks = config.model_component.build(shape, config.seed).train()
            optimizers = {
                name: torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.99), fused=True)
                for name, network in networks.items()
            }
            self._workers.append((networks["generator"], networks["discriminator"], optimizers))

    def run(self, num_steps: int) -> float:
        """Runs steps, shared out over the threads, and returns wall seconds."""
        share = num_steps // self._num_threads
        threads = [threading.Thread(target=self._loop, args=(*worker, share)) for worker in self._workers]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def _loop(self, generator, discriminator, optimizers, num_steps: int) -> None:  # type: ignore[no-untyped-def]
        torch.set_num_threads(1)
        size, images, labels = self._config.local.batch_size, self._data.train.images, self._data.train.labels
        for _ in range(num_steps):
            chosen = torch.randint(len(labels), (size,))
            real, real_labels = normalise(images[chosen]), labels[chosen]
            latents, fake_labels = torch.randn(size, generator.latent_size), labels[torch.randint(len(labels), (size,))]
            fakes = generator(latents, fake_labels)
            loss = F.softplus(-discriminator(real, real_labels)).mean()
            loss = loss + F.softplus(discriminator(fakes.detach(), fake_labels)).mean()
            optimizers["discriminator"].zero_grad()
            loss.backward()
            optimizers["discriminator"].step()
            discriminator.requires_grad_(False)
            loss = F.softplus(-discriminator(fakes, fake_labels)).mean()
            optimizers["generator"].zero_grad()
            loss.backward()
            optimizers["generator"].step()
            discriminator.requires_grad_(True)


def quiet(config: RunConfig, **changes: object) -> RunConfig:
    """Returns the configuration with other values (``__`` for ``.``), writing into a folder that nobody reads."""
    values = {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
    return config.replaced({"output.dir": str(Path(tempfile.gettempdir()) / "unused"), **values})  # type: ignore[dict-item]
