"""Messages between server and clients: typed values <-> Flower records. The only place that knows their keys.

Every message carries ``PROTOCOL``. A change of keys or of their meaning raises it.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common import records
from common.algorithms import Payload, Reply
from common.errors import ProtocolError
from common.examples import ExampleSpec, spec_from
from common.record_values import integer, integers, numbers, record, strings
from common.tree import FrozenTree, Tree

PROTOCOL = 6

_MOST_METRICS, _LONGEST_NAME, _MOST_EXAMPLES = 64, 64, 1e12
_ARRAYS, _META, _METRICS, _SCALARS = "arrays", "meta", "metrics", "scalars"


@dataclass(frozen=True)
class RollCall:
    """What a client says of itself, once, before the first round.

    Attributes:
        partition: The client's partition id, from 0.
        num_partitions: Partitions in the client's view of the federation.
        num_examples: Images that the client holds.
        label_counts: Images of each class; None from a site that keeps them to itself, or was not asked.
        spec: Of the examples, and the number of classes.
        class_names: What each label means; sites must agree, or one's cats are another's dogs.
        data_digest: Of examples and labels (first 16 hex digits of a SHA-256): a resumed run must find the same ones.
        fingerprint: Of the source code that the client runs (``source_fingerprint``).
        without_moments: Why the site will tell no moments of its examples' features; empty: it will.
        site: What people call the client; empty: it has no name. Says nothing of who it is.
    """

    partition: int
    num_partitions: int
    num_examples: int
    label_counts: tuple[int, ...] | None
    spec: ExampleSpec
    class_names: tuple[str, ...]
    data_digest: str
    fingerprint: str
    without_moments: str = field(default="", compare=False)
    site: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """How messages to people name the client: by its name where it has one, and its partition id."""
        if not self.site:
            return f"partition {self.partition}"
        return f"{'' if self.site.lower().startswith('site') else 'site '}{self.site} (partition {self.partition})"


def check_site_name(name: str) -> str:
    """Returns a site's name if people can read it in one line.

    Raises:
        ValueError: It is too long, or has characters that cannot be printed, or spaces at its ends.
    """
    if len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(f"a site's name has at most {_LONGEST_NAME} printable characters, and no space at its ends")
    return name


def site_name(text: str) -> str:
    """Returns any text as a site's name that ``check_site_name`` accepts: printable, and shortened if it is long."""
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1].rstrip()}…"


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
    """

    payload: Payload
    round: int
    run: str = ""
    memory_round: int = 0
    keep_from: int = 0
    rollbacks: int = 0
    spec: ExampleSpec | None = None


@functools.cache
def source_fingerprint() -> str:
    """Returns the first 16 hex digits of the SHA-256 of everything in ``common/`` and ``client/``.

    Flower can let a client of an older checkout answer a newer server without a word; the roll call compares this.
    """
    sha = hashlib.sha256()
    top = Path(__file__).resolve().parent.parent
    for package in ("client", "common"):
        for path in sorted((top / package).rglob("*")):
            if path.suffix in (".py", ".json"):
                sha.update(f"{path.relative_to(top).as_posix()}\0".encode())
                sha.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return sha.hexdigest()[:16]


def encode_roll_call(value: RollCall) -> RecordDict:
    """Returns a client's answer to the roll call."""
    meta = ConfigRecord(
        {
            "protocol": PROTOCOL,
            "partition": value.partition,
            "num-partitions": value.num_partitions,
            "num-examples": value.num_examples,
            **_examples(value.spec),
            "class-names": list(value.class_names),
            "data-digest": value.data_digest,
            "fingerprint": value.fingerprint,
            "without-moments": value.without_moments,
            "site": value.site,
        }
    )
    if value.label_counts is not None:
        meta["label-counts"] = list(value.label_counts)
    return RecordDict({_META: meta})


def decode_roll_call(content: RecordDict) -> RollCall:
    """Returns what the client said.

    Raises:
        ProtocolError: Another protocol version, or a field that is missing or of another type.
    """
    meta = _meta(content)
    spec = _spec(meta)
    if spec is None:
        raise ProtocolError("examples is missing: a client describes what it holds")
    try:
        site = check_site_name(str(meta.get("site", "")))
    except ValueError as error:
        raise ProtocolError(f"site is {str(meta['site'])[:80]!r}: {error}") from None
    return RollCall(
        partition=integer(meta, "partition"),
        num_partitions=integer(meta, "num-partitions"),
        num_examples=integer(meta, "num-examples"),
        label_counts=tuple(integers(meta, "label-counts")) if "label-counts" in meta else None,
        spec=spec,
        class_names=tuple(strings(meta, "class-names")),
        data_digest=str(meta.get("data-digest", "")),
        fingerprint=str(meta.get("fingerprint", "")),
        without_moments=str(meta.get("without-moments", "")),
        site=site,
    )


def _examples(spec: ExampleSpec | None) -> dict[str, str]:
    return {} if spec is None else {"examples": json.dumps(spec.record())}


