"""The types every source returns, and the pixel and split functions they share."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets import DATASETS, UNLABELLED, Dataset, load_once
from common.datasets.base import squared, stratified_split
from common.errors import ConfigError, DataError
from common.examples import ImageSet, ImageSpec
from common.examples.images import denormalise, normalise


def image_set(labels: list[int], channels: int = 1, size: int = 4) -> ImageSet:
    return ImageSet(torch.zeros(len(labels), channels, size, size, dtype=torch.uint8), torch.tensor(labels).long())


@pytest.mark.parametrize("name", DATASETS)
def test_table_lists_each_source_by_the_name_of_its_file(name):
    assert DATASETS[name].component_name() == name
    assert DATASETS[name].source


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"mnist-10k", "stacked-mnist", "shapes", "shakespeare"}))
def test_source_of_files_without_root_names_data_root(name):
    with pytest.raises(ConfigError, match=r"data\.root"):
        DATASETS[name]().load(None)


def test_normalise_maps_bytes_onto_minus_one_to_one_and_denormalise_undoes_it():
    every = torch.arange(256, dtype=torch.uint8)
    normal = normalise(every)
    assert normal.dtype == torch.float32
    assert (normal[0], normal[-1]) == (-1, 1)
    assert (normal.diff() > 0).all()
    assert torch.equal(denormalise(normal), every)


def test_denormalise_rounds_and_clamps():
    images = torch.tensor([-5.0, 5.0, 2 / 255 * 10.4 - 1, 2 / 255 * 10.6 - 1])
    assert denormalise(images).tolist() == [0, 255, 10, 11]


def test_label_counts_include_absent_classes():
    assert image_set([2, 0, 2]).label_counts(4) == [1, 0, 2, 0]


def test_subset_keeps_the_order_requested():
    images = ImageSet(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1), torch.tensor([5, 6, 7]))
    subset = images.subset(np.array([2, 0]))
    assert subset.images.flatten().tolist() == [2, 0]
    assert subset.labels.tolist() == [7, 5]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2).long(), "float32"),
        (torch.zeros(2, 2, 4, 4).byte(), torch.zeros(2).long(), r"\(2, 2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 6).byte(), torch.zeros(2).long(), "4 x 6.*data.image-size"),
        (torch.zeros(2, 1, 4, 4).byte(), torch.zeros(3).long(), r"labels are \(3,\)"),
        (torch.zeros(2, 1, 4, 4).byte(), torch.zeros(2).int(), "int32"),
    ],
)
def test_image_set_refuses_what_is_not_labelled_square_bytes(images, labels, message):
    with pytest.raises(DataError, match=message):
        ImageSet(images, labels)


def test_dataset_reports_its_shape():
    dataset = Dataset("x", image_set([0, 1], 3, 8), image_set([2], 3, 8), ("a", "b", "c"))
    assert dataset.spec == ImageSpec(channels=3, size=8, num_classes=3)


@pytest.mark.parametrize(
    ("test", "names", "labelled", "message"),
    [
        (image_set([]), ("a", "b"), True, "no test images"),
        (image_set([2]), ("a", "b"), True, r"\[2, 2\], not in \[0, 1\]"),
        (image_set([-1]), ("a", "b"), True, r"\[-1, -1\]"),
        (image_set([0], size=5), ("a", "b"), True, r"\(1, 5, 5\).*data.image-size"),
        (image_set([0]), ("a", "b"), False, "unlabelled"),
    ],
)
def test_dataset_refuses_parts_that_do_not_fit(test, names, labelled, message):
    with pytest.raises(DataError, match=message):
        Dataset("x", image_set([0, 1]), test, names, labelled)


def test_unlabelled_dataset_has_one_class():
    assert Dataset("x", image_set([0]), image_set([0]), UNLABELLED, labelled=False).spec.num_classes == 1


def test_squared_leaves_square_images_alone_at_size_0():
    images = torch.randint(256, (3, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(squared(images, 0), images)
    assert torch.equal(squared(images, 5), images)


def test_squared_cuts_out_the_centre():
    images = torch.zeros(1, 1, 4, 8, dtype=torch.uint8)
    images[..., 2:6] = 9
    assert torch.equal(squared(images, 4), torch.full((1, 1, 4, 4), 9, dtype=torch.uint8))


def test_squared_shrinks_by_antialiasing_and_keeps_flat_images_flat():
    stripes = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    stripes[..., 1::4] = stripes[..., 2::4] = 200  # interpolation without antialiasing sees only these
    middle = squared(stripes, 4)[..., 1:3].float()
    assert ((middle > 80) & (middle < 120)).all()
    flat = torch.full((1030, 1, 6, 6), 77, dtype=torch.uint8)  # more than one chunk
    assert torch.equal(squared(flat, 9), torch.full((1030, 1, 9, 9), 77, dtype=torch.uint8))


def test_squared_refuses_oblong_images_and_negative_sizes():
    with pytest.raises(DataError, match=r"4 x 8 .*data\.image-size"):
        squared(torch.zeros(1, 1, 4, 8, dtype=torch.uint8), 0)
    with pytest.raises(ConfigError, match="-3"):
        squared(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), -3)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.floats(0.01, 0.99))
def test_stratified_split_holds_out_exactly_its_share_of_the_whole_and_of_each_class(values, share):
    labels = np.array(values)
    train, held_out = stratified_split(labels, share)
    assert np.array_equal(np.sort(np.concatenate([train, held_out])), np.arange(len(labels)))
    assert len(held_out) == min(max(round(share * len(labels)), 1), len(labels) - 1)
    exact = len(held_out) / len(labels)
    for label in np.unique(labels):
        assert abs((labels[held_out] == label).sum() - exact * (labels == label).sum()) <= 1


def test_stratified_split_of_a_fifth_takes_every_fifth_of_a_class():
    labels = np.array([1] * 10 + [0] * 10)
    assert stratified_split(labels, 0.2)[1].tolist() == [4, 9, 14, 19]


def test_stratified_split_needs_two_images():
    with pytest.raises(DataError, match="1 image"):
        stratified_split(np.zeros(1, np.int64), 0.5)


def test_a_view_is_what_a_subset_is_without_a_copy_of_the_images():
    images = torch.arange(6 * 4, dtype=torch.uint8).view(6, 1, 2, 2)
    whole = ImageSet(images, torch.arange(6))
    rows = np.array([4, 1, 3])
    view, subset = whole.view(rows), whole.subset(rows)
    assert len(view) == len(subset) == 3
    assert view.spec(6) == subset.spec(6) == ImageSpec(1, 2, 6)
    assert torch.equal(view.stored, subset.stored)
    assert torch.equal(view.labels, subset.labels)
    for seen, copied in zip(view.take(torch.tensor([2, 0])), subset.take(torch.tensor([2, 0])), strict=True):
        assert torch.equal(seen, copied)
    images[3] = 99
    assert int(view.take(torch.tensor([2]))[0].max()) == 99
    assert int(subset.images.max()) < 99


def test_a_data_set_is_read_once_for_all_of_a_process_and_a_failure_is_not_kept(tmp_path):
    source, path = DATASETS["npz"](), tmp_path / "site.npz"
    with pytest.raises(DataError, match="no file"):
        load_once(source, path)
    np.savez(path, images=np.zeros((4, 6, 6), np.uint8))
    first = load_once(source, path)
    assert load_once(DATASETS["npz"](), path, download=False) is first
    assert load_once(source, path, image_size=3) is not first
    assert load_once(source, path) is first
