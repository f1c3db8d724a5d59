"""The course of a search: trials, what ends them, what a killed one goes on with, finalists, and best settings."""

import json
import math
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from toys import ROUNDS, Toys, fid

from common.config import RunConfig
from common.errors import (
    BusyError,
    CheckpointError,
    ConfigError,
    DataError,
    DivergenceError,
    FedGANError,
    OtherRunError,
    TerminatedError,
)
from simulations.api import load
from simulations.commands import main
from simulations.commands.search import parse_time
from simulations.runs.search_record import SearchFolder, read_record
from simulations.runtime import launch
from simulations.runtime.settings import read_preset
from simulations.search import study as memory
from simulations.search.conduct import conduct
from simulations.search.plan import Limits, make_plan
from simulations.search.slots import DiedError, Slots
from simulations.search.space import space_of
from simulations.search.trials import Means

pytest.importorskip("optuna")

SPACE = {
    "local": {"learning-rate": {"low": 1e-4, "high": 1e-1, "log": True}},
    "objective": {"hinge": {"r1": {"low": 0.01, "high": 1.0}}, "lsgan": {}},
}
BASE = RunConfig().replaced({"federation.num-rounds": ROUNDS, "evaluation.every": 1})


@pytest.fixture
def toys(monkeypatch):
    toys = Toys()
    monkeypatch.setattr(launch, "train", toys.train)
    return toys


@pytest.fixture
def search(tmp_path, toys):
    """Returns what makes a search of toys in one folder, with what it says in ``said``."""

    def make(space=SPACE, base=BASE, metric="fid", sampler="tpe", pruner=None, **limits):
        plan = make_plan("toys", base, space_of(space, "space.toml"), metric, sampler, pruner)
        allowed = Limits(**{"trials": 8, "finalists": 2, "seeds": 2} | limits)
        return conduct(SearchFolder(tmp_path / "s"), plan, allowed, Means(), None, said.append)

    said = make.said = []
    make.folder = SearchFolder(tmp_path / "s")
    return make


def rows_of(record, *states):
    return [row for row in record.rows if row.state in states]


def test_the_best_trials_are_repeated_and_the_mean_of_other_seeds_decides(search, toys):
    record = search()
    assert len(record.rows) == 8
    assert record.ended == "8 trials are made"
    complete = rows_of(record, "complete")
    first = sorted(complete, key=lambda row: row.value)[:2]
    assert {row.trial for row in record.finalists} == {row.number for row in first}
    for row in record.finalists:
        trial = record.rows[row.trial]
        config = BASE.replaced(trial.settings)
        assert row.values == {seed: pytest.approx(fid(config.replaced({"seed": seed}))) for seed in (1, 2)}
        assert row.mean == pytest.approx(sum(row.values.values()) / 2)
        assert row.first == trial.value not in row.values.values()
    assert record.finalists[0].mean <= record.finalists[1].mean
    assert record.best == record.finalists[0].trial
    assert read_record(search.folder) == record


def test_best_settings_are_a_preset(search):
    record = search()
    flat = read_preset(str(search.folder.best))
    settings = record.rows[record.best].settings
    assert flat.items() >= settings.items()
    preset, expected = RunConfig.from_flat(flat), RunConfig().replaced({**settings, "evaluation.every": 1})
    assert preset == expected.replaced({"federation.num-rounds": ROUNDS})  # and utility is computed, as by default


def test_bad_trials_are_pruned_by_their_scores_and_are_no_finalists(search):
    record = search(trials=12)
    pruned = rows_of(record, "pruned")
    assert pruned
    assert all(row.rounds < ROUNDS and row.reason.startswith("pruned: fid ") for row in pruned)
    assert min(row.value for row in pruned) > min(row.value for row in rows_of(record, "complete"))


def test_no_trial_is_pruned_where_none_is_to_be(search):
    assert {row.rounds for row in search(trials=12, pruner="none").rows} == {ROUNDS}


def test_a_trial_that_is_worse_at_nearly_every_round_is_pruned_by_the_signed_rank_test(search, monkeypatch):
    monkeypatch.setattr("toys.ROUNDS", 8)
    record = search(base=BASE.replaced({"federation.num-rounds": 8}), trials=6, pruner="wilcoxon")
    pruned = rows_of(record, "pruned")
    assert pruned
    assert {row.rounds for row in pruned} == {4}  # no fewer pairs make p < 0.1
    assert all(row.reason.endswith("by wilcoxon") for row in pruned)


