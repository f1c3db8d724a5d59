"""A finished or running run's generator, read from its run directory."""

import json
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from common.algorithms.fedavg import PERSONAL
from common.components import kebab, parse, suggestion
from common.config import RunConfig
from common.datasets.base import listed
from common.errors import CheckpointError, ConfigError
from common.examples import ExampleSpec, ImageSpec, spec_from
from common.generation import balanced_labels, held_classes, load_sampler
from common.models import Roles, Sampler
from common.tree import Tree, digest, select
from server import checkpoint
from server.checkpoint import COMPRESSED, Checkpoint
from server.records import journal, model_selection
from server.records.run_directory import RunDirectory
from simulations.runs import provenance

_MOST_LISTED = 20


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator with what it takes to use it.

    Attributes:
        generator: See ``common.generation.generate``.
        spec: Of its examples, and the number of classes.
        config: Of the run.
        round: Rounds done when these weights were saved.
        digest: SHA-256 of the generator's weights, as ``generator-sha256`` in a run's summary.
        adversary: What it was trained against, in the same round, as images (B, C, S, S) in [-1, 1] and labels (B,)
            to logits (B,); None where the checkpoint has none.
        held: The classes that clients had images of, in order; all, where one keeps its counts to itself.
        class_names: What each class is called; its number, where nobody said.
        sampling: The model's options of sampling that are other than the run's, as a user wrote them; else empty.
        compressed: What it was made from by ``fedgan compress``: a run, its round and weights; empty: it was trained.
        conditional: Whether its images show the labels that they are asked for.
    """

    generator: Sampler
    spec: ExampleSpec
    config: RunConfig
    round: int
    digest: str
    adversary: nn.Module | None
    held: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    sampling: str = ""
    compressed: str = ""

    @property
    def conditional(self) -> bool:
        return self.spec.num_classes > 1 and self.config.model_component.conditional

    def shown(self, labels: Tensor) -> Tensor:
        """Returns the labels that examples show, int64 (N,): those asked for, or -1 where that is not known."""
        return labels if self.conditional else torch.full_like(labels, -1)

    def origin(self, run: str, seed: int) -> dict[str, Any]:
        """Returns where examples of this generator come from (``provenance.origin``); ``run`` is its run's name."""
        facts = provenance.origin(
            run, self.config.data.name, self.round, seed, self.digest, self.config.privacy_component.spec()
        )
        facts |= {"sampler": self.sampling} if self.sampling else {}
        return facts | ({COMPRESSED: self.compressed} if self.compressed else {})

    def images(self, way: str) -> ImageSpec:
        """Returns the specification of the images that are made.

        Args:
            way: What takes images only, for the message.

        Raises:
            ConfigError: The run makes another kind of examples.
        """
        if not isinstance(self.spec, ImageSpec):
            raise ConfigError(
                f"this run makes {self.spec.kind}, and {way} takes images: fedgan generate writes a .npz or a .txt"
            )
        return self.spec

    def in_turn(self, num: int) -> Tensor:
        """Returns ``num`` labels, int64 (num,): the classes that clients had images of, over and over."""
        return balanced_labels(num, self.held)

    def require_known(self, labels: Iterable[int], message: str) -> None:
        """Checks that the generator knows the labels.

        Args:
            labels: Those of a request.
            message: The error, with ``{}`` for a label.

        Raises:
            ConfigError: One is no class, or one that it was never trained on.
        """
        for label in sorted(set(labels) - set(self.held)):
            known = f"0 to {self.spec.num_classes - 1}"
            if 0 <= label < self.spec.num_classes:
                known = f"{listed(self.held)}, as no client had images of class {label}"
            raise ConfigError(f"{message.format(label)}; the generator knows {known}")


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


def load_trained(path: Path, round: Round = None, client: int | None = None, sampling: str = "") -> LoadedGenerator:
    """Returns a run's generator.

    Args:
        path: The run directory.
        round: A round with a checkpoint, or ``"best"``, the one of the best fid; None: the last.
        client: A partition whose own generator is meant, where the algorithm leaves generators with the clients;
            None: the server's.
        sampling: Other options of sampling than the run's, ``"guidance=2 steps=16"``, where its model has any.

    Raises:
        ConfigError: Not a run directory, options that the model's sampler does not have, a configuration that is not
            whole or not that of the checkpoint, a round without a checkpoint, or a client without a generator of its
            own.
        CheckpointError: No checkpoint yet, or none that is whole.
    """
    require_whole(round, client)
    run, config, found = open_checkpoint(path, round)
    config = _sampled_otherwise(config, sampling)
    done = found.snapshot.state.round
    spec = spec_from(found.roster["shape"])
    roles = config.model_component.roles
    if client is None:
        weights = found.snapshot.state.published(roles)
        if not weights:
            raise ConfigError(
                f"{config.algorithm!r} leaves generators with the clients: choose a client, 0 to "
                f"{config.federation.num_clients - 1}"
            )
    else:
        weights = select(found.snapshot.clients.get(client, {}).get(PERSONAL, {}), roles.published)
        if not weights:
            raise ConfigError(
                f"client={client}: no generator of its own in the checkpoint of round {done}; {_whose(found, roles)}"
            )
    judging = select(found.snapshot.state.parameters, roles.adversaries)
    adversary = _load_adversary(config, spec, judging) if judging else None
    generator = load_sampler(config.model_component, spec, weights)
    held = held_classes((client["label-counts"] for client in found.roster["clients"]), spec.num_classes)
    names = _class_names(run, spec.num_classes)
    compressed = str(found.config.get(COMPRESSED, ""))
    return LoadedGenerator(generator, spec, config, done, digest(weights), adversary, held, names, sampling, compressed)


