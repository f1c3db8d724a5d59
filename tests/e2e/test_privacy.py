"""Runs with a promise of privacy, from their first task to their last, through stops, rollbacks and lost files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit/server/rounds"))
from conftest import run_on
from doubts import Doubts

from client.app import app
from common import tree
from common.errors import CheckpointError, ConfigError, OtherRunError
from common.examples import ImageSpec
from common.files import whole_lines
from common.hooks import ROUND_HOOKS
from common.seeding import numpy_generator
from common.wire import RollCall
from server import checkpoint
from server.clients.resilient_grid import ResilientGrid
from server.clients.roster import Roster
from server.evaluation.scoring import Scoring
from server.records import journal, run_directory
from server.records.privacy_ledger import PrivacyLedger
from server.records.run_directory import RunDirectory
from server.rounds.base import RoundRecord, Snapshot
from server.strategy import FederatedStrategy
from simulations.runtime.in_process import InProcessGrid, simulate

pytestmark = pytest.mark.usefixtures("no_reports")

PRIVATE = {"privacy": "example epsilon=10 batch-size=1000", "local__fake_labels": "uniform", "local__steps": 1}


@pytest.fixture
def private(small):
    """Returns a maker of configurations of private runs; batches are all that a client has, so there is no sampling."""
    return lambda name="run", **changes: small(name, **PRIVATE | changes)


def folder(config):
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def run(config, trained=None):
    simulate(config, num_workers=1, on_reply=(lambda partition: None) if trained is None else trained.append)
    return folder(config)


def ledger(directory):
    return PrivacyLedger.read(directory.privacy)


def rounds(directory):
    return [line["round"] for line in journal.read(directory.journal)]


def weights(directory):
    return tree.digest(checkpoint.latest(directory.checkpoints).snapshot.state.parameters)


class _KilledError(Exception):
    pass


def killed_after(monkeypatch, owner, name, times=1):
    """Has the process end right after a call was made so often."""
    call, left = getattr(owner, name), [times]

    def then_end(*arguments, **options):
        result = call(*arguments, **options)
        left[0] -= 1
        if left[0] <= 0:
            raise _KilledError
        return result

    monkeypatch.setattr(owner, name, then_end)


def test_a_whole_run_spends_its_budget_and_says_so_everywhere(private):
    config = private()
    directory = run(config)
    summary = json.loads(directory.summary.read_text())
    spent = [line["privacy"]["epsilon"] for line in journal.read(directory.journal)]
    assert 0 < spent[0] < spent[1] < spent[2] <= 10
    assert summary["privacy"]["epsilon"] == spent[2] == ledger(directory).largest()
    assert summary["privacy"]["epsilon"] > 9.99
    assert {row["noise"] for row in summary["privacy"]["clients"]} == {"seed"}
    assert all(set(c) <= {"partition", "num-examples", "examples", "seconds", "drift", "site"}
               for line in journal.read(directory.journal) for c in line["clients"])  # fmt: skip
    clients = json.loads(directory.partition.read_text())["clients"]
    assert all((c["label-counts"], c["data-digest"]) == (None, "") for c in clients)
    unscored = [event["reason"] for event in journal.events(directory.journal) if event["event"] == "not-scored"]
    assert any("under a promise of privacy clients send no moments" in reason for reason in unscored)


@pytest.mark.parametrize("owner", [PrivacyLedger, ResilientGrid], ids=["before tasks are sent", "after replies"])
def test_a_killed_run_goes_on_to_the_same_bits_and_pays_once(private, monkeypatch, owner):
    whole = run(private("whole"))
    name = "charge" if owner is PrivacyLedger else "send_and_receive"
    with monkeypatch.context() as patch:
        killed_after(patch, owner, name, times=2)
        with pytest.raises(_KilledError):
            run(private())
    assert 2 <= len(whole_lines(folder(private()).privacy)) <= 3  # its head, and the rounds whose tasks were sent
    directory = run(private(output__resume=True))
    assert weights(directory) == weights(whole)
    assert directory.privacy.read_bytes() == whole.privacy.read_bytes()


def test_what_was_sent_before_the_first_round_was_done_is_not_forgotten(private, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, PrivacyLedger, "charge")
        with pytest.raises(_KilledError):
            run(private())
    with pytest.raises(ConfigError, match="holds a run already"):
        run(private())
    with pytest.raises(OtherRunError, match="seed was 0, is 1"):
        run(private(output__resume=True, seed=1))
    directory = run(private(output__resume=True))
    assert ledger(directory).largest() <= 10
    assert len(whole_lines(directory.privacy)) == 4  # its head, and three rounds


def test_one_that_never_sent_a_task_leaves_nothing_behind(private, small, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, PrivacyLedger, "require")
        with pytest.raises(_KilledError):
            run(private())
    assert len(whole_lines(folder(private()).privacy)) == 1
    assert not run(small()).privacy.exists()  # another run, without a promise


def test_a_rollback_is_another_release_and_the_run_ends_when_nothing_is_left(private, monkeypatch, happened):
    monkeypatch.setitem(ROUND_HOOKS, Doubts.component_name(), Doubts)
    directory = run(private(hooks="doubts"))  # which goes back once, from round 2 to the start
    assert ledger(directory).largest() <= 10
    assert rounds(directory) == [1, 2] or rounds(directory) == [1]
    last = happened(directory)[-1]
    assert last["event"] == "early-stop"
    assert "privacy promises 10 (spare-rounds= in privacy" in last["reason"]
    assert json.loads(directory.summary.read_text())["rounds"] == rounds(directory)[-1]  # exit code 0, with scores
    assert checkpoint.latest(directory.checkpoints).snapshot.state.round == rounds(directory)[-1]

    trained, before = [], directory.privacy.read_bytes()
    run(private(hooks="doubts", output__resume=True), trained)
    assert (trained, directory.privacy.read_bytes()) == ([], before)


def test_a_rollback_that_noise_was_made_for_ends_no_run_and_stays_within_its_epsilon(private, monkeypatch, happened):
    monkeypatch.setitem(ROUND_HOOKS, Doubts.component_name(), Doubts)
    directory = run(private(hooks="doubts", privacy=f"{PRIVATE['privacy']} spare-rounds=2"))  # rounds 1 and 2 again
    assert rounds(directory) == [1, 2, 3]
    assert [line["event"] for line in happened(directory)] == ["rollback"]
    assert ledger(directory).releases(0) == 5
    assert 9.95 < ledger(directory).largest() <= 10


def test_a_run_that_is_killed_before_it_says_that_nothing_is_left_ends_when_it_is_resumed(private, monkeypatch):
    monkeypatch.setitem(ROUND_HOOKS, Doubts.component_name(), Doubts)
    with monkeypatch.context() as patch:
        killed_after(patch, Scoring, "final")
        with pytest.raises(_KilledError):
            run(private(hooks="doubts"))
    trained = []
    directory = run(private(hooks="doubts", output__resume=True), trained)
    assert trained == []
    assert json.loads(directory.summary.read_text())["privacy"]["epsilon"] <= 10


@pytest.mark.parametrize("forget", [lambda path: path.unlink(), lambda path: path.write_bytes(
    path.read_bytes().split(b"\n")[0] + b"\n")], ids=["lost", "cut"])  # fmt: skip
def test_a_run_whose_ledger_is_lost_does_not_go_on(private, monkeypatch, forget):
    with monkeypatch.context() as patch:
        killed_after(patch, PrivacyLedger, "charge", times=3)
        with pytest.raises(_KilledError):
            run(private())
    directory = folder(private())
    forget(directory.privacy)
    with pytest.raises(CheckpointError, match="what the run has spent of its privacy was forgotten"):
        run(private(output__resume=True))


def test_a_private_run_is_not_made_longer(private):
    run(private(local__schedule="constant"))
    with pytest.raises(OtherRunError, match="noise is made for so many rounds"):
        run(private(local__schedule="constant", output__resume=True, federation__num_rounds=5))


def test_sums_are_released_once_and_cost_the_budget(small):
    sums = {"model": "class-gaussians", "objective": "moments", "algorithm": "dp-moments"}
    directory = run(small(**sums, privacy="example epsilon=3", federation__num_rounds=1))
    spent = ledger(directory)
    assert (spent.mechanism, spent.releases(0)) == ("sums", 1)
    assert spent.largest() == pytest.approx(3, rel=1e-5)
    assert spent.largest() <= 3


def own_data(path, seed):
    images = numpy_generator(seed, "own").integers(0, 256, (16, 28, 28), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(16) % 2)
    return {"data": f"npz:{path}"}


def test_sites_with_their_own_data_take_noise_that_nobody_can_draw_again(private, tmp_path):
    found = []
    for name in ("one", "other"):
        config = private(name, federation__num_clients=2, partition="iid")
        grid = InProcessGrid(app, config.flat(), 2, 1)
        for k in (0, 1):
            site = own_data(tmp_path / f"{k}.npz", k) | {"state-path": str(tmp_path / name / f"site-{k}")}
            grid._node_configs[k] |= site
        found.append(run_on(grid, config))
    one, other = found
    assert weights(one) != weights(other)  # with the same seed
    assert {account.noise for account in ledger(one).accounts.values()} == {"system"}
    books = [
        file.read_bytes().splitlines() for k in (0, 1) for file in (tmp_path / "one" / f"site-{k}").glob("*.jsonl")
    ]
    assert [len(book) for book in books] == [3, 3]  # a line a round, at each site
    assert 9.99 < ledger(one).largest() <= 10


def test_a_task_that_is_sent_again_is_paid_for_again_where_noise_is_the_systems(private, tmp_path):
    config = private(federation__num_clients=2, partition="iid")
    answers = {k: RollCall(k, 2, 16, None, ImageSpec(1, 28, 10), ("all",), "", "f", noise="system") for k in (0, 1)}
    book = PrivacyLedger.begun(tmp_path / "privacy.jsonl", config, answers)
    networks = config.model_component.build(ImageSpec(1, 28, 10), 0)
    state = config.algorithm_component.init(networks.state_dict(), config.model_component.roles)
    strategy = FederatedStrategy(config, Roster(answers), None, Snapshot(state))
    strategy.record = RoundRecord(1, [0, 1])
    strategy.ledger = book
    book.charge(1, 0, {0: "w", 1: "w"})
    assert [strategy.charge_again(0) for _ in range(2)] == ["", ""]
    assert (book.releases(0), book.releases(1)) == (3, 1)
    assert "privacy promises 10" in strategy.charge_again(0)
    assert book.releases(0) == 3
