"""Why a run ended, and what it has no scores of, is in its journal: whenever it ended, and before the first round."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import run_on

from client.app import app
from common.errors import ConfigError, DataError, FederationError, OtherRunError, TerminatedError
from server.records import journal, run_directory
from server.records.run_directory import RunDirectory
from simulations.commands import main
from simulations.runs.run_reader import RunReader
from simulations.runs.status import state_of
from simulations.runtime.in_process import simulate
from simulations.runtime.in_process_grid import InProcessGrid

pytestmark = pytest.mark.usefixtures("no_reports")

NO_ROUND = {"federation__num_rounds": 1}


def folder(config):
    return RunDirectory(run_directory.resolve(config.output.dir).path)


def stops(config):
    """Returns round and reason of each ``stopped`` in a run's journal."""
    events = journal.events(folder(config).journal)
    return [(event["round"], event["reason"]) for event in events if event["event"] == "stopped"]


def reasons_of(config, event="not-scored"):
    return [line["reason"] for line in journal.events(folder(config).journal) if line["event"] == event]


def federate(config, *sites, raises=None):
    grid = InProcessGrid(app, config.flat(), config.federation.num_clients, 1)
    for k, node_config in enumerate(sites):
        grid._node_configs[k] |= node_config
    return run_on(grid, config)


def words_of(directory):
    return state_of(RunReader("run", directory).view())


def npz(path, size, num=40, classes=2):
    draw = np.random.default_rng(0)
    np.savez(path, images=draw.integers(0, 256, (num, size, size), dtype=np.uint8), labels=np.arange(num) % classes)
    return {"data": f"npz:{path}"}


class TestBeforeRoundOne:
    def test_sites_that_differ(self, small, tmp_path):
        config = small(federation__num_clients=2, partition="iid")
        with pytest.raises(FederationError, match="do not fit each other") as caught:
            federate(config, npz(tmp_path / "a.npz", 28), npz(tmp_path / "b.npz", 32))
        assert stops(config) == [(0, str(caught.value))]
        assert words_of(folder(config)) == ("failed", f"Stopped before its first round was done: {caught.value}.")

    def test_a_site_whose_data_are_missing(self, small, tmp_path):
        config = small(federation__num_clients=1, partition="iid")
        with pytest.raises(FederationError, match="roll call of 1 clients failed") as caught:
            federate(config, {"data": f"npz:{tmp_path / 'none.npz'}"})
        assert stops(config) == [(0, str(caught.value))]

    def test_weights_of_the_extractor_that_are_missing(self, small, monkeypatch):
        from common.metrics import inception

        def missing(weights):
            raise DataError("no weights at all")

        monkeypatch.setattr(inception, "load", missing)
        config = small(evaluation__extractor="inception")
        with pytest.raises(DataError, match="no weights"):
            simulate(config)
        assert stops(config) == [(0, "no weights at all")]

    def test_an_extractor_that_does_not_take_the_images(self, small, tmp_path):
        config = small(evaluation__extractor="mnist-cnn", federation__num_clients=1, partition="iid")
        with pytest.raises(ConfigError, match="does not take 32x32") as caught:
            federate(config, npz(tmp_path / "a.npz", 32))
        assert stops(config) == [(0, str(caught.value))]

    def test_who_starts_again_needs_no_resume_and_is_not_reminded_of_the_first_try(self, small, tmp_path):
        config = small(federation__num_clients=1, partition="iid", **NO_ROUND)
        site = {"data": f"npz:{tmp_path / 'late.npz'}"}
        with pytest.raises(FederationError):
            federate(config, site)
        npz(tmp_path / "late.npz", 28)
        directory = federate(config, site)
        assert stops(config) == []
        assert words_of(directory)[0] == "finished"

    def test_a_configuration_that_is_refused_makes_nothing(self, small, tmp_path):
        with pytest.raises(DataError):
            simulate(small(data__name="npz", data__root=str(tmp_path / "none.npz")))
        assert not (tmp_path / "run").exists()


