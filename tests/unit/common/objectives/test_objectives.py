"""Contract of every objective, and the literature's losses by hand.

Real logits (1, -1) and fake logits (1/2, -2) exercise both signs; softplus(x) = log(1 + e^x):
softplus(-1) = 0.313262, softplus(1) = 1.313262, softplus(1/2) = 0.974077, softplus(-2) = 0.126928,
softplus(-1/2) = 0.474077, softplus(2) = 2.126928.
"""

import dataclasses

import pytest
import torch
from torch import nn

from common.components import parse
from common.errors import ConfigError
from common.objectives import OBJECTIVES, AdversarialObjective, Batch, DrawSource
from common.seeding import torch_generator

REAL, FAKE = torch.tensor([1.0, -1.0]), torch.tensor([0.5, -2.0])

BY_HAND = {  # name: (discriminator, generator)
    "non-saturating": ((0.313262 + 1.313262) / 2 + (0.974077 + 0.126928) / 2, (0.474077 + 2.126928) / 2),
    "hinge": ((0 + 2) / 2 + (1.5 + 0) / 2, 0.75),
    "lsgan": ((0 + 4) / 4 + (0.25 + 4) / 4, (0.25 + 9) / 4),
    "wgan": (-0.75 - 0.0, 0.75),
    "wgan-gp": (-0.75 - 0.0, 0.75),
}
VARIANTS = [(name, r1) for name in BY_HAND for r1 in (0.0, 2.0)]
CHANGED = {"augment": "translation,cutout", "instance_noise": 0.3}


class ToyGenerator(nn.Module):
    """G(z) = a z + b, as images (B, 1, 2, 2)."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.3))
        self.shift = nn.Parameter(torch.tensor(-0.4))

    def forward(self, latents, labels):
        return (self.scale * latents + self.shift).view(-1, 1, 2, 2)


class ToyDiscriminator(nn.Module):
    """D(x) = <w, x> + w0, or any constant if told so."""

    def __init__(self, weight=(0.3, -0.2, 0.6, 0.1)):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.bias = nn.Parameter(torch.tensor(0.05))

    def forward(self, images, labels):
        return images.flatten(1) @ self.weight + self.bias


@pytest.fixture
def networks():
    return {"generator": ToyGenerator(), "discriminator": ToyDiscriminator()}


@pytest.fixture
def batch():
    generator = torch_generator(0, "test")
    return Batch(
        examples=torch.rand(6, 1, 2, 2, generator=generator),
        labels=torch.arange(6) % 3,
        draws={
            "latents": torch.randn(6, 4, generator=generator),
            "fake-labels": torch.arange(6) % 2,
            "uniforms": torch.rand(6, generator=generator),
        },
        generator=generator,
    )


def with_changes(objective, batch, seed=5):
    """Returns a batch with what the objective draws to change its images, for as many fakes and real images."""
    source = DrawSource(
        len(batch.examples), torch_generator(seed, "draws"), torch.arange(2), (4,), tuple(batch.examples.shape[1:])
    )
    draws = {name: value for name, value in objective.draw(source).items() if name not in batch.draws}
    return dataclasses.replace(batch, draws={**batch.draws, **draws})


def phases(name, r1=0.0):
    return {phase.name: phase for phase in OBJECTIVES[name](r1=r1).phases()}


def gradients(network):
    return [parameter.grad for parameter in network.parameters()]


def test_every_objective_has_a_value_by_hand():
    assert set(BY_HAND) == {name for name, cls in OBJECTIVES.items() if issubclass(cls, AdversarialObjective)}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_are_those_of_the_literature(name):
    objective = OBJECTIVES[name]()
    discriminator, generator = BY_HAND[name]
    assert objective.discriminator_loss(REAL, FAKE).item() == pytest.approx(discriminator, abs=2e-6)
    assert objective.generator_loss(FAKE).item() == pytest.approx(generator, abs=2e-6)


@pytest.mark.parametrize("name", BY_HAND)
def test_phases_feed_the_losses_with_d_of_x_and_d_of_g_of_z(name, networks, batch):
    """The generator's loss is on D(G(z)), not on pixels; real and fake are not swapped."""
    objective = OBJECTIVES[name]()
    fakes = networks["generator"](batch.draws["latents"], batch.draws["fake-labels"])
    real_logits = networks["discriminator"](batch.examples, batch.labels)
    fake_logits = networks["discriminator"](fakes, batch.draws["fake-labels"])
    loss, _ = phases(name)["generator"].loss(networks, batch)
    assert loss.item() == pytest.approx(objective.generator_loss(fake_logits).item(), abs=1e-6)
    loss, watched = phases(name)["discriminator"].loss(networks, batch)
    penalty = objective.penalty(networks["discriminator"], batch, fakes.detach())
    expected = objective.discriminator_loss(real_logits, fake_logits) + (0 if penalty is None else penalty)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert watched["d-real"].item() == pytest.approx(real_logits.mean().item(), abs=1e-6)
    assert watched["d-fake"].item() == pytest.approx(fake_logits.mean().item(), abs=1e-6)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_generator_learns_through_the_discriminator_only(name, networks, batch):
    networks["discriminator"].weight.data.zero_()  # D is constant, so there is nothing to learn from it
    loss, _ = phases(name)["generator"].loss(networks, batch)
    loss.backward()
    assert all(gradient is None or gradient.abs().max() == 0 for gradient in gradients(networks["generator"]))


