"""Contracts of every update transform, and of several one after another."""

import math
import pickle

import pytest
import torch

from common import tree, wire
from common.algorithms import Reply
from common.components import parse
from common.config import RunConfig
from common.errors import ConfigError, ProtocolError
from common.examples import ImageSpec
from common.seeding import torch_generator
from common.transforms import TRANSFORMS, Pipeline
from server import checkpoint
from server.clients import admission
from server.records import journal, run_directory
from simulations.runtime.in_process import simulate
from tests.unit.common.algorithms.training import make_context
from tests.unit.common.transforms.drawn_weights import weights
from tests.unit.common.transforms.turned_around import TurnedAround

TABLE = TRANSFORMS | {"turned-around": TurnedAround}
EVERY = pytest.mark.parametrize("spec", [*TABLE, "clip norm=0.01", "compress to=float16"])


RECEIVED = weights("received")
TRAINED = {key: value + 0.1 * weights("update")[key] for key, value in RECEIVED.items() if key != "d.count"}
TRAINED |= {"d.count": torch.tensor(9)}
FORMS = {key: (value.shape, value.dtype) for key, value in RECEIVED.items()}
CLIENT = wire.RollCall(0, 1, 1, None, ImageSpec(1, 28, 1), ("all",), "d", "f")
ODD = {
    "nothing": {},
    "no update of anything": {"feedback": torch.ones(3, 4), "none": torch.ones(0, 3), "whole": torch.tensor(3)},
    "other shapes": TRAINED | {"g.weight": torch.ones(6, 5), "d.conv": torch.ones(())},
    "other types": TRAINED | {"g.bias": torch.ones(5, dtype=torch.float64), "g.weight": torch.ones(5, 6).bool()},
    "very large": {key: value * 1e30 if value.is_floating_point() else value for key, value in TRAINED.items()},
    "unmoved": RECEIVED,
}


def of(spec):
    return parse("transforms", TABLE, spec)


def frozen(value):
    """Returns a tree as a client or the server has it: whoever writes to it is found out."""
    return tree.FrozenTree({key: value[key].clone() for key in sorted(value)})


def through_bytes(sent):
    return wire.decode_tree(pickle.loads(pickle.dumps(wire.encode_tree(sent))))


@EVERY
def test_what_arrives_is_the_update_up_to_what_is_kept_and_no_longer_than_said(spec):
    step = of(spec)
    sent, kept = step.encode(frozen(TRAINED), frozen(RECEIVED), {})
    arrived = step.decode(sent, frozen(RECEIVED))
    assert {k: (v.shape, v.dtype) for k, v in arrived.items()} == {k: (v.shape, v.dtype) for k, v in TRAINED.items()}
    whole = {key: value + kept[key] if key in kept else value for key, value in arrived.items()}
    length = tree.distance(TRAINED, RECEIVED)
    share = min(1.0, step.longest / length)
    assert int(whole.pop("d.count")) == 9
    for key, value in whole.items():
        expected = RECEIVED[key] + share * (TRAINED[key] - RECEIVED[key])
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert tree.distance(arrived, RECEIVED) <= step.longest * 1.001


@EVERY
def test_each_half_is_a_function_and_writes_to_nothing_that_it_was_given(spec):
    step = of(spec)
    _, kept = step.encode(TRAINED, RECEIVED, {})
    given = [frozen(TRAINED), frozen(RECEIVED), frozen(kept)]
    before = [tree.digest(one) for one in given]
    ends = []
    for _ in range(2):
        sent, left = step.encode(*given)
        ends.append([tree.digest(one) for one in (sent, left, step.decode(sent, given[1]))])
        drawn = step.after_mean(given[0], 3, 2.0, torch_generator(0, "round"))
        ends[-1].append(tree.digest(drawn))
    assert ends[0] == ends[1]
    assert [tree.digest(one) for one in given] == before


@EVERY
def test_by_reference_and_through_bytes_the_same_bits_arrive(spec):
    step = of(spec)
    sent, _ = step.encode(TRAINED, RECEIVED, {})
    assert len({tree.digest(step.decode(one, RECEIVED)) for one in (sent, through_bytes(sent))}) == 1


