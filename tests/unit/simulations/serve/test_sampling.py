"""Latents, labels and the choice of the most trusted images follow from the request."""

import pytest
import torch
from pydantic import ValidationError

from common.errors import ConfigError
from common.generation import draw_noise, generate
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.library import Library
from simulations.serve.models import Models
from simulations.serve.sampling import Draw, along_sphere, candidates, draw, most_trusted, truncated


@pytest.fixture(scope="module")
def network(trained):
    return Models().get(Library(trained).get("digits"), "last", None)


def test_images_are_those_of_fedgan_generate(network):
    drawn = draw(GenerateRequest(num=30, seed=5), network)
    images, fine = network.make(drawn.noise, drawn.labels)
    expected = generate(network.trained.generator, drawn.labels, seed=5)
    assert fine.all()
    # Of another number of rows in a pass, a rounded last bit may differ.
    assert int((images.int() - expected.int()).abs().max()) <= 1


@pytest.mark.parametrize(
    ("requested", "labels"),
    [
        ({"num": 12}, [*range(10), 0, 1]),
        ({"num": 3, "labels": "balanced"}, [0, 1, 2]),
        ({"num": 5, "labels": [7]}, [7] * 5),
        ({"num": 5, "labels": [3, 1]}, [3, 1, 3, 1, 3]),
        ({"labels": [3, 1]}, [3, 1]),
        ({}, [0]),
        ({"num": 3, "interpolate": {"to": 2}}, [0, 0, 0]),
        ({"num": 2, "keep": 0.5, "labels": [4, 2]}, [2, 2, 4, 4]),
    ],
)
def test_labels_are_taken_in_turn(network, requested, labels):
    assert draw(GenerateRequest.model_validate(requested), network).labels.tolist() == labels


def test_more_images_of_a_seed_begin_with_those_of_fewer(network):
    few, many = (draw(GenerateRequest(num=n, seed=3), network).noise for n in (4, 600))
    assert torch.equal(few, many[:4])


def test_an_interpolation_goes_from_one_seeds_first_image_to_the_others(network):
    noise = draw(GenerateRequest.model_validate({"num": 5, "seed": 1, "interpolate": {"to": 2}}), network).noise
    for end, seed in ((0, 1), (-1, 2)):
        torch.testing.assert_close(noise[end], draw_noise(1, (network.noise_size,), seed)[0])


def test_the_way_along_the_sphere_keeps_its_length_and_its_pace():
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    way = along_sphere(a, b, 7)
    torch.testing.assert_close(way.norm(dim=1), torch.full((7,), 3.0))
    torch.testing.assert_close((way[1:] - way[:-1]).norm(dim=1), (way[1] - way[0]).norm().expand(6))
    torch.testing.assert_close(along_sphere(a, 2 * a, 3)[1], 1.5 * a)
    assert along_sphere(a, -a, 3).isfinite().all()


def test_truncated_latents_stay_within_the_limit_in_the_same_order():
    noise = torch.cat([draw_noise(1000, (4,), 0), torch.full((1, 4), 40.0), torch.full((1, 4), -40.0)])
    cut = truncated(noise, 0.7)
    assert cut.abs().max() <= 0.7
    assert cut.isfinite().all()
    order = noise[:, 0].argsort()
    assert (cut[order, 0].diff() >= 0).all()
    torch.testing.assert_close(truncated(noise[:1000], 10.0), noise[:1000], atol=1e-4, rtol=0)


def test_of_each_label_the_most_trusted_are_kept_in_the_order_requested():
    drawn = Draw(torch.zeros(6, 1), torch.tensor([1, 1, 1, 2, 2, 2]), kept_labels=[2, 1, 2])
    values = torch.tensor([0.0, 9.0, 1.0, 5.0, 0.0, 6.0])
    assert most_trusted(drawn, torch.zeros(6, 1, 4, 4), lambda images, labels: values).tolist() == [3, 1, 5]


def test_the_discriminator_and_the_classifier_choose_what_they_trust_most(network):
    for trust in ("adversary", "classifier"):
        requested = GenerateRequest(num=10, labels=[3], keep=0.25, trust=trust)
        drawn = draw(requested, network)
        assert (len(drawn.labels), drawn.kept_labels, candidates(requested) >= 40) == (40, [3] * 10, True)
    images = network.make(drawn.noise, drawn.labels)[0]
    kept = most_trusted(drawn, images, network.trust)
    values = network.trust(images, drawn.labels)
    assert len(kept) == 10
    assert values[kept].min() >= values.sort(descending=True).values[9]


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"labels": [10]}, "the generator knows 0 to 9"),
        ({"noise": [[0.0] * 7]}, "a noise vector has 7 numbers: this generator takes 8"),
    ],
)
def test_what_a_generator_does_not_have_is_refused(network, requested, message):
    with pytest.raises(ConfigError, match=message):
        draw(GenerateRequest.model_validate(requested), network)


@pytest.mark.parametrize(
    "requested",
    [
        {"num": 0},
        {"num": "3"},
        {"num": True},
        {"seed": -1},
        {"labels": []},
        {"labels": [-1]},
        {"labels": "all"},
        {"noise": [[1e9]]},
        {"noise": [[float("nan")]]},
        {"noise": [[0.0]], "num": 2},
        {"noise": [[0.0]], "keep": 0.5},
        {"interpolate": {"to": 1}},
        {"keep": 0.0},
        {"truncation": 0},
        {"rotate": {"degrees": float("inf")}},
        {"resize": {"width": 0, "height": 3}},
        {"format": "gif"},
        {"round": "newest"},
        {"path": "/etc/passwd"},
    ],
)
def test_requests_that_cannot_be_are_refused(requested):
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate(requested)
