"""What a client tells the server's evaluation, and what it does not."""

import pytest
import torch
from torch import nn

from client import data, evaluation
from client.evaluation import RefusalError
from client.site import Site
from common.config import RunConfig
from common.examples import ImageSpec
from common.metrics import ClientMoments
from common.metrics.federated import UNTOLD
from common.seeding import torch_generator

CPU = torch.device("cpu")
SPLIT = {"partition": "shards per-client=2 images-per-client=60", "evaluation.num-images": 500}


def config(**changes):
    return RunConfig.from_flat(SPLIT | {key.replace("__", ".").replace("_", "-"): v for key, v in changes.items()})


def site(**changes):
    return Site.of({"partition-id": 0, "num-partitions": 10} | {k.replace("_", "-"): v for k, v in changes.items()})


def told(config, site, shard):
    tree = evaluation.moments(config, site, shard, CPU)
    return ClientMoments.from_tree(tree, 64, shard.shape.num_classes, len(shard.examples))


class TestMoments:
    def test_they_are_of_each_class_where_labels_are_told_and_of_all_together_where_not(self):
        shard = data.shard(config(), site())
        counts = shard.examples.label_counts(10)
        open_one, silent = (told(config(), site(disclose_labels=tells), shard) for tells in (True, False))
        assert {k: group.count for k, group in open_one.groups.items()} == {k: n for k, n in enumerate(counts) if n}
        assert open_one.label_counts == tuple(counts)
        assert set(silent.groups) == {UNTOLD}
        assert silent.label_counts is None
        torch.testing.assert_close(open_one.total.outer, silent.total.outer)

    def test_a_site_of_its_own_puts_classes_of_a_few_images_together(self):
        shard = data.shard(config(), site())
        few = data.Shard(shard.examples.subset(torch.arange(9).numpy()), shard.class_names)
        assert set(told(config(), site(), few).groups) != set()
        with pytest.raises(RefusalError, match="9 images are too few to give moments of: 10"):
            told(config(), site(data="npz:/x.npz"), few)

    @pytest.mark.parametrize(
        ("configuration", "here", "words"),
        [
            (config(), site(disclose_moments=False), "disclose-moments=false"),
            (config(evaluation__extractor="none"), site(), "no extractor"),
        ],
    )
    def test_what_is_not_told_has_a_reason(self, configuration, here, words):
        with pytest.raises(RefusalError, match=words):
            evaluation.moments(configuration, here, data.shard(configuration, here), CPU)


class Drawn(nn.Module):
    """A generator that shows given images in a random order, whatever it is asked for."""

    noise_shape = (2,)
    spec = ImageSpec(1, 28, 10)

    def __init__(self, images):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.images = images

    def forward(self, latents, labels):
        rows = torch.randint(len(self.images), (len(labels),), generator=torch_generator(0, "drawn"))
        return self.images[rows].float() / 127.5 - 1


class TestMemorisation:
    def ratio(self, monkeypatch, choose, **changes):
        configuration, here = config(evaluation__holdout=0.2, **changes), site()
        shard = data.shard(configuration, here)
        generator = Drawn(choose(shard))
        monkeypatch.setattr(evaluation, "load_sampler", lambda *_: generator)
        found = evaluation.memorisation({}, configuration, here, shard, CPU)
        return float(found["ratio"]), float(found["error"])

    @pytest.mark.parametrize("extractor", ["mnist-cnn", "none"])
    def test_a_generator_that_repeats_the_training_images_is_told_from_one_that_does_not(self, monkeypatch, extractor):
        def fresh(shard):
            dataset = RunConfig().source.load(None)
            return dataset.test.images[torch.isin(dataset.test.labels, shard.examples.labels)]

        repeated, _ = self.ratio(monkeypatch, lambda shard: shard.examples.stored, evaluation__extractor=extractor)
        drawn, error = self.ratio(monkeypatch, fresh, evaluation__extractor=extractor)
        assert repeated < 0.01
        assert abs(drawn - 1) < 3 * error

    def test_without_held_out_images_nothing_can_be_told(self):
        with pytest.raises(RefusalError, match="0 held-out image"):
            evaluation.memorisation({}, config(), site(), data.shard(config(), site()), CPU)


def test_held_out_images_are_a_share_of_each_class_and_nobody_trains_on_them():
    whole, part = (data.shard(config(evaluation__holdout=share), site()) for share in (0.0, 0.25))
    assert whole.held_out is None
    assert (len(part.examples), len(part.held_out)) == (45, 15)
    both = [sorted(images.flatten(1).sum(1).tolist()) for images in (part.examples.stored, part.held_out.stored)]
    assert sorted(both[0] + both[1]) == sorted(whole.examples.stored.flatten(1).sum(1).tolist())
    for k, count in enumerate(whole.examples.label_counts(10)):
        assert abs(part.held_out.label_counts(10)[k] - count / 4) < 1
    assert part.digest() != whole.digest()
