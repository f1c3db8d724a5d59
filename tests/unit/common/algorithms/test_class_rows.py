"""The rows of weights that belong to a class: who moves them, and who counts in their mean."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training import make_context, one_round, trainer_of

from common.aggregators import AGGREGATORS, Mean, mean_over_movers
from common.aggregators import mean as mean_module
from common.algorithms import ALGORITHMS
from common.components import parse
from common.models import MODELS
from common.models.base import ADVERSARIAL
from common.transforms import TRANSFORMS, Pipeline
from tests.unit.client import trainers
from tests.unit.kinds import FITTING, TRAINED, small_model, small_set, spec_of

OBJECTIVE_OF = dict(reversed(FITTING))
TABLES = MODELS["mlp"].class_tables
HELD = [3, 7]


@pytest.mark.parametrize("model", TRAINED)
def test_a_model_names_the_weights_of_which_a_client_moves_the_rows_of_its_own_classes_alone(model):
    """Whoever adds a model with a table of classes names it: of all weights with a row a class it is found out."""
    trainer = trainers.make(model, OBJECTIVE_OF[model], steps=6)  # some layers of a flow start at zero
    trainers.assign(trainer, images=small_set(spec_of(model), 20, 0, tuple(HELD)))
    before = trainer.initial()
    trainer.load(before)
    trainer.fit()
    after = trainer.parameters()
    of_own_alone = set()
    for key, value in after.items():
        if value.dim() == 2 and len(value) >= spec_of(model).num_classes:
            moved = int((value != before[key]).any(1).sum())
            if moved in (len(HELD), len(HELD) + 1):  # a flow has one more row, of no class
                of_own_alone.add(key)
    assert of_own_alone == set(small_model(model).class_tables)


@pytest.mark.parametrize("together", [1, 2, 256])
def test_a_row_is_the_mean_of_those_who_moved_it(monkeypatch, together):
    monkeypatch.setattr(mean_module, "_TOGETHER", together)
    origin = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    one = torch.tensor([[3.0, 0.0], [4.0, 1.0], [2.0, 2.0], [5.0, 5.0]])
    two = torch.tensor([[6.0, 3.0], [1.0, 1.0], [2.0, 2.0], [5.0, 6.0]])
    three = torch.tensor([[9.0, 9.0], [1.0, 1.0], [2.0, 2.0], [7.0, 5.0]])
    weights = [1.0, 3.0, 0.0]
    mean = torch.full((4, 2), 0.1)
    found = mean_over_movers([one, two, three], weights, origin, mean)
    assert found[0].tolist() == mean[0].tolist()  # all moved it: as it is, to the bit
    assert found[1].tolist() == [4.0, 1.0]  # the first alone
    again = mean_over_movers([three, two, one], [1.0, 1.0, 2.0], origin, mean)
    assert again[0].tolist() == mean[0].tolist()
    assert again[1].tolist() == [4.0, 1.0]  # the last alone
    assert again[3].tolist() == [6.0, 5.5]  # the first two
    assert found[2].tolist() == [2.0, 2.0]  # nobody
    assert found[3].tolist() == [5.0, 6.0]  # one, and one of no weight


@pytest.mark.parametrize("spec", ["fedavg", "fedavg ema-steps=true", "fedprox mu=0.1", "scaffold", "ifl-gan sync=both"])
def test_a_class_that_one_client_holds_moves_as_far_as_that_client_moves_it(spec):
    algorithm, context = parse("algorithm", ALGORITHMS, spec), make_context()
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    replies = one_round(algorithm, state, {0: {}, 1: {}}, context=context)  # client k holds class k
    after = algorithm.update(state, replies, context).parameters
    plain = algorithm.update(state, replies, replace(context, aggregator=Mean(class_rows="all"))).parameters
    assert set(TABLES) <= set(after)
    for key, value in after.items():
        if key not in TABLES:
            assert torch.equal(value, plain[key])
            continue
        for k, reply in enumerate(replies):
            assert torch.equal(value[k], reply.arrays[key][k])
            assert not torch.equal(value[k], plain[key][k])
        assert torch.equal(value[2:], state.parameters[key][2:])


def test_a_server_that_steps_itself_steps_along_whole_rows_too():
    algorithm, context = parse("algorithm", ALGORITHMS, "fedopt lr=1 beta1=0"), make_context()
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    replies = one_round(algorithm, state, {0: {}, 1: {}}, context=context)
    after = algorithm.update(state, replies, context).parameters
    for key in TABLES:
        torch.testing.assert_close(after[key][1], replies[1].arrays[key][1])


def test_an_average_over_steps_has_the_rows_of_those_who_moved_them():
    algorithm, context = parse("algorithm", ALGORITHMS, "fedavg ema-steps=true ema-half-life=1"), make_context()
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    replies = one_round(algorithm, state, {0: {}, 1: {}}, context=context)
    after = algorithm.update(state, replies, context)
    keep, key = algorithm.kept_share(1), TABLES[0]
    for k, reply in enumerate(replies):
        expected = keep * state.average[key][k] + (1 - keep) * reply.arrays[f"average.{key}"][k]
        torch.testing.assert_close(after.average[key][k], expected)
        assert not torch.equal(after.average[key][k], state.average[key][k])


def test_noise_that_hides_a_client_in_a_mean_of_all_is_on_a_mean_of_all():
    algorithm = parse("algorithm", ALGORITHMS, "fedavg")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    replies = one_round(algorithm, state, {k: {} for k in range(4)})
    pipeline = Pipeline.parse("clip norm=1.0 | noise multiplier=1e-9", TRANSFORMS)
    context = make_context(transforms=pipeline)
    after = algorithm.update(state, replies, context).parameters
    for key in TABLES:
        step = (replies[1].arrays[key][1] - state.parameters[key][1]) / 4
        torch.testing.assert_close(after[key][1] - state.parameters[key][1], step, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in AGGREGATORS if name not in ("mean", "secure-mean")])
def test_a_robust_mean_counts_every_client(name):
    assert not AGGREGATORS[name]().by_movers


@pytest.mark.parametrize("steps", ["compress to=int8", "compress to=float16", "clip norm=0.01"])
def test_a_row_that_nobody_moved_arrives_unmoved(steps):
    start = trainer_of().initial()
    trainer = trainer_of(4)
    trainer.load(start)
    trainer.fit()
    pipeline = Pipeline.parse(steps, TRANSFORMS)
    sent, _ = pipeline.encode(trainer.parameters(), start, {})
    arrived = pipeline.decode(sent, start)
    for key in TABLES:
        moved = (arrived[key] != start[key]).any(1).nonzero().flatten().tolist()
        assert moved == [4]