@pytest.mark.parametrize(("name", "r1"), VARIANTS)
def test_the_discriminators_loss_gives_the_generator_no_gradient(name, r1, networks, batch):
    loss, _ = phases(name, r1)["discriminator"].loss(networks, batch)
    assert torch.isfinite(loss)
    loss.backward()
    assert gradients(networks["generator"]) == [None, None]
    assert any(gradient.abs().max() > 0 for gradient in gradients(networks["discriminator"]))


@pytest.mark.parametrize("name", BY_HAND)
def test_a_generator_step_raises_the_logits_of_fakes(name, networks, batch):
    def fooled():
        return (
            networks["discriminator"](networks["generator"](batch.draws["latents"], batch.draws["fake-labels"]), None)
            .mean()
            .item()
        )

    before = fooled()
    loss, _ = phases(name)["generator"].loss(networks, batch)
    loss.backward()
    torch.optim.SGD(networks["generator"].parameters(), lr=0.01).step()
    assert fooled() > before


@pytest.mark.parametrize("name", BY_HAND)
def test_better_discrimination_has_a_lower_loss(name):
    objective = OBJECTIVES[name]()
    worse = objective.discriminator_loss(torch.tensor([-0.3]), torch.tensor([0.3]))
    better = objective.discriminator_loss(torch.tensor([0.3]), torch.tensor([-0.3]))
    assert better < worse
    assert objective.generator_loss(torch.tensor([0.3])) < objective.generator_loss(torch.tensor([-0.3]))


@pytest.mark.parametrize(("name", "r1"), VARIANTS)
def test_losses_do_not_depend_on_the_order_of_a_batch(name, r1, networks, batch):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(Batch)}
    shuffled = Batch(**{name: v[order] if isinstance(v, torch.Tensor) else v for name, v in fields.items()})
    for phase in phases(name, r1).values():
        assert phase.loss(networks, shuffled)[0].item() == pytest.approx(
            phase.loss(networks, batch)[0].item(), abs=1e-6
        )


def test_r1_is_half_gamma_times_the_squared_gradient_on_real_images(networks, batch):
    # D is linear, so its gradient is w everywhere: |w|^2 = 0.09 + 0.04 + 0.36 + 0.01 = 0.5
    with_r1 = phases("hinge", r1=3.0)["discriminator"].loss(networks, batch)[0]
    without = phases("hinge")["discriminator"].loss(networks, batch)[0]
    assert (with_r1 - without).item() == pytest.approx(0.5 * 3.0 * 0.5, abs=1e-6)


def test_r1_reaches_the_discriminators_weights(networks, batch):
    loss = phases("wgan", r1=2.0)["discriminator"].loss(networks, batch)[0]
    plain = phases("wgan")["discriminator"].loss(networks, batch)[0]
    (penalised,) = torch.autograd.grad(loss, networks["discriminator"].weight)
    (unpenalised,) = torch.autograd.grad(plain, networks["discriminator"].weight)
    # d/dw of gamma/2 |w|^2 = gamma w
    assert torch.allclose(penalised - unpenalised, 2.0 * networks["discriminator"].weight, atol=1e-6)


