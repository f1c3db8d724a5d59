"""Client queries: what the server asks beside the rounds (``common/queries``), and what a client answers."""

from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from common.errors import ProtocolError
from common.examples import ExampleSpec
from common.tree import Tree
from common.wire.fields import ARRAYS, META, PROTOCOL, integer, meta_of, record, spec_fields, spec_of
from common.wire.trees import decode_tree, encode_tree


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
    meta = ConfigRecord({"protocol": PROTOCOL, "query": name, **spec_fields(spec)})
    return RecordDict({META: meta, ARRAYS: arrays or encode_tree({})})


def decode_question(content: RecordDict) -> tuple[str, Tree, ExampleSpec | None]:
    """Returns the name of the query, what the server has sent with it, and the examples' specification if it says one.

    Raises:
        ProtocolError: Another protocol version, no name, or arrays that cannot be read.
    """
    meta = meta_of(content)
    name = meta.get("query")
    if not isinstance(name, str):
        raise ProtocolError(f"query is {name!r}, not the name of one")
    return name, decode_tree(record(content, ARRAYS, ArrayRecord)), spec_of(meta)


def encode_answer(answer: Answer) -> RecordDict:
    """Returns the content of a client's answer."""
    meta = ConfigRecord({"protocol": PROTOCOL, "partition": answer.partition, "refusal": answer.refusal})
    return RecordDict({META: meta, ARRAYS: encode_tree(answer.arrays)})


def decode_answer(content: RecordDict) -> Answer:
    """Returns what a client has answered.

    Raises:
        ProtocolError: Another protocol version, or a field that is missing or of another type.
    """
    meta = meta_of(content)
    arrays = decode_tree(record(content, ARRAYS, ArrayRecord))
    return Answer(integer(meta, "partition"), arrays, str(meta.get("refusal", "")))
