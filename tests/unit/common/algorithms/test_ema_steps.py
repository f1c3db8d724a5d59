"""The server's moving average over clients' steps, against one that is kept a step after another."""

from dataclasses import replace

import pytest
import torch

from common import tree
from common.aggregators import AGGREGATORS, Mean
from common.algorithms import ALGORITHMS, Client, Reply
from common.components import parse
from common.errors import ConfigError
from common.models.base import ADVERSARIAL
from common.transforms import TRANSFORMS, Pipeline
from server.clients import admission
from tests.unit.common.algorithms.training import MODEL, make_context, one_round, trainer_of

CLIENTS = {k: Client(1 + k, tuple(9 * k * (label == k) + 1 for label in range(10))) for k in range(3)}
CONTEXT = make_context(model=MODEL, clients=CLIENTS, num_rounds=4)
INITIAL = {"generator.w": torch.tensor([1.0, -2.0]), "discriminator.w": torch.tensor([4.0])}
ALL = ["fedavg", "fedavg sync=generator", "fedprox mu=0.1", "scaffold", "fegan", "ifl-gan", "effgan finetune=0.5"]


def make(spec):
    return parse("algorithm", ALGORITHMS, spec)


def weights_after_steps(trainer, start):
    """Returns what a trainer's weights are after each of its steps, the first phase of which is the discriminator's."""
    before = []
    trainer.load(start)
    trainer.fit(gradient_hook=lambda name, _: before.append(trainer.parameters()) if name == "discriminator" else None)
    return [*before[1:], trainer.parameters()]


def test_it_is_the_mean_over_clients_of_averages_that_each_would_keep_a_step_after_another():
    steps, sizes = 3, (1, 5)
    algorithm = make("fedavg ema-steps=true ema-half-life=1.5 ema-ramp=0.5")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    expected = {key: value.double() for key, value in state.average.items()}
    for round, half_life in ((1, 0.5), (2, 1.0), (3, 1.5), (4, 1.5)):  # the ramp: half of the rounds done
        decay = 0.5 ** (1 / (half_life * steps))
        ends = []
        for k in range(len(sizes)):
            own = dict(expected)
            for weights in weights_after_steps(
                trainer_of(k, round, steps=steps, schedule="constant"), state.parameters
            ):
                own = {key: decay * value + (1 - decay) * weights[key].double() for key, value in own.items()}
            ends.append(own)
        expected = {key: (sizes[0] * ends[0][key] + sizes[1] * ends[1][key]) / sum(sizes) for key in expected}
        replies = one_round(algorithm, state, {0: {}, 1: {}}, context=CONTEXT, steps=steps, schedule="constant")
        replies = [replace(reply, num_examples=size) for reply, size in zip(replies, sizes, strict=True)]
        state = algorithm.update(state, replies[::-1], replace(CONTEXT, aggregator=Mean(class_rows="all")))
        for key, value in expected.items():
            torch.testing.assert_close(state.average[key].double(), value, rtol=1e-5, atol=1e-7)
    moved = tree.distance(state.average, tree.select(state.parameters, ["generator"]))
    assert moved > 1e-3, "nothing was averaged"


@pytest.mark.parametrize("spec", ALL)
def test_rounds_of_one_step_are_averaged_to_the_bit_as_without_it(spec):
    ends = []
    for options in ("", " ema-steps=true"):
        algorithm, memories = make(spec + options), {0: {}, 2: {}}  # of three clients, two are asked
        state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
        for _ in range(4):
            replies = one_round(algorithm, state, memories, context=CONTEXT, steps=1)
            state = algorithm.update(state, replies, CONTEXT)
        ends.append((tree.digest(state.published(ADVERSARIAL)), tree.digest(state.parameters)))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("spec", ALL)
def test_a_reply_is_as_the_server_expects_it_and_changes_nothing_else(spec):
    plain, algorithm = make(spec), make(f"{spec} ema-steps=true")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    for round in range(4):  # effgan fine-tunes in the last two
        replies, others = (one_round(which, state, {0: {}, 1: {}}, context=CONTEXT) for which in (algorithm, plain))
        template = algorithm.reply_template(state, CONTEXT)
        assert template.keys() == replies[0].arrays.keys()
        generator = {key for key in template if key.startswith("average.")}
        assert {key.removeprefix("average.") for key in generator} == set(tree.select(state.parameters, ["generator"]))
        assert set(template) - generator == set(others[0].arrays)
        assert sorted(key for part in algorithm.reply_parts(template) for key in part) == sorted(template)
        assert any(part.keys() == generator for part in algorithm.reply_parts(template))
        for origin in algorithm.origins(state, 0, template):
            assert origin.keys() == template.keys()
        if round == 0:
            assert all(torch.equal(replies[0].arrays[key], value) for key, value in others[0].arrays.items())
        state = algorithm.update(state, replies, CONTEXT)


