import pickle
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from common import tree, wire
from common.algorithms import Payload, Reply
from common.datasets.base import ImageShape
from common.errors import ProtocolError
from simulations import engine

TREE = {"generator.w": torch.randn(3, 2), "discriminator.n": torch.tensor(5)}


def test_roll_call_reads_back():
    for counts in ((0, 15, 25), None):
        answer = wire.RollCall(3, 10, 40, counts, ImageShape(3, 32, 3), ("a", "b", "c"), "d1", "f1")
        assert wire.decode_roll_call(wire.encode_roll_call(answer)) == answer


@pytest.mark.parametrize("asked", [True, False])
def test_the_roll_call_says_whether_it_needs_label_counts(asked):
    assert wire.decode_query(wire.encode_query(label_counts=asked)) is asked
    with pytest.raises(ProtocolError, match="label-counts is None, not true or false"):
        wire.decode_query(wire.encode_question())


def test_questions_and_answers_read_back():
    assert tree.digest(wire.decode_question(wire.encode_question(wire.encode_tree(TREE)))) == tree.digest(TREE)
    assert wire.decode_question(wire.encode_question()) == {}
    answer = wire.decode_answer(wire.encode_answer(wire.Answer(3, TREE)))
    assert (answer.partition, answer.refusal, tree.digest(answer.arrays)) == (3, "", tree.digest(TREE))
    refusal = wire.Answer(3, refusal="disclose-moments=false")
    assert wire.decode_answer(wire.encode_answer(refusal)) == refusal


def test_task_and_reply_read_back_to_the_bit():
    task = wire.Task(Payload(TREE, {"mu": 0.1}), 7, run="beef", memory_round=5, keep_from=4, rollbacks=2)
    decoded = wire.decode_task(wire.encode_task(task, wire.encode_tree(TREE)))
    assert tree.digest(decoded.payload.arrays) == tree.digest(TREE)
    assert replace(decoded, payload=task.payload) == task
    assert dict(decoded.payload.scalars) == {"mu": 0.1}
    reply = Reply(3, 40, TREE, {"seconds": 1.5})
    decoded, memory_round = wire.decode_reply(wire.encode_reply(reply, 7, 5), 7)
    assert tree.digest(decoded.arrays) == tree.digest(TREE)
    assert (decoded.partition, decoded.num_examples, dict(decoded.metrics), memory_round) == (
        3,
        40,
        {"seconds": 1.5},
        5,
    )


def as_bytes(record):
    """Returns a record of arrays as another process has it."""
    return pickle.loads(pickle.dumps(record))


def test_within_a_process_no_bytes_are_made_and_tensors_are_the_senders_own(monkeypatch):
    monkeypatch.setattr(wire, "save", lambda tensors: pytest.fail("bytes were made"))
    decoded = wire.decode_tree(wire.encode_tree(TREE))
    assert {key: value.data_ptr() for key, value in decoded.items()} == {
        key: value.data_ptr() for key, value in TREE.items()
    }
    assert list(decoded) == sorted(TREE)


def test_who_writes_to_what_was_sent_is_found_out():
    values = {"generator.w": torch.zeros(2)}
    record = wire.encode_tree(values)
    wire.decode_tree(record)["generator.w"].add_(1)
    with pytest.raises(ProtocolError, match="written to after they had been sent"):
        wire.decode_tree(record)


def test_another_process_has_the_same_bits_in_memory_of_its_own():
    record = wire.encode_tree(TREE)
    decoded = wire.decode_tree(as_bytes(record))
    assert tree.digest(decoded) == tree.digest(wire.decode_tree(record)) == tree.digest(TREE)
    assert list(decoded) == sorted(TREE)
    decoded["generator.w"].zero_()
    assert TREE["generator.w"].abs().sum() > 0


def test_to_flower_an_array_that_holds_a_tree_is_an_array_of_its_bytes():
    held = wire.encode_tree(TREE)["tree"]
    plain = Array(held.dtype, held.shape, held.stype, held.data)
    assert type(as_bytes(held)) is Array
    assert held.object_id == plain.object_id
    assert held.deflate() == plain.deflate()
    assert tree.digest(wire.decode_tree(ArrayRecord({"tree": Array.inflate(held.deflate(), held.children)}))) == (
        tree.digest(TREE)
    )


@pytest.mark.parametrize("values", [TREE, {}, {"g.w": torch.zeros(0, 3), "g.v": torch.zeros(7, dtype=torch.uint8)}])
def test_the_bytes_of_a_message_are_counted_whether_they_were_made_or_not(values):
    engine._identify_process()
    record = wire.encode_tree(values)
    messages = [
        Message(RecordDict({"arrays": arrays, "meta": ConfigRecord({"a": 1})}), 1, "train")
        for arrays in (record, as_bytes(record))
    ]
    assert wire.message_bytes(messages[0]) == wire.message_bytes(messages[1]) == record.count_bytes()


