"""The report of a run, and the plots in it: read as text, as a browser does."""

import json
import os
import re
import tracemalloc

import pytest
import torch
from PIL import Image

from common import provenance
from common.config import RunConfig
from common.examples import ImageSpec
from common.generation import load_sampler
from common.models.mlp import MLP
from common.objectives.non_saturating import NonSaturating
from server.records import curves, journal, plots, reconstruction_picture, report, run_directory, sample_picture

SPEC = ImageSpec(1, 28, 3)
NAMES = ["cat", "dog <b>", "owl"]

FAILS = {
    "federated-fid": 36.2,
    "client-fid": [30.0, 88.1, None],
    "worst-client": 1,
    "worst-client-fid": 88.1,
    "class-fid": [20.0, 120.4],
    "worst-class": 1,
    "worst-class-fid": 120.4,
    "federated-clients": [0, 1],
}


@pytest.fixture
def run(tmp_path):
    """Returns a run directory with a configuration and nothing else."""
    directory = run_directory.RunDirectory(tmp_path / "run")
    directory.create()
    directory.config.write_text(RunConfig.from_flat({"model": "mlp width=16 latent-size=8"}).toml())
    return directory


def line(round, scores=None, **client):
    reported = {"partition": 0, "num-examples": 3} | client
    return {"round": round, "clients": [reported], "refused": [], "scores": scores or {}, "seconds": {}}


def draw(run, round, spec=SPEC):
    model = MLP(width=16, latent_size=8)
    weights = {f"generator.{key}": value for key, value in model.build(spec, 0)["generator"].state_dict().items()}
    origin = provenance.origin("run", "npz", round, 0, "0" * 64)
    sample_picture.draw_samples(load_sampler(model, spec, weights), range(spec.num_classes), origin, run.sample(round))


def write_partition(run, counts, names=NAMES):
    clients = [{"partition": k, "num-examples": 3, "label-counts": c} for k, c in enumerate(counts)]
    run.partition.write_text(json.dumps({"class-names": names, "clients": clients}))


def texts(svg):
    return [re.sub(r"<[^>]+>", "", found) for found in re.findall(r"<text.*?</text>", svg, flags=re.DOTALL)]


def test_rows_of_samples_are_called_by_their_classes(run):
    write_partition(run, [[1, 1, 1]])
    draw(run, 0)
    draw(run, 2)
    page = report.write_report(run).read_text()
    assert re.findall(r"<li title='(.*?)'>", page) == ["cat", "dog &lt;b&gt;", "owl"]  # of the last picture alone


def test_samples_without_classes_have_no_names(run):
    draw(run, 0, ImageSpec(1, 28, 1))
    page = report.write_report(run).read_text()
    assert "<li" not in page
    assert "without classes" in page


def test_a_pipe_in_the_place_of_a_picture_does_not_stop_a_report(run):
    os.mkfifo(run.sample(1))
    assert "The picture cannot be shown" in report.write_report(run).read_text()


VAE = {"model": "vae width=4", "objective": "elbo"}


def test_reconstructions_are_shown_with_what_they_are(run):
    run.config.write_text(RunConfig.from_flat(VAE).toml())
    assert "Reconstructions" not in report.write_report(run).read_text()  # of a run from before, or without data
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    facts = provenance.of_reconstructions("run", "npz", 12, "0" * 64)
    reconstruction_picture.draw_reconstructions(SPEC, images, images, facts, run.reconstructions)
    page = report.write_report(run).read_text()
    assert "<h2>Reconstructions</h2><p>Rows of real examples that no client trained on, and below each row" in page
    assert "what the model made of them after round 12: encoded to the mean of the latent vector" in page
    assert "alt='real examples and reconstructions after round 12'" in page


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_picture_of_reconstructions_does_not_stop_a_report(run, content):
    run.config.write_text(RunConfig.from_flat(VAE).toml())
    run.reconstructions.write_bytes(content)
    assert "<h2>Reconstructions</h2>" in report.write_report(run).read_text()


def test_where_the_encoder_stays_with_clients_the_report_says_so(run):
    run.config.write_text(RunConfig.from_flat(VAE | {"algorithm": "fedavg sync=generator"}).toml())
    page = report.write_report(run).read_text()
    assert "the encoder stays with each client, and the server has nothing to encode with" in page


def test_of_a_family_that_reconstructs_nothing_a_report_says_nothing_of_it(run):
    assert "econstruct" not in report.write_report(run).read_text()


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_picture_of_samples_does_not_stop_a_report(run, content):
    run.sample(1).write_bytes(content)
    assert "<h2>Samples</h2>" in report.write_report(run).read_text()


def drawn(lines):
    found = curves.curves(lines)
    return plots.curves_svg(found, curves.plots(found.means, found.scores, NonSaturating()), "")