@pytest.mark.parametrize("at", [1, 3])
def test_a_killed_search_goes_on_and_becomes_the_same(search, toys, tmp_path, at):
    whole = search().model_dump(exclude={"seconds"})
    (tmp_path / "s").rename(tmp_path / "whole")
    killed = []

    def kill(config, number):
        if number == at and len(toys.made) == 1 and not killed:
            killed.append(True)
            return TerminatedError("SIGTERM", 143)
        return None

    toys.made, toys.fails = [], kill
    with pytest.raises(TerminatedError):
        search()
    assert killed
    between = read_record(search.folder)
    assert [row.state for row in between.rows].count("running") == 1
    assert search().model_dump(exclude={"seconds"}) == whole
    goes_on = f"goes on {f'after round {at - 1}' if at > 1 else 'from its beginning'}"
    assert f"trial 0 was left unfinished, and {goes_on}" in search.said
    assert toys.made[:2] == [("0000", 0), ("0000", at - 1)]


def test_a_trial_whose_process_dies_each_time_has_failed(search, toys):
    toys.fails = lambda config, number: TerminatedError("SIGKILL", 137) if len(toys.made) in (2, 3, 4) else None
    for _ in range(3):
        with pytest.raises(TerminatedError):
            search()
    record = search()
    assert record.rows[1].state == "failed"
    assert "died each of the 3 times" in record.rows[1].reason
    assert any("trial 1 was left unfinished, and has failed" in line for line in search.said)


def test_a_finished_search_is_only_read_and_goes_on_with_more_trials(search, toys):
    first = search(trials=4)
    before = len(toys.made)
    assert search(trials=4).rows == first.rows
    assert len(toys.made) == before
    more = search(trials=6)
    assert more.rows[:4] == first.rows
    assert len(more.rows) == 6


def test_settings_that_diverge_are_kept_away_from_and_other_failures_are_said(search, toys):
    def fail(config, number):
        if config.local.learning_rate > 0.02:
            return DivergenceError("the loss is nan")
        return FedGANError("no luck") if config.objective.startswith("lsgan") else None

    toys.fails = fail
    record = search(trials=10)
    assert {row.reason for row in rows_of(record, "failed")} == {"no luck"}
    assert any(row.reason == "diverged: the loss is nan" for row in rows_of(record, "pruned"))
    assert all(row.settings["objective"].startswith("hinge") for row in rows_of(record, "complete"))


def test_a_search_whose_first_trials_all_fail_ends(search, toys):
    toys.fails = lambda config, number: FedGANError("no luck")
    with pytest.raises(FedGANError, match="the first 3 trials have all failed; the last: no luck"):
        search()


def test_what_concerns_all_trials_ends_the_search_and_its_trial_goes_on(search, toys):
    toys.fails = lambda config, number: DataError("no data") if len(toys.made) == 2 else None
    with pytest.raises(DataError, match="no data"):
        search()
    toys.fails = lambda config, number: None
    assert not rows_of(search(), "failed", "running")


def test_draws_that_are_no_configuration_are_no_trials(search):
    space = SPACE | {"algorithm": ["fedavg", "count-sums"]}
    record = search(space, sampler="random")
    assert record.left_out
    assert len(record.rows) == 8
    assert {row.settings["algorithm"] for row in record.rows} == {"fedavg"}
    assert [row.number for row in record.rows] != list(range(8))


def test_a_space_of_no_configuration_is_refused(search):
    with pytest.raises(
        ConfigError, match=r"nothing that was drawn 50 times is a configuration; the last: .*count-sums"
    ):
        search({"algorithm": ["count-sums"], "local": {"steps": [1, 2]}})


def test_settings_are_tried_once_and_a_space_that_is_exhausted_is_enough(search, toys):
    record = search({"local": {"learning-rate": [0.001, 0.004, 0.02]}}, pruner="none")
    assert sorted(row.settings["local.learning-rate"] for row in record.rows) == [0.001, 0.004, 0.02]
    assert record.ended == "50 draws in sequence were nothing new"
    assert record.rows[record.best].settings == {"local.learning-rate": 0.004}


def test_no_trial_begins_that_would_not_end_within_the_budget(search):
    record = search(budget=35.0, trials=20, pruner="none")  # by their journals trials take 9 s, of which 4 are repeated
    assert len(record.rows) == 1
    assert record.ended.startswith("another trial would not end within the budget of 35 s")