class TestWithinTheRun:
    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (KeyboardInterrupt(), "interrupted"),
            (MemoryError("9 GB"), "out of memory (9 GB): fewer clients at a time"),
            (RuntimeError("CUDA out of memory. Tried"), "out of memory (CUDA out of memory. Tried): fewer clients"),
            (ZeroDivisionError("by\nzero"), "ZeroDivisionError: by zero (a defect; --debug shows where)"),
            (OSError(28, "No space left on device"), "cannot be written (No space left on device); round 1 is safe"),
        ],
    )
    def test_the_reason_is_noted_in_the_words_of_the_command_line(self, small, monkeypatch, capsys, error, words):
        config = small()
        from server.rounds.previews import DrawSamples

        draw = DrawSamples.draw

        def failing(self, state):
            if state.round == 3:
                raise error
            draw(self, state)

        monkeypatch.setattr(DrawSamples, "draw", failing)
        Path(config.output.dir).parent.joinpath("run.toml").write_text(config.toml())
        file = Path(config.output.dir).with_suffix(".toml")
        arguments = ["simulate", str(file), "--out", config.output.dir]
        code = main._run(arguments, debug=False)
        assert code == (130 if isinstance(error, KeyboardInterrupt) else 1)
        ((round, reason),) = stops(config)
        assert round == 2
        assert words.replace("round 1", "round 2") in reason
        assert reason in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
    def test_a_signal_ends_it_with_a_checkpoint_and_the_way_on(self, small, capsys, name, request):
        earlier = signal.signal(getattr(signal, name), signal.SIG_DFL)  # nohup has SIGHUP ignored
        request.addfinalizer(lambda: signal.signal(getattr(signal, name), earlier))
        before = signal.SIG_DFL
        config, turns = small(), iter(range(100))

        def end(partition):
            if next(turns) == 6:  # in round 2
                os.kill(os.getpid(), getattr(signal, name))

        with pytest.raises(TerminatedError, match=f"ended by {name}") as caught:
            simulate(config, on_reply=end)
        assert caught.value.code == 128 + getattr(signal, name)
        assert stops(config) == [(1, f"ended by {name}")]
        assert signal.getsignal(getattr(signal, name)) == before
        assert words_of(folder(config))[1] == f"Stopped after round 1: ended by {name}."
        simulate(small(output__resume=True))
        assert words_of(folder(config)) == ("finished", "Finished after 3 rounds.")

    def test_a_resume_that_is_refused_is_no_end_of_the_run_in_the_folder(self, small):
        simulate(small(**NO_ROUND))
        with pytest.raises(OtherRunError):
            simulate(small(output__resume=True, local__steps=3))
        assert stops(small()) == []


class TestInTheFinalScores:
    def test_a_run_that_ends_there_is_done_and_resumed_for_its_scores_alone(self, small, monkeypatch):
        from server.evaluation.scoring import Scoring

        def interrupted(self, weights):
            raise KeyboardInterrupt

        config = small()
        with monkeypatch.context() as patch:
            patch.setattr(Scoring, "final", interrupted)
            with pytest.raises(KeyboardInterrupt):
                simulate(config)
        assert stops(config) == [(3, "interrupted")]
        assert words_of(folder(config)) == ("failed", "Stopped after round 3: interrupted.")
        trained = []
        simulate(small(output__resume=True), on_reply=trained.append)
        assert trained == []
        assert words_of(folder(config)) == ("finished", "Finished after 3 rounds.")
        assert "score" in json.loads(folder(config).summary.read_text())["scores"]

    def test_a_metric_that_fails_loses_no_training(self, small, monkeypatch, caplog):
        from common.metrics import classifier_score

        def broken(*arguments):
            raise ValueError("no such thing")

        monkeypatch.setattr(classifier_score, "inception_score", broken)
        config = small(**NO_ROUND)
        simulate(config)
        summary = json.loads(folder(config).summary.read_text())
        assert "score" not in summary["scores"]
        (why,) = [reason for reason in summary["not-scored"] if "no such thing" in reason]
        assert why in reasons_of(config)
        assert why in caplog.text
        assert words_of(folder(config))[0] == "finished"

    def test_images_that_are_not_finite_in_the_final_scores_alone_lose_no_training(self, small, monkeypatch):
        from common.errors import DivergenceError
        from server.evaluation import evaluator

        generate = evaluator.generate_on_all_cores

        def broken(generator, labels, seed):
            if len(labels) == 150:
                raise DivergenceError("the generator's images are not finite")
            return generate(generator, labels, seed)

        monkeypatch.setattr(evaluator, "generate_on_all_cores", broken)
        config = small(**NO_ROUND, evaluation__final_num_samples=150, evaluation__federated=False)
        simulate(config)
        summary = json.loads(folder(config).summary.read_text())
        assert summary["scores"] == {}
        assert "score is not computed: it failed: the generator's images are not finite" in summary["not-scored"]


