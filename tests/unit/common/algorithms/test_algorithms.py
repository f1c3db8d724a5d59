"""Contract of every algorithm, without any transport: a client is a function on trees."""

import itertools
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from common import tree
from common.aggregators import AGGREGATORS
from common.algorithms import ALGORITHMS, Client, Reply
from common.components import parse
from common.examples import ImageSpec
from common.models import Model
from common.models.base import ADVERSARIAL, Sampler
from common.tree import weighted_mean
from server import checkpoint
from server.checkpoint import Checkpoint
from server.rounds.base import Snapshot
from tests.unit.common.algorithms.training import make_context

INITIAL = {
    "generator.w": torch.tensor([1.0, -2.0, 0.5]),
    "generator.n": torch.tensor(0),
    "discriminator.w": torch.tensor([[0.25, 4.0]]),
}
VARIANTS = {
    "md-gan": ["", "swap-every=0"],
    "fedavg": ["", "sync=generator", "sync=discriminator", "ema-half-life=0", "ema-adaptive=true"],
    "fedprox": ["", "sync=generator"],
    "fedopt": ["", "optimizer=adam", "optimizer=yogi sync=generator", "lr=1 beta1=0"],
    "scaffold": ["", "sync=generator", "correct-adversaries=true"],
    "ifl-gan": ["", "sync=both"],
    "effgan": ["", "finetune=1", "finetune=1 sync=generator"],
}
TRAINING = [name for name, kind in ALGORITHMS.items() if kind.fitting == "steps"]
SPECS = [f"{name} {options}".strip() for name in TRAINING for options in VARIANTS.get(name, [""])]
_ON_THE_SERVER = dict.fromkeys(
    [
        "md-gan",
        "md-gan swap-every=0",
        "ua-gan",
        "f2u",
        "server-generator",
    ],
    "the server trains the generator, by what clients say of it",
)
_STEPPED = dict.fromkeys(
    ["fedopt", "fedopt optimizer=adam", "fedopt optimizer=yogi sync=generator"],
    "the server's optimizer goes another way than the mean",
)
_ALONE = dict.fromkeys(
    ["effgan finetune=1", "effgan finetune=1 sync=generator"], "clients who fine-tune change no shared weights"
)
APART: dict[str, dict[str, str]] = dict.fromkeys(
    ["local training", "identical clients", "aggregator"], _STEPPED | _ON_THE_SERVER | _ALONE
)
"""Contracts that cannot hold for an algorithm, by test and specification, with the reason; they must then fail."""


def held_to(contract):
    """Returns a decorator that runs a test over all algorithms, those apart being expected to fail it."""
    known = APART.get(contract, {})
    marks = {spec: pytest.mark.xfail(reason=reason, strict=True) for spec, reason in known.items()}
    return pytest.mark.parametrize("spec", [pytest.param(s, marks=marks[s]) if s in marks else s for s in SPECS])


class ToyNetwork(nn.Module):
    def __init__(self, *size, counts):
        super().__init__()
        self.w = nn.Parameter(torch.empty(size))
        if counts:
            self.register_buffer("n", torch.tensor(0))


class ToyGenerator(ToyNetwork, Sampler):
    noise_shape = (3,)
    spec = ImageSpec(1, 28, 10)

    def forward(self, latents, labels):
        return (latents @ self.w + labels).view(-1, 1, 1, 1)


class ToyDiscriminator(ToyNetwork):
    def forward(self, images, labels):
        return images.flatten() * self.w[0, 0] + self.w[0, 1]


class ToyModel(Model):
    """The networks of INITIAL."""

    roles = ADVERSARIAL

    def networks(self, spec):
        return {"generator": ToyGenerator(3, counts=True), "discriminator": ToyDiscriminator(1, 2, counts=False)}

    def build(self, spec, seed):
        return nn.ModuleDict(self.networks(spec))


CONTEXT = make_context(
    model=ToyModel(), clients={k: Client(10 + k, tuple(k + (k == label) for label in range(10))) for k in range(10)}
)


