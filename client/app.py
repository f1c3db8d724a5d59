"""The Flower ClientApp: decode, run, encode. The same object in every runtime."""

import functools
import threading
from collections.abc import Mapping

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client import data, state
from client.trainer import Assignment, Trainer
from common import wire
from common.config import RunConfig, Scalar
from common.datasets.base import ImageShape
from common.errors import ConfigError, DivergenceError
from common.tree import Tree, not_finite

app = ClientApp()

MOMENTS = "moments"
_RESIDENT = threading.local()  # networks and optimizers of this thread, loaded in place; holds nothing between rounds


@app.query()
def query(message: Message, context: Context) -> Message:
    """Answers the roll call."""
    config = _config(context)
    partition, num_partitions = data.partition_id(context.node_config)
    images, dataset = data.shard(config, partition)
    answer = wire.RollCall(
        partition=partition,
        num_partitions=num_partitions,
        num_examples=len(images),
        label_counts=tuple(images.label_counts(dataset.shape.num_classes)),
        shape=dataset.shape,
        fingerprint=wire.source_fingerprint(),
    )
    return Message(wire.encode_roll_call(answer), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains on the client's shard for one round."""
    config = _config(context)
    payload, round = wire.decode_payload(message.content)
    partition, _ = data.partition_id(context.node_config)
    images, dataset = data.shard(config, partition)
    if torch.get_num_threads() != config.local.num_threads:
        torch.set_num_threads(config.local.num_threads)
    trainer = _trainer(config, dataset.shape, device_of(context.node_config))

    memory = state.open_memory(context.state)
    trainer.assign(Assignment(images, config.seed, partition, round), memory.pop(MOMENTS, None))
    reply = config.algorithm_component.run(payload, trainer, memory, partition)
    if config.local.moments == "keep":
        memory[MOMENTS] = trainer.moments()
    for kept in (reply.arrays, *memory.values()):
        _require_finite(kept, round, partition)  # else a client would keep for good what it can never train from
    state.save_memory(context.state, memory)
    return Message(wire.encode_reply(reply, round), reply_to=message)


def device_of(node_config: Mapping[str, object]) -> torch.device:
    """Returns the node's own ``device`` (``"cuda:1"``); without one CUDA where there is one, else the CPU.

    Raises:
        ConfigError: The named device does not exist here.
    """
    name = str(node_config.get("device", "")) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device={name!r} in the node configuration: {reason}") from None
    return device


def _require_finite(weights: Tree, round: int, partition: int) -> None:
    if key := not_finite(weights):
        raise DivergenceError(f"{key} is no longer finite after round {round} on partition {partition}")


def _config(context: Context) -> RunConfig:
    return _parsed(tuple(sorted(context.run_config.items())))


@functools.lru_cache(maxsize=4)
def _parsed(items: tuple[tuple[str, Scalar], ...]) -> RunConfig:
    return RunConfig.from_flat(dict(items))


def _trainer(config: RunConfig, shape: ImageShape, device: torch.device) -> Trainer:
    key = (config.model, config.objective, config.local, config.seed, shape, device)
    if getattr(_RESIDENT, "key", None) != key:
        _RESIDENT.trainer = Trainer(
            config.model_component, config.objective_component, shape, config.local, config.seed, device
        )
        _RESIDENT.key = key
    trainer: Trainer = _RESIDENT.trainer
    return trainer
