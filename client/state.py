"""A client's memory between rounds: a typed, versioned view of Flower's ``Context.state``.

Flower keeps the state over the rounds of one run, drops a change when the client raises, and never sends it.
"""

from flwr.app import ConfigRecord, RecordDict

from common import wire
from common.errors import ProtocolError
from common.tree import Tree

VERSION = 1
_PREFIX, _META = "fedgan.memory.", "fedgan.memory"


def open_memory(state: RecordDict) -> dict[str, Tree]:
    """Returns the trees kept so far, by name; empty before the first round.

    Raises:
        ProtocolError: The state was written by another version.
    """
    meta = state.get(_META)
    if isinstance(meta, ConfigRecord) and meta["version"] != VERSION:
        raise ProtocolError(f"the client's state has version {meta['version']!r}, this fedgan reads {VERSION}")
    return {
        name.removeprefix(_PREFIX): wire.decode_tree(record)
        for name, record in state.array_records.items()
        if name.startswith(_PREFIX)
    }


def save_memory(state: RecordDict, memory: dict[str, Tree]) -> None:
    """Replaces what is kept by ``memory``."""
    for name in [name for name in state.array_records if name.startswith(_PREFIX)]:
        del state[name]
    state[_META] = ConfigRecord({"version": VERSION})
    for name, tree in memory.items():
        state[_PREFIX + name] = wire.encode_tree(tree)
