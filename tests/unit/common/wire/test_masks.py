"""Steps of secure aggregation on the wire."""

import pickle

import pytest
from flwr.app import ConfigRecord, RecordDict

from common import wire
from common.algorithms import Payload
from common.errors import ProtocolError
from common.secure_sum import KeysRequest, Letters, Session, SharesAnswer, SharesRequest, UnmaskRequest

SESSION = bytes(range(16))
REQUESTS = [
    KeysRequest(Session(SESSION, "ab", 3)),
    SharesRequest(SESSION, {0: b"one", 4: b"other"}),
    UnmaskRequest(SESSION, (0, 4)),
]


def travelled(content):
    return pickle.loads(pickle.dumps(content))


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_arrive_as_they_were_sent(request_):
    assert wire.decode_mask_request(travelled(wire.encode_mask_request(request_))) == request_


def test_answers_arrive_as_they_were_sent():
    assert wire.decode_keys(travelled(wire.encode_keys(b"keys"))) == b"keys"
    answer = SharesAnswer({1: b"letter"}, {0: b"digest", 1: b"other"})
    assert wire.decode_shares(travelled(wire.encode_shares(answer))) == answer
    assert wire.decode_revealed(travelled(wire.encode_revealed({2: b"share"}))) == {2: b"share"}


def test_letters_go_with_a_task_and_a_task_without_has_none():
    letters = Letters(SESSION, {1: b"letter"}, {0: b"digest", 1: b"other"}, 70)
    for given in (letters, None):
        content = wire.encode_task(wire.Task(Payload({}), round=3, letters=given), wire.encode_tree({}))
        assert wire.decode_task(travelled(content)).letters == given


def test_the_bytes_of_fields_are_counted():
    assert wire.field_bytes(wire.encode_shares(SharesAnswer({1: b"letter"}, {0: b"digest"}))) == 12
    assert wire.field_bytes(wire.encode_mask_request(REQUESTS[1])) == 16 + 3 + 5


@pytest.mark.parametrize(
    "change",
    [
        {"session": "text"},
        {"step": "other"},
        {"adverts": [1]},
        {"adverts-of": [1]},
        {"adverts-of": [1, 1]},
        {"adverts": "x"},
    ],
)
def test_odd_fields_are_refused(change):
    content = wire.encode_mask_request(REQUESTS[1])
    meta = ConfigRecord({**content["meta"], **change})
    with pytest.raises(ProtocolError):
        wire.decode_mask_request(RecordDict({"meta": meta}))


def test_no_number_of_examples_is_refused():
    content = RecordDict()
    wire.put_letters(content, Letters(SESSION, {}, {}, 0))
    with pytest.raises(ProtocolError, match="total is 0"):
        wire.letters_of(content)
