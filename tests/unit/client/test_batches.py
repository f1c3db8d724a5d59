"""Batches: real examples in passes over the shard, labels of fakes, counts of steps."""

import dataclasses

import pytest
import torch

from common.examples.images import normalise
from tests.unit.client.trainers import assign, make, shard


def first_batch(trainer):
    return next(trainer._batches(trainer._phases))


def test_batches_pass_over_the_whole_shard_and_are_full():
    images = shard(num=20)
    trainer = assign(make(batch_size=8), images=images)
    phases = [phase for phase in trainer._phases for _ in range(5)]
    batches = list(trainer._batches(phases))[:5]  # 40 images: two passes over 20
    assert all(len(batch.examples) == 8 for batch in batches)
    seen = torch.cat([batch.examples for batch in batches])
    for image in normalise(images.images):
        assert (seen == image).flatten(1).all(1).sum() == 2


def test_the_discriminator_sees_the_whole_shard_before_any_image_again():
    images = shard(num=24)
    seen = []
    trainer = assign(make(steps=3, batch_size=8), images=images)
    phase, other = trainer._phases

    def looking(networks, batch):
        seen.append(batch.examples)
        return phase.loss(networks, batch)

    trainer._phases = (dataclasses.replace(phase, loss=looking), other)
    metrics = trainer.fit()
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == 24
    assert metrics["examples"] == 24


def test_images_seen_counts_what_critics_see():
    assert assign(make(objective="wgan", steps=2, batch_size=8)).fit()["examples"] == 2 * 5 * 8


def test_a_shard_smaller_than_a_batch_fills_it():
    batch = first_batch(assign(make(batch_size=8), images=shard(num=3)))
    assert len(batch.examples) == 8


def test_fake_labels_have_the_clients_own_distribution():
    images = shard(num=4, labels=(3, 3, 3, 7))
    trainer = assign(make(batch_size=100), images=images)
    labels = torch.cat([batch.draws["fake-labels"] for batch in trainer._batches(trainer._phases * 10)])
    assert set(labels.tolist()) == {3, 7}
    assert (labels == 3).float().mean().item() == pytest.approx(0.75, abs=0.05)


def fake_labels(kind):
    images = shard(num=4, labels=(3, 3, 3, 7))
    trainer = assign(make(batch_size=100, fake_labels=kind), images=images)
    return torch.cat([batch.draws["fake-labels"] for batch in trainer._batches(trainer._phases * 10)])


def test_balanced_fake_labels_are_even_over_the_classes_that_the_client_holds():
    labels = fake_labels("balanced")
    assert set(labels.tolist()) == {3, 7}
    assert (labels == 3).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_uniform_fake_labels_are_even_over_all_classes():
    shares = torch.bincount(fake_labels("uniform"), minlength=10) / 2000
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.03)


def test_images_and_labels_stay_together():
    images = shard(num=20)
    by_bytes = {
        bytes(i.numpy().tobytes()): int(k) for i, k in zip(normalise(images.images), images.labels, strict=True)
    }
    batch = first_batch(assign(make(), images=images))
    assert [by_bytes[bytes(i.numpy().tobytes())] for i in batch.examples] == batch.labels.tolist()


def test_batches_count_the_runs_of_their_phase_from_the_first_round_on():
    trainer = assign(make(objective="hinge", steps=3, options={"critic_steps": 2}), round=4)
    steps = {"discriminator": [], "generator": []}

    def counting(phase):
        def loss(networks, batch):
            steps[phase.name].append(batch.step)
            return phase.loss(networks, batch)

        return dataclasses.replace(phase, loss=loss)

    trainer._phases = tuple(counting(phase) for phase in trainer._phases)
    trainer.fit()
    assert steps == {"discriminator": [18, 19, 20, 21, 22, 23], "generator": [9, 10, 11]}
