"""A metric and a loss are declared once, in a file of their own: whatever shows them needs no edit."""

import ast
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from common.charts import Chart
from common.config import RunConfig
from common.metrics import METRICS, Metric, Score
from common.objectives import OBJECTIVES, AdversarialObjective, Diagnostic, Loss, Objective
from common.objectives.base import Phase
from server.evaluation.evaluator import Evaluator
from server.records import journal, report, run_directory
from server.records.tracking.tracker_sync import figures
from simulations import api
from simulations.runs.run_reader import RunReader
from simulations.runtime import in_process, progress
from simulations.serve.summaries import read_detail, read_summary
from simulations.studies import collected_results, tables
from tests.conftest import SMALL

ROOT = Path(__file__).parents[3]
TERMS = Chart("terms", "Terms of the bound", "Their sum is minimised.")


class Bound(Objective):
    """One phase, with a loss and a term of it."""

    source: ClassVar[str] = "this test"

    @classmethod
    def component_name(cls):
        return "bound"

    def phases(self):
        return (Phase("elbo", ("generator",), self._loss),)

    def losses(self):
        return (Loss("elbo-loss", "ELBO (negative)"),)

    def diagnostics(self):
        return (Diagnostic("kl", "KL divergence", TERMS),)

    def draw(self, source):
        return {"latents": source.noise()}

    def _loss(self, networks, batch):
        made = networks["generator"](batch.draws["latents"], batch.labels)
        loss = (made - batch.examples).square().mean()
        return loss, {"kl": loss.detach() / 2}


def contrast(compared):
    return {
        "contrast": float(compared.sample.stored.float().std()) / 255,
        "contrast-by-class": [0.5] * compared.real.spec.num_classes,
    }


CONTRAST = Metric(
    "contrast",
    (
        Score("contrast", "contrast of images", "spread of grey <levels>", "higher", decimals=1, heading="contrast!"),
        Score("contrast-by-class", "contrast", "of each class", form="figures", of="class"),
    ),
    needs=frozenset({"held-out"}),
    compute=contrast,
    between_rounds=True,
    weak_spots=lambda scores, names: ["It is dull."] if "contrast" in scores else [],
)


@pytest.fixture
def declared(monkeypatch):
    monkeypatch.setitem(METRICS, "contrast", CONTRAST)
    monkeypatch.setitem(OBJECTIVES, "bound", Bound)


@pytest.fixture
def run(declared, tmp_path):
    """Returns the directory of a run of two rounds with that objective and that metric."""
    changes = {"objective": "bound", "federation.num-rounds": 2, "evaluation.every": 1, "local.steps": 1}
    folder = tmp_path / "runs" / "toy"
    in_process.simulate(RunConfig.from_flat(SMALL | changes | {"output.dir": str(folder)}), num_workers=1)
    return run_directory.RunDirectory(folder)


def test_they_stand_in_journal_console_report_page_and_tables(run, monkeypatch):
    lines = journal.read(run.journal)
    for line in lines:
        assert {"elbo-loss", "kl"} <= line["clients"][0].keys()
        assert 0 < line["scores"]["contrast"] < 1
    words = journal.describe(lines[-1], 2, Bound().losses())
    assert re.search(r"ELBO \(negative\) \d\.\d+ .*contrast 0\.\d+", words)
    assert "D loss" not in words
    assert figures(lines[-1]).keys() >= {"clients-mean/elbo-loss", "client-0/kl", "scores/contrast"}

    monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
    with progress.watching(RunConfig.from_flat({"objective": "bound"}), io.StringIO()):
        handler = next(it for it in progress.logging.getLogger("fedgan").handlers if hasattr(it, "losses"))
        assert [loss.label for loss in handler.losses] == ["ELBO (negative)"]

    page = report.write_report(run).read_text()
    for words in (
        "contrast of images",
        "spread of grey &lt;levels&gt;",
        "ELBO (negative)",
        "KL divergence",
        "It is dull.",
    ):
        assert words in page
    for words in ("D loss", "D(real)", "discriminator-loss"):
        assert words not in page

    reported = read_detail(RunReader("toy", run))
    labels = {it.name: it.label for it in reported.figures}
    assert (labels["elbo-loss"], labels["kl"]) == ("ELBO (negative)", "KL divergence")
    assert list(labels)[:2] == ["elbo-loss", "kl"]
    charts = {chart.title: chart.names for chart in reported.charts}
    assert (charts["Losses"], charts["Terms of the bound"]) == (["elbo-loss"], ["kl"])
    assert charts["Contrast of images"] == ["contrast"]
    (score,) = [it for it in reported.score_table if it.name == "contrast"]
    assert (score.label, score.better, score.meaning) == ("contrast of images", "higher", "spread of grey <levels>")
    assert reported.weak_spots[-1] == "It is dull."
    assert reported.curves.scores["contrast"] == [line["scores"]["contrast"] for line in lines]
    assert "contrast of images" in api.load(run.path)._repr_html_()

    tabled = collected_results.figures_of(run)
    row = {"label": "toy", "kind": "", "note": "", "runs": [tabled], "failures": [], "unfinished": [], "costs": {}}
    row |= {when: collected_results.summary_of([tabled], when) for when in ("final", "best")}
    text = tables.markdown({"rows": [row], "real": None})
    assert "| contrast! |" in text
    assert f"| {tabled['final']['contrast']:.1f} |" in text


