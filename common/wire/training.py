"""Training: what the server asks of a client in a round, and the reply."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.algorithms import Payload, Reply
from common.errors import ProtocolError
from common.examples import ExampleSpec
from common.secure_sum import Letters
from common.tree import FrozenTree
from common.wire.fields import (
    ARRAYS,
    LONGEST_NAME,
    META,
    PROTOCOL,
    integer,
    meta_of,
    numbers,
    record,
    spec_fields,
    spec_of,
)
from common.wire.masks import letters_of, put_letters
from common.wire.trees import decode_tree, encode_tree

_MOST_METRICS, _MOST_EXAMPLES = 64, 1e12
_METRICS, _SCALARS = "metrics", "scalars"


@dataclass(frozen=True)
class Task:
    """What the server asks one client to do in one round.

    Attributes:
        payload: What the algorithm sends.
        round: The round, from 1.
        run: Identifies the run, also when it goes on under another run id of Flower's.
        memory_round: The round whose memory the client starts from, the last one in which it was heard; 0: none.
        keep_from: The client keeps its memories from this round on, as the run may go back that far.
        rollbacks: How often the run has gone back; another number gives the client other random numbers.
        spec: Of the examples, where the client's own do not say it, as those of others differ; else None.
        letters: What the client needs to mask its reply; None: replies are not masked.
    """

    payload: Payload
    round: int
    run: str = ""
    memory_round: int = 0
    keep_from: int = 0
    rollbacks: int = 0
    spec: ExampleSpec | None = None
    letters: Letters | None = None


def encode_task(task: Task, arrays: ArrayRecord) -> RecordDict:
    """Returns the content of a training message; ``arrays`` is the encoded payload's, shared by messages."""
    meta = {
        "protocol": PROTOCOL,
        "round": task.round,
        "run": task.run,
        "memory-round": task.memory_round,
        "keep-from": task.keep_from,
        "rollbacks": task.rollbacks,
        **spec_fields(task.spec),
    }
    scalars = {key: float(value) for key, value in task.payload.scalars.items()}
    content = RecordDict({ARRAYS: arrays, META: _shared(*meta.items()), _SCALARS: _shared(*scalars.items())})
    if task.letters is not None:
        put_letters(content, task.letters)
    return content


@functools.lru_cache(maxsize=16)
def _shared(*fields: tuple[str, int | float | str]) -> ConfigRecord:
    """Returns a record that a cohort's messages have in common, as most of their fields say the same.

    Flower looks at each field, which costs as much as all else of a message. Nobody writes to what travels.
    """
    return ConfigRecord(dict(fields))


def decode_task(content: RecordDict) -> Task:
    """Returns what the server asks for.

    Raises:
        ProtocolError: Another protocol version, or a record or field that is missing or of another kind.
    """
    meta = meta_of(content)
    return Task(
        Payload(decode_tree(record(content, ARRAYS, ArrayRecord)), numbers(content, _SCALARS, ConfigRecord)),
        round=integer(meta, "round"),
        run=str(meta.get("run", "")),
        memory_round=integer(meta, "memory-round"),
        keep_from=integer(meta, "keep-from"),
        rollbacks=integer(meta, "rollbacks"),
        spec=spec_of(meta),
        letters=letters_of(content),
    )


def encode_reply(reply: Reply, round: int, memory_round: int = 0) -> RecordDict:
    """Returns the content of a client's answer; ``memory_round`` is that of the memory which it trained from."""
    meta = ConfigRecord(
        {
            "protocol": PROTOCOL,
            "round": round,
            "partition": reply.partition,
            "num-examples": reply.num_examples,
            "memory-round": memory_round,
        }
    )
    metrics = MetricRecord({key: float(value) for key, value in reply.metrics.items()})
    return RecordDict({ARRAYS: encode_tree(reply.arrays), META: meta, _METRICS: metrics})


def decode_reply(content: RecordDict, round: int) -> tuple[Reply, int]:
    """Returns a client's answer, if it belongs to ``round``, and the round of the memory that it trained from.

    Raises:
        ProtocolError: Another protocol version or round, or a record or field that is missing or of another type.
    """
    meta = meta_of(content)
    if (answered := integer(meta, "round")) != round:
        raise ProtocolError(f"the reply answers round {answered}, this is round {round}")
    metrics = numbers(content, _METRICS, MetricRecord)
    if len(metrics) > _MOST_METRICS or any(len(key) > LONGEST_NAME or not key.isprintable() for key in metrics):
        raise ProtocolError(
            f"the reply has {len(metrics)} metrics, or odd names: {_MOST_METRICS} with plain ones may be"
        )
    if not 0 <= metrics.get("examples", 0) <= _MOST_EXAMPLES:
        raise ProtocolError(f"examples in {_METRICS} is {metrics['examples']:g}")
    reply = Reply(
        partition=integer(meta, "partition"),
        num_examples=integer(meta, "num-examples"),
        arrays=decode_tree(record(content, ARRAYS, ArrayRecord)),
        metrics=metrics,
    )
    return reply, integer(meta, "memory-round")


def replace_arrays(content: RecordDict, put: Callable[[FrozenTree], FrozenTree]) -> None:
    """Has the arrays of a reply lie where ``put`` puts them; those that cannot be read stay as they are."""
    try:
        arrays = FrozenTree(decode_tree(record(content, ARRAYS, ArrayRecord)))
    except ProtocolError:  # whoever reads the reply will say so
        return
    content[ARRAYS] = encode_tree(put(arrays))
