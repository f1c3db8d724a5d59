"""Replies that no honest client sends, and odd configurations: refused by name. Rows of docs/reliability.md."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import SMALL, run_on

from client.app import app as honest
from common import wire
from common.config import RunConfig
from common.errors import ConfigError
from common.models.base import ADVERSARIAL
from common.tree import digest, not_finite
from server import checkpoint
from server.clients.resilient_grid import ResilientGrid
from server.records import journal
from server.rounds.base import Snapshot
from server.strategy import FederatedStrategy
from simulations.runtime.in_process_grid import InProcessGrid
from simulations.runtime.settings import read_overrides

pytestmark = pytest.mark.usefixtures("no_reports")

LIAR = 2


def simulate(config, tamper):
    """Runs a federation in which one client's replies go through ``tamper(content, round)`` before they are sent."""
    app = ClientApp()

    @app.query()
    def query(message, context):
        return honest(message, context)

    @app.train()
    def train(message, context):
        reply = honest(message, context)
        if context.node_config["partition-id"] == LIAR:
            content = RecordDict(dict(reply.content))
            tamper(content, message.content["meta"]["round"])
            return Message(content, reply_to=message)
        return reply

    return run_on(InProcessGrid(app, config.flat(), config.federation.num_clients, 1), config)


def with_tree(change):
    """Returns a tampering that sends ``change(tree, key)``, where ``key`` names a matrix of the generator."""

    def tamper(content, round):
        tree = dict(wire.decode_tree(content["arrays"]))
        key = next(name for name in tree if name.startswith("generator") and tree[name].dim() == 2)
        content["arrays"] = wire.encode_tree(change(tree, key))

    return tamper


def with_value(value):
    def change(tree, key):
        tree[key].view(-1)[0] = value
        return tree

    return with_tree(change)


def without_bytes(content, round):
    content["arrays"] = ArrayRecord({"tree": Array("uint8", (0,), "safetensors", b"")})


def with_meta(**changes):
    def tamper(content, round):
        content["meta"] = ConfigRecord(dict(content["meta"]) | {k.replace("_", "-"): v for k, v in changes.items()})

    return tamper


def replayed(content, round, kept={}):  # noqa: B006  what it sent in the first round
    kept.setdefault("content", RecordDict(dict(content)))
    for name in list(content):
        content[name] = kept["content"][name]