@pytest.mark.parametrize("rounds", [1, 2, 3, 7])
def test_the_axis_of_rounds_has_whole_numbers(run, rounds):
    lines = [line(k + 1, {"fid": 100.0 - k, "score": 1.0 + k}, drift=1.0 + k) for k in range(rounds)]
    for svg in drawn(lines).split("<svg")[1:]:
        axis = svg[svg.index('id="matplotlib.axis_1"') : svg.index('id="matplotlib.axis_2"')]
        numbers = [text.strip() for text in texts(axis)]
        assert "round" in numbers
        assert [number for number in numbers if re.fullmatch(r"-?\d+", number)] == numbers[:-1] != []


def test_what_no_round_reports_has_no_plot(run):
    full = {"discriminator-loss": 1.0, "generator-loss": 1.0, "d-real": 0.1, "d-fake": 0.2, "drift": 0.3}
    for number, reported in ((4, full), (1, {"drift": 0.3}), (0, {}), (0, {"drift": 0.0})):
        lines = [line(k, {"fid": 9.0} if reported is full else {}, **reported) for k in (1, 2)]
        assert drawn(lines).count("<svg") == number


def test_many_clients_are_drawn_as_their_middle_and_their_spread():
    rounds = [line(k) for k in (1, 2)]
    for each in rounds:
        each["clients"] = [{"partition": k, "num-examples": 1, "drift": 1.0 + k} for k in range(500)]
    svg = drawn(rounds)
    assert "all 500 clients" in texts(svg)
    assert len(svg) < 30_000


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_a_class_is_as_wide_in_a_split_of_few_classes_as_in_one_of_many(classes):
    clients = [{"partition": k, "num-examples": classes, "label-counts": [1] * classes} for k in range(5)]
    svg = plots.partition_svg({"clients": clients, "class-names": NAMES})
    width, height = re.search(r'<image[^>]*?width="([\d.]+)" height="([\d.]+)"', svg).groups()
    assert 1.4 < float(width) / classes / (float(height) / 5) < 2.2


def test_a_split_calls_clients_by_their_names():
    svg = plots.partition_svg({"clients": [{"partition": 0, "num-examples": 3, "label-counts": [3], "site": "north"}]})
    assert "0 north  (3)" in texts(svg)


def test_a_split_names_its_classes():
    svg = plots.partition_svg(
        {"clients": [{"partition": 0, "num-examples": 3, "label-counts": [1, 2]}]}
        | {"class-names": ["cat", "a name that is much too long"]}
    )
    assert {"cat", "a name that is …"} <= set(texts(svg))


def test_plots_take_the_colours_of_the_page(run):
    write_partition(run, [[1, 2, 3], None])
    journal.append(run.journal, line(1, {"fid": 9.0}, drift=1.0))
    page = report.write_report(run).read_text()
    assert "currentColor" in page
    assert "#000000" not in page
    assert not re.search(r"<(path|rect)[^>]*fill: *#ffffff", page)  # a background
    assert "http" not in page  # self-contained


def test_scores_say_what_they_were_computed_with(run):
    reported = {"extractor": "mnist-cnn", "num-samples": 2000}
    journal.append(run.journal, line(1, {"fid": 9.0}) | {"scored-with": reported})
    final = {"extractor": "mnist-cnn", "num-samples": 10000, "utility-num-samples": 30000}
    run.summary.write_text(json.dumps({"scores": {"fid": 8.0, "utility": 0.9}, "scored-with": final}))
    page = report.write_report(run).read_text()
    assert "Final scores: features of mnist-cnn, 10,000 generated images, utility on 30,000." in page
    assert "features of mnist-cnn, 2,000 generated images" in texts(page)


def test_scores_of_an_older_run_say_that_it_is_not_known(run):
    run.summary.write_text(json.dumps({"scores": {"fid": 8.0}}))
    assert "extractor and number of images are not known" in report.write_report(run).read_text()


def test_a_report_says_why_scores_are_missing_or_not_to_be_trusted(run):
    for _ in range(2):  # as a resumed run says it again
        journal.note(run.journal, "not-scored", 0, "fid is not computed: no extractor for 32x32 <grey>")
    journal.note(run.journal, "features", 0, "features of digits on pictures that are no digits")
    page = report.write_report(run).read_text()
    assert page.count("no extractor for 32x32 &lt;grey&gt;") == 1
    assert "<p class=warning>features of digits" in page
    assert "What went wrong" not in page


@pytest.mark.parametrize("scores", [{}, {"fid": 8.0}])
def test_reasons_in_a_report_do_not_run_into_each_other(run, scores):
    run.summary.write_text(json.dumps({"scores": scores}))
    for reason in ("fid is not computed: hold out more", "score is not computed: no digits"):
        journal.note(run.journal, "not-scored", 0, reason)
    said = "fid is not computed: hold out more; score is not computed: no digits.</p>"
    assert said in report.write_report(run).read_text()


