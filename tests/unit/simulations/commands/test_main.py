"""The command line as a script sees it: stdout, stderr and exit codes, in a process of its own where that matters."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import tree
from server import checkpoint
from server.records import journal as record
from simulations.commands import main, train
from simulations.commands.options import print_scores

ROOT = Path(__file__).parents[4]
TINY = (
    'model="mlp width=16 latent-size=8" partition="shards per-client=2 examples-per-client=40" '
    "federation.num-clients=4 federation.num-rounds=3 local.steps=2 local.batch-size=8 evaluation.every=0 "
    'evaluation.num-samples=100 evaluation.final-num-samples=100 evaluation.extractor="none" '
    'evaluation.utility-num-samples=0 output.checkpoint-every=1 output.checkpoint-seconds=0 local.schedule="constant"'
)


def fedgan(*arguments, capsys=None):
    """Runs the command in this process; returns exit code, stdout, stderr."""
    code = main._run([str(argument) for argument in arguments], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns the directory of a run."""
    run = tmp_path_factory.mktemp("cli") / "run"
    assert main._run(["simulate", "--out", str(run), "-c", TINY, "--json"], debug=False) == 0
    return run


def test_dry_run_prints_the_resolved_configuration_and_starts_nothing(capsys, tmp_path):
    code, out, _ = fedgan("simulate", "--dry-run", "--out", tmp_path / "run", "-c", "seed=5", capsys=capsys)
    assert code == 0
    assert "seed = 5" in out
    assert "per-client=2" in out
    assert not (tmp_path / "run").exists()
    (tmp_path / "again.toml").write_text(out)
    assert fedgan("simulate", tmp_path / "again.toml", "--dry-run", capsys=capsys)[1] == out
    assert fedgan("simulate", "--dry-run", capsys=capsys)[1].count('dir = ""') == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulate", "-c", "local.step=3"], "local.step=3: no such key; did you mean 'local.steps'"),
        (["simulate", "-c", "local.steps=0"], "local.steps=0: Input should be greater than or equal to 1"),
        (["simulate", "quikstart"], "'quikstart': no such preset, nor a TOML file; did you mean 'quickstart'"),
        (["simulate", "--resume"], "--resume needs --out DIR"),
        (["simulate", "--resume", "--out", "nowhere"], "holds no run to go on with"),
        (["simulate", "-c", "federation.min-replies=11"], "federation.min-replies=11: a round has 10 clients"),
        (["simulate", "-c", "local.learning-rate=inf"], "local.learning-rate=inf"),
        (["simulate", "-c", "federation.num-clients=9000"], "9000"),
        (["simulate", "--wrong"], "No such option"),
        (["generate", "nowhere", "--out", "a.png"], "'nowhere' is not a run directory"),
        (["components", "modle"], "'modle': no such kind of component; did you mean 'model'"),
        (["partition", "-c", 'partition="shards per-client=9000"'], "shards"),
        (["partition", "-c", "federation.num-clients=9000"], "9000"),
        (["data", "mnits"], "did you mean 'mnist'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, words, capsys):
    code, out, err = fedgan(*arguments, capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_json_is_the_last_line_of_stdout(capsys, tmp_path):
    code, out, err = fedgan("simulate", "--out", tmp_path / "run", "-c", TINY, "--json", capsys=capsys)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result["run"] == str(tmp_path / "run")
    assert result["rounds"] == 3
    assert 1 <= result["scores"]["score"] <= 10
    assert err.splitlines()[0] == f"run directory: {tmp_path / 'run'}"
    assert "round 3/3" in err
    assert "INFO" not in err


def test_a_run_is_not_overwritten(trained, capsys):
    before = (trained / "journal.jsonl").read_bytes()
    code, _, err = fedgan("simulate", "--out", trained, "-c", TINY, capsys=capsys)
    assert code == 2
    assert "holds a run already" in err
    assert (trained / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        (["--num", "12"], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]),
        (["--num", "3", "--label", "7"], [7, 7, 7]),
        (["--num", "2", "--balanced"], [0, 1]),
    ],
)
def test_generate_writes_arrays(trained, tmp_path, capsys, options, labels):
    assert fedgan("generate", trained, *options, "--out", tmp_path / "a.npz", capsys=capsys)[0] == 0
    with np.load(tmp_path / "a.npz") as arrays:
        images, found = arrays["images"], arrays["labels"]
    assert (images.dtype, images.shape) == (np.uint8, (len(labels), 28, 28))
    assert (found.dtype, found.tolist()) == (np.int64, labels)


