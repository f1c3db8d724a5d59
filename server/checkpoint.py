"""Atomic save and load of everything that a run carries over a round.

A checkpoint is one safetensors file: the tensors by name, and a JSON header (its metadata) with round, configuration
and a SHA-256 over it and the tensors, so a torn, flipped or foreign file is known for what it is.
"""

import json
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from common import renamed_settings, tree
from common.algorithms import ServerState
from common.config import RunConfig, upgraded
from common.errors import CheckpointError, OtherRunError
from common.files import load_sealed, save_sealed
from server.rounds.base import Snapshot

log = logging.getLogger("fedgan.server")

VERSION = 2
COMPRESSED = "compressed-from"
"""The key among those of ``Checkpoint.config`` by which weights that no round made say what they were made from."""

_KIND = "fedgan-checkpoint"
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


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int, protected: Collection[int] = ()) -> Path:
    """Writes ``round-NNNN.safetensors`` atomically, and returns the path.

    Of the others, all but the last ``keep`` (this one included) and those of the ``protected`` rounds are removed.
    """
    snapshot = checkpoint.snapshot
    state = snapshot.state
    tensors: dict[str, Tensor] = {}
    _put(tensors, "parameters", state.parameters)
    _put(tensors, "average", state.average)
    for name, slot in state.slots.items():
        _put(tensors, f"slots/{name}", slot)
    for partition, memory in snapshot.clients.items():
        for name, kept in memory.items():
            _put(tensors, f"clients/{partition}/{name}", kept)
    header = {
        "round": str(state.round),
        "examples-seen": str(snapshot.examples_seen),
        "memory-rounds": json.dumps({str(k): v for k, v in snapshot.memory_rounds.items()}),
        "rollbacks": str(snapshot.rollbacks),
        "run": snapshot.run,
        "releases": str(snapshot.releases),
        "config": json.dumps(checkpoint.config),
        "roster": json.dumps(checkpoint.roster),
    }
    path = path_of(folder, state.round)
    save_sealed(path, _KIND, VERSION, header, tensors)
    # A damaged or renamed file of a later round, which a resumed run has passed over, does not count.
    for old in [other for other in list_checkpoints(folder) if round_of(other) <= state.round][:-keep]:
        if round_of(old) not in protected:
            old.unlink()
    return path


def path_of(folder: Path, round: int) -> Path:
    """Returns the file for the checkpoint of a round."""
    return folder / f"round-{round:04d}.safetensors"


def round_of(path: Path) -> int:
    """Returns the round of a checkpoint file, from its name."""
    return int(path.stem.removeprefix("round-"))


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
    header, tensors = load_sealed(path, _KIND, VERSION)
    if path.name != path_of(path.parent, int(header["round"])).name:
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
    snapshot = Snapshot(
        state,
        clients,
        examples_seen=int(renamed_settings.renewed_record(header)["examples-seen"]),
        memory_rounds={int(k): v for k, v in json.loads(header["memory-rounds"]).items()},
        rollbacks=int(header["rollbacks"]),
        run=header["run"],
        releases=int(header.get("releases", 0)),
    )
    return Checkpoint(snapshot, upgraded(json.loads(header["config"])), json.loads(header["roster"]))


def memory_rounds(folder: Path, last_round: int) -> dict[int, Mapping[int, int]]:
    """Returns by round what whole checkpoints up to ``last_round`` say of clients' memories (``Snapshot``)."""
    found: dict[int, Mapping[int, int]] = {}
    for path in list_checkpoints(folder):
        if round_of(path) <= last_round:
            try:
                found[round_of(path)] = load_checkpoint(path).snapshot.memory_rounds
            except CheckpointError as error:
                log.warning("%s", error)
    return found


def latest(folder: Path, before: int | None = None) -> Checkpoint | None:
    """Returns the last whole checkpoint, of a round below ``before`` if that is given; None where there is none at all.

    A file that is not whole is named in the log and the one before it taken.

    Raises:
        CheckpointError: There are checkpoints, but none is whole.
    """
    paths = [path for path in list_checkpoints(folder) if before is None or round_of(path) < before]
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
    """Checks that this run may go on from a checkpoint.

    Raises:
        OtherRunError: Another configuration or other data; names each difference. Or a generator that was compressed,
            whose other networks are gone.
    """
    if COMPRESSED in checkpoint.config:
        raise OtherRunError(
            f"a compressed generator is not trained further: resume the run that it was made from "
            f"({checkpoint.config[COMPRESSED]}), and compress that again"
        )
    differences = differences_between(checkpoint.config, config.identity())
    if "federation.num-rounds" in config.identity() and any("federation.num-rounds" in text for text in differences):
        differences.append(
            "noise is made for so many rounds"
            if config.privacy_component.private
            else 'only with local.schedule="constant" do rates not depend on the number of rounds'
        )
    if not differences:
        differences = _other_data(checkpoint.roster, json.loads(json.dumps(roster)))
    if checkpoint.snapshot.state.round > config.federation.num_rounds:
        done = checkpoint.snapshot.state.round
        differences.append(f"federation.num-rounds={config.federation.num_rounds}, but {done} rounds are done")
    if differences:
        raise OtherRunError(f"the checkpoint is of another run: {'; '.join(differences)}")


def _other_data(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Returns a phrase for each client whose data are not those of the checkpoint."""
    found = differences_between(theirs["shape"], ours["shape"])
    before, now = ({client["partition"]: client for client in roster["clients"]} for roster in (theirs, ours))
    for partition in sorted(before.keys() | now.keys()):
        one, other = before.get(partition, {}), now.get(partition, {})
        if differences := differences_between(one, other):
            found.append(f"the data of partition {partition}: {', '.join(differences)}")
    return found


def _put(tensors: dict[str, Tensor], prefix: str, values: tree.Tree) -> None:
    tensors.update({f"{prefix}/{key}": value for key, value in values.items()})