def test_scores_that_hardly_differ_have_whole_numbers_on_their_axis(run):
    for round, score in ((1, 1.0055), (2, 1.0059)):
        journal.append(run.journal, line(round, {"fid": 9.0, "score": score}))
    assert not [text for text in texts(report.write_report(run).read_text()) if text.startswith("+")]


def test_a_report_of_a_run_that_stopped_says_why_until_it_goes_on(run):
    journal.note(run.journal, "stopped", 0, "the sites' data do not fit")
    assert "<p class=warning>The run stopped: the sites&#x27; data" in report.write_report(run).read_text()
    journal.note(run.journal, "resumed", 0, "")
    assert "<p class=warning>" not in report.write_report(run).read_text()


def test_large_figures_are_written_out(run):
    run.summary.write_text(json.dumps({"scores": {"fid": 1269.4}}))
    assert "<b>1,269</b>" in report.write_report(run).read_text()


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"[]", b'{"clients": 3}'])
def test_a_record_of_who_holds_what_that_is_not_whole_is_named(run, content):
    run.partition.write_bytes(content)
    with pytest.raises(journal.CheckpointError, match=r"partition\.json is not whole"):
        report.write_report(run)


@pytest.mark.parametrize("counts", [[[3, 0], None], [None, None], [[0, 0], [1, 2]]])
def test_a_split_is_drawn_also_where_sites_keep_their_counts_to_themselves(tmp_path, counts):
    clients = [{"partition": k, "num-examples": 3, "label-counts": c} for k, c in enumerate(counts)]
    plots.draw_partition({"clients": clients}, tmp_path / "split.png")
    assert (tmp_path / "split.png").stat().st_size > 1000


def test_the_picture_of_a_thousand_clients_is_no_taller_than_that_of_sixty(tmp_path):
    heights = []
    for number in (60, 1000):
        clients = [{"partition": k, "num-examples": 3, "label-counts": [1, 2]} for k in range(number)]
        plots.draw_partition({"clients": clients}, tmp_path / "split.png")
        with Image.open(tmp_path / "split.png") as image:
            heights.append(image.height)
    assert heights[0] == heights[1]


def test_the_picture_of_many_clients_takes_less_memory_than_a_copy_of_it(tmp_path):
    clients = [{"partition": k, "num-examples": 3, "label-counts": [1, 2]} for k in range(61)]  # too many for numbers
    tracemalloc.start()
    plots.draw_partition({"clients": clients}, tmp_path / "split.png")
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with Image.open(tmp_path / "split.png") as image:
        assert memory < 4 * image.width * image.height


def test_the_report_says_which_clients_and_classes_the_generator_serves_worst(tmp_path):
    run = run_directory.RunDirectory(tmp_path)
    run.config.write_text(RunConfig().toml())
    reported = {"memorisation": [0.5, 1.0, None], "memorisation-error": [0.1, 0.1, None]}
    scores = FAILS | reported | {"most-memorised": 0, "most-memorised-ratio": 0.5}
    run.summary.write_text(json.dumps({"scores": scores, "class-names": ["cat", "dog"]}))
    page = report.write_report(run).read_text()
    for words in (
        "It serves client 1 worst: fid 88.1 to that client's images, 36.2 to those of all.",
        "It makes class 1 (dog) worst: fid 120.4 to its images.",
        "Only clients 0, 1 of 3 have sent",
        "The images that client 0 trained on lie 0.50 ± 0.10 times as far from generated ones as images that it held "
        "out: a sign that it repeats them.",
        "<tr><td>memorisation</td><td>0.5</td><td>1</td><td></td></tr>",
    ):
        assert words in page


def test_the_report_lists_what_went_wrong(tmp_path):
    run = run_directory.RunDirectory(tmp_path / "run")
    run.create()
    run.config.write_text(RunConfig().toml())
    client = {"partition": 0, "num-examples": 3, "drift": 0.1}
    refused = [{"partition": 7, "reason": "generator.w has <values> that are not finite"}]
    journal.append(run.journal, {"round": 1, "clients": [client], "refused": refused, "scores": {}, "seconds": {}})
    journal.append(run.journal, {"event": "rollback", "round": 1, "reason": "fid 600"})
    page = report.write_report(run).read_text()
    assert "<td>client 7 left out</td><td class=why>generator.w has &lt;values&gt; that are not finite</td>" in page
    assert "<td>rollback</td><td class=why>fid 600</td>" in page


@pytest.mark.parametrize("name", ["猫 \N{CAT}", "$5$", r"$\nothing$ $"])
def test_any_name_of_a_class_is_drawn_as_it_is_and_without_a_warning(tmp_path, name):
    summary = {"class-names": [name, "b"], "clients": [{"partition": 0, "num-examples": 3, "label-counts": [1, 2]}]}
    plots.draw_partition(summary, tmp_path / "split.png")
    svg = re.sub(r"<!--.*?-->", "", plots.partition_svg(summary), flags=re.DOTALL)
    assert f">{name}<" in svg
