"""``fedgan study``: cells that are run, read and gone on with, its files, and how long it says that it will take."""

import csv
import io
import json
import sys
import types

import pytest

from common.errors import DivergenceError
from simulations.commands import main
from simulations.studies import costs, running, time_left
from simulations.studies.cells import table_locked
from simulations.studies.study_file import read_study
from simulations.studies.study_tables import as_latex
from simulations.studies.time_left import TimeLeft
from tests.conftest import SMALL

SETTINGS = {**SMALL, "federation.num-rounds": 2, "evaluation.every": 1, "evaluation.extractor": "mnist-cnn"}
STUDY = """
title = "Which of two & why"
metrics = ["fid", "coverage"]
seeds = "0-1"
[settings]
{settings}
[rows.both]
[rows."generator alone"]
algorithm = "fedavg sync=generator"
"""

pytestmark = pytest.mark.usefixtures("no_reports")


@pytest.fixture
def file(tmp_path):
    settings = "\n".join(f'"{key}" = {json.dumps(value)}' for key, value in SETTINGS.items())
    (tmp_path / "which.toml").write_text(STUDY.format(settings=settings))
    return tmp_path / "which.toml"


def fedgan(*arguments, capsys):
    code = main._run([str(argument) for argument in arguments], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.slow
def test_a_study_is_one_command_that_goes_on_where_it_was(file, tmp_path, capsys, monkeypatch):
    command = ["study", file, "--out", tmp_path / "out", "--workers", 1]
    code, out, err = fedgan(*command, "--dry-run", capsys=capsys)
    assert (code, len(out.splitlines()), (tmp_path / "out").exists()) == (0, 4, False)
    assert "time: not known yet" in err
    simulate, calls = running.simulate, []

    def cut(config, **options):
        calls.append(config.output.dir)
        if len(calls) == 3:
            raise KeyboardInterrupt
        simulate(config, **options)

    monkeypatch.setattr(running, "simulate", cut)
    code, _, err = fedgan(*command, capsys=capsys)
    assert (code, "interrupted; the same command goes on" in err) == (130, True)
    table = (tmp_path / "out" / "table.md").read_text()  # of what is done already
    assert "No two rows have two cells in common yet" in table
    assert "`both`: not finished: seed 1." in table
    code, out, err = fedgan(*command, "--json", capsys=capsys)
    assert code == 0
    assert [path.rpartition("out/")[2] for path in calls[2:]] == [
        "both/seed-1",
        "both/seed-1",
        "generator_alone/seed-1",
    ]
    assert "[3/4] both, seed 1: begins; about " in err
    found = json.loads(out.splitlines()[-1])
    assert found["study"] == str(tmp_path / "out")
    assert [(row["label"], len(row["runs"])) for row in found["rows"]] == [("both", 2), ("generator alone", 2)]
    (fid, coverage) = found["differences"]
    assert (fid["row"], fid["other"], fid["n"], coverage["metric"]) == ("both", "generator alone", 2, "coverage")
    values = [run["final"]["fid"] for row in found["rows"] for run in row["runs"]]
    assert fid["mean"] == pytest.approx(sum(values[:2]) / 2 - sum(values[2:]) / 2, abs=0.01)
    assert found["rows"][0]["costs"]["cpu-seconds"]["min"] > 0
    table = (tmp_path / "out" / "table.md").read_text()
    for words in ("# Which of two & why", "## fid (lower is better)", "paired t-test over the same seeds", "2 tests"):
        assert words in table, words
    assert "CPU seconds" in table
    assert "centralised" not in table
    assert all((tmp_path / "out" / name).stat().st_size for name in ("study.png", "final.png", "samples.png"))
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "cells.csv").read_text())))
    assert [(line["row"], line["seed"]) for line in lines] == [
        ("both", "0"), ("both", "1"), ("generator alone", "0"), ("generator alone", "1"),
    ]  # fmt: skip
    assert [float(line["fid"]) for line in lines] == values
    assert r"generator alone & " in (tmp_path / "out" / "table.tex").read_text()
    assert r"Which of two \& why" in as_latex(found)
    code, out, _ = fedgan(*command, "--dry-run", "--json", capsys=capsys)
    assert {cell["state"] for cell in json.loads(out)["cells"]} == {"finished"}
    code, out, _ = fedgan(*command, "--estimate", capsys=capsys)
    assert (code, out.strip()) == (0, "nothing is left to do")
    code, _, err = fedgan(*command, "-c", "local.steps=3", capsys=capsys)
    assert (code, "local.steps was 2, is 3" in err) == (2, True)
    code, out, _ = fedgan("results", tmp_path / "out", "--out", tmp_path / "page.md", capsys=capsys)
    assert "## Which of two & why" in (tmp_path / "page.md").read_text()
    assert "fedgan study which.toml --out DIR" in (tmp_path / "page.md").read_text()


