"""DiffAugment by hand: which pixel comes from where, how strong each change is, and that gradients flow."""

import pytest
import torch

from common.components import parse
from common.errors import ConfigError
from common.examples import ImageSpec
from common.objectives import OBJECTIVES
from common.objectives.augment import CHANGES, change, num_uniforms, parse_changes
from common.seeding import torch_generator

NUM = 400


def images(channels=3, size=16, num=NUM):
    return torch.rand(num, channels, size, size, generator=torch_generator(0, "images")) + 0.5  # none is 0


def uniforms(names, num, seed=1):
    return torch.rand(num, num_uniforms(names), generator=torch_generator(seed, "draws"))


def changed(name, given, seed=1):
    return change(given, [name], uniforms([name], len(given), seed))


def test_translation_moves_whole_images_by_up_to_an_eighth_and_grey_moves_in():
    given = images()
    got = changed("translation", given)
    found = {}
    padded = torch.nn.functional.pad(given, (2, 2, 2, 2))
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = padded[:, :, 2 - down : 18 - down, 2 - right : 18 - right]
            for k in torch.nonzero((moved == got).flatten(1).all(1)).flatten().tolist():
                found[k] = (down, right)
    assert len(found) == NUM  # each is one of the 25 moves, to the bit
    assert len(set(found.values())) == 25


def test_cutout_sets_a_square_of_half_the_side_to_grey_anywhere():
    given = images()
    got = changed("cutout", given)
    cut = (got == 0).all(1)
    assert torch.equal(got, given * ~cut.unsqueeze(1))
    rows, columns = cut.any(2), cut.any(1)
    assert torch.equal(cut, rows.unsqueeze(2) & columns.unsqueeze(1))
    centres = set()
    for seen in (*rows, *columns):
        where = torch.nonzero(seen).flatten().tolist()
        assert where == list(range(where[0], where[-1] + 1))
        assert len(where) == 8 if where[0] > 0 and where[-1] < 15 else 4 <= len(where) <= 8
        centres.add(where[-1] - 3 if where[0] == 0 else where[0] + 4)
    assert centres == set(range(17))


def test_odd_sizes_are_cut_within_the_image():
    given = images(1, 7)
    cut = (changed("cutout", given) == 0).all(1)  # side int(3.5 + 0.5) = 4, centres 0 to 7
    assert {int(n) for n in cut.any(2).sum(1)} == {2, 3, 4}
    assert cut.flatten(1).any(1).all()


def test_color_changes_brightness_saturation_and_contrast_as_the_paper_says():
    given = images()
    got = changed("color", given)
    grey, mean = given.mean(1, keepdim=True), given.mean((1, 2, 3), keepdim=True)
    shift = got.mean((1, 2, 3), keepdim=True) - mean  # neither saturation nor contrast changes the mean
    assert shift.min() == pytest.approx(-0.5, abs=0.02)
    assert shift.max() == pytest.approx(0.5, abs=0.02)
    got_grey = got.mean(1, keepdim=True)
    contrast = (got_grey - got.mean((1, 2, 3), keepdim=True)).std((1, 2, 3)) / (grey - mean).std((1, 2, 3))
    assert contrast.min() == pytest.approx(0.5, abs=0.02)
    assert contrast.max() == pytest.approx(1.5, abs=0.02)
    saturation = (got - got_grey).std((1, 2, 3)) / (given - grey).std((1, 2, 3)) / contrast
    assert saturation.min() == pytest.approx(0.0, abs=0.02)
    assert saturation.max() == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("name", CHANGES)
def test_every_image_of_a_batch_has_draws_of_its_own(name):
    given = images(num=1).expand(50, -1, -1, -1)
    assert len(changed(name, given).flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_depends_on_its_numbers_alone(name):
    given = images()
    assert torch.equal(changed(name, given), changed(name, given))
    assert not torch.equal(changed(name, given), changed(name, given, seed=2))


@pytest.mark.parametrize("names", [(name,) for name in CHANGES] + [tuple(CHANGES)], ids=",".join)
def test_gradients_flow_back_to_the_images(names):
    given = images(num=3, size=6).double().requires_grad_(True)

    def seen(x):
        return change(x, names, uniforms(names, len(x), 4))

    assert torch.autograd.gradcheck(seen, (given,))
    (gradient,) = torch.autograd.grad(seen(given).sum(), given)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", CHANGES)
def test_a_grey_image_keeps_its_shape_and_type(name):
    if name != "color":
        got = changed(name, images(1, 28, 5))
        assert got.shape == (5, 1, 28, 28)
        assert got.dtype == torch.float32


def test_changes_are_named_in_any_order_and_applied_in_one():
    assert parse_changes(" cutout, color ") == ("color", "cutout")
    assert parse_changes("") == ()
    component = parse("objective", OBJECTIVES, "hinge augment=cutout,translation")
    assert component.augment == "translation,cutout"
    assert parse("objective", OBJECTIVES, component.spec()) == component


@pytest.mark.parametrize(
    ("text", "words"), [("colour", "'colour' is none of color, translation, cutout"), ("cutout,cutout", "given twice")]
)
def test_unknown_changes_are_refused_by_name(text, words):
    with pytest.raises(ConfigError, match=words):
        parse("objective", OBJECTIVES, f"hinge augment={text}")


def test_color_is_refused_where_images_have_none():
    objective = OBJECTIVES["hinge"](augment="color,cutout")
    objective.check(ImageSpec(3, 32, 10))
    with pytest.raises(ConfigError, match=r"color needs 3 channels, the images have 1: use augment=cutout"):
        objective.check(ImageSpec(1, 28, 10))
    OBJECTIVES["hinge"](augment="cutout").check(ImageSpec(1, 28, 10))