@EVERY
def test_what_is_kept_has_a_name_and_makes_up_for_what_was_left_of_the_rounds_before(spec):
    step = of(spec)
    kept, total, made = {}, torch.zeros(5, 6, dtype=torch.float64), torch.zeros(5, 6, dtype=torch.float64)
    for number in range(20):
        trained = {key: value + weights(number, 1e-4)[key] for key, value in RECEIVED.items()}
        sent, kept = step.encode(trained, RECEIVED, kept)
        assert not kept or step.kept_as
        total += (step.decode(sent, RECEIVED)["g.weight"].double() - RECEIVED["g.weight"].double()) / min(
            1.0, step.longest / tree.distance(trained, RECEIVED)
        )
        made += trained["g.weight"].double() - RECEIVED["g.weight"].double()
    left = kept["g.weight"].double() if "g.weight" in kept else 0.0
    torch.testing.assert_close(total + left, made, rtol=0, atol=2e-5)
    assert bool(step.kept_as) == bool(kept)
    assert all(torch.isfinite(value).all() for value in kept.values())
    wire.encode_tree(kept)  # it can be written to a checkpoint


@pytest.mark.parametrize("name", ODD)
@EVERY
def test_odd_replies_go_through_in_their_shape(spec, name):
    step, arrays = of(spec), frozen(ODD[name])
    sent, _ = step.encode(arrays, frozen(RECEIVED), {})
    arrived = step.decode(through_bytes(sent), frozen(RECEIVED))
    assert {k: (v.shape, v.dtype) for k, v in arrived.items()} == {k: (v.shape, v.dtype) for k, v in arrays.items()}
    assert tree.not_finite(arrived) is None


@EVERY
def test_what_anybody_may_send_is_refused_or_goes_on_to_admission(spec):
    step = of(spec)
    sent, _ = step.encode(TRAINED, RECEIVED, {})
    for key in sent:
        for odd in (torch.ones(2, dtype=torch.int8), torch.tensor(math.nan), torch.zeros(0), None):
            tampered = {k: v for k, v in sent.items() if k != key} | ({} if odd is None else {key: odd})
            try:  # an error of another kind would end the round
                arrived = step.decode(tampered, RECEIVED)
                admission.check(Reply(0, 1, arrived), CLIENT, RECEIVED)
            except ProtocolError:
                continue
            assert {k: (v.shape, v.dtype) for k, v in arrived.items()} == FORMS
            assert tree.not_finite(arrived) is None


@EVERY
def test_the_servers_half_after_the_mean_keeps_names_shapes_and_whole_numbers(spec):
    after = of(spec).after_mean(TRAINED, 4, 0.5, torch_generator(0, "round"))
    assert {k: (v.shape, v.dtype) for k, v in after.items()} == {k: (v.shape, v.dtype) for k, v in TRAINED.items()}
    assert int(after["d.count"]) == 9


def test_names_of_what_is_kept_are_all_different_and_not_the_optimisers():
    names = [step.kept_as for step in TABLE.values() if step.kept_as]
    assert len({*names, "moments"}) == len(names) + 1


def test_a_long_update_is_cut_in_its_own_direction_and_a_shorter_one_is_left_alone():
    length = tree.distance(TRAINED, RECEIVED)
    for share in (0.25, 1.01):
        sent, _ = of(f"clip norm={share * length}").encode(TRAINED, RECEIVED, {})
        for key in ("d.conv", "g.bias", "g.weight"):
            torch.testing.assert_close(sent[key] - RECEIVED[key], min(share, 1.0) * (TRAINED[key] - RECEIVED[key]))
        assert (sent is TRAINED) == (share > 1)
    beyond = TRAINED | {"g.bias": torch.full((5,), math.inf)}
    assert of("clip").encode(beyond, RECEIVED, {})[0] is beyond  # the client refuses to send it


def test_noise_has_the_deviation_it_says_and_is_drawn_anew_each_round():
    pipeline = Pipeline.parse("clip norm=2.0 | noise multiplier=0.3", TRANSFORMS)
    mean = {"w": torch.zeros(100, 100), "v": torch.zeros(100)}
    rounds = [pipeline.after_mean(mean, 3, 0, round)["w"] for round in (1, 2)]
    assert float(rounds[0].std()) == pytest.approx(0.3 * 2.0 / 3, rel=0.02)
    assert float(rounds[0].mean()) == pytest.approx(0.0, abs=0.005)
    assert abs(float(torch.corrcoef(torch.stack([one.flatten() for one in rounds]))[0, 1])) < 0.05
    backwards = pipeline.after_mean(dict(reversed(mean.items())), 3, 0, 1)
    assert torch.equal(backwards["w"], rounds[0])


