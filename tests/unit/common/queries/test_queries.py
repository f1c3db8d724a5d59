"""Contracts of every client query, and what those that there are tell."""

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from client import data, queries
from client.site import Site
from common import tree, wire
from common.config import RunConfig
from common.datasets import DATASETS
from common.errors import DataError
from common.examples import ImageSpec
from common.examples.text import unpack
from common.metrics import ClientMoments, Moments
from common.metrics.client_moments import UNDISCLOSED
from common.metrics.longest_copy import Runs
from common.models import Sampler
from common.queries import QUERIES, Known, RefusalError, longest_copy, memorisation_ratio
from common.seeding import torch_generator
from server.evaluation.evaluator import extractor_of
from server.records import run_directory
from simulations.runtime.in_process import simulate
from tests.unit.common.queries.brightness import Brightness
from tests.unit.families.verses import Verses

CPU = torch.device("cpu")
TEXT = {
    "data.name": "verses context=16",
    "model": "transformer layers=1 heads=1 width=8",
    "objective": "next-token",
    "partition": "by-source",
    "federation.num-clients": 4,
    "evaluation.num-samples": 100,
}
SPLIT = {"partition": "shards per-client=2 examples-per-client=60", "evaluation.num-samples": 500}


def config(**changes):
    return RunConfig.from_flat(SPLIT | {key.replace("__", ".").replace("_", "-"): v for key, v in changes.items()})


def site(**changes):
    return Site.of({"partition-id": 0, "num-partitions": 10} | {k.replace("_", "-"): v for k, v in changes.items()})


def requested(name, config, site, shard, question=None):
    return QUERIES[name].answer(question or {}, queries.respondent(config, site, shard, CPU))


def reported(config, site, shard):
    answer = requested("feature-moments", config, site, shard)
    return ClientMoments.from_tree(answer, 64, shard.spec.num_classes, len(shard.examples))


TABLE = QUERIES | {"brightness": Brightness()}
PAIRS = {f"{name} {kind}": (query, kind) for name, query in TABLE.items() for kind in sorted(query.kinds)}
EVERY = pytest.mark.parametrize(("query", "kind"), PAIRS.values(), ids=PAIRS)


