"""The picture of reconstructions: which examples, and where each stands."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from common import provenance
from common.examples import ImageSet, ImageSpec
from server.records.reconstruction_picture import chosen_rows, draw_reconstructions, usable

SPEC = ImageSpec(1, 28, 10)


def test_the_first_of_each_class_come_first_in_whole_rows():
    labels = torch.arange(10).repeat_interleave(4)  # sorted, as test sets are
    assert chosen_rows(labels, range(10)).tolist() == [4 * k + row for row in range(3) for k in range(10)]
    assert chosen_rows(labels[:20], range(10)).tolist() == [4 * k + row for row in range(4) for k in range(5)]
    assert chosen_rows(labels[:17], range(10)).tolist() == [0, 4, 8, 12, 16, 1, 5, 9, 13, 2]  # not 17 in two rows
    assert chosen_rows(labels[:5], range(10)).tolist() == [0, 4, 1, 2, 3]


def test_classes_that_nobody_holds_are_left_out():
    assert chosen_rows(torch.tensor([0, 1, 2, 1]), [1]).tolist() == [1, 3]
    images = ImageSet(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1]))
    assert usable(images, [2]) is None
    assert usable(None, [0, 1]) is None
    assert usable(images, [1])[1].tolist() == [1]


@pytest.mark.parametrize(("num", "columns", "rows"), [(20, 10, 4), (3, 3, 2)])
def test_each_row_stands_above_its_reconstructions(tmp_path, num, columns, rows):
    real = torch.arange(num, dtype=torch.uint8)[:, None, None, None].expand(num, 1, 28, 28).contiguous()
    path = tmp_path / "r.png"
    draw_reconstructions(SPEC, real, real + 100, {"round": 7}, path)
    with Image.open(path) as picture:
        assert picture.size == (columns * 30 + 2, rows * 30 + 2)
        found = np.asarray(picture)[16::30, 16::30]  # the middle of each cell
        assert json.loads(picture.text[provenance.KEY]) == {"round": 7}
    expected = [[row // 2 * columns + k + 100 * (row % 2) for k in range(columns)] for row in range(rows)]
    assert found.tolist() == expected
