"""A run that is over and is asked to go on stays as it is, and says so."""

import logging
from pathlib import Path

import pytest

from common.errors import ConfigError, OtherRunError
from server import finished, run
from server.records.run_directory import RunDirectory
from simulations.runtime import in_process

pytestmark = pytest.mark.usefixtures("no_reports")


@pytest.fixture
def done(small):
    """Returns the configuration to resume a finished run with, and its folder."""
    config = small()
    in_process.simulate(config, num_workers=1)
    return config.replaced({"output.resume": True}), RunDirectory(Path(config.output.dir))


def _content(directory):
    return {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_scored_again_and_no_client_is_queried(done, caplog, monkeypatch):
    config, directory = done
    before = _content(directory)
    monkeypatch.setattr(run.Run, "begin", lambda self: pytest.fail("it began"))
    with caplog.at_level(logging.INFO, "fedgan"):
        in_process.simulate(config, num_workers=1)
    assert _content(directory) == before
    assert "is finished after round 3: nothing is left to train" in caplog.text
    assert f"fedgan evaluate {directory.path}" in caplog.text


def test_other_settings_of_scores_are_refused_with_the_way_to_score_again(done):
    config, directory = done
    before = _content(directory)
    with pytest.raises(
        ConfigError, match=r"without evaluation.final-num-samples=200; to score it again: fedgan evaluate"
    ):
        in_process.simulate(config.replaced({"evaluation.final-num-samples": 200}), num_workers=1)
    assert _content(directory) == before


def test_a_checkpoint_that_is_torn_is_made_again(done):
    config, directory = done
    last = sorted(directory.checkpoints.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:100])
    assert finished.remark(config, directory) is None


@pytest.mark.parametrize("lost", ["summary", "journal"])
def test_what_is_missing_is_something_to_do(done, lost):
    config, directory = done
    getattr(directory, lost).unlink()
    assert finished.remark(config, directory) is None


def test_more_rounds_are_trained_and_another_run_is_refused(done):
    config, directory = done
    assert finished.remark(config.replaced({"federation.num-rounds": 4}), directory) is None
    with pytest.raises(OtherRunError):
        in_process.simulate(config.replaced({"local.steps": 3}), num_workers=1)
