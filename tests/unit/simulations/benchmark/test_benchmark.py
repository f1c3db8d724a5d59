"""The benchmark: which runs there are, what becomes of each, and the tables and the page that are made of them."""

import json
import shlex
import sys
import types
from dataclasses import asdict

import pytest
import tomli_w
from PIL import Image

from common.algorithms import ALGORITHMS
from common.algorithms.fedavg import FedAvg
from common.config import RunConfig, upgraded
from common.datasets import DATASETS
from common.errors import ConfigError, OtherRunError
from server.records import journal
from server.records.run_directory import RunDirectory
from simulations.benchmark import protocols, real_baseline, results_page
from simulations.benchmark.protocols import BUDGETS, PROTOCOLS, make_entry, make_variant
from simulations.commands import main
from simulations.runtime.settings import read_overrides, read_preset
from simulations.studies import cells as bench
from simulations.studies import collected_results, figures, running, table_files, tables
from simulations.studies.entries import Entry

TINY = (
    'data.name="mnist-10k" model="mlp width=16 latent-size=8" partition="shards per-client=2 examples-per-client=40" '
    "federation.num-clients=4 federation.num-rounds=2 local.steps=2 local.batch-size=8 evaluation.every=1 "
    'evaluation.num-samples=100 evaluation.final-num-samples=100 evaluation.extractor="none" '
    "evaluation.utility-num-samples=0"
)


pytestmark = pytest.mark.usefixtures("no_reports")


