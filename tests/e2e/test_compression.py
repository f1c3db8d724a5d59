"""Whole runs whose clients send updates in float16 or int8."""

import itertools
import pickle
import re

import pytest
import torch
from flwr.app import ConfigRecord

from client import app
from common import tree, wire
from common.errors import FederationError
from common.transforms.compress import Compress
from server import checkpoint
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports")

KINDS = ("float16", "int8")
SHARE = {"none": 1.0, "float16": 0.5, "int8": 0.25}
COMPRESSED = {"transforms": "compress to=int8"}


def compress(kind):
    """Returns the transforms of a kind, of a key of ``SHARE``."""
    return "" if kind == "none" else f"compress to={kind}"


def run(config, **options):
    simulate(config, **options)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def snapshot_of(directory):
    return checkpoint.latest(directory.checkpoints).snapshot


def weights(directory):
    return tree.digest(snapshot_of(directory).state.parameters)


def kept(directory):
    """Returns digests of all that clients keep, by partition and name."""
    return {
        k: {name: tree.digest(one) for name, one in memory.items()}
        for k, memory in snapshot_of(directory).clients.items()
    }


def refusals(directory):
    return [[(one["partition"], one["reason"]) for one in line["refused"]] for line in journal.read(directory.journal)]


@pytest.fixture
def replies(monkeypatch):
    """Lets a test change what clients send: ``replies(change)``, ``change(content, partition, round)`` in place."""
    encode = app.wire.encode_reply

    def changed_by(change):
        def changed(reply, round, memory_round=0):
            content = encode(reply, round, memory_round)
            change(content, reply.partition, round)
            return content

        monkeypatch.setattr(app.wire, "encode_reply", changed)

    return changed_by


def test_the_journal_has_the_bytes_that_were_sent(small):
    lines = {
        kind: journal.read(run(small(kind, model="mlp width=64 latent-size=64", transforms=compress(kind))).journal)[0]
        for kind in SHARE
    }
    whole = lines["none"]["bytes-up"]
    for kind, line in lines.items():
        assert line["bytes-down"] == whole
        assert SHARE[kind] <= line["bytes-up"] / whole < SHARE[kind] + 0.03
        assert all(client["drift"] > 0 for client in line["clients"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_workers_changes_no_bit_but_compression_does(small, kind):
    plain = weights(run(small("plain")))
    runs = [run(small(f"w{num}", transforms=compress(kind)), num_workers=num) for num in (1, 4)]
    assert weights(runs[0]) == weights(runs[1]) != plain
    assert kept(runs[0]) == kept(runs[1])
    assert all(set(memory) == {"unsent"} for memory in kept(runs[0]).values())


@pytest.mark.parametrize("kind", KINDS)
def test_updates_that_were_bytes_on_the_way_end_with_the_same_bits(small, monkeypatch, kind):
    by_reference = weights(run(small("reference", transforms=compress(kind))))
    encode = wire.encode_tree
    for module in (wire, wire.training):
        monkeypatch.setattr(module, "encode_tree", lambda held: pickle.loads(pickle.dumps(encode(held))))
    assert weights(run(small("bytes", transforms=compress(kind)))) == by_reference


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "fedavg sync=generator", "federation.fraction": 0.5},
        {"algorithm": "scaffold", "local.moments": "keep"},
        {"algorithm": "md-gan"},
        {"algorithm": "effgan finetune=0.7"},
        {"algorithm": "fedavg sync=generator ema-steps=true", "federation.fraction": 0.5},
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(small, changes):
    settings = COMPRESSED | changes
    through = run(small("through", **settings))
    cut = small("parts", output__checkpoint_every=1, **settings)
    done = []

    def interrupt(partition):
        done.append(partition)
        if len(done) == cut.federation.cohort_size + 1:  # in round 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(cut, on_reply=interrupt)
    parts = run(small("parts", output__resume=True, **settings))
    assert weights(parts) == weights(through)
    assert kept(parts) == kept(through)
    assert refusals(parts) == refusals(through) == [[], [], []]


def test_a_round_that_is_repeated_ends_with_the_same_bits(small, replies, happened):
    through = run(small("through", **COMPRESSED))
    lost = set()

    def lose(content, partition, round):
        if round == 2 and partition and partition not in lost:
            lost.add(partition)
            raise OSError("the line is dead")

    replies(lose)
    repeated = run(small("repeated", **COMPRESSED))
    assert [event["event"] for event in happened(repeated)] == ["round-repeated"]
    assert weights(repeated) == weights(through)
    assert kept(repeated) == kept(through)


def test_an_error_goes_with_the_update_that_it_is_of(small, replies):
    """A refused client trains on from what it left unsent when it was heard last."""
    given = []
    encode = Compress.encode

    def watched(self, arrays, received, unsent):
        sent, left = encode(self, arrays, received, unsent)
        given.append((tree.digest(unsent), tree.digest(left)))
        return sent, left

    def wild(content, partition, round):
        if (partition, round) == (1, 2):
            sent = dict(wire.decode_tree(content["arrays"]))
            content["arrays"] = wire.encode_tree(sent | {"wire.scales": sent["wire.scales"] * 1e6})

    replies(wild)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compress, "encode", watched)
        directory = run(small(**COMPRESSED), num_workers=1)
    ((partition, reason),) = refusals(directory)[1]
    assert partition == 1
    assert "the norm of its update is" in reason
    (_, after_first), (_, after_refused), (before_last, _) = given[1::4]
    assert before_last == after_first != after_refused
    heard = given[0::4]
    assert heard[2][0] == heard[1][1]


