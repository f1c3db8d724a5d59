from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from common import threads
from common.config import RunConfig
from common.datasets.base import Dataset
from common.errors import ConfigError
from common.examples import ImageSet, ImageSpec
from common.folds import folds_of_split, groups_of
from common.metrics import METRICS, table
from common.models import Sampler
from common.wire import RollCall
from server.clients.roster import Roster
from server.evaluation import evaluator
from server.evaluation.evaluator import Evaluator


class Copyist(Sampler):
    """A generator that shows a stored image of the label it is asked for, each in turn."""

    noise_shape = (2,)
    spec = ImageSpec(1, 28, 10)

    def __init__(self, images):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.images = images
        self.requested = []

    def forward(self, latents, labels):
        self.requested += labels.tolist()
        chosen = [self.images.images[self.images.labels == k] for k in labels.tolist()]
        picked = torch.stack([group[i % len(group)] for i, group in enumerate(chosen)])
        return picked.float() / 127.5 - 1


@pytest.fixture(scope="module")
def dataset():
    full = RunConfig().source.load(None)
    thin = ImageSet(full.train.images[::20].clone(), full.train.labels[::20].clone())
    held_out = ImageSet(full.test.images[::5].clone(), full.test.labels[::5].clone())
    return Dataset("mnist-10k", thin, held_out, full.class_names)


def make(dataset, **changes):
    return Evaluator(RunConfig.from_flat({"evaluation.utility-num-samples": 400, **changes}), dataset)


def test_copies_of_real_images_score_as_real_ones(dataset):
    scores = make(dataset).score(Copyist(dataset.test), ("fid", "prdc", "score", "per-class-recall"), 400)
    assert scores["fid"] < 20
    assert scores["precision"] == 1.0
    assert scores["recall"] > 0.9
    assert 9 < scores["score"] <= 10
    assert min(scores["per-class-recall"]) > 0.8


def test_a_generator_that_lacks_a_digit_is_found_out(dataset):
    class NoSevens(Copyist):
        def forward(self, latents, labels):
            return super().forward(latents, torch.where(labels == 7, 1, labels))

    recalls = make(dataset).score(NoSevens(dataset.test), ("per-class-recall",), 400)["per-class-recall"]
    assert recalls[7] < 0.6 < min(recall for digit, recall in enumerate(recalls) if digit != 7)


@pytest.mark.parametrize("num", [100, 400, 1000])
def test_labels_are_requested_as_the_held_out_images_have_them(dataset, num):
    generator = Copyist(dataset.test)
    make(dataset).score(generator, ("score",), num)
    assert len(generator.requested) == num
    requested, real = torch.bincount(torch.tensor(generator.requested), minlength=10), dataset.test.label_counts(10)
    for digit in range(10):
        assert requested[digit] / num == pytest.approx(real[digit] / 400, abs=0.03)


def test_utility_asks_for_balanced_labels(dataset):
    generator = Copyist(dataset.train)
    scores = make(dataset).score(generator, ("utility",), 100)
    assert torch.bincount(torch.tensor(generator.requested)).tolist() == [40] * 10
    assert 0.2 < scores["utility"] < 1


def test_utility_asks_for_no_class_that_nobody_was_trained_on(dataset):
    lacking = ImageSet(dataset.train.images, dataset.train.labels.clamp(min=1))
    generator = Copyist(lacking)
    make(Dataset("mnist-10k", lacking, dataset.test, dataset.class_names)).score(generator, ("utility",), 100)
    assert set(generator.requested) == set(range(1, 10))


def test_scores_repeat(dataset):
    one, two = (make(dataset).score(Copyist(dataset.test), ("fid", "kid"), 200) for _ in range(2))
    assert one == two


def test_scores_are_the_same_bits_on_any_number_of_cores_and_utility_is_reported_last(dataset, monkeypatch):
    generator = RunConfig().model_component.build(dataset.spec, 0)["generator"].eval()
    found = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(threads, "available_cores", lambda cores=cores: cores)
        found.append(list(make(dataset).score(generator, table.held_out(), 1100).items()))
    assert found[0] == found[1] == found[2]
    assert [name for name, _ in found[0]][::10] == ["fid", "utility"]


