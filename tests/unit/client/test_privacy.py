"""What leaves a client under a promise of privacy, and what a site allows."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict

from client import app as client_app
from client import batches, data, ledger
from client.private_steps import PrivateSteps
from client.site import Site
from common import wire
from common.algorithms.base import Client
from common.config import RunConfig
from common.errors import ConfigError, DataError, DivergenceError, FederationError, PrivacyError
from common.exchange import Payload
from common.privacy import ExamplePrivacy
from common.privacy.accounting import Mechanism, gaussian_epsilon
from common.privacy.noise_source import SeededNoise
from common.privacy.plan import PrivacyPlan
from common.queries import QUERIES
from common.seeding import numpy_generator, torch_generator
from simulations.runtime.in_process_grid import identify_process

PRIVATE = {
    "model": "dcgan width=8",
    "privacy": "example epsilon=10",
    "local.fake-labels": "uniform",
    "local.steps": 1,
    "local.batch-size": 16,  # all that a client has: no sampling, so that the formula gives the noise
    "federation.num-clients": 2,
    "federation.num-rounds": 3,
    "partition": "iid examples-per-client=16",
}
SECRET = "/srv/scans/john-smith.png has 17 fingers"


@pytest.fixture(autouse=True)
def forget():
    identify_process()
    yield
    client_app._RESIDENT.__dict__.clear()


@pytest.fixture
def own(tmp_path):
    """A site's own sixteen images."""
    generator = numpy_generator(0, "own")
    images = generator.integers(0, 256, (16, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(16) % 2)
    return {"data": f"npz:{tmp_path / 'own.npz'}"}


def site(**changes):
    return Site.of({"partition-id": 0, "num-partitions": 2} | {k.replace("_", "-"): v for k, v in changes.items()})


def ask(content, kind="query", config=PRIVATE, node=()):
    flat = RunConfig.from_flat(config).flat()
    place = {"partition-id": 0, "num-partitions": 2, **dict(node)}
    context = Context(run_id=1, node_id=1, node_config=place, state=RecordDict(), run_config=flat)
    message = Message(content, dst_node_id=1, message_type=kind)
    return client_app.app(message, context).content


def roll_call(config=PRIVATE, node=(), label_counts=True):
    return wire.decode_roll_call(ask(wire.encode_roll_call_request(label_counts), config=config, node=node))


def task(config=PRIVATE, node=(), **changes):
    settings = RunConfig.from_flat(config)
    spec = data.shard(settings, site(**{k.replace("-", "_"): v for k, v in dict(node).items()})).spec
    weights = settings.model_component.build(spec, 0).state_dict()
    one = wire.Task(Payload(weights), round=1, run="ab", **changes)
    return wire.encode_task(one, wire.encode_tree(weights))


def trained(config=PRIVATE, node=(), **changes):
    return wire.decode_reply(ask(task(config, node, **changes), "train", config, node), 1)[0]


class TestRollCall:
    def test_says_nothing_that_depends_on_what_is_in_the_examples(self):
        answer = roll_call()
        assert answer.label_counts is None
        assert answer.data_digest == ""
        assert "privacy=example" in answer.without_moments
        assert (answer.num_examples, answer.noise) == (16, wire.SEED)

    def test_without_a_promise_says_what_it_did(self):
        answer = roll_call({k: v for k, v in PRIVATE.items() if k != "privacy"})
        assert answer.label_counts is not None
        assert (len(answer.data_digest), answer.noise) == (16, "")

    def test_says_that_a_site_with_its_own_data_takes_noise_from_its_system(self, own):
        assert roll_call(node=own).noise == wire.SYSTEM

    def test_texts_by_their_characters_are_refused(self, tmp_path):
        (tmp_path / "a.txt").write_text("a quiet text of some length " * 30, encoding="utf-8")
        text = {"model": "transformer", "objective": "next-token", "privacy": "example", "federation.num-clients": 2}
        text |= {"data.name": "shakespeare tokens=bytes", "partition": "by-source"}
        with pytest.raises(PrivacyError, match="tokens=bytes"):
            roll_call(text, {"data": f"text-folder:{tmp_path}"})


class TestOwnData:
    """A site's own file, which does not say what is held out."""

    @pytest.mark.parametrize("state_path", [False, True], ids=["in memory", "with a state-path"])
    def test_one_example_less_leaves_all_others_where_they_were(self, tmp_path, own, state_path):
        def rows(name):
            place = {"state_path": str(tmp_path / "state")} if state_path else {}
            found = data.shard(RunConfig.from_flat(PRIVATE), site(data=f"npz:{tmp_path / name}", **place)).examples
            rows = zip(found.labels.tolist(), found.stored.numpy(), strict=True)
            return sorted((label, one.tobytes()) for label, one in rows)

        with np.load(tmp_path / "own.npz") as whole:
            images, labels = whole["images"], whole["labels"]
        np.savez(tmp_path / "less.npz", images=np.delete(images, 2, 0), labels=np.delete(labels, 2))
        with_it, without = rows("own.npz"), rows("less.npz")
        assert (len(with_it), len(without)) == (16, 15)
        assert len([row for row in with_it if row not in without]) == 1

    def test_a_part_that_the_file_holds_out_stays_held_out(self, tmp_path):
        images = np.zeros((6, 28, 28), np.uint8)
        np.savez(tmp_path / "parts.npz", images=images, test_images=images[:2])
        assert len(data.shard(RunConfig.from_flat(PRIVATE), site(data=f"npz:{tmp_path / 'parts.npz'}")).examples) == 6

    def test_without_a_promise_a_share_is_held_out(self, own):
        config = RunConfig.from_flat({k: v for k, v in PRIVATE.items() if k != "privacy"})
        assert len(data.shard(config, site(**own)).examples) == 13


@pytest.mark.parametrize("promise", ["example epsilon=10", "client epsilon=8 most-noise=1e6"])
def test_all_that_is_said_beside_weights_is_the_same_of_other_examples(tmp_path, own, promise):
    """What an attacker would do: compare every byte of two sites whose examples differ, but for their number."""
    with np.load(tmp_path / "own.npz") as whole:
        images, labels = whole["images"], whole["labels"]
    np.savez(tmp_path / "other.npz", images=255 - images, labels=np.r_[labels[0], 1 - labels[1:]])
    config = PRIVATE | {"privacy": promise, "federation.fraction": 1.0}

    def said(node):
        roll_call = ask(wire.encode_roll_call_request(True), config=config, node=node)
        answers = [ask(wire.encode_question(name), "query.ask", config, node) for name in QUERIES]
        content = ask(task(config, node), "train", config, node)
        reply, _ = wire.decode_reply(content, 1)
        shapes = {key: (value.shape, value.dtype) for key, value in reply.arrays.items()}
        metrics = {key: value for key, value in reply.metrics.items() if key != "seconds"}
        size = wire.message_bytes(Message(content, dst_node_id=1, message_type="train"))
        return wire.decode_roll_call(roll_call), list(map(wire.decode_answer, answers)), shapes, metrics, size

    assert said(own) == said({"data": f"npz:{tmp_path / 'other.npz'}"})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "fedavg sync=generator", "local.fake-labels": "own"},
        {"algorithm": "scaffold", "transforms": "compress"},
        {"algorithm": "effgan finetune=1", "objective": "hinge r1=1.0", "local.moments": "keep"},
        {"algorithm": "fedprox mu=0.1", "objective": "wgan-gp critic-steps=2"},
    ],
)
def test_examples_reach_weights_and_memories_by_sums_with_noise_alone(tmp_path, own, monkeypatch, changes):
    """With these sums taken off, what is sent and kept is the same to the bit, whatever the examples are."""
    with np.load(tmp_path / "own.npz") as whole:
        images, labels = whole["images"], whole["labels"]
    np.savez(tmp_path / "other.npz", images=255 - images, labels=np.r_[labels[0], 1 - labels[1:]])
    monkeypatch.setattr(batches, "SystemNoise", lambda: SeededNoise(torch_generator(0, "draws")))
    monkeypatch.setattr(PrivateSteps, "noisy_mean", lambda self, total: torch.full_like(total, 0.01))
    config = PRIVATE | {"local.steps": 2} | changes

    def all_of(node):
        settings = RunConfig.from_flat(config)
        spec = data.shard(settings, site(**node)).spec
        algorithm, model = settings.algorithm_component, settings.model_component
        state = algorithm.init(model.build(spec, 0).state_dict(), model.roles)
        clients = {0: Client(16, None), 1: Client(16, None)}
        context = SimpleNamespace(num_rounds=3, clients=clients, model=model, spec=spec)
        context.parameter_keys = list
        payload = algorithm.broadcast(state, [0], context)[0]
        content = wire.encode_task(wire.Task(payload, round=1, run="ab"), wire.encode_tree(payload.arrays))
        place = {"partition-id": 0, "num-partitions": 2, **node}
        kept = Context(run_id=1, node_id=1, node_config=place, state=RecordDict(), run_config=settings.flat())
        reply = client_app.app(Message(content, dst_node_id=1, message_type="train"), kept).content
        records = {**reply.array_records, **kept.state.array_records}
        return {f"{name}/{key}": array.data for name, record in records.items() for key, array in record.items()}

    assert all_of(own) == all_of({"data": f"npz:{tmp_path / 'other.npz'}"})