ODD = {
    "scale-nan": (
        lambda sent: sent | {"wire.scales": sent["wire.scales"] * torch.nan},
        "has values that are not finite",
    ),
    "scales-missing": (
        lambda sent: {key: value for key, value in sent.items() if key != "wire.scales"},
        r"is torch\.int8\(.*\), not torch\.float32\(",
    ),
    "scales-too-few": (lambda sent: sent | {"wire.scales": sent["wire.scales"][1:]}, r"wire\.scales is .*rows"),
    "other-shape": (
        lambda sent: sent | {"discriminator.logit.weight": torch.ones(2, 2, dtype=torch.int8)},
        r"discriminator\.logit\.weight is torch\.int8\(2, 2\), no update of what was sent",
    ),
    "extra-key": (lambda sent: sent | {"more": torch.ones(1)}, r"unexpected: \['more'\]"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_refused_by_name(small, replies, name):
    change, words = ODD[name]

    def tamper(content, partition, round):
        if partition == 2:
            content["arrays"] = wire.encode_tree(change(dict(wire.decode_tree(content["arrays"]))))

    replies(tamper)
    directory = run(small(federation__num_rounds=1, **COMPRESSED))
    (((partition, reason),),) = refusals(directory)
    assert partition == 2
    assert re.search(words, reason), reason


def test_a_client_of_an_older_protocol_is_refused_by_it(small, replies):
    def older(content, partition, round):
        content["meta"] = ConfigRecord(dict(content["meta"]) | {"protocol": 3})

    replies(older)
    words = "the peer speaks protocol 3, this side 7: run the same fedgan on both"
    with pytest.raises(FederationError, match=words):
        run(small(federation__round_retries=0, **COMPRESSED))


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_a_client_that_diverges_is_refused_for_that(small, monkeypatch, kind):
    fit = app.Trainer.fit

    def poisoned(self, **options):
        metrics = fit(self, **options)
        if (self._assignment.partition, self._assignment.round) == (1, 2):
            self._networks["discriminator"].get_parameter("logit.weight").data.fill_(float("nan"))
        return metrics

    monkeypatch.setattr(app.Trainer, "fit", poisoned)
    directory = run(small(transforms=compress(kind)))
    ((partition, reason),) = refusals(directory)[1]
    assert partition == 1
    assert "discriminator.logit.weight is no longer finite after round 2 on partition 1" in reason
    assert refusals(directory)[2] == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_too_large_for_its_type_is_refused_and_not_kept(small, monkeypatch, kind):
    encode, calls = Compress.encode, itertools.count()

    def far(self, arrays, received, unsent):
        if next(calls) == 5:  # of the second client in the second round
            largest = torch.full((2, 2), torch.finfo(torch.float32).max)
            arrays, received = {"far.off": largest}, {"far.off": -largest}
        return encode(self, arrays, received, unsent)

    monkeypatch.setattr(Compress, "encode", far)
    directory = run(small(transforms=compress(kind)), num_workers=1)
    ((partition, reason),) = refusals(directory)[1]
    assert partition == 1
    assert "far.off is no longer finite after round 2 on partition 1" in reason


def test_clients_that_lost_only_what_they_left_unsent_are_not_left_out(small, monkeypatch, happened):
    load = app.state.ContextMemories.load

    class Forgetful(app.state.ContextMemories):
        def load(self, round):
            return None if round == 1 else load(self, round)

    through = weights(run(small("through", **COMPRESSED)))
    monkeypatch.setattr(app.state, "ContextMemories", Forgetful)
    directory = run(small("forgetful", **COMPRESSED))
    assert refusals(directory) == [[], [], []]
    assert not list(happened(directory))
    assert weights(directory) != through


def test_clients_trained_together_send_updates_like_those_trained_alone(small):
    settings = COMPRESSED | {"optimiser": "adam beta1=0.5", "local.moments": "keep"}
    alone, together = (
        snapshot_of(run(small(name, **settings), num_workers=1, engine=name)) for name in ("threads", "batched")
    )
    for key, value in alone.state.parameters.items():
        torch.testing.assert_close(together.state.parameters[key], value, rtol=1e-3, atol=2e-4)
    assert together.clients.keys() == alone.clients.keys()
    workers = [run(small(f"w{num}", **settings), num_workers=num, engine="batched") for num in (1, 3)]
    assert weights(workers[0]) == weights(workers[1])
