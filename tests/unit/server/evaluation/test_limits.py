"""What few, odd or unlabelled held-out images allow: whatever they are, scoring ends, and says what it left out."""

import math

import pytest
import torch

from common.config import RunConfig
from common.datasets.base import UNLABELLED, Dataset
from common.examples import ImageSet, ImageSpec
from common.metrics import table
from server.evaluation.evaluator import Evaluator
from server.evaluation.limits import FEWEST, doubt_of_features, no_extractor
from tests.unit.families.sequences import SequenceSpec


def dataset(held_out, classes=10, name="npz", labels=None, images=None, labelled=True, size=28):
    """Returns a data set of noise, or of given pictures."""
    generator = torch.Generator().manual_seed(held_out)
    if images is None:
        images = torch.randint(0, 256, (held_out, 1, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(held_out) % classes if labels is None else labels
    train = ImageSet(images[:1].clone(), torch.zeros(1, dtype=torch.int64))
    names = tuple(f"kind {k}" for k in range(classes)) if labelled else UNLABELLED
    return Dataset(name, train, ImageSet(images, labels), names, labelled)


STACKED = {"data.name": "stacked-mnist"}


def stacked(held_out, name="stacked-mnist of mnist-10k", size=28):
    """Returns noise of three channels under the name of stacked digits, which are known to be digits by it."""
    generator = torch.Generator().manual_seed(held_out)
    images = torch.randint(0, 256, (held_out, 3, size, size), dtype=torch.uint8, generator=generator)
    return dataset(held_out, 10, name=name, images=images)


def summary_of(data, num_samples=100, **changes):
    flat = {"model": "mlp width=8 latent-size=4", "evaluation.utility-num-samples": 40, **changes}
    config = RunConfig.from_flat(flat)
    generator = config.model_component.build(data.spec, 0)["generator"].eval()
    return Evaluator(config, data).summary(generator, table.held_out(), num_samples)


def assert_sound(found):
    assert not [reason for reason in found["not-scored"] if "failed" in reason]
    for value in found["scores"].values():
        for one in value if isinstance(value, list) else [value]:
            assert one is None or math.isfinite(one)


@pytest.mark.parametrize("held_out", [1, 2, 3, 5, 7, 8, 9, 10, 27, 100])
@pytest.mark.parametrize("classes", [1, 2, 10])
def test_whatever_is_held_out_scoring_ends_and_says_what_it_left_out(held_out, classes):
    found = summary_of(dataset(held_out, classes))
    assert_sound(found)
    assert ("fid" in found["scores"]) == (held_out >= FEWEST)
    if held_out < FEWEST:
        assert f"{held_out} held-out image(s) are too few" in " ".join(found["not-scored"])
    computed = {"fid", "kid", "precision", "per-class-recall", "utility", "score"} & found["scores"].keys()
    assert computed or found["not-scored"]


@pytest.mark.parametrize("held_out", [1, 7, 27])
def test_images_without_labels_have_no_scores_of_labels(held_out):
    found = summary_of(dataset(held_out, 1, labels=torch.zeros(held_out, dtype=torch.int64), labelled=False))
    assert_sound(found)
    assert any("utility" in r and "the images have no labels" in r for r in found["not-scored"])


def test_a_class_of_few_held_out_images_has_no_recall_and_is_not_the_worst():
    labels = torch.tensor([0] * 20 + [1] * 20 + [2])
    found = summary_of(dataset(41, 4, labels=labels))
    assert_sound(found)
    assert [share is None for share in found["scores"]["per-class-recall"]] == [False, False, True, True]
    assert found["scores"]["worst-recalled-class"] in (0, 1)


def test_pictures_that_are_all_the_same_are_scored():
    same = torch.full((30, 1, 28, 28), 9, dtype=torch.uint8)
    assert_sound(summary_of(dataset(30, 3, images=same)))


def test_fewer_generated_images_than_held_out_ones_are_enough():
    assert_sound(summary_of(dataset(300, 10), num_samples=100))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluation.utility-num-samples": 1}, "utility-num-samples is 1, fewer than two of each of 10 classes"),
        ({"evaluation.utility-num-samples": 0}, "utility-num-samples is 0"),
        ({"model": "mlp width=8 latent-size=4 conditional=false"}, "not conditional"),
    ],
)
def test_a_utility_that_cannot_be_is_left_out(changes, words):
    found = summary_of(dataset(30), **changes)
    assert_sound(found)
    assert any(words in reason for reason in found["not-scored"])


def test_a_metric_that_fails_costs_its_own_score_alone(monkeypatch):
    from common import metrics

    def broken(*arguments, **options):
        raise ValueError("no\nkernel today")

    monkeypatch.setattr(metrics.kid, "kernel_distance", broken)
    found = summary_of(dataset(30))
    assert "kid" not in found["scores"]
    assert {"fid", "precision", "utility"} <= found["scores"].keys()
    (why,) = [reason for reason in found["not-scored"] if "kid" in reason]
    assert why == "kid is not computed: it failed: ValueError: no kernel today (a defect; --debug shows where)"