class TestReply:
    def test_has_weights_and_what_is_public_and_nothing_else(self):
        reply = trained()
        assert set(reply.metrics) == {"examples", "seconds"}
        assert set(trained({k: v for k, v in PRIVATE.items() if k != "privacy"}).metrics) > {"discriminator-loss"}

    def test_the_same_task_has_the_same_noise_and_other_weights_have_other_noise(self, monkeypatch):
        seeds = []
        assignment = client_app.Assignment
        monkeypatch.setattr(
            client_app, "Assignment", lambda *args, **kwargs: seeds.append(args[1]) or assignment(*args, **kwargs)
        )
        content = task()
        ask(content, "train")
        ask(content, "train")
        settings = RunConfig.from_flat(PRIVATE)
        other = settings.model_component.build(data.shard(settings, site()).spec, 1).state_dict()
        ask(wire.encode_task(wire.Task(Payload(other), round=1, run="ab"), wire.encode_tree(other)), "train")
        assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_is_answered(name):
    answer = wire.decode_answer(ask(wire.encode_question(name), "query.ask"))
    assert (dict(answer.arrays), "privacy=example" in answer.refusal) == ({}, True)


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "words"),
        [
            (DivergenceError(SECRET), DivergenceError, "training has diverged"),
            (DataError(SECRET), DataError, "the site's examples cannot be used"),
            (ValueError(SECRET), FederationError, "the client has failed"),
            (FileNotFoundError(SECRET), FederationError, "the client has failed"),
        ],
    )
    def test_have_no_value_of_an_example(self, monkeypatch, caplog, error, kind, words):
        def fail(*args):
            raise error

        content = task()
        monkeypatch.setattr(data, "shard", fail)
        for sent, message in ((content, "train"), (wire.encode_roll_call_request(False), "query")):
            with pytest.raises(kind, match=words) as caught:
                ask(sent, message)
            assert SECRET not in str(caught.value)
            assert caught.value.__suppress_context__  # else it would stand in a traceback
            assert caught.value.__cause__ is None
        assert SECRET in caplog.text  # the site's own log has it

    def test_of_settings_stay_as_they_are(self):
        with pytest.raises(ConfigError, match="partition-id=7"):
            roll_call(node={"partition-id": 7, "num-partitions": 8})

    def test_without_a_promise_stay_as_they_are(self, monkeypatch):
        def fail(*args):
            raise DataError(SECRET)

        monkeypatch.setattr(data, "shard", fail)
        with pytest.raises(DataError, match="john-smith"):
            roll_call({k: v for k, v in PRIVATE.items() if k != "privacy"})


