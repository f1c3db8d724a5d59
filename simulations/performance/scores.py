"""What it costs to know how good the generator is, while the cores could train."""

import functools
from unittest import mock

import torch

from client.data import load
from common import threads
from common.config import RunConfig
from common.metrics import table
from common.threads import available_cores
from server.evaluation.evaluator import Evaluator
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan, clock, in_turn

_ROUNDS, _SCORED = 30, 7  # of the quickstart: round 1 and every fifth one


def scores(plan: Plan) -> Measured:
    """Seconds of the quickstart's scores within its rounds and of its last ones, on one core and on all.

    The next round does not train meanwhile: it would have to wait before it is done, as a score may end the run or send
    it back, and both would share the cores that the scores now use themselves. So overlap could save a part of the
    share below, and nothing of the last scores, which are most.
    """
    config = RunConfig()
    if plan.quick:
        few = {
            "evaluation.num-samples": 100,
            "evaluation.final-num-samples": 100,
            "evaluation.utility-num-samples": 100,
        }
        config = config.replaced({**few, "local.steps": 1})
    torch.set_num_threads(1)
    data, model = load(config.data), config.model_component
    evaluator = Evaluator(config, data)
    generator = model.sampler(model.build(data.spec, config.seed)).eval()

    def on(cores: int, names: tuple[str, ...], num_samples: int) -> float:
        with mock.patch.object(threads, "available_cores", return_value=cores):
            return clock(functools.partial(evaluator.score, generator, names, num_samples))

    on(1, table.quick(), 100)  # the real images' features, once a run
    evaluation, every = config.evaluation, available_cores()
    with Federation(config, every) as federation:
        parts = {
            "round": (table.quick(), evaluation.num_samples),
            "last": (table.held_out(), evaluation.final_num_samples),
        }
        found = {
            key: in_turn(plan.times, functools.partial(on, 1, *part), functools.partial(on, every, *part))
            for key, part in parts.items()
        }
        rounds = [federation.round() for _ in range(plan.times)]
    for key, what in (("round", "scores within a round"), ("last", "last scores")):
        for column, cores in enumerate(("one core", f"{every} core(s)")):
            values = tuple(row[column] for row in found[key])
            yield Figure(key=f"{key}-{column}", what=f"{what}, {cores}", values=values, unit="s")
        gains = tuple(one / more for one, more in found[key])
        yield Figure(key=f"{key}-gain", what=f"{what}, one core over {every}", values=gains)
    shares = tuple(
        100 * _SCORED * row[1] / (_SCORED * row[1] + _ROUNDS * seconds)
        for row, seconds in zip(found["round"], rounds, strict=True)
    )
    yield Figure(key="share", what="scores within the rounds, of their time", values=shares, unit="%")
