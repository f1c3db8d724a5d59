"""A finished or running run's generator, read from its run directory."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from common.algorithms.fedavg import PERSONAL
from common.config import RunConfig, Scalar, flatten
from common.datasets.base import ImageShape
from common.errors import CheckpointError, ConfigError
from common.generation import load_generator
from common.tree import select
from server import checkpoint, guard, journal
from server.checkpoint import Checkpoint
from server.journal import RunDirectory


@dataclass(frozen=True)
class Trained:
    """A generator with what it takes to use it.

    Attributes:
        generator: See ``common.generation.generate``.
        shape: Of its images, and the number of classes.
        config: Of the run.
        round: Rounds done when these weights were saved.
        conditional: Whether its images show the labels that they are asked for.
    """

    generator: nn.Module
    shape: ImageShape
    config: RunConfig
    round: int

    @property
    def conditional(self) -> bool:
        return bool(getattr(self.config.model_component, "conditional", False))


def read_config(path: Path) -> RunConfig:
    """Returns the configuration in a TOML file, nested or with dotted keys.

    Raises:
        ConfigError: No such file, not TOML, or not a configuration.
    """
    return RunConfig.from_flat(read_flat(path))


def read_flat(path: Path) -> dict[str, Scalar]:
    """Returns the dotted keys and values of a TOML file.

    Raises:
        ConfigError: No such file, or not TOML.
    """
    try:
        return flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not TOML: {error}") from None


Round = int | Literal["best"] | None
"""A round with a checkpoint, that of the best fid, or the last."""


def parse_round(text: str | None) -> Round:
    """Returns the round that a user names: a number, or ``best``.

    Raises:
        ConfigError: Anything else.
    """
    if text is None:
        return None
    if text == "best":
        return "best"
    if not text.isdecimal():
        raise ConfigError(f"--round {text!r}: a number, or best")
    return int(text)


def load_trained(path: Path, round: Round = None, client: int | None = None) -> Trained:
    """Returns a run's generator.

    Args:
        path: The run directory.
        round: A round with a checkpoint, or ``"best"``, the one of the best fid; None: the last.
        client: A partition whose own generator is meant, where the algorithm leaves generators with the clients;
            None: the server's.

    Raises:
        ConfigError: Not a run directory, a round without a checkpoint, or a client without a generator of its own.
        CheckpointError: No checkpoint yet, or none that is whole.
    """
    run = RunDirectory.existing(path)
    config = read_config(run.config)
    found = _find(run, round)
    done = found.snapshot.state.round
    shape = ImageShape(*(int(found.roster["shape"][key]) for key in ("channels", "size", "num-classes")))
    if client is None:
        weights = found.snapshot.state.generator()
        if not weights:
            raise ConfigError(
                f"{config.algorithm!r} leaves generators with the clients: choose one with --client "
                f"(0 to {config.federation.num_clients - 1})"
            )
    else:
        weights = select(found.snapshot.clients.get(client, {}).get(PERSONAL, {}), ["generator"])
        if not weights:
            raise ConfigError(f"--client {client} has no generator of its own in the checkpoint of round {done}")
    return Trained(load_generator(config.model_component, shape, weights), shape, config, done)


def _find(run: RunDirectory, round: Round) -> Checkpoint:
    if round is None:
        found = checkpoint.latest(run.checkpoints)
        if found is None:
            raise CheckpointError(f"{run.path} has no checkpoint yet")
        return found
    if round == "best":
        line = guard.best(journal.read(run.journal))
        if line is None:
            raise ConfigError(f"--round best: no round of {run.path} has a fid; name one by its number")
        round = int(line["round"])
    path = run.checkpoints / f"round-{round:04d}.safetensors"
    if not path.exists():
        kept = ", ".join(str(int(p.stem[6:])) for p in checkpoint.list_checkpoints(run.checkpoints)) or "none"
        raise ConfigError(f"{run.path} has no checkpoint of round {round}; rounds with one: {kept}")
    return checkpoint.load_checkpoint(path)
