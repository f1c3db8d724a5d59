"""SCAFFOLD: variates are means of raw gradients, corrections have the right sign, and drift is smaller."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, one_round, trainer_of

from common import tree
from common.aggregators import AGGREGATORS
from common.algorithms import Client, Payload, Reply
from common.algorithms.fedavg import FedAvg
from common.algorithms.scaffold import VARIATE, Gradients, Scaffold
from common.models import Model
from common.models.base import ADVERSARIAL
from server.clients import admission
from tests.unit.common.algorithms.training import make_context


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.empty(2))
        self.register_buffer("count", torch.tensor(0))


class PointModel(Model):
    """One point in the plane, and a counter."""

    roles = ADVERSARIAL

    def networks(self, spec):
        return {"generator": Point()}


INITIAL = {"generator.w": torch.tensor([4.0, -4.0]), "generator.count": torch.tensor(0)}


class Quadratic:
    """Plain SGD on curvature/2 |w - target|^2."""

    num_examples = 1
    roles = ADVERSARIAL

    def __init__(self, target, curvature, steps=10, lr=0.1):
        self.target, self.curvature, self.steps, self.lr = torch.tensor(target), torch.tensor(curvature), steps, lr
        self.point = Point()
        self.seen = []

    def load(self, weights):
        self.point.load_state_dict({key.removeprefix("generator."): value for key, value in weights.items()})

    def fit(self, *, gradient_hook=None):
        for _ in range(self.steps):
            self.point.w.grad = (self.curvature * (self.point.w - self.target)).detach()
            self.seen.append(self.point.w.grad.clone())
            if gradient_hook:
                gradient_hook("generator", self.point)
            with torch.no_grad():
                self.point.w -= self.lr * self.point.w.grad
        return {}

    def parameters(self):
        return {f"generator.{key}": value.clone() for key, value in self.point.state_dict().items()}


CLIENTS = {0: ([1.0, 1.0], [1.0, 0.2]), 1: ([-3.0, 2.0], [0.2, 1.0])}
OPTIMUM = torch.tensor([(1.0 * 1 - 0.2 * 3) / 1.2, (0.2 * 1 + 1.0 * 2) / 1.2])  # of the sum of both losses


def run(algorithm, rounds, memories):
    context = make_context(model=PointModel(), clients={k: Client(1) for k in CLIENTS})
    state = algorithm.init(INITIAL, ADVERSARIAL)
    for _ in range(rounds):
        payloads = algorithm.broadcast(state, list(CLIENTS), context)
        replies = [algorithm.run(payloads[k], Quadratic(*CLIENTS[k]), memories[k], k) for k in CLIENTS]
        state = algorithm.update(state, replies, context)
    return state


def test_it_ends_at_the_optimum_of_all_clients_where_fedavg_does_not():
    corrected, plain = (run(kind(), 60, {0: {}, 1: {}}).parameters["generator.w"] for kind in (Scaffold, FedAvg))
    torch.testing.assert_close(corrected, OPTIMUM, rtol=1e-4, atol=1e-4)  # another sign would diverge from it
    assert (plain - OPTIMUM).norm() > 0.2


def test_the_servers_variate_is_the_mean_of_the_clients():
    memories = {0: {}, 1: {}}
    state = run(Scaffold(), 7, memories)
    mean = sum(memory[VARIATE]["generator.w"] for memory in memories.values()) / 2
    torch.testing.assert_close(state.slots[VARIATE]["generator.w"], mean)
    assert list(state.slots[VARIATE]) == ["generator.w"]  # no counter


def test_a_variate_is_option_2_of_the_paper_under_sgd():
    own, servers = torch.tensor([0.5, -1.0]), torch.tensor([-0.25, 2.0])
    trainer, memory = Quadratic([1.0, 1.0], [1.0, 0.2]), {VARIATE: {"generator.w": own}}
    payload = Payload({**INITIAL, f"{VARIATE}.generator.w": servers})
    reply = Scaffold().run(payload, trainer, memory, 0)
    moved = INITIAL["generator.w"] - reply.arrays["generator.w"]
    option_2 = own - servers + moved / (trainer.steps * trainer.lr)
    torch.testing.assert_close(memory[VARIATE]["generator.w"], option_2)
    torch.testing.assert_close(memory[VARIATE]["generator.w"], torch.stack(trainer.seen).mean(0))
    torch.testing.assert_close(reply.arrays[f"{VARIATE}.generator.w"], option_2 - own)


def test_the_correction_is_the_servers_variate_less_the_clients_and_nothing_else_is_changed():
    network = Point()
    hook = Gradients({"generator.w": torch.tensor([0.5, -0.5])})
    for value in (1.0, 3.0):
        network.w.grad = torch.full((2,), value)
        hook("generator", network)
        assert network.w.grad.tolist() == [value + 0.5, value - 0.5]
    network.w.grad = torch.full((2,), 9.0)
    hook("discriminator", network)
    assert network.w.grad.tolist() == [9.0, 9.0]
    assert hook.means()["generator.w"].tolist() == [2.0, 2.0]  # before the correction


def test_the_servers_variate_moves_by_the_share_of_the_clients_who_replied():
    algorithm, context = Scaffold(), make_context(model=PointModel(), clients={k: Client(1) for k in range(8)})
    state = algorithm.init(INITIAL, ADVERSARIAL)
    changes = ([1.0, -2.0], [3.0, -4.0])
    replies = [Reply(k, 10**k, {**INITIAL, f"{VARIATE}.generator.w": torch.tensor(c)}) for k, c in enumerate(changes)]
    state = algorithm.update(state, replies, context)
    assert state.slots[VARIATE]["generator.w"].tolist() == [0.5, -0.75]  # 2/8 of the plain mean
    state = algorithm.update(state, replies, context)
    assert state.slots[VARIATE]["generator.w"].tolist() == [1.0, -1.5]


def test_a_robust_mean_holds_the_variates_too():
    algorithm = Scaffold()
    context = make_context(
        model=PointModel(), clients={k: Client(1) for k in range(3)}, aggregator=AGGREGATORS["median"]()
    )
    replies = [
        Reply(k, 1, {**INITIAL, f"{VARIATE}.generator.w": torch.full((2,), value)})
        for k, value in enumerate((1, 2, 1e9))
    ]
    state = algorithm.update(algorithm.init(INITIAL, ADVERSARIAL), replies, context)
    assert state.slots[VARIATE]["generator.w"].tolist() == [2.0, 2.0]


def test_the_first_round_is_that_of_fedavg_to_the_bit_and_the_second_is_not():
    digests = []
    for algorithm in (FedAvg(), Scaffold()):
        clients = {k: Client(9) for k in (0, 3)}
        context, memories = make_context(model=MODEL, clients=clients), {0: {}, 3: {}}
        state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
        for _ in range(2):
            replies = one_round(algorithm, state, memories, context=context)
            state = algorithm.update(state, replies, context)
            digests.append(tree.digest(state.parameters))
    assert digests[0] == digests[2]
    assert digests[1] != digests[3]


@pytest.mark.parametrize("part", ["weights", "variates"])
def test_weights_and_variates_are_each_held_to_their_own_norm(part):
    algorithm, context = Scaffold(), make_context(model=PointModel())
    state = algorithm.init(INITIAL, ADVERSARIAL)
    template = algorithm.reply_template(state, context)
    assert {key: value.tolist() for key, value in template.items() if key.startswith(VARIATE)} == {
        f"{VARIATE}.generator.w": [0.0, 0.0]
    }
    sound = {}
    for k in range(5):
        step, change = 0.01, 100.0
        if k == 3:
            step, change = (1.0, change) if part == "weights" else (step, 1e4)
        arrays = {"generator.w": INITIAL["generator.w"] + step, f"{VARIATE}.generator.w": torch.full((2,), change)}
        sound[k] = Reply(k, 1, arrays | {"generator.count": torch.tensor(1)})
    origins = {k: [template] for k in sound}
    refused = [admission.outliers(sound, origins, half.keys(), 3.0) for half in algorithm.reply_parts(template)]
    assert [list(found) for found in refused] == ([[3], []] if part == "weights" else [[], [3]])


@pytest.mark.parametrize(
    ("algorithm", "corrected"),
    [
        (Scaffold(), {"generator"}),
        (Scaffold(correct_adversaries=True), {"generator", "discriminator"}),
        (Scaffold(sync="generator"), {"generator"}),
        (Scaffold(sync="discriminator"), {"discriminator"}),
    ],
)
def test_discriminators_are_corrected_on_request_or_where_nothing_else_is_shared(algorithm, corrected):
    context, memories = make_context(model=MODEL, clients={k: Client(9) for k in (0, 3)}), {0: {}, 3: {}}
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    for _ in range(2):
        state = algorithm.update(state, one_round(algorithm, state, memories, context=context), context)
    assert {key.partition(".")[0] for key in state.slots[VARIATE]} == corrected
    assert all(bool(value.any()) for value in state.slots[VARIATE].values())
    assert {key.partition(".")[0] for key in memories[0][VARIATE]} == corrected