@pytest.mark.slow
def test_each_fold_is_a_cell_that_is_scored_on_what_its_clients_hold_out(file, tmp_path, capsys):
    text = file.read_text().replace('seeds = "0-1"', "seeds = [3]\nfolds = 2").replace("[rows.both]", "")
    file.write_text(text)
    once = "federation.num-rounds=1 evaluation.every=0"
    code, out, err = fedgan("study", file, "--out", tmp_path / "out", "-c", once, "--json", capsys=capsys)
    assert code == 0, err
    found = json.loads(out)
    (row,) = found["rows"]
    assert [(run["seed"], run["fold"]) for run in row["runs"]] == [(3, 1), (3, 2)]
    assert found["intervals"]["fid"]["generator alone"][0] < row["final"]["fid"]["mean"]
    for fold in (1, 2):
        summary = json.loads(
            (tmp_path / "out" / "generator_alone" / f"seed-3-fold-{fold}" / "summary.json").read_text()
        )
        assert {"fid", "federated-fid", "memorisation"} <= summary["scores"].keys()
    assert "| cells |" in (tmp_path / "out" / "table.md").read_text()


def test_a_cell_that_fails_is_said_and_the_others_go_on(file, tmp_path, capsys, monkeypatch):
    def broken(config, **options):
        raise DivergenceError(f"loss is nan, seed {config.seed}")

    monkeypatch.setattr(running, "simulate", broken)
    code, out, err = fedgan("study", file, "--out", tmp_path / "out", capsys=capsys)
    assert code == 1
    assert out.strip() == str(tmp_path / "out" / "table.md")
    assert "failed: generator alone, seed 1: loss is nan, seed 1" in err
    assert "`both`, seed 0, **failed**: loss is nan, seed 0" in (tmp_path / "out" / "table.md").read_text()