def test_a_reply_to_another_round_is_refused():
    with pytest.raises(ProtocolError, match="answers round 6, this is round 7"):
        wire.decode_reply(wire.encode_reply(Reply(0, 1, TREE), 6), 7)


def test_another_protocol_is_refused(monkeypatch):
    content = wire.encode_query(label_counts=True)
    monkeypatch.setattr(wire, "PROTOCOL", 99)
    with pytest.raises(ProtocolError, match="speaks protocol 3, this side 99"):
        wire.decode_roll_call(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"meta": None}, "no ConfigRecord 'meta'"),
        ({"arrays": None}, "no ArrayRecord 'arrays'"),
        ({"metrics": None}, "no MetricRecord 'metrics'"),
        ({"arrays": MetricRecord({"a": 1})}, "no ArrayRecord 'arrays'"),
        (
            {"meta": ConfigRecord({"protocol": 3, "round": 7, "partition": 0, "num-examples": 2.5})},
            "num-examples is 2.5",
        ),
        (
            {"meta": ConfigRecord({"protocol": 3, "round": 7, "partition": 0, "num-examples": True})},
            "num-examples is True",
        ),
        ({"meta": ConfigRecord({"protocol": 3, "round": 7, "num-examples": 2})}, "partition is None"),
        ({"metrics": MetricRecord({"d-real": float("nan")})}, "d-real in metrics is nan, not a finite number"),
        ({"metrics": MetricRecord({"d-real": [1.0, 2.0]})}, r"d-real in metrics is \[1.0, 2.0\], not a finite number"),
        ({"metrics": MetricRecord({str(k): k for k in range(65)})}, "65 metrics, or odd names"),
    ],
)
def test_a_malformed_reply_is_refused_by_name(change, words):
    content = wire.encode_reply(Reply(0, 1, TREE), 7)
    for name, record in change.items():
        del content[name]
        if record is not None:
            content[name] = record
    with pytest.raises(ProtocolError, match=words):
        wire.decode_reply(content, 7)


def damaged(change):
    array = wire.encode_tree(TREE)["tree"]
    data = change(bytearray(array.data))
    return ArrayRecord({"tree": Array("uint8", (len(data),), array.stype, bytes(data))})


@pytest.mark.parametrize(
    "record",
    [
        damaged(lambda data: data[:-1]),
        damaged(lambda data: b"junk"),
        damaged(lambda data: b""),
        damaged(lambda data: data + b"more"),
        damaged(lambda data: data.replace(b"F32", b"F64")),
        damaged(lambda data: b"\xff" * 8 + data[8:]),
        damaged(lambda data: safetensors.torch.save({"generator.w": torch.zeros(2, dtype=torch.float16)})),
        ArrayRecord(),
        ArrayRecord({"tree": Array("uint8", (4,), "numpy.ndarray", b"abcd")}),
        ArrayRecord({**wire.encode_tree(TREE), "more": Array("uint8", (0,), "safetensors", b"")}),
    ],
)
def test_bytes_that_are_no_tree_are_refused(record):
    with pytest.raises(ProtocolError, match="cannot be read"):
        wire.decode_tree(record)


def test_tensors_that_share_memory_travel():
    one = torch.arange(6.0)
    decoded = wire.decode_tree(as_bytes(wire.encode_tree({"g.w": one, "g.v": one, "g.part": one[2:4]})))
    assert [decoded[key].tolist() for key in ("g.v", "g.part")] == [one.tolist(), [2.0, 3.0]]


@pytest.mark.parametrize("value", [torch.zeros(0, 3), torch.tensor(2.5), torch.arange(6).view(2, 3).T])
def test_empty_scalar_and_strided_tensors_travel(value):
    decoded = wire.decode_tree(as_bytes(wire.encode_tree({"g.w": value})))["g.w"]
    assert decoded.dtype == value.dtype
    assert torch.equal(decoded, value)


def test_a_type_that_does_not_travel_is_refused_by_name():
    with pytest.raises(TypeError, match=r"g\.w is float16"):
        wire.encode_tree({"g.w": torch.zeros(2, dtype=torch.float16)})


def test_the_fingerprint_is_of_the_source(monkeypatch, tmp_path):
    for package in ("client", "common"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(wire, "__file__", str(tmp_path / "common" / "wire.py"))
    one = wire.source_fingerprint.__wrapped__()
    (tmp_path / "common" / "a.pyc").write_text("ignored")
    assert wire.source_fingerprint.__wrapped__() == one
    (tmp_path / "client" / "a.py").write_text("x = 2\n")
    assert wire.source_fingerprint.__wrapped__() != one
