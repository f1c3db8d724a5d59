from dataclasses import replace

import pytest
import torch
from flwr.app import ConfigRecord, MetricRecord

from common import tree, wire
from common.algorithms import Payload, Reply
from common.errors import ProtocolError
from common.examples import ImageSpec, TextSpec

TEXT = TextSpec(9, 4, "\n !az\N{GREEK SMALL LETTER ALPHA}", 2)
TREE = {"generator.w": torch.randn(3, 2), "discriminator.n": torch.tensor(5)}


def test_roll_call_reads_back():
    for counts, spec in (((0, 15, 25), ImageSpec(3, 32, 3)), (None, TEXT)):
        answer = wire.RollCall(3, 10, 40, counts, spec, ("a", "b", "c"), "d1", "f1")
        assert wire.decode_roll_call(wire.encode_roll_call(answer)) == answer


@pytest.mark.parametrize("requested", [True, False])
def test_the_roll_call_says_whether_it_needs_label_counts(requested):
    assert wire.decode_roll_call_request(wire.encode_roll_call_request(label_counts=requested)) is requested
    with pytest.raises(ProtocolError, match="label-counts is None, not true or false"):
        wire.decode_roll_call_request(wire.encode_question("x"))


def test_questions_and_answers_read_back():
    question = wire.encode_question("held-out-loss", wire.encode_tree(TREE), TEXT)
    name, arrays, spec = wire.decode_question(question)
    assert (name, tree.digest(arrays), spec) == ("held-out-loss", tree.digest(TREE), TEXT)
    assert wire.decode_question(wire.encode_question("moments")) == ("moments", {}, None)
    with pytest.raises(ProtocolError, match="query is None, not the name of one"):
        wire.decode_question(wire.encode_roll_call_request(label_counts=True))
    answer = wire.decode_answer(wire.encode_answer(wire.Answer(3, TREE)))
    assert (answer.partition, answer.refusal, tree.digest(answer.arrays)) == (3, "", tree.digest(TREE))
    refusal = wire.Answer(3, refusal="disclose-moments=false")
    assert wire.decode_answer(wire.encode_answer(refusal)) == refusal


def test_task_and_reply_read_back_to_the_bit():
    task = wire.Task(Payload(TREE, {"mu": 0.1}), 7, run="beef", memory_round=5, keep_from=4, rollbacks=2)
    decoded = wire.decode_task(wire.encode_task(task, wire.encode_tree(TREE)))
    assert tree.digest(decoded.payload.arrays) == tree.digest(TREE)
    assert replace(decoded, payload=task.payload) == task
    shared = replace(task, spec=TEXT)
    assert wire.decode_task(wire.encode_task(shared, wire.encode_tree(TREE))).spec == TEXT
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


def test_a_reply_to_another_round_is_refused():
    with pytest.raises(ProtocolError, match="answers round 6, this is round 7"):
        wire.decode_reply(wire.encode_reply(Reply(0, 1, TREE), 6), 7)


def test_another_protocol_is_refused(monkeypatch):
    content = wire.encode_roll_call_request(label_counts=True)
    monkeypatch.setattr(wire.fields, "PROTOCOL", 99)
    with pytest.raises(ProtocolError, match="speaks protocol 7, this side 99"):
        wire.decode_roll_call(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"meta": None}, "no ConfigRecord 'meta'"),
        ({"arrays": None}, "no ArrayRecord 'arrays'"),
        ({"metrics": None}, "no MetricRecord 'metrics'"),
        ({"arrays": MetricRecord({"a": 1})}, "no ArrayRecord 'arrays'"),
        (
            {"meta": ConfigRecord({"protocol": wire.PROTOCOL, "round": 7, "partition": 0, "num-examples": 2.5})},
            "num-examples is 2.5",
        ),
        (
            {"meta": ConfigRecord({"protocol": wire.PROTOCOL, "round": 7, "partition": 0, "num-examples": True})},
            "num-examples is True",
        ),
        ({"meta": ConfigRecord({"protocol": wire.PROTOCOL, "round": 7, "num-examples": 2})}, "partition is None"),
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


def test_the_fingerprint_is_of_the_source(monkeypatch, tmp_path):
    for package in ("client", "common"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(wire.code_fingerprint, "__file__", str(tmp_path / "common" / "wire" / "code_fingerprint.py"))
    one = wire.source_fingerprint.__wrapped__()
    (tmp_path / "common" / "a.pyc").write_text("ignored")
    assert wire.source_fingerprint.__wrapped__() == one
    (tmp_path / "client" / "a.py").write_text("x = 2\n")
    assert wire.source_fingerprint.__wrapped__() != one
