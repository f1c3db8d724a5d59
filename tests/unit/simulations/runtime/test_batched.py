import json
import threading

import pytest
import torch
from flwr.app import Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from safetensors.torch import load_file

from client.batched import group as training
from client.data import load
from common.algorithms import ALGORITHMS
from common.config import RunConfig
from common.errors import ConfigError
from server.checkpoint import list_checkpoints
from server.records import journal, run_directory
from simulations.runtime import batched
from simulations.runtime.batched import CohortBarriers, open_barriers
from simulations.runtime.engine_trial import SEATS_ON_CPU, Comparison, clients_that_fit, compare
from simulations.runtime.in_process import simulate
from simulations.runtime.in_process_grid import InProcessGrid

QUICK = ("fedavg", "fedprox", "scaffold", "md-gan")  # nothing, a loss, a gradient hook, and fakes of the server's
SPECS = [
    pytest.param(spec, marks=() if spec in QUICK else pytest.mark.slow)
    for spec in (*(name for name, kind in ALGORITHMS.items() if kind.fitting == "steps"), "fedavg sync=discriminator")
]
CPU = torch.device("cpu")


@pytest.fixture
def barriers():
    made = []

    def make(num_barriers=2, num_rows=3, devices=()):
        made.append(CohortBarriers(num_barriers, num_rows, devices))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def seated(monkeypatch):
    """Returns a list that takes the number of clients of every fit that was batched."""
    nums, run = [], training.BatchedFit.run

    def counting(fit):
        nums.append(len(fit._members))
        return run(fit)

    monkeypatch.setattr(training.BatchedFit, "run", counting)
    return nums


def summary_of(config):
    return json.loads(run_directory.resolve(config.output.dir).summary.read_text())


def kept_by(config):
    """Returns all that server and clients hold after a run."""
    return load_file(list_checkpoints(run_directory.resolve(config.output.dir).checkpoints)[-1])


def test_results_come_in_the_order_of_the_items_however_they_are_seated(barriers):
    one = barriers()
    assert one.map(lambda item: 10 * item, list(range(8))) == [10 * item for item in range(8)]
    assert one.map(lambda item: item, list("abcde"), ["x", "y", "x", None, "x"]) == list("abcde")


def test_clients_of_one_barrier_have_a_thread_each_and_are_at_most_its_rows(barriers):
    one = barriers(num_barriers=1, num_rows=3)
    threads = one.map(lambda _: threading.get_ident(), [0] * 6)
    assert threads[:3] == threads[3:]
    assert len(set(threads)) == 3


def test_items_of_other_groups_sit_elsewhere(barriers):
    present, most, lock = {}, [], threading.Lock()

    def call(group):
        with lock:
            present[group] = present.get(group, 0) + 1
            most.append([name for name, num in present.items() if num])
        with lock:
            present[group] -= 1

    groups = ["a", "b", "a", "b"]
    barriers(num_barriers=1).map(call, groups, groups)
    assert all(len(names) == 1 for names in most)


def test_each_device_keeps_its_worker_from_round_to_round(barriers):
    """Devices are names here: no hardware is needed to see which barrier's threads serve whom."""
    devices = ["cuda:0", "cuda:1"] * 4
    one = barriers(1, 2, devices)
    served = {}
    for shift in (0, 1, 1):  # whichever comes first
        order = devices[shift:] + devices[:shift]
        for device, thread in zip(order, one.map(lambda _: threading.get_ident(), order, order), strict=True):
            served.setdefault(device, set()).add(thread)
    assert [len(served[device]) for device in ("cuda:0", "cuda:1")] == [2, 2]
    assert not served["cuda:0"] & served["cuda:1"]


def test_one_device_does_not_wait_for_another_that_has_more_to_do(barriers):
    devices = ["cuda:0"] * 4 + ["cuda:1"]
    meet = threading.Barrier(2)  # of the first client of the one, and the only client of the other
    one = barriers(1, 1, devices)
    assert one.map(lambda k: meet.wait(timeout=10) >= 0 if k in (0, 4) else True, range(5), devices) == [True] * 5


@pytest.mark.parametrize(("num", "names"), [(0, ()), (1, ()), (3, ("cuda:0", "cuda:1", "cuda:2"))])
def test_clients_are_dealt_to_all_gpus_where_there_are_several(monkeypatch, num, names):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num)
    assert batched.devices_here() == names


def test_several_gpus_have_a_barrier_each_however_few_clients_there_are(monkeypatch):
    monkeypatch.setattr(batched, "clients_that_fit", lambda *place: 64)
    found = open_barriers(RunConfig(), "batched", 8, devices=["cuda:0", "cuda:1"])
    assert list(found._places) == ["cuda:0", "cuda:1"]
    found.close()


