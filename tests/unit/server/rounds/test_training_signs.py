"""Signs of a game that goes wrong: noted once when they begin, also after a run goes on."""

import logging
from types import SimpleNamespace

import pytest

from common.config import RunConfig
from common.hooks import Keep
from common.objectives import adversarial
from server.records import journal, run_directory
from server.records.notes import Notes
from server.records.run_directory import RunDirectory
from server.rounds.training_signs import NUM_ROUNDS, TrainingSigns, means_of
from simulations.runtime.in_process import simulate

CONFIG = RunConfig()


def line(round, real):
    client = {"partition": 0, "num-examples": 10, "d-real": real, "d-fake": -real}
    return {"round": round, "clients": [client, client | {"partition": 1}], "scores": {}}


@pytest.fixture
def signs(tmp_path):
    """Returns a function that begins looking, after these rounds, and the reasons that the journal has."""
    path = tmp_path / "journal.jsonl"
    path.touch()

    def begin(earlier=()):
        return TrainingSigns(CONFIG, Notes(path), earlier)

    return begin, lambda: [(event["event"], event["round"]) for event in journal.events(path)]


def show(hook, *rounds):
    for number, real in rounds:
        assert hook.after(SimpleNamespace(line=line(number, real), number=number)) == Keep()


def test_means_are_those_of_all_clients():
    assert means_of(line(1, 0.25)) == {"d-real": 0.25, "d-fake": -0.25}


def test_a_sign_is_noted_when_all_of_the_latest_rounds_show_it_and_again_once_it_has_gone(signs, caplog):
    begin, noted = signs
    hook = begin()
    with caplog.at_level(logging.WARNING, "fedgan.server"):
        show(hook, *((k, 0.0) for k in range(1, NUM_ROUNDS)))
        assert noted() == []
        show(hook, (NUM_ROUNDS, 0.0), (NUM_ROUNDS + 1, 0.0))
    assert noted() == [("training-sign", NUM_ROUNDS)]
    assert [
        record.getMessage().startswith(f"round {NUM_ROUNDS}: The discriminator is dead") for record in caplog.records
    ]
    assert len(caplog.records) == 1
    show(hook, (7, 1.0), *((k, 9.0) for k in range(8, 8 + NUM_ROUNDS)))
    assert noted()[1:] == [("training-sign", 7 + NUM_ROUNDS)]


def test_a_run_that_goes_on_does_not_note_again_what_it_had_noted(signs):
    begin, noted = signs
    show(begin([line(k, 0.0) for k in range(1, NUM_ROUNDS + 1)]), (NUM_ROUNDS + 1, 0.0))
    assert noted() == []
    show(begin([line(k, 0.0) for k in range(1, NUM_ROUNDS)]), (NUM_ROUNDS, 0.0))
    assert noted() == [("training-sign", NUM_ROUNDS)]


def test_rounds_that_are_undone_do_not_count(signs):
    begin, noted = signs
    hook = begin()
    show(hook, *((k, 0.0) for k in range(1, NUM_ROUNDS)), (2, 0.0), (3, 0.0))
    assert noted() == []


@pytest.mark.usefixtures("no_reports")
def test_a_run_notes_what_its_objective_says(small, monkeypatch):
    monkeypatch.setattr(adversarial, "_ALIKE", 1e9)
    config = small(federation__num_rounds=NUM_ROUNDS + 1)
    simulate(config, num_workers=1)
    events = journal.events(RunDirectory(run_directory.resolve(config.output.dir).path).journal)
    assert [event["round"] for event in events if event["event"] == "training-sign"] == [NUM_ROUNDS]