def test_a_folder_is_one_search_of_one_process(search, tmp_path):
    search(trials=2)
    with pytest.raises(OtherRunError, match=r"is another one: --sampler 'tpe', now 'random'; take another --out"):
        search(sampler="random")
    with pytest.raises(OtherRunError, match=r"local\.steps 20, now 7"):
        search(base=BASE.replaced({"local.steps": 7}))
    with pytest.raises(OtherRunError, match=r"the space of local\.learning-rate"):
        search({"local": {"learning-rate": [0.1, 0.2]}, "objective": SPACE["objective"]})
    whole = search.folder.record.read_text()
    search.folder.record.write_text(whole.replace("mean class-rows=moved", "mean"))  # as an earlier version wrote it
    with pytest.raises(OtherRunError, match="aggregate 'mean class-rows=all', now 'mean class-rows=moved'"):
        search()
    search.folder.record.write_text(whole)
    import filelock

    with filelock.FileLock(search.folder.lock), pytest.raises(BusyError, match="another process is at work"):
        search(trials=2)
    search.folder.record.write_text("{")
    with pytest.raises(CheckpointError, match="is not whole"):
        search(trials=2)


def test_a_folder_with_other_things_is_left_alone(search):
    search.folder.path.mkdir()
    (search.folder.path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds other things \(thesis.tex\)"):
        search()
    assert [path.name for path in search.folder.path.iterdir()] == ["thesis.tex"]


def test_a_torn_line_of_the_study_is_cut(search):
    first = search(trials=3)
    with search.folder.study.open("ab") as stream:
        stream.write(b'{"op_code": 4, "work')
    assert search(trials=5).rows[:3] == first.rows


def test_importances_tell_what_the_score_depends_on(search):
    record = search(trials=16, sampler="random", pruner="none", finalists=0)
    shares = {row.name: row.importance for row in record.parameters}
    assert shares["local.learning-rate"] > 0.5
    assert record.best == min(record.rows, key=lambda row: row.value).number
    assert "with one seed" in search.folder.best.read_text()


class TestPlan:
    def make(self, metric="fid", sampler="tpe", pruner=None, **changes):
        base = BASE.replaced({key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()})
        return make_plan("toys", base, space_of(SPACE, "space.toml"), metric, sampler, pruner)

    def test_a_score_of_the_end_only_has_no_pruner(self):
        plan = self.make("utility")
        assert (plan.better, plan.pruner, plan.own) == ("higher", "none", {})
        assert self.make("recall").pruner == "none" or self.make("recall").better == "higher"
        with pytest.raises(ConfigError, match="utility is computed at the end of a run only"):
            self.make("utility", pruner="wilcoxon")
        with pytest.raises(ConfigError, match=r"evaluation\.every=0 scores the last round only"):
            self.make(pruner="hyperband", evaluation__every=0)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("fidd",), "--metric 'fidd': did you mean 'fid'"),
            (("fid", "tpee"), "--sampler 'tpee': did you mean 'tpe'"),
            (("fid", "tpe", "hyperbnad"), "--pruner 'hyperbnad': did you mean 'hyperband'"),
        ],
    )
    def test_names_are_checked(self, arguments, words):
        with pytest.raises(ConfigError, match=words):
            self.make(*arguments)

    def test_the_score_is_what_rounds_are_compared_by_unless_another_is_named(self):
        assert self.make(None).metric == "fid"
        text = RunConfig.from_flat(read_preset("shakespeare"))
        space = space_of({"local": {"steps": [1, 2]}}, "space.toml")
        assert make_plan("shakespeare", text, space, None, "tpe", None).metric == "bits-per-character"

    def test_examples_that_are_promised_to_be_kept_are_not_searched_on(self):
        promise = {"privacy": "example epsilon=10", "model": "dcgan norm=none"}
        self.make(**promise)  # examples of mnist-10k are everybody's
        with pytest.raises(ConfigError, match="would spend the epsilon of all its trials together"):
            self.make(data__name="image-folder", **promise)


