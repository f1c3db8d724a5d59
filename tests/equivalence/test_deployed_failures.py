"""What may die in a deployed federation, and how the run ends: rows of the table in docs/reliability.md."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hosts import CONNECTION, deployment

from server.records import journal, run_directory
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.slow

NUM_CLIENTS = 3
OPERATOR = NUM_CLIENTS  # a host without a SuperNode, from which runs are submitted
SETTINGS = {
    "model": "dcgan width=4 latent-size=8",
    "federation.num-clients": NUM_CLIENTS,
    "local.moments": "keep",
    "federation.num-rounds": 3,
    "federation.wait-seconds": 300.0,
}


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
    """Gives a federation of three connected sites that keep their memory on disk."""
    with deployment(tmp_path_factory.mktemp("failing") / "fed", NUM_CLIENTS + 1) as made:
        made.start_superlink()
        for k in range(NUM_CLIENTS):
            made.start_supernode(k, num_partitions=NUM_CLIENTS, state_path=str(made.sites[k].path / "state"))
        yield made


class Submission:
    """`fedgan submit` on the operator's host."""

    def __init__(self, fed, config, *options):
        self.run = run_directory.resolve(config.output.dir)
        self._operator = fed.sites[OPERATOR]
        self._log = f"submit-{self.run.path.name}.log"
        file = self._operator.path / f"{self.run.path.name}.toml"
        file.write_text(config.toml())
        self._operator.spawn(self._log, "fedgan", "submit", CONNECTION, "-c", file, *options)

    def output(self):
        return self._operator.output(self._log)

    def exit_code(self, seconds=600):
        return self._operator.exit_code(self._log, seconds)

    def await_round(self, number, seconds=300):
        """Waits until a round is done."""
        deadline = time.monotonic() + seconds
        while len(journal.read(self.run.journal)) < number:
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def refused(self):
        return [
            {refused["partition"]: refused["reason"] for refused in line["refused"]}
            for line in journal.read(self.run.journal)
        ]


def digest(run):
    return json.loads(run.summary.read_text())["weights-sha256"]


def await_clientapp(fed, k, seconds=120):
    """Waits until a site has begun to train in the next round."""
    before = set(fed.sites[k].processes("flwr-clientapp"))  # that of the round that is done may not have ended yet
    deadline = time.monotonic() + seconds
    while not set(fed.sites[k].processes("flwr-clientapp")) - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_site_a_server_and_then_everything_that_dies_and_comes_back_change_no_bit(fed, small, happened):
    changes = SETTINGS | {"federation.num-rounds": 4}
    undisturbed = small("undisturbed", **changes)
    simulate(undisturbed)
    submission = Submission(fed, small("disturbed", **changes, federation__round_seconds=240.0), "--retries", "3")
    submission.await_round(1)
    await_clientapp(fed, 1)
    fed.restart_supernode(1)
    submission.await_round(2)
    await_clientapp(fed, 0)
    assert fed.kill_serverapp()
    submission.await_round(3)
    await_clientapp(fed, 0)
    for k in range(NUM_CLIENTS):
        fed.kill_supernode(k)
    fed.restart_superlink()
    for k in range(NUM_CLIENTS):
        fed.revive_supernode(k)
    assert submission.exit_code() == 0, submission.output()
    assert submission.refused() == [{}, {}, {}, {}]
    assert "site-1 (partition 1) is away; waiting up to" in submission.output()
    assert [event["event"] for event in happened(submission.run)] == ["resumed", "resumed"]
    assert digest(submission.run) == digest(run_directory.resolve(undisturbed.output.dir))


def test_a_site_that_hangs_and_one_that_is_gone_are_left_out_by_name(fed, small):
    changes = SETTINGS | {"federation.num-rounds": 4, "federation.min-replies": 1}
    submission = Submission(fed, small("late", **changes, federation__round_seconds=40.0))
    submission.await_round(1)
    await_clientapp(fed, 0)
    assert fed.sites[0].kill(sig=signal.SIGSTOP)  # all of it: of a ClientApp alone Flower runs another after 30 s
    fed.kill_supernode(2)
    submission.await_round(2)
    fed.sites[0].kill(sig=signal.SIGCONT)
    assert submission.exit_code() == 0, submission.output()
    refused = submission.refused()
    silent, away = "no reply within federation.round-seconds=40", "its node is away"
    assert set(refused[1]) == {0, 2}
    assert set(refused[1].values()) <= {silent, away}  # Flower takes up to a minute to notice that a node is gone
    assert refused[3][2] == away


def test_a_run_that_cannot_start_has_its_exit_code_and_reason(fed, small):
    taken = small("taken", **SETTINGS)
    folder = run_directory.resolve(taken.output.dir)
    folder.create()
    for file in (folder.config, folder.journal):
        file.write_text("")
    refused = Submission(fed, taken, "--retries", "5")
    few = Submission(fed, small("few", **SETTINGS | {"federation.num-clients": 4}, federation__wait_seconds=5.0))
    assert few.exit_code() == 1
    assert "of 4 clients connected within federation.wait-seconds=5" in few.output()
    assert refused.exit_code() == 2  # not tried again, as it would fail again
    assert "holds a run already" in refused.output()
