"""Normal distributions of classes: what images are described by, what follows from sums, and what is drawn."""

import math

import pytest
import torch

from common.errors import ConfigError
from common.examples import ImageSpec, TextSpec
from common.models.class_gaussians import ClassGaussians
from common.models.descriptors import Descriptor
from common.models.gaussian_moments import PartMoments, drawn, gaussians_of, spikes, standing_out
from common.outer_products import packed, packed_size, unpacked
from common.seeding import torch_generator

SPEC = ImageSpec(1, 8, 2)


def images(num, channels=1, size=8, seed=0):
    return 2 * torch.rand(num, channels, size, size, generator=torch_generator(seed, "images")) - 1


def moments_of(vectors, parts, num_parts):
    sums = torch.zeros(num_parts, vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for vector, part in zip(vectors.double(), parts.tolist(), strict=True):
        sums[part] += torch.outer(vector, vector)
    return sums


def test_rows_of_outer_products_are_as_long_as_their_matrices_and_come_back():
    generator = torch_generator(0, "matrices")
    vectors = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    matrices = vectors[:, :, None] * vectors[:, None, :]
    rows = packed(matrices)
    assert rows.shape == (3, packed_size(5)) == (3, 15)
    torch.testing.assert_close(rows.norm(dim=1), vectors.square().sum(1))
    torch.testing.assert_close(unpacked(rows, 5), matrices)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_frequencies_and_steps_give_the_image_back(channels):
    spec = ImageSpec(channels, 8, 2)
    descriptor = Descriptor(spec, 8, 64, 1)
    real = images(5, channels)
    vectors, _ = descriptor.describe(real)
    assert vectors.shape == (5, 1 + descriptor.length) == (5, 1 + channels * (64 + 64))
    torch.testing.assert_close(
        descriptor.draw(vectors[:, 1:], descriptor.cosines(), descriptor.steps()), real, atol=1e-4, rtol=0
    )


def test_a_blurred_image_gets_its_edges_back_by_the_brightness_of_its_pixels():
    real = torch.full((1, 1, 8, 8), -1.0)
    real[..., 2:6, 3:5] = 1.0
    blurred, sharp = (Descriptor(SPEC, 5, steps, 0) for steps in (0, 64))
    errors = []
    for descriptor in (blurred, sharp):
        vectors, _ = descriptor.describe(real)
        found = descriptor.draw(vectors[:, 1:], descriptor.cosines(), descriptor.steps())
        errors.append(float((found - real).abs().max()))
    assert errors[0] > 0.2
    assert errors[1] < 1e-4


def test_an_image_of_the_root_mean_square_of_a_third_has_a_vector_of_length_one():
    grey = torch.full((1, 1, 8, 8), 2 / 3 - 1)
    vectors, _ = Descriptor(SPEC, 4, 10, 1).describe(grey)
    assert float(vectors.norm()) == pytest.approx(1.0, abs=1e-5)


def test_parts_are_told_apart_by_the_signs_of_low_coefficients():
    ramp = torch.linspace(-0.5, 0.5, 8)
    slanted = torch.outer(ramp, ramp)[None, None]
    descriptor = Descriptor(SPEC, 4, 4, 1)
    assert [int(descriptor.describe(sign * slanted)[1]) for sign in (1, -1)] == [1, 0]
    left = ramp.expand(8, 8)[None, None]  # dark on the left: a negative first coefficient of columns
    assert [int(Descriptor(SPEC, 4, 4, 2).describe(sign * left)[1]) & 2 for sign in (1, -1)] == [0, 2]


def test_without_noise_the_distributions_are_those_of_the_vectors():
    generator = torch_generator(0, "vectors")
    described = torch.randn(400, 6, generator=generator, dtype=torch.float64) @ torch.randn(
        6, 6, generator=generator, dtype=torch.float64
    ) + torch.arange(6)
    parts = torch.arange(400) % 4
    described[parts == 1] += 3
    vectors = torch.cat([torch.full((400, 1), 0.5, dtype=torch.float64), described], 1)
    found = gaussians_of(PartMoments(moments_of(vectors, parts, 4), 0.5, 0.0), num_classes=2, rank=6)
    assert torch.equal(found.shares, torch.full((2, 2), 0.5))
    for part in range(4):
        own = described[parts == part]
        torch.testing.assert_close(found.means[part].double(), own.mean(0), atol=1e-4, rtol=0)
        factor = found.factors[part].double()
        torch.testing.assert_close(factor @ factor.T, own.T.cov(correction=0), atol=1e-3, rtol=1e-3)
    lower = gaussians_of(PartMoments(moments_of(vectors, parts, 4), 0.5, 0.0), num_classes=2, rank=2)
    assert lower.factors.shape == (4, 6, 2)


def test_a_class_without_images_is_that_of_all_and_a_part_without_has_no_share():
    vectors = torch.cat([torch.full((50, 1), 0.5), torch.randn(50, 3, generator=torch_generator(0, "v")) + 1], 1)
    sums = moments_of(vectors, torch.zeros(50, dtype=torch.int64), 4)
    noise = 1e-3
    sums += unpacked(noise * torch.randn(4, packed_size(4), generator=torch_generator(1, "noise")).double(), 4)
    found = gaussians_of(PartMoments(sums, 0.5, noise), num_classes=2, rank=3)
    assert found.shares[0].tolist() == [1.0, 0.0]
    assert found.shares[1].tolist() == [0.5, 0.5]
    for part in (0, 2):
        torch.testing.assert_close(found.means[part], vectors[:, 1:].mean(0), atol=0.01, rtol=0)
    assert torch.isfinite(found.factors).all()


def test_noise_alone_has_no_eigenvalue_that_stands_out_and_what_does_is_as_long_as_before():
    size, noise = 120, 0.1
    generator = torch_generator(0, "wigner")
    wigner = unpacked(noise * math.sqrt(2) * torch.randn(packed_size(size), generator=generator).double(), size)
    assert float(torch.linalg.eigvalsh(wigner).abs().max()) > 1.8 * noise * math.sqrt(size)
    assert float(standing_out(wigner, 1.1 * noise).abs().max()) == 0
    signal = torch.zeros(size, size, dtype=torch.float64)
    signal[0, 0], signal[1, 1] = 4.0, -5.0
    values = torch.linalg.eigvalsh(standing_out(signal + wigner, noise))
    assert [float(values[-1]), float(values[0])] == pytest.approx([4.0, -5.0], abs=0.3)
    assert float(values[1:-1].abs().max()) < 1e-9
    assert spikes(torch.tensor([4.0]), 0.0, 9).item() == 4.0


def test_a_mean_that_may_be_noise_is_drawn_to_the_centre():
    centre, noise = torch.zeros(100), 0.1  # noise alone has length 1
    near, far = torch.full((100,), 0.09), torch.full((100,), 1.0)
    assert float(drawn(near, centre, noise).abs().max()) == 0
    torch.testing.assert_close(drawn(far, centre, noise), 0.99 * far)
    assert torch.equal(drawn(near, centre, 0.0), near)


def fitted(model, spec, real, labels):
    vectors, parts = model.described(spec, real, labels)
    num, size = model.moments_shape(spec)
    assert vectors.shape == (len(real), size)
    networks = model.build(spec, seed=0)
    networks.load_state_dict(model.fitted(spec, moments_of(vectors, parts, num), 0.0))
    return model.sampler(networks)


def test_what_is_drawn_of_a_class_is_like_its_images():
    bright, dark = torch.full((1, 8, 8), -1.0), torch.full((1, 8, 8), -1.0)
    bright[:, :4], dark[:, 4:] = 0.8, 0.0
    labels = torch.arange(200) % 2
    real = torch.where(labels.view(-1, 1, 1, 1) == 0, bright, dark) + 0.05 * images(200)
    sampler = fitted(ClassGaussians(rank=8, frequencies=8), SPEC, real.clamp(-1, 1), labels)
    noise = torch.randn(60, *sampler.noise_shape, generator=torch_generator(3, "noise"))
    made = sampler(noise, torch.arange(60) % 2)
    assert made.shape == (60, 1, 8, 8)
    assert float(made.min()) >= -1
    assert float(made.max()) <= 1
    for label in (0, 1):
        torch.testing.assert_close(
            made[label::2].mean(0), real[labels == label].clamp(-1, 1).mean(0), atol=0.12, rtol=0
        )


def test_the_same_noise_and_label_give_the_same_image_alone_and_among_others():
    model = ClassGaussians(splits=2)
    sampler = model.sampler(model.build(ImageSpec(3, 28, 4), seed=1))
    noise = torch.randn(7, *sampler.noise_shape, generator=torch_generator(0, "noise"))
    labels = torch.arange(7) % 4
    made = sampler(noise, labels)
    assert torch.equal(made, sampler(noise, labels))
    torch.testing.assert_close(sampler(noise[2:3], labels[2:3]), made[2:3], atol=1e-3, rtol=0)
    assert not torch.equal(sampler(noise, labels.flip(0)), made)


def test_what_it_cannot_make_is_refused_in_words():
    with pytest.raises(ConfigError, match="makes images"):
        ClassGaussians().networks(TextSpec(9, 5, "abcdefgh", 10))
    with pytest.raises(ConfigError, match="8x8 pixels have no more than 8 frequencies"):
        ClassGaussians(frequencies=9).networks(SPEC)
    with pytest.raises(ConfigError, match="set splits=0"):
        ClassGaussians(frequencies=1).networks(SPEC)
    with pytest.raises(ValueError, match="leave it out"):
        ClassGaussians(conditional=False)