def test_a_run_whose_objective_is_unknown_shows_its_figures_by_their_names(run, monkeypatch):
    monkeypatch.delitem(OBJECTIVES, "bound")
    reported = read_detail(RunReader("toy", run))
    assert reported.problem
    assert {chart.title: chart.names for chart in reported.charts} | {"Losses": ["elbo-loss"]} == {
        chart.title: chart.names for chart in reported.charts
    }
    assert {it.name: it.label for it in reported.figures}["elbo-loss"] == "elbo loss"
    assert ["kl"] in [chart.names for chart in reported.charts]
    assert read_summary(RunReader("toy", run)).figures == reported.figures


def test_a_score_of_another_version_is_kept_as_it_is(run, monkeypatch):
    monkeypatch.delitem(METRICS, "contrast")
    assert all("contrast" in line["scores"] for line in journal.read(run.journal))
    assert read_detail(RunReader("toy", run)).scores["contrast"] > 0


def test_a_metric_says_itself_why_it_cannot_be_computed(declared, monkeypatch):
    monkeypatch.setitem(METRICS, "contrast", replace(CONTRAST, obstacle=lambda setting: f"{setting.size} is too small"))
    config = RunConfig()
    evaluator = Evaluator(config, config.source.load(None))
    assert evaluator.limits.reason_against("contrast") == "28 is too small"
    assert "contrast" not in evaluator.available


def test_the_rounds_are_compared_by_a_figure_of_which_lower_is_better():
    with pytest.raises(ValueError, match="lower values are better"):
        Score("contrast", "contrast", "", "higher", selects_rounds=True)


def test_the_names_of_losses_are_those_of_the_phases():
    for objective in (kind() for kind in OBJECTIVES.values()):
        assert [loss.name for loss in objective.losses()] == [phase.loss_name for phase in objective.phases()]


def test_logits_far_apart_are_a_sign_of_trouble_where_they_are_log_odds():
    sure = [{"d-real": 9.0, "d-fake": -9.0}] * 3
    for name, kind in OBJECTIVES.items():
        tells = issubclass(kind, AdversarialObjective) and not name.startswith("wgan")
        assert (kind().trouble(sure) is not None) == tells
    assert OBJECTIVES["hinge"]().trouble([*sure, {}]) is None


def test_a_discriminator_that_wins_and_one_that_is_dead_are_distinguished_and_what_helps_is_said():
    objective, with_r1 = OBJECTIVES["non-saturating"](), OBJECTIVES["non-saturating"](r1=0.3)
    wins, dead = [{"d-real": 5.0, "d-fake": -5.0}] * 5, [{"d-real": 0.02, "d-fake": -0.02}] * 5
    assert "wins" in objective.trouble(wins)
    assert "(r1=0.3)" in objective.trouble(wins)
    assert "dead" in objective.trouble(dead)
    assert 'local.moments="keep"' in objective.trouble(dead)
    assert "A larger r1 than 0.3 or DiffAugment" in with_r1.trouble(wins)
    assert with_r1.trouble(dead).endswith("A smaller r1 than 0.3 helps as well.")
    assert "r1" not in objective.trouble(dead)
    assert objective.trouble([*dead, {"d-real": 0.5, "d-fake": -0.5}]) is None
    assert OBJECTIVES["wgan"]().trouble(dead) is None, "a critic's outputs may be as near to each other as they like"


NO_SCORE = {  # the same word for something else, or a name of its own for something that is made with the score
    "common/queries/__init__.py": {"longest-copy", "membership"},  # the queries that they are made of
    "common/queries/findings.py": {"membership"},
    "common/queries/longest_copy.py": {"longest-copy"},
    "common/queries/memorisation_ratio.py": {"memorisation"},  # a stream of random numbers
    "simulations/export/model.py": {"precision"},  # of numbers
    "simulations/export/model_card.py": {"precision"},
    "simulations/serve/health.py": {"score"},  # a label of Prometheus
    "simulations/serve/answers.py": {"coverage"},  # a kind of sign
    "simulations/serve/page/record.js": {"score"},  # the heading of a column
}


def test_no_name_of_a_score_or_a_loss_stands_outside_of_its_own_file():
    known = {it.name for metric in METRICS.values() for it in (*metric.scores, *metric.for_benchmarks)} | set(METRICS)
    known |= {it.name for kind in OBJECTIVES.values() for it in (*kind().losses(), *kind().diagnostics())}
    own = ("common/metrics/", "common/objectives/")
    files = [path for part in ("common", "client", "server", "simulations") for path in (ROOT / part).rglob("*.*")]
    found = {}
    for path in sorted(files):
        where = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        elif path.suffix == ".js":
            words = set(re.findall(r'["\'`]([a-z-]+)["\'`]|\.([a-z]+)\b(?!\()', path.read_text(encoding="utf-8")))
            words = {word for pair in words for word in pair}
        else:
            continue
        if (hits := words & known) and not where.startswith(own):
            found[where] = hits
    assert found == NO_SCORE


def test_every_score_stands_in_the_documentation():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    missing = [score.name for metric in METRICS.values() for score in metric.scores if f"`{score.name}`" not in text]
    assert not missing