def reply(k, weight, average):
    arrays = {key: torch.full_like(value, weight) for key, value in INITIAL.items()}
    return Reply(k, 1, {**arrays, "average.generator.w": torch.full((2,), average)})


def test_a_robust_mean_is_taken_of_the_averages_by_themselves():
    algorithm = make("fedavg ema-steps=true ema-half-life=1 ema-ramp=1")
    state = algorithm.init(INITIAL, ADVERSARIAL)
    context = replace(CONTEXT, aggregator=AGGREGATORS["median"]())
    after = algorithm.update(state, [reply(0, 1.0, 3.0), reply(1, 2.0, 1e9), reply(2, 3.0, 2.0)], context)
    assert after.parameters["generator.w"].tolist() == [2.0, 2.0]
    assert after.average["generator.w"].tolist() == [0.5 * 1 + 0.5 * 3, 0.5 * -2 + 0.5 * 3]  # of 3, 1e9 and 2


def test_an_average_that_is_far_off_is_left_out_whatever_the_weights_are():
    algorithm = make("fedavg ema-steps=true")
    state = algorithm.init(INITIAL, ADVERSARIAL)
    template = algorithm.reply_template(state, CONTEXT)
    replies = {k: reply(k, 2.0, 2.0 if k else 100.0) for k in range(4)}
    origins = {k: algorithm.origins(state, k, template) for k in replies}
    found = [set(admission.outliers(replies, origins, p.keys(), 10.0)) for p in algorithm.reply_parts(template)]
    assert found == [set(), {0}]


def received(algorithm, state):
    return algorithm.received(state.parameters, ADVERSARIAL.published)


def test_clip_bounds_weights_and_average_together_and_compression_knows_both_for_updates():
    algorithm = make("fedavg ema-steps=true")
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    (answer,) = one_round(algorithm, state, {0: {}}, context=CONTEXT)
    start = received(algorithm, state)
    length = tree.distance(answer.arrays, start)
    assert length > tree.distance(tree.select(answer.arrays, ["generator", "discriminator"]), start)
    sent, _ = Pipeline.parse(f"clip norm={length / 2}", TRANSFORMS).encode(answer.arrays, start, {})
    assert tree.distance(sent, start) == pytest.approx(length / 2, rel=1e-5)
    for key in sent:
        torch.testing.assert_close(sent[key] - start[key], (answer.arrays[key] - start[key]) / 2, rtol=1e-3, atol=1e-6)
    pipeline = Pipeline.parse("compress to=int8", TRANSFORMS)
    sent, kept = pipeline.encode(answer.arrays, start, {})
    key = "average.generator.layers.0.weight"
    assert sent[key].dtype == torch.int8
    assert key in kept["unsent"]
    found = pipeline.decode(sent, start)
    torch.testing.assert_close(found[key] + kept["unsent"][key], answer.arrays[key], rtol=1e-5, atol=1e-7)


def test_noise_on_the_average_is_not_the_noise_on_the_weights():
    algorithm = make("fedavg ema-steps=true ema-half-life=1 ema-ramp=1 sync=generator")
    start = {"generator.w": torch.zeros(4000)}
    state = algorithm.init(start, ADVERSARIAL)
    replies = [Reply(k, 1, {**start, "average.generator.w": start["generator.w"]}) for k in range(2)]
    pipeline = Pipeline.parse("clip norm=2.0 | noise multiplier=0.3", TRANSFORMS)
    after = algorithm.update(state, replies, replace(CONTEXT, transforms=pipeline, round=1))
    both = torch.stack([after.parameters["generator.w"], after.average["generator.w"] / 0.5])
    assert both.std(1).tolist() == pytest.approx([0.3 * 2.0 / 2] * 2, rel=0.05)
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.1


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("fedavg ema-steps=true ema-half-life=0", "ema-half-life=0 keeps no average"),
        ("scaffold ema-steps=true ema-adaptive=true", "leave out ema-adaptive"),
        ("fedavg ema-steps=true sync=discriminator", "publishes nothing"),
        ("fedopt ema-steps=true", "the server's optimizer goes elsewhere: leave it out, or take algorithm='fedavg'"),
        *((f"{name} ema-steps=true", "ema-steps") for name in ("md-gan", "ua-gan", "f2u", "server-generator")),
    ],
)
def test_where_it_makes_no_sense_it_is_refused_by_name(spec, why):
    with pytest.raises(ConfigError, match=why):
        make(spec)