def fedgan(*arguments, capsys):
    """Runs the command in this process; returns exit code, stdout, stderr."""
    code = main._run([str(argument) for argument in arguments], debug=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def base_of(name="p1", **changes):
    return RunConfig.from_flat(
        read_preset(name) | {k.replace("__", ".").replace("_", "-"): v for k, v in changes.items()}
    )


def tiny(tmp_path, *entries, seeds=(0,)):
    """Returns the plan of tiny runs."""
    base = base_of().replaced(read_overrides([TINY]))
    return bench.plan(base, entries or [make_entry("fedavg", base)], seeds, tmp_path)


@pytest.fixture
def toy(monkeypatch):
    """An algorithm as a user would add it: one file, and one line in the table."""
    module = types.ModuleType("common.algorithms.toy")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.Toy = type("Toy", (FedAvg,), {"__module__": module.__name__, "__doc__": "A toy.", "source": "none"})
    monkeypatch.setitem(ALGORITHMS, "toy", module.Toy)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("id", PROTOCOLS)
def test_every_protocol_is_a_preset_with_two_valid_budgets(id, budget):
    values = read_preset(id.lower()) | (PROTOCOLS[id].full if budget == "full" else {})
    config = RunConfig.from_flat(values)
    assert config.federation.num_rounds % config.evaluation.every == 0
    assert config.data.name.partition(" copies=")[0] in (
        "mnist",
        "stacked-mnist of=mnist",
        DATASETS["shakespeare"](min_characters=1000).spec(),
    )


def test_the_budgets_are_those_that_published_figures_had():
    def seen(id, full):
        config = RunConfig.from_flat(read_preset(id.lower()) | (PROTOCOLS[id].full if full else {}))
        return config.federation.num_clients, config.federation.num_rounds, config.local.steps, config.local.batch_size

    assert [seen(id, True) for id in ("P1", "P2", "P4")] == [(10, 500, 100, 32), (10, 1000, 10, 32), (10, 500, 100, 32)]
    assert seen("S1", True) == (10, 500, 100, 32)
    clients, rounds, steps, batch = seen("P3", True)
    assert (clients, rounds) == (20, 50)
    assert steps * batch == pytest.approx(5 * 60000 / 20, rel=0.01)  # five epochs


def test_the_table_has_every_algorithm_between_its_baselines():
    labels = protocols.default_labels(base_of())
    assert (labels[0], labels[-1]) == ("centralised", "local-only")
    assert {name for name, kind in ALGORITHMS.items() if kind.fitting == "steps"} <= set(labels)
    base = base_of()
    entries = [make_entry(label, base) for label in labels]
    assert [entry.label for entry in sorted(entries, key=lambda entry: entry.rank)] == labels


def test_the_table_of_another_family_has_the_algorithms_that_fit_it():
    labels = protocols.default_labels(base_of("t1"))
    assert {"fedavg", "fedprox", "fedopt", "scaffold"} <= set(labels)
    assert not {"md-gan", "ua-gan", "f2u", "server-generator"} & set(labels)  # they need an adversary


def test_a_protocol_with_rows_of_its_own_can_run_them():
    base = base_of("t1")
    protocol = PROTOCOLS["T1"]
    entries = [make_entry(label, base) for label in protocol.labels]
    entries += [make_variant(name, settings) for name, settings in protocol.variants.items()]
    algorithms = {base.replaced(entry.overrides).algorithm_component.component_name() for entry in entries}
    assert algorithms == {"fedavg", "fedprox", "fedopt", "count-sums"}


@pytest.mark.parametrize("id", PROTOCOLS)
def test_centralised_training_sees_the_same_images_in_one_client(id):
    base = base_of(id.lower())
    central = base.replaced(make_entry("centralised", base).overrides)
    assert central.federation.num_clients == 1
    assert central.federation.num_rounds == base.federation.num_rounds
    assert central.local.steps * central.local.batch_size == (
        base.federation.cohort_size * base.local.steps * base.local.batch_size
    )
    assert central.partitioner.of == base.partition
    assert central.partitioner.clients == base.federation.num_clients
    pooling = {"algorithm", "aggregate", "weighting", "partition", "local.steps"}
    pooling |= {"federation.num-clients", "federation.fraction"}
    if base.model_component.roles.adversaries:
        assert "r1=1.0" in central.objective
        pooling |= {"objective"}
    assert {key for key, value in central.flat().items() if value != base.flat()[key]} <= pooling


@pytest.mark.parametrize(("steps", "left"), [(20, 1), (40, 2), (7, 1), (23, 23)])
@pytest.mark.parametrize("name", ["md-gan", "ua-gan", "f2u", "server-generator"])
def test_generators_on_the_server_take_few_steps_a_round_on_as_many_images(name, steps, left):
    base = base_of(local__steps=steps)
    config = base.replaced(make_entry(name, base).overrides)
    assert (config.local.steps, config.local.moments) == (left, "keep")
    assert config.local.steps * config.federation.num_rounds == steps * base.federation.num_rounds
    assert config.evaluation.every * base.federation.num_rounds == base.evaluation.every * config.federation.num_rounds


def test_a_cohort_of_half_the_clients_halves_the_centralised_steps():
    base = base_of(federation__fraction=0.5)
    assert make_entry("centralised", base).overrides["local.steps"] == 5 * base.local.steps


def test_a_toy_algorithm_appears_in_the_benchmark(toy, tmp_path, capsys):
    code, out, _ = fedgan("benchmark", "P1", "-c", TINY, "--dry-run", "--out", tmp_path, capsys=capsys)
    assert code == 0
    lines = [line for line in out.splitlines() if " toy  seed " in line]
    assert len(lines) == 3
    assert not list(tmp_path.iterdir())
    (cell,) = tiny(tmp_path, make_entry("toy sync=generator", base_of()))
    assert cell.config.algorithm.startswith("toy ")
    assert running.execute(cell, 1, sys.stderr)
    assert collected_results.figures_of(RunDirectory(cell.path))["examples-seen"] == 2 * 2 * 4 * 8


def test_runs_are_planned_seed_by_seed_each_in_a_folder_of_its_own(tmp_path):
    base = base_of()
    entries = [make_entry("fedavg sync=generator", base), make_variant("slow", {"local.learning-rate": 1e-4})]
    cells = bench.plan(base, entries, (3, 5), tmp_path)
    assert [cell.path.relative_to(tmp_path).as_posix() for cell in cells] == [
        "fedavg_sync=generator/seed-3",
        "slow/seed-3",
        "fedavg_sync=generator/seed-5",
        "slow/seed-5",
    ]
    assert [cell.config.seed for cell in cells] == [3, 3, 5, 5]
    assert cells[0].config.algorithm_component.sync == "generator"
    assert [cell.config.local.learning_rate for cell in cells] == [base.local.learning_rate, 1e-4] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--algorithms", "fedagv"], "--algorithms 'fedagv': no such algorithm; did you mean 'fedavg'?"),
        (["--algorithms", "fedavg sync=none"], "sync='none'"),
        (["--algorithms", ""], "no rows"),
        (["--algorithms", "fedavg,fedavg"], "would share a folder"),
        (["--seeds", "0,x"], "--seeds '0,x'"),
        (["--seeds", "1,1"], "each once"),
        (["--budget", "gpu"], "--budget 'gpu': one of cpu, full"),
        (["--variant", "slow"], "is not of the form NAME='KEY=VALUE ...'"),
        (["--variant", "slow=local.step=3"], "did you mean 'local.steps'"),
        (["--name", "a/b"], "it names a folder"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(options, words, tmp_path, capsys):
    code, _, err = fedgan("benchmark", "P1", "-c", TINY, "--out", tmp_path / "b", *options, capsys=capsys)
    assert code == 2
    assert words in err
    assert not (tmp_path / "b").exists()


def test_a_protocol_may_be_any_preset_or_file(tmp_path, capsys):
    code, out, _ = fedgan(
        "benchmark", "quickstart", "--algorithms", "fedavg", "--seeds", 4, "--dry-run", "--out", tmp_path, capsys=capsys
    )
    assert code == 0
    assert f"new       fedavg  seed 4  {tmp_path}/quickstart-cpu/fedavg/seed-4" in out
    code, _, err = fedgan("benchmark", "quickstart", "--budget", "full", "--out", tmp_path, capsys=capsys)
    assert (code, "has one budget only" in err) == (2, True)


def test_a_finished_run_is_read_and_a_failed_one_is_a_row_that_says_so(tmp_path, capsys, monkeypatch):
    command = ["benchmark", "P1", "-c", TINY, "--seeds", "1", "--out", tmp_path, "--workers", "1"]
    broken = ["--variant", "broken=local.learning-rate=1e30 federation.round-retries=0"]
    code, out, err = fedgan(*command, "--algorithms", "fedavg", *broken, capsys=capsys)
    assert code == 1
    assert out.splitlines() == [str(tmp_path / "p1-cpu" / "table.md")]
    assert "[1/2] fedavg, seed 1: begins" in err
    assert "failed: broken, seed 1: round " in err
    found = json.loads((tmp_path / "p1-cpu" / "results.json").read_text())
    assert [(row["label"], len(row["runs"]), len(row["failures"])) for row in found["rows"]] == [
        ("fedavg", 1, 0),
        ("broken", 0, 1),
    ]
    table = (tmp_path / "p1-cpu" / "table.md").read_text()
    assert "`broken`, seed 1, **failed**: round " in table
    assert "0 of 1, 1 failed" in table

    def refuse(*arguments, **options):
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(running, "simulate", refuse)
    code, out, err = fedgan(*command, "--algorithms", "fedavg", capsys=capsys)
    assert code == 0
    assert "[1/1] fedavg, seed 1: is read" in err
    assert "broken" in (tmp_path / "p1-cpu" / "table.md").read_text()  # a table holds what its folder holds
    other = [text.replace("local.steps=2", "local.steps=3") if text is TINY else text for text in command]
    code, _, err = fedgan(*other, "--algorithms", "fedavg", capsys=capsys)
    assert (code, "local.steps was 2, is 3" in err) == (2, True)


def test_an_interrupted_benchmark_ends_with_130_and_goes_on_to_the_same_bits(tmp_path, capsys, monkeypatch):
    command = ["benchmark", "P1", "-c", TINY, "--seeds", "0", "--algorithms", "fedavg", "--workers", "1"]
    assert fedgan(*command, "--out", tmp_path / "through", capsys=capsys)[0] == 0
    calls = []

    def cut(config, on_reply, **options):
        def interrupting(partition):
            calls.append(partition)
            if len(calls) == 6:  # in the second of two rounds
                raise KeyboardInterrupt

        return simulate(config, on_reply=interrupting, **options)

    simulate = running.simulate
    monkeypatch.setattr(running, "simulate", cut)
    code, _, err = fedgan(*command, "--out", tmp_path / "cut", capsys=capsys)
    assert code == 130
    assert "interrupted; the same command goes on" in err
    monkeypatch.setattr(running, "simulate", simulate)
    code, _, err = fedgan(*command, "--out", tmp_path / "cut", capsys=capsys)
    assert code == 0
    assert "fedavg, seed 0: goes on" in err
    runs = [RunDirectory(tmp_path / name / "p1-cpu" / "fedavg" / "seed-0") for name in ("through", "cut")]
    assert "resumed" in [event["event"] for event in journal.events(runs[1].journal)]
    ours, theirs = (collected_results.figures_of(run) for run in runs)
    assert ours["weights-sha256"] == theirs["weights-sha256"]


def test_the_best_round_is_scored_in_full_from_its_checkpoint_once(tmp_path, monkeypatch):
    (cell,) = tiny(tmp_path)
    config = cell.config.replaced(
        {"evaluation.extractor": "mnist-cnn", "evaluation.utility-num-samples": 100, "evaluation.federated": False}
    )
    cell = bench.Cell(cell.entry, 0, config, cell.path)
    assert running.execute(cell, 1, sys.stderr)
    run = RunDirectory(cell.path)
    summary = json.loads(run.summary.read_text())
    made_with = {"scored-with": {"extractor": "mnist-cnn", "num-samples": 100, "utility-num-samples": 100}}
    last = {"round": 2, "examples-seen": 128, "scores": summary["scores"], **made_with}
    if summary["best"]["round"] == 2:
        assert json.loads((cell.path / "best.json").read_text()) == last
    run.summary.write_text(json.dumps(summary | {"best": {"round": 1, "fid": 1.0}}))
    running.score_best(run, config)
    best = json.loads((cell.path / "best.json").read_text())
    assert (best["round"], best["examples-seen"]) == (1, 64)
    assert {"fid", "kid", "coverage", "score", "utility", "per-class-recall"} <= best["scores"].keys()
    assert best["scores"]["fid"] != summary["scores"]["fid"]
    assert best["scored-with"] == made_with["scored-with"]
    monkeypatch.setattr(running, "load_trained", None)
    running.score_best(run, config)


def test_a_table_says_what_its_scores_were_made_with():
    made = [{"extractor": "mnist-cnn", "num-samples": number} for number in (10_000, 2000)]
    rows = [{"runs": [{"scored-with": dict(zip(("final", "between"), made, strict=True))}, {}, {"scored-with": {}}]}]
    assert tables._made_with(rows, "final") == " (mnist-cnn, 10,000 images)"
    assert tables._made_with(rows, "between") == " (mnist-cnn, 2,000 images)"
    assert tables._made_with([{"runs": [{}]}], "final") == ""  # of before it was written


def write_run(path, seed, **changes):
    """Writes what a run leaves that was enough after two of five rounds, with figures to be checked by hand."""
    figures = {"fid": 10.0, "recalls": [0.5, None, 0.8], "up": 3_000_000, "best": 1} | changes
    run = RunDirectory(path)
    path.mkdir(parents=True)
    config = base_of(federation__num_clients=2, federation__num_rounds=5, seed=seed)
    run.config.write_text(tomli_w.dumps(config.model_dump(by_alias=True)))
    for round in (1, 2):
        line = {
            "round": round,
            "examples-seen": 640 * round,
            "seconds": {"train": 2.0, "evaluate": 0.5},
            "bytes-down": 1_000_000,
            "bytes-up": figures["up"],
            "clients": [],
            "refused": [],
            "scores": {"fid": figures["fid"] * 2 / round},
        }
        journal.append(run.journal, line)
    scores = {"fid": figures["fid"], "utility": 0.9, "per-class-recall": figures["recalls"]}
    summary = {
        "rounds": 2,
        "examples-seen": 1280,
        "rollbacks": 0,
        "seconds": {"run": 99.0, "final-scores": 1.0},
        "weights-sha256": "ab",
        "best": {"round": figures["best"], "fid": 1.0},
        "scores": scores,
    }
    run.summary.write_text(json.dumps(summary))
    best = {"round": figures["best"], "examples-seen": 640 * figures["best"], "scores": {"fid": figures["fid"] - 1}}
    (path / "best.json").write_text(json.dumps(best))
    (path / "machines.json").write_text(
        json.dumps(
            [
                running.machine(2, "threads")
                | {"processor": "Abacus", "instructions": "BEADS", "date": f"2026-01-0{seed + 1}", "code": "c0de"}
            ]
        )
    )


@pytest.fixture
def table(tmp_path):
    """The folder of a table with a finished row of two seeds, a baseline, one run failed and one not finished."""
    folder = tmp_path / "out" / "p1-cpu"
    entries = [Entry("fedavg", "algorithm", {}), Entry("centralised", "centralised", {"local.steps": 40}, "one client")]
    description = {"protocol": "P1", "budget": "cpu", "name": "", "title": "a title", "overrides": {"local.steps": 20}}
    bench.open_table(folder, description, base_of(), entries)
    write_run(folder / "fedavg" / "seed-0", 0, fid=10.0)
    write_run(folder / "fedavg" / "seed-1", 1, fid=14.0, up=5_000_000, recalls=[0.7, None, 0.9], best=2)
    write_run(folder / "centralised" / "seed-0", 0, fid=8.0)
    failed = folder / "centralised" / "seed-1"
    failed.mkdir()
    (failed / "failure.json").write_text('{"reason": "round 3: not finite"}')
    (folder / "fedavg" / "seed-2").mkdir()
    return folder


def test_a_table_has_mean_and_spread_of_the_figures_of_its_runs(table):
    found = table_files.write_table(table)
    assert [row["label"] for row in found["rows"]] == ["centralised", "fedavg"]
    row = found["rows"][1]
    assert row["final"]["fid"] == {
        "mean": 12.0,
        "std": pytest.approx(8**0.5, rel=1e-5),
        "min": 10.0,
        "max": 14.0,
        "n": 2,
    }
    assert row["final"]["worst-recall"]["mean"] == pytest.approx(0.6)
    assert row["final"]["recall-gap"]["mean"] == pytest.approx(0.25)
    assert row["best"]["fid"]["mean"] == 11.0
    assert row["best"]["round"]["mean"] == 1.5
    assert row["costs"]["up-mb"]["mean"] == pytest.approx((3.0 + 5.0) / 2)  # two rounds, two clients
    assert row["costs"]["down-mb"]["mean"] == pytest.approx(1.0)
    assert row["costs"]["seconds"]["mean"] == pytest.approx(2 * 2.5 + 1)
    assert row["runs"][0]["curve"] == [[640, 20.0], [1280, 10.0]]
    assert row["unfinished"] == [2]
    assert "up-mb" not in found["rows"][0]["costs"]
    lines = (table / "table.md").read_text().splitlines()
    (shown,) = [line for line in lines if line.startswith("| fedavg | 1.50 |")]  # of the centralised fid
    cells = [cell.strip() for cell in shown.strip("|").split("|")]
    assert cells[2] == "12.00 ± 2.83"
    assert cells[3] == "0.600 ± 0.141"  # no row has kid, precision, ... so they have no column
    assert cells[-5:] == ["1,280", "4.0 ± 1.4", "1.0", "6", "2 of 3"]
    (shown,) = [line for line in lines if line.startswith("| centralised | 1.00 | 8.00 ")]
    assert shown.endswith("| 1 of 2, 1 failed |")
    assert "- `centralised`, seed 1, **failed**: round 3: not finite" in lines
    assert "- `fedavg`: not finished: seed 2." in lines


def test_a_table_names_the_processors_that_its_weights_hang_on_and_what_is_not_known_of_them(table):
    found = table_files.write_table(table)
    row = found["rows"][1]
    assert row["runs"][0]["processors"] == ["Abacus (instructions: BEADS)"]
    assert "Machine: Abacus (instructions: BEADS), " in (table / "table.md").read_text()
    assert "kinds of processor" not in tables.machines_of(found)
    assert "2 clients at a time" in tables.machines_of(found)
    assert "clients trained together" in tables.machines_of({"rows": [{"machines": [running.machine(2, "batched")]}]})
    of_one = tables.machines_of({"rows": [{"machines": [running.machine(1, "threads") | {"cores": 1}]}]})
    assert ", 1 core, 1 client at a time, " in of_one
    for machine in row["machines"]:  # as tables were stored before
        del machine["instructions"]
    del row["machines"][0]["processor"]
    shown = tables.machines_of(found)
    assert "Abacus (instructions: unknown), " in shown
    assert "unknown (instructions: unknown), " in shown
    assert "**The runs are of 3 kinds of processor**" in shown
    for row in found["rows"]:
        del row["machines"]
    assert tables.machines_of(found) == "Machine: unknown."


def test_the_samples_of_a_single_row_are_shown_whether_or_not_real_images_are_at_hand(table, tmp_path):
    results = collected_results.collect(table)
    samples = table / "fedavg" / "seed-0" / "samples"
    samples.mkdir()
    Image.new("L", (302, 302)).save(samples / "round-0002.png")
    for real in (None, tmp_path / "missing.png"):
        assert table / figures.SAMPLES in figures.write_figures(table, results, real)
        (table / figures.SAMPLES).unlink()
    Image.new("L", (302, 302)).save(tmp_path / "real.png")
    (samples / "round-0002.png").unlink()
    assert table / figures.SAMPLES not in figures.write_figures(table, results, tmp_path / "real.png")


def test_figures_show_mean_and_range_of_the_seeds(table):
    rows = collected_results.collect(table)["rows"]
    axes = figures.draw_curves(rows).axes[0]
    assert [line.get_label() for line in axes.lines] == ["centralised", "fedavg"]
    assert axes.lines[1].get_xydata().tolist() == [[640, 24.0], [1280, 12.0]]
    (_, band) = axes.collections
    heights = {(x, y) for x, y in band.get_paths()[0].vertices.tolist()}
    assert heights == {(640, 20.0), (640, 28.0), (1280, 10.0), (1280, 14.0)}
    fid = figures.draw_final(rows, {"final": {"fid": {"mean": 1.9}}}).axes[0]
    assert fid.lines[2].get_xdata().tolist() == [10.0, 14.0]
    assert list(fid.lines[3].get_xdata()) == [12.0]
    assert list(fid.lines[4].get_xdata()) == [1.9, 1.9]


def test_tables_and_figures_show_modes_where_a_row_has_them_and_nothing_that_no_row_has(table):
    results = collected_results.collect(table)
    assert not {"modes", "KL"} & set(tables.markdown(results).replace("|", " ").split())
    assert "modes" not in [axes.get_title() for axes in figures.draw_final(results["rows"], None).axes]
    for row in results["rows"]:
        row["final"] |= {
            "modes": collected_results.spread([934.0, 938.0]),
            "modes-kl": collected_results.spread([0.25]),
        }
    (head, _, first, *_) = [line for line in tables.markdown(results).splitlines() if line.startswith("|")]
    cells = dict(zip(head.split(" | "), first.split(" | "), strict=True))
    assert (cells["modes"], cells["modes kl"]) == ("936 ± 3", "0.250")
    assert "kid" not in cells
    assert "modes" in [axes.get_title() for axes in figures.draw_final(results["rows"], None).axes]


def test_a_page_is_made_of_what_is_stored_and_keeps_remarks(table, tmp_path, capsys):
    real = tmp_path / "real.json"
    scores = {"scores": {"fid": 1.9, "utility": 0.989}, "extractor": "mnist-cnn", "images": 10, "utility-images": 30}
    real.write_text(json.dumps({"0": scores}))
    table_files.write_table(table, real)
    (table / "fid.png").write_bytes(b"a picture")
    page = tmp_path / "docs" / "results.md"
    (tmp_path / "docs" / "results").mkdir(parents=True)
    notes = tmp_path / "docs" / "results" / "notes.toml"
    notes.write_text(
        'intro = "Read with care."\n[p1-cpu]\ntext = "Too short."\n[p1-cpu.remarks]\nfedavg = "looks odd"\n'
    )
    code, out, _ = fedgan("results", table.parent, "--out", page, capsys=capsys)
    assert (code, out.strip()) == (0, str(page))
    text = page.read_text()
    for words in (
        "Read with care.",
        "## P1, cpu budget: a title",
        "fedgan benchmark P1 --budget cpu --seeds 0,1 --algorithms centralised,fedavg "
        "-c local.steps=20 --data ROOT --out DIR",
        "Abacus",
        "2026-01-01 to 2026-01-02; code c0de.",
        "| *real images* |  | 1.90 |",
        "- `fedavg`: looks odd",
        "Too short.",
        "(results/p1-cpu-fid.png)",
        "FID, torchvision Inception-v3 |",
        "PRISM, float scores 6.96",
    ):
        assert words in text, words
    explained = next(line for line in text.splitlines() if line.startswith("Cells are"))
    assert ("*worst class* is" in explained) == ("| worst class |" in text)
    assert "bits per character" not in explained, "no table has that column"
    stored = (tmp_path / "docs" / "results" / "p1-cpu.json").read_text()
    assert json.loads(stored) == json.loads((table / "results.json").read_text())
    assert "/" + tmp_path.name not in stored + text
    table.parent.rename(tmp_path / "gone")
    assert fedgan("results", "--out", page, capsys=capsys)[0] == 0
    assert page.read_text() == text
    notes.write_text('[p1-cpu.remarks]\nfedprocks = "typed in a hurry"\n')
    code, _, err = fedgan("results", "--out", page, capsys=capsys)
    assert (code, "there is no row 'fedprocks'; known: centralised, fedavg" in err) == (2, True)


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({}, ""),
        (
            {"objective": "hinge r1=1.0 r1-every=1", "local.final-rate": 0.05},
            'objective="hinge r1=1.0" local.final-rate=0.05',
        ),
        ({"aggregate": "mean"}, 'aggregate="mean class-rows=all"'),
        ({"seed": 7, "output.dir": "elsewhere", "data.root": "there", "federation.wait-seconds": 1.0}, ""),
    ],
    ids=["as today", "other rates", "an older mean", "what changes no figure"],
)
def test_the_command_of_a_table_says_the_defaults_that_it_was_made_with(then, said):
    base = RunConfig.from_flat(read_preset("p1") | {"local.steps": 5})
    results = {
        "protocol": "P1",
        "budget": "cpu",
        "name": "",
        "overrides": {"local.steps": 5},
        "config": base.flat() | then,
        "rows": [{"label": "fedavg", "kind": "algorithm", "runs": [{"seed": 0}], "failures": [], "overrides": {}}],
    }
    words = shlex.split(results_page.command(results))
    assert words[words.index("-c") + 1] == f"{said} local.steps=5".strip()
    remade = RunConfig.from_flat(protocols.settings_of("P1", "cpu") | read_overrides([words[words.index("-c") + 1]]))
    made = bench.figures_depend_on(RunConfig.from_flat(upgraded(results["config"])))
    assert {**bench.figures_depend_on(remade), "seed": made["seed"]} == made