class TestLimitOfASite:
    def test_is_for_data_of_its_own_and_is_remembered(self, tmp_path, own):
        with pytest.raises(ConfigError, match="privacy-epsilon=3 is a limit for the site's own data"):
            site(privacy_epsilon=3, **own)
        assert site(privacy_epsilon=3, state_path=str(tmp_path), **own).privacy_epsilon == 3

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"privacy": "none"}, "takes part in private runs only"),
            ({"privacy": "example epsilon=4"}, "the run may spend epsilon=4"),
            ({"privacy": "example epsilon=3 delta=1e-4"}, "with delta=0.0001"),
        ],
    )
    def test_keeps_it_out_of_runs_that_promise_less(self, tmp_path, own, changes, words):
        node = own | {"privacy-epsilon": 3.0, "state-path": str(tmp_path)}
        config = PRIVATE | changes
        for content, kind in (
            (wire.encode_roll_call_request(True), "query"),
            (wire.encode_question("feature-moments"), "query.ask"),
            (task(config, own), "train"),
        ):
            with pytest.raises(PrivacyError, match=words):
                ask(content, kind, config, node)
        assert not list(tmp_path.glob("privacy-*.jsonl"))

    def test_ends_its_part_in_a_run_with_more_rounds_than_it_pays_for(self, tmp_path, own):
        node = own | {"state-path": str(tmp_path)}
        for _ in range(3):  # the rounds that the noise is for; the same one again is another release
            trained(node=node)
        with pytest.raises(PrivacyError, match=r"round 1 would bring .* epsilon 12.*the run promises 10"):
            trained(node=node)
        (file,) = tmp_path.glob("privacy-*.jsonl")
        assert len(file.read_text().splitlines()) == 3


