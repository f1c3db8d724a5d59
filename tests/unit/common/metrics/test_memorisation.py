import pytest
import torch

from common.errors import DataError
from common.metrics import memorisation
from common.seeding import torch_generator


def cloud(count, name):
    return torch.randn(count, 6, generator=torch_generator(0, "memorisation", name))


TRAINED, HELD_OUT = cloud(400, "trained"), cloud(100, "held out")


def test_a_generator_that_draws_anew_is_as_far_from_training_as_from_held_out_images():
    ratio, error = memorisation(TRAINED, HELD_OUT, cloud(1000, "anew"))
    assert abs(ratio - 1) < 3 * error < 0.3


@pytest.mark.parametrize(("share", "most"), [(1.0, 1e-6), (0.5, 0.65)])
def test_a_generator_that_repeats_training_images_is_far_below_one(share, most):
    copied = int(share * 400)
    ratio, error = memorisation(TRAINED, HELD_OUT, torch.cat([TRAINED[:copied], cloud(400 - copied, "anew")]))
    assert ratio <= most
    assert 1 - ratio > 5 * error


def test_the_ratio_of_known_distances():
    line = torch.arange(4.0)[:, None] * 100
    ratio, error = memorisation(line + 1, line[:2] + 4, line)
    assert (ratio, error) == (pytest.approx(0.25), pytest.approx(0))


def test_the_error_is_that_of_repeated_draws():
    ratios = [memorisation(cloud(400, f"t{k}"), cloud(100, f"h{k}"), cloud(500, "anew"))[0] for k in range(40)]
    error = memorisation(TRAINED, HELD_OUT, cloud(500, "anew"))[1]
    assert float(torch.tensor(ratios).std()) == pytest.approx(error, rel=0.4)


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="400 training, 1 held-out and 400 generated images are too few"):
        memorisation(TRAINED, HELD_OUT[:1], TRAINED)
