"""Batches: real examples in passes over the shard, labels of fakes, counts of steps."""

import dataclasses

import pytest
import torch

from client import batches as making
from client.batches import Assignment
from common.examples.images import normalise
from common.objectives import OBJECTIVES
from tests.unit.client.trainers import assign, make, shard


def first_batch(trainer):
    return next(trainer._batches(trainer._phases))


def test_batches_pass_over_the_whole_shard_and_are_full():
    images = shard(num=20)
    trainer = assign(make(batch_size=8, steps=5), images=images)
    batches = list(trainer._batches(trainer._phases))[::2]  # 40 images: two passes over 20
    assert len(batches) == 5
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
    trainer = assign(make(batch_size=100, steps=10), images=images)
    labels = torch.cat([batch.draws["fake-labels"] for batch in trainer._batches(trainer._phases)])
    assert set(labels.tolist()) == {3, 7}
    assert (labels == 3).float().mean().item() == pytest.approx(0.75, abs=0.05)


def fake_labels(kind):
    images = shard(num=4, labels=(3, 3, 3, 7))
    trainer = assign(make(batch_size=100, steps=10, fake_labels=kind), images=images)
    return torch.cat([batch.draws["fake-labels"] for batch in trainer._batches(trainer._phases)])


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


def test_what_is_drawn_in_blocks_is_drawn_in_one_order_and_for_whole_steps(monkeypatch):
    """Blocks of two steps of D, D, G, as 2 x 8 x 784 numbers a step allow: 5 steps are 2, 2 and 1."""
    trainer = assign(make(objective="wgan", options={"critic_steps": 2}, steps=5), images=shard(num=12))
    monkeypatch.setattr(making, "MOST_NUMBERS", 2 * 2 * 8 * 784 + 5)
    phases, generator = trainer.step_phases(None), trainer._assigned.generator()
    blocks = list(trainer._batch_maker.blocks(trainer._assigned, phases, None, generator))
    assert [(block.first, block.num_steps) for block in blocks] == [(0, 2), (2, 2), (4, 1)]
    assert [len(block.phases["discriminator"].chosen) for block in blocks] == [4, 4, 2]
    chosen = torch.cat([block.phases["discriminator"].chosen for block in blocks]).flatten()
    for start in range(0, 72, 12):  # passes over the shard go on from block to block
        assert sorted(chosen[start : start + 12].tolist()) == list(range(12))
    mirror = trainer._assigned.generator()  # the first block: its order, labels, latents, uniforms
    order = torch.cat([torch.randperm(12, generator=mirror) for _ in range(3)])
    assert torch.equal(order[:32], blocks[0].phases["discriminator"].chosen.flatten())
    labels = trainer._assigned.examples.labels[torch.randint(12, (32,), generator=mirror)]
    assert torch.equal(labels.view(4, 8), blocks[0].phases["discriminator"].draws["fake-labels"])
    latents = torch.randn(32, 8, generator=mirror).view(4, 8, 8)
    assert torch.equal(latents, blocks[0].phases["discriminator"].draws["latents"])


def test_what_is_given_takes_the_place_of_draws_a_batch_after_another_and_from_the_first_again(monkeypatch):
    trainer = assign(make(steps=3, batch_size=4))
    monkeypatch.setattr(making, "MOST_NUMBERS", 1)  # a step a block
    given = {"fake-labels": torch.arange(10) % 10}
    batches = trainer._batches(trainer._phases[:1], given)
    assert [batch.draws["fake-labels"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_a_part_of_a_data_set_gives_the_batches_of_a_copy_of_it():
    whole, rows = shard(num=40), torch.arange(5, 35, 2).numpy()
    found = []
    for images in (whole.view(rows), whole.subset(rows), whole.view(torch.arange(5, 40).numpy()).view(rows - 5)):
        trainer = assign(make(), images=images)
        found.append(list(trainer._batches(trainer._phases)))
    for one, *others in zip(*found, strict=True):
        for other in others:
            assert torch.equal(one.examples, other.examples)
            assert torch.equal(one.labels, other.labels)


def test_a_first_phase_that_would_reuse_a_batch_has_one_of_its_own_at_every_step():
    trainer = assign(make(steps=2))
    one, other = trainer._batches(trainer.step_phases(["generator"]))
    assert not torch.equal(one.draws["latents"], other.draws["latents"])
    assert (len(one.examples), one.step, other.step) == (0, 0, 1)


def test_an_objectives_row_does_not_hang_on_how_many_are_drawn_with_it():
    """Every objective draws as many rows as are asked for, whatever their number."""
    for name, objective in OBJECTIVES.items():
        for size in (1, 6):
            source = making.DrawSource(size, torch.Generator(), torch.arange(3), (4,), (5,))
            assert all(len(value) == size for value in objective().draw(source).values()), name


def test_assignments_draw_by_seed_partition_and_round():
    firsts = {Assignment(shard(), *scope).generator().initial_seed() for scope in [(0, 1, 2), (0, 2, 1), (1, 1, 2)]}
    assert len(firsts) == 3
