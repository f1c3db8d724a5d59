"""A client's memory between rounds: what it keeps for itself, by the round after which it was kept.

Several rounds are kept, because a round may be asked for again: after a lost reply, after a restart of the server from
its last checkpoint, after a rollback. A client that trains round r always starts from the memory that the server names,
so a repeated round has the same bits.

Two places hold it: Flower's ``Context.state``, which lives as long as one run of one node's process, and a folder of
the site's (``state-path`` in its node configuration), which outlives both.
"""

import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from common import wire
from common.errors import CheckpointError, ConfigError, ProtocolError
from common.files import load_sealed, remove_scraps, save_sealed
from common.tree import Tree, without_slack

log = logging.getLogger("fedgan.client")

VERSION = 2
_META = "fedgan.memory"
_MEMORY = f"{_META}."
_KEPT = "fedgan.kept."
_KIND = "fedgan-memory"
_KEPT_RUNS = 10
_RUN = re.compile(r"[0-9a-f]{1,64}")


class Memories(Protocol):
    """A client's memories by round."""

    def load(self, round: int) -> dict[str, Tree] | None:
        """Returns what was kept after ``round``, by name; empty for round 0, None if it is not there any more."""

    def save(self, round: int, memory: Mapping[str, Tree], keep_from: int) -> None:
        """Keeps ``memory`` as that of ``round``; drops what is older than ``keep_from`` or later than ``round``."""


class ContextMemories:
    """Memories in Flower's ``Context.state``.

    Args:
        state: The context's.

    Raises:
        ProtocolError: The state was written by another version.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state
        meta = state.get(_META)
        if isinstance(meta, ConfigRecord) and meta["version"] != VERSION:
            raise ProtocolError(f"the client's state has version {meta['version']!r}, this fedgan reads {VERSION}")

    def holds(self, round: int) -> bool:
        """Returns whether what was kept after ``round`` is here."""
        return round == 0 or round in self._rounds()

    def load(self, round: int) -> dict[str, Tree] | None:
        if round == 0:
            return {}
        if not self.holds(round):
            return None
        prefix = _prefix(round)
        return {
            name.removeprefix(prefix): wire.decode_tree(record)
            for name, record in self._state.items()
            if name.startswith(prefix) and isinstance(record, ArrayRecord)
        }

    def save(self, round: int, memory: Mapping[str, Tree], keep_from: int) -> None:
        kept = [other for other in self._rounds() if keep_from <= other < round]
        prefixes = tuple(_prefix(other) for other in kept)
        for name in [name for name in self._state if name.startswith(_MEMORY) and not name.startswith(prefixes)]:
            del self._state[name]
        self._state[_META] = ConfigRecord({"version": VERSION, "rounds": [*kept, round]})
        for name, tree in memory.items():
            self._state[_prefix(round) + name] = wire.encode_tree(without_slack(tree))

    def _rounds(self) -> list[int]:
        meta = self._state.get(_META)
        return list(meta["rounds"]) if isinstance(meta, ConfigRecord) else []  # type: ignore[arg-type]


class Keeper(Protocol):
    """Keeps bytes from message to message, by name, as long as the node runs."""

    def get(self, name: str) -> bytes | None:
        """Returns what was put; None if nothing was, or it is gone."""

    def put(self, name: str, content: bytes) -> None:
        """Keeps ``content``."""


class ContextKeeper:
    """Bytes in Flower's ``Context.state``, which a node holds in memory as long as it runs; memories leave it alone.

    Args:
        state: The context's.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    def get(self, name: str) -> bytes | None:
        record = self._state.get(_KEPT + name)
        return record["content"] if isinstance(record, ConfigRecord) else None  # type: ignore[return-value]

    def put(self, name: str, content: bytes) -> None:
        self._state[_KEPT + name] = ConfigRecord({"content": content})


def without_memories(state: RecordDict) -> RecordDict:
    """Returns a state that holds only what is kept as long as the node runs."""
    return RecordDict({name: record for name, record in state.items() if name.startswith(_KEPT)})


class DiskMemories:
    """Memories in ``STATE_PATH/runs/RUN/partition-K/``: a file a round, whole or not there, readable by the owner only.

    The folders of the runs that were at work last are kept, those of others removed.

    Args:
        state_path: The site's folder.
        run: Identifies the run (``Task.run``).
        partition: The client's partition id.

    Raises:
        ConfigError: The folder cannot be made.
        ProtocolError: ``run`` cannot be a folder's name.
    """

    def __init__(self, state_path: Path, run: str, partition: int) -> None:
        if not _RUN.fullmatch(run):
            raise ProtocolError(f"the server calls its run {run!r}, which is no hexadecimal number")
        runs = state_path / "runs"
        self._folder = runs / run / f"partition-{partition}"
        try:
            new = not (runs / run).exists()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(runs / run)
        except OSError as error:
            raise ConfigError(f"state-path={str(state_path)!r} in the node configuration: {error.strerror}") from None
        remove_scraps(self._folder)
        if new:
            for old in sorted(runs.iterdir(), key=_last_used)[:-_KEPT_RUNS]:
                shutil.rmtree(old, ignore_errors=True)

    def load(self, round: int) -> dict[str, Tree] | None:
        if round == 0:
            return {}
        if not self._path(round).exists():
            return None
        try:
            _, tensors = load_sealed(self._path(round), _KIND, VERSION)
        except CheckpointError as error:
            log.warning("%s", error)
            return None
        memory: dict[str, dict[str, Tensor]] = {}
        for key, value in sorted(tensors.items()):
            name, _, entry = key.partition("/")
            memory.setdefault(name, {})[entry] = value
        return dict(memory)

    def save(self, round: int, memory: Mapping[str, Tree], keep_from: int) -> None:
        if memory:
            tensors = {f"{name}/{key}": value for name, tree in memory.items() for key, value in tree.items()}
            save_sealed(self._path(round), _KIND, VERSION, {"round": str(round)}, tensors)
            self._path(round).chmod(0o600)
        for path in self._folder.glob("memory-*.safetensors"):
            if not keep_from <= int(path.stem.removeprefix("memory-")) <= round:
                path.unlink(missing_ok=True)

    def _path(self, round: int) -> Path:
        return self._folder / f"memory-{round:06d}.safetensors"


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another SuperNode has removed it
        return 0.0


def _prefix(round: int) -> str:
    return f"{_MEMORY}{round}."
