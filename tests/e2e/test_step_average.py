"""Whole runs whose server keeps its moving average over clients' steps."""

import pickle
from dataclasses import replace

import pytest
import torch

from common import tree, wire
from server import checkpoint
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports")

STEPS = {"algorithm": "fedavg ema-steps=true"}


def run(config, **options):
    simulate(config, **options)
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def state_of(directory):
    return checkpoint.latest(directory.checkpoints).snapshot.state


def digests(directory):
    state = state_of(directory)
    return tree.digest(state.parameters), tree.digest(state.average)


def test_it_changes_the_average_alone_and_uploads_grow_by_what_is_published(small):
    plain, steps = run(small("plain")), run(small("steps", **STEPS))
    (weights, average), (same, other) = digests(plain), digests(steps)
    assert weights == same
    assert average != other
    generator = sum(value.numel() * 4 for value in state_of(plain).average.values())
    for line, more in zip(*(journal.read(each.journal) for each in (plain, steps)), strict=True):
        assert more["bytes-down"] == line["bytes-down"]
        grown = more["bytes-up"] - line["bytes-up"]
        assert 4 * generator <= grown < 4 * (generator + 2000)  # 4 clients; names of the entries
        assert [client["drift"] for client in more["clients"]] == [client["drift"] for client in line["clients"]]


def test_what_is_compressed_is_the_average_too(small):
    model = {"model": "mlp width=64 latent-size=64", "federation.num-rounds": 1}
    whole, less = (run(small(k[:4] or "whole", **STEPS, **model, transforms=k)) for k in ("", "compress to=int8"))
    sizes = [journal.read(directory.journal)[0]["bytes-up"] for directory in (whole, less)]
    assert 0.25 <= sizes[1] / sizes[0] < 0.28
    for key, value in state_of(whole).average.items():
        torch.testing.assert_close(state_of(less).average[key], value, rtol=1e-3, atol=1e-3)
    assert digests(whole) != digests(less)


@pytest.mark.parametrize("transforms", ["", "compress to=int8", "clip norm=0.5 | noise multiplier=0.1"])
def test_workers_and_bytes_on_the_way_change_no_bit(small, monkeypatch, transforms):
    settings = STEPS | {"transforms": transforms}
    by_reference = digests(run(small("reference", **settings)))
    assert digests(run(small("workers", **settings), num_workers=4)) == by_reference
    encode = wire.encode_tree
    for module in (wire, wire.training):
        monkeypatch.setattr(module, "encode_tree", lambda held: pickle.loads(pickle.dumps(encode(held))))
    assert digests(run(small("bytes", **settings))) == by_reference


def test_a_cohort_trained_together_has_the_average_of_the_loop_up_to_rounding(small):
    settings = STEPS | {"federation.num-rounds": 1, "optimiser": "sgd"}
    loop, together = (state_of(run(small(engine, **settings), engine=engine)) for engine in ("threads", "batched"))
    for key, value in loop.average.items():
        torch.testing.assert_close(together.average[key], value, rtol=1e-4, atol=1e-6)


def test_a_client_that_sends_no_average_is_left_out_by_name(small, monkeypatch):
    from client import app

    encode = app.wire.encode_reply

    def without(reply, round, memory_round=0):
        if reply.partition == 2:
            weights = {key: value for key, value in reply.arrays.items() if not key.startswith("average.")}
            reply = replace(reply, arrays=weights)
        return encode(reply, round, memory_round)

    monkeypatch.setattr(app.wire, "encode_reply", without)
    (first, *_) = journal.read(run(small("one", **STEPS, federation__num_rounds=1)).journal)
    (refused,) = first["refused"]
    assert refused["partition"] == 2
    assert "arrays missing: ['average.generator." in refused["reason"]
