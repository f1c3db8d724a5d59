"""Noise: where it is drawn, how wide it is, and what it may be used for."""

import pytest
import torch

from client.noise import PrivateRound
from common.errors import ConfigError
from common.privacy.accounting import Mechanism
from common.privacy.noise_source import SeededNoise, SystemNoise
from common.privacy.plan import PrivacyPlan
from common.seeding import torch_generator

SOURCES = [SystemNoise, lambda: SeededNoise(torch_generator(0, "noise"))]


@pytest.mark.parametrize("make", SOURCES)
def test_normals_are_standard_normal_and_do_not_repeat(make):
    source = make()
    drawn, again = source.normals(200_000), source.normals(200_000)
    assert drawn.dtype == torch.float64
    for values in (drawn, again):
        assert values.mean().item() == pytest.approx(0, abs=0.01)
        assert values.std().item() == pytest.approx(1, abs=0.01)
        assert values.abs().lt(1).double().mean().item() == pytest.approx(0.6827, abs=0.005)
        assert values.abs().gt(3).double().mean().item() == pytest.approx(0.0027, abs=0.0006)
    assert torch.corrcoef(torch.stack([drawn, again]))[0, 1].abs() < 0.01
    assert torch.corrcoef(torch.stack([drawn[:-1], drawn[1:]]))[0, 1].abs() < 0.01
    assert torch.corrcoef(torch.stack(drawn.chunk(2)))[0, 1].abs() < 0.015  # Box and Muller's pairs


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,)])
def test_normals_have_the_shape_that_is_asked_for(make, shape):
    assert make().normals(*shape).shape == shape


@pytest.mark.parametrize("make", SOURCES)
def test_uniforms_are_even_in_0_to_1(make):
    drawn = make().uniforms(100_000)
    assert 0 <= drawn.min() < 0.001
    assert 0.999 < drawn.max() < 1
    assert torch.histc(drawn.float(), 10).tolist() == pytest.approx([10_000] * 10, abs=500)
    assert len(make().uniforms(0)) == 0


def test_the_systems_noise_is_never_the_same():
    first, second = SystemNoise(), SystemNoise()
    assert not torch.equal(first.normals(100), second.normals(100))
    assert not torch.equal(first.uniforms(100), second.uniforms(100))


def test_what_the_systems_noise_is_made_of_is_the_systems_alone_and_all_of_a_generators_state_with_it(monkeypatch):
    made = SystemNoise().generator
    seeded = torch.Generator().manual_seed(0).get_state()
    changed = (made.get_state() != seeded).nonzero().flatten()
    assert (len(seeded), int(changed.min()), int(changed.max())) == (5056, 24, 24 + 8 * 623 + 3)
    assert len(changed) > 0.98 * 4 * 624
    drawn = torch.rand(10_000, generator=made)
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(torch.rand(100, generator=SystemNoise().generator), drawn[:100])
    monkeypatch.setattr("common.privacy.noise_source.secrets.token_bytes", bytes)  # zeros
    assert torch.equal(SystemNoise().uniforms(4), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(SystemNoise().normals(4), SystemNoise().normals(4))


def test_noise_is_as_wide_as_the_plan_says_and_paid_for():
    plan = PrivacyPlan(Mechanism(3.0, 0.5), uses_per_round=2, clip=1.0, delta=1e-5)
    use = PrivateRound(plan, SeededNoise(torch_generator(0, "noise")), 10, "partition 1 in round 2")
    total = torch.full((100_000,), 7.0, dtype=torch.float64)
    with pytest.raises(ConfigError, match=r"over a share of 0\.5 .* over 1"):
        use.hidden(total, 2.0)
    hidden = use.hidden(total, 2.0, rate=0.5)
    assert hidden.mean().item() == pytest.approx(7, abs=0.1)
    assert hidden.std().item() == pytest.approx(6, rel=0.02)
    assert not torch.equal(use.hidden(total, 2.0, rate=0.5), hidden)
    with pytest.raises(ConfigError, match="partition 1 in round 2: privacy pays for 2 releases a round"):
        use.hidden(total, 2.0, rate=0.5)
