"""The server's share of a round takes no more memory than it needs."""

import weakref

import pytest

from common import wire
from common.config import RunConfig
from server import strategy
from simulations.runtime.in_process import simulate


@pytest.mark.slow
def test_replies_are_let_go_of_once_they_are_aggregated_although_flower_holds_on_to_the_messages(tmp_path, monkeypatch):
    config = RunConfig().replaced(
        {
            "model": "mlp width=8",
            "federation.num-clients": 3,
            "federation.num-rounds": 1,
            "local.steps": 1,
            "local.batch-size": 2,
            "evaluation.extractor": "none",
            "evaluation.utility-num-samples": 0,
            "evaluation.final-num-samples": 100,
            "output.dir": str(tmp_path / "run"),
        }
    )
    aggregate = strategy.FederatedStrategy.aggregate_train
    alive = []

    def watched(self, server_round, replies):
        messages = list(replies)
        trees = [weakref.ref(wire.decode_reply(message.content, 1)[0].arrays) for message in messages]
        found = aggregate(self, server_round, messages)
        alive.append([tree() is not None for tree in trees])
        return found

    monkeypatch.setattr(strategy.FederatedStrategy, "aggregate_train", watched)
    simulate(config, num_workers=1)
    assert alive == [[False] * 3]
