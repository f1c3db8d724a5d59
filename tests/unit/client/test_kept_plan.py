"""A client's plan is found once, and again where the run or the examples are others."""

from client.kept_plan import plan_of
from common.config import RunConfig

PRIVATE = {"privacy": "example epsilon=10", "local.steps": 2, "federation.num-rounds": 2}


class Kept(dict):
    def put(self, name, content):
        self[name] = content


def test_a_plan_is_found_once_and_is_that_of_the_configuration(monkeypatch):
    found, keeper, plan = [], Kept(), RunConfig.privacy_plan
    monkeypatch.setattr(RunConfig, "privacy_plan", lambda self, num: found.append(num) or plan(self, num))
    config = RunConfig.from_flat(PRIVATE)
    assert plan_of(config, 100, keeper) == plan_of(config, 100, keeper) == plan(config, 100)
    assert found == [100]
    assert plan_of(config, 200, keeper) == plan(config, 200)
    assert plan_of(config.replaced({"local.steps": 3}), 200, keeper).uses_per_round == 3
    assert plan_of(config.replaced({"privacy": "example epsilon=1"}), 200, keeper).spent(2) <= 1
    assert found == [100, 200, 200, 200]


def test_nothing_is_kept_without_a_promise():
    keeper = Kept()
    assert plan_of(RunConfig(), 100, keeper) is None
    assert not keeper