@pytest.fixture(scope="module")
def everyone():
    """Two clients of each kind of example: some that hold images out, each of two classes, and two roles of text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "verses", Verses)
        of_images = config(evaluation__holdout=0.2, model="mlp width=8 latent-size=4")
        sites = [site(partition_id=k) for k in (0, 1)]
        return {
            run.source.load(None).spec.kind: [queries.respondent(run, one, data.shard(run, one), CPU) for one in sites]
            for run in (of_images, RunConfig.from_flat(TEXT))
        } | {
            "held-out text": [
                queries.respondent(run, one, data.shard(run, one), CPU)
                for run in (RunConfig.from_flat(TEXT | {"evaluation.holdout": 0.2}),)
                for one in sites
            ]
        }


@pytest.fixture
def clients(everyone, query, kind):
    found = everyone[kind]
    return found if query.needed(found[0].config) else everyone[f"held-out {kind}"]


def question_of(query, client):
    model = client.config.model_component
    weights = model.build(client.spec, 0).state_dict()
    of = model.roles.published if query.looks_at == "published" else model.roles.networks
    return tree.FrozenTree(tree.select(tree.clone(weights), of)) if query.of_model else {}


def known_of(client):
    counts = tuple(client.examples.label_counts(client.spec.num_classes))
    num_features = client.extractor.dimension if client.extractor else 0
    return Known(len(client.examples), client.spec.num_classes, counts, num_features)


def test_moments_are_of_the_fold_that_is_held_out_where_there_are_folds():
    run, here = config(evaluation__folds=3, evaluation__fold=2), site()
    shard = data.shard(run, here)
    answer = requested("feature-moments", run, here, shard)
    assert int(answer["counts"].sum()) == len(shard.held_out) == 20
    known = Known(len(shard.examples), 10, tuple(shard.examples.label_counts(10)), 64, folds=3)
    found = QUERIES["feature-moments"].read(answer, known)
    assert found.label_counts == tuple(shard.held_out.label_counts(10))
    with pytest.raises(DataError, match="cannot be one of 3 folds"):
        QUERIES["feature-moments"].read(answer, replace(known, num_examples=10))
    with pytest.raises(RefusalError, match="0 images are too few"):
        requested("feature-moments", run, here, replace(shard, held_out=None))
    few = replace(shard, held_out=shard.held_out.subset(np.arange(9)))
    with pytest.raises(RefusalError, match="10 at least"):
        requested("feature-moments", run, site(data="npz:/nowhere"), few)


@EVERY
def test_an_answer_is_a_function_travels_and_is_read_back(query, clients):
    assert query.title
    assert query.needed(clients[0].config)
    reported = {}
    for client in clients:
        assert query.reason_against(client) == ""
        question = question_of(query, client)
        before = tree.digest(question), tree.digest({"i": client.examples.stored, "l": client.examples.labels})
        answers = [query.answer(question, client) for _ in range(2)]
        assert tree.digest(answers[0]) == tree.digest(answers[1])
        assert (
            tree.digest(question),
            tree.digest({"i": client.examples.stored, "l": client.examples.labels}),
        ) == before
        assert tree.not_finite(answers[0]) is None
        arrived = wire.decode_tree(pickle.loads(pickle.dumps(wire.encode_tree(answers[0]))))
        assert tree.digest(arrived) == tree.digest(answers[0])
        reported[client.partition] = query.read(arrived, known_of(client))
    scores = query.scores(reported, 3)
    assert json.loads(json.dumps(scores)) == scores
    assert all(len(value) == 3 and value[2] is None for value in scores.values() if isinstance(value, list))


@EVERY
def test_what_anybody_may_answer_is_refused_in_words_or_read(query, clients):
    client = clients[0]
    sound = query.answer(question_of(query, client), client)
    with pytest.raises(DataError):
        query.read({}, known_of(client))
    for key in sound:
        for odd in (torch.ones(2), torch.tensor(math.nan).double(), torch.zeros(0), torch.tensor(-1), None):
            tampered = {k: v for k, v in sound.items() if k != key} | ({} if odd is None else {key: odd})
            try:
                read = query.read(tampered, known_of(client))
            except DataError:
                continue
            query.scores({0: read}, 1)


@pytest.mark.parametrize("name", ["feature-moments", "held-out-likelihood", "longest-copy"])
def test_a_site_that_discloses_no_moments_sends_no_sums(everyone, name):
    query = QUERIES[name]
    (kind,) = query.kinds
    silent = replace(everyone[kind][0], discloses_moments=False)
    assert query.reason_against(silent) == "disclose-moments=false"
    with pytest.raises(RefusalError, match="disclose-moments=false"):
        query.answer(question_of(query, silent), silent)


@EVERY
def test_a_client_of_one_image_that_is_its_own_refuses_in_words(query, clients):
    whole, first = clients[0], torch.arange(1).numpy()
    client = replace(whole, examples=whole.examples.subset(first), held_out=None, test=None, own=True)
    with pytest.raises(RefusalError, match="too few"):
        query.answer(question_of(query, client), client)


class TestMoments:
    def test_they_are_of_each_class_where_labels_are_reported_and_of_all_together_where_not(self):
        shard = data.shard(config(), site())
        counts = shard.examples.label_counts(10)
        open_one, silent = (reported(config(), site(disclose_labels=tells), shard) for tells in (True, False))
        assert {k: group.count for k, group in open_one.groups.items()} == {k: n for k, n in enumerate(counts) if n}
        assert open_one.label_counts == tuple(counts)
        assert set(silent.groups) == {UNDISCLOSED}
        assert silent.label_counts is None
        torch.testing.assert_close(open_one.total.outer, silent.total.outer)

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"data__name": "stacked-mnist"}, "mnist-cnn-channels"),
            ({"data__name": "stacked-mnist", "data__image_size": 32}, "random-vgg"),
        ],
    )
    def test_clients_and_server_take_the_same_features_of_colour(self, changes, name):
        configuration = config(**changes)
        shard = data.shard(configuration, site())
        extractor = extractor_of(configuration, shard.spec)
        assert extractor.name == name
        answer = requested("feature-moments", configuration, site(), shard)
        found = ClientMoments.from_tree(answer, extractor.dimension, 10, len(shard.examples))
        torch.testing.assert_close(found.total.total, Moments.of(extractor(shard.examples.stored)).total)

    def test_a_site_of_its_own_puts_classes_of_a_few_images_together(self):
        shard = data.shard(config(), site())
        few = data.Shard(shard.examples.subset(torch.arange(9).numpy()), shard.class_names)
        assert set(reported(config(), site(), few).groups) != set()
        with pytest.raises(RefusalError, match="9 images are too few to give moments of: 10"):
            reported(config(), site(data="npz:/x.npz"), few)

    @pytest.mark.parametrize(
        ("configuration", "here", "words"),
        [
            (config(), site(disclose_moments=False), "disclose-moments=false"),
            (config(evaluation__extractor="none"), site(), "no extractor"),
        ],
    )
    def test_what_is_not_reported_has_a_reason(self, configuration, here, words):
        with pytest.raises(RefusalError, match=words):
            requested("feature-moments", configuration, here, data.shard(configuration, here))


class Drawn(Sampler):
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
        monkeypatch.setattr(memorisation_ratio, "load_sampler", lambda *_: generator)
        found = requested("memorisation-ratio", configuration, here, shard)
        return float(found["ratio"]), float(found["error"])

    @pytest.mark.parametrize("extractor", ["mnist-cnn", "none"])
    def test_a_generator_that_repeats_the_training_images_is_distinguished_from_one_that_does_not(
        self, monkeypatch, extractor
    ):
        def fresh(shard):
            dataset = RunConfig().source.load(None)
            return dataset.test.images[torch.isin(dataset.test.labels, shard.examples.labels)]

        repeated, _ = self.ratio(monkeypatch, lambda shard: shard.examples.stored, evaluation__extractor=extractor)
        drawn, error = self.ratio(monkeypatch, fresh, evaluation__extractor=extractor)
        assert repeated < 0.01
        assert abs(drawn - 1) < 3 * error

    def test_without_held_out_images_nothing_can_be_reported(self):
        with pytest.raises(RefusalError, match="0 held-out image"):
            requested("memorisation-ratio", config(), site(), data.shard(config(), site()))


class TestHeldOutLikelihood:
    query = QUERIES["held-out-likelihood"]

    def test_sums_are_over_the_held_out_texts_of_the_client_alone(self, everyone):
        client = everyone["text"][0]
        sums = self.query.answer(question_of(self.query, client), client)["sums"]
        lines = [text for text in unpack(client.test.stored, client.spec) if "first witch" in text]
        assert len(lines) == 8  # a fifth of 40
        assert float(sums[0]) == sum(len(line) + 1 for line in lines)

    def test_a_site_does_not_say_what_a_few_lines_are_like(self, everyone):
        client = everyone["text"][0]
        few = replace(client, own=True, test=client.test.subset(torch.arange(9).numpy()))
        with pytest.raises(RefusalError, match="9 held-out row"):
            self.query.answer(question_of(self.query, client), few)

    @pytest.mark.parametrize(
        "odd", [[10, 11, 1], [10.5, 1, 1], [10, 1, -1], [10, 1, 1e5], [0, 0, 0], [10, 1, math.nan]]
    )
    def test_impossible_sums_are_refused(self, odd):
        with pytest.raises(DataError, match="are no sums of predictions"):
            self.query.read({"sums": torch.tensor(odd).double()}, Known(1, 1))

    def test_it_is_not_requested_without_federated_scores(self):
        assert not self.query.needed(config(evaluation__federated=False))


class TestLongestCopy:
    query = QUERIES["longest-copy"]

    def reported(self, monkeypatch, client, sample):
        monkeypatch.setattr(longest_copy, "_runs", lambda *_: Runs([sample]))
        return self.query.read(self.query.answer({}, client), Known(1, 1))

    def test_a_model_that_repeats_a_training_line_is_distinguished_from_one_that_repeats_a_held_out_one(
        self, everyone, monkeypatch
    ):
        client = everyone["text"][0]
        trained, held_out = (unpack(part.stored, client.spec) for part in (client.examples, client.test))
        num = sum(map(len, held_out))
        line = next(text for text in longest_copy.cut(trained, num)[:-1] if text not in held_out)
        run, other = self.reported(monkeypatch, client, line)
        assert run == len(line) > other
        unseen = next(text for text in held_out if text not in longest_copy.cut(trained, num))
        run, other = self.reported(monkeypatch, client, unseen)
        assert other == len(unseen) > run

    def test_as_much_training_text_is_looked_at_as_is_held_out(self):
        assert longest_copy.cut(["abc", "de", "f"], 4) == ["abc", "d"]
        assert longest_copy.cut(["abc", "de"], 5) == longest_copy.cut(["abc", "de"], 9) == ["abc", "de"]

    def test_all_clients_of_a_process_share_the_samples_of_the_same_weights(self, everyone, monkeypatch):
        calls = []
        made = longest_copy.generate
        monkeypatch.setattr(longest_copy, "generate", lambda *args: calls.append(1) or made(*args))
        longest_copy._runs.cache_clear()
        weights = question_of(self.query, everyone["text"][0])
        for client in everyone["text"]:
            self.query.answer(tree.clone(weights), client)
        assert len(calls) == 1
        self.query.answer({key: value + 1 for key, value in weights.items()}, everyone["text"][0])
        assert len(calls) == 2


@pytest.mark.usefixtures("no_reports")
def test_a_query_that_is_one_file_and_one_entry_is_requested_at_the_end_of_a_run(small, monkeypatch):
    monkeypatch.setitem(QUERIES, "brightness", Brightness())
    run = small(federation__num_rounds=1)
    simulate(run, num_workers=1)
    scores = run_directory.resolve(run.output.dir).read_summary()["scores"]
    means = [data.shard(run, site(partition_id=k, num_partitions=4)).examples.stored.double().mean() for k in range(4)]
    assert scores["brightness"] == pytest.approx(float(sum(means)) / 4)
    assert scores["brightest"] == int(torch.stack(means).argmax())
    reasons = run_directory.resolve(run.output.dir).read_summary()["not-scored"]
    assert not any("longest-copy" in reason for reason in reasons)  # which is of text
    monkeypatch.setattr(Brightness, "answer", lambda self, question, client: {"mean": torch.tensor(math.inf)})
    odd = small("odd", federation__num_rounds=1)
    simulate(odd, num_workers=1)
    assert any(
        "brightness is not computed: no client tells it (partition 0: no brightness; " in reason
        for reason in run_directory.resolve(odd.output.dir).read_summary()["not-scored"]
    )
