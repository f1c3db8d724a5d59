"""Clipped gradients of single examples against a loop over them."""

import pytest
import torch

from client.functional import example_gradients
from client.functional.borrowing import BorrowingNetworks
from client.functional.clipping import clip_shares
from client.functional.example_gradients import clipped_gradients
from common.objectives import OBJECTIVES, Batch, DrawSource
from common.seeding import torch_generator
from tests.unit.kinds import small_model, small_set, spec_of

NUM = 6
CASES = [
    ("mlp", "non-saturating", {}),
    ("mlp", "non-saturating", {"r1": 1.0}),
    ("dcgan", "non-saturating", {}),
    ("dcgan", "non-saturating", {"r1": 1.0}),
    ("dcgan", "wgan-gp", {}),
    ("dcgan spectral_norm", "hinge", {}),
    ("resnet", "non-saturating", {"augment": "translation"}),
    ("vae", "elbo", {}),
    ("unet", "flow-matching", {}),
    ("transformer", "next-token", {}),
    ("lstm", "next-token", {}),
]


class Case:
    """A small model, a phase of an objective that uses examples, and a batch."""

    def __init__(self, model, objective, options, num=NUM):
        name, *more = model.split()
        spec, made = spec_of(name), small_model(name, **dict.fromkeys(more, True))
        self.objective = OBJECTIVES[objective](**options)
        self.networks = dict(made.build(spec, 0).items())
        self.phase = self.objective.phases()[0]
        shard, self.generator = small_set(spec, num), torch_generator(0, "draws")
        for weight in self.weights().values():  # those that start at zero would have nothing to pass on
            weight.data += 0.05 * torch.randn(weight.shape, generator=self.generator)
        shape = made.sampler(self.networks).noise_shape
        source = DrawSource(num, self.generator, torch.arange(10), shape, spec.shape)
        self.tensors = {"examples": spec.to_input(shard.stored), "labels": shard.labels}
        self.tensors |= self.objective.draw(source)
        self.functional = BorrowingNetworks(self.networks)
        for name, network in self.networks.items():
            network.requires_grad_(name in self.phase.networks)

    def weights(self):
        return {
            f"{network}.{key}": value
            for network in self.phase.networks
            for key, value in self.networks[network].named_parameters()
        }

    def loss(self, weights, tensors):
        draws = {key: value for key, value in tensors.items() if key not in ("examples", "labels")}
        with self.functional.borrowing(weights) as networks:
            return self.phase.loss(networks, Batch(tensors["examples"], tensors["labels"], draws, self.generator))[0]

    def one_by_one(self):
        """Yields the gradients of each example, by weight, and their length."""
        weights = self.weights()
        for number in range(len(self.tensors["labels"])):
            one = {key: value[number : number + 1] for key, value in self.tensors.items()}
            found = torch.autograd.grad(self.loss(weights, one), list(weights.values()), allow_unused=True)
            own = {
                key: torch.zeros_like(value) if gradient is None else gradient
                for (key, value), gradient in zip(weights.items(), found, strict=True)
            }
            yield own, torch.stack([gradient.double().square().sum() for gradient in own.values()]).sum().sqrt()


@pytest.mark.parametrize(("model", "objective", "options"), CASES)
def test_the_sum_is_that_of_a_loop_which_clips_each_example_over_all_weights(model, objective, options):
    case = Case(model, objective, options)
    alone = list(case.one_by_one())
    clip = float(torch.stack([length for _, length in alone]).median())  # half of them are longer
    found = clipped_gradients(case.loss, case.weights(), case.tensors, clip)
    assert found.keys() == case.weights().keys()
    for key, value in found.items():
        expected = sum(own[key] * min(1.0, clip / float(length)) for own, length in alone)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()) + 1e-9)


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_a_convolution_or_product_is_carried_out_once_for_all_examples(model, monkeypatch):
    used = []
    for name in ("product", "convolution"):
        rule = getattr(example_gradients, name)
        monkeypatch.setattr(example_gradients, name, lambda *given, rule=rule: used.append(rule) or rule(*given))
    case = Case(model, "non-saturating", {})
    clipped_gradients(case.loss, case.weights(), case.tensors, 1.0)
    matrices = [value for key, value in case.weights().items() if value.ndim > 1 and "projection" not in key]
    assert len(used) == 2 * len(matrices)  # of real examples and fakes


def test_an_example_whose_gradient_is_not_finite_leaves_no_trace():
    case = Case("dcgan", "non-saturating", {}, num=4)
    case.tensors["examples"][2] = torch.nan
    rest = {key: value[[0, 1, 3]] for key, value in case.tensors.items()}
    found = clipped_gradients(case.loss, case.weights(), case.tensors, 0.05)
    for key, value in clipped_gradients(case.loss, case.weights(), rest, 0.05).items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)


@pytest.fixture
def rounding():
    """Has products on a GPU rounded, as clients do there."""
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("rounding")
def test_clipped_gradients_are_added_up_in_full_precision_on_a_gpu_too(monkeypatch):
    seen, add_up = [], example_gradients._Part.weighted_sum

    def watched(*arguments):
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return add_up(*arguments)

    monkeypatch.setattr(example_gradients._Part, "weighted_sum", watched)
    clipped_gradients(
        lambda rows, one: (rows["w"] * one["x"]).sum(), {"w": torch.ones(3)}, {"x": torch.ones(4, 3)}, 1.0
    )
    assert (seen, torch.backends.cuda.matmul.allow_tf32) == ([False], True)


def test_no_vector_stays_longer_than_the_clip_and_short_ones_stay():
    lengths = torch.tensor([0.0, 0.5, 2.0, 8.0, torch.inf, torch.nan], dtype=torch.float64)
    shares = clip_shares(lengths.square(), 2.0)
    assert shares.tolist() == [1.0, 1.0, 1.0, 0.25, 0.0, 0.0]