@dataclass
class ToyTrainer:
    """Local training that adds the client's own direction to every weight."""

    partition: int
    num_examples: int
    roles = ADVERSARIAL
    weights: dict = field(default_factory=lambda: tree.clone(INITIAL))

    def initial(self):
        return INITIAL

    def load(self, weights):
        assert set(weights) <= set(self.weights)
        self.weights |= tree.clone(weights)

    def fit(self, *, networks=None, given=None, extra_loss=None, gradient_hook=None):
        for name, network in ToyModel().networks(CONTEXT.spec).items():
            if networks and name not in networks:
                continue
            network.load_state_dict({k[len(name) + 1 :]: v for k, v in tree.select(self.weights, [name]).items()})
            loss = (network.w * (-0.1 * (self.partition + 1))).sum()
            (loss + extra_loss(name, network) if extra_loss else loss).backward()
            if gradient_hook:
                gradient_hook(name, network)
            with torch.no_grad():
                network.w -= network.w.grad
            if hasattr(network, "n"):
                network.n += 1
            self.weights |= {f"{name}.{k}": v.clone() for k, v in network.state_dict().items()}
        return {"generator-loss": 1.0}

    def real(self, num, scope):
        return torch.linspace(0, 1, num)[:, None], torch.zeros(num, dtype=torch.int64)

    def fake(self, num, scope):
        return self.real(num, scope)[0] + self.weights["generator.w"].sum(), torch.zeros(num, dtype=torch.int64)

    def feedback(self, images, labels):
        slope, offset = self.weights["discriminator.w"][0]
        return images.flatten() * slope + offset, slope.expand_as(images).clone()

    def parameters(self):
        return tree.clone(self.weights)


def make(spec):
    return parse("algorithm", ALGORITHMS, spec)


def train(algorithm, state, trainers, memories=None):
    memories = memories or {k: {} for k in trainers}
    payloads = algorithm.broadcast(state, sorted(trainers), CONTEXT)
    return [algorithm.run(payloads[k], trainer, memories[k], k) for k, trainer in trainers.items()]


def clients(*sizes):
    return {k: ToyTrainer(k, size) for k, size in enumerate(sizes)}


@held_to("local training")
def test_one_client_is_local_training(spec):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    alone = ToyTrainer(0, 7)
    for _ in range(3):
        alone.fit()
    trainers, memories = clients(7), {0: {}}
    context = replace(CONTEXT, clients={0: CONTEXT.clients[0]})
    for _ in range(3):
        state = algorithm.update(state, train(algorithm, state, trainers, memories), context)
    assert tree.digest(state.parameters) == tree.digest(algorithm.shared(alone.parameters(), ADVERSARIAL))
    assert state.round == 3


@held_to("identical clients")
def test_identical_clients_give_that_clients_weights(spec):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    trained = ToyTrainer(4, 1)
    trained.fit()
    expected = tree.digest(algorithm.shared(trained.parameters(), ADVERSARIAL))
    replies = train(algorithm, state, {k: ToyTrainer(4, size) for k, size in enumerate([3, 10, 999, 1, 1])})
    for aggregator in (kind() for kind in AGGREGATORS.values()):
        after = algorithm.update(state, replies, replace(CONTEXT, aggregator=aggregator))
        assert tree.digest(after.parameters) == expected


@pytest.mark.parametrize("spec", SPECS)
def test_the_order_of_replies_changes_no_bit(spec):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    replies = train(algorithm, state, clients(3, 5, 11))
    states = [algorithm.update(state, list(order), CONTEXT) for order in itertools.permutations(replies)]
    assert len({tree.digest(s.parameters) + tree.digest(s.average) for s in states}) == 1


@pytest.mark.parametrize("aggregate", AGGREGATORS)
@pytest.mark.parametrize("spec", SPECS)
def test_the_order_of_replies_changes_no_bit_under_any_aggregator(spec, aggregate):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    replies = train(algorithm, state, clients(3, 5, 11, 2, 2))
    aggregator = AGGREGATORS[aggregate]()
    ends = [
        algorithm.update(state, order, replace(CONTEXT, aggregator=aggregator))
        for order in (replies, replies[::-1], replies[2:] + replies[:2])
    ]
    assert len({tree.digest(end.parameters) for end in ends}) == 1


@pytest.mark.parametrize("spec", SPECS)
def test_no_reply_leaves_the_state_as_it_was(spec):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    assert algorithm.update(state, [], CONTEXT) is state


@pytest.mark.parametrize("spec", SPECS)
def test_clients_do_not_write_to_what_they_receive(spec):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    before = tree.digest(state.parameters)
    train(algorithm, state, clients(1, 2))
    assert tree.digest(state.parameters) == before