def open_checkpoint(path: Path, round: Round = None) -> tuple[RunDirectory, RunConfig, Checkpoint]:
    """Returns a run, its configuration, and its checkpoint of a round; see ``load_trained`` for what is raised."""
    run = RunDirectory.existing(path)
    config = run.read_config()
    found = _find(run, round)
    _require_same(config, found, run)
    return run, config, found


def _sampled_otherwise(config: RunConfig, sampling: str) -> RunConfig:
    """Returns the configuration with other options of its model that concern sampling alone.

    Raises:
        ConfigError: Another option, or a value outside its range.
    """
    if not sampling.strip():
        return config
    model = config.model_component
    name, known = model.component_name(), [kebab(option) for option in model.sampling]
    if not known:
        raise ConfigError(f"--sampler {sampling!r}: samples of the model {name} have no options: leave it out")
    chosen = parse("--sampler", {name: type(model)}, f"{name} {sampling}")
    if other := [kebab(option) for option in chosen.model_fields_set - set(model.sampling)]:
        raise ConfigError(
            f"--sampler {sampling!r}: {name} was trained with its {other[0]}; {suggestion(other[0], known)}"
        )
    changes = {option: getattr(chosen, option) for option in chosen.model_fields_set}
    return config.replaced({"model": model.model_copy(update=changes).spec()})


def _class_names(run: RunDirectory, num_classes: int) -> tuple[str, ...]:
    """Returns the name of each class: what the clients told, else the labels themselves."""
    names = run.read_summary().get("class-names") or run.read_partition().get("class-names") or []
    return tuple(map(str, names if len(names) == num_classes else range(num_classes)))


def _load_adversary(config: RunConfig, spec: ExampleSpec, weights: Tree) -> nn.Module:
    (name,) = config.model_component.roles.adversaries
    network: nn.Module = config.model_component.build(spec, seed=0)[name]
    network.load_state_dict({key.removeprefix(f"{name}."): value for key, value in weights.items()})
    return network.eval().requires_grad_(False)


def _require_same(config: RunConfig, found: Checkpoint, run: RunDirectory) -> None:
    """Raises ConfigError unless the weights of a checkpoint were trained with the configuration at hand."""
    now = config.identity()
    if other := {key: value for key, value in found.config.items() if key in now and now[key] != value}:
        values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in other.items())
        raise ConfigError(
            f"{run.config} is not the configuration that the checkpoint of round {found.snapshot.state.round} was made "
            f"with: put back {values}"
        )


def require_whole(round: object, client: object) -> None:
    """Checks that a round and a client can be chosen.

    Raises:
        ConfigError: Another type than theirs.
    """
    for name, value, words in (
        ("round", round, "a number, or 'best'; without it, the last"),
        ("client", client, "a client's number; without it, the server's generator"),
    ):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not (value is None or whole or (name == "round" and isinstance(value, str) and value == "best")):
            raise ConfigError(f"{name}={value!r}: {words}")


def _whose(found: Checkpoint, roles: Roles) -> str:
    own = [k for k, memory in found.snapshot.clients.items() if select(memory.get(PERSONAL, {}), roles.published)]
    listed = ", ".join(map(str, sorted(own)[:_MOST_LISTED])) + (", ..." if len(own) > _MOST_LISTED else "")
    return f"clients with one: {listed}" if own else "all share the server's: leave it out"


def _find(run: RunDirectory, round: Round) -> Checkpoint:
    if round is None:
        found = checkpoint.latest(run.checkpoints)
        if found is None:
            raise CheckpointError(f"{run.path} has no checkpoint yet")
        return found
    if round == "best":
        line = model_selection.best(journal.read(run.journal))
        if line is None:
            raise ConfigError(f"round='best': no round of {run.path} has a fid; name one by its number")
        round = int(line["round"])
    path = run.checkpoints / f"round-{round:04d}.safetensors"
    if not path.exists():
        kept = ", ".join(str(int(p.stem[6:])) for p in checkpoint.list_checkpoints(run.checkpoints)) or "none"
        raise ConfigError(f"{run.path} has no checkpoint of round {round}; rounds with one: {kept}")
    return checkpoint.load_checkpoint(path)