def test_what_all_metrics_need_is_one_reason(monkeypatch):
    from server.evaluation import evaluator

    def broken(*arguments):
        raise RuntimeError("no images")

    monkeypatch.setattr(evaluator, "generate_on_all_cores", broken)
    found = summary_of(dataset(30), **{"evaluation.utility-num-samples": 0})
    assert found["scores"] == {}
    assert any(reason.startswith("fid, kid and prdc are") and "no images" in reason for reason in found["not-scored"])
    assert "scored-with" not in found


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left"), RuntimeError("CUDA out of memory.")])
def test_a_machine_that_has_no_room_is_no_matter_of_one_metric(monkeypatch, error):
    from common import metrics

    def full(*arguments, **options):
        raise error

    monkeypatch.setattr(metrics.kid, "kernel_distance", full)
    with pytest.raises(type(error)):
        summary_of(dataset(30))


class TestDigits:
    def test_noise_of_the_digits_size_is_warned_of(self):
        found = summary_of(dataset(100))
        assert "classifier of handwritten digits" in found["scored-with"]["warning"]
        assert found["scored-with"]["extractor"] == "mnist-cnn"

    def test_digits_under_another_name_are_not(self):
        real = RunConfig().source.load(None)
        few = ImageSet(real.test.images[::5].clone(), real.test.labels[::5].clone())
        names = tuple(f"digit {k}" for k in range(10))
        found = summary_of(Dataset("image-folder", few, few, names))
        assert "warning" not in found["scored-with"]
        assert 1 <= found["scores"]["score"] <= 10  # the classifier's score means something here

    def test_what_nobody_can_tell_is_warned_of(self):
        assert "nothing says that these images are digits" in doubt_of_features("mnist-cnn", "auto", None)
        assert doubt_of_features("mnist-cnn", "auto", 0.99) == ""

    def test_stacked_ones_are_known_to_be_digits_and_others_of_three_channels_are_not(self):
        limits = Evaluator(RunConfig.from_flat(STACKED), stacked(300)).limits
        assert limits.digits == 1
        assert limits.remarks(26_000) == []
        others = summary_of(stacked(80, "npz"), **{"evaluation.extractor": "mnist-cnn-channels"})
        assert "features of mnist-cnn-channels are those of a classifier of" in others["scored-with"]["warning"]

    def test_few_images_are_warned_of_where_there_is_a_fid(self):
        assert "fid is to 64 held-out images" in summary_of(dataset(64))["scored-with"]["warning"]
        assert "fid is to" not in summary_of(dataset(65))["scored-with"]["warning"]


class TestStackedDigits:
    def test_modes_are_computed_of_them_alone(self):
        found = summary_of(stacked(30), **STACKED)
        assert_sound(found)
        assert {"modes", "modes-kl", "fid", "utility"} <= found["scores"].keys()
        assert found["scored-with"]["extractor"] == "mnist-cnn-channels"
        assert not any("modes" in reason for reason in found["not-scored"])

    def test_of_other_images_nothing_is_said_of_modes_until_they_are_named(self):
        limits = Evaluator(RunConfig(), dataset(30)).limits
        assert "modes" not in limits.reasons()
        assert "an MNIST digit in each of three channels" in limits.reason_against("modes")

    def test_resized_ones_have_other_features_and_say_why_they_have_no_modes(self):
        found = summary_of(stacked(30, size=32), **STACKED)
        assert found["scored-with"]["extractor"] == "random-vgg"
        assert any(reason.startswith("modes is not computed: it reads an MNIST") for reason in found["not-scored"])

    def test_another_number_of_images_than_published_is_said(self):
        warning = summary_of(stacked(300), 150, **STACKED)["scored-with"]["warning"]
        assert "modes is of 150 generated images, and published figures are of 26,000" in warning
        limits = Evaluator(RunConfig.from_flat(STACKED), stacked(300)).limits
        assert not any("modes" in remark for remark in limits.remarks(26_000))


class TestOtherPictures:
    def test_colour_has_every_score_by_a_random_network_and_is_pointed_to_inception(self):
        found = summary_of(dataset(30, 3, images=torch.randint(0, 256, (30, 3, 32, 32), dtype=torch.uint8)))
        assert_sound(found)
        assert {"fid", "kid", "precision", "per-class-recall", "utility"} <= found["scores"].keys()
        assert found["scored-with"]["extractor"] == "random-vgg"
        assert 'evaluation.extractor="inception"' in found["scored-with"]["warning"]

    def test_who_requested_the_random_network_is_not_pointed_to_another(self):
        assert doubt_of_features("random-vgg", "random-vgg", None) == ""


@pytest.mark.parametrize(
    ("extractor", "shape", "words"),
    [
        ("none", ImageSpec(1, 28, 2), "evaluation.extractor=none"),
        ("auto", SequenceSpec(6, 5, 2), "no extractor for sequences"),
    ],
)
def test_examples_without_an_extractor_have_a_reason(extractor, shape, words):
    config = RunConfig.from_flat({"evaluation.extractor": extractor})
    assert words in no_extractor(config.evaluation, shape)