def test_generate_repeats_for_a_seed_and_differs_for_another(trained, tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fedgan("generate", trained, "--num", 4, "--seed", seed, "--out", tmp_path / f"{name}.npz", capsys=capsys)
    a, b, c = (np.load(tmp_path / f"{name}.npz")["images"] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_generate_writes_a_grid_and_a_folder(trained, tmp_path, capsys):
    assert fedgan("generate", trained, "--num", 20, "--out", tmp_path / "grid.png", capsys=capsys)[0] == 0
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (10 * 30 + 2, 2 * 30 + 2)
    assert fedgan("generate", trained, "--num", 3, "--out", tmp_path / "folder", capsys=capsys)[0] == 0
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == [f"0000{k}-label-{k}.png" for k in range(3)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--label", "10", "--out", "a.png"], "--label 10; the generator knows 0 to 9"),
        (["--label", "1", "--balanced", "--out", "a.png"], "exclude each other"),
        (["--out", "a.gif"], "write to a .npz, to a .png, or to a folder"),
        (["--round", "7", "--out", "a.png"], "no checkpoint of round 7; rounds with one: 1, 2, 3"),
        (["--round", "best", "--out", "a.png"], "has a fid; name one by its number"),
        (["--round", "first", "--out", "a.png"], "--round 'first': a number, or best"),
        (["--client", "2", "--out", "a.png"], "client=2: no generator of its own"),
    ],
)
def test_generate_refuses_what_it_cannot_do(trained, capsys, options, words):
    code, _, err = fedgan("generate", trained, *options, capsys=capsys)
    assert code == 2
    assert words in err


@pytest.fixture
def damaged(trained, tmp_path):
    """Returns a copy of a run, to be damaged."""
    return shutil.copytree(trained, tmp_path / "damaged")


@pytest.mark.parametrize("content", ['{"rounds": 3, "sco', "", "[]", '{"rounds": 3}'])
def test_a_torn_summary_is_named_with_the_way_to_write_it_again(damaged, capsys, content):
    summary = damaged / "summary.json"
    whole = json.loads(summary.read_text())["weights-sha256"]
    summary.write_text(content)
    code, out, err = fedgan("report", damaged, capsys=capsys)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {summary} is not whole (")
    assert "): remove it, and resume the run" in err
    assert "defect" not in err
    if not content:
        summary.unlink()
        assert fedgan(*err.split("(fedgan ")[1].split(")")[0].split(), capsys=capsys)[0] == 0
        assert json.loads(summary.read_text())["weights-sha256"] == whole
        assert fedgan("report", damaged, capsys=capsys)[0] == 0


@pytest.mark.parametrize("command", ["generate", "evaluate", "report", "simulate"])
@pytest.mark.parametrize("content", ["", 'model = "mlp"\n'])
def test_an_emptied_configuration_is_named_with_what_it_lacks(damaged, tmp_path, capsys, command, content):
    (damaged / "config.toml").write_text(content)
    out = {"generate": ["--out", tmp_path / "i.npz"], "simulate": ["--resume", "--out", damaged]}.get(command, [])
    code, _, err = fedgan(command, *([] if command == "simulate" else [damaged]), *out, capsys=capsys)
    assert code == 2
    missing = ["model"] * (not content) + [
        "algorithm",
        "partition",
        "data.name",
        "federation.num-clients",
        "output.resume",
    ]
    assert err.startswith(f"error: {damaged}/config.toml is not whole, as it has no {', '.join(missing)}: write it")
    assert "defect" not in err


def test_a_configuration_that_is_not_that_of_the_weights_is_refused_with_what_to_put_back(damaged, tmp_path, capsys):
    config = damaged / "config.toml"
    config.write_text(config.read_text().replace("width=16", "width=32").replace("steps = 2", "steps = 3"))
    code, _, err = fedgan("generate", damaged, "--out", tmp_path / "i.npz", capsys=capsys)
    assert code == 2
    assert f"{config} is not the configuration that the checkpoint of round 3 was made with: put back model = " in err
    assert "width=16" in err
    assert "local.steps = 2" in err
    assert "local.batch-size" not in err


def test_a_round_is_generated_from_its_own_checkpoint(trained, tmp_path, capsys):
    for round in (1, 3):
        fedgan("generate", trained, "--round", round, "--num", 5, "--out", tmp_path / f"{round}.npz", capsys=capsys)
    fedgan("generate", trained, "--num", 5, "--out", tmp_path / "last.npz", capsys=capsys)
    one, three, last = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("1", "3", "last"))
    assert np.array_equal(three, last)
    assert not np.array_equal(one, last)


def test_the_best_round_is_that_of_the_lowest_fid_in_the_journal(trained, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    lines = record.read(copy / "journal.jsonl")
    for line, fid in zip(lines, (9.0, 4.0, 7.0), strict=True):
        line["scores"] = {"fid": fid}
    (copy / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, options in (("best", ["--round", "best"]), ("two", ["--round", 2]), ("last", [])):
        assert fedgan("generate", copy, *options, "--num", 5, "--out", tmp_path / f"{name}.npz", capsys=capsys)[0] == 0
    best, two, last = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("best", "two", "last"))
    assert np.array_equal(best, two)
    assert not np.array_equal(best, last)


def test_clients_own_generators_can_be_used(tmp_path, capsys):
    run = tmp_path / "run"
    overrides = TINY + ' algorithm="fedavg sync=discriminator"'
    assert fedgan("simulate", "--out", run, "-c", overrides, capsys=capsys)[0] == 0
    code, _, err = fedgan("generate", run, "--out", tmp_path / "a.npz", capsys=capsys)
    assert code == 2
    assert "choose a client, 0 to 3" in err
    for client in (0, 1):
        target = tmp_path / f"{client}.npz"
        assert fedgan("generate", run, "--client", client, "--num", 5, "--out", target, capsys=capsys)[0] == 0
    zero, one = (np.load(tmp_path / f"{client}.npz")["images"] for client in (0, 1))
    assert not np.array_equal(zero, one)


def test_an_unconditional_generator_claims_no_labels(tmp_path, capsys):
    run = tmp_path / "run"
    overrides = TINY.replace("latent-size=8", "latent-size=8 conditional=false")
    assert fedgan("simulate", "--out", run, "-c", overrides, capsys=capsys)[0] == 0
    for option in (["--label", "3"], ["--balanced"]):
        code, _, err = fedgan("generate", run, *option, "--out", tmp_path / "a.npz", capsys=capsys)
        assert code == 2
        assert "not conditional" in err
    assert fedgan("generate", run, "--num", "3", "--out", tmp_path / "a.npz", capsys=capsys)[0] == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["labels"].tolist() == [-1, -1, -1]
    code, _, err = fedgan("evaluate", run, "--metrics", "utility", capsys=capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "--metrics utility: the generator is not conditional" in err


def test_a_run_that_cannot_start_leaves_nothing_behind(tmp_path, capsys):
    for bad in ('data.name="mnist"', "federation.num-clients=9000", 'data.name="mnist-10k" data.image-size=30'):
        code, _, err = fedgan("simulate", "--out", tmp_path / "run", "-c", bad, capsys=capsys)
        assert code in (1, 2)
        assert err.count("error: ") == 1
        assert not (tmp_path / "run").exists()


def test_evaluate_prints_what_is_requested(trained, capsys):
    code, out, _ = fedgan("evaluate", trained, "--num", 100, "--metrics", "score", "--json", capsys=capsys)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert list(result["scores"]) == ["score"]
    assert result["round"] == 3
    code, _, err = fedgan("evaluate", trained, "--temperatures", "1", capsys=capsys)
    assert (code, "--temperatures 1: only samplers of text have one" in err) == (2, True)
    code, _, err = fedgan("evaluate", trained, "--metrics", "fidd", capsys=capsys)
    assert code == 2
    assert "did you mean 'fid'" in err


def test_partition_prints_a_table_and_draws_it(capsys, tmp_path):
    picture = tmp_path / "p.png"
    code, out, _ = fedgan("partition", "-c", "federation.num-clients=4", "--plot", picture, "--json", capsys=capsys)
    assert code == 0
    clients = json.loads(out)["clients"]
    assert sum(client["num-examples"] for client in clients) == 8000
    assert all(sum(client["label-counts"]) == client["num-examples"] for client in clients)
    with Image.open(picture) as image:
        assert image.size[0] > 300
    code, out, _ = fedgan("partition", "-c", "federation.num-clients=4", capsys=capsys)
    assert sum(str(client["num-examples"]) in out for client in clients) == 4


def test_components_lists_every_option_from_the_code(capsys):
    from common.component_tables import TABLES

    code, out, _ = fedgan("components", capsys=capsys)
    assert code == 0
    for table in TABLES.values():
        for name, component in table.items():
            assert f"  {name}: " in out
            for key, field in component.model_fields.items():
                assert f"      {field.alias or key}={field.default}" in out


def test_data_says_what_is_there(capsys, tmp_path):
    code, out, _ = fedgan("data", "--root", tmp_path, capsys=capsys)
    assert code == 0
    assert "mnist-10k" in out
    assert str(tmp_path) in out
    code, out, _ = fedgan("data", "mnist-10k", capsys=capsys)
    assert out.startswith("mnist-10k: 8,000 training and 2,000 held-out images, 28x28, 1 channel(s), 10 class(es)\n")


def test_a_defect_is_one_line_without_a_traceback(capsys, monkeypatch):
    monkeypatch.setattr(train, "read_overrides", lambda arguments: 1 / 0)
    code, out, err = fedgan("simulate", capsys=capsys)
    assert (code, out) == (1, "")
    assert err == "error: ZeroDivisionError: division by zero (a defect; --debug shows where)\n"


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_resume_ends_with_the_same_bits(tmp_path):
    overrides = ("-c", TINY, "-c", "output.checkpoint-every=1000 output.sample-every=1000")
    env = os.environ | {"OMP_NUM_THREADS": "1"}

    def command(run, *more):
        return [sys.executable, "-m", "simulations.commands.main", "simulate", "--out", str(run), *more]

    def finish(run, *more):
        done = subprocess.run(
            command(run, *more), cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr

    process = subprocess.Popen(
        command(tmp_path / "cut", *overrides, "-c", "federation.num-rounds=400"),
        cwd=ROOT,
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # Whoever starts the tests in the background makes their children ignore the interrupt.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  one thread
    )
    journal = tmp_path / "cut" / "journal.jsonl"
    deadline = time.monotonic() + 180
    while not (journal.exists() and journal.read_text().count('"examples-seen"') >= 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, journal.exists() and journal.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert f"go on with: fedgan simulate --resume --out {tmp_path / 'cut'}" in err
    assert "Traceback" not in err
    done = checkpoint.latest(tmp_path / "cut" / "checkpoints").snapshot.state.round
    assert 2 <= done < 400  # the third line may be read before its round counts as done
    rounds = done + 3
    finish(tmp_path / "cut", "--resume", "-c", f"federation.num-rounds={rounds}")
    finish(tmp_path / "through", *overrides, "-c", f"federation.num-rounds={rounds}")
    digests = [
        tree.digest(checkpoint.latest(tmp_path / name / "checkpoints").snapshot.state.parameters)
        for name in ("cut", "through")
    ]
    assert digests[0] == digests[1]


def test_who_interrupts_a_run_reads_how_to_go_on_also_with_its_engine(tmp_path, monkeypatch, capsys):
    def interrupted(config, run, workers, engine, stream):
        run.path.mkdir()
        run.config.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("simulations.runtime.launch.train", interrupted)
    for engine, reported in (("auto", ""), ("batched", " --engine batched")):
        out = tmp_path / engine
        assert main._run(["simulate", "--out", str(out), "--engine", engine], debug=False) == 130
        assert capsys.readouterr().err.endswith(f"fedgan simulate --resume --out {out}{reported}\n")


def test_of_many_clients_it_is_said_how_their_figures_are_spread(capsys):
    print_scores({"scores": {"client-accuracy": [0.5, None, *[0.25] * 30, *[0.125] * 30], "client-fid": [1.0, None]}})
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "client-accuracy      0.125 to 0.5, 0.25 in the middle of 61"
    assert second.split() == ["client-fid", "1.00", "-"]


def test_scores_are_printed_with_what_they_were_made_with_and_why_others_are_missing(capsys):
    made = {"extractor": "mnist-cnn", "num-samples": 10_000, "utility-num-samples": 30_000, "warning": "No digits."}
    reported = {"scores": {"fid": 12.34}, "scored-with": made, "not-scored": ["kid is not"]}
    print_scores(reported)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "fid                  12.34",
        "scored with          features of mnist-cnn, 10,000 generated images, utility on 30,000",
    ]
    assert err == "warning: No digits.\nkid is not\n"
    print_scores({"scores": {"fid": 1.0}})  # of an older run
    assert "extractor and number of images are not known" in capsys.readouterr().out
    print_scores({"scores": {}, "not-scored": ["one", "two"]})
    assert capsys.readouterr().out == "no scores: one; two\n"


def test_a_finished_run_is_not_trained_or_scored_again(trained, capsys):
    before = (trained / "summary.json").stat().st_mtime_ns
    code, out, err = fedgan("simulate", "--resume", "--out", trained, capsys=capsys)
    assert code == 0
    assert "is finished after round 3: nothing is left to train; its final scores are of 20" in err
    assert "round 3/3" not in err
    assert "score  " in out
    assert (trained / "summary.json").stat().st_mtime_ns == before
    code, _, err = fedgan("simulate", "--resume", "--out", trained, "-c", "evaluation.num-samples=200", capsys=capsys)
    assert code == 2
    assert f"evaluation.num-samples=200; to score it again: fedgan evaluate {trained}" in err


def test_a_folder_of_runs_is_answered_with_one_of_them(trained, capsys):
    code, _, err = fedgan("report", trained.parent, capsys=capsys)
    assert code == 2
    assert f"it holds runs: name one, as {trained}" in err


def test_a_name_that_is_no_text_is_refused_or_written_to(trained, tmp_path, capsys, monkeypatch):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    code, _, err = fedgan("simulate", "--out", odd, "-c", TINY, capsys=capsys)
    assert code == 2
    assert "bytes that are no text" in err
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # takes any letter, as that of the command does
    assert fedgan("generate", trained, "--num", 2, "--out", odd, capsys=capsys)[0] == 0
    assert len(os.listdir(odd)) == 2
