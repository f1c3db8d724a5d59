"""What was left out of a data set, as the commands and a site's host say it."""

import logging

import pytest
from PIL import Image

from client import app, data
from common.datasets.base import _kept
from common.logs import make_heard
from simulations.commands import main


@pytest.fixture
def scans(tmp_path):
    """Returns an unlabelled folder with notes among its images, which no cache knows."""
    for number in range(10):
        Image.new("L", (28, 28), number).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("x")
    data.load.cache_clear()
    _kept.cache_clear()
    return tmp_path


REPORTED = "1 file of a kind that is not read as images was left out (.txt)"


def test_data_and_partition_say_what_was_left_out(scans, capsys):
    assert main._run(["data", "image-folder", "--root", str(scans), "-c", "federation.num-clients=2"], debug=False) == 0
    assert REPORTED in capsys.readouterr().out
    settings = f'data.name="image-folder grey=true" data.root="{scans}" partition="iid" federation.num-clients=2'
    assert main._run(["partition", "-c", settings, "--json"], debug=False) == 0
    captured = capsys.readouterr()
    assert REPORTED in captured.err
    assert REPORTED not in captured.out


def test_a_run_on_unlabelled_images_says_it_once_and_ends_well(scans, small, capsys, no_reports):
    settings = {
        "data__name": "image-folder grey=true",
        "data__root": str(scans),
        "partition": "iid",
        "federation__num_clients": 2,
        "federation__num_rounds": 1,
    }
    config = small(**settings)
    file = scans.parent / "run.toml"
    file.write_text(config.toml())
    assert main._run(["simulate", str(file)], debug=False) == 0
    assert capsys.readouterr().err.count(REPORTED) == 1


def test_a_client_that_nobody_hears_speaks_on_stderr(capsys, monkeypatch):
    logger = logging.getLogger("fedgan")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.WARNING)
    assert app.make_heard is make_heard
    assert make_heard()
    assert not make_heard()
    logging.getLogger("fedgan.data").info("said")
    assert capsys.readouterr().err == "fedgan: said\n"