def test_gradient_penalty_draws_the_norm_to_one(networks, batch):
    # |w| = sqrt(0.5): 10 (sqrt(0.5) - 1)^2 = 0.857864
    objective = OBJECTIVES["wgan-gp"]()
    fakes = networks["generator"](batch.draws["latents"], batch.draws["fake-labels"])
    penalty = objective.penalty(networks["discriminator"], batch, fakes)
    assert penalty.item() == pytest.approx(0.857864, abs=1e-5)


def test_gradient_penalty_looks_between_real_and_fake(batch):
    seen = []

    class Recorder(ToyDiscriminator):
        def forward(self, images, labels):
            seen.append((images.detach(), labels))
            return super().forward(images, labels)

    fakes = torch.full_like(batch.examples, -1.0)
    OBJECTIVES["wgan-gp"]().penalty(Recorder(), batch, fakes)
    points, labels = seen[-1]
    share = batch.draws["uniforms"].view(-1, 1, 1, 1)
    assert torch.allclose(points, share * batch.examples + (1 - share) * fakes)
    assert torch.equal(labels, batch.labels)


def test_wgan_clips_the_discriminator_after_its_step():
    (after,) = [phase.after for phase in OBJECTIVES["wgan"](clip=0.15).phases() if phase.after]
    network = ToyDiscriminator()
    with torch.no_grad():
        after(network)
    assert network.weight.tolist() == pytest.approx([0.15, -0.15, 0.15, 0.1])


def test_critics_step_more_often():
    assert phases("wgan")["discriminator"].repeats == 5
    assert OBJECTIVES["hinge"](critic_steps=3).phases()[0].repeats == 3
    assert phases("hinge")["generator"].repeats == 1


def test_lazy_r1_comes_every_kth_step_with_k_times_the_weight(networks, batch):
    discriminator = OBJECTIVES["hinge"](r1=3.0, r1_every=4).phases()[0]
    plain = phases("hinge")["discriminator"].loss(networks, batch)[0].item()
    extra = [discriminator.loss(networks, dataclasses.replace(batch, step=k))[0].item() - plain for k in range(9)]
    # |w|^2 = 0.5: 4 * 3/2 * 0.5 = 3 at steps 0, 4 and 8
    assert extra == pytest.approx([3, 0, 0, 0, 3, 0, 0, 0, 3], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 0.9 softplus(-D) + 0.1 softplus(D) on real (1, -1): (0.9 + 0.1) (0.313262 + 1.313262) / 2; on fakes as before
        ("non-saturating", (0.313262 + 1.313262) / 2 + (0.974077 + 0.126928) / 2),
        ("lsgan", (0.1**2 + 1.9**2) / 4 + (0.25 + 4) / 4),
    ],
)
def test_label_smoothing_moves_the_target_of_real_images_alone(name, expected):
    objective = OBJECTIVES[name](label_smoothing=0.1)
    assert objective.discriminator_loss(REAL, FAKE).item() == pytest.approx(expected, abs=2e-6)
    assert torch.equal(objective.generator_loss(FAKE), OBJECTIVES[name]().generator_loss(FAKE))


def test_smoothed_logistic_loss_is_the_cross_entropy_to_its_target():
    # at D(x) = 2: 0.8 softplus(-2) + 0.2 softplus(2) = 0.8 * 0.126928 + 0.2 * 2.126928 = 0.526928
    objective = OBJECTIVES["non-saturating"](label_smoothing=0.2)
    loss = objective.discriminator_loss(torch.tensor([2.0]), torch.tensor([-100.0]))
    assert loss.item() == pytest.approx(0.526928, abs=2e-6)
    logits = torch.linspace(-5, 5, 2001)
    losses = torch.stack([objective.discriminator_loss(x, torch.tensor(-100.0)) for x in logits])
    assert torch.sigmoid(logits[losses.argmin()]).item() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("name", ["hinge", "wgan", "wgan-gp"])
def test_losses_without_targets_have_no_label_smoothing(name):
    with pytest.raises(ConfigError, match=f"{name} has no option 'label-smoothing'"):
        parse("objective", OBJECTIVES, f"{name} label-smoothing=0.1")