def _spec(meta: ConfigRecord) -> ExampleSpec | None:
    """Returns the specification of examples that a message has; None: it has none.

    Raises:
        ProtocolError: It describes none.
    """
    if "examples" not in meta:
        return None
    try:
        return spec_from(json.loads(str(meta["examples"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProtocolError(f"examples is {str(meta['examples'])[:80]!r}, no description of examples") from None


def encode_query(label_counts: bool) -> RecordDict:
    """Returns the content of the server's roll call.

    Args:
        label_counts: Whether the run needs to know how many examples of each class a client holds.
    """
    return RecordDict({_META: ConfigRecord({"protocol": PROTOCOL, "label-counts": label_counts})})


def decode_query(content: RecordDict) -> bool:
    """Returns whether the roll call asks for label counts.

    Raises:
        ProtocolError: Another protocol version, or no word on it.
    """
    asked = _meta(content).get("label-counts")
    if not isinstance(asked, bool):
        raise ProtocolError(f"label-counts is {asked!r}, not true or false")
    return asked


@dataclass(frozen=True)
class Answer:
    """What a client says when it is asked for something beside the rounds.

    Attributes:
        partition: The client's partition id.
        arrays: What it was asked for; empty if it does not say.
        refusal: Why it does not say; empty if it does.
    """

    partition: int
    arrays: Tree = field(default_factory=dict)
    refusal: str = ""


def encode_question(name: str, arrays: ArrayRecord | None = None, spec: ExampleSpec | None = None) -> RecordDict:
    """Returns the content of a question beside the rounds.

    Args:
        name: Of the query (``common/queries``).
        arrays: An encoded tree that goes with it; may be shared by messages.
        spec: See ``Task``.
    """
    meta = ConfigRecord({"protocol": PROTOCOL, "query": name, **_examples(spec)})
    return RecordDict({_META: meta, _ARRAYS: arrays or records.encode_tree({})})


def decode_question(content: RecordDict) -> tuple[str, Tree, ExampleSpec | None]:
    """Returns the name of the query, what the server has sent with it, and the examples' specification if it says one.

    Raises:
        ProtocolError: Another protocol version, no name, or arrays that cannot be read.
    """
    meta = _meta(content)
    name = meta.get("query")
    if not isinstance(name, str):
        raise ProtocolError(f"query is {name!r}, not the name of one")
    return name, records.decode_tree(record(content, _ARRAYS, ArrayRecord)), _spec(meta)


def encode_answer(answer: Answer) -> RecordDict:
    """Returns the content of a client's answer."""
    meta = ConfigRecord({"protocol": PROTOCOL, "partition": answer.partition, "refusal": answer.refusal})
    return RecordDict({_META: meta, _ARRAYS: records.encode_tree(answer.arrays)})


def decode_answer(content: RecordDict) -> Answer:
    """Returns what a client has answered.

    Raises:
        ProtocolError: Another protocol version, or a field that is missing or of another type.
    """
    meta = _meta(content)
    arrays = records.decode_tree(record(content, _ARRAYS, ArrayRecord))
    return Answer(integer(meta, "partition"), arrays, str(meta.get("refusal", "")))


def encode_task(task: Task, arrays: ArrayRecord) -> RecordDict:
    """Returns the content of a training message; ``arrays`` is the encoded payload's, shared by messages."""
    meta = ConfigRecord(
        {
            "protocol": PROTOCOL,
            "round": task.round,
            "run": task.run,
            "memory-round": task.memory_round,
            "keep-from": task.keep_from,
            "rollbacks": task.rollbacks,
            **_examples(task.spec),
        }
    )
    scalars = ConfigRecord({key: float(value) for key, value in task.payload.scalars.items()})
    return RecordDict({_ARRAYS: arrays, _META: meta, _SCALARS: scalars})


def decode_task(content: RecordDict) -> Task:
    """Returns what the server asks for.

    Raises:
        ProtocolError: Another protocol version, or a record or field that is missing or of another kind.
    """
    meta = _meta(content)
    return Task(
        Payload(records.decode_tree(record(content, _ARRAYS, ArrayRecord)), numbers(content, _SCALARS, ConfigRecord)),
        round=integer(meta, "round"),
        run=str(meta.get("run", "")),
        memory_round=integer(meta, "memory-round"),
        keep_from=integer(meta, "keep-from"),
        rollbacks=integer(meta, "rollbacks"),
        spec=_spec(meta),
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
    return RecordDict({_ARRAYS: records.encode_tree(reply.arrays), _META: meta, _METRICS: metrics})


def decode_reply(content: RecordDict, round: int) -> tuple[Reply, int]:
    """Returns a client's answer, if it belongs to ``round``, and the round of the memory that it trained from.

    Raises:
        ProtocolError: Another protocol version or round, or a record or field that is missing or of another type.
    """
    meta = _meta(content)
    if (answered := integer(meta, "round")) != round:
        raise ProtocolError(f"the reply answers round {answered}, this is round {round}")
    metrics = numbers(content, _METRICS, MetricRecord)
    if len(metrics) > _MOST_METRICS or any(len(key) > _LONGEST_NAME or not key.isprintable() for key in metrics):
        raise ProtocolError(
            f"the reply has {len(metrics)} metrics, or odd names: {_MOST_METRICS} with plain ones may be"
        )
    if not 0 <= metrics.get("examples", 0) <= _MOST_EXAMPLES:
        raise ProtocolError(f"examples in {_METRICS} is {metrics['examples']:g}")
    reply = Reply(
        partition=integer(meta, "partition"),
        num_examples=integer(meta, "num-examples"),
        arrays=records.decode_tree(record(content, _ARRAYS, ArrayRecord)),
        metrics=metrics,
    )
    return reply, integer(meta, "memory-round")


def replace_arrays(content: RecordDict, put: Callable[[FrozenTree], FrozenTree]) -> None:
    """Has the arrays of a reply lie where ``put`` puts them; those that cannot be read stay as they are."""
    try:
        arrays = FrozenTree(records.decode_tree(record(content, _ARRAYS, ArrayRecord)))
    except ProtocolError:  # whoever reads the reply will say so
        return
    content[_ARRAYS] = records.encode_tree(put(arrays))


def _meta(content: RecordDict) -> ConfigRecord:
    meta = record(content, _META, ConfigRecord)
    if (version := integer(meta, "protocol")) != PROTOCOL:
        raise ProtocolError(f"the peer speaks protocol {version}, this side {PROTOCOL}: run the same fedgan on both")
    return meta
