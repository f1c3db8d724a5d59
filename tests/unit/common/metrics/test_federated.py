"""Federated scores: the pooled figure is that of all images in one place, and the worst client and class are named."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from common.metrics import ClientMoments, Moments, federated_scores, frechet_distance, mixed, moments_by_label
from common.metrics.client_moments import UNDISCLOSED
from common.seeding import torch_generator

CLASSES, DIMENSION = 3, 4


def cloud(labels, name="real", shift=None):
    """Features around a centre of each class."""
    generator = torch_generator(0, "federated", name)
    centres = 5 * torch.eye(CLASSES, DIMENSION) + (0 if shift is None else shift)
    return centres[labels] + torch.randn(len(labels), DIMENSION, generator=generator)


def client(labels, disclose=True, fewest=1, name="real"):
    return ClientMoments.of(cloud(labels, name), labels if disclose else None, CLASSES, fewest)


LABELS = torch.arange(300) % CLASSES
FAKES = moments_by_label(cloud(LABELS, "fake"), LABELS, CLASSES)


@settings(max_examples=60, deadline=None)
@given(
    owners=st.lists(st.integers(0, 4), min_size=30, max_size=60),
    silent=st.sets(st.integers(0, 4)),
    fewest=st.sampled_from([1, 4]),
)
def test_the_pooled_figure_is_that_of_all_images_in_one_place_for_any_partition(owners, silent, fewest):
    labels, owner = torch.arange(len(owners)) % CLASSES, torch.tensor(owners)
    features = cloud(labels)
    clients = {
        k: ClientMoments.of(features[owner == k], None if k in silent else labels[owner == k], CLASSES, fewest)
        for k in sorted(set(owners))
        if int((owner == k).sum()) >= fewest
    }
    there = torch.isin(owner, torch.tensor(sorted(clients)))
    counts = torch.bincount(labels[there], minlength=CLASSES).tolist()
    reported = not silent & clients.keys()
    fake = mixed([FAKES[k] for k in range(CLASSES)], counts if reported else [1] * CLASSES)
    pooled = frechet_distance(Moments.of(features[there]), fake)
    received = {
        k: ClientMoments.from_tree(c.tree(), DIMENSION, CLASSES, int((owner == k).sum())) for k, c in clients.items()
    }
    assert federated_scores(received, FAKES, 5, CLASSES)["federated-fid"] == pytest.approx(pooled, rel=1e-6)


def test_each_client_is_compared_with_images_of_its_own_labels():
    zeros, rest = torch.zeros(80, dtype=torch.int64), torch.tensor([1, 2] * 40)
    scores = federated_scores({0: client(zeros), 2: client(rest)}, FAKES, 3, CLASSES)
    assert scores["client-fid"][1] is None
    assert max(scores["client-fid"][0], scores["client-fid"][2]) < 1
    assert scores["client-fid"][0] == pytest.approx(frechet_distance(client(zeros).total, FAKES[0]), rel=1e-9)
    assert scores["worst-client"] in (0, 2)
    assert scores["worst-client-fid"] == max(scores["client-fid"][0], scores["client-fid"][2])


def test_a_generator_that_misses_a_class_shows_it_as_the_worst_and_its_holder_as_the_worst_client():
    fakes = FAKES | {1: Moments.of(cloud(torch.zeros(100, dtype=torch.int64), "other"))}  # zeros instead of ones
    clients = {k: client(torch.full((50,), k), name=str(k)) for k in range(CLASSES)}
    scores = federated_scores(clients, fakes, 3, CLASSES)
    assert (scores["worst-class"], scores["worst-client"]) == (1, 1)
    assert scores["worst-class-fid"] > 20 * max(scores["class-fid"][0], scores["class-fid"][2])


def test_who_keeps_labels_to_itself_counts_in_the_pooled_figure_only():
    clients = {0: client(LABELS), 1: client(LABELS, disclose=False)}
    scores = federated_scores(clients, FAKES, 2, CLASSES)
    assert scores["client-fid"][1] is None
    alone = federated_scores({0: clients[0]}, FAKES, 2, CLASSES)
    assert scores["class-fid"] == alone["class-fid"]
    assert scores["federated-fid"] != alone["federated-fid"]


def test_a_generator_without_labels_has_figures_of_clients_and_none_of_classes():
    fakes = moments_by_label(cloud(LABELS, "fake"), None, CLASSES)
    scores = federated_scores({0: client(LABELS, disclose=False), 1: client(LABELS[:100])}, fakes, 2, CLASSES)
    assert None not in scores["client-fid"]
    assert "class-fid" not in scores


def test_small_classes_are_put_together_until_no_group_is_small():
    labels = torch.tensor([0] * 3 + [1] * 20 + [2] * 30)
    one = client(labels, fewest=10)
    assert {k: group.count for k, group in one.groups.items()} == {2: 30, UNDISCLOSED: 23}  # 3 alone would be too few
    assert one.label_counts == (3, 20, 30)
    assert {k: group.count for k, group in client(labels[3:], fewest=10).groups.items()} == {1: 20, 2: 30}
    with pytest.raises(DataError, match="9 images are too few to give moments of: 10"):
        client(labels[:9], fewest=10)


def test_moments_of_many_features_are_sent_in_one_group():
    features, labels = torch.zeros(8, 2048), torch.arange(8) % 4
    one = ClientMoments.of(features, labels, 4)
    assert set(one.groups) == {UNDISCLOSED}
    assert one.label_counts == (2, 2, 2, 2)


OFF_DIAGONAL = torch.tensor([[1.0, 9, 9, 9, 1, 9, 9, 1, 9, 1]] * 3, dtype=torch.float64)  # upper triangle, by row


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": torch.tensor([20, 20, 21])}, "groups of .* of 60 images"),
        ({"counts": torch.tensor([80, -20, 0])}, "groups of"),
        ({"labels": torch.tensor([0, 0, 1])}, "groups .*0, 0, 1"),
        ({"labels": torch.tensor([0, 1, 3])}, "of 3 classes"),
        ({"totals": torch.zeros(3, 5, dtype=torch.float64)}, "totals is"),
        ({"totals": torch.zeros(3, 4)}, "totals is"),
        ({"totals": torch.full((3, 4), 1e6, dtype=torch.float64)}, "smaller than the first ones allow"),
        ({"totals": torch.full((3, 4), 1e300, dtype=torch.float64)}, "features of over 1e.06"),
        ({"outers": torch.full((3, 10), 1.2e308, dtype=torch.float64)}, "features of over 1e.06"),
        (
            # a unit diagonal and more off it: no variance is negative, but that of a sum of features is
            {"totals": torch.zeros(3, 4, dtype=torch.float64), "outers": OFF_DIAGONAL},
            "smaller than the first ones allow",
        ),
        ({"outers": torch.full((3, 10), float("nan"), dtype=torch.float64)}, "outers is not finite"),
        ({"label-counts": torch.tensor([30, 20, 10])}, "do not fit"),
        ({"more": torch.zeros(1)}, "entries"),
    ],
)
def test_what_cannot_be_moments_of_the_images_is_refused(change, words):
    labels = torch.arange(60) % CLASSES
    with pytest.raises(DataError, match=words):
        ClientMoments.from_tree(client(labels).tree() | change, DIMENSION, CLASSES, 60)
