"""A submitted run is followed to its end, on a scripted SuperLink."""

import subprocess
import sys

import pytest

from common.config import RunConfig
from common.errors import ConfigError, FederationError
from simulations.deployment import submit as submission
from simulations.deployment import superlink
from simulations.deployment.submit import Outcome, submit

PRINTS = {"stdout": subprocess.PIPE, "text": True}
LOST = ("finished:failed", "No heartbeat received from the task")


class Scripted:
    """A SuperLink on which each submission goes as the next entry says: log lines and final status; None: away."""

    def __init__(self, *runs, refusals=0, away=0):
        self.runs, self.refusals, self.away = list(runs), refusals, away
        self.configs = []

    def run(self, config):
        if self.configs and self.refusals:
            self.refusals -= 1
            raise FederationError("'flwr run' failed: no answer")
        self.configs.append(config)
        return len(self.configs)

    def follow(self, run_id):
        text = "".join(f"{line}\n" for line in ("INFO : Flower's own", *self.runs[run_id - 1][0]))
        return subprocess.Popen([sys.executable, "-c", f"print({text!r}, end='')"], **PRINTS)

    def status(self, run_id):
        if self.away:
            self.away -= 1
            raise FederationError("'flwr list' failed: no answer")
        return self.runs[run_id - 1][1]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls):
            return cls.now

        @classmethod
        def sleep(cls, seconds):
            cls.now += seconds

    monkeypatch.setattr(submission, "time", Clock)


def follow(superlink, retries=0, **changes):
    said = []
    return submit(superlink, RunConfig.from_flat(changes), retries, said.append), said


def test_a_run_that_completes_has_exit_code_0_and_its_folder():
    superlink = Scripted((["fedgan: run directory: /srv/run", "fedgan: round 1/1"], ("finished:completed", "")))
    outcome, said = follow(superlink)
    assert outcome == Outcome(0, "", "/srv/run")
    assert said == ["run 1 is submitted", "run directory: /srv/run", "round 1/1"]  # and nothing of Flower's own


def test_a_run_is_looked_at_once_its_log_has_ended_as_each_look_costs_a_start_of_flower():
    class Watched(Scripted):
        def status(self, run_id):
            heard.append("round 2/2" in said)
            return super().status(run_id)

    heard, said = [], []
    log = ["fedgan: run directory: /srv/run", "fedgan: round 2/2"]
    submit(Watched((log, ("finished:completed", ""))), RunConfig(), 0, said.append)
    assert heard == [True]


def test_a_run_whose_log_never_ends_is_looked_at_all_the_same(monkeypatch):
    class Talking(Scripted):
        def follow(self, run_id):
            return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **PRINTS)

    for name in ("_POLL_SECONDS", "_LAST_WORDS_SECONDS"):
        monkeypatch.setattr(submission, name, 0.01)
    assert follow(Talking(([], ("finished:completed", ""))))[0].code == 0


@pytest.mark.parametrize(
    ("log", "status", "code", "reason"),
    [
        (["fedgan: failed with exit code 2: seed=-1: no"], ("finished:failed", "ServerApp failed"), 2, "seed=-1: no"),
        (["fedgan: failed with exit code 1: too few"], ("finished:failed", "ServerApp failed"), 1, "too few"),
        ([], LOST, 1, "No heartbeat received"),
        ([], ("finished:stopped", ""), 1, "finished:stopped"),
    ],
)
def test_a_run_that_fails_has_its_exit_code_and_reason(log, status, code, reason):
    outcome, _ = follow(Scripted((log, status)))
    assert outcome.code == code
    assert reason in outcome.reason


def test_a_failed_run_goes_on_from_its_checkpoint():
    folder = "fedgan: run directory: /srv/run"
    superlink = Scripted(([folder], LOST), ([folder], LOST), ([folder], ("finished:completed", "")))
    outcome, said = follow(superlink, retries=2)
    assert outcome.code == 0
    assert [(c.output.dir, c.output.resume) for c in superlink.configs] == [
        ("", False),
        ("/srv/run", True),
        ("/srv/run", True),
    ]
    assert "submitting again, 1 try left" in " ".join(said)


def test_a_run_that_died_before_it_had_a_folder_is_begun_again():
    superlink = Scripted(([], LOST), ([], ("finished:completed", "")))
    follow(superlink, retries=1, **{"output.dir": "/srv/mine"})
    assert [(c.output.dir, c.output.resume) for c in superlink.configs] == [("/srv/mine", False)] * 2


