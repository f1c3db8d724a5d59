"""Drawn shapes: what is drawn, as many of each, the same for everybody, at any size."""

import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from common.datasets import DATASETS
from common.datasets.shapes import OUTLINES, Shapes
from common.errors import ConfigError

NAMES = ("circle", "ring", "square", "diamond", "triangle", "star", "cross", "arrow", "heart", "moon")


@pytest.fixture(scope="module")
def drawn():
    return Shapes(num_images=1000).load(None)


def shape_of(image):
    """Returns which pixels (S, S) of a picture (3, S, S) are of another colour than its upper left corner."""
    colours = image.to(torch.int64)
    return ((colours - colours[:, :1, :1]).abs().sum(0) > (colours - colours[:, :1, :1]).abs().sum(0).max() / 2).numpy()


def test_there_are_as_many_of_each_on_both_sides(drawn):
    assert drawn.class_names == NAMES == tuple(OUTLINES)
    assert drawn.train.label_counts(10) == [80] * 10
    assert drawn.test.label_counts(10) == [20] * 10
    assert str(drawn.spec) == "32x32 images with 3 channel(s) of 10 class(es)"


def test_they_are_the_same_each_time_and_all_different(drawn):
    again = Shapes(num_images=1000).load(None)
    assert torch.equal(again.train.images, drawn.train.images)
    whole = torch.cat([drawn.train.images, drawn.test.images]).flatten(1)
    assert len(whole.unique(dim=0)) == len(whole)


@pytest.mark.parametrize("size", [16, 28, 64, 100])
def test_they_are_drawn_at_the_size_that_is_asked_for(size):
    images = Shapes(num_images=50).load(None, image_size=size).train.images
    assert images.shape == (40, 3, size, size)
    shares = [shape_of(image).mean() for image in images]
    assert 0.02 < min(shares) < max(shares) < 0.5


@pytest.mark.parametrize("label", range(10), ids=NAMES)
def test_each_label_is_its_own_shape(drawn, label):
    """Laid over an upright shape of the same middle and height, a picture fits its own better than any other's."""
    images = drawn.train.images[drawn.train.labels == label][:20]
    fits = [_best_fit(shape_of(image)) for image in images]
    assert fits.count(label) > 15, [NAMES[fit] for fit in fits]


def _best_fit(seen):
    """Returns the class whose outline shares most of its area with a shape, over tilts and sizes about its middle."""
    rows, columns = np.nonzero(seen)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return max(range(10), key=lambda label: max(_overlap(seen, box, label, tilt) for tilt in range(-15, 16, 5)))


def _overlap(seen, box, label, tilt):
    corners = np.array(list(OUTLINES.values())[label])
    turn = np.radians(tilt)
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    low, high = corners.min(0), corners.max(0)
    corners = (corners - low) / (high - low) * (box[2] - box[0], box[3] - box[1]) + box[:2]
    mask = Image.new("L", seen.shape[::-1])
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    filled = np.asarray(mask) > 0
    return (filled & seen).sum() / (filled | seen).sum()


def test_colours_differ_and_either_may_be_the_bright_one(drawn):
    brightest = drawn.train.images.amax(1).flatten(1)
    corners = drawn.train.images[:, :, 0, 0].amax(1)
    assert (brightest.amax(1) >= 0.75 * 255 - 1).all()
    assert (brightest.amin(1) <= 0.35 * 255 + 1).all()
    assert 0.4 < (corners > 127).float().mean() < 0.6


@pytest.mark.parametrize("size", [1, 15, -1])
def test_a_size_that_shows_no_shapes_is_refused(size):
    with pytest.raises(ConfigError, match=re.escape(f"data.image-size={size}: shapes need 16 pixels or more")):
        Shapes().load(None, image_size=size)


def test_it_says_that_it_needs_no_files():
    assert DATASETS["shapes"]().status(None) == (
        "ready: drawn when it is read (10,000 pictures of 10 shapes, no download)"
    )


def test_shapes_stand_in_other_places_by_up_to_a_tenth_of_the_side(drawn):
    circles = [shape_of(image) for image in drawn.train.images[drawn.train.labels == 0]]
    middles = np.array([np.argwhere(circle).mean(0) / circle.shape[0] for circle in circles])
    assert (np.ptp(middles, axis=0) > 0.15).all()
    assert (abs(middles - 0.5) < 0.12).all()
