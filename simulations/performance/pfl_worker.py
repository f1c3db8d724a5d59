"""One of pfl's processes: ``python -m simulations.performance.pfl_worker``, started by ``peers``.

Reads the configuration as JSON from the first line of stdin, then runs a round a line, and prints its seconds.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import MinimizeReuseUserSampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import nn

from client.data import load, split
from common.config import RunConfig
from common.examples import ExampleSet, ExampleSpec
from common.seeding import torch_generator
from simulations.performance.loops import Batch, adams, gan_step


class Shard(Dataset):
    """A client's images, which gives batches without end: pfl counts the steps."""

    def __init__(
        self, config: RunConfig, images: ExampleSet, spec: ExampleSpec, noise_shape: tuple[int, ...], user: int
    ) -> None:
        super().__init__((images.stored, images.labels), user_id=str(user))
        self._spec, self._noise_shape = spec, noise_shape
        self._random = torch_generator(config.seed, "benchmark", "pfl", user)

    def iter(self, batch_size: int | None) -> Iterator[Batch]:
        """Yields real images, their labels, latents and labels of fakes."""
        images, labels = self._raw_data
        size = batch_size or len(labels)
        while True:
            chosen = torch.randint(len(labels), (size,), generator=self._random)
            others = torch.randint(len(labels), (size,), generator=self._random)
            latents = torch.randn(size, *self._noise_shape, generator=self._random)
            yield self._spec.to_input(images[chosen]), labels[chosen], latents, labels[others]


class Networks(nn.Module):
    """Both networks, with the methods that pfl asks a module for; training takes its own step."""

    def __init__(self, config: RunConfig, spec: ExampleSpec) -> None:
        super().__init__()
        self.networks = config.model_component.build(spec, config.seed).train()

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def metrics(self, *batch: torch.Tensor) -> dict[str, Any]:
        raise NotImplementedError


class Optimizers:
    """Adam of each network, as one object for pfl."""

    def __init__(self, module: Networks, config: RunConfig, rate: float) -> None:
        self.each = adams(config, module.networks, rate)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for optimizer in self.each:
            optimizer.zero_grad()


class Averaging(FederatedAveraging):
    """Federated averaging whose local step is that of a GAN."""

    def train_one_user(self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any) -> Any:
        model.do_multiple_epochs_of(user_dataset, central_context.model_train_params, _train_step)
        return model.get_model_difference(initial_model_state), Metrics()


def _train_step(module: Networks, optimizers: Optimizers, batch: Batch, kwargs: object, arguments: object) -> None:
    gan_step(module.networks["generator"], module.networks["discriminator"], *optimizers.each, batch)


class Unscored(PyTorchModel):
    """A model that is not evaluated, which pfl would do in its first round."""

    def evaluate(self, *arguments: object, **named: object) -> Metrics:
        return Metrics()


class RoundAtATime(TrainingProcessCallback):
    """Waits for a line before each round, and says how long the round took; ends when there is no further line."""

    def on_train_begin(self, *, model: Any) -> Metrics:
        self._waiting()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        print(f"seconds {time.perf_counter() - self._start}", flush=True)
        return self._waiting(), Metrics()

    def _waiting(self) -> bool:
        line = sys.stdin.readline()
        self._start = time.perf_counter()
        return not line


def main() -> None:
    """Runs rounds until stdin ends."""
    torch.set_num_threads(1)
    config = RunConfig.from_flat(json.loads(sys.stdin.readline()))
    data = load(config.data)
    module = Networks(config, data.spec)
    noise_shape = config.model_component.sampler(module.networks).noise_shape
    shards = [
        Shard(config, data.train.subset(part), data.spec, noise_shape, user) for user, part in enumerate(split(config))
    ]

    def optimizers(parameters: object, lr: float) -> Any:
        return Optimizers(module, config, lr)

    model = Unscored(module, optimizers, torch.optim.SGD(module.parameters(), lr=1.0))
    users = FederatedDataset(lambda user: shards[user], MinimizeReuseUserSampler(list(range(len(shards)))))
    backend = SimulatedBackend(training_data=users, val_data=users, postprocessors=[WeightByDatapoints()])
    Averaging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=1_000_000,
            evaluation_frequency=10_000_000,
            train_cohort_size=len(shards),
            val_cohort_size=None,
        ),
        backend=backend,
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=None,
            local_learning_rate=config.local.learning_rate,
            local_batch_size=config.local.batch_size,
            local_num_steps=config.local.steps,
        ),
        callbacks=[RoundAtATime()],
        send_metrics_to_platform=False,
    )


if __name__ == "__main__":
    main()
