"""What the server makes of clients' moments and of their word on memorisation."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from common import metrics
from common.config import RunConfig
from common.examples import ImageSpec
from common.metrics import ClientMoments, Sample
from common.models import Sampler
from common.wire import Answer, RollCall
from server.clients.roster import Roster
from server.evaluation import client_statistics
from server.evaluation.client_statistics import FederatedScorer

SPEC = ImageSpec(1, 28, 10)
NAMES = tuple("0123456789")


class Copyist(Sampler):
    """A generator that shows a stored image of the label it is asked for, each in turn; of some, of another one."""

    noise_shape = (2,)
    spec = ImageSpec(1, 28, 10)

    def __init__(self, images, instead=None):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.images = images
        self.instead = instead or {}
        self.made = 0

    def forward(self, latents, labels):
        self.made += len(labels)
        chosen = [self.images.images[self.images.labels == self.instead.get(k, k)] for k in labels.tolist()]
        return torch.stack([group[i % len(group)] for i, group in enumerate(chosen)]).float() / 127.5 - 1


class Telling:
    """A grid whose clients answer as they are told to."""

    def __init__(self, answers=None, silent=None):
        self.answers, self.silent, self.requested = answers or {}, silent or {}, []

    def ask(self, name, arrays, seconds, spec=None):
        self.requested.append((name, seconds))
        return self.answers, dict(self.silent)


@pytest.fixture(scope="module")
def dataset():
    return RunConfig().source.load(None)


@pytest.fixture(scope="module")
def extractor():
    return metrics.make_extractor("mnist-cnn")


@pytest.fixture(scope="module")
def shards(dataset):
    """Two clients of five digits each, of 400 images."""
    halves = [(dataset.train.labels < 5), (dataset.train.labels >= 5)]
    return [dataset.train.subset(half.nonzero()[::10, 0][:400].numpy()) for half in halves]


@pytest.fixture(scope="module")
def clients(shards, extractor):
    return {k: ClientMoments.of(extractor(shard.images), shard.labels, 10) for k, shard in enumerate(shards)}


def roster(num=2, **changes):
    answer = replace(RollCall(0, num, 400, None, SPEC, NAMES, "d", "f"), **changes)
    return Roster({k: replace(answer, partition=k) for k in range(num)})


def scorer(clients, extractor, num=2, **config):
    return FederatedScorer(RunConfig.from_flat(config), roster(num), extractor, clients)


def test_a_generator_that_shows_no_seven_is_reported_by_class_and_by_client(clients, extractor, dataset):
    scores = scorer(clients, extractor).score(Copyist(dataset.test, {7: 1}), 400)
    assert (scores["worst-class"], scores["worst-client"]) == (7, 1)
    assert scores["worst-class-fid"] > 5 * max(fid for k, fid in enumerate(scores["class-fid"]) if k != 7)
    assert scores["client-fid"][1] > 2 * scores["client-fid"][0]
    assert "federated-clients" not in scores


def test_images_that_were_made_for_other_scores_serve_again_if_they_show_every_class(clients, extractor, dataset):
    generator = Copyist(dataset.test)
    sample = Sample(dataset.test.images, dataset.test.labels, dataset.spec, extractor)
    scores = scorer(clients, extractor).score(generator, 400, sample)
    assert generator.made == 0
    assert scores["federated-fid"] < 40
    few = Sample(dataset.test.images[:3], dataset.test.labels[:3], dataset.spec, extractor)
    assert scorer(clients, extractor).score(generator, 400, few)["federated-fid"] < 40
    assert generator.made >= 400


def test_figures_over_some_clients_say_so(clients, extractor, dataset):
    scores = scorer({1: clients[1]}, extractor, num=3).score(Copyist(dataset.test), 100)
    assert scores["federated-clients"] == [1]
    assert [fid is None for fid in scores["client-fid"]] == [True, False, True]


def test_an_unconditional_generator_has_no_figures_of_classes(clients, extractor, dataset):
    scores = scorer(clients, extractor, model="mlp conditional=false").score(Copyist(dataset.test), 100)
    assert "class-fid" not in scores
    assert scores["client-fid"][0] > 1.2 * scores["federated-fid"]  # all digits, against five of them


class TestAsking:
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path):
        self.file = tmp_path / "moments.safetensors"

    def ask(self, grid, clients=None, **config):
        resolved, clients = RunConfig.from_flat(config), clients or roster()
        extractor = client_statistics.extractor_for(resolved, clients, None)
        return client_statistics.ask_moments(resolved, clients, grid, extractor, self.file)[0]

    def test_who_refuses_or_answers_nonsense_is_left_out_with_the_reason(self, clients, dataset, caplog):
        odd = Answer(1, clients[0].tree() | {"totals": torch.zeros(5, 3)})
        grid = Telling({0: Answer(0, clients[0].tree()), 1: odd}, {2: "disclose-moments=false"})
        scores = self.ask(grid, roster(3)).score(Copyist(dataset.test), 100)
        assert scores["federated-clients"] == [0]
        assert "moments of features: 2 of 3 clients tell none: partition 1: no moments of features: tot" in caplog.text
        assert "partition 2: disclose-moments=false" in caplog.text

    def test_label_counts_other_than_in_the_roll_call_are_refused(self, clients, caplog):
        reported = roster(1, label_counts=(400, *[0] * 9))
        assert self.ask(Telling({0: Answer(0, clients[0].tree())}), reported) is None
        assert "are not those of the roll call" in caplog.text

    @pytest.mark.parametrize("config", [{"evaluation.federated": False}, {"evaluation.extractor": "none"}])
    def test_nobody_is_queried_for_what_nobody_needs(self, config):
        grid = Telling()
        assert self.ask(grid, **config) is None
        assert grid.requested == []

    def test_who_hangs_delays_the_run_by_the_answers_deadline_and_not_by_a_rounds(self, clients):
        grid = Telling({0: Answer(0, clients[0].tree())}, {1: "no answer"})
        self.ask(grid, **{"evaluation.answer-seconds": 7.5})
        assert grid.requested == [("feature-moments", 7.5)]

    def test_a_resumed_run_has_the_same_figures_over_the_same_clients_and_asks_nobody(self, clients, dataset):
        first = self.ask(Telling({0: Answer(0, clients[0].tree())}, {1: "its node is away"}))
        again = Telling({0: Answer(0, clients[0].tree() | {"totals": torch.zeros(1)})})
        second = self.ask(again)
        assert again.requested == []
        scores = [scorer.score(Copyist(dataset.test), 100) for scorer in (first, second)]
        assert scores[0] == scores[1]
        assert scores[1]["federated-clients"] == [0]

    def test_a_run_in_which_nobody_reported_anything_asks_again_when_it_is_resumed(self, clients):
        assert self.ask(Telling({}, {0: "its node is away", 1: "its node is away"})) is None
        assert self.ask(Telling({0: Answer(0, clients[0].tree())})) is not None

    @pytest.mark.parametrize("why", ["damaged", "of other features"])
    def test_what_was_reported_is_queried_again_where_it_is_of_no_use(self, clients, caplog, why):
        grid = Telling({k: Answer(k, clients[k].tree()) for k in clients})
        self.ask(grid)
        if why == "damaged":
            self.file.write_bytes(self.file.read_bytes()[:-9])
        self.ask(grid, **({"evaluation.inception-weights": "/other.pth"} if why == "of other features" else {}))
        assert len(grid.requested) == 2
        assert "moments.safetensors is" in caplog.text
        assert "clients are asked for moments again" in caplog.text
        self.ask(grid, **({"evaluation.inception-weights": "/other.pth"} if why == "of other features" else {}))
        assert len(grid.requested) == 2


class TestMemorisation:
    def ask(self, grid, trained=True, holdout=0.1):
        config = RunConfig.from_flat({"evaluation.holdout": holdout})
        weights = {"generator.w": torch.ones(1)} if trained else {}
        return client_statistics.ask_of_model("memorisation-ratio", config, roster(3), grid, weights)[0]

    def answer(self, ratio, error=0.1):
        return Answer(0, {"ratio": torch.tensor(ratio).double(), "error": torch.tensor(error).double()})

    def test_the_lowest_ratio_is_named(self):
        grid = Telling({0: self.answer(0.9), 2: self.answer(0.25)}, {1: "0 held-out image(s) are too few"})
        assert self.ask(grid) == {
            "memorisation": [pytest.approx(0.9), None, 0.25],
            "memorisation-error": [pytest.approx(0.1), None, pytest.approx(0.1)],
            "most-memorised": 2,
            "most-memorised-ratio": 0.25,
        }

    @pytest.mark.parametrize("odd", [{}, {"ratio": torch.ones(2)}, {"ratio": torch.tensor(-1.0)}])
    def test_an_odd_answer_is_left_out(self, odd, caplog):
        assert self.ask(Telling({1: Answer(1, self.answer(0.5).arrays | odd if odd else {})})) == {}
        assert "memorisation: 1 of 3 clients tell none: partition 1: ratio" in caplog.text

    def test_nobody_is_queried_without_held_out_images_or_without_a_generator(self):
        grid = Telling()
        assert self.ask(grid, holdout=0.0) == self.ask(grid, trained=False) == {}
        assert grid.requested == []