ODD = {
    "nan": (with_value(math.nan), "has values that are not finite"),
    "inf": (with_value(math.inf), "has values that are not finite"),
    "minus-inf": (with_value(-math.inf), "has values that are not finite"),
    "other-shape": (
        with_tree(lambda tree, key: tree | {key: tree[key][1:]}),
        r"is torch\.float32\(.*\), not torch\.float32\(",
    ),
    "shape-of-one": (
        with_tree(lambda tree, key: tree | {key: torch.ones(1)}),
        r"is torch\.float32\(1,\), not torch\.float32\(",
    ),
    "missing-key": (
        with_tree(lambda tree, key: {k: v for k, v in tree.items() if k != key}),
        r"arrays missing: \['generator",
    ),
    "extra-key": (
        with_tree(lambda tree, key: tree | {"generator.extra": torch.ones(1)}),
        r"unexpected: \['generator\.extra'\]",
    ),
    "int-for-float": (with_tree(lambda tree, key: tree | {key: tree[key].long()}), r"is torch\.int64\("),
    "no-bytes": (without_bytes, "the arrays cannot be read: "),
    "weight-minus-1": (with_meta(num_examples=-1), "num-examples is -1, the roll call said 40"),
    "weight-0": (with_meta(num_examples=0), "num-examples is 0, the roll call said 40"),
    "weight-1e12": (with_meta(num_examples=10**12), "num-examples is 1000000000000, the roll call said 40"),
    "weight-nan": (with_meta(num_examples=math.nan), "num-examples is nan, not a whole number"),
    "weight-a-fraction": (with_meta(num_examples=39.5), r"num-examples is 39\.5, not a whole number"),
    "another-s-name": (with_meta(partition=0), "the reply says partition 0, its node holds 2"),
    "another-protocol": (with_meta(protocol=1), "the peer speaks protocol 1, this side 7"),
    "no-meta": (lambda content, number: content.pop("meta"), "no ConfigRecord 'meta'"),
    "metrics-nan": (
        lambda content, number: content.update({"metrics": MetricRecord({"examples": math.nan})}),
        "examples in metrics is nan",
    ),
    "metrics-with-lines": (
        lambda content, number: content.update({"metrics": MetricRecord({"a\nfedgan: b": 1.0})}),
        "1 metrics, or odd names",
    ),
    "metrics-nan-with-lines": (
        lambda content, number: content.update({"metrics": MetricRecord({"a\nfedgan: b": math.nan})}),
        "^a fedgan: b in metrics is nan",
    ),
    "examples-negative": (
        lambda content, number: content.update({"metrics": MetricRecord({"examples": -1})}),
        "examples in metrics is -1",
    ),
    "huge": (with_value(1e30), "the norm of its update is 1e"),
    "replay": (replayed, "the reply answers round 1, this is round [23]"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_refused_by_name_and_the_run_goes_on(small, name):
    tamper, words = ODD[name]
    directory = simulate(small(), tamper)
    lines = journal.read(directory.journal)
    assert [line["round"] for line in lines] == [1, 2, 3]
    refusals = lines[1:] if name == "replay" else lines  # what was sent first was true then
    for line in refusals:
        (refused,) = line["refused"]
        assert refused["partition"] == LIAR
        assert re.search(words, refused["reason"]), refused["reason"]
        assert [client["partition"] for client in line["clients"]] == [0, 1, 3]
    assert not_finite(checkpoint.latest(directory.checkpoints).snapshot.state.parameters) is None


def test_a_client_that_keeps_failing_on_anothers_discriminator_gets_its_own_back_and_the_journal_says_so(small):
    def tamper(content, round):
        if round in (2, 3, 4):
            raise ValueError("no")

    config = small(algorithm="md-gan", federation__num_rounds=5)
    lines = journal.read(simulate(config, tamper).journal)
    refusals = [[refused["reason"] for refused in line["refused"]] for line in lines]
    assert refusals[0] == refusals[4] == []
    assert refusals[1] == refusals[2] == ["ValueError: no"]
    (last,) = refusals[3]
    given_up = "the discriminator on its way to it was sent 3 times and is given up: it goes on with its own"
    assert last == f"ValueError: no; {given_up}"


class Judge:
    """What a server makes of a reply of one client in the first round."""

    def __init__(self, config):
        self.grid = ResilientGrid(InProcessGrid(honest, config.flat(), config.federation.num_clients, 1))
        roster = self.grid.roll_call(config)
        networks = config.model_component.build(roster.spec, config.seed)
        initial = Snapshot(config.algorithm_component.init(networks.state_dict(), ADVERSARIAL), run="beef")
        self.template = initial.state.parameters
        self.strategy = FederatedStrategy(config, roster, self.grid, initial)
        arrays = wire.encode_tree(initial.state.parameters)
        sent = list(self.strategy.configure_train(1, arrays, ConfigRecord(), self.grid))
        replies = self.grid.send_and_receive(sent)
        (self.honest,) = [reply for reply in replies if self.grid.partition_of(reply) == LIAR]

    def __call__(self, content):
        """Returns the reply if it is admitted, else the reason why not."""
        strategy = self.strategy
        strategy.record.refused.clear()
        reply = Message(content, dst_node_id=1, message_type=MessageType.TRAIN)
        reply.metadata.__dict__["_reply_to_message_id"] = self.honest.metadata.reply_to_message_id
        admitted, _ = strategy._replies.admitted([reply], strategy.record, strategy.snapshot, strategy._context)
        return admitted[0] if admitted else strategy.record.refused[LIAR]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return Judge(RunConfig.from_flat(SMALL | {"output.dir": str(tmp_path_factory.mktemp("judge"))}))


SCALARS = st.one_of(
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.booleans(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.integers(-9, 9), max_size=4),
    st.lists(st.text(max_size=3), max_size=3),
)
NUMBERS = st.one_of(st.integers(-(2**62), 2**62), st.floats(), st.lists(st.floats(), max_size=3))
SHAPES = st.lists(st.integers(-3, 40), max_size=4).map(tuple)


def mutated_array(data, array):
    what = data.draw(st.sampled_from(["dtype", "shape", "stype", "cut", "flip", "flip in header", "junk"]))
    dtype, shape, stype, content = array.dtype, tuple(array.shape), array.stype, bytearray(array.data)
    if what == "dtype":
        dtype = data.draw(st.sampled_from(["float32", "float64", "int64", "uint8", "float16", "object", ""]))
    elif what == "shape":
        shape = data.draw(SHAPES)
    elif what == "stype":
        stype = data.draw(st.sampled_from(["numpy.ndarray", "raw-little-endian", "", "pickle"]))
    elif what == "cut":
        content = content[: data.draw(st.integers(0, len(content)))]
    elif what == "junk":
        content = bytearray(data.draw(st.binary(max_size=64)))
    elif content:
        end = len(content) if what == "flip" else min(len(content), 1500)
        content[data.draw(st.integers(0, end - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return Array(dtype, shape, stype, bytes(content))


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_mutation_of_a_reply_crashes_the_server_or_gets_through(judge, data):
    content = RecordDict(dict(judge.honest.content))
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(["arrays", "meta", "metrics"]))
        kind, values = {
            "arrays": (ArrayRecord, None),
            "meta": (ConfigRecord, SCALARS),
            "metrics": (MetricRecord, NUMBERS),
        }[name]
        record = dict(content.get(name) or {})
        what = data.draw(st.sampled_from(["change", "drop", "rename", "no record", "another record"]))
        if what == "no record":
            content.pop(name, None)
        elif what == "another record":
            content[name] = data.draw(
                st.sampled_from([MetricRecord({"a": 1}), ConfigRecord({"b": "c"}), ArrayRecord()])
            )
        elif record and isinstance(content[name], kind):
            key = data.draw(st.sampled_from(sorted(record)))
            value = record.pop(key)
            if what == "rename":
                record[data.draw(st.text(max_size=12))] = value
            elif what == "change":
                record[key] = mutated_array(data, value) if values is None else data.draw(values)
            content[name] = kind(record)
    verdict = judge(content)
    if isinstance(verdict, str):
        assert 0 < len(verdict) < 2000
        return
    assert (verdict.partition, verdict.num_examples) == (LIAR, 40)
    assert {k: (v.shape, v.dtype) for k, v in verdict.arrays.items()} == {
        k: (v.shape, v.dtype) for k, v in judge.template.items()
    }
    assert not_finite(verdict.arrays) is None
    assert all(math.isfinite(value) for value in verdict.metrics.values())
    assert content["meta"]["round"] == 1


def test_the_judge_admits_what_an_honest_client_sends(judge):
    verdict = judge(judge.honest.content)
    assert digest(verdict.arrays) == digest(wire.decode_tree(judge.honest.content["arrays"]))


def outcome(call):
    """Returns what a call returns, or the words of the ConfigError that it raises."""
    try:
        return call()
    except ConfigError as error:
        return str(error)


VALID = RunConfig().flat()
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from([str(value) for value in VALID.values() if isinstance(value, str)]).flatmap(
        lambda text: st.tuples(st.integers(0, len(text)), st.text(max_size=4)).map(
            lambda change: text[: change[0]] + change[1] + text[change[0] :]
        )
    ),
)


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(VALID)), st.text(max_size=12)),
        st.one_of(st.integers(), st.floats(), st.booleans(), TEXTS, st.none(), st.lists(st.integers(), max_size=2)),
        min_size=1,
        max_size=3,
    )
)
def test_no_mutation_of_a_configuration_crashes_or_gets_through(changes):
    config = outcome(lambda: RunConfig.from_flat(VALID | changes))
    if isinstance(config, str):
        assert config
        return
    assert set(changes) <= set(VALID)
    assert RunConfig.from_flat(config.flat()) == config  # all that it holds is valid
    assert config.federation.num_clients >= 1
    assert config.local.steps >= 1
    assert 0 < config.federation.fraction <= 1
    assert 0 < config.local.learning_rate < math.inf


@pytest.mark.slow
@settings(max_examples=1000)
@given(st.one_of(st.text(max_size=60), st.tuples(st.sampled_from(sorted(VALID)), TEXTS).map("=".join)))
def test_no_text_after_c_crashes(text):
    assert outcome(lambda: RunConfig.from_flat(read_overrides([text])))