def test_the_command_of_a_table_of_components_that_are_gone_has_them_as_they_were():
    results = {
        "protocol": "P1",
        "budget": "cpu",
        "name": "",
        "overrides": {"algorithm": "my-own"},
        "config": RunConfig.from_flat(read_preset("p1")).flat()
        | {"algorithm": "my-own", "weighting": "by-luck odds=2"},
        "rows": [],
    }
    words = shlex.split(results_page.command(results))
    assert words[words.index("-c") + 1] == 'weighting="by-luck odds=2" algorithm="my-own"'


def test_the_command_of_an_own_protocol_has_what_its_user_gave():
    results = {"protocol": "mine", "budget": "cpu", "name": "", "overrides": {}, "config": {}, "rows": []}
    assert "-c" not in shlex.split(results_page.command(results))


def test_a_page_of_nothing_is_refused(tmp_path):
    for attempt in (
        lambda: results_page.write_page(tmp_path / "a.md"),
        lambda: results_page.store(tmp_path, tmp_path / "a.md"),
    ):
        with pytest.raises(ConfigError, match="holds no table"):
            attempt()


def test_published_figures_name_protocol_metric_and_source_and_a_protocol_of_ours():
    every = [figure for id in PROTOCOLS for figure in results_page.published(id)]
    assert all(results_page.published(id) for id in PROTOCOLS if id != "S1")  # nobody has a federated one
    assert all(figure["source"] and figure["protocol"] and figure["metric"] and figure["values"] for figure in every)
    assert not {near for figure in every for near in figure["near"]} - set(PROTOCOLS)