@pytest.mark.parametrize("spec", SPECS)
def test_a_saved_and_loaded_state_goes_on_to_the_same_bits(spec, tmp_path):
    algorithm = make(spec)
    state, trainers, memories = algorithm.init(INITIAL, ADVERSARIAL), clients(3, 5), {0: {}, 1: {}}
    state = algorithm.update(state, train(algorithm, state, trainers, memories), CONTEXT)
    path = checkpoint.save_checkpoint(tmp_path, Checkpoint(Snapshot(state, memories), {}, {}), keep=1)
    loaded = checkpoint.load_checkpoint(path).snapshot
    ends = []
    for start, kept in ((state, memories), (loaded.state, {k: dict(m) for k, m in loaded.clients.items()})):
        fresh = clients(3, 5)
        memory = {k: dict(kept.get(k, {})) for k in fresh}
        end = algorithm.update(start, train(algorithm, start, fresh, memory), CONTEXT)
        ends.append(tree.digest(end.parameters) + tree.digest(end.average) + str(end.round))
    assert ends[0] == ends[1]


def test_fedavg_weights_by_images():
    algorithm = make("fedavg")
    state = algorithm.init(INITIAL, ADVERSARIAL)
    replies = train(algorithm, state, clients(1, 3))
    after = algorithm.update(state, replies, CONTEXT)
    # client 0 adds 0.1, client 1 adds 0.2: (1 * 0.1 + 3 * 0.2) / 4
    assert after.parameters["generator.w"].tolist() == pytest.approx([1.175, -1.825, 0.675], abs=1e-6)
    expected = weighted_mean([r.arrays for r in replies], [1, 3])
    assert tree.digest(after.parameters) == tree.digest(expected)


@held_to("aggregator")
def test_an_algorithm_takes_the_mean_that_it_is_given_from_where_the_round_started(spec):
    algorithm = make(spec)
    state = algorithm.init(INITIAL, ADVERSARIAL)
    replies = train(algorithm, state, {k: ToyTrainer(k, k + 1) for k in (0, 2, 3, 7, 8)})  # client k adds 0.1 (k + 1)
    steps = {"median": 0.4, "trimmed-mean": 0.5, "krum": 0.3, "multi-krum m=2": 0.35, "norm-clipped ratio=1.5": 0.4}
    for aggregate, step in steps.items():
        aggregator = parse("aggregate", AGGREGATORS, aggregate)
        after = algorithm.update(state, replies, replace(CONTEXT, aggregator=aggregator)).parameters
        for key, value in state.parameters.items():
            if value.is_floating_point():
                torch.testing.assert_close(after[key], value + step)


@pytest.mark.parametrize(("sync", "kept"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_what_is_not_averaged_stays_with_its_client(sync, kept):
    algorithm = make(f"fedavg sync={sync}")
    state = algorithm.init(INITIAL, ADVERSARIAL)
    assert tree.networks_of(state.parameters) == (sync,)
    memories = {0: {}, 1: {}}
    for _ in range(2):
        trainers = clients(1, 1)  # new processes: all they know is their memory
        replies = train(algorithm, state, trainers, memories)
        assert all(tree.networks_of(reply.arrays) == (sync,) for reply in replies)
        state = algorithm.update(state, replies, CONTEXT)
    for k, memory in memories.items():
        assert tree.networks_of(memory["personal"]) == (kept,)
        step = 2 * 0.1 * (k + 1)  # two rounds of its own direction, from the common start
        assert torch.allclose(memory["personal"][f"{kept}.w"], INITIAL[f"{kept}.w"] + step)


def test_the_published_generator_is_the_average_if_there_is_one():
    reply = [Reply(0, 1, {k: v + 1 for k, v in INITIAL.items()})]
    plain = make("fedavg ema-half-life=0")
    state = plain.update(plain.init(INITIAL, ADVERSARIAL), reply, CONTEXT)
    assert torch.equal(state.published(ADVERSARIAL)["generator.w"], INITIAL["generator.w"] + 1)
    averaged = make("fedavg ema-half-life=5 ema-ramp=1")
    state = averaged.update(averaged.init(INITIAL, ADVERSARIAL), reply, CONTEXT)
    assert torch.equal(state.published(ADVERSARIAL)["generator.w"], state.average["generator.w"])
    assert not torch.equal(state.published(ADVERSARIAL)["generator.w"], state.parameters["generator.w"])
    none = make("fedavg sync=discriminator")
    assert none.init(INITIAL, ADVERSARIAL).published(ADVERSARIAL) == {}
