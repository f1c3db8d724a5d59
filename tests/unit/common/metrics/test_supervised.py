"""The supervised loop that metrics share: no hidden randomness, honest shifts, honest counts."""

import pytest
import torch
from torch import nn

from common.metrics.supervised import MAX_SHIFT, accuracy, fit, materialise, one_cycle, random_shift, to_float
from common.seeding import torch_generator


def network() -> nn.Module:
    with torch.device("meta"):
        built = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 2)
        )
    return materialise(built, torch_generator(0, "weights"))


def stripes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns noisy 8x8 images of horizontal (0) and vertical (1) stripes."""
    generator = torch_generator(1, "stripes")
    labels = torch.arange(count) % 2
    across = (torch.arange(8) % 2 * 160).expand(8, 8)
    images = torch.where(labels[:, None, None, None] == 1, across, across.T)
    noise = torch.randint(0, 90, (count, 1, 8, 8), generator=generator)
    return (images + noise).to(torch.uint8), labels


def test_weights_come_from_the_generator_alone_and_have_hes_spread() -> None:
    before = torch.random.get_rng_state()
    first, second = network(), network()
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    linear = materialise(nn.Linear(200, 300, device="meta"), torch_generator(0, "spread"))
    assert float(linear.weight.detach().std()) == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert not linear.bias.any()


def test_layers_of_unknown_kinds_are_not_left_uninitialised() -> None:
    with pytest.raises(TypeError, match="LSTM"):
        materialise(nn.LSTM(3, 4, device="meta"), torch_generator(0))


def test_bytes_become_numbers_from_minus_one_to_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    torch.testing.assert_close(to_float(images).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_each_image_moves_by_its_own_shift_up_to_the_bound() -> None:
    images = torch.full((400, 2, 9, 9), -1.0)
    images[:, :, 4, 4] = torch.arange(400.0)[:, None]
    moved = random_shift(images, torch_generator(0, "shift"))
    assert moved.shape == images.shape
    torch.testing.assert_close(moved.amax((2, 3)), images.amax((2, 3)))  # images stay in order, and whole
    peaks = moved[1:, 0].flatten(1).argmax(1)
    shifts = {(int(peak) // 9 - 4, int(peak) % 9 - 4) for peak in peaks}
    reach = range(-MAX_SHIFT, MAX_SHIFT + 1)
    assert shifts == {(down, right) for down in reach for right in reach}


def test_what_leaves_at_one_border_does_not_come_in_at_the_other() -> None:
    images = torch.full((100, 1, 9, 9), -1.0)
    images[:, :, :, 0] = images[:, :, 0, :] = 1.0
    moved = random_shift(images, torch_generator(0, "shift"))
    assert (moved[:, :, 8, 8] == -1).all()
    assert (moved[:, :, 8, 0] == 1).any()
    assert (moved[:, :, 0, 0] == 1).any()


def test_fitting_is_repeatable_learns_and_touches_no_global_generator() -> None:
    images, labels = stripes(256)
    states, before = [], torch.random.get_rng_state()
    for _ in range(2):
        trained = network()
        fit(trained, images, labels, torch_generator(0, "fit"), epochs=5, batch_size=64, peak_rate=0.03)
        states.append(trained.state_dict())
        assert not trained.training
        assert 0.95 <= accuracy(trained, *stripes(100)) <= 1
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("total", [2, 3, 4, 10, 11, 937])
def test_rates_and_momenta_are_torch_s_one_cycle_to_the_bit(total: int) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=total)
    for step in range(total - 1):
        group = optimizer.param_groups[0]
        assert one_cycle(step, total, 0.02) == (group["lr"], group["betas"][0])
        optimizer.step()
        schedule.step()


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    images, labels = stripes(10)
    trained, untrained = network(), network()
    fit(trained, images, labels, torch_generator(0, "fit"), epochs=1, batch_size=64, peak_rate=0.03)
    assert not torch.equal(next(trained.parameters()), next(untrained.parameters()))


def test_accuracy_is_the_share_of_right_answers_over_uneven_chunks() -> None:
    class Brightness(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([-images.mean((1, 2, 3)), images.mean((1, 2, 3))], 1)

    images = torch.tensor([0, 0, 255, 255, 255], dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 1, 4, 4)
    assert accuracy(Brightness(), images, torch.tensor([0, 1, 1, 1, 0]), batch_size=2) == pytest.approx(3 / 5)
