"""Optimisers are torch's own to the bit, and a client's first step imports no compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from common.components import parse
from common.optimisers import OPTIMISERS, Stepper, step_together
from common.seeding import torch_generator


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch_generator(0, "weights")
        self.used = nn.Parameter(torch.randn(5, 3, generator=generator))
        self.bias = nn.Parameter(torch.randn(3, generator=generator))
        self.unused = nn.Parameter(torch.ones(2))


def steps(network, optimizer, count):
    generator = torch_generator(1, "inputs")
    for _ in range(count):
        optimizer.zero_grad()
        (torch.randn(7, 5, generator=generator) @ network.used + network.bias).square().mean().backward()
        optimizer.step()


TORCH = {
    "adam": lambda weights: torch.optim.Adam(weights, 2e-3, (0.0, 0.99), fused=True),
    "adam beta1=0.5": lambda weights: torch.optim.Adam(weights, 2e-3, (0.5, 0.99), fused=True),
    "adamw": lambda weights: torch.optim.AdamW(weights, 2e-3, (0.9, 0.99), weight_decay=0.01, fused=True),
    "adamw weight-decay=0": lambda weights: torch.optim.Adam(weights, 2e-3, (0.9, 0.99), fused=True),
    "sgd": lambda weights: torch.optim.SGD(weights, 2e-3, fused=True),
    "sgd momentum=0.9": lambda weights: torch.optim.SGD(weights, 2e-3, 0.9, fused=True),
    "sgd momentum=0.9 weight-decay=0.1": lambda weights: torch.optim.SGD(
        weights, 2e-3, 0.9, weight_decay=0.1, fused=True
    ),
}


def made(spec, network, rate=2e-3):
    return Stepper(network, parse("optimiser", OPTIMISERS, spec), rate)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_is_tried(name):
    assert name in {spec.partition(" ")[0] for spec in TORCH}
    assert OPTIMISERS[name].source


@pytest.mark.parametrize("spec", TORCH)
def test_it_is_torch_s_own_to_the_bit(spec):
    ours, theirs = Network(), Network()
    steps(ours, made(spec, ours), 20)
    steps(theirs, TORCH[spec](theirs.parameters()), 20)
    assert not torch.equal(ours.used, Network().used)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("spec", TORCH)
def test_a_loaded_state_goes_on_to_the_same_bits(spec):
    through, parts = Network(), Network()
    steps(through, made(spec, through), 4)
    first, second = made(spec, parts), made(spec, parts)
    generator = torch_generator(1, "inputs")
    for number in range(4):
        stepper = first if number < 2 else second
        if number == 2:
            for name, slot in second.slots.items():
                slot.copy_(first.slots[name])
        stepper.zero_grad()
        (torch.randn(7, 5, generator=generator) @ parts.used + parts.bias).square().mean().backward()
        stepper.step()
    assert torch.equal(through.used, parts.used)


def test_only_what_has_a_gradient_is_counted():
    network = Network()
    stepper = made("adam", network)
    steps(network, stepper, 4)
    assert float(stepper.slots["used.step"]) == 4
    assert float(stepper.slots["unused.step"]) == 0


@pytest.mark.parametrize("spec", TORCH)
def test_several_networks_step_at_once_to_the_bit_as_alone(spec):
    alone, together = [Network(), Network()], [Network(), Network()]
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        for network in (one, other):
            network.used.grad = torch.full_like(network.used, 0.1 + number)
        made(spec, one).step()
    step_together([made(spec, network) for network in together])
    assert all(torch.equal(one.used, other.used) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("spec", TORCH)
def test_a_rate_may_be_a_tensor(spec):
    one, other = Network(), Network()
    for network in (one, other):
        network.used.grad = torch.ones_like(network.used)
    made(spec, one).step()
    step_together([made(spec, other, 7.0)], torch.tensor(2e-3))
    torch.testing.assert_close(one.used, other.used, rtol=1e-6, atol=0)


LEAN = """
import sys
import torch
from client import data
from client.app import train
from client.site import Site
from client.batches import Assignment
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config import RunConfig
config = RunConfig.from_flat({"local.steps": 1, "local.batch-size": 4})
shard = data.shard(config, Site(partition_id=0, num_partitions=10))
trainer = Trainer(TrainerSpec.of(config, shard.spec, torch.device("cpu")))
trainer.assign(Assignment(shard.examples, 0, 0, 1), None)
trainer.fit()
print(*sorted({"torch._dynamo", "sympy", "matplotlib", "torchvision", "ray", "scipy"} & set(sys.modules)))
"""


SCORED = """
import sys
import torch
from common import metrics
images, labels = torch.zeros(20, 1, 28, 28, dtype=torch.uint8), torch.arange(20) % 10
metrics.utility(images, labels, images, labels, 0, epochs=1)
print(*sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_scores_import_no_compiler():
    done = subprocess.run([sys.executable, "-c", SCORED], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_a_client_imports_nothing_heavy_that_it_does_not_need():
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""  # a deployed client is a new process for every message
