"""Atomic save and load of everything that a run carries over a round.

A checkpoint is one safetensors file: the tensors by name, and a JSON header (its metadata) with round, configuration
and a SHA-256 over it and the tensors, so a torn, flipped or foreign file is known for what it is.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from common import tree
from common.algorithms import ServerState
from common.config import RunConfig
from common.errors import CheckpointError, OtherRunError
from server.journal import write_atomically
from server.strategy import Snapshot

log = logging.getLogger("fedgan.server")

VERSION = 1
_FORMAT = "fedgan-checkpoint"
_NAME = re.compile(r"round-(\d+)\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: the snapshot, and what the run was.

    Attributes:
        snapshot: State of the server, and of simulated clients.
        config: The configuration that determined the weights (``RunConfig.identity``).
        roster: Who held what (``Roster.summary``).
    """

    snapshot: Snapshot
    config: Mapping[str, Any]
    roster: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Writes ``round-NNNN.safetensors`` atomically, removes all but the last ``keep``, and returns the path."""
    state = checkpoint.snapshot.state
    tensors: dict[str, Tensor] = {}
    _put(tensors, "parameters", state.parameters)
    _put(tensors, "average", state.average)
    for name, slot in state.slots.items():
        _put(tensors, f"slots/{name}", slot)
    for partition, memory in checkpoint.snapshot.clients.items():
        for name, kept in memory.items():
            _put(tensors, f"clients/{partition}/{name}", kept)
    header = {
        "format": _FORMAT,
        "version": str(VERSION),
        "round": str(state.round),
        "images-seen": str(checkpoint.snapshot.images_seen),
        "config": json.dumps(checkpoint.config),
        "roster": json.dumps(checkpoint.roster),
    }
    header["sha256"] = _seal(header, tensors)
    path = folder / f"round-{state.round:04d}.safetensors"
    write_atomically(path, save({k: v.contiguous() for k, v in tensors.items()}, metadata=header))
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoint files in order of their rounds."""
    found = [
        (int(match[1]), path) for path in folder.glob("round-*.safetensors") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def load_checkpoint(path: Path) -> Checkpoint:
    """Returns the content of a checkpoint.

    Raises:
        CheckpointError: Not a checkpoint of this version, or not whole; names the file.
    """
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint: {error}") from None
    if header.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is not a fedgan checkpoint")
    if header.get("version") != str(VERSION):
        raise CheckpointError(f"{path} has version {header.get('version')}, this fedgan reads {VERSION}")
    if header.pop("sha256", None) != _seal(header, tensors):
        raise CheckpointError(f"{path} is damaged: it does not have the recorded SHA-256")
    if path.name != f"round-{int(header['round']):04d}.safetensors":
        raise CheckpointError(f"{path} holds round {header['round']}: it was renamed")
    slots: dict[str, dict[str, Tensor]] = {}
    clients: dict[int, dict[str, dict[str, Tensor]]] = {}
    groups: dict[str, dict[str, Tensor]] = {"parameters": {}, "average": {}}
    for name, value in sorted(tensors.items()):
        kind, _, rest = name.partition("/")
        if kind == "slots":
            slot, _, key = rest.partition("/")
            slots.setdefault(slot, {})[key] = value
        elif kind == "clients":
            partition, memory, key = rest.split("/", 2)
            clients.setdefault(int(partition), {}).setdefault(memory, {})[key] = value
        else:
            groups[kind][rest] = value
    state = ServerState(int(header["round"]), groups["parameters"], groups["average"], slots)
    snapshot = Snapshot(state, clients, int(header["images-seen"]))
    return Checkpoint(snapshot, json.loads(header["config"]), json.loads(header["roster"]))


def latest(folder: Path) -> Checkpoint | None:
    """Returns the last whole checkpoint; None where there is none at all.

    A file that is not whole is named in the log and the one before it taken.

    Raises:
        CheckpointError: There are checkpoints, but none is whole.
    """
    paths = list_checkpoints(folder)
    problems = []
    for path in reversed(paths):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            log.warning("%s", error)
            problems.append(str(error))
    if problems:
        raise CheckpointError(f"no whole checkpoint in {folder}: {'; '.join(problems)}")
    return None


def differences_between(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Returns a phrase for each key in which two configurations differ."""
    return [
        f"{key} was {theirs.get(key)!r}, is {ours.get(key)!r}"
        for key in dict.fromkeys([*theirs, *ours])
        if theirs.get(key) != ours.get(key)
    ]


def require_same_run(checkpoint: Checkpoint, config: RunConfig, roster: Mapping[str, Any]) -> None:
    """Passes a checkpoint that this run may go on from.

    Raises:
        OtherRunError: Another configuration or other data; names each difference.
    """
    differences = differences_between(checkpoint.config, config.identity())
    if not differences and checkpoint.roster != json.loads(json.dumps(roster)):
        differences = ["the clients' data (images or label counts) are not those of the checkpoint"]
    if checkpoint.snapshot.state.round > config.federation.num_rounds:
        done = checkpoint.snapshot.state.round
        differences.append(f"federation.num-rounds={config.federation.num_rounds}, but {done} rounds are done")
    if differences:
        raise OtherRunError(f"the checkpoint is of another run: {'; '.join(differences)}")


def _seal(header: Mapping[str, str], tensors: tree.Tree) -> str:
    """Returns a SHA-256 over header and tensors."""
    text = json.dumps(dict(header), sort_keys=True) + tree.digest(tensors)
    return hashlib.sha256(text.encode()).hexdigest()


def _put(tensors: dict[str, Tensor], prefix: str, values: tree.Tree) -> None:
    tensors.update({f"{prefix}/{key}": value for key, value in values.items()})