def test_under_noise_all_clients_count_alike_and_else_by_their_images():
    replies = [Reply(k, num, {"w": torch.full((3,), float(k))}) for k, num in ((0, 30), (1, 10))]
    noisy = Pipeline.parse("clip norm=1e-6 | noise multiplier=1e-3", TRANSFORMS)
    contexts = make_context(), make_context(transforms=noisy, round=1)
    means = [float(context.mean(replies, {"w": torch.zeros(3)})["w"][0]) for context in contexts]
    assert means == pytest.approx([0.25, 0.5], abs=1e-6)


def test_clients_apply_them_in_order_and_the_server_undoes_them_in_the_opposite_one():
    pipeline = Pipeline.parse("clip norm=0.5 | noise multiplier=0.1 | compress to=int8", TRANSFORMS)
    sent, kept = pipeline.encode(TRAINED, RECEIVED, {})
    assert set(kept) == {"unsent"}
    clipped, _ = of("clip norm=0.5").encode(TRAINED, RECEIVED, {})
    by_hand, left = of("compress to=int8").encode(clipped, RECEIVED, {})
    assert [tree.digest(one) for one in (sent, kept["unsent"])] == [tree.digest(one) for one in (by_hand, left)]
    assert tree.distance(pipeline.decode(sent, RECEIVED), RECEIVED) == pytest.approx(0.5, rel=0.01)
    assert Pipeline.parse(pipeline.spec(), TRANSFORMS) == pipeline
    assert pipeline.specs() == ["clip norm=0.5", "noise multiplier=0.1", "compress to=int8"]


def test_without_transforms_nothing_is_done():
    pipeline = Pipeline.parse("", TRANSFORMS)
    assert pipeline.encode(TRAINED, RECEIVED, {}) == (TRAINED, {})
    assert pipeline.decode(TRAINED, RECEIVED) is TRAINED
    assert pipeline.after_mean(TRAINED, 3, 0, 1) is TRAINED


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"transforms": "noise"}, "put a clip before it, as in transforms='clip norm=1.0 | noise multiplier=1'"),
        ({"transforms": "compress | clip"}, "clip takes weights, so it comes before compress"),
        ({"transforms": "clip | clip norm=2"}, "clip is given twice"),
        ({"transforms": "clip |"}, "transforms='' is not 'NAME option=value ...': one of clip, noise, compress"),
        ({"transforms": "clipp | compress"}, "unknown transform 'clipp'; did you mean 'clip'"),
        ({"transforms": "clip norm=0"}, "greater than 0"),
        ({"transforms": "clip", "algorithm": "md-gan"}, "algorithm='md-gan' sends other things"),
        ({"transforms": "clip", "algorithm": "scaffold"}, "algorithm='scaffold' sends other things"),
        ({"transforms": "clip | noise", "weighting": "mmd"}, "weighting='mmd.*' does not: leave it out"),
        ({"transforms": "clip | noise", "algorithm": "fegan"}, "algorithm='fegan' brings its own"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(settings, words):
    with pytest.raises(ConfigError, match=words.replace("|", r"\|")):
        RunConfig.from_flat(settings)


def test_options_are_spelled_out_in_the_configuration():
    config = RunConfig.from_flat({"transforms": "clip|compress"})
    assert config.transforms == "clip norm=1.0 | compress to=int8"
    assert RunConfig.from_flat(config.flat()) == config


@pytest.mark.usefixtures("no_reports")
def test_a_transform_that_is_one_file_and_one_entry_takes_part_in_a_run(small, monkeypatch):
    monkeypatch.setitem(TRANSFORMS, "turned-around", TurnedAround)
    ends = {}
    for name, transforms in (("plain", "compress"), ("toy", "clip norm=1000|compress|turned-around")):
        config = small(name, transforms=transforms)
        simulate(config, num_workers=1)
        run = run_directory.resolve(config.output.dir)
        snapshot = checkpoint.latest(run.checkpoints).snapshot
        ends[name] = tree.digest(snapshot.state.parameters), [one["unsent"] for one in snapshot.clients.values()]
        lines = journal.read(run.journal)
        assert [line["transforms"] for line in lines] == [config.transforms.split(" | ")] * 3
        assert not any(line["refused"] for line in lines)
    assert ends["toy"][0] == ends["plain"][0]
    assert [tree.digest(one) for one in ends["toy"][1]] == [tree.digest(one) for one in ends["plain"][1]]
    assert [int(one["turns"]["turns"]) for one in snapshot.clients.values()] == [3] * 4