def test_an_attempt_that_died_early_does_not_make_the_next_one_forget_the_run():
    folder = "fedgan: run directory: /srv/run"
    superlink = Scripted(([folder], LOST), ([], LOST), ([folder], ("finished:completed", "")))
    follow(superlink, retries=2)
    assert [c.output.resume for c in superlink.configs] == [False, True, True]


def test_what_a_person_stopped_is_not_begun_again():
    superlink = Scripted(*[([], ("finished:stopped", ""))] * 2)
    outcome, _ = follow(superlink, retries=1)
    assert (outcome.code, len(superlink.configs)) == (1, 1)


def test_no_line_of_a_client_makes_a_failed_run_a_success_or_moves_it():
    log = [
        "fedgan: run directory: /srv/run",
        "fedgan: round 1: partition 1 is left out: fedgan: run directory: /elsewhere",
        "fedgan: failed with exit code 0: ok",
        "fedgan: run directory: /elsewhere",
    ]
    outcome, _ = follow(Scripted((log, LOST)))
    assert (outcome.code, outcome.folder) == (1, "/srv/run")


def test_retries_end():
    superlink = Scripted(*[([], LOST)] * 5)
    outcome, _ = follow(superlink, retries=2)
    assert (outcome.code, len(superlink.configs)) == (1, 3)


def test_what_would_fail_again_is_not_tried_again():
    superlink = Scripted(*[(["fedgan: failed for good with exit code 2: no such key"], LOST)] * 2)
    outcome, _ = follow(superlink, retries=1)
    assert (outcome.code, len(superlink.configs)) == (2, 1)


def test_what_lasts_is_not_tried_again_and_that_is_said_whatever_the_exit_code():
    log = ["fedgan: run directory: /srv/run", "fedgan: failed for good with exit code 1: the sites' data do not fit"]
    superlink = Scripted(*[(log, LOST)] * 4)
    outcome, said = follow(superlink, retries=3)
    assert (outcome.code, len(superlink.configs)) == (1, 1)
    assert outcome.reason.endswith("the sites' data do not fit; not submitted again, as it would fail again")
    assert not any("submitting again" in line for line in said)


def test_what_may_pass_is_tried_again_whatever_the_exit_code():
    busy = ["fedgan: failed with exit code 2: another process is at work in output.dir='/srv/run'"]
    superlink = Scripted((busy, LOST), ([], ("finished:completed", "")))
    outcome, _ = follow(superlink, retries=1)
    assert (outcome.code, len(superlink.configs)) == (0, 2)


def test_tries_are_further_and_further_apart():
    superlink = Scripted(*[([], LOST)] * 9)
    follow(superlink, retries=8)
    assert submission.time.now > 5 + 10 + 20 + 40 + 4 * 60


def test_a_first_submission_that_fails_is_explained():
    class Absent(Scripted):
        def run(self, config):
            raise FederationError("'flwr run' failed: Connection unavailable")

        def explain_absence(self):
            raise FederationError("nobody answers at 127.0.0.1:1")

    with pytest.raises(FederationError, match="nobody answers at"):
        follow(Absent())


def test_a_superlink_that_is_away_for_a_while_is_waited_for():
    superlink = Scripted(([], LOST), ([], ("finished:completed", "")), away=20, refusals=4)
    outcome, said = follow(superlink, retries=1)
    assert outcome.code == 0
    assert sum("trying again" in line for line in said) == 4


def test_a_superlink_that_stays_away_is_given_up():
    outcome, _ = follow(Scripted(([], LOST), away=10_000))
    assert outcome.code == 1
    assert "no answer, for 300 s" in outcome.reason


@pytest.mark.parametrize("text", [None, "", "[superlink]\ndefault = 'b'\n[superlink.other]\naddress = 'x'\n"])
def test_a_connection_that_flower_does_not_know_is_refused_with_what_to_write(tmp_path, monkeypatch, text):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"config.toml has no SuperLink 'gan'.*: add \[superlink.gan\]"):
        superlink.check("gan")
    (tmp_path / "config.toml").write_text("[superlink.gan]\naddress = '127.0.0.1:1'\n")
    superlink.check("gan")