def test_the_score_is_that_of_the_images_alone(dataset):
    sample = make(dataset).sample(Copyist(dataset.test), 600)
    with_features = make(dataset).compare(sample.stored, ["fid", "score"])["score"]
    assert make(dataset, **{"evaluation.extractor": "none"}).compare(sample.stored, ["score"])["score"] == with_features


@pytest.mark.parametrize(
    ("changes", "missing", "words"),
    [
        ({"evaluation.extractor": "none"}, {"fid", "kid", "prdc", "per-class-recall"}, "no extractor"),
        ({"evaluation.utility-num-samples": 0}, {"utility"}, "utility-num-samples is 0"),
        ({"model": "mlp conditional=false"}, {"utility"}, "not conditional"),
    ],
)
def test_what_cannot_be_computed_is_left_out_with_the_reason(dataset, changes, missing, words):
    evaluator = make(dataset, **changes)
    assert set(evaluator.limits.reasons()) == missing
    of_images = {name for name in table.held_out() if "images" in METRICS[name].kinds}
    assert of_images - set(evaluator.available) == missing | {"modes"}  # of stacked digits alone
    assert all(words in reason for reason in evaluator.limits.reasons().values())


def test_other_images_have_no_digit_score_and_another_extractor(dataset):
    colour = ImageSet(dataset.test.images.repeat(1, 3, 1, 1), dataset.test.labels)
    other = Dataset("npz", colour, colour, dataset.class_names)
    assert make(other).extractor.name == "random-vgg"
    assert make(other).available == ["fid", "kid", "prdc", "per-class-recall", "utility"]
    assert make(other, **{"evaluation.extractor": "none"}).available == ["utility"]
    with pytest.raises(ConfigError, match=r"mnist-cnn.*28x28 images with 3 channel.*inception and random-vgg take any"):
        make(other, **{"evaluation.extractor": "mnist-cnn"})


def test_an_unknown_metric_is_refused(dataset):
    with pytest.raises(ConfigError, match="metrics='fidd'.*did you mean 'fid'"):
        make(dataset).score(Copyist(dataset.test), ("fidd",), 100)


def roster(shape, names=tuple("0123456789")):
    return Roster({0: RollCall(0, 1, 40, None, shape, names, "d", "f")})


@pytest.mark.parametrize(
    "clients",
    [roster(ImageSpec(1, 32, 10)), roster(ImageSpec(1, 28, 10), tuple("abcdefghij"))],
    ids=["size", "names"],
)
def test_a_server_with_other_data_than_its_clients_does_not_score(clients):
    assert isinstance(evaluator.make_evaluator(RunConfig(), roster(ImageSpec(1, 28, 10))), Evaluator)
    why = evaluator.make_evaluator(RunConfig(), clients)
    assert why == "data.name='mnist-10k' has other images or classes than the clients"


def test_a_fold_is_scored_on_where_the_server_knows_what_clients_hold_and_nowhere_else(dataset):
    split = {"partition": "shards per-client=2 examples-per-client=40", "federation.num-clients": 4}
    config = RunConfig.from_flat(split | {"evaluation.folds": 4, "evaluation.fold": 2})
    whole = config.source.load(None)
    folds = folds_of_split(config.partitioner, groups_of(config.partitioner, whole), whole.train, config)
    held = roster(ImageSpec(1, 28, 10)).clients[0]
    known = Roster({0: replace(held, data_digest=whole.train.subset(folds[0].trained).digest())})
    found = evaluator.make_evaluator(config, known)
    assert isinstance(found, Evaluator)
    assert len(found.held_out) == 40
    chosen = np.sort(np.concatenate([fold.held_out for fold in folds]))
    assert torch.equal(found.held_out.stored, whole.train.stored[chosen])
    why = evaluator.make_evaluator(config, Roster({0: held}))
    assert why == "data.name='mnist-10k' is not what the clients divide into folds"


def test_a_server_without_data_says_where_it_looked(tmp_path):
    config = RunConfig.from_flat({"data.name": "mnist", "data.root": str(tmp_path)})
    why = evaluator.make_evaluator(config, roster(ImageSpec(1, 28, 10)))
    assert "holds no data" in why
    assert str(tmp_path) in why