@pytest.mark.usefixtures("no_reports")
@pytest.mark.parametrize("spec", SPECS)
def test_every_algorithm_ends_with_the_loops_weights_when_its_clients_are_trained_together(small, seated, spec):
    # Six small steps in float32: what rounding makes of them, far below what they move.
    one, other = (
        small(name, algorithm=spec, federation__fraction=0.75, local__moments="keep", optimiser="adam beta1=0.5")
        for name in ("loop", "batch")
    )
    simulate(one, num_workers=1)
    assert not seated
    simulate(other, num_workers=1, engine="batched")
    assert seated == [3, 3, 3]
    expected, found = kept_by(one), kept_by(other)
    assert expected.keys() == found.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=2e-4)
    ours, theirs = (run_directory.resolve(config.output.dir) for config in (one, other))
    assert [round["refused"] for round in journal.read(theirs.journal)] == [[], [], []]
    reported = {"event": "engine", "round": 0, "reason": "batched: up to 3 clients are trained together"}
    of_engines = [[e for e in journal.events(run.journal) if e["event"] != "not-scored"] for run in (ours, theirs)]
    assert of_engines == [[], [reported]]


@pytest.mark.usefixtures("no_reports")
def test_the_number_of_workers_changes_no_bit_of_what_is_trained_together(small, monkeypatch, seated):
    monkeypatch.setattr(batched, "clients_that_fit", lambda *place: 2)
    digests = set()
    for workers in (1, 3):
        config = small(f"workers-{workers}", model="dcgan width=4 latent-size=8", federation__num_clients=5)
        simulate(config, num_workers=workers, engine="batched")
        digests.add(summary_of(config)["weights-sha256"])
    assert sorted(seated) == [2] * 12  # two barriers of two, and one client by itself
    assert len(digests) == 1


def test_a_client_that_fails_keeps_nobody_waiting():
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["partition-id"] == 1:
            raise ValueError("broken")
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, {}, 3, 1, barriers=CohortBarriers(1, 3))
    try:
        messages = [Message(RecordDict(), node, MessageType.TRAIN) for node in grid.get_node_ids()]
        assert [reply.has_error() for reply in grid.send_and_receive(messages)] == [False, True, False]
    finally:
        grid.close()


@pytest.mark.usefixtures("no_reports")
def test_a_client_that_fails_before_it_trains_does_not_stop_the_round(small, monkeypatch):
    from client import app as client_app

    memories = client_app._memories

    def failing(context, site, task):
        if site.partition_id == 2:
            raise ValueError("no memory")
        return memories(context, site, task)

    monkeypatch.setattr(client_app, "_memories", failing)
    config = small(federation__num_rounds=1)
    simulate(config, num_workers=1, engine="batched")
    (entry,) = journal.read(run_directory.resolve(config.output.dir).journal)
    assert len(entry["clients"]) == 3


def test_an_unknown_engine_is_refused_with_those_there_are(small):
    with pytest.raises(ConfigError, match=r"'batch'.*batched"):
        simulate(small(), engine="batch")


@pytest.mark.parametrize(("ratio", "opened"), [(0.9, False), (1.5, True)])
def test_auto_takes_the_faster_of_the_two(monkeypatch, ratio, opened):
    monkeypatch.setattr(batched, "compare", lambda *place, **sizes: Comparison(1.0, 1.0 / ratio, (ratio,)))
    found = open_barriers(RunConfig(), "auto", 1)
    assert (found is not None) == opened
    if found:
        found.close()


@pytest.mark.usefixtures("no_reports")
def test_threads_and_no_trial_are_the_default(small, monkeypatch):
    opened = []
    monkeypatch.setattr(batched, "open_barriers", lambda *place: opened.append(place))
    simulate(small(federation__num_rounds=1), num_workers=1)
    assert opened == []


def test_a_trial_trains_each_way_as_often_as_it_says(seated):
    config = RunConfig(model="mlp width=8")
    found = compare(config, load(config.data), num_clients=5, num_rows=2, steps=1, repeats=2)
    assert seated == [2, 2] * 3  # the last client is by itself
    assert len(found.ratios) == 2
    assert found.loop_seconds > 0
    assert found.batched_seconds > 0


def test_seats_on_the_cpu_do_not_depend_on_the_machine():
    assert clients_that_fit(RunConfig(), load(RunConfig().data), CPU) == SEATS_ON_CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_has_seats_for_several_small_networks():
    assert clients_that_fit(RunConfig(), load(RunConfig().data), torch.device("cuda")) > 1