def test_times_of_people_are_read():
    assert [parse_time(text) for text in ("2h", "90m", "1h30m", "45s", "1.5h", "2d", "10min")] == [
        7200, 5400, 5400, 45, 5400, 172800, 600
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--budget '2' is no time.* as 2h or 2m"):
        parse_time("2")
    with pytest.raises(ConfigError, match="--budget '2 hours' is no time"):
        parse_time("2 hours")


class TestCommand:
    def fedgan(self, *arguments, capsys):
        code = main._run(["search", *map(str, arguments)], debug=False)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    @pytest.fixture
    def space(self, tmp_path):
        file = tmp_path / "space.toml"
        file.write_text("local.learning-rate = { low = 1e-4, high = 1e-1, log = true }\n")
        return file

    def test_a_search_from_the_command_to_its_preset(self, toys, space, tmp_path, capsys):
        arguments = ("--space", space, "--out", tmp_path / "s", "-c", "evaluation.every=1", "--trials", 3, "--seeds", 1)
        code, out, err = self.fedgan(*arguments, capsys=capsys)
        assert code == 0, err
        assert "trials   3: 3 complete" in out or "pruned" in out
        assert f"more     fedgan simulate {tmp_path / 's' / 'best.toml'}" in out
        assert "trial 0, 1 of 3: local.learning-rate=" in err
        code, out, err = self.fedgan(*arguments, "--json", capsys=capsys)
        said = json.loads(out)
        assert (code, said["metric"], said["best"]) == (0, "fid", said["finalists"][0]["trial"])

    def test_a_dry_run_shows_what_is_searched_and_starts_nothing(self, toys, space, capsys):
        code, out, _ = self.fedgan("--space", space, "--dry-run", capsys=capsys)
        assert code == 0
        assert "local.learning-rate" in out.splitlines()[0]
        assert out.count("# as: local.learning-rate=") == 3
        assert not toys.made

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "--space FILE.toml is missing"),
            (["--space", "SPACE"], "--out DIR is missing"),
            (["--space", "SPACE", "--out", "x", "-c", 'output.dir="y"'], "each trial has a folder of its own"),
            (["--space", "nothing.toml", "--out", "x"], "'nothing.toml' cannot be read"),
            (["--space", "SPACE", "--out", "x", "--budget", "soon"], "--budget 'soon' is no time"),
        ],
    )
    def test_what_is_missing_is_said(self, space, arguments, words, capsys):
        code, _, err = self.fedgan(*(str(space) if it == "SPACE" else it for it in arguments), capsys=capsys)
        assert code == 2
        assert words in err


class TestSlots:
    def work_off(self, function, *tasks):
        slots, left, found = Slots(2), list(tasks), []

        def take():
            if not left:
                return None
            number = left.pop()
            return lambda: found.append(slots.call(function, number))

        slots.work_off(take)
        return sorted(found)

    def test_several_processes_work_off_what_there_is(self):
        assert self.work_off(math.isqrt, 1, 4, 9) == [1, 2, 3]

    def test_what_is_raised_in_one_is_raised_here(self):
        with pytest.raises(ValueError, match="nonnegative"):
            self.work_off(math.isqrt, -1)

    def test_one_that_dies_is_said_to_have_died(self):
        with pytest.raises(DiedError, match="its process ended with exit code 3"):
            self.work_off(os._exit, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("no_reports")
class TestRuns:
    """The same with runs that train."""

    @pytest.fixture
    def base(self, small):
        rounds = {"federation.num-rounds": 2, "evaluation.every": 1, "evaluation.extractor": "auto", "output.dir": ""}
        return small().replaced(rounds)

    def conduct(self, base, folder, **limits):
        plan = make_plan("small", base, space_of(SPACE, "space.toml"), "fid", "tpe", None)
        return conduct(folder, plan, Limits(**limits), Means(1), None, lambda line: None)

    def test_trials_and_finalists_are_runs_that_can_be_looked_at(self, base, tmp_path):
        folder = SearchFolder(tmp_path / "s")
        record = self.conduct(base, folder, trials=1, finalists=1, seeds=1)
        (row,) = record.rows
        trial, finalist = load(folder.path / row.run), load(folder.finalist(0, 1).path)
        assert (row.state, row.rounds, row.value) == ("complete", 2, trial.scores["fid"])
        assert record.finalists[0].values == {1: finalist.scores["fid"]}
        assert (trial.config.seed, finalist.config.seed) == (0, 1)
        assert len(finalist.generate(4)) == 4

    def test_a_trial_that_is_given_up_ends_after_its_round(self, base, tmp_path, monkeypatch):
        import optuna

        monkeypatch.setattr(memory, "_pruner_of", lambda plan: optuna.pruners.ThresholdPruner(upper=0.0))
        folder = SearchFolder(tmp_path / "s")
        (row,) = self.conduct(base, folder, trials=1).rows
        assert (row.state, row.rounds) == ("pruned", 1)
        assert row.value == load(folder.path / row.run).journal[0]["scores"]["fid"]
        assert load(folder.path / row.run).summary["scores"] == {}