def test_real_images_are_scored_once_and_score_as_real_ones(tmp_path, monkeypatch):
    base = base_of(data__name="mnist-10k", evaluation__final_num_samples=400, evaluation__utility_num_samples=400)
    file = real_baseline.real_images(base, [3], tmp_path)
    (found,) = json.loads(file.read_text()).values()
    assert (found["extractor"], found["images"], found["utility-images"]) == ("mnist-cnn", 400, 400)
    assert found["scores"]["fid"] < 20
    assert found["scores"]["precision"] > 0.9
    assert 9 < found["scores"]["score"] <= 10
    assert file.with_suffix(".png").exists()
    monkeypatch.setattr(real_baseline, "Evaluator", None)
    assert real_baseline.real_images(base, [3], tmp_path) == file
    other = base.replaced({"evaluation.final-num-samples": 500})
    with pytest.raises(TypeError):  # other figures, so it is not the same file
        real_baseline.real_images(other, [3], tmp_path)


def test_a_table_of_other_settings_is_not_mixed_with_ours(tmp_path):
    entry = Entry("fedavg", "algorithm", {})
    description = {"protocol": "P1", "budget": "cpu", "name": "", "title": "", "overrides": {}}
    bench.open_table(tmp_path / "t", description, base_of(), [entry])
    bench.open_table(tmp_path / "t", description, base_of(data__root="elsewhere"), [])
    assert Entry(**json.loads((tmp_path / "t" / "fedavg" / "entry.json").read_text())) == Entry(**asdict(entry))
    with pytest.raises(OtherRunError, match=r"local\.steps was 20, is 21"):
        bench.open_table(tmp_path / "t", description, base_of(local__steps=21), [])


def test_a_table_of_an_earlier_version_goes_on_with_what_was_the_mean_then(tmp_path):
    description = {"protocol": "P1", "budget": "cpu", "name": "", "title": "", "overrides": {}}
    former = base_of(aggregate="mean class-rows=all")
    bench.open_table(tmp_path / "t", description, former, [])
    file = tmp_path / "t" / "protocol.json"
    file.write_text(file.read_text().replace("mean class-rows=all", "mean"))
    with pytest.raises(OtherRunError, match="aggregate was 'mean class-rows=all', is 'mean class-rows=moved'"):
        bench.open_table(tmp_path / "t", description, base_of(), [])
    bench.open_table(tmp_path / "t", description, former, [])
    for label in ("centralised", "local-only"):
        assert make_entry(label, former).overrides["aggregate"] == former.aggregate
        assert make_entry(label, base_of(aggregate="median")).overrides["aggregate"] == "mean"
