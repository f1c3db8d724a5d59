"""Every algorithm ends with the same bits when its messages travel as bytes, and when its run is interrupted."""

import json
import sys
from pathlib import Path

import pytest
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto

sys.path.insert(0, str(Path(__file__).parent))
from flower import flower

from common.algorithms import ALGORITHMS
from server.records import journal, run_directory
from simulations.runtime import in_process
from simulations.runtime.in_process import simulate
from simulations.runtime.in_process_grid import InProcessGrid
from tests.rarely import RARELY

pytestmark = pytest.mark.usefixtures("no_reports")

VARIANTS = {"fedavg": ["sync=both", "sync=generator", "sync=discriminator"]}
TRAINING = [name for name, kind in ALGORITHMS.items() if kind.fitting == "steps"]
SPECS = [f"{name} {options}".strip() for name in TRAINING for options in VARIANTS.get(name, [""])]
PARTIAL = {"federation.fraction": 0.75, "local.moments": "keep"}


class GridOfBytes(InProcessGrid):
    """Gives clients and server what a network would: messages that were bytes in between, keys in another order."""

    def _call(self, message):
        reply, state = super()._call(through_bytes(message))
        return through_bytes(reply), state


def through_bytes(message):
    data = message_to_proto(message).SerializeToString(deterministic=True)
    return message_from_proto(MessageProto.FromString(data))


def summary_of(config):
    return json.loads(run_directory.resolve(config.output.dir).summary.read_text())


@pytest.mark.parametrize("spec", SPECS)
def test_messages_that_travel_as_bytes_change_no_bit(small, monkeypatch, spec):
    ours, theirs = (small(name, algorithm=spec, **PARTIAL) for name in ("by-reference", "as-bytes"))
    simulate(ours, num_workers=1)
    monkeypatch.setattr(in_process, "InProcessGrid", GridOfBytes)
    simulate(theirs, num_workers=2)
    assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"]
    assert summary_of(theirs)["generator-sha256"] == summary_of(ours)["generator-sha256"]
    assert journal.read(run_directory.resolve(ours.output.dir).journal)[0]["refused"] == []


@pytest.mark.parametrize("promise", ["example epsilon=10", "client epsilon=8 most-noise=1e6"])
def test_private_messages_that_travel_as_bytes_change_no_bit(small, monkeypatch, promise):
    changes = {"privacy": promise, "federation__num_clients": 6, "federation__fraction": 0.95}
    ours, theirs = (small(name, **changes) for name in ("by-reference", "as-bytes"))
    simulate(ours, num_workers=1)
    monkeypatch.setattr(in_process, "InProcessGrid", GridOfBytes)
    simulate(theirs, num_workers=2)
    assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"]
    assert summary_of(theirs)["privacy"] == summary_of(ours)["privacy"]


@pytest.mark.parametrize("spec", SPECS)
def test_a_resumed_run_ends_with_the_same_bits(small, spec):
    whole, halved = (small(name, algorithm=spec, **PARTIAL, federation__num_rounds=4) for name in ("whole", "halved"))
    simulate(whole, num_workers=1)
    interrupted = {"count": 0}

    def on_reply(partition):
        interrupted["count"] += 1
        if interrupted["count"] == 8:  # in the third round of three clients
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(halved, num_workers=1, on_reply=on_reply)
    assert len(journal.read(run_directory.resolve(halved.output.dir).journal)) == 2
    simulate(halved.replaced({"output.resume": True}), num_workers=1)
    assert summary_of(halved)["weights-sha256"] == summary_of(whole)["weights-sha256"]
    assert summary_of(halved)["generator-sha256"] == summary_of(whole)["generator-sha256"]


@pytest.mark.slow
@RARELY
def test_flower_on_ray_ends_with_the_same_bits(small, tmp_path):
    with flower(tmp_path / "home") as flwr:
        for spec in SPECS:
            name = spec.replace(" ", "-")
            ours, theirs = (small(f"{name}-{where}", algorithm=spec, **PARTIAL) for where in ("ours", "theirs"))
            simulate(ours)
            file = tmp_path / f"{name}.toml"
            file.write_text(theirs.toml())
            run_id = flwr.submit(file, "num-supernodes=4 client-resources-num-cpus=1")
            assert flwr.wait(run_id) == "finished:completed", flwr.log(run_id)
            assert summary_of(theirs)["weights-sha256"] == summary_of(ours)["weights-sha256"], spec