def test_a_table_has_one_process_at_a_time_and_is_no_run(file, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with table_locked(tmp_path / "out"):
        code, _, err = fedgan("study", file, "--out", tmp_path / "out", capsys=capsys)
    assert (code, "another process is at work on the table" in err) == (2, True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    code, _, err = fedgan("study", file, "--out", tmp_path / "run", capsys=capsys)
    assert (code, "is a run directory" in err) == (2, True)


def test_a_row_that_its_data_do_not_allow_is_refused_before_anything_is_written(file, tmp_path, capsys):
    file.write_text(file.read_text() + '[rows.split]\npartition = "by-source"\n')
    code, _, err = fedgan("study", file, "--out", tmp_path / "out", capsys=capsys)
    assert (code, "row 'split': partition='by-source'" in err, (tmp_path / "out").exists()) == (2, True, False)


def test_time_is_told_by_rounds_on_trial_then_by_cells_that_are_done(file, tmp_path, monkeypatch):
    cells = read_study(file, {"federation.num-rounds": 40}).cells(tmp_path)
    clock = TimeLeft(cells, tmp_path)
    assert clock.left().phrase() == ""
    assert [cell.entry.label for cell in clock.untried()] == ["both", "generator alone"]
    assert TimeLeft(read_study(file, {}).cells(tmp_path), tmp_path).untried() == []  # two seeds of two rounds
    time_left.try_rounds(clock.untried()[:1], tmp_path, 1, "threads", io.StringIO())
    left = TimeLeft(cells, tmp_path).left()
    each = json.loads((tmp_path / "trials.json").read_text())["both: "]
    assert left.seconds == pytest.approx(4 * each)
    assert (left.cells, left.guessed, left.on_trial) == (4, ("generator alone",), True)
    assert left.phrase().endswith(" for 4 cells, by rounds on trial, generator alone by the other rows")
    taken = {cells[0].path: 10.0, cells[1].path: 20.0}
    monkeypatch.setattr(time_left, "state_of", lambda cell: "finished" if cell.path in taken else "new")
    monkeypatch.setattr(time_left, "costs_in", lambda path: {"seconds": taken[path]})
    left = TimeLeft(cells, tmp_path).left()
    assert (left.seconds, left.cells, left.on_trial) == (30.0, 2, False)


def test_a_trial_that_fails_leaves_the_time_unknown_and_is_not_repeated(file, tmp_path, monkeypatch):
    def broken(config, **options):
        raise DivergenceError("loss is nan")

    monkeypatch.setattr(time_left, "simulate", broken)
    cells, said = read_study(file, {"federation.num-rounds": 40}).cells(tmp_path), io.StringIO()
    time_left.try_rounds(TimeLeft(cells, tmp_path).untried(), tmp_path, 1, "threads", said)
    assert "both: its time is not known: loss is nan" in said.getvalue()
    clock = TimeLeft(cells, tmp_path)
    assert (clock.untried(), clock.left().seconds) == ([], None)


def test_costs_add_up_over_processes_and_say_where_a_gpu_is_not_known(tmp_path, monkeypatch):
    with costs.metered(tmp_path):
        sum(range(200_000))
    first = costs.costs_in(tmp_path)
    assert first["seconds"] > 0
    assert (first["gpu-joules"], first["gpu"]) == (0.0, "")
    drawn = iter([100.0, 160.0])
    monkeypatch.setattr(costs, "_energy_meter", lambda: (lambda: next(drawn), ""))
    with costs.metered(tmp_path):
        pass
    second = costs.costs_in(tmp_path)
    assert second["gpu-joules"] == 60.0
    assert second["seconds"] > first["seconds"]
    assert second["cpu-seconds"] >= first["cpu-seconds"]
    monkeypatch.setattr(costs, "_energy_meter", lambda: (lambda: None, "NVML does not tell it"))
    with costs.metered(tmp_path):
        pass
    third = costs.costs_in(tmp_path)
    assert (third["gpu-joules"], third["gpu"]) == (None, "NVML does not tell it")
    monkeypatch.setattr(costs, "_energy_meter", lambda: (lambda: 0.0, ""))
    with costs.metered(tmp_path):  # what was not known stays so
        pass
    assert costs.costs_in(tmp_path)["gpu-joules"] is None


class Nvml:
    """Stands for NVML on a machine with one GPU, which has drawn so many millijoules."""

    class NVMLError(Exception):
        pass

    def __init__(self, *drawn):
        self.drawn = list(drawn)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid != "GPU-of-ours":
            raise self.NVMLError(f"no such GPU {uuid}")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        if not self.drawn:
            raise self.NVMLError("Not Supported")
        return self.drawn.pop(0)


@pytest.mark.parametrize(
    ("nvml", "uuid", "joules", "why"),
    [
        (Nvml(1000, 1000, 4500), "of-ours", 3.5, ""),
        (Nvml(), "of-ours", None, "NVML gives no reading: Not Supported"),
        (Nvml(1000), "of-a-part", None, "NVML gives no reading: no such GPU GPU-of-a-part"),
        (Nvml(1000, 1000), "of-ours", None, "NVML gave no further reading"),
        (
            None,
            "of-ours",
            None,
            "NVML is read through nvidia-ml-py, which is not installed: pip install 'fedgan[study]'",
        ),
    ],
)
def test_joules_are_those_of_the_gpus_that_pytorch_sees(nvml, uuid, joules, why, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda k: types.SimpleNamespace(uuid=uuid))
    with costs.metered(tmp_path):
        pass
    found = costs.costs_in(tmp_path)
    assert (found["gpu-joules"], found["gpu"]) == (joules, why)


def test_costs_are_written_while_a_cell_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "_EVERY", 0.0)
    with costs.metered(tmp_path) as tick:
        tick()
        assert costs.costs_in(tmp_path)["seconds"] > 0