class TestLedger:
    PROMISE = ExamplePrivacy(epsilon=10.0)

    def plan(self, rounds=3):
        made = self.PROMISE.plan("steps", 16, 16, 1, rounds)
        assert made.rounds == rounds
        return made

    def test_adds_up_runs(self, tmp_path, own):
        place = site(privacy_epsilon=12.0, state_path=str(tmp_path), **own)
        book = ledger.SiteLedger(place)
        for round in (1, 2, 3):
            book.charge("aa", round, self.PROMISE, self.plan())
        ledger.SiteLedger(place).charge("bb", 1, self.PROMISE, self.plan())
        with pytest.raises(PrivacyError, match=r"all runs have spent .* privacy-epsilon=12 in its node configuration"):
            ledger.SiteLedger(place).charge("bb", 2, self.PROMISE, self.plan())

    def test_another_plan_in_the_same_run_is_added_up_too(self, tmp_path, own):
        book = ledger.SiteLedger(site(state_path=str(tmp_path), **own))
        book.charge("aa", 1, self.PROMISE, self.plan())
        weak = PrivacyPlan(Mechanism(0.4), 1, 1.0, 1e-5, rounds=100)
        with pytest.raises(PrivacyError, match="round 2"):
            book.charge("aa", 2, self.PROMISE, weak)

    def test_counts_its_own_share_of_the_noise_alone(self, tmp_path, own):
        promise = ExamplePrivacy(epsilon=3.0, sharers=4)
        plan = promise.plan("sums", 16, 16, 1, 1)
        own_epsilon = gaussian_epsilon(2 / plan.mechanism.noise_multiplier, 1e-5)  # half of the deviation
        assert own_epsilon > 6
        careful = site(privacy_epsilon=own_epsilon - 0.1, state_path=str(tmp_path / "a"), **own)
        with pytest.raises(PrivacyError, match=f"epsilon {own_epsilon:.3g}, and privacy-epsilon"):
            ledger.SiteLedger(careful).charge("aa", 1, promise, plan)
        content = site(privacy_epsilon=own_epsilon + 0.1, state_path=str(tmp_path / "b"), **own)
        ledger.SiteLedger(content).charge("aa", 1, promise, plan)
        ledger.SiteLedger(site(state_path=str(tmp_path / "c"), **own)).charge("aa", 1, promise, plan)  # without a limit

    def test_outlives_a_torn_line_and_refuses_a_damaged_one(self, tmp_path, own):
        book = ledger.SiteLedger(site(state_path=str(tmp_path), **own))
        book.charge("aa", 1, self.PROMISE, self.plan())
        (file,) = tmp_path.glob("privacy-*.jsonl")
        file.write_bytes(file.read_bytes() + b'{"run": "a')  # killed while it wrote
        book.charge("aa", 2, self.PROMISE, self.plan())
        assert [json.loads(row)["round"] for row in file.read_text().splitlines()] == [1, 2]
        file.write_text("x\n" + file.read_text())
        with pytest.raises(PrivacyError, match="cannot be read"):
            book.charge("aa", 3, self.PROMISE, self.plan())
        assert len(file.read_text().splitlines()) == 3

    def test_is_written_before_the_round_is_trained(self, tmp_path, own, monkeypatch):
        seen = []
        run = client_app._trainer
        monkeypatch.setattr(
            client_app, "Assignment", lambda *args, **kwargs: seen.append(len(list(tmp_path.glob("privacy-*.jsonl"))))
        )
        with pytest.raises(FederationError):  # there is no assignment
            trained(node=own | {"state-path": str(tmp_path)})
        assert (seen, run) == ([1], client_app._trainer)
        assert torch.get_num_threads() >= 1
