"""The steps of secure aggregation (``common/secure_sum``): what the server asks beside training, and the answers."""

from collections.abc import Mapping

from flwr.app import ConfigRecord, RecordDict

from common.errors import ProtocolError
from common.secure_sum import KeysRequest, Letters, MaskRequest, Session, SharesAnswer, SharesRequest, UnmaskRequest
from common.wire.fields import META, PROTOCOL, integer, integers, meta_of

_LETTERS = "letters"


def encode_mask_request(request: MaskRequest) -> RecordDict:
    """Returns the content of a message that asks for a step of secure aggregation."""
    meta = ConfigRecord({"protocol": PROTOCOL})
    if isinstance(request, KeysRequest):
        session = request.session
        meta.update({"step": "keys", "session": session.id, "run": session.run, "round": session.round})
    elif isinstance(request, SharesRequest):
        meta.update({"step": "shares", "session": request.session})
        _put(meta, "adverts", request.adverts)
    else:
        meta.update({"step": "unmask", "session": request.session, "answered": list(request.answered)})
    return RecordDict({META: meta})


def decode_mask_request(content: RecordDict) -> MaskRequest:
    """Returns what the server asks for.

    Raises:
        ProtocolError: Another protocol version, or a field that is missing or of another type.
    """
    meta = meta_of(content)
    session, step = _bytes(meta, "session"), meta.get("step")
    if step == "keys":
        return KeysRequest(Session(session, str(meta.get("run", "")), integer(meta, "round")))
    if step == "shares":
        return SharesRequest(session, _taken(meta, "adverts"))
    if step == "unmask":
        return UnmaskRequest(session, tuple(integers(meta, "answered")))
    raise ProtocolError(f"step is {step!r}, none of secure aggregation")


def encode_keys(advert: bytes) -> RecordDict:
    """Returns the content of the answer to ``KeysRequest``."""
    return RecordDict({META: ConfigRecord({"protocol": PROTOCOL, "advert": advert})})


def decode_keys(content: RecordDict) -> bytes:
    """Returns a client's keys as it wrote them.

    Raises:
        ProtocolError: See ``decode_mask_request``.
    """
    return _bytes(meta_of(content), "advert")


def encode_shares(answer: SharesAnswer) -> RecordDict:
    """Returns the content of the answer to ``SharesRequest``."""
    meta = ConfigRecord({"protocol": PROTOCOL})
    _put(meta, "letters", answer.letters)
    _put(meta, "digests", answer.digests)
    return RecordDict({META: meta})


def decode_shares(content: RecordDict) -> SharesAnswer:
    """Returns a client's letters to others.

    Raises:
        ProtocolError: See ``decode_mask_request``.
    """
    meta = meta_of(content)
    return SharesAnswer(_taken(meta, "letters"), _taken(meta, "digests"))


def encode_revealed(shares: Mapping[int, bytes]) -> RecordDict:
    """Returns the content of the answer to ``UnmaskRequest``."""
    meta = ConfigRecord({"protocol": PROTOCOL})
    _put(meta, "shares", shares)
    return RecordDict({META: meta})


def decode_revealed(content: RecordDict) -> dict[int, bytes]:
    """Returns the shares that a client hands out, by whose secret they are of.

    Raises:
        ProtocolError: See ``decode_mask_request``.
    """
    return _taken(meta_of(content), "shares")


def put_letters(content: RecordDict, letters: Letters) -> None:
    """Puts letters into the content of a training message."""
    record = ConfigRecord({"session": letters.session, "total": letters.total})
    _put(record, "letters", letters.letters)
    _put(record, "digests", letters.digests)
    content[_LETTERS] = record


def letters_of(content: RecordDict) -> Letters | None:
    """Returns the letters in the content of a training message; None if there are none.

    Raises:
        ProtocolError: See ``decode_mask_request``.
    """
    record = content.get(_LETTERS)
    if not isinstance(record, ConfigRecord):
        return None
    total = integer(record, "total")
    if total < 1:
        raise ProtocolError(f"total is {total}, not a number of examples")
    return Letters(_bytes(record, "session"), _taken(record, "letters"), _taken(record, "digests"), total)


def field_bytes(content: RecordDict) -> int:
    """Returns the bytes of the fields of a message that are bytes; the rest is a few hundred."""
    records = [record for record in content.values() if isinstance(record, ConfigRecord)]
    return sum(_size(value) for record in records for value in record.values())


def _size(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, bytes) else 0


def _put(record: ConfigRecord, name: str, values: Mapping[int, bytes]) -> None:
    record[f"{name}-of"], record[name] = list(values), list(values.values())


def _taken(record: ConfigRecord, name: str) -> dict[int, bytes]:
    values = record.get(name)
    if not isinstance(values, list) or not all(isinstance(value, bytes) for value in values):
        raise ProtocolError(f"{name} is no list of bytes")
    partitions = integers(record, f"{name}-of", len(values))
    if len(set(partitions)) < len(partitions):
        raise ProtocolError(f"{name} names a client twice")
    return dict(zip(partitions, values, strict=True))  # type: ignore[arg-type]


def _bytes(record: ConfigRecord, name: str) -> bytes:
    value = record.get(name)
    if not isinstance(value, bytes):
        raise ProtocolError(f"{name} is {type(value).__name__}, not bytes")
    return value