class Recorder(ToyDiscriminator):
    """Remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images, labels):
        self.seen.append(images)
        return super().forward(images, labels)


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("option", CHANGED)
def test_real_and_fake_images_are_changed_on_their_way_into_the_discriminator(name, option, networks, batch):
    recorder = Recorder()
    objective = OBJECTIVES[name](**{option: CHANGED[option]})
    batch = with_changes(objective, batch)
    fakes = networks["generator"](batch.draws["latents"], batch.draws["fake-labels"])
    discriminator, generator = objective.phases()
    discriminator.loss(networks | {"discriminator": recorder}, batch)
    real_seen, fake_seen = recorder.seen[:2]
    assert not torch.allclose(real_seen, batch.examples)
    assert not torch.allclose(fake_seen, fakes)
    if len(recorder.seen) > 2:  # a penalty between what the discriminator saw
        share = batch.draws["uniforms"].view(-1, 1, 1, 1)
        assert torch.allclose(recorder.seen[2], share * real_seen + (1 - share) * fake_seen)
    generator.loss(networks | {"discriminator": recorder}, batch)
    assert not torch.allclose(recorder.seen[-1], fakes)
    assert not torch.equal(recorder.seen[-1], fake_seen)  # drawn anew
    assert recorder.seen[-1].requires_grad


@pytest.mark.parametrize("options", [{}, {"r1": 1.0}, {"r1": 1.0, "r1_every": 3}])
@pytest.mark.parametrize("name", BY_HAND)
def test_a_loss_depends_on_the_step_by_what_its_period_leaves_of_it(name, options, networks, batch):
    for phase in OBJECTIVES[name](**options).phases():
        for step in range(4):
            here, later = (dataclasses.replace(batch, step=step + k * phase.period) for k in (0, 2))
            assert phase.loss(networks, here)[0].item() == phase.loss(networks, later)[0].item()


@pytest.mark.parametrize("name", BY_HAND)
def test_changes_depend_on_what_was_drawn_alone(name, networks, batch):
    losses, objective = [], OBJECTIVES[name](**CHANGED)
    before = batch.generator.get_state()
    for seed in (5, 5, 6):
        torch.rand(3)  # whatever the global generator does
        again = with_changes(objective, batch, seed)
        losses.append([phase.loss(networks, again)[0] for phase in objective.phases()])
    assert torch.equal(batch.generator.get_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(*losses[:2], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(*losses[1:], strict=True))


@pytest.mark.parametrize("name", BY_HAND)
def test_without_options_nothing_is_drawn_and_the_images_are_those_of_the_batch(name, networks, batch):
    before = batch.generator.get_state()
    recorder = Recorder()
    for phase in OBJECTIVES[name]().phases():
        phase.loss(networks | {"discriminator": recorder}, batch)
    assert torch.equal(batch.generator.get_state(), before)
    assert torch.equal(recorder.seen[0], batch.examples)


def test_instance_noise_has_its_standard_deviation(networks, batch):
    recorder = Recorder()
    objective = OBJECTIVES["hinge"](instance_noise=0.3)
    many = dataclasses.replace(
        batch,
        examples=torch.zeros(5000, 1, 2, 2),
        labels=torch.zeros(5000, dtype=torch.int64),
        draws={"fake-labels": torch.zeros(5000, dtype=torch.int64), "fakes": torch.zeros(5000, 1, 2, 2)},
    )
    objective.phases()[0].loss({**networks, "discriminator": recorder}, with_changes(objective, many))
    assert recorder.seen[0].std().item() == pytest.approx(0.3, rel=0.02)
    assert recorder.seen[0].mean().item() == pytest.approx(0.0, abs=0.01)


def test_r1_is_the_gradient_at_what_the_discriminator_sees(networks, batch):
    class Quadratic(ToyDiscriminator):
        def forward(self, images, labels):
            return 0.5 * images.square().flatten(1).sum(1)  # gradient: the image itself

    networks["discriminator"] = Quadratic()
    white = dataclasses.replace(
        batch, examples=torch.ones(6, 1, 8, 8), draws={**batch.draws, "fakes": torch.zeros(6, 1, 8, 8)}
    )
    white = with_changes(OBJECTIVES["wgan"](augment="translation"), white)
    losses = [
        OBJECTIVES["wgan"](r1=2.0, augment=names).phases()[0].loss(networks, white)[0].item()
        - OBJECTIVES["wgan"](augment=names).phases()[0].loss(networks, white)[0].item()
        for names in ("", "translation")
    ]
    assert losses[0] == pytest.approx(64)
    assert losses[1] < 64  # pixels that moved in are 0
