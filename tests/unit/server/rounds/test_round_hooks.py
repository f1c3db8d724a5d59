"""What hooks answer becomes of a round and of the run; two hooks of a user's own stand in files beside this one."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from doubts import Doubts
from ends_at import EndsAt

from common import tree
from common.errors import OtherRunError
from common.hooks import ROUND_HOOKS, Keep, Stop
from server import checkpoint
from server.evaluation.scoring import Scoring
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from server.rounds.checkpoint_schedule import CheckpointSchedule
from server.rounds.write_journal import WriteLine
from simulations.runtime.in_process import simulate

pytestmark = pytest.mark.usefixtures("no_reports", "listed")


@pytest.fixture
def listed(monkeypatch):
    """Adds the two hooks to the table, as an import and an entry in ``common/hooks/__init__.py`` would."""
    for hook in (EndsAt, Doubts):
        monkeypatch.setitem(ROUND_HOOKS, hook.component_name(), hook)


def folder(config):
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def run(config, trained=None):
    simulate(config, num_workers=1, on_reply=(lambda partition: None) if trained is None else trained.append)
    return folder(config)


def rounds(directory):
    return [line["round"] for line in journal.read(directory.journal)]


def state_of(directory):
    return checkpoint.latest(directory.checkpoints).snapshot.state


def weights(directory):
    return tree.digest(state_of(directory).parameters)


def summary(directory):
    return json.loads(directory.summary.read_text())


def interrupt(monkeypatch, owner, name, when=lambda *arguments: True):
    """Has a call interrupted instead of made, where ``when`` says so."""
    call = getattr(owner, name)

    def interrupted(*arguments):
        if when(*arguments):
            raise KeyboardInterrupt
        return call(*arguments)

    monkeypatch.setattr(owner, name, interrupted)


class TestStop:
    def test_the_round_is_kept_and_is_the_last(self, small, happened):
        directory = run(small(hooks="ends-at"))
        assert rounds(directory) == [1, 2]
        assert state_of(directory).round == summary(directory)["rounds"] == 2
        (event,) = happened(directory)
        assert (event["event"], event["round"], event["reason"]) == ("early-stop", 2, "round 2 is enough")
        assert directory.sample(2).exists()

    def test_a_hook_of_the_caller_can_end_it_without_final_scores(self, small):
        class Enough:
            def after(self, round):
                return Stop("it is enough", final_scores=False) if round.number == 2 else Keep()

        config = small(evaluation__extractor="auto")
        simulate(config, num_workers=1, hooks=[Enough()])
        found = summary(folder(config))
        assert (found["rounds"], found["scores"]) == (2, {})
        assert found["not-scored"][-1] == "no final scores: it is enough"
        assert "fid" in summary(run(small("whole", evaluation__extractor="auto")))["scores"]

    def test_what_a_hook_adds_to_the_line_is_in_the_journal(self, small):
        assert [line["seen-by"] for line in journal.read(run(small(hooks="ends-at")).journal)] == ["ends-at"] * 2

    def test_a_run_that_is_resumed_stays_ended_or_goes_on_without_the_hook(self, small):
        through = weights(run(small("through")))
        run(small(hooks="ends-at"))
        trained = []
        directory = run(small(hooks="ends-at", output__resume=True), trained)
        assert (trained, rounds(directory)) == ([], [1, 2])
        assert weights(run(small(output__resume=True))) == through

    def test_a_run_that_is_killed_before_it_says_so_ends_when_it_is_resumed(self, small, monkeypatch, happened):
        with monkeypatch.context() as patch:
            interrupt(patch, Scoring, "final")
            with pytest.raises(KeyboardInterrupt):
                run(small(hooks="ends-at"))
        trained = []
        directory = run(small(hooks="ends-at", output__resume=True), trained)
        assert trained == []
        assert summary(directory)["rounds"] == 2
        assert [event["event"] for event in happened(directory)] == ["early-stop", "stopped", "resumed", "early-stop"]


class TestGoBack:
    def test_the_round_is_done_again_with_other_numbers(self, small, happened):
        plain, directory = run(small("plain")), run(small(hooks="doubts"))
        assert rounds(directory) == [1, 2, 3]
        assert summary(directory)["rollbacks"] == 1
        assert weights(directory) != weights(plain)
        (event,) = happened(directory)
        assert (event["event"], event["round"]) == ("rollback", 0)
        assert event["reason"] == "round 2: it is too good to be true"

    def test_after_the_last_of_times_the_round_is_kept_with_a_warning(self, small, happened):
        directory = run(small(hooks="doubts times=9", guard__rollbacks=1))
        assert rounds(directory) == [1, 2, 3]
        assert [(event["event"], event["round"]) for event in happened(directory)] == [("rollback", 0), ("diverged", 2)]

    def test_a_run_goes_on_with_the_same_such_hook_only(self, small):
        run(small(hooks="doubts", federation__num_rounds=1))
        with pytest.raises(OtherRunError, match="hooks was 'doubts round=2 times=1', is None"):
            run(small(output__resume=True))

    def test_a_hook_that_did_not_say_so_may_not(self, small, monkeypatch):
        monkeypatch.setattr(Doubts, "may_go_back", False)
        with pytest.raises(TypeError, match="'doubts' answers GoBack"):
            run(small(hooks="doubts"))


class TestOrder:
    def test_hooks_of_a_users_own_see_a_round_before_the_journal_does(self, small, monkeypatch):
        run(small(hooks="doubts | ends-at round=3"))
        directory = folder(small())
        assert [line.get("seen-by") for line in journal.read(directory.journal)] == ["ends-at"] * 3

    def test_a_round_that_is_interrupted_before_its_line_is_done_again(self, small, monkeypatch):
        interrupt(monkeypatch, WriteLine, "after", lambda hook, done: done.number == 2)
        with pytest.raises(KeyboardInterrupt):
            run(small())
        assert rounds(folder(small())) == [1]
        assert state_of(folder(small())).round == 1

    def test_a_round_whose_line_is_there_is_done_although_its_checkpoint_was_interrupted(self, small, monkeypatch):
        interrupt(monkeypatch, CheckpointSchedule, "after", lambda hook, done: done.number == 2)
        with pytest.raises(KeyboardInterrupt):
            run(small())
        assert rounds(folder(small())) == [1, 2]
        assert state_of(folder(small())).round == 2