class TestWhatIsNotScored:
    def test_sites_whose_images_have_no_extractor(self, small, tmp_path, caplog):
        changes = {"evaluation__extractor": "none", "federation__num_clients": 2, "partition": "iid"}
        config = small(**changes, **NO_ROUND)
        sites = [npz(tmp_path / f"{k}.npz", 32) for k in range(2)]
        directory = federate(config, *sites)
        events = journal.events(directory.journal)
        reasons = [event["reason"] for event in events if event["event"] == "not-scored"]
        assert {event["round"] for event in events} == {0}
        assert any("federated-fid" in r and "no extractor, as evaluation.extractor=none" in r for r in reasons)
        assert any("has other images or classes than the clients" in reason for reason in reasons)
        text = directory.journal.read_text()
        assert text.index("not-scored") < text.index('"examples-seen"')  # before round 1
        assert all(reason in caplog.text for reason in reasons)
        assert json.loads(directory.summary.read_text())["not-scored"] == reasons

    def test_sites_that_refuse_moments(self, small, tmp_path):
        changes = {"evaluation__extractor": "auto", "federation__num_clients": 2, "partition": "iid"}
        for name, refusing in (("all", 2), ("one", 1)):
            config = small(name, **changes, **NO_ROUND)
            sites = [npz(tmp_path / f"{name}{k}.npz", 28) for k in range(2)]
            for site in sites[:refusing]:
                site["disclose-moments"] = False
            federate(config, *sites)
            (why,) = [reason for reason in reasons_of(config) if "disclose-moments=false" in reason]
            assert ("no client sends moments" in why) == (refusing == 2)

    def test_a_generator_that_clients_keep(self, small):
        config = small(**NO_ROUND, algorithm="fedavg sync=discriminator")
        simulate(config)
        (why,) = reasons_of(config)
        assert "leaves generators to clients" in why
        assert "sync=discriminator" in why

    def test_reasons_are_not_repeated_when_a_run_goes_on(self, small):
        simulate(small(**NO_ROUND))
        before = reasons_of(small())
        simulate(small(federation__num_rounds=2, output__resume=True))
        assert reasons_of(small()) == before
        assert len(before) == len(set(before)) > 0

    def test_features_of_digits_on_noise(self, small, tmp_path, capsys):
        npz(tmp_path / "noise.npz", 28, num=200, classes=10)
        config = small(
            **NO_ROUND, evaluation__extractor="auto", partition="iid", data__name="npz",
            data__root=str(tmp_path / "noise.npz"),
        )  # fmt: skip
        simulate(config)
        warnings = reasons_of(config, "features")
        assert "classifier of handwritten digits" in warnings[0]
        with_what = json.loads(folder(config).summary.read_text())["scored-with"]
        assert warnings[0] in with_what.pop("warning")
        assert with_what == {"extractor": "mnist-cnn", "num-samples": 100}
        (line,) = journal.read(folder(config).journal)
        assert line["scored-with"] == {"extractor": "mnist-cnn", "num-samples": 100}

    @pytest.mark.parametrize("extractor", ["auto", "none"])
    def test_every_line_with_scores_says_with_what(self, small, extractor):
        config = small(evaluation__every=2, evaluation__extractor=extractor, evaluation__final_num_samples=120)
        simulate(config)
        name = "mnist-cnn" if extractor == "auto" else None
        lines = journal.read(folder(config).journal)
        assert [line.get("scored-with") for line in lines] == [{"extractor": name, "num-samples": 100}] * 3
        summary = json.loads(folder(config).summary.read_text())
        assert summary["scored-with"] == {"extractor": name, "num-samples": 120}
        assert "utility-num-samples" not in summary["scored-with"]
        assert reasons_of(config, "features") == []
